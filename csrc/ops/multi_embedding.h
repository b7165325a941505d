// Host side of multi_embedding, over one tensor that holds all tables (packed or padded) and over
// a list of separate weights, for either backend.

#pragma once

#include <algorithm>

#include "common/tensors.h"

namespace embed_ops {

using Sizes = std::vector<int64_t>;

inline int64_t total(const Sizes& sizes) {
  int64_t sum = 0;
  for (const int64_t size : sizes) {
    sum += size;
  }
  return sum;
}

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

inline void check_table_sizes(
    const Check& check,
    const Sizes& num_embeddings,
    const Sizes& embedding_dims) {
  check.require(!num_embeddings.empty(), "num_embeddings", "at least 1 value", "0 values");
  if (embedding_dims.size() != num_embeddings.size()) {
    check.fail(
        "embedding_dims", concat(num_embeddings.size(), " values (as num_embeddings)"),
        concat(embedding_dims.size(), " values"));
  }
  int64_t tallest = 0;
  int64_t width = 0;
  bool overflow = false;
  for (size_t i = 0; i < num_embeddings.size(); ++i) {
    if (num_embeddings[i] < 0) {
      check.fail("num_embeddings", "values of at least 0", concat(num_embeddings[i]));
    }
    if (embedding_dims[i] < 1) {
      check.fail("embedding_dims", "values of at least 1", concat(embedding_dims[i]));
    }
    tallest = std::max(tallest, num_embeddings[i]);
    overflow = __builtin_add_overflow(width, embedding_dims[i], &width) || overflow;
  }
  // Packed storage takes no more than padded.
  int64_t elements = 0;
  overflow = __builtin_mul_overflow(tallest, width, &elements) || overflow;
  check.require(!overflow, "num_embeddings", "tables of fewer than 2^63 elements", "more");
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

// Without offsets one lookup per sample and table, with offsets one bag per table and sample.
inline void check_multi_lookups(
    const Check& check,
    int64_t num_tables,
    const Tensor& indices,
    const OptionalTensor& offsets,
    const OptionalTensor& per_sample_weights,
    const char* other_name,
    const Tensor& other) {
  check_indices(check, indices, other_name, other);
  if (!offsets) {
    if (indices.dim() != 2 || indices.size(1) != num_tables) {
      check.fail(
          "indices", concat("shape (batch, ", num_tables, ") without offsets"),
          concat("shape ", shape_text(indices)));
    }
    check.require(!per_sample_weights, "per_sample_weights", "None without offsets", "a tensor");
    return;
  }
  check.rank("indices", indices, 1, " with offsets");
  check.index_dtype("offsets", *offsets);
  check.same_device("offsets", *offsets, other_name, other);
  check.rank("offsets", *offsets, 1);
  const int64_t count = offsets->size(0);
  if (count < 1 || (count - 1) % num_tables != 0) {
    check.fail(
        "offsets", concat("a multiple of ", num_tables, " elements plus 1"),
        concat("shape ", shape_text(*offsets)));
  }
  if (per_sample_weights) {
    check.same_dtype("per_sample_weights", *per_sample_weights, other_name, other);
    check.same_device("per_sample_weights", *per_sample_weights, other_name, other);
    check.shape("per_sample_weights", *per_sample_weights, {indices.size(0)});
  }
}

// Holds the contiguous tensors that `lookups` points into.
struct MultiLookups {
  Tensor indices;
  OptionalTensor offsets;
  OptionalTensor per_sample_weights;
  Lookups lookups;
};

inline int64_t multi_batch(
    int64_t num_tables,
    const Tensor& indices,
    const OptionalTensor& offsets) {
  return offsets ? (offsets->size(0) - 1) / num_tables : indices.size(0);
}

inline MultiLookups make_multi_lookups(
    int64_t num_tables,
    const Tensor& indices,
    const OptionalTensor& offsets,
    const OptionalTensor& per_sample_weights,
    Mode mode) {
  MultiLookups multi{as_contiguous(indices), {}, {}, {}};
  Lookups& lookups = multi.lookups;
  set_indices(lookups, multi.indices);
  lookups.num_tables = num_tables;
  lookups.batch = multi_batch(num_tables, indices, offsets);
  lookups.mode = offsets ? mode : Mode::kSum; // the mean of one row is the row
  if (offsets) {
    multi.offsets = as_contiguous(*offsets);
    set_offsets(lookups, *multi.offsets);
  }
  if (per_sample_weights) {
    multi.per_sample_weights = as_contiguous(*per_sample_weights);
    lookups.per_sample_weights = multi.per_sample_weights->const_data_ptr();
  }
  return multi;
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

inline Mode check_multi_gradient(
    const Check& check,
    const Tensor& grad_output,
    const Tensor& indices,
    const Sizes& num_embeddings,
    const Sizes& embedding_dims,
    const OptionalTensor& offsets,
    const std::string& mode,
    const OptionalTensor& per_sample_weights) {
  check_table_sizes(check, num_embeddings, embedding_dims);
  check_table(check, "grad_output", grad_output);
  const int64_t num_tables = static_cast<int64_t>(num_embeddings.size());
  check_multi_lookups(
      check, num_tables, indices, offsets, per_sample_weights, "grad_output", grad_output);
  const Mode parsed = parse_mode(check, mode, /*max_allowed=*/false);
  check.shape(
      "grad_output", grad_output,
      {multi_batch(num_tables, indices, offsets), total(embedding_dims)});
  return parsed;
}

template <class Backend>
Tensor multi_gather(
    Backend& backend,
    OpId op,
    const Tensor& like,
    std::vector<Table> tables,
    int64_t width,
    const Tensor& indices,
    const OptionalTensor& offsets,
    const OptionalTensor& per_sample_weights,
    Mode mode) {
  const int64_t num_tables = static_cast<int64_t>(tables.size());
  Tensor output = allocate(like, {multi_batch(num_tables, indices, offsets), width});
  if (output.numel() == 0) {
    return output;
  }
  const MultiLookups multi =
      make_multi_lookups(num_tables, indices, offsets, per_sample_weights, mode);
  backend.gather(
      {op, dtype_of(like), std::move(tables), multi.lookups, output.mutable_data_ptr(), width});
  return output;
}

template <class Backend>
void multi_scatter(
    Backend& backend,
    OpId op,
    std::vector<Table> tables,
    const Tensor& grad_output,
    const Tensor& indices,
    const OptionalTensor& offsets,
    const OptionalTensor& per_sample_weights,
    Mode mode,
    bool deterministic,
    bool already_zero) {
  const Tensor dense_grad = with_dense_rows(grad_output);
  const MultiLookups multi = make_multi_lookups(
      static_cast<int64_t>(tables.size()), indices, offsets, per_sample_weights, mode);
  Scatter scatter{
      op,
      dtype_of(grad_output),
      std::move(tables),
      multi.lookups,
      dense_grad.const_data_ptr(),
      dense_grad.stride(0)};
  scatter.deterministic = deterministic;
  scatter.already_zero = already_zero;
  backend.scatter(scatter);
}

template <class Backend>
Tensor multi_weights_grad(
    Backend& backend,
    OpId op,
    std::vector<Table> tables,
    const Tensor& grad_output,
    const Tensor& indices,
    const Tensor& offsets,
    const Tensor& per_sample_weights,
    Mode mode) {
  // Zeros: offsets may leave lookups at either end that belong to no bag.
  Tensor output = allocate_zeros(per_sample_weights, {indices.size(0)});
  if (output.numel() == 0 || grad_output.size(0) == 0) {
    return output;
  }
  const Tensor dense_grad = with_dense_rows(grad_output);
  const MultiLookups multi = make_multi_lookups(
      static_cast<int64_t>(tables.size()), indices, offsets, per_sample_weights, mode);
  backend.weights_grad(
      {op, dtype_of(grad_output), std::move(tables), multi.lookups, dense_grad.const_data_ptr(),
       dense_grad.stride(0), output.mutable_data_ptr()});
  return output;
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
