// Lookups in the order of their rows: stable, by a radix sort over the bits that rows need (the
// deterministic way, and that of very many), or by counting (the fast one: as many steps whatever
// the rows, but lookups of one row come in any order). Few are ordered by one block
// (kernels/order_in_block.cuh).
//
//   counting: count_lookups ranks every lookup among those of its row, an exclusive scan of the
//             counters gives where each row begins, place_lookups puts every lookup there. Rows
//             follow each other as their counters do.
//   stable:   list_lookups, the sort, name_sources.
//
// Both leave, for each place in the order, the lookup's row (of all rows of all tables; kNoRow
// last, for those that count for nothing), sample and factor; counting, for each row its count too.

#pragma once

#include "kernels/factors.cuh"
#include "kernels/pdl.cuh"
#include "kernels/plan_order.h"
#include "kernels/tables.cuh"
#include "kernels/vec.cuh"

namespace embed_ops {

// Key is uint32_t, or uint64_t where rows or lookups are too many for it.
template <class Key>
__device__ constexpr Key kNoRow = static_cast<Key>(-1);

// The row that a lookup adds to, kNoRow if it counts for nothing. `first_place` and `num_places`
// are the tables of this launch among the op's.
template <class Key, class Index, class Tables>
__device__ __forceinline__ Key row_of(
    const Tables& tables,
    const SourcesView<Index>& sources,
    int64_t first_place,
    int64_t num_places,
    const Source& source,
    const OffenceSink& sink) {
  const int64_t place = source.place - first_place;
  if (place < 0 || place >= num_places) {
    return kNoRow<Key>;
  }
  const auto segment = tables.of_place(static_cast<int>(place));
  const Index index = sources.lookups.indices[source.position];
  const Named name = named(index, sources.lookups, segment.num_rows);
  if (name == Named::kNothing) {
    sink.report(OffenceKind::kIndex, index, source.position, segment.num_rows, segment.table);
  }
  return name == Named::kRow ? static_cast<Key>(segment.first_row + index) : kNoRow<Key>;
}

// Which counter is a row's (plan_counters).
struct CounterShape {
  int shift;
  int64_t stride;

  template <class Key>
  __device__ __forceinline__ Key of_row(Key row) const {
    return (row & ((Key(1) << shift) - 1)) * static_cast<Key>(stride) + (row >> shift);
  }
};

// f(v, source) for every lookup v, a warp at a time, by the first `blocks` of the grid.
template <class Index, class F>
__device__ __forceinline__ void for_each_source(
    const SourcesView<Index>& sources,
    unsigned blocks,
    const F& f) {
  const int64_t count = sources.lookups.num_indices;
  const int lane = threadIdx.x & 31;
  for (int64_t first = int64_t{blockIdx.x} * blockDim.x + threadIdx.x - lane; first < count;
       first += int64_t{blocks} * blockDim.x) {
    const SlotRange slots = sources.slots(first, min(first + 31, count - 1));
    if (first + lane < count) {
      f(first + lane, sources.at(first + lane, slots));
    }
  }
}

// *counter += 1, and the rank of the lookup among those counted. Lookups of one row within a warp
// take their ranks with one atomic, so that a row named by everyone does not serialise.
template <class Key>
__device__ __forceinline__ Key count_row(Key row, Key* counter) {
  const unsigned active = __activemask();
  const unsigned peers = __match_any_sync(active, row);
  const int lane = threadIdx.x & 31;
  const int leader = __ffs(peers) - 1;
  Key base = 0;
  if (lane == leader) {
    using Atomic = std::conditional_t<sizeof(Key) == 8, unsigned long long, unsigned>;
    base = atomicAdd(reinterpret_cast<Atomic*>(counter), static_cast<Atomic>(__popc(peers)));
  }
  base = __shfl_sync(peers, base, leader);
  return base + __popc(peers & ((1u << lane) - 1));
}

template <class Key, class Index, class Tables>
__global__ void __launch_bounds__(256, 4) count_lookups_kernel(
    const __grid_constant__ Tables tables,
    const __grid_constant__ SourcesView<Index> sources,
    int64_t first_place,
    int64_t num_places,
    CounterShape counters,
    Key* __restrict__ counts,
    Key* __restrict__ rows,
    Key* __restrict__ ranks,
    OffenceSink sink) {
  follow_the_chain();
  sources.lookups.check_offsets(sink);
  for_each_source(sources, gridDim.x, [&](int64_t v, const Source& source) {
    const Key row = row_of<Key>(tables, sources, first_place, num_places, source, sink);
    rows[v] = row;
    if (row != kNoRow<Key>) {
      ranks[v] = count_row(row, counts + counters.of_row(row));
    }
  });
}

// What the gradient of each place in the order is made from.
template <class Key, class A>
struct Order {
  Key* rows;
  Key* samples;
  A* factors; // null: 1
};

template <class Key, class A>
__device__ __forceinline__ void put_source(
    const Order<Key, A>& order,
    const LookupFactors<A>& factors,
    Key at,
    const Source& source) {
  order.samples[at] = static_cast<Key>(source.sample);
  if (order.factors != nullptr) {
    order.factors[at] = factors.of(source);
  }
}

// Here and below what the kernel before wrote is not __restrict__, by which it could be read as
// constants. The first `blocks` of the grid do it; the others meanwhile write zeros
// (kernels/unnamed_rows.cuh).
template <class Key, class A, class Index, class Unnamed>
__global__ void __launch_bounds__(256, 4) place_lookups_kernel(
    const __grid_constant__ SourcesView<Index> sources,
    const __grid_constant__ LookupFactors<A> factors,
    const Key* starts,
    const Key* rows,
    const Key* ranks,
    CounterShape counters,
    Order<Key, A> order,
    unsigned blocks,
    const __grid_constant__ Unnamed unnamed) {
  follow_the_chain();
  if (blockIdx.x >= blocks) {
    unnamed.fill(blockIdx.x - blocks);
    return;
  }
  const Key num_counted = starts[counters.stride << counters.shift];
  for_each_source(sources, blocks, [&](int64_t v, const Source& source) {
    const Key row = rows[v];
    if (row != kNoRow<Key>) {
      const Key at = starts[counters.of_row(row)] + ranks[v];
      order.rows[at] = row;
      put_source(order, factors, at, source);
    }
    if (v >= static_cast<int64_t>(num_counted)) {
      order.rows[v] = kNoRow<Key>;
    }
  });
}

// Waits for nothing but its end.
template <class Key, class Index, class Tables>
__global__ void __launch_bounds__(256, 4) list_lookups_kernel(
    const __grid_constant__ Tables tables,
    const __grid_constant__ SourcesView<Index> sources,
    int64_t first_place,
    int64_t num_places,
    Key* __restrict__ rows,
    Key* __restrict__ lookups,
    OffenceSink sink) {
  let_dependents_begin();
  sources.lookups.check_offsets(sink);
  for_each_source(sources, gridDim.x, [&](int64_t v, const Source& source) {
    rows[v] = row_of<Key>(tables, sources, first_place, num_places, source, sink);
    lookups[v] = static_cast<Key>(v);
  });
  if (blockIdx.x == gridDim.x - 1) {
    wait_for_dependency();
  }
}

template <class Key, class A, class Index>
__global__ void __launch_bounds__(256, 4) name_sources_kernel(
    const __grid_constant__ SourcesView<Index> sources,
    const __grid_constant__ LookupFactors<A> factors,
    const Key* lookups,
    Order<Key, A> order) {
  follow_the_chain();
  const SlotRange slots = sources.all_slots();
  for (int64_t at = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
       at < sources.lookups.num_indices; at += int64_t{gridDim.x} * blockDim.x) {
    if (order.rows[at] != kNoRow<Key>) {
      put_source(order, factors, static_cast<Key>(at), sources.at(lookups[at], slots));
    }
  }
}

} // namespace embed_ops
