// Reads the bags of a problem's lookups, in runs of bags of one table.

#pragma once

#include <algorithm>

#include "common/problem.h"

namespace embed_ops::cpu {

inline bool in_table(int64_t row, int64_t num_rows) {
  return static_cast<uint64_t>(row) < static_cast<uint64_t>(num_rows);
}

// `offsets` of either integer type; the one after the last is the end of the indices.
class OffsetsReader {
 public:
  explicit OffsetsReader(const Lookups& lookups)
      : offsets_(lookups.offsets),
        are_64bit_(lookups.offsets_are_64bit),
        size_(lookups.num_offsets),
        num_indices_(lookups.num_indices) {}

  int64_t operator[](int64_t i) const {
    if (i >= size_) {
      return num_indices_;
    }
    return are_64bit_ ? static_cast<const int64_t*>(offsets_)[i]
                      : static_cast<const int32_t*>(offsets_)[i];
  }

 private:
  const void* offsets_;
  bool are_64bit_;
  int64_t size_;
  int64_t num_indices_;
};

// Whether each bag is one row as it is: no weight, no greatest of several.
inline bool are_copies(const Lookups& lookups) {
  return lookups.offsets == nullptr && lookups.hotness == 1 && lookups.mode != Mode::kMax &&
      lookups.per_sample_weights == nullptr;
}

// Positions in `indices`.
struct Span {
  int64_t begin;
  int64_t end;
};

// Bags of one table and of consecutive samples.
class Run {
 public:
  Run(const Lookups& lookups, int64_t table, int64_t sample, int64_t size)
      : table(table),
        sample(sample),
        size(size),
        offsets_(lookups),
        has_offsets_(lookups.offsets != nullptr),
        num_indices_(lookups.num_indices),
        hotness_(lookups.hotness),
        stride_(lookups.num_tables * lookups.hotness),
        first_(
            has_offsets_ ? table * lookups.batch + sample
                         : (sample * lookups.num_tables + table) * lookups.hotness) {}

  // The lookups of bag i of the run.
  Span operator[](int64_t i) const {
    if (!has_offsets_) {
      const int64_t begin = first_ + i * stride_;
      return {begin, begin + hotness_};
    }
    // Clamped, since offsets that make no bags go unreported in BoundsCheck::kIgnore.
    const int64_t begin = std::clamp<int64_t>(offsets_[first_ + i], 0, num_indices_);
    const int64_t end = std::clamp<int64_t>(offsets_[first_ + i + 1], begin, num_indices_);
    return {begin, end};
  }

  // From the lookups of one bag to those of the next, where bags are of one size.
  int64_t stride() const {
    return stride_;
  }

  int64_t table;
  int64_t sample; // of bag 0
  int64_t size;

 private:
  OffsetsReader offsets_;
  bool has_offsets_;
  int64_t num_indices_;
  int64_t hotness_;
  int64_t stride_;
  int64_t first_;
};

// Splits the bags into shares of about the same work.
class BagShares {
 public:
  BagShares(const Lookups& lookups, int64_t shares)
      : lookups_(lookups), offsets_(lookups), shares_(shares) {}

  // Calls f with runs of the bags of one share, in the order of their lookups. Runs are short, so
  // that what one pass over a run reads and writes is still cached when the next one begins.
  template <class F>
  void for_each_run(int64_t share, const F& f) const {
    constexpr int64_t kLookupsPerRun = 2048;
    if (lookups_.offsets == nullptr) {
      const int64_t end = lookups_.batch * (share + 1) / shares_;
      // All tables of a sample belong to one output row.
      const int64_t lookups = std::max<int64_t>(1, lookups_.hotness * lookups_.num_tables);
      const int64_t step = std::max<int64_t>(16, kLookupsPerRun / lookups);
      for (int64_t sample = lookups_.batch * share / shares_; sample < end; sample += step) {
        for (int64_t table = 0; table < lookups_.num_tables; ++table) {
          f(Run(lookups_, table, sample, std::min(step, end - sample)));
        }
      }
      return;
    }
    const int64_t end = bag_boundary(share + 1);
    const int64_t step =
        std::max<int64_t>(1, kLookupsPerRun * lookups_.num_bags() / (lookups_.num_indices + 1));
    for (int64_t bag = bag_boundary(share); bag < end;) {
      const int64_t table = bag / lookups_.batch;
      const int64_t sample = bag % lookups_.batch;
      const int64_t size = std::min({step, end - bag, lookups_.batch - sample});
      f(Run(lookups_, table, sample, size));
      bag += size;
    }
  }

 private:
  // The first bag of a share of a CSR layout, by the number of lookups and bags before it.
  int64_t bag_boundary(int64_t share) const {
    const int64_t num_bags = lookups_.num_bags();
    if (share == 0 || share == shares_) {
      return share == 0 ? 0 : num_bags;
    }
    const int64_t work = (lookups_.num_indices + num_bags) / shares_ * share;
    int64_t low = 0;
    int64_t high = num_bags;
    while (low < high) {
      const int64_t middle = low + (high - low) / 2;
      // Clamped, since any value may stand here in BoundsCheck::kIgnore.
      if (std::clamp<int64_t>(offsets_[middle], 0, lookups_.num_indices) + middle < work) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }

  const Lookups& lookups_;
  OffsetsReader offsets_;
  int64_t shares_;
};

} // namespace embed_ops::cpu
