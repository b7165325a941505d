// From tensors to the plain structs of problem.h, and the checks that several ops share.

#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/ops.h>
#include <torch/headeronly/util/shim_utils.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "check.h"
#include "problem.h"

namespace embed_ops {

using OptionalTensor = std::optional<Tensor>;

// Uninitialised, on the device of `like`. torch::stable::new_empty does the same through the
// dispatcher, by name; that takes longer than the rest of what the host does for a small lookup.
inline Tensor allocate(const Tensor& like, Shape shape, int32_t dtype) {
  std::vector<int64_t> strides(shape.size());
  int64_t stride = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    strides[i] = stride;
    stride *= std::max<int64_t>(shape[i], 1);
  }
  int32_t device_type = 0;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(like.get(), &device_type));
  AtenTensorHandle handle = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(
      static_cast<int64_t>(shape.size()), shape.data(), strides.data(), dtype, device_type,
      like.get_device_index(), &handle));
  return Tensor(handle);
}

// Of the dtype of `like`, too.
inline Tensor allocate(const Tensor& like, Shape shape) {
  int32_t dtype = 0;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(like.get(), &dtype));
  return allocate(like, shape, dtype);
}

inline Tensor allocate_zeros(const Tensor& like, Shape shape) {
  Tensor zeros = allocate(like, shape);
  TORCH_ERROR_CODE_CHECK(aoti_torch_zero_(zeros.get()));
  return zeros;
}

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
