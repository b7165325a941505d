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
  void compress(const Compress& problem);
  void row_ids(const RowIds& problem);
  void offsets(const Offsets& problem);
  void transpose(const Transpose& problem);
  void compress_indices(const CompressIndices& problem);
};

} // namespace embed_ops
