// Where indices come from: the device's view of Lookups.

#pragma once

#include <cstdint>

#include "common/problem.h"
#include "kernels/offence.cuh"

namespace embed_ops {

struct Range {
  int64_t begin;
  int64_t end;
};

template <class Index>
struct LookupsView {
  const Index* indices;
  const void* offsets; // null: fixed hotness
  bool offsets_are_64bit;
  int64_t num_indices;
  int64_t num_offsets;
  int64_t batch;
  int64_t num_tables;
  int64_t hotness;
  int64_t padding_idx;

  explicit LookupsView(const Lookups& lookups)
      : indices(static_cast<const Index*>(lookups.indices)),
        offsets(lookups.offsets),
        offsets_are_64bit(lookups.offsets_are_64bit),
        num_indices(lookups.num_indices),
        num_offsets(lookups.num_offsets),
        batch(lookups.batch),
        num_tables(lookups.num_tables),
        hotness(lookups.hotness),
        padding_idx(lookups.padding_idx) {}

  __device__ __forceinline__ int64_t offset(int64_t position) const {
    return offsets_are_64bit ? static_cast<const int64_t*>(offsets)[position]
                             : static_cast<const int32_t*>(offsets)[position];
  }

  __device__ __forceinline__ int64_t clamped(int64_t offset) const {
    return min(max(offset, int64_t{0}), num_indices);
  }

  // The position of the only lookup of sample b in table t, where every bag has one.
  __device__ __forceinline__ int64_t single(int64_t b, int64_t t) const {
    return b * num_tables + t;
  }

  // The positions of the bag of sample b in table t, always inside `indices`. One thread per bag
  // passes report = true, so that what is wrong is recorded.
  __device__ __forceinline__ Range
  bag(int64_t b, int64_t t, const OffenceSink& sink, bool report) const {
    if (offsets == nullptr) {
      const int64_t begin = (b * num_tables + t) * hotness;
      return {begin, begin + hotness};
    }
    const int64_t slot = t * batch + b;
    const bool last = slot + 1 >= num_offsets;
    const int64_t begin = offset(slot);
    const int64_t end = last ? num_indices : offset(slot + 1);
    if (report) {
      if (slot == 0 && begin != 0) {
        sink.report(OffenceKind::kOffsetsStart, begin, 0, 0, -1);
      }
      if (begin > num_indices) {
        sink.report(OffenceKind::kOffsetsEnd, begin, slot, num_indices, -1);
      } else if (end > num_indices) {
        sink.report(OffenceKind::kOffsetsEnd, end, slot + 1, num_indices, -1);
      } else if (end < begin) {
        sink.report(OffenceKind::kOffsetsOrder, end, slot + 1, begin, -1);
      }
    }
    const int64_t first = clamped(begin);
    return {first, max(first, clamped(end))};
  }
};

// Whether `index` names a row; if not, one thread per lookup passes report = true.
template <class Index>
__device__ __forceinline__ bool in_range(
    Index index,
    int64_t num_rows,
    int64_t position,
    int64_t table,
    const OffenceSink& sink,
    bool report) {
  const bool valid =
      static_cast<uint64_t>(static_cast<int64_t>(index)) < static_cast<uint64_t>(num_rows);
  if (!valid && report) {
    sink.report(OffenceKind::kIndex, index, position, num_rows, table);
  }
  return valid;
}

// Whether a lookup counts: neither padding nor out of range. kNoPadding is -1, so an index of -1
// is an offence then, not padding.
template <class Index>
__device__ __forceinline__ bool counts(
    Index index,
    const LookupsView<Index>& lookups,
    int64_t num_rows,
    int64_t position,
    int64_t table,
    const OffenceSink& sink,
    bool report) {
  const bool padding = index == lookups.padding_idx && index >= 0;
  return !padding && in_range(index, num_rows, position, table, sink, report);
}

} // namespace embed_ops
