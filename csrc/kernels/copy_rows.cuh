// One row per bag: output[b, columns of t] = table t's row. Plain embedding and multi_embedding.

#pragma once

#include "kernels/lookups.cuh"
#include "kernels/tables.cuh"
#include "kernels/vec.cuh"

namespace embed_ops {

// Threads: x = lane (a vector of columns), y = sample. Each thread has kUnroll rows in flight.
template <class T, class Index, int kVec, class Tables, int kUnroll>
__global__ void __launch_bounds__(256) copy_rows_kernel(
    const __grid_constant__ Tables tables,
    const __grid_constant__ LookupsView<Index> lookups,
    T* __restrict__ output,
    int64_t output_stride,
    int64_t first_column,
    int64_t num_lanes,
    OffenceSink sink) {
  const int64_t lane = int64_t{blockIdx.y} * blockDim.x + threadIdx.x;
  if (lane >= num_lanes) {
    return;
  }
  const int64_t column = first_column + lane * kVec;
  const Segment<T> segment = tables.at(column);
  const int64_t step = int64_t{gridDim.x} * blockDim.y;

  for (int64_t first = int64_t{blockIdx.x} * blockDim.y + threadIdx.y; first < lookups.batch;
       first += step * kUnroll) {
    Vec<T, kVec> rows[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int64_t b = first + u * step;
      rows[u] = zeros<T, kVec>();
      if (b < lookups.batch) {
        const int64_t position = lookups.single(b, segment.slot);
        const Index index = lookups.indices[position];
        if (in_range(index, segment.num_rows, position, segment.table, sink, segment.first_lane)) {
          rows[u] = load<T, kVec>(segment.row(index));
        }
      }
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int64_t b = first + u * step;
      if (b < lookups.batch) {
        store_streaming<T, kVec>(output + b * output_stride + column, rows[u]);
      }
    }
  }
}

} // namespace embed_ops
