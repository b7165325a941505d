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

// Part `part` of `range`, cut into `parts`, a power of two.
__device__ __forceinline__ Range part_of(const Range& range, int part, int parts) {
  const int64_t length = range.end - range.begin;
  const int shift = __ffs(parts) - 1;
  return {range.begin + (length * part >> shift), range.begin + (length * (part + 1) >> shift)};
}

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

  // The positions of the bag of sample b in table t, always inside `indices`. Size: what counts
  // lookups and bags.
  template <class Size = int64_t>
  __device__ __forceinline__ Range bag(int64_t b, int64_t t) const {
    if (offsets == nullptr) {
      const Size slot = static_cast<Size>(b) * static_cast<Size>(num_tables) + static_cast<Size>(t);
      const Size begin = slot * static_cast<Size>(hotness);
      return {begin, begin + hotness};
    }
    const int64_t slot = t * batch + b;
    const int64_t first = clamped(offset(slot));
    return {first, max(first, clamped(end_of(slot)))};
  }

  // Reports offsets that make no bag of `slot`. For one thread per bag.
  __device__ __forceinline__ void check_bag(int64_t slot, const OffenceSink& sink) const {
    const int64_t begin = offset(slot);
    const int64_t end = end_of(slot);
    if (slot == 0 && begin != 0) {
      sink.report(OffenceKind::kOffsetsStart, begin, 0, 0, -1);
    } else if (begin > num_indices || end > num_indices || end < begin) {
      const bool order = begin <= num_indices && end <= num_indices;
      const bool first = begin > num_indices;
      sink.report(
          order ? OffenceKind::kOffsetsOrder : OffenceKind::kOffsetsEnd, first ? begin : end,
          first ? slot : slot + 1, order ? begin : num_indices, -1);
    }
  }

  // The same for all bags, shared out among the threads of a grid that is flat in x.
  __device__ __forceinline__ void check_offsets(const OffenceSink& sink) const {
    if (offsets == nullptr) {
      return;
    }
    const int64_t threads = int64_t{gridDim.x} * blockDim.x;
    for (int64_t slot = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; slot < batch * num_tables;
         slot += threads) {
      check_bag(slot, sink);
    }
  }

 private:
  __device__ __forceinline__ int64_t end_of(int64_t slot) const {
    return slot + 1 >= num_offsets ? num_indices : offset(slot + 1);
  }
};

template <class Index>
__device__ __forceinline__ bool names_row(Index index, int64_t num_rows) {
  return static_cast<uint64_t>(static_cast<int64_t>(index)) < static_cast<uint64_t>(num_rows);
}

// What an index names: a row that counts, the padding row, or no row at all. kNoPadding is -1, so
// an index of -1 names no row then.
enum class Named { kRow, kPadding, kNothing };

template <class Index>
__device__ __forceinline__ Named
named(Index index, const LookupsView<Index>& lookups, int64_t num_rows) {
  if (!names_row(index, num_rows)) {
    return Named::kNothing;
  }
  return index == lookups.padding_idx ? Named::kPadding : Named::kRow;
}

// Reports the first lookup of a range that names no row. Kernels call it once they are done: a call
// amid their loads would keep the compiler from issuing those together.
template <class Index>
__device__ __forceinline__ void report_offences(
    const LookupsView<Index>& lookups,
    const Range& range,
    int64_t num_rows,
    int64_t table,
    const OffenceSink& sink) {
  for (int64_t position = range.begin; position < range.end; ++position) {
    const Index index = lookups.indices[position];
    if (named(index, lookups, num_rows) == Named::kNothing) {
      sink.report(OffenceKind::kIndex, index, position, num_rows, table);
      return;
    }
  }
}

} // namespace embed_ops
