// Dense gradients from tiles of lookups that a block sorts by row in shared memory
// (cub::BlockRadixSort): lookups of one row within a tile meet in registers (kernels/walk.cuh),
// and each run of them goes to the gradient in one step.
//
// Many tiles add their sums atomically. A single tile holds all lookups of every row, so it
// stores: in a fixed order, and in any dtype.

#pragma once

#include <cub/block/block_radix_sort.cuh>

#include "kernels/order.cuh"
#include "kernels/walk.cuh"

namespace embed_ops {

// Grid x = tile of kWalkThreads * kItems lookups, grid y = slice of slice_width columns. Rows of
// all tables, samples and lookups number fewer than 2^32 - 1; `row_bits` tell rows and kNoRow
// apart.
template <class T, class Index, int kVec, class Tables, int kItems, bool kAtomic>
__global__ void __launch_bounds__(kWalkThreads) scatter_tiled_kernel(
    const __grid_constant__ Tables gradients,
    const __grid_constant__ SourcesView<Index> sources,
    int64_t first_place,
    int64_t num_places,
    const Acc<T>* __restrict__ coefficients,
    Acc<T> scale,
    const T* __restrict__ grad_output,
    int64_t grad_stride,
    int64_t slice_width,
    int64_t width,
    int group,
    int row_bits,
    OffenceSink sink) {
  constexpr int kLookups = kWalkThreads * kItems;
  using Sort = cub::BlockRadixSort<uint32_t, kWalkThreads, kItems, uint32_t>;
  __shared__ union {
    typename Sort::TempStorage sort;
    struct {
      WalkLookups<T, uint32_t, kLookups> lookups;
      WalkHeads<T, kVec> heads;
    } walk;
  } shared;
  __shared__ int count;

  const int64_t tile = int64_t{blockIdx.x} * kLookups;
  uint32_t rows[kItems];
  uint32_t from[kItems];
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    const uint32_t local = threadIdx.x * kItems + i;
    rows[i] = kNoRow<uint32_t>;
    from[i] = local;
    if (tile + local < sources.lookups.num_indices) {
      rows[i] = row_of<uint32_t>(
          gradients, sources, first_place, num_places, sources.at(tile + local), sink,
          blockIdx.y == 0);
    }
  }
  if (threadIdx.x == 0) {
    count = 0;
  }
  Sort(shared.sort).Sort(rows, from, 0, row_bits);
  __syncthreads();
  int counted = 0;
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    const int at = threadIdx.x * kItems + i;
    shared.walk.lookups.rows[at] = rows[i];
    if (rows[i] != kNoRow<uint32_t>) {
      const Source source = sources.at(tile + from[i]);
      shared.walk.lookups.samples[at] = static_cast<uint32_t>(source.sample);
      shared.walk.lookups.factors[at] =
          coefficients == nullptr ? scale : scale * coefficients[source.position];
      counted = at + 1;
    }
  }
  if (counted > 0) {
    atomicMax(&count, counted);
  }
  __syncthreads();

  const auto finish = [&](uint32_t row, const Segment<T>& segment, int64_t column,
                          const Vec<Acc<T>, kVec>& sum) {
    T* address = segment.row(static_cast<int64_t>(row) - segment.first_row) + column;
    if constexpr (kAtomic) {
      atomic_add(address, sum);
    } else {
      store_narrowed<T, kVec>(address, sum);
    }
  };
  const int64_t first_column = blockIdx.y * slice_width;
  walk<false, kVec>(
      gradients, WalkSource<T, Index, uint32_t>{grad_output, grad_stride, nullptr},
      shared.walk.lookups, shared.walk.heads, count, kNoRow<uint32_t>, kNoRow<uint32_t>, group,
      first_column, min(slice_width, width - first_column), finish);
}

} // namespace embed_ops
