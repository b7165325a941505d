// Reads the rows of one table. Part of kernels.inc.

#pragma once

#include "simd.h"

namespace embed_ops::cpu::EMBED_OPS_ISA {

// Lookups between a request for a row and its use. Tables that stay in cache gain nothing.
template <class T>
int64_t lookups_ahead(const Table& table) {
  constexpr int64_t kCachedBytes = int64_t(8) << 20;
  const int64_t bytes = table.num_rows * table.dim * static_cast<int64_t>(sizeof(T));
  return bytes > kCachedBytes ? 16 : 0;
}

// The lookups of one table, as seen by the thread that reads them.
template <class T, class Index>
struct RowReader {
  // `column`: where the tile that is read begins.
  RowReader(const Lookups& lookups, const Table& table, int64_t column, Offences& offences)
      : indices(static_cast<const Index*>(lookups.indices)),
        weights(static_cast<const T*>(lookups.per_sample_weights)),
        data(static_cast<const T*>(table.data) + column),
        num_rows(table.num_rows),
        stride(table.row_stride),
        padding_idx(lookups.padding_idx),
        num_indices(lookups.num_indices),
        ahead(lookups_ahead<T>(table)),
        offences(offences) {}

  EMBED_OPS_INLINE const T* row(int64_t index) const {
    return data + index * stride;
  }

  // Calls f(row) unless the lookup counts for nothing, and says whether it does count: padding does
  // not, nor what names no row (BoundsCheck::kIgnore), which is an offence.
  template <class F>
  EMBED_OPS_INLINE bool visit(int64_t position, const F& f) const {
    const Index index = indices[position];
    if (__builtin_expect(!in_table(index, num_rows), false)) {
      offences.add(position);
      return false;
    }
    if (index == padding_idx) {
      return false;
    }
    f(row(index));
    return true;
  }

  // The row, or nullptr. Loops that add rows up are 5 to 10 % slower with this.
  EMBED_OPS_INLINE const T* row_or_null(int64_t position) const {
    const T* found = nullptr;
    visit(position, [&](const T* row) { found = row; });
    return found;
  }

  // Where row `index` is, or would be: what is requested has not been checked yet, and pointers
  // overflow where unsigned numbers wrap.
  EMBED_OPS_INLINE const char* request(int64_t index) const {
    const uintptr_t bytes =
        static_cast<uintptr_t>(index) * static_cast<uintptr_t>(stride) * sizeof(T);
    return reinterpret_cast<const char*>(reinterpret_cast<uintptr_t>(data) + bytes);
  }

  // Requests a tile of the row that is read some lookups later. All its cache lines: the hardware
  // would fetch the next ones by itself, but late (a tenth slower at 512 bytes).
  template <class Tile>
  EMBED_OPS_INLINE void prefetch(int64_t position) const {
    constexpr int64_t kLine = 64;
    constexpr int64_t kBytes = Tile::kVectors * Tile::kLanes * sizeof(T);
    const char* const next = request(indices[std::min(position + ahead, num_indices - 1)]);
#pragma GCC unroll 16
    for (int64_t byte = 0; byte < kBytes; byte += kLine) {
      __builtin_prefetch(next + byte);
    }
  }

  const Index* indices;
  const T* weights;
  const T* data;
  int64_t num_rows;
  int64_t stride;
  int64_t padding_idx;
  int64_t num_indices;
  int64_t ahead;
  Offences& offences;
};

} // namespace embed_ops::cpu::EMBED_OPS_ISA
