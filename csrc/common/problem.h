// What a lookup is, stripped of tensors: the plain structs that host code hands to a backend.
//
// Every op of this library is one of these problems: some tables, some bags of indices into
// them, a way to combine the rows of a bag. embedding is one table and bags of one index;
// multi_embedding is many tables.

#pragma once

#include <cstdint>
#include <functional>
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
  kEmbeddingCompressedBackward,
  kEmbeddingCompressedBackwardPadded,
  kEmbeddingBagCompressedBackward,
  kEmbeddingBagCompressedBackwardPadded,
  kRowIdsFromCsr,
  kOffsetsFromRowIds,
  kTranspose,
  kCompressedIndices,
  kCompressedIndicesPadded,
  kMultiEmbedding, // from here on ops of several tables
  kMultiEmbeddingDenseBackward,
  kMultiEmbeddingPerSampleWeightsBackward,
  kMultiEmbeddingList,
  kMultiEmbeddingListDenseBackward,
  kMultiEmbeddingListPerSampleWeightsBackward,
  kMultiEmbeddingCompressedBackward,
  kMultiEmbeddingCompressedBackwardPadded,
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

// An array of int32_t or int64_t.
struct Integers {
  void* data;
  bool are_64bit;
  int64_t count;
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

// Where the compressed gradient of one table goes: the gradients of the rows that lookups name,
// without gaps, and these rows in ascending order, of the type of the indices.
struct CompressedTable {
  void* values;
  void* rows;
  int64_t size; // rows that there is room for
};

// The gradient of the rows that lookups name and of no others. Of two forms:
//   exact:  `allocate` is called once, with the number of rows named of each table, and returns
//           where they go;
//   padded: there is room for `outputs[t].size` rows of table t; behind those that are named stand
//           repetitions of the last one (row 0 where there is none) with a gradient of zero. Their
//           number goes to num_unique.
struct Compress {
  Scatter scatter; // whose tables have no data
  std::function<std::vector<CompressedTable>(const std::vector<int64_t>&)> allocate; // exact
  std::vector<CompressedTable> outputs;                                              // padded
  int64_t* num_unique = nullptr;                                                     // padded
};

// row_ids[j] = the bag of lookup j, -1 for a lookup of no bag.
struct RowIds {
  OpId op;
  Lookups lookups;
  Integers row_ids;
};

// offsets[b] = where bag b begins among row_ids, which do not decrease but for -1 behind them; one
// more than there are bags is where the last one ends.
struct Offsets {
  OpId op;
  Integers row_ids;
  int64_t num_bags;
  Integers offsets;
};

// Lookups in coordinates (index, row id, weight), sorted by index; equal ones keep their order.
// Last come those that count for nothing: of no bag, of the padding row or out of range; their
// index becomes -1.
struct Transpose {
  OpId op;
  DType dtype;     // of the weights
  Lookups lookups; // single ones
  int64_t num_rows;
  Integers row_ids;
  Integers sorted_indices;
  Integers sorted_row_ids;
  void* sorted_weights;
};

// The runs of equal values among sorted indices: each one's value and length, where each begins
// (and the last one ends), and the number of the run of each index, -1 for an index of -1.
// As Compress, exact or padded; behind the runs stand empty ones.
struct CompressIndices {
  struct Outputs {
    Integers rows;
    Integers inverse;
    int64_t* counts;
    int64_t* offsets; // one more than rows
  };

  OpId op;
  Integers indices;
  std::function<Outputs(int64_t)> allocate; // exact
  Outputs outputs;                          // padded
  int64_t* num_unique = nullptr;            // padded
};

} // namespace embed_ops
