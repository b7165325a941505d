// Dense gradients from lookups in the order of their rows (kernels/order.cuh): every row of every
// table is written once, its sum held in Acc<T>, or zeros where no lookup names it.
//
//   reduce: one block per tile of lookups sums runs of equal rows (kernels/walk.cuh). A run that
//           begins and ends in the tile is written to the gradient; what a tile's edge cuts goes
//           to `partial_sums`, two places a tile: [0] the run that the tile begins with, [1] the
//           run that it ends with, if that is another one.
//   join:   the runs that cross tiles are summed from their parts, in order.
//   fill:   zeros to the rows whose count is zero.

#pragma once

#include "kernels/order.cuh"
#include "kernels/walk.cuh"

namespace embed_ops {

template <class T, class Key>
struct OrderedLookups {
  const Key* rows;
  const Key* samples;
  const Acc<T>* factors; // null: 1
  int64_t count;
  Acc<T> scale;
};

// Grid x = tile of kLookups, grid y = slice of slice_width columns. `width` columns lie between
// the places of partial_sums.
template <bool kMax, class T, class Index, int kVec, class Tables, class Key, int kLookups>
__global__ void __launch_bounds__(kWalkThreads) reduce_runs_kernel(
    const __grid_constant__ Tables gradients,
    const __grid_constant__ OrderedLookups<T, Key> ordered,
    const __grid_constant__ WalkSource<T, Index, Key> source,
    Acc<T>* __restrict__ partial_sums,
    int64_t slice_width,
    int64_t width,
    int group) {
  __shared__ WalkLookups<T, Key, kLookups> lookups;
  __shared__ WalkHeads<T, kVec> heads;
  __shared__ int count;
  const int64_t tile = blockIdx.x;
  const int64_t begin = tile * kLookups;
  if (threadIdx.x == 0) {
    count = 0;
  }
  __syncthreads();
  int counted = 0;
  for (int i = threadIdx.x; i < kLookups && begin + i < ordered.count; i += kWalkThreads) {
    const Key row = ordered.rows[begin + i];
    lookups.rows[i] = row;
    if (row != kNoRow<Key>) {
      lookups.samples[i] = ordered.samples[begin + i];
      lookups.factors[i] =
          ordered.factors ? ordered.scale * ordered.factors[begin + i] : ordered.scale;
      counted = i + 1;
    }
  }
  if (counted > 0) {
    atomicMax(&count, counted);
  }
  __syncthreads();

  const int64_t end = begin + kLookups;
  const Key row_before = begin > 0 ? ordered.rows[begin - 1] : kNoRow<Key>;
  const Key row_after = end < ordered.count ? ordered.rows[end] : kNoRow<Key>;
  const auto finish = [&](Key row, const Segment<T>& segment, int64_t column,
                          const Vec<Acc<T>, kVec>& sum) {
    if (row == row_before || row == row_after) {
      Acc<T>* place = partial_sums + (tile * 2 + (row == lookups.rows[0] ? 0 : 1)) * width;
      *reinterpret_cast<Vec<Acc<T>, kVec>*>(place + column) = sum;
    } else {
      store_narrowed<T, kVec>(
          segment.row(static_cast<int64_t>(row) - segment.first_row) + column, sum);
    }
  };
  const int64_t first_column = blockIdx.y * slice_width;
  walk<kMax, kVec>(
      gradients, source, lookups, heads, count, row_before,
      kMax && begin > 0 && count > 0 ? ordered.samples[begin - 1] : kNoRow<Key>, group,
      first_column, min(slice_width, width - first_column), finish);
}

// Grid x = tile: if the tile's last run begins there and goes on, sums its parts. Threads: x =
// lane, y = share of the parts; the shares are added in order through shared memory.
template <class T, int kVec, class Tables, class Key>
__global__ void __launch_bounds__(kWalkThreads) join_runs_kernel(
    const __grid_constant__ Tables gradients,
    const __grid_constant__ OrderedLookups<T, Key> ordered,
    const Acc<T>* __restrict__ partial_sums,
    int64_t width,
    int64_t num_tiles,
    int tile_lookups) {
  __shared__ WalkHeads<T, kVec> shares;
  const int64_t tile = blockIdx.x;
  const int64_t begin = tile * tile_lookups;
  const int64_t end = min(begin + tile_lookups, ordered.count);
  const Key row = ordered.rows[end - 1];
  const bool goes_on = end < ordered.count && ordered.rows[end] == row;
  const bool whole_tile = ordered.rows[begin] == row;
  const bool began_before = whole_tile && begin > 0 && ordered.rows[begin - 1] == row;
  if (row == kNoRow<Key> || !goes_on || began_before) {
    return;
  }
  // The tiles that begin with this row: (tile, last].
  int64_t last = tile + 1;
  int64_t beyond = num_tiles;
  while (beyond - last > 1) {
    const int64_t middle = (last + beyond) / 2;
    (ordered.rows[middle * tile_lookups] == row ? last : beyond) = middle;
  }
  const Segment<T> segment = gradients.of_row(row);
  const int64_t parts = last - tile;
  const int64_t share_begin = tile + 1 + parts * threadIdx.y / blockDim.y;
  const int64_t share_end = tile + 1 + parts * (threadIdx.y + 1) / blockDim.y;

  for (int64_t first = 0; first < segment.dim; first += blockDim.x * kVec) {
    const int64_t column = first + threadIdx.x * kVec;
    const bool active = column < segment.dim;
    Vec<Acc<T>, kVec> sum = zeros<Acc<T>, kVec>();
    const auto add = [&](const Vec<Acc<T>, kVec>& value) {
#pragma unroll
      for (int i = 0; i < kVec; ++i) {
        sum.v[i] += value.v[i];
      }
    };
    const auto part = [&](int64_t place) {
      return load<Acc<T>, kVec>(partial_sums + place * width + column);
    };
    if (active) {
      if (threadIdx.y == 0) {
        add(part(tile * 2 + (whole_tile ? 0 : 1)));
      }
#pragma unroll 4
      for (int64_t other = share_begin; other < share_end; ++other) {
        add(part(other * 2));
      }
    }
    shares.sums[threadIdx.y * blockDim.x + threadIdx.x] = sum;
    __syncthreads();
    if (active && threadIdx.y == 0) {
      for (int share = 1; share < blockDim.y; ++share) {
        add(shares.sums[share * blockDim.x + threadIdx.x]);
      }
      store_narrowed<T, kVec>(
          segment.row(static_cast<int64_t>(row) - segment.first_row) + column, sum);
    }
    __syncthreads();
  }
}

// Threads: x = lane, y = row; grid y = table. Each thread has the counts of kUnroll rows in flight.
template <class T, int kVec, class Tables, class Key>
__global__ void __launch_bounds__(256)
    fill_unnamed_kernel(const __grid_constant__ Tables gradients, const Key* __restrict__ counts) {
  constexpr int kUnroll = 8;
  const Segment<T> segment = gradients.of_place(blockIdx.y);
  const int64_t step = int64_t{gridDim.x} * blockDim.y;
  for (int64_t first = int64_t{blockIdx.x} * blockDim.y + threadIdx.y; first < segment.num_rows;
       first += step * kUnroll) {
    bool unnamed[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int64_t row = first + u * step;
      unnamed[u] = row < segment.num_rows && counts[segment.first_row + row] == 0;
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
