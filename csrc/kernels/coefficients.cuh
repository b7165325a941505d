// What each lookup's gradient is multiplied by, where that is more than its own weight: a mean's
// divisor, the row's frequency, or a 16-bit weight that sums in fp32.

#pragma once

#include "kernels/lookups.cuh"
#include "kernels/tables.cuh"
#include "kernels/vec.cuh"

namespace embed_ops {

// counts[row] += 1 for every lookup of the one table that belongs to a bag; lookups before the
// first bag and behind the last one belong to none.
template <class Index>
__global__ void __launch_bounds__(256) count_rows_kernel(
    const __grid_constant__ LookupsView<Index> lookups,
    int64_t num_rows,
    int32_t* __restrict__ counts) {
  const int64_t begin = lookups.bag(0, 0).begin;
  const int64_t end = lookups.bag(lookups.batch - 1, 0).end;
  for (int64_t position = begin + int64_t{blockIdx.x} * blockDim.x + threadIdx.x; position < end;
       position += int64_t{gridDim.x} * blockDim.x) {
    const int64_t index = lookups.indices[position];
    if (index >= 0 && index < num_rows) {
      atomicAdd(counts + index, 1);
    }
  }
}

// coefficients[j] = weight_j / (the mean's divisor) / (the row's frequency). One warp per bag; grid
// y = table.
template <class T, class Index, class Tables>
__global__ void __launch_bounds__(256) coefficients_kernel(
    const __grid_constant__ Tables tables,
    const __grid_constant__ LookupsView<Index> lookups,
    const T* __restrict__ weights,
    bool mean,
    const int32_t* __restrict__ row_counts,
    Acc<T>* __restrict__ coefficients) {
  const auto segment = tables.of_place(blockIdx.y);
  const int lane = threadIdx.x;
  const auto counted = [&](int64_t position) {
    return named(lookups.indices[position], lookups, segment.num_rows) == Named::kRow;
  };
  for (int64_t b = int64_t{blockIdx.x} * blockDim.y + threadIdx.y; b < lookups.batch;
       b += int64_t{gridDim.x} * blockDim.y) {
    const Range bag = lookups.bag(b, segment.slot);
    Acc<T> divisor = Acc<T>(1);
    if (mean) {
      divisor = Acc<T>(0);
      for (int64_t position = bag.begin + lane; position < bag.end; position += 32) {
        if (counted(position)) {
          divisor += weights ? to_acc(weights[position]) : Acc<T>(1);
        }
      }
#pragma unroll
      for (int distance = 16; distance > 0; distance /= 2) {
        divisor += __shfl_xor_sync(0xffffffffu, divisor, distance);
      }
    }
    for (int64_t position = bag.begin + lane; position < bag.end; position += 32) {
      Acc<T> coefficient = weights ? to_acc(weights[position]) : Acc<T>(1);
      if (mean) {
        coefficient /= divisor;
      }
      if (row_counts && counted(position)) {
        coefficient /= static_cast<Acc<T>>(row_counts[lookups.indices[position]]);
      }
      coefficients[position] = coefficient;
    }
  }
}

} // namespace embed_ops
