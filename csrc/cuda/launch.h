// The one way to launch a kernel, and the error of a CUDA call that failed.

#pragma once

#include <cuda_runtime.h>

#include <stdexcept>
#include <utility>

#include "common/check.h"
#include "kernels/plan.h"

namespace embed_ops {

inline void check_cuda(cudaError_t error, const char* what) {
  if (error != cudaSuccess) {
    throw std::runtime_error(concat("embed_ops: ", what, " failed: ", cudaGetErrorString(error)));
  }
}

template <class... Parameters, class... Arguments>
void launch(
    void (*kernel)(Parameters...),
    const Plan& plan,
    size_t shared_bytes,
    cudaStream_t stream,
    Arguments&&... arguments) {
  if (plan.grid_x == 0 || plan.grid_y == 0 || plan.grid_z == 0) {
    return;
  }
  const dim3 grid(plan.grid_x, plan.grid_y, plan.grid_z);
  const dim3 block(plan.block_x, plan.block_y, plan.block_z);
  kernel<<<grid, block, shared_bytes, stream>>>(std::forward<Arguments>(arguments)...);
  check_cuda(cudaGetLastError(), "a kernel launch");
}

} // namespace embed_ops
