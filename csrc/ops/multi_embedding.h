// Host side of multi_embedding, over one tensor that holds all tables (packed or padded), for
// either backend.

#pragma once

#include <algorithm>

#include "ops/multi_lookups.h"

namespace embed_ops {

// Of packed storage, which wastes nothing.
inline int64_t packed_elements(const Sizes& num_embeddings, const Sizes& embedding_dims) {
  int64_t elements = 0;
  for (size_t i = 0; i < num_embeddings.size(); ++i) {
    elements += num_embeddings[i] * embedding_dims[i];
  }
  return elements;
}

// Of padded storage: tables side by side, each as tall as the tallest.
inline Sizes padded_shape(const Sizes& num_embeddings, const Sizes& embedding_dims) {
  return {*std::max_element(num_embeddings.begin(), num_embeddings.end()), total(embedding_dims)};
}

// Packed storage is 1-D, table after table; padded storage is 2-D, table beside table.
inline void check_storage(
    const Check& check,
    const Tensor& weight,
    const Sizes& num_embeddings,
    const Sizes& embedding_dims) {
  check.float_dtype("weight", weight);
  if (weight.dim() == 1) {
    check.shape("weight", weight, {packed_elements(num_embeddings, embedding_dims)});
  } else {
    if (weight.dim() != 2) {
      check.fail(
          "weight", "1 (packed) or 2 (padded) dimensions", concat("shape ", shape_text(weight)));
    }
    check.shape("weight", weight, padded_shape(num_embeddings, embedding_dims));
  }
}

inline std::vector<Table> tables_in(
    void* data,
    bool padded,
    int64_t padded_stride,
    size_t element_size,
    const Sizes& num_embeddings,
    const Sizes& embedding_dims) {
  std::vector<Table> tables;
  int64_t column = 0;
  int64_t start = 0; // in elements
  for (size_t i = 0; i < num_embeddings.size(); ++i) {
    const int64_t dim = embedding_dims[i];
    tables.push_back(
        {static_cast<char*>(data) + (padded ? column : start) * element_size, num_embeddings[i],
         padded ? padded_stride : dim, dim, column});
    start += num_embeddings[i] * dim;
    column += dim;
  }
  return tables;
}

// The storage of a multi_embedding weight as the kernels can read it.
inline Tensor readable_storage(const Tensor& weight) {
  return weight.dim() == 1 ? as_contiguous(weight) : with_dense_rows(weight);
}

inline std::vector<Table> tables_of_storage(
    const Tensor& storage,
    const Sizes& num_embeddings,
    const Sizes& embedding_dims) {
  const bool padded = storage.dim() == 2;
  return tables_in(
      const_cast<void*>(storage.const_data_ptr()), padded, padded ? storage.stride(0) : 0,
      storage.element_size(), num_embeddings, embedding_dims);
}

template <class Backend>
Tensor multi_embedding(
    const Tensor& weight,
    const Tensor& indices,
    const Sizes& num_embeddings,
    const Sizes& embedding_dims,
    const OptionalTensor& offsets,
    const std::string& mode,
    const OptionalTensor& per_sample_weights) {
  const Check check("multi_embedding");
  check_table_sizes(check, num_embeddings, embedding_dims);
  check_storage(check, weight, num_embeddings, embedding_dims);
  check_multi_lookups(
      check, static_cast<int64_t>(num_embeddings.size()), indices, offsets, per_sample_weights,
      "weight", weight);
  const Mode parsed = parse_mode(check, mode, /*max_allowed=*/false);
  Backend backend(weight);

  const Tensor storage = readable_storage(weight);
  return multi_gather(
      backend, OpId::kMultiEmbedding, storage,
      tables_of_storage(storage, num_embeddings, embedding_dims), total(embedding_dims), indices,
      offsets, per_sample_weights, parsed);
}

template <class Backend>
Tensor multi_embedding_dense_backward(
    const Tensor& grad_output,
    const Tensor& indices,
    const Sizes& num_embeddings,
    const Sizes& embedding_dims,
    const OptionalTensor& offsets,
    const std::string& mode,
    const OptionalTensor& per_sample_weights,
    bool padded,
    bool deterministic) {
  const Check check("multi_embedding_dense_backward");
  const Mode parsed = check_multi_gradient(
      check, grad_output, indices, num_embeddings, embedding_dims, offsets, mode,
      per_sample_weights);
  Backend backend(grad_output);

  Tensor grad_weight;
  if (padded) {
    // Zeros: the corners that pad a table to the tallest one belong to no table.
    grad_weight = allocate_zeros(grad_output, padded_shape(num_embeddings, embedding_dims));
  } else {
    grad_weight = allocate(grad_output, {packed_elements(num_embeddings, embedding_dims)});
  }
  if (grad_weight.numel() == 0) {
    return grad_weight;
  }
  multi_scatter(
      backend, OpId::kMultiEmbeddingDenseBackward,
      tables_in(
          grad_weight.mutable_data_ptr(), padded, total(embedding_dims), grad_weight.element_size(),
          num_embeddings, embedding_dims),
      grad_output, indices, offsets, per_sample_weights, parsed, deterministic,
      /*already_zero=*/padded);
  return grad_weight;
}

template <class Backend>
Tensor multi_embedding_per_sample_weights_backward(
    const Tensor& grad_output,
    const Tensor& weight,
    const Tensor& indices,
    const Sizes& num_embeddings,
    const Sizes& embedding_dims,
    const Tensor& offsets,
    const std::string& mode,
    const Tensor& per_sample_weights) {
  const Check check("multi_embedding_per_sample_weights_backward");
  check_table_sizes(check, num_embeddings, embedding_dims);
  check_storage(check, weight, num_embeddings, embedding_dims);
  const int64_t num_tables = static_cast<int64_t>(num_embeddings.size());
  check_multi_lookups(check, num_tables, indices, offsets, per_sample_weights, "weight", weight);
  const Mode parsed = parse_mode(check, mode, /*max_allowed=*/false);
  check.same_dtype("grad_output", grad_output, "weight", weight);
  check.same_device("grad_output", grad_output, "weight", weight);
  check.shape(
      "grad_output", grad_output,
      {multi_batch(num_tables, indices, offsets), total(embedding_dims)});
  Backend backend(weight);

  const Tensor storage = readable_storage(weight);
  return multi_weights_grad(
      backend, OpId::kMultiEmbeddingPerSampleWeightsBackward,
      tables_of_storage(storage, num_embeddings, embedding_dims), grad_output, indices, offsets,
      per_sample_weights, parsed);
}

} // namespace embed_ops
