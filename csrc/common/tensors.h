// From tensors to the plain structs of problem.h, and the checks that several ops share.

#pragma once

#include <torch/csrc/stable/ops.h>

#include <optional>
#include <string>
#include <vector>

#include "check.h"
#include "problem.h"

namespace embed_ops {

using OptionalTensor = std::optional<Tensor>;

inline Tensor as_contiguous(const Tensor& tensor) {
  return tensor.is_contiguous() ? tensor : torch::stable::contiguous(tensor);
}

// Kernels take any distance between rows but want each row's elements side by side.
inline Tensor with_dense_rows(const Tensor& matrix) {
  const bool dense = matrix.size(1) <= 1 || matrix.stride(1) == 1;
  return dense ? matrix : torch::stable::contiguous(matrix);
}

inline Table table_of(const Tensor& matrix) {
  return {
      const_cast<void*>(matrix.const_data_ptr()), matrix.size(0), matrix.stride(0), matrix.size(1),
      0};
}

inline Table gradient_table_of(const Tensor& matrix) {
  return {matrix.mutable_data_ptr(), matrix.size(0), matrix.size(1), matrix.size(1), 0};
}

inline bool is_64bit(const Tensor& indices) {
  return indices.scalar_type() == ScalarType::Long;
}

inline void set_indices(Lookups& lookups, const Tensor& indices) {
  lookups.indices = indices.const_data_ptr();
  lookups.indices_are_64bit = is_64bit(indices);
  lookups.num_indices = indices.numel();
}

inline void set_offsets(Lookups& lookups, const Tensor& offsets) {
  lookups.offsets = offsets.const_data_ptr();
  lookups.offsets_are_64bit = is_64bit(offsets);
  lookups.num_offsets = offsets.numel();
}

inline Mode parse_mode(const Check& check, const std::string& mode, bool max_allowed) {
  if (mode == "sum") {
    return Mode::kSum;
  }
  if (mode == "mean") {
    return Mode::kMean;
  }
  if (mode == "max" && max_allowed) {
    return Mode::kMax;
  }
  check.fail("mode", max_allowed ? "'sum', 'mean' or 'max'" : "'sum' or 'mean'", quoted(mode));
}

inline void check_table(const Check& check, const char* argument, const Tensor& weight) {
  check.float_dtype(argument, weight);
  check.rank(argument, weight, 2);
}

inline void check_indices(
    const Check& check,
    const Tensor& indices,
    const char* other_name,
    const Tensor& other) {
  check.index_dtype("indices", indices);
  check.same_device("indices", indices, other_name, other);
}

} // namespace embed_ops
