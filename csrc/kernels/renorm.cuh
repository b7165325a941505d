// max_norm: every row that is named is scaled once, whoever names it first.

#pragma once

#include "kernels/lookups.cuh"
#include "kernels/tables.cuh"
#include "kernels/vec.cuh"
#include "kernels/weights_grad.cuh"

namespace embed_ops {

template <class A>
__device__ __forceinline__ A warp_max(A value) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    value = fmax(value, __shfl_xor_sync(0xffffffffu, value, distance));
  }
  return value;
}

// One warp per lookup. `claims` holds one bit per row, zero at first.
template <class T, class Index>
__global__ void __launch_bounds__(256) renorm_kernel(
    const __grid_constant__ OneTable<T> table,
    const __grid_constant__ LookupsView<Index> lookups,
    double max_norm,
    double norm_type,
    uint32_t* __restrict__ claims,
    OffenceSink sink) {
  const Segment<T> segment = table.of_place(0);
  const int lane = threadIdx.x;
  for (int64_t position = int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
       position < lookups.num_indices; position += int64_t{gridDim.x} * blockDim.y) {
    const Index index = lookups.indices[position];
    if (!names_row(index, segment.num_rows)) {
      if (lane == 0) {
        sink.report(OffenceKind::kIndex, index, position, segment.num_rows, segment.table);
      }
      continue;
    }
    uint32_t before = 0;
    if (lane == 0) {
      before = atomicOr(claims + index / 32, 1u << (index % 32));
    }
    before = __shfl_sync(0xffffffffu, before, 0);
    if (before >> (index % 32) & 1u) {
      continue;
    }
    T* row = segment.row(index);
    const Acc<T> power = static_cast<Acc<T>>(norm_type);
    const bool infinite = isinf(norm_type);
    Acc<T> norm = Acc<T>(0);
    for (int64_t column = lane; column < segment.dim; column += 32) {
      const Acc<T> magnitude = fabs(to_acc(row[column]));
      if (infinite) {
        norm = fmax(norm, magnitude);
      } else if (norm_type == 2.0) {
        norm += magnitude * magnitude;
      } else if (norm_type == 1.0) {
        norm += magnitude;
      } else {
        norm += pow(magnitude, power);
      }
    }
    norm = infinite ? warp_max(norm) : warp_sum(norm);
    if (!infinite) {
      norm = norm_type == 2.0 ? sqrt(norm) : norm_type == 1.0 ? norm : pow(norm, Acc<T>(1) / power);
    }
    if (norm > static_cast<Acc<T>>(max_norm)) {
      const Acc<T> factor = static_cast<Acc<T>>(max_norm) / (norm + Acc<T>(1e-7));
      for (int64_t column = lane; column < segment.dim; column += 32) {
        row[column] = from_acc<T>(to_acc(row[column]) * factor);
      }
    }
  }
}

} // namespace embed_ops
