// Host side of the compressed gradients of embedding, embedding_bag and multi_embedding, for either
// backend: the rows that are named and their gradients, with as many rows as there are (exact) or
// room for more (padded).

#pragma once

#include "ops/embedding.h"
#include "ops/embedding_bag.h"
#include "ops/multi_lookups.h"

namespace embed_ops {

// A table that is nowhere in memory, for its number of rows and its place among the columns.
inline Table absent_table(int64_t num_rows, int64_t dim, int64_t column = 0) {
  return {nullptr, num_rows, dim, dim, column};
}

// The tensors of the compressed gradient of one table.
struct CompressedTensors {
  Tensor values;
  Tensor rows;

  CompressedTensors(const Tensor& grad_output, const Tensor& indices, int64_t size, int64_t dim)
      : values(allocate(grad_output, {size, dim})), rows(allocate(indices, {size})) {}

  CompressedTable table() const {
    return {values.mutable_data_ptr(), rows.mutable_data_ptr(), rows.size(0)};
  }
};

template <class Backend>
std::vector<CompressedTensors> compress_exactly(
    Backend& backend,
    Scatter scatter,
    const Tensor& grad_output,
    const Tensor& indices) {
  std::vector<CompressedTensors> results;
  Compress problem{std::move(scatter), {}, {}};
  problem.allocate = [&](const std::vector<int64_t>& counts) {
    std::vector<CompressedTable> outputs;
    for (size_t t = 0; t < counts.size(); ++t) {
      results.emplace_back(grad_output, indices, counts[t], problem.scatter.tables[t].dim);
      outputs.push_back(results.back().table());
    }
    return outputs;
  };
  backend.compress(problem);
  return results;
}

template <class Backend>
std::vector<CompressedTensors> compress_padded(
    Backend& backend,
    Scatter scatter,
    const Tensor& grad_output,
    const Tensor& indices,
    int64_t size,
    Tensor& num_unique) {
  std::vector<CompressedTensors> results;
  Compress problem{std::move(scatter), {}, {}};
  for (const Table& table : problem.scatter.tables) {
    results.emplace_back(grad_output, indices, size, table.dim);
    problem.outputs.push_back(results.back().table());
  }
  problem.num_unique = static_cast<int64_t*>(num_unique.mutable_data_ptr());
  backend.compress(problem);
  return results;
}

// How many rows a padded result has room for.
inline int64_t padded_size(
    const Check& check,
    const std::optional<int64_t>& size,
    const Tensor& indices) {
  if (!size) {
    return indices.numel();
  }
  check.at_least("size", *size, 0);
  return *size;
}

inline Tensor new_counts(const Tensor& like, const std::vector<int64_t>& shape) {
  return allocate(like, shape, aoti_torch_dtype_int64());
}

template <class Backend>
std::tuple<Tensor, Tensor> embedding_compressed_backward(
    const Tensor& grad_output,
    const Tensor& indices,
    int64_t num_weights,
    int64_t padding_idx,
    bool scale_grad_by_freq) {
  const Check check("embedding_compressed_backward");
  const int64_t dim =
      check_embedding_gradient(check, grad_output, indices, num_weights, padding_idx);
  Backend backend(grad_output);

  const Tensor dense_grad = as_contiguous(grad_output);
  const Tensor dense_indices = as_contiguous(indices);
  const auto results = compress_exactly(
      backend,
      embedding_scatter(
          OpId::kEmbeddingCompressedBackward, absent_table(num_weights, dim), dense_grad,
          dense_indices, padding_idx, scale_grad_by_freq),
      grad_output, indices);
  return {results[0].values, results[0].rows};
}

template <class Backend>
std::tuple<Tensor, Tensor, Tensor> embedding_compressed_backward_padded(
    const Tensor& grad_output,
    const Tensor& indices,
    int64_t num_weights,
    int64_t padding_idx,
    bool scale_grad_by_freq,
    std::optional<int64_t> size) {
  const Check check("embedding_compressed_backward_padded");
  const int64_t dim =
      check_embedding_gradient(check, grad_output, indices, num_weights, padding_idx);
  const int64_t room = padded_size(check, size, indices);
  Backend backend(grad_output);

  const Tensor dense_grad = as_contiguous(grad_output);
  const Tensor dense_indices = as_contiguous(indices);
  Tensor num_unique = new_counts(indices, {});
  const auto results = compress_padded(
      backend,
      embedding_scatter(
          OpId::kEmbeddingCompressedBackwardPadded, absent_table(num_weights, dim), dense_grad,
          dense_indices, padding_idx, scale_grad_by_freq),
      grad_output, indices, room, num_unique);
  return {results[0].values, results[0].rows, num_unique};
}

// Holds the contiguous tensors that `scatter` points into.
struct BagScatter {
  Bags bags;
  Tensor dense_grad;
  Tensor dense_argmax;
  Scatter scatter;

  BagScatter(
      OpId op,
      const Tensor& grad_output,
      const Tensor& indices,
      const OptionalTensor& offsets,
      const OptionalTensor& per_sample_weights,
      const Tensor& argmax,
      int64_t num_weights,
      bool scale_grad_by_freq,
      Mode mode,
      bool include_last_offset,
      int64_t padding_idx)
      : bags(make_bags(
            indices,
            offsets,
            per_sample_weights,
            include_last_offset,
            mode,
            padding_idx)),
        dense_grad(with_dense_rows(grad_output)),
        dense_argmax(as_contiguous(argmax)),
        scatter{
            op,
            dtype_of(grad_output),
            {absent_table(num_weights, grad_output.size(1))},
            bags.lookups,
            dense_grad.const_data_ptr(),
            dense_grad.stride(0),
            mode == Mode::kMax ? dense_argmax.const_data_ptr() : nullptr,
            scale_grad_by_freq} {}
};

template <class Backend>
std::tuple<Tensor, Tensor> embedding_bag_compressed_backward(
    const Tensor& grad_output,
    const Tensor& indices,
    const OptionalTensor& offsets,
    const OptionalTensor& per_sample_weights,
    const Tensor& argmax,
    int64_t num_weights,
    bool scale_grad_by_freq,
    const std::string& mode,
    bool include_last_offset,
    int64_t padding_idx) {
  const Check check("embedding_bag_compressed_backward");
  const Mode parsed = check_bag_gradient(
      check, grad_output, indices, offsets, per_sample_weights, argmax, num_weights,
      scale_grad_by_freq, mode, include_last_offset, padding_idx);
  Backend backend(grad_output);

  const BagScatter bags(
      OpId::kEmbeddingBagCompressedBackward, grad_output, indices, offsets, per_sample_weights,
      argmax, num_weights, scale_grad_by_freq, parsed, include_last_offset, padding_idx);
  const auto results = compress_exactly(backend, bags.scatter, grad_output, indices);
  return {results[0].values, results[0].rows};
}

template <class Backend>
std::tuple<Tensor, Tensor, Tensor> embedding_bag_compressed_backward_padded(
    const Tensor& grad_output,
    const Tensor& indices,
    const OptionalTensor& offsets,
    const OptionalTensor& per_sample_weights,
    const Tensor& argmax,
    int64_t num_weights,
    bool scale_grad_by_freq,
    const std::string& mode,
    bool include_last_offset,
    int64_t padding_idx,
    std::optional<int64_t> size) {
  const Check check("embedding_bag_compressed_backward_padded");
  const Mode parsed = check_bag_gradient(
      check, grad_output, indices, offsets, per_sample_weights, argmax, num_weights,
      scale_grad_by_freq, mode, include_last_offset, padding_idx);
  const int64_t room = padded_size(check, size, indices);
  Backend backend(grad_output);

  const BagScatter bags(
      OpId::kEmbeddingBagCompressedBackwardPadded, grad_output, indices, offsets,
      per_sample_weights, argmax, num_weights, scale_grad_by_freq, parsed, include_last_offset,
      padding_idx);
  Tensor num_unique = new_counts(indices, {});
  const auto results =
      compress_padded(backend, bags.scatter, grad_output, indices, room, num_unique);
  return {results[0].values, results[0].rows, num_unique};
}

// Holds the contiguous tensors that `scatter` points into.
struct MultiScatter {
  MultiLookups multi;
  Tensor dense_grad;
  Scatter scatter;

  MultiScatter(
      OpId op,
      const Tensor& grad_output,
      const Tensor& indices,
      const Sizes& num_embeddings,
      const Sizes& embedding_dims,
      const OptionalTensor& offsets,
      Mode mode,
      const OptionalTensor& per_sample_weights)
      : multi(make_multi_lookups(
            static_cast<int64_t>(num_embeddings.size()),
            indices,
            offsets,
            per_sample_weights,
            mode)),
        dense_grad(with_dense_rows(grad_output)),
        scatter{
            op,
            dtype_of(grad_output),
            absent_tables(num_embeddings, embedding_dims),
            multi.lookups,
            dense_grad.const_data_ptr(),
            dense_grad.stride(0)} {}

 private:
  static std::vector<Table> absent_tables(
      const Sizes& num_embeddings,
      const Sizes& embedding_dims) {
    std::vector<Table> tables;
    int64_t column = 0;
    for (size_t i = 0; i < num_embeddings.size(); ++i) {
      tables.push_back(absent_table(num_embeddings[i], embedding_dims[i], column));
      column += embedding_dims[i];
    }
    return tables;
  }
};

using TensorLists = std::tuple<std::vector<Tensor>, std::vector<Tensor>>;

inline TensorLists as_lists(const std::vector<CompressedTensors>& results) {
  TensorLists lists;
  for (const CompressedTensors& result : results) {
    std::get<0>(lists).push_back(result.values);
    std::get<1>(lists).push_back(result.rows);
  }
  return lists;
}

template <class Backend>
TensorLists multi_embedding_compressed_backward(
    const Tensor& grad_output,
    const Tensor& indices,
    const Sizes& num_embeddings,
    const Sizes& embedding_dims,
    const OptionalTensor& offsets,
    const std::string& mode,
    const OptionalTensor& per_sample_weights) {
  const Check check("multi_embedding_compressed_backward");
  const Mode parsed = check_multi_gradient(
      check, grad_output, indices, num_embeddings, embedding_dims, offsets, mode,
      per_sample_weights);
  Backend backend(grad_output);

  const MultiScatter multi(
      OpId::kMultiEmbeddingCompressedBackward, grad_output, indices, num_embeddings, embedding_dims,
      offsets, parsed, per_sample_weights);
  return as_lists(compress_exactly(backend, multi.scatter, grad_output, indices));
}

template <class Backend>
std::tuple<std::vector<Tensor>, std::vector<Tensor>, Tensor>
multi_embedding_compressed_backward_padded(
    const Tensor& grad_output,
    const Tensor& indices,
    const Sizes& num_embeddings,
    const Sizes& embedding_dims,
    const OptionalTensor& offsets,
    const std::string& mode,
    const OptionalTensor& per_sample_weights) {
  const Check check("multi_embedding_compressed_backward_padded");
  const Mode parsed = check_multi_gradient(
      check, grad_output, indices, num_embeddings, embedding_dims, offsets, mode,
      per_sample_weights);
  Backend backend(grad_output);

  const MultiScatter multi(
      OpId::kMultiEmbeddingCompressedBackwardPadded, grad_output, indices, num_embeddings,
      embedding_dims, offsets, parsed, per_sample_weights);
  // Each table's number of lookups, where it is known without looking.
  const int64_t size = offsets ? indices.numel() : indices.size(0);
  Tensor num_unique = new_counts(indices, {static_cast<int64_t>(num_embeddings.size())});
  auto [values, rows] =
      as_lists(compress_padded(backend, multi.scatter, grad_output, indices, size, num_unique));
  return {std::move(values), std::move(rows), num_unique};
}

} // namespace embed_ops
