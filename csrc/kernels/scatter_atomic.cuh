// Dense gradients by atomic addition onto zeros: no sort, no order, as FastEmbedding does it.

#pragma once

#include "kernels/factors.cuh"
#include "kernels/pdl.cuh"
#include "kernels/tables.cuh"
#include "kernels/vec.cuh"

namespace embed_ops {

// Threads: x = lane (a vector of columns of grad_output), y = sample; grid z = part of every bag.
// What can be read is read while the kernel that writes the zeros still runs.
template <class T, class Index, int kVec, class Tables, bool kBags>
__global__ void __launch_bounds__(256) scatter_atomic_kernel(
    const __grid_constant__ Tables gradients,
    const __grid_constant__ LookupsView<Index> lookups,
    const __grid_constant__ LookupFactors<T> factors,
    const T* __restrict__ grad_output,
    int64_t grad_stride,
    int64_t first_column,
    int64_t num_lanes,
    OffenceSink sink) {
  const int64_t lane = int64_t{blockIdx.y} * blockDim.x + threadIdx.x;
  const int64_t b = int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  if (lane >= num_lanes || b >= lookups.batch) {
    wait_for_dependency();
    return;
  }
  const int64_t column = first_column + lane * kVec;
  const Segment<T> segment = gradients.at(column);
  const Vec<T, kVec> grad = load<T, kVec>(grad_output + b * grad_stride + column);
  const auto add = [&](int64_t position, Index index, int64_t length) {
    const Named name = named(index, lookups, segment.num_rows);
    if (name == Named::kRow) {
      const T factor = factors.of({position, b, segment.slot, length});
      Vec<T, kVec> scaled;
#pragma unroll
      for (int i = 0; i < kVec; ++i) {
        scaled.v[i] = factor * grad.v[i];
      }
      atomic_add(segment.row(index), scaled);
    } else if (name == Named::kNothing && segment.first_lane) {
      sink.report(OffenceKind::kIndex, index, position, segment.num_rows, segment.table);
    }
  };
  if constexpr (kBags) {
    const Range bag = lookups.bag(b, segment.slot);
    const Range part = part_of(bag, blockIdx.z, gridDim.z);
    if (lookups.offsets != nullptr && segment.first_lane && blockIdx.z == 0) {
      lookups.check_bag(segment.slot * lookups.batch + b, sink);
    }
    wait_for_dependency();
    for (int64_t position = part.begin; position < part.end; ++position) {
      add(position, lookups.indices[position], bag.end - bag.begin);
    }
  } else {
    const int64_t position = lookups.single(b, segment.slot);
    const Index index = lookups.indices[position];
    wait_for_dependency();
    add(position, index, 1);
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
