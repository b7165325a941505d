// Host side of the index transforms, for either backend: row ids from bags and back, lookups sorted
// by index (transpose), and the runs among sorted indices (compressed indices).

#pragma once

#include "ops/embedding.h"

namespace embed_ops {

inline Integers integers_of(const Tensor& tensor) {
  return {const_cast<void*>(tensor.const_data_ptr()), is_64bit(tensor), tensor.numel()};
}

template <class Backend>
Tensor row_ids_from_fixed(const Tensor& indices) {
  const Check check("row_ids_from_fixed");
  check.index_dtype("indices", indices);
  check.rank("indices", indices, 2);
  Backend backend(indices);

  Tensor row_ids = allocate(indices, {indices.numel()});
  if (row_ids.numel() == 0) {
    return row_ids;
  }
  Lookups lookups;
  lookups.num_indices = indices.numel();
  lookups.batch = indices.size(0);
  lookups.hotness = indices.size(1);
  backend.row_ids({OpId::kRowIdsFromCsr, lookups, integers_of(row_ids)});
  return row_ids;
}

template <class Backend>
Tensor row_ids_from_csr(const Tensor& offsets, int64_t num_indices, bool include_last_offset) {
  const Check check("row_ids_from_csr");
  check.index_dtype("offsets", offsets);
  check.rank("offsets", offsets, 1);
  if (include_last_offset && offsets.size(0) < 1) {
    check.fail(
        "offsets", "at least 1 element with include_last_offset",
        concat("shape ", shape_text(offsets)));
  }
  check.at_least("num_indices", num_indices, 0);
  Backend backend(offsets);

  Tensor row_ids = allocate(offsets, {num_indices});
  const Tensor dense_offsets = as_contiguous(offsets);
  Lookups lookups;
  lookups.num_indices = num_indices;
  set_offsets(lookups, dense_offsets);
  lookups.batch = offsets.size(0) - (include_last_offset ? 1 : 0);
  backend.row_ids({OpId::kRowIdsFromCsr, lookups, integers_of(row_ids)});
  return row_ids;
}

template <class Backend>
Tensor offsets_from_row_ids(const Tensor& row_ids, int64_t num_bags, bool include_last_offset) {
  const Check check("offsets_from_row_ids");
  check.index_dtype("row_ids", row_ids);
  check.rank("row_ids", row_ids, 1);
  check.at_least("num_bags", num_bags, 0);
  Backend backend(row_ids);

  Tensor offsets = allocate(row_ids, {num_bags + (include_last_offset ? 1 : 0)});
  const Tensor dense_row_ids = as_contiguous(row_ids);
  backend.offsets(
      {OpId::kOffsetsFromRowIds, integers_of(dense_row_ids), num_bags, integers_of(offsets)});
  return offsets;
}

template <class Backend>
std::tuple<Tensor, Tensor, Tensor> transpose(
    const Tensor& indices,
    const Tensor& row_ids,
    int64_t num_weights,
    const OptionalTensor& per_sample_weights,
    int64_t padding_idx) {
  const Check check("transpose");
  check.index_dtype("indices", indices);
  check.rank("indices", indices, 1);
  check.index_dtype("row_ids", row_ids);
  check.same_device("row_ids", row_ids, "indices", indices);
  check.shape("row_ids", row_ids, {indices.size(0)});
  check.at_least("num_weights", num_weights, 0);
  if (per_sample_weights) {
    check.float_dtype("per_sample_weights", *per_sample_weights);
    check.same_device("per_sample_weights", *per_sample_weights, "indices", indices);
    check.shape("per_sample_weights", *per_sample_weights, {indices.size(0)});
  }
  check.padding_idx(padding_idx, num_weights);
  Backend backend(indices);

  const int64_t count = indices.size(0);
  Tensor sorted_indices = allocate(indices, {count});
  Tensor sorted_row_ids = allocate(row_ids, {count});
  Tensor sorted_weights = per_sample_weights ? allocate(*per_sample_weights, {count})
                                             : allocate(indices, {0}, aoti_torch_dtype_float32());
  if (count == 0) {
    return {sorted_weights, sorted_indices, sorted_row_ids};
  }
  const Tensor dense_indices = as_contiguous(indices);
  const Tensor dense_row_ids = as_contiguous(row_ids);
  OptionalTensor dense_weights;
  Lookups lookups = single_lookups(dense_indices);
  if (per_sample_weights) {
    dense_weights = as_contiguous(*per_sample_weights);
    lookups.per_sample_weights = dense_weights->const_data_ptr();
  }
  lookups.padding_idx = padding_idx;
  backend.transpose(
      {OpId::kTranspose, dtype_of(sorted_weights), lookups, num_weights, integers_of(dense_row_ids),
       integers_of(sorted_indices), integers_of(sorted_row_ids),
       sorted_weights.mutable_data_ptr()});
  return {sorted_weights, sorted_indices, sorted_row_ids};
}

// The tensors of compressed indices.
struct RunTensors {
  Tensor rows;
  Tensor inverse;
  Tensor counts;
  Tensor offsets;

  RunTensors(const Tensor& indices, int64_t size)
      : rows(allocate(indices, {size})),
        inverse(allocate(indices, {indices.size(0)})),
        counts(allocate(indices, {size}, aoti_torch_dtype_int64())),
        offsets(allocate(indices, {size + 1}, aoti_torch_dtype_int64())) {}

  CompressIndices::Outputs outputs() const {
    return {
        integers_of(rows), integers_of(inverse), static_cast<int64_t*>(counts.mutable_data_ptr()),
        static_cast<int64_t*>(offsets.mutable_data_ptr())};
  }
};

inline void check_sorted_indices(const Check& check, const Tensor& indices) {
  check.index_dtype("indices", indices);
  check.rank("indices", indices, 1);
}

template <class Backend>
std::tuple<Tensor, Tensor, Tensor, Tensor> compressed_indices(const Tensor& indices) {
  const Check check("compressed_indices");
  check_sorted_indices(check, indices);
  Backend backend(indices);

  const Tensor dense_indices = as_contiguous(indices);
  std::optional<RunTensors> runs;
  CompressIndices problem{OpId::kCompressedIndices, integers_of(dense_indices), {}, {}};
  problem.allocate = [&](int64_t count) {
    runs.emplace(indices, count);
    return runs->outputs();
  };
  backend.compress_indices(problem);
  return {runs->rows, runs->inverse, runs->counts, runs->offsets};
}

template <class Backend>
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> compressed_indices_padded(
    const Tensor& indices) {
  const Check check("compressed_indices_padded");
  check_sorted_indices(check, indices);
  Backend backend(indices);

  const Tensor dense_indices = as_contiguous(indices);
  const RunTensors runs(indices, indices.size(0));
  Tensor num_unique = allocate(indices, {}, aoti_torch_dtype_int64());
  CompressIndices problem{OpId::kCompressedIndicesPadded, integers_of(dense_indices), {}, {}};
  problem.outputs = runs.outputs();
  problem.num_unique = static_cast<int64_t*>(num_unique.mutable_data_ptr());
  backend.compress_indices(problem);
  return {runs.rows, runs.inverse, runs.counts, runs.offsets, num_unique};
}

} // namespace embed_ops
