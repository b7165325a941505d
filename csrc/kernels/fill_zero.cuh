// Zeros into one or many blocks of memory with one launch.

#pragma once

#include <cstdint>

#include "kernels/pdl.cuh"
#include "kernels/plan_scatter.h"

namespace embed_ops {

struct MemoryBlock {
  char* data; // 16-byte aligned, as torch allocates
  int64_t bytes;
};

// At most kMost blocks, cut into chunks that are counted block after block. It travels as a kernel
// argument: 96 take 2.3 KB of the 4 KB that these may take on every architecture.
template <int kMost>
struct ChunkedBlocks {
  static constexpr int kMostBlocks = kMost;

  char* data[kMost];
  int64_t bytes[kMost];
  int64_t first_chunk[kMost + 1];
  int64_t chunk_bytes;
  int count;

  ChunkedBlocks(const MemoryBlock* blocks, int count) : count(count) {
    int64_t all = 0;
    for (int i = 0; i < count; ++i) {
      data[i] = blocks[i].data;
      bytes[i] = blocks[i].bytes;
      all += blocks[i].bytes;
    }
    chunk_bytes = plan_fill_chunk(all);
    first_chunk[0] = 0;
    for (int i = 0; i < count; ++i) {
      first_chunk[i + 1] = first_chunk[i] + ceil_div(bytes[i], chunk_bytes);
    }
  }

  int64_t num_chunks() const {
    return first_chunk[count];
  }

  __device__ __forceinline__ MemoryBlock chunk(int64_t number) const {
    int low = 0;
    int high = count - 1;
    while (kMost > 1 && low < high) {
      const int middle = (low + high + 1) / 2;
      if (first_chunk[middle] <= number) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    const int64_t begin = (number - first_chunk[low]) * chunk_bytes;
    return {data[low] + begin, min(bytes[low] - begin, chunk_bytes)};
  }
};

// One thread block per chunk: int4s, then a tail of bytes. May begin before the kernel before it
// has ended: one block waits for that one, so that whoever waits for this kernel need not.
template <class Blocks>
__global__ void __launch_bounds__(kBlockThreads)
    fill_zero_kernel(const __grid_constant__ Blocks blocks) {
  let_dependents_begin();
  const MemoryBlock chunk = blocks.chunk(blockIdx.x);
  const auto bytes = static_cast<int>(chunk.bytes);
  int4* const vectors = reinterpret_cast<int4*>(chunk.data);
#pragma unroll
  for (int u = 0; u < kFillUnroll; ++u) {
    const int at = u * kBlockThreads + static_cast<int>(threadIdx.x);
    if (at < bytes / 16) {
      vectors[at] = make_int4(0, 0, 0, 0);
    }
  }
  if (threadIdx.x < bytes % 16) {
    chunk.data[bytes / 16 * 16 + threadIdx.x] = 0;
  }
  if (blockIdx.x == gridDim.x - 1) {
    wait_for_dependency();
  }
}

} // namespace embed_ops
