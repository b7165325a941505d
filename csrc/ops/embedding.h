// Host side of embedding, its dense gradient and the renormalisation of max_norm, for either
// backend.

#pragma once

#include "common/tensors.h"

namespace embed_ops {

// Every index is a bag of its own.
inline Lookups single_lookups(const Tensor& indices) {
  Lookups lookups;
  set_indices(lookups, indices);
  lookups.batch = lookups.num_indices;
  return lookups;
}

template <class Backend>
Tensor embedding(
    const Tensor& weight,
    const Tensor& indices,
    int64_t padding_idx,
    bool /*scale_grad_by_freq*/) {
  const Check check("embedding");
  check_table(check, "weight", weight);
  check_indices(check, indices, "weight", weight);
  check.padding_idx(padding_idx, weight.size(0));
  Backend backend(weight);

  const auto sizes = indices.sizes();
  std::vector<int64_t> shape(sizes.begin(), sizes.end());
  shape.push_back(weight.size(1));
  Tensor output = allocate(weight, shape);
  if (output.numel() == 0) {
    return output;
  }
  const Tensor rows = with_dense_rows(weight);
  const Tensor dense_indices = as_contiguous(indices);
  backend.gather(
      {OpId::kEmbedding,
       dtype_of(weight),
       {table_of(rows)},
       single_lookups(dense_indices),
       output.mutable_data_ptr(),
       weight.size(1)});
  return output;
}

// The width of the table.
inline int64_t check_embedding_gradient(
    const Check& check,
    const Tensor& grad_output,
    const Tensor& indices,
    int64_t num_weights,
    int64_t padding_idx) {
  check.float_dtype("grad_output", grad_output);
  check_indices(check, indices, "grad_output", grad_output);
  check.rank("grad_output", grad_output, indices.dim() + 1);
  const int64_t dim = grad_output.size(indices.dim());
  const auto sizes = indices.sizes();
  std::vector<int64_t> shape(sizes.begin(), sizes.end());
  shape.push_back(dim);
  check.shape("grad_output", grad_output, shape);
  check.at_least("num_weights", num_weights, 0);
  check.padding_idx(padding_idx, num_weights);
  return dim;
}

// The gradient of `table` from contiguous tensors.
inline Scatter embedding_scatter(
    OpId op,
    const Table& table,
    const Tensor& dense_grad,
    const Tensor& dense_indices,
    int64_t padding_idx,
    bool scale_grad_by_freq) {
  Scatter scatter{op,
                  dtype_of(dense_grad),
                  {table},
                  single_lookups(dense_indices),
                  dense_grad.const_data_ptr(),
                  table.dim};
  scatter.lookups.padding_idx = padding_idx;
  scatter.scale_grad_by_freq = scale_grad_by_freq;
  return scatter;
}

template <class Backend>
Tensor embedding_dense_backward(
    const Tensor& grad_output,
    const Tensor& indices,
    int64_t num_weights,
    int64_t padding_idx,
    bool scale_grad_by_freq,
    bool deterministic) {
  const Check check("embedding_dense_backward");
  const int64_t dim =
      check_embedding_gradient(check, grad_output, indices, num_weights, padding_idx);
  Backend backend(grad_output);

  Tensor grad_weight = allocate(grad_output, {num_weights, dim});
  if (grad_weight.numel() == 0) {
    return grad_weight;
  }
  const Tensor dense_grad = as_contiguous(grad_output);
  const Tensor dense_indices = as_contiguous(indices);
  Scatter scatter = embedding_scatter(
      OpId::kEmbeddingDenseBackward, gradient_table_of(grad_weight), dense_grad, dense_indices,
      padding_idx, scale_grad_by_freq);
  scatter.deterministic = deterministic;
  backend.scatter(scatter);
  return grad_weight;
}

template <class Backend>
void embedding_renorm_(
    const Tensor& weight,
    const Tensor& indices,
    double max_norm,
    double norm_type) {
  const Check check("embedding_renorm_");
  check_table(check, "weight", weight);
  if (weight.size(1) > 1 && weight.stride(1) != 1) {
    check.fail(
        "weight", "rows of adjacent elements",
        concat("stride ", weight.stride(1), " between columns"));
  }
  check_indices(check, indices, "weight", weight);
  if (!(max_norm >= 0)) {
    check.fail("max_norm", "a value of at least 0", concat(max_norm));
  }
  if (!(norm_type > 0)) {
    check.fail("norm_type", "a value above 0", concat(norm_type));
  }
  Backend backend(weight);

  if (weight.numel() == 0 && indices.numel() == 0) {
    return;
  }
  const Tensor dense_indices = as_contiguous(indices);
  Table table = table_of(weight);
  table.data = weight.mutable_data_ptr();
  backend.renorm(
      {OpId::kEmbeddingRenorm, dtype_of(weight), table, single_lookups(dense_indices), max_norm,
       norm_type});
}

} // namespace embed_ops
