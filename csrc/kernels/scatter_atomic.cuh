// Dense gradients by atomic addition: no sort, no order, as FastEmbedding does it.

#pragma once

#include "kernels/lookups.cuh"
#include "kernels/tables.cuh"
#include "kernels/vec.cuh"

namespace embed_ops {

// Threads: x = lane (a vector of columns), y = sample; grid z = part of every bag.
// Adds scale * coefficients[j] * grad_output[b] to the row of each lookup j of each bag b;
// by_length divides a bag's gradient by its number of lookups.
template <class T, class Index, int kVec, class Tables, bool kBags, bool kWeighted>
__global__ void __launch_bounds__(256) scatter_atomic_kernel(
    const __grid_constant__ Tables gradients,
    const __grid_constant__ LookupsView<Index> lookups,
    const T* __restrict__ coefficients,
    T scale,
    bool by_length,
    const T* __restrict__ grad_output,
    int64_t grad_stride,
    int64_t first_column,
    int64_t num_lanes,
    OffenceSink sink) {
  const int64_t lane = int64_t{blockIdx.y} * blockDim.x + threadIdx.x;
  if (lane >= num_lanes) {
    return;
  }
  const int64_t column = first_column + lane * kVec;
  const Segment<T> segment = gradients.at(column);
  const bool report = segment.first_lane;

  for (int64_t b = int64_t{blockIdx.x} * blockDim.y + threadIdx.y; b < lookups.batch;
       b += int64_t{gridDim.x} * blockDim.y) {
    int64_t begin = lookups.single(b, segment.slot);
    int64_t end = begin + 1;
    T factor = scale;
    if constexpr (kBags) {
      const Range bag = lookups.bag(b, segment.slot, sink, report && blockIdx.z == 0);
      const int64_t length = bag.end - bag.begin;
      if (by_length && length > 0) {
        factor /= static_cast<T>(length);
      }
      begin = bag.begin + length * blockIdx.z / gridDim.z;
      end = bag.begin + length * (blockIdx.z + 1) / gridDim.z;
      if (begin == end) {
        continue;
      }
    }
    const Vec<T, kVec> grad = load<T, kVec>(grad_output + b * grad_stride + column);
    for (int64_t position = begin; position < end; ++position) {
      const Index index = lookups.indices[position];
      if (!counts(index, lookups, segment.num_rows, position, segment.table, sink, report)) {
        continue;
      }
      const T coefficient = kWeighted ? factor * coefficients[position] : factor;
      Vec<T, kVec> scaled;
#pragma unroll
      for (int i = 0; i < kVec; ++i) {
        scaled.v[i] = coefficient * grad.v[i];
      }
      atomic_add(segment.row(index), scaled);
    }
  }
}

// Mode max: each element of grad_output goes to the row that won it; argmax is -1 where none did.
template <class T, class Index>
__global__ void __launch_bounds__(256) scatter_argmax_kernel(
    T* __restrict__ gradient,
    int64_t num_rows,
    int64_t dim,
    const Index* __restrict__ argmax,
    const T* __restrict__ grad_output,
    int64_t grad_stride,
    int64_t batch) {
  const int64_t count = batch * dim;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * blockDim.x) {
    const int64_t row = argmax[i];
    if (row >= 0 && row < num_rows) {
      atomicAdd(gradient + row * dim + i % dim, grad_output[i / dim * grad_stride + i % dim]);
    }
  }
}

} // namespace embed_ops
