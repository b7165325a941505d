// Lookups in the order of their rows, two ways: stable, by cub::DeviceRadixSort over the bits that
// rows need (the deterministic one), or by counting (the fast one: as many steps whatever the
// rows, but lookups of one row come in any order).
//
//   counting: count_lookups ranks every lookup among those of its row, an exclusive scan of the
//             counts gives where each row begins, place_lookups puts every lookup there.
//   stable:   list_lookups, the sort, name_sources.
//
// Both leave, for each place in the order, the lookup's row (of all rows of all tables; kNoRow
// last, for those that count for nothing), sample and factor, and for each row its count.

#pragma once

#include "kernels/sources.cuh"
#include "kernels/tables.cuh"
#include "kernels/vec.cuh"

namespace embed_ops {

// Key is uint32_t, or uint64_t where rows or lookups are too many for it.
template <class Key>
__device__ constexpr Key kNoRow = static_cast<Key>(-1);

// The row of lookup v, kNoRow if it counts for nothing. `first_place` and `num_places` are the
// tables of this launch among the op's.
template <class Key, class Index, class Tables>
__device__ __forceinline__ Key row_of(
    const Tables& tables,
    const SourcesView<Index>& sources,
    int64_t first_place,
    int64_t num_places,
    const Source& source,
    const OffenceSink& sink,
    bool report) {
  const int64_t place = source.place - first_place;
  if (place < 0 || place >= num_places) {
    return kNoRow<Key>;
  }
  const auto segment = tables.of_place(static_cast<int>(place));
  const Index index = sources.lookups.indices[source.position];
  return counts(
             index, sources.lookups, segment.num_rows, source.position, segment.table, sink, report)
      ? static_cast<Key>(segment.first_row + index)
      : kNoRow<Key>;
}

// counts[row] += 1, and the rank of the lookup among those counted. Lookups of one row within a
// warp take their ranks with one atomic, so that a row named by everyone does not serialise.
template <class Key>
__device__ __forceinline__ Key count_row(Key row, Key* counts) {
  const unsigned active = __activemask();
  const unsigned peers = __match_any_sync(active, row);
  const int lane = threadIdx.x & 31;
  const int leader = __ffs(peers) - 1;
  Key base = 0;
  if (lane == leader) {
    using Atomic = std::conditional_t<sizeof(Key) == 8, unsigned long long, unsigned>;
    base = atomicAdd(reinterpret_cast<Atomic*>(counts + row), static_cast<Atomic>(__popc(peers)));
  }
  base = __shfl_sync(peers, base, leader);
  return base + __popc(peers & ((1u << lane) - 1));
}

template <class Key, class Index, class Tables>
__global__ void __launch_bounds__(256) count_lookups_kernel(
    const __grid_constant__ Tables tables,
    const __grid_constant__ SourcesView<Index> sources,
    int64_t first_place,
    int64_t num_places,
    Key* __restrict__ counts,
    Key* __restrict__ rows,
    Key* __restrict__ ranks,
    OffenceSink sink) {
  for (int64_t v = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; v < sources.lookups.num_indices;
       v += int64_t{gridDim.x} * blockDim.x) {
    const Key row =
        row_of<Key>(tables, sources, first_place, num_places, sources.at(v), sink, /*report=*/true);
    rows[v] = row;
    if (row != kNoRow<Key>) {
      ranks[v] = count_row(row, counts);
    }
  }
}

// What the gradient of each place in the order is made from.
template <class Key, class A>
struct Order {
  Key* rows;
  Key* samples;
  A* factors; // null: 1
};

template <class Key, class A, class Index>
__device__ __forceinline__ void put_source(
    const Order<Key, A>& order,
    const SourcesView<Index>& sources,
    const A* coefficients,
    Key at,
    int64_t v) {
  const Source source = sources.at(v);
  order.samples[at] = static_cast<Key>(source.sample);
  if (order.factors != nullptr) {
    order.factors[at] = coefficients[source.position];
  }
}

template <class Key, class A, class Index>
__global__ void __launch_bounds__(256) place_lookups_kernel(
    const __grid_constant__ SourcesView<Index> sources,
    const A* __restrict__ coefficients,
    const Key* __restrict__ starts,
    const Key* __restrict__ rows,
    const Key* __restrict__ ranks,
    int64_t num_rows,
    Order<Key, A> order) {
  const Key num_counted = starts[num_rows];
  for (int64_t v = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; v < sources.lookups.num_indices;
       v += int64_t{gridDim.x} * blockDim.x) {
    const Key row = rows[v];
    if (row != kNoRow<Key>) {
      const Key at = starts[row] + ranks[v];
      order.rows[at] = row;
      put_source(order, sources, coefficients, at, v);
    }
    if (v >= static_cast<int64_t>(num_counted)) {
      order.rows[v] = kNoRow<Key>;
    }
  }
}

template <class Key, class Index, class Tables>
__global__ void __launch_bounds__(256) list_lookups_kernel(
    const __grid_constant__ Tables tables,
    const __grid_constant__ SourcesView<Index> sources,
    int64_t first_place,
    int64_t num_places,
    Key* __restrict__ counts,
    Key* __restrict__ rows,
    Key* __restrict__ lookups,
    OffenceSink sink) {
  for (int64_t v = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; v < sources.lookups.num_indices;
       v += int64_t{gridDim.x} * blockDim.x) {
    const Key row =
        row_of<Key>(tables, sources, first_place, num_places, sources.at(v), sink, /*report=*/true);
    rows[v] = row;
    lookups[v] = static_cast<Key>(v);
    if (row != kNoRow<Key>) {
      counts[row] = 1; // any of equal writes will do: only zero or not is asked of it
    }
  }
}

template <class Key, class A, class Index>
__global__ void __launch_bounds__(256) name_sources_kernel(
    const __grid_constant__ SourcesView<Index> sources,
    const A* __restrict__ coefficients,
    const Key* __restrict__ lookups,
    Order<Key, A> order) {
  for (int64_t at = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
       at < sources.lookups.num_indices; at += int64_t{gridDim.x} * blockDim.x) {
    if (order.rows[at] != kNoRow<Key>) {
      put_source(order, sources, coefficients, static_cast<Key>(at), lookups[at]);
    }
  }
}

} // namespace embed_ops
