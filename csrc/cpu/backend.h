// The CPU backend: what csrc/ops calls to run a problem on the host.

#pragma once

#include "common/problem.h"
#include "common/tensors.h"

namespace embed_ops {

class Cpu {
 public:
  explicit Cpu(const Tensor& /*like*/) {}

  void gather(const Gather& problem);
  void scatter(const Scatter& problem);
  void weights_grad(const WeightsGrad& problem);
  void renorm(const Renorm& problem);
};

} // namespace embed_ops
