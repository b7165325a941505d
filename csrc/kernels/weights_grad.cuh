// The gradient of per_sample_weights: the dot product of each lookup's row with its bag's
// gradient.

#pragma once

#include "kernels/lookups.cuh"
#include "kernels/tables.cuh"
#include "kernels/vec.cuh"

namespace embed_ops {

template <class A>
__device__ __forceinline__ A warp_sum(A value) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(0xffffffffu, value, distance);
  }
  return value;
}

// One warp per bag: x = lane, y = bag; grid y = table.
//   sum:  grad_j = dot(grad_b, row_j)
//   mean: grad_j = (dot(grad_b, row_j) - dot(grad_b, output_b)) / (sum of the bag's weights),
//         where dot(grad_b, output_b) is the weighted mean of the bag's dot products; those wait
//         in `dots` for it.
template <class T, class Index, int kVec, class Tables>
__global__ void __launch_bounds__(256, 2) weights_grad_kernel(
    const __grid_constant__ Tables tables,
    const __grid_constant__ LookupsView<Index> lookups,
    const T* __restrict__ weights,
    bool mean,
    const T* __restrict__ grad_output,
    int64_t grad_stride,
    Acc<T>* __restrict__ dots,
    T* __restrict__ output,
    OffenceSink sink) {
  const Segment<T> segment = tables.of_place(blockIdx.y);
  const int lane = threadIdx.x;
  const int64_t b = int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  if (b >= lookups.batch) {
    return;
  }
  const Range bag = lookups.bag(b, segment.slot);
  const T* grad = grad_output + b * grad_stride + segment.column;
  bool offends = false;
  Acc<T> weight_sum = Acc<T>(0);
  Acc<T> weighted_dots = Acc<T>(0);
  for (int64_t position = bag.begin; position < bag.end; ++position) {
    const Index index = lookups.indices[position];
    const Named name = named(index, lookups, segment.num_rows);
    const bool counted = name == Named::kRow;
    offends |= name == Named::kNothing;
    Acc<T> dot = Acc<T>(0);
    if (counted) {
      const T* row = segment.row(index);
      for (int64_t column = lane * kVec; column < segment.dim; column += 32 * kVec) {
        const Vec<Acc<T>, kVec> a = widen(load<T, kVec>(row + column));
        const Vec<Acc<T>, kVec> g = widen(load<T, kVec>(grad + column));
#pragma unroll
        for (int i = 0; i < kVec; ++i) {
          dot += a.v[i] * g.v[i];
        }
      }
      dot = warp_sum(dot);
    }
    if (mean) {
      const Acc<T> weight = counted ? to_acc(weights[position]) : Acc<T>(0);
      weight_sum += weight;
      weighted_dots += weight * dot;
      if (lane == 0) {
        dots[position] = dot;
      }
    } else if (lane == 0) {
      output[position] = from_acc<T>(dot);
    }
  }
  if (mean) {
    __syncwarp();
    const Acc<T> common = weighted_dots / weight_sum;
    for (int64_t position = bag.begin + lane; position < bag.end; position += 32) {
      const bool counted =
          named(lookups.indices[position], lookups, segment.num_rows) == Named::kRow;
      const Acc<T> grad_weight = counted ? (dots[position] - common) / weight_sum : Acc<T>(0);
      output[position] = from_acc<T>(grad_weight);
    }
  }
  if (lane == 0) {
    if (offends) {
      report_offences(lookups, bag, segment.num_rows, segment.table, sink);
    }
    if (lookups.offsets != nullptr) {
      lookups.check_bag(segment.slot * lookups.batch + b, sink);
    }
  }
}

} // namespace embed_ops
