// Few lookups in the order of their rows (kernels/order.cuh), by one block: reads them, sorts them
// in shared memory (cub::BlockRadixSort, stable, over the bits that rows need) and writes what each
// place in the order is made from. Zeros may be written meanwhile: what is launched next may begin
// at once.

#pragma once

#include <cub/block/block_radix_sort.cuh>

#include "kernels/order.cuh"
#include "kernels/plan_order.h"

namespace embed_ops {

constexpr int kBlockOrderThreads = 512;
constexpr int kBlockOrderItems = kMostBlockOrdered / kBlockOrderThreads;

template <class Key, class A, class Index, class Tables>
__global__ void __launch_bounds__(kBlockOrderThreads, 1) order_in_block_kernel(
    const __grid_constant__ Tables tables,
    const __grid_constant__ SourcesView<Index> sources,
    int64_t first_place,
    int64_t num_places,
    const __grid_constant__ LookupFactors<A> factors,
    int row_bits,
    Order<Key, A> order,
    OffenceSink sink) {
  constexpr int kRadixBits = 5; // the most whose counters fit 48 KB
  using Sort = cub::BlockRadixSort<Key, kBlockOrderThreads, kBlockOrderItems, uint16_t, kRadixBits>;
  __shared__ typename Sort::TempStorage storage;
  let_dependents_begin();
  sources.lookups.check_offsets(sink);

  const int count = static_cast<int>(sources.lookups.num_indices);
  const int first = static_cast<int>(threadIdx.x & ~31u) * kBlockOrderItems;
  const int last = min(first + 32 * kBlockOrderItems, count) - 1;
  const SlotRange slots = first <= last ? sources.slots(first, last) : SlotRange{};
  Key rows[kBlockOrderItems];
  uint16_t lookups[kBlockOrderItems];
#pragma unroll
  for (int i = 0; i < kBlockOrderItems; ++i) {
    const int v = static_cast<int>(threadIdx.x) * kBlockOrderItems + i;
    lookups[i] = static_cast<uint16_t>(v);
    rows[i] = v < count
        ? row_of<Key>(tables, sources, first_place, num_places, sources.at(v, slots), sink)
        : kNoRow<Key>;
  }
  Sort(storage).SortBlockedToStriped(rows, lookups, 0, row_bits);
  const SlotRange all_slots = sources.all_slots();
#pragma unroll
  for (int i = 0; i < kBlockOrderItems; ++i) {
    const int at = i * kBlockOrderThreads + static_cast<int>(threadIdx.x);
    if (at < count) {
      order.rows[at] = rows[i];
      if (rows[i] != kNoRow<Key>) {
        put_source(order, factors, static_cast<Key>(at), sources.at(lookups[i], all_slots));
      }
    }
  }
}

} // namespace embed_ops
