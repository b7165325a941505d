// The index transforms.

#pragma once

#include "kernels/runs_of_rows.cuh"

namespace embed_ops {

template <class RowId>
__global__ void __launch_bounds__(256)
    row_ids_from_fixed_kernel(RowId* __restrict__ row_ids, int64_t count, int64_t hotness) {
  for (int64_t v = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; v < count;
       v += int64_t{gridDim.x} * blockDim.x) {
    row_ids[v] = static_cast<RowId>(hotness == 1 ? v : v / hotness);
  }
}

// One warp per bag; lookups of no bag keep -1, set before.
template <class RowId>
__global__ void __launch_bounds__(256) row_ids_from_csr_kernel(
    const __grid_constant__ LookupsView<RowId> lookups,
    RowId* __restrict__ row_ids,
    OffenceSink sink) {
  lookups.check_offsets(sink);
  for (int64_t b = int64_t{blockIdx.x} * blockDim.y + threadIdx.y; b < lookups.batch;
       b += int64_t{gridDim.x} * blockDim.y) {
    const Range bag = lookups.bag(b, 0);
    for (int64_t position = bag.begin + threadIdx.x; position < bag.end; position += 32) {
      row_ids[position] = static_cast<RowId>(b);
    }
  }
}

// -1 stands behind every bag: unsigned, it is above all.
template <class RowId>
__device__ __forceinline__ int64_t
first_of_bag(const RowId* __restrict__ row_ids, int64_t count, int64_t bag) {
  using Unsigned = std::make_unsigned_t<RowId>;
  return first_at_least(
      reinterpret_cast<const Unsigned*>(row_ids), count, static_cast<Unsigned>(bag));
}

template <class RowId>
__global__ void __launch_bounds__(256) offsets_from_row_ids_kernel(
    const RowId* __restrict__ row_ids,
    int64_t count,
    RowId* __restrict__ offsets,
    int64_t num_offsets) {
  for (int64_t b = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; b < num_offsets;
       b += int64_t{gridDim.x} * blockDim.x) {
    offsets[b] = static_cast<RowId>(first_of_bag(row_ids, count, b));
  }
}

template <class RowId>
__global__ void __launch_bounds__(256) check_row_ids_kernel(
    const RowId* __restrict__ row_ids,
    int64_t count,
    int64_t num_bags,
    OffenceSink sink) {
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * blockDim.x) {
    const RowId id = row_ids[i];
    const RowId before = i > 0 ? row_ids[i - 1] : RowId(0);
    const bool in_bags = id >= 0 && static_cast<int64_t>(id) < num_bags;
    if (id != RowId(-1) && (before == RowId(-1) || !in_bags || id < before)) {
      sink.report(OffenceKind::kRowIds, id, i, num_bags, -1);
    }
  }
}

// The lookups of a transpose, as list_lookups_kernel; those of no bag count for nothing.
template <class Key, class Index, class RowId>
__global__ void __launch_bounds__(256) list_coordinates_kernel(
    const __grid_constant__ LookupsView<Index> lookups,
    const RowId* __restrict__ row_ids,
    int64_t num_rows,
    Key* __restrict__ rows,
    Key* __restrict__ numbers,
    OffenceSink sink) {
  for (int64_t v = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; v < lookups.num_indices;
       v += int64_t{gridDim.x} * blockDim.x) {
    const Index index = lookups.indices[v];
    const Named name = row_ids[v] < 0 ? Named::kPadding : named(index, lookups, num_rows);
    if (name == Named::kNothing) {
      sink.report(OffenceKind::kIndex, index, v, num_rows, -1);
    }
    const bool counted = name == Named::kRow;
    rows[v] = counted ? static_cast<Key>(index) : kNoRow<Key>;
    numbers[v] = static_cast<Key>(v);
  }
}

template <class Key, class Index, class RowId>
__global__ void __launch_bounds__(256) put_coordinates_kernel(
    const Key* __restrict__ rows,
    const Key* __restrict__ lookups,
    int64_t count,
    const RowId* __restrict__ row_ids,
    Index* __restrict__ sorted_indices,
    RowId* __restrict__ sorted_row_ids) {
  for (int64_t at = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; at < count;
       at += int64_t{gridDim.x} * blockDim.x) {
    const Key row = rows[at];
    sorted_indices[at] = row == kNoRow<Key> ? Index(-1) : static_cast<Index>(row);
    sorted_row_ids[at] = row_ids[lookups[at]];
  }
}

// Elements as bits of their size: weights of every dtype.
template <class Key, class Bits>
__global__ void __launch_bounds__(256) put_weights_kernel(
    const Key* __restrict__ lookups,
    int64_t count,
    const Bits* __restrict__ weights,
    Bits* __restrict__ sorted_weights) {
  for (int64_t at = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; at < count;
       at += int64_t{gridDim.x} * blockDim.x) {
    sorted_weights[at] = weights[lookups[at]];
  }
}

// Indices that should be sorted, as the keys that runs_of_rows.cuh takes.
template <class Key, class Index>
__global__ void __launch_bounds__(256) list_sorted_kernel(
    const Index* __restrict__ indices,
    int64_t count,
    Key* __restrict__ rows,
    OffenceSink sink) {
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * blockDim.x) {
    const Index index = indices[i];
    const Index before = i > 0 ? indices[i - 1] : Index(0);
    const bool counted = index >= 0;
    if (index < Index(-1) || (counted && (before == Index(-1) || index < before))) {
      sink.report(OffenceKind::kIndicesOrder, index, i, before, -1);
    }
    rows[i] = counted ? static_cast<Key>(index) : kNoRow<Key>;
  }
}

// The value, the begin and the inverse of each run, where there is room for it; `offsets` has one
// entry more.
template <class Key, class Index>
__global__ void __launch_bounds__(256) put_runs_kernel(
    const Key* __restrict__ rows,
    const Key* __restrict__ numbers,
    int64_t count,
    Index* __restrict__ values,
    Index* __restrict__ inverse,
    int64_t* __restrict__ offsets) {
  for (int64_t at = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; at < count;
       at += int64_t{gridDim.x} * blockDim.x) {
    const Key row = rows[at];
    const Key run = numbers[at] - 1;
    inverse[at] = row == kNoRow<Key> ? Index(-1) : static_cast<Index>(run);
    if (row != kNoRow<Key> && (at == 0 || rows[at - 1] != row)) {
      values[run] = static_cast<Index>(row);
      offsets[run] = at;
    }
  }
}

// Behind the runs, up to `room` of them: empty ones, of the last value (0 where there is none). And
// the length of each run, and their number unless num_unique is null.
template <class Key, class Index>
__global__ void __launch_bounds__(256) end_runs_kernel(
    const Key* __restrict__ rows,
    const Key* __restrict__ numbers,
    int64_t count,
    int64_t* __restrict__ num_unique,
    int64_t room,
    Index* __restrict__ values,
    int64_t* __restrict__ counts,
    int64_t* __restrict__ offsets) {
  const int64_t runs = count > 0 ? static_cast<int64_t>(numbers[count - 1]) : 0;
  if (num_unique != nullptr && blockIdx.x == 0 && threadIdx.x == 0) {
    *num_unique = runs;
  }
  const int64_t counted = first_at_least(rows, count, kNoRow<Key>);
  const Index last = counted > 0 ? static_cast<Index>(rows[counted - 1]) : Index(0);
  for (int64_t run = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; run <= room;
       run += int64_t{gridDim.x} * blockDim.x) {
    if (run >= runs) {
      offsets[run] = counted;
      if (run < room) {
        values[run] = last;
        counts[run] = 0;
      }
    } else {
      counts[run] = (run + 1 < runs ? offsets[run + 1] : counted) - offsets[run];
    }
  }
}

} // namespace embed_ops
