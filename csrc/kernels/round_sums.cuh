// Sums of fp32, rounded to the gradient's type.

#pragma once

#include "kernels/pdl.cuh"
#include "kernels/vec.cuh"

namespace embed_ops {

// One thread per kVec elements of `count`. Others write `sums` until the wait is over: no
// __restrict__, by which they could be read as constants.
template <class T, int kVec>
__global__ void __launch_bounds__(256)
    round_sums_kernel(const float* sums, T* gradient, int64_t count) {
  follow_the_chain();
  const int64_t first = (int64_t{blockIdx.x} * 256 + threadIdx.x) * kVec;
  if (first < count) {
    store_narrowed<T, kVec>(gradient + first, load<float, kVec>(sums + first));
  }
}

} // namespace embed_ops
