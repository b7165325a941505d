// What the ops over many tables share, wherever the tables lie: checks, lookups, the work itself.

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

} // namespace embed_ops
