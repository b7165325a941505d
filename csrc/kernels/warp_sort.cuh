// A bitonic sort (K. Batcher, "Sorting networks and their applications", 1968) of the keys that a
// warp holds in registers: no shared memory and no barrier. The steps of several keys per lane are
// a loop and not unrolled: a kernel's first warps wait for code longer than for what a loop costs.

#pragma once

#include <cstdint>

namespace embed_ops {

template <class Key>
__device__ __forceinline__ void order_pair(Key& first, Key& second, bool ascending) {
  const Key low = min(first, second);
  const Key high = max(first, second);
  first = ascending ? low : high;
  second = ascending ? high : low;
}

// Sorts 32 * kPerLane keys; the one of rank r ends in keys[r % kPerLane] of lane r / kPerLane.
template <class Key, int kPerLane>
__device__ __forceinline__ void warp_sort(Key (&keys)[kPerLane]) {
  static_assert(kPerLane == 1 || kPerLane == 2 || kPerLane == 4);
  constexpr int kUnroll = kPerLane == 1 ? 5 : 1;
  const int lane = threadIdx.x & 31;
  if constexpr (kPerLane == 4) {
    order_pair(keys[0], keys[1], true);
    order_pair(keys[2], keys[3], false);
  }
  // Sizes in lanes: the keys of so many lanes become one sequence, up or down.
#pragma unroll(kUnroll)
  for (int size = kPerLane == 1 ? 2 : 1; size <= 32; size *= 2) {
    const bool ascending = (lane & size) == 0;
#pragma unroll(kUnroll)
    for (int stride = size / 2; stride > 0; stride /= 2) {
      const bool keeps_low = ((lane & stride) == 0) == ascending;
#pragma unroll
      for (int i = 0; i < kPerLane; ++i) {
        const Key other = __shfl_xor_sync(0xffffffffu, keys[i], stride);
        keys[i] = keeps_low ? min(keys[i], other) : max(keys[i], other);
      }
    }
    if constexpr (kPerLane == 2) {
      order_pair(keys[0], keys[1], ascending);
    }
    if constexpr (kPerLane == 4) {
      order_pair(keys[0], keys[2], ascending);
      order_pair(keys[1], keys[3], ascending);
      order_pair(keys[0], keys[1], ascending);
      order_pair(keys[2], keys[3], ascending);
    }
  }
}

} // namespace embed_ops
