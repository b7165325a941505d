// Zeros into one or many blocks of memory with one launch.

#pragma once

#include "kernels/pdl.cuh"
#include "kernels/tables.cuh"

namespace embed_ops {

constexpr int kFillThreads = 256;
constexpr int kFillUnroll = 4;

// Grid y = table, whose dim and rows count bytes; tables are contiguous and 16-byte aligned, as
// torch allocates them: int4s are written, then a tail of bytes.
template <class Tables>
__global__ void __launch_bounds__(kFillThreads)
    fill_zero_kernel(const __grid_constant__ Tables tables) {
  let_dependents_begin();
  const Segment<char> segment = tables.of_place(blockIdx.y);
  const int64_t bytes = segment.num_rows * segment.row_stride;
  const int64_t count = bytes / 16;
  int4* const vectors = reinterpret_cast<int4*>(segment.data);
  const int64_t first = int64_t{blockIdx.x} * kFillThreads * kFillUnroll + threadIdx.x;
#pragma unroll
  for (int u = 0; u < kFillUnroll; ++u) {
    if (first + u * kFillThreads < count) {
      vectors[first + u * kFillThreads] = make_int4(0, 0, 0, 0);
    }
  }
  if (blockIdx.x == 0 && threadIdx.x < bytes % 16) {
    segment.data[count * 16 + threadIdx.x] = 0;
  }
}

} // namespace embed_ops
