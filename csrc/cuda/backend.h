// The CUDA backend: what csrc/ops calls to run a problem on the current stream of the tensors'
// device.

#pragma once

#include <cuda_runtime.h>

#include <torch/csrc/stable/accelerator.h>

#include <vector>

#include "common/problem.h"
#include "common/tensors.h"
#include "cuda/launch.h"
#include "cuda/runtime.h"
#include "kernels/offence.cuh"

namespace embed_ops {

class Cuda {
 public:
  // Raises what earlier kernels on the device recorded.
  explicit Cuda(const Tensor& like);

  void gather(const Gather& problem);
  void scatter(const Scatter& problem);
  void weights_grad(const WeightsGrad& problem);
  void renorm(const Renorm& problem);
  void compress(const Compress& problem);
  void row_ids(const RowIds& problem);
  void offsets(const Offsets& problem);
  void transpose(const Transpose& problem);
  void compress_indices(const CompressIndices& problem);

  cudaStream_t stream() const {
    return stream_;
  }

  int processors() const {
    return processors_;
  }

  bool has_early_launch() const {
    return embed_ops::has_early_launch(device_);
  }

  OffenceSink sink(OpId op) const;

  // Memory of torch's caching allocator, on loan until this call's backend goes.
  template <class T>
  T* workspace(int64_t count) {
    return static_cast<T*>(workspace_bytes(count * static_cast<int64_t>(sizeof(T))));
  }

 private:
  void* workspace_bytes(int64_t bytes);

  Tensor like_;
  torch::stable::accelerator::DeviceGuard guard_;
  int device_;
  int processors_;
  cudaStream_t stream_;
  std::vector<Tensor> workspaces_;
};

// Launches a kernel that waits for the one before it (follow_the_chain, kernels/pdl.cuh): their
// launches overlap.
template <class... Parameters, class... Arguments>
void follow(Cuda& cuda, void (*kernel)(Parameters...), const Plan& plan, Arguments&&... arguments) {
  launch_on(
      cuda.stream(), {cuda.has_early_launch()}, kernel, plan, 0,
      std::forward<Arguments>(arguments)...);
}

} // namespace embed_ops
