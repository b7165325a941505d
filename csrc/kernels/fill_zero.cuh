// Zeros into many tables with one launch; a single block of memory is cudaMemsetAsync's.

#pragma once

#include "kernels/tables.cuh"

namespace embed_ops {

// Grid y = table, whose dim and rows count bytes. Gradients of separate tables are contiguous and
// 16-byte aligned, as torch allocates them: int4s are written, then a tail of bytes.
__global__ void __launch_bounds__(256)
    fill_zero_kernel(const __grid_constant__ TableSet<char> tables) {
  const Segment<char> segment = tables.of_place(blockIdx.y);
  const int64_t bytes = segment.num_rows * segment.row_stride;
  const int64_t thread = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const int64_t threads = int64_t{gridDim.x} * blockDim.x;
  int4* vectors = reinterpret_cast<int4*>(segment.data);
  for (int64_t i = thread; i < bytes / 16; i += threads) {
    vectors[i] = make_int4(0, 0, 0, 0);
  }
  if (thread < bytes % 16) {
    segment.data[bytes / 16 * 16 + thread] = 0;
  }
}

} // namespace embed_ops
