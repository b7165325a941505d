// Host side of embedding_bag and its gradients, for either backend.

#pragma once

#include "common/tensors.h"

namespace embed_ops {

// The bags of one call: fixed hotness (2-D indices) or CSR (1-D indices and offsets). Holds the
// contiguous tensors that `lookups` points into.
struct Bags {
  Tensor indices;
  OptionalTensor offsets;
  OptionalTensor per_sample_weights;
  Lookups lookups;
};

inline void check_bags(
    const Check& check,
    const Tensor& indices,
    const OptionalTensor& offsets,
    const OptionalTensor& per_sample_weights,
    bool include_last_offset,
    const char* other_name,
    const Tensor& other) {
  check_indices(check, indices, other_name, other);
  if (offsets) {
    check.rank("indices", indices, 1, " with offsets");
    check.index_dtype("offsets", *offsets);
    check.same_device("offsets", *offsets, other_name, other);
    check.rank("offsets", *offsets, 1);
    if (include_last_offset && offsets->size(0) < 1) {
      check.fail(
          "offsets", "at least 1 element with include_last_offset",
          concat("shape ", shape_text(*offsets)));
    }
  } else {
    check.rank("indices", indices, 2, " without offsets");
    check.require(!include_last_offset, "include_last_offset", "False without offsets", "True");
  }
  if (per_sample_weights) {
    check.same_dtype("per_sample_weights", *per_sample_weights, other_name, other);
    check.same_device("per_sample_weights", *per_sample_weights, other_name, other);
    check.shape("per_sample_weights", *per_sample_weights, indices.sizes());
  }
}

inline Mode check_bag_mode(
    const Check& check,
    const std::string& mode,
    const OptionalTensor& per_sample_weights,
    bool scale_grad_by_freq) {
  const Mode parsed = parse_mode(check, mode, /*max_allowed=*/true);
  if (parsed == Mode::kMax) {
    check.require(!per_sample_weights, "per_sample_weights", "None with mode 'max'", "a tensor");
    check.require(!scale_grad_by_freq, "scale_grad_by_freq", "False with mode 'max'", "True");
  }
  return parsed;
}

inline int64_t num_bags(
    const Tensor& indices,
    const OptionalTensor& offsets,
    bool include_last_offset) {
  return offsets ? offsets->size(0) - (include_last_offset ? 1 : 0) : indices.size(0);
}

inline Bags make_bags(
    const Tensor& indices,
    const OptionalTensor& offsets,
    const OptionalTensor& per_sample_weights,
    bool include_last_offset,
    Mode mode,
    int64_t padding_idx) {
  Bags bags{as_contiguous(indices), {}, {}, {}};
  Lookups& lookups = bags.lookups;
  set_indices(lookups, bags.indices);
  if (offsets) {
    bags.offsets = as_contiguous(*offsets);
    set_offsets(lookups, *bags.offsets);
  } else {
    lookups.hotness = indices.size(1);
  }
  if (per_sample_weights) {
    bags.per_sample_weights = as_contiguous(*per_sample_weights);
    lookups.per_sample_weights = bags.per_sample_weights->const_data_ptr();
  }
  lookups.batch = num_bags(indices, offsets, include_last_offset);
  lookups.mode = mode;
  lookups.padding_idx = padding_idx;
  return bags;
}

template <class Backend>
std::tuple<Tensor, Tensor> embedding_bag(
    const Tensor& weight,
    const Tensor& indices,
    const OptionalTensor& offsets,
    bool scale_grad_by_freq,
    const std::string& mode,
    const OptionalTensor& per_sample_weights,
    bool include_last_offset,
    int64_t padding_idx) {
  const Check check("embedding_bag");
  check_table(check, "weight", weight);
  check_bags(check, indices, offsets, per_sample_weights, include_last_offset, "weight", weight);
  const Mode parsed = check_bag_mode(check, mode, per_sample_weights, scale_grad_by_freq);
  check.padding_idx(padding_idx, weight.size(0));
  Backend backend(weight);

  const int64_t batch = num_bags(indices, offsets, include_last_offset);
  const int64_t dim = weight.size(1);
  Tensor output = allocate(weight, {batch, dim});
  Tensor argmax = parsed == Mode::kMax ? allocate(indices, {batch, dim}) : allocate(indices, {0});
  if (output.numel() == 0) {
    return {output, argmax};
  }
  const Tensor rows = with_dense_rows(weight);
  const Bags bags =
      make_bags(indices, offsets, per_sample_weights, include_last_offset, parsed, padding_idx);
  backend.gather(
      {OpId::kEmbeddingBag,
       dtype_of(weight),
       {table_of(rows)},
       bags.lookups,
       output.mutable_data_ptr(),
       dim,
       parsed == Mode::kMax ? argmax.mutable_data_ptr() : nullptr});
  return {output, argmax};
}

inline Mode check_bag_gradient(
    const Check& check,
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
  check_table(check, "grad_output", grad_output);
  check_bags(
      check, indices, offsets, per_sample_weights, include_last_offset, "grad_output", grad_output);
  const Mode parsed = check_bag_mode(check, mode, per_sample_weights, scale_grad_by_freq);
  const int64_t batch = num_bags(indices, offsets, include_last_offset);
  const int64_t dim = grad_output.size(1);
  check.shape("grad_output", grad_output, {batch, dim});
  if (parsed == Mode::kMax) {
    check.same_dtype("argmax", argmax, "indices", indices);
    check.same_device("argmax", argmax, "grad_output", grad_output);
    check.shape("argmax", argmax, {batch, dim});
  }
  check.at_least("num_weights", num_weights, 0);
  check.padding_idx(padding_idx, num_weights);
  return parsed;
}

template <class Backend>
Tensor embedding_bag_dense_backward(
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
    bool deterministic) {
  const Check check("embedding_bag_dense_backward");
  const Mode parsed = check_bag_gradient(
      check, grad_output, indices, offsets, per_sample_weights, argmax, num_weights,
      scale_grad_by_freq, mode, include_last_offset, padding_idx);
  Backend backend(grad_output);

  Tensor grad_weight = allocate(grad_output, {num_weights, grad_output.size(1)});
  if (grad_weight.numel() == 0) {
    return grad_weight;
  }
  const Tensor dense_grad = with_dense_rows(grad_output);
  const Tensor dense_argmax = as_contiguous(argmax);
  const Bags bags =
      make_bags(indices, offsets, per_sample_weights, include_last_offset, parsed, padding_idx);
  backend.scatter(
      {OpId::kEmbeddingBagDenseBackward,
       dtype_of(grad_output),
       {gradient_table_of(grad_weight)},
       bags.lookups,
       dense_grad.const_data_ptr(),
       dense_grad.stride(0),
       parsed == Mode::kMax ? dense_argmax.const_data_ptr() : nullptr,
       scale_grad_by_freq,
       deterministic});
  return grad_weight;
}

template <class Backend>
Tensor embedding_bag_per_sample_weights_backward(
    const Tensor& grad_output,
    const Tensor& weight,
    const Tensor& indices,
    const OptionalTensor& offsets,
    const Tensor& per_sample_weights,
    const std::string& mode,
    bool include_last_offset,
    int64_t padding_idx) {
  const Check check("embedding_bag_per_sample_weights_backward");
  check_table(check, "weight", weight);
  check_bags(check, indices, offsets, per_sample_weights, include_last_offset, "weight", weight);
  const Mode parsed = parse_mode(check, mode, /*max_allowed=*/false);
  const int64_t batch = num_bags(indices, offsets, include_last_offset);
  check.same_dtype("grad_output", grad_output, "weight", weight);
  check.same_device("grad_output", grad_output, "weight", weight);
  check.shape("grad_output", grad_output, {batch, weight.size(1)});
  check.padding_idx(padding_idx, weight.size(0));
  Backend backend(weight);

  // Zeros: offsets may leave lookups at either end that belong to no bag.
  Tensor output = allocate_zeros(per_sample_weights, indices.sizes());
  if (output.numel() == 0 || batch == 0) {
    return output;
  }
  const Tensor rows = with_dense_rows(weight);
  const Tensor dense_grad = with_dense_rows(grad_output);
  const Bags bags =
      make_bags(indices, offsets, per_sample_weights, include_last_offset, parsed, padding_idx);
  backend.weights_grad(
      {OpId::kEmbeddingBagPerSampleWeightsBackward,
       dtype_of(weight),
       {table_of(rows)},
       bags.lookups,
       dense_grad.const_data_ptr(),
       dense_grad.stride(0),
       output.mutable_data_ptr()});
  return output;
}

} // namespace embed_ops
