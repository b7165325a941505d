// What a lookup is, stripped of tensors: the plain structs that host code hands to a backend.
//
// Every op of this library is one of these problems: some tables, some bags of indices into
// them, a way to combine the rows of a bag. embedding is one table and bags of one index;
// multi_embedding is many tables.

#pragma once

#include <cstdint>
#include <vector>

namespace embed_ops {

constexpr int64_t kNoPadding = -1;

enum class DType { kFloat, kDouble, kHalf, kBFloat16 };

enum class Mode { kSum, kMean, kMax };

// The op that met an offence in the data; bounds.h has the names in the same order.
enum class OpId : int32_t {
  kEmbedding,
  kEmbeddingDenseBackward,
  kEmbeddingRenorm,
  kEmbeddingBag,
  kEmbeddingBagDenseBackward,
  kEmbeddingBagPerSampleWeightsBackward,
  kMultiEmbedding,
  kMultiEmbeddingDenseBackward,
  kMultiEmbeddingPerSampleWeightsBackward,
  kMultiEmbeddingList,
  kMultiEmbeddingListDenseBackward,
  kMultiEmbeddingListPerSampleWeightsBackward,
};

// One table (or its gradient): rows of `dim` elements, `row_stride` elements apart, that fill the
// columns from `column` on of every output row.
struct Table {
  void* data;
  int64_t num_rows;
  int64_t row_stride;
  int64_t dim;
  int64_t column;
};

// Which rows each bag reads. A bag belongs to one table and one output row (sample):
//   fixed hotness: the bag of sample b and table t holds positions
//                  [(b * num_tables + t) * hotness, ... + hotness) of `indices`;
//   CSR:           the bag t * batch + b begins at offsets[t * batch + b] and ends where the next
//                  one begins, the last one at num_indices unless offsets names its end.
struct Lookups {
  const void* indices = nullptr;
  bool indices_are_64bit = true;
  int64_t num_indices = 0;

  const void* offsets = nullptr; // null: fixed hotness
  bool offsets_are_64bit = true;
  int64_t num_offsets = 0;

  int64_t batch = 0;
  int64_t num_tables = 1;
  int64_t hotness = 1;

  const void* per_sample_weights = nullptr; // of the tables' dtype; null: every weight is 1
  int64_t padding_idx = kNoPadding;
  Mode mode = Mode::kSum;

  int64_t num_bags() const {
    return batch * num_tables;
  }
};

// What each backend does with a problem. Output and gradient rows are `*_stride` elements apart.

// output[b, columns of t] = the combined rows of bag (b, t). Padding lookups are left out.
struct Gather {
  OpId op;
  DType dtype;
  std::vector<Table> tables;
  Lookups lookups;
  void* output;
  int64_t output_stride;
  void* argmax = nullptr; // mode max: (batch, dim) of the indices' type
};

// The dense gradient of every table, zeros included unless the memory holds them already.
// Padding lookups add nothing.
struct Scatter {
  OpId op;
  DType dtype;
  std::vector<Table> tables;
  Lookups lookups;
  const void* grad_output;
  int64_t grad_stride;
  const void* argmax = nullptr;
  bool scale_grad_by_freq = false;
  bool deterministic = false;
  bool already_zero = false;
};

// output[j] = the gradient of per_sample_weights[j].
struct WeightsGrad {
  OpId op;
  DType dtype;
  std::vector<Table> tables;
  Lookups lookups;
  const void* grad_output;
  int64_t grad_stride;
  void* output;
};

// Scales, in place and once, each row that is named and whose norm is above max_norm.
struct Renorm {
  OpId op;
  DType dtype;
  Table table;
  Lookups lookups;
  double max_norm;
  double norm_type;
};

} // namespace embed_ops
