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
  const int64_t first = int64_t{blockIdx.x} * blockDim.y * kUnroll + threadIdx.y;
  const int count = static_cast<int>(min(lookups.batch - first, int64_t{blockDim.y} * kUnroll));
  const Index* const indices = lookups.indices + lookups.single(first, segment.slot);
  output += first * output_stride + column;

  Index index[kUnroll];
  Vec<T, kVec> rows[kUnroll];
  bool offends = false;
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
    const int b = u * blockDim.y;
    index[u] = b < count ? indices[b * lookups.num_tables] : Index(-1);
  }
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
    rows[u] = zeros<T, kVec>();
    const bool valid = names_row(index[u], segment.num_rows);
    if (valid) {
      rows[u] = load<T, kVec>(segment.row(index[u]));
    }
    offends |= !valid && u * static_cast<int>(blockDim.y) < count;
  }
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
    const int b = u * blockDim.y;
    if (b < count) {
      store_streaming<T, kVec>(output + b * output_stride, rows[u]);
    }
  }
  if (offends && segment.first_lane) {
    for (int b = 0; b < count; b += blockDim.y) {
      const int64_t position = lookups.single(first + b, segment.slot);
      if (!names_row(lookups.indices[position], segment.num_rows)) {
        sink.report(
            OffenceKind::kIndex, lookups.indices[position], position, segment.num_rows,
            segment.table);
        return;
      }
    }
  }
}

} // namespace embed_ops
