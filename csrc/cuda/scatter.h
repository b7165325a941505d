// The dense gradient: which way it takes, and what both ways share.

#pragma once

#include "cuda/backend.h"

namespace embed_ops {

// Writes zeros to every table of the gradient.
void fill_zero(Cuda& cuda, const Scatter& problem);

// What a lookup's gradient is multiplied by: the constant `scale`, times its entry in
// `coefficients` (of Acc<T>, by position; null: 1), divided by its bag's length if `by_length`.
struct Factors {
  double scale = 1;
  const void* coefficients = nullptr;
  bool by_length = false;
};

// `length_in_kernel`: whether the kernel itself can divide by a bag's length.
Factors factors_of(Cuda& cuda, const Scatter& problem, bool length_in_kernel);

// Atomic addition in any order, one per lookup; fp32 and fp64.
void scatter_atomic(Cuda& cuda, const Scatter& problem);

// The same, but lookups of one row within a tile are summed first; modes sum and mean, fewer than
// 2^32 - 1 rows and lookups.
void scatter_tiled(Cuda& cuda, const Scatter& problem);

// All lookups, at most kMostOneTile, in one tile: no atomics; every dtype, deterministic.
void scatter_one_tile(Cuda& cuda, const Scatter& problem);

// Lookups ordered by row, each row summed in Acc<T> and written once, zeros included; every dtype
// and mode, and deterministic if the problem asks for it.
void scatter_ordered(Cuda& cuda, const Scatter& problem);

} // namespace embed_ops
