// Zeros for the rows that no lookup names: whose count (kernels/order.cuh) is zero. Of one table,
// blocks of the kernel before the sums write them; of several, a kernel of its own, each of whose
// blocks stays in one table and need not look up that of every row.

#pragma once

#include "kernels/order.cuh"
#include "kernels/plan_scatter.h"
#include "kernels/tables.cuh"

namespace embed_ops {

// Work for blocks of kBlockThreads of a kernel that has something else to do too: writing zeros
// keeps the memory busy, putting lookups in order waits for it. One instance serves all dtypes:
// Tables are of char, whatever their elements, and are asked for places and sizes only.
template <class Tables, class Key>
struct UnnamedRows {
  Tables gradients;
  CounterShape counters;
  const Key* counts;
  int64_t num_rows; // of all tables
  int element_bytes;
  int access_bytes; // that every row is aligned to
  FillPlan plan;

  // What block `block` of the plan does.
  __device__ __forceinline__ void fill(unsigned block) const {
    const int lane = static_cast<int>(threadIdx.x) % plan.lanes;
    const int group = static_cast<int>(threadIdx.x) / plan.lanes;
    if (group >= plan.groups) {
      return;
    }
    const int64_t first = int64_t{block} * (kFillRows * plan.groups) + group;
    bool unnamed[kFillRows]; // their counts are read together
#pragma unroll
    for (int u = 0; u < kFillRows; ++u) {
      const int64_t row = first + u * plan.groups;
      unnamed[u] = row < num_rows && counts[counters.of_row(static_cast<Key>(row))] == 0;
    }
#pragma unroll
    for (int u = 0; u < kFillRows; ++u) {
      if (unnamed[u]) {
        const int64_t row = first + u * plan.groups;
        const auto segment = gradients.of_row(row);
        char* const target =
            segment.data + (row - segment.first_row) * segment.row_stride * element_bytes;
        const int64_t bytes = segment.dim * element_bytes;
        switch (access_bytes) {
          case 16: write_zeros<int4>(target, bytes, lane); break;
          case 8: write_zeros<int2>(target, bytes, lane); break;
          case 4: write_zeros<int>(target, bytes, lane); break;
          default: write_zeros<short>(target, bytes, lane);
        }
      }
    }
  }

 private:
  template <class Word>
  __device__ __forceinline__ void write_zeros(char* target, int64_t bytes, int lane) const {
    for (int64_t at = lane; at < bytes / static_cast<int>(sizeof(Word)); at += plan.lanes) {
      reinterpret_cast<Word*>(target)[at] = Word{};
    }
  }
};

// In its place where a kernel writes no zeros.
struct NoUnnamedRows {
  __device__ __forceinline__ void fill(unsigned /*block*/) const {}
};

// Threads: x = lane, y = row; grid y = table. Each thread has the counts of kUnroll rows in flight.
template <class T, int kVec, class Tables, class Key>
__global__ void __launch_bounds__(256) fill_unnamed_kernel(
    const __grid_constant__ Tables gradients,
    CounterShape counters,
    const Key* counts) {
  follow_the_chain();
  constexpr int kUnroll = 8;
  const Segment<T> segment = gradients.of_place(blockIdx.y);
  const int64_t step = int64_t{gridDim.x} * blockDim.y;
  for (int64_t first = int64_t{blockIdx.x} * blockDim.y + threadIdx.y; first < segment.num_rows;
       first += step * kUnroll) {
    bool unnamed[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int64_t row = first + u * step;
      unnamed[u] = row < segment.num_rows &&
          counts[counters.of_row(static_cast<Key>(segment.first_row + row))] == 0;
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (unnamed[u]) {
        T* row = segment.row(first + u * step);
        for (int64_t column = threadIdx.x * kVec; column < segment.dim;
             column += blockDim.x * kVec) {
          *reinterpret_cast<Vec<T, kVec>*>(row + column) = zeros<T, kVec>();
        }
      }
    }
  }
}

} // namespace embed_ops
