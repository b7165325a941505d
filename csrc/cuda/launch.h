// The one way to launch a kernel, and the error of a CUDA call that failed.

#pragma once

#include <cuda_runtime.h>

#include <limits>
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

// How a kernel is launched besides its shape.
struct LaunchMode {
  // The kernel may begin before the one launched before it has ended (kernels/pdl.cuh).
  bool early = false;
  // Multiprocessors give shared memory most of what it divides with the L1. For kernels that need
  // it, and for those during which they begin: to divide anew, a multiprocessor has to be idle.
  bool most_shared = false;
};

// Whether the driver lets a launch say so; CUDA 12.5 brought it.
inline bool can_divide_for_launch() {
  static const bool can = [] {
    int driver = 0;
    return cudaDriverGetVersion(&driver) == cudaSuccess && driver >= 12050;
  }();
  return can;
}

template <class... Parameters, class... Arguments>
void launch_on(
    cudaStream_t stream,
    const LaunchMode& mode,
    void (*kernel)(Parameters...),
    const Plan& plan,
    size_t shared_bytes,
    Arguments&&... arguments) {
  if (plan.grid_x == 0 || plan.grid_y == 0 || plan.grid_z == 0) {
    return;
  }
  if (plan.grid_x > std::numeric_limits<int32_t>::max() || plan.grid_y > 0xffff ||
      plan.grid_z > 0xffff) {
    throw std::runtime_error(concat(
        "embed_ops: a problem of this size needs a grid of ", plan.grid_x, " x ", plan.grid_y,
        " x ", plan.grid_z, " blocks, more than CUDA has"));
  }
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(
      static_cast<unsigned>(plan.grid_x), static_cast<unsigned>(plan.grid_y),
      static_cast<unsigned>(plan.grid_z));
  config.blockDim = dim3(plan.block_x, plan.block_y);
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  cudaLaunchAttribute attributes[2] = {};
  config.attrs = attributes;
  if (mode.early) {
    cudaLaunchAttribute& attribute = attributes[config.numAttrs++];
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
  }
#if CUDART_VERSION >= 12050
  if (mode.most_shared && can_divide_for_launch()) {
    cudaLaunchAttribute& attribute = attributes[config.numAttrs++];
    attribute.id = cudaLaunchAttributePreferredSharedMemoryCarveout;
    attribute.val.sharedMemCarveout = cudaSharedmemCarveoutMaxShared;
  }
#endif
  check_cuda(
      cudaLaunchKernelEx(&config, kernel, Parameters(std::forward<Arguments>(arguments))...),
      "a kernel launch");
}

template <class... Parameters, class... Arguments>
void launch(
    void (*kernel)(Parameters...),
    const Plan& plan,
    size_t shared_bytes,
    cudaStream_t stream,
    Arguments&&... arguments) {
  launch_on(stream, {}, kernel, plan, shared_bytes, std::forward<Arguments>(arguments)...);
}

} // namespace embed_ops
