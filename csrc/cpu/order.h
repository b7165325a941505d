// Lookups in the order of their rows, by a stable radix sort over the bits that rows need.

#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace embed_ops::cpu {

// A lookup and the row that it is sorted by.
struct Ordered {
  int64_t row;
  int64_t lookup;
};

// Sorts by row; equal rows keep their order. Every row is in [0, num_rows].
inline void sort_by_row(std::vector<Ordered>& lookups, int64_t num_rows) {
  constexpr int kDigitBits = 11;
  constexpr int64_t kDigits = int64_t(1) << kDigitBits;
  std::vector<Ordered> other(lookups.size());
  for (int shift = 0; shift < 63 && (num_rows >> shift) > 0; shift += kDigitBits) {
    const auto digit = [&](const Ordered& lookup) { return lookup.row >> shift & (kDigits - 1); };
    std::vector<int64_t> next(kDigits, 0);
    for (const Ordered& lookup : lookups) {
      ++next[digit(lookup)];
    }
    int64_t total = 0;
    for (int64_t& place : next) {
      total += std::exchange(place, total);
    }
    for (const Ordered& lookup : lookups) {
      other[next[digit(lookup)]++] = lookup;
    }
    lookups.swap(other);
  }
}

} // namespace embed_ops::cpu
