// A bitonic sort (K. Batcher, "Sorting networks and their applications", 1968) of the keys that a
// warp holds in registers: no shared memory and no barrier.

#pragma once

#include <cstdint>

namespace embed_ops {

// Sorts 32 * kPerLane keys; the one of rank r ends in keys[r % kPerLane] of lane r / kPerLane.
template <class Key, int kPerLane>
__device__ __forceinline__ void warp_sort(Key (&keys)[kPerLane]) {
  const int first = (threadIdx.x & 31) * kPerLane;
#pragma unroll
  for (int size = 2; size <= 32 * kPerLane; size *= 2) {
#pragma unroll
    for (int stride = size / 2; stride > 0; stride /= 2) {
#pragma unroll
      for (int i = 0; i < kPerLane; ++i) {
        const bool ascending = ((first + i) & size) == 0;
        if (stride >= kPerLane) {
          const Key other = __shfl_xor_sync(0xffffffffu, keys[i], stride / kPerLane);
          const bool lower = ((first + i) & stride) == 0;
          keys[i] = lower == ascending ? min(keys[i], other) : max(keys[i], other);
        } else if ((i & stride) == 0) {
          const Key low = min(keys[i], keys[i | stride]);
          const Key high = max(keys[i], keys[i | stride]);
          keys[i] = ascending ? low : high;
          keys[i | stride] = ascending ? high : low;
        }
      }
    }
  }
}

} // namespace embed_ops
