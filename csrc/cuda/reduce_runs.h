// Sums lookups that lie in the order of their rows: the last step of dense gradients of ordered
// lookups and of compressed gradients.

#pragma once

#include "cuda/backend.h"

namespace embed_ops {

// Lookups in the order of the rows of `tables`, counted table after table; kNoRow last. Rows and
// samples are of uint32_t or uint64_t (`wide_keys`), factors of Acc<T>.
struct OrderedRuns {
  DType dtype;
  std::vector<Table> tables; // at most a table set
  bool wide_keys;
  const void* rows;
  const void* samples;
  const void* factors; // null: scale
  int64_t count;
  double scale;
  const void* grad_output;
  int64_t grad_stride;
  const void* winners; // mode max, else null: (batch, dim), the row that has won each element
  bool winners_are_64bit;
};

// Writes the sum of each run of equal rows, held in Acc<T>, once to its row. Elements move in
// accesses of at most `vec_bytes`.
void reduce_runs(Cuda& cuda, const OrderedRuns& runs, int64_t vec_bytes);

} // namespace embed_ops
