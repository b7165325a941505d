// The dense gradient: which way it takes, and what both ways share.

#pragma once

#include "cuda/backend.h"
#include "kernels/fill_zero.cuh"

namespace embed_ops {

// The blocks of memory that contiguous tables fill; those that touch are one.
std::vector<MemoryBlock> blocks_of(const std::vector<Table>& tables, DType dtype);

// Writes zeros to blocks of memory, or to every table of the gradient. Returns whether the kernel
// that follows can begin early (launch_on), reading what was there before this call. `mode`: of the
// kernel that writes; early: of the first one.
bool fill_zero(Cuda& cuda, const std::vector<MemoryBlock>& blocks, const LaunchMode& mode = {});
bool fill_zero(Cuda& cuda, const Scatter& problem);

// What a lookup's gradient is multiplied by: the constant `scale`, times its entry in
// `coefficients` (of Acc<T>, by position; null: 1), divided by its bag's length if `by_length`.
struct Factors {
  double scale = 1;
  const void* coefficients = nullptr;
  bool by_length = false;
};

// May launch kernels that make coefficients.
Factors factors_of(Cuda& cuda, const Scatter& problem);

// Atomic addition in any order, one per lookup; fp32 and fp64.
void scatter_atomic(Cuda& cuda, const Scatter& problem);

// The same, but lookups of one row within a tile are summed first; modes sum and mean.
void scatter_tiled(Cuda& cuda, const Scatter& problem);

// The same for 16-bit types: sums in an fp32 copy of the gradient, rounded once.
void scatter_widened(Cuda& cuda, const Scatter& problem);

// At most kMostCompared lookups, without workspace: each row is summed in Acc<T> and written once,
// in a fixed order; every dtype, modes sum and mean.
void scatter_compared(Cuda& cuda, const Scatter& problem);

// Lookups ordered by row, the sum of each row held in Acc<T> and written once; every dtype and
// mode, and deterministic if the problem asks for it.
void scatter_ordered(Cuda& cuda, const Scatter& problem);

} // namespace embed_ops
