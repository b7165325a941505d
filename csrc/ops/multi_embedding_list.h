// Host side of multi_embedding_list, over separate weights, for either backend.

#pragma once

#include "ops/multi_lookups.h"

namespace embed_ops {

inline std::vector<Table> tables_of(const std::vector<Tensor>& matrices, bool gradient) {
  std::vector<Table> tables;
  int64_t column = 0;
  for (const Tensor& matrix : matrices) {
    tables.push_back(gradient ? gradient_table_of(matrix) : table_of(matrix));
    tables.back().column = column;
    column += tables.back().dim;
  }
  return tables;
}

inline void check_weights(const Check& check, const std::vector<Tensor>& weights) {
  check.require(!weights.empty(), "weights", "at least 1 tensor", "0 tensors");
  for (const Tensor& weight : weights) {
    check_table(check, "weights", weight);
    check.same_dtype("weights", weight, "weights[0]", weights[0]);
    check.same_device("weights", weight, "weights[0]", weights[0]);
    if (weight.size(1) < 1) {
      check.fail("weights", "a width of at least 1", concat("shape ", shape_text(weight)));
    }
  }
}

inline std::vector<Tensor> all_with_dense_rows(const std::vector<Tensor>& weights) {
  std::vector<Tensor> rows;
  for (const Tensor& weight : weights) {
    rows.push_back(with_dense_rows(weight));
  }
  return rows;
}

inline Sizes widths(const std::vector<Tensor>& weights) {
  Sizes dims;
  for (const Tensor& weight : weights) {
    dims.push_back(weight.size(1));
  }
  return dims;
}

template <class Backend>
Tensor multi_embedding_list(
    const std::vector<Tensor>& weights,
    const Tensor& indices,
    const OptionalTensor& offsets,
    const std::string& mode,
    const OptionalTensor& per_sample_weights) {
  const Check check("multi_embedding_list");
  check_weights(check, weights);
  check_multi_lookups(
      check, static_cast<int64_t>(weights.size()), indices, offsets, per_sample_weights,
      "weights[0]", weights[0]);
  const Mode parsed = parse_mode(check, mode, /*max_allowed=*/false);
  Backend backend(weights[0]);

  const std::vector<Tensor> rows = all_with_dense_rows(weights);
  return multi_gather(
      backend, OpId::kMultiEmbeddingList, rows[0], tables_of(rows, /*gradient=*/false),
      total(widths(weights)), indices, offsets, per_sample_weights, parsed);
}

template <class Backend>
std::vector<Tensor> multi_embedding_list_dense_backward(
    const Tensor& grad_output,
    const Tensor& indices,
    const Sizes& num_embeddings,
    const Sizes& embedding_dims,
    const OptionalTensor& offsets,
    const std::string& mode,
    const OptionalTensor& per_sample_weights,
    bool deterministic) {
  const Check check("multi_embedding_list_dense_backward");
  const Mode parsed = check_multi_gradient(
      check, grad_output, indices, num_embeddings, embedding_dims, offsets, mode,
      per_sample_weights);
  Backend backend(grad_output);

  std::vector<Tensor> grad_weights;
  for (size_t i = 0; i < num_embeddings.size(); ++i) {
    grad_weights.push_back(allocate(grad_output, {num_embeddings[i], embedding_dims[i]}));
  }
  multi_scatter(
      backend, OpId::kMultiEmbeddingListDenseBackward, tables_of(grad_weights, /*gradient=*/true),
      grad_output, indices, offsets, per_sample_weights, parsed, deterministic,
      /*already_zero=*/false);
  return grad_weights;
}

template <class Backend>
Tensor multi_embedding_list_per_sample_weights_backward(
    const Tensor& grad_output,
    const std::vector<Tensor>& weights,
    const Tensor& indices,
    const Tensor& offsets,
    const std::string& mode,
    const Tensor& per_sample_weights) {
  const Check check("multi_embedding_list_per_sample_weights_backward");
  check_weights(check, weights);
  const int64_t num_tables = static_cast<int64_t>(weights.size());
  check_multi_lookups(
      check, num_tables, indices, offsets, per_sample_weights, "weights[0]", weights[0]);
  const Mode parsed = parse_mode(check, mode, /*max_allowed=*/false);
  check.same_dtype("grad_output", grad_output, "weights[0]", weights[0]);
  check.same_device("grad_output", grad_output, "weights[0]", weights[0]);
  check.shape(
      "grad_output", grad_output,
      {multi_batch(num_tables, indices, offsets), total(widths(weights))});
  Backend backend(weights[0]);

  const std::vector<Tensor> rows = all_with_dense_rows(weights);
  return multi_weights_grad(
      backend, OpId::kMultiEmbeddingListPerSampleWeightsBackward,
      tables_of(rows, /*gradient=*/false), grad_output, indices, offsets, per_sample_weights,
      parsed);
}

} // namespace embed_ops
