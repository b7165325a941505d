// Dense gradients from lookups in the order of their rows (kernels/order.cuh): the sum of every row
// that is named, held in Acc<T>, is written once.
//
//   reduce: each warp sums the runs of equal rows of a tile of lookups (kernels/runs.cuh). A run
//           that begins and ends in the tile is written to the gradient; what a tile's edge cuts
//           goes to `partial_sums`, two places a tile: [0] the run that the tile begins with, [1]
//           the run that it ends with, if that is another one.
//   join:   the runs that cross tiles are summed from their parts, in order.
//
// Before that zeros go to the rows whose count is zero (kernels/unnamed_rows.cuh); where lookups
// are sorted, and nothing is counted, zeros to all come first.

#pragma once

#include "kernels/order.cuh"
#include "kernels/pdl.cuh"
#include "kernels/row_reader.cuh"
#include "kernels/runs.cuh"
#include "kernels/team.cuh"

namespace embed_ops {

constexpr int kReduceThreads = 256;

template <class T, class Key>
struct OrderedLookups {
  const Key* rows;
  const Key* samples;
  const Acc<T>* factors; // null: `scale`
  int64_t count;
  Acc<T> scale;
};

// The gradient that lookups read.
template <class T, class Index>
struct ReduceSource {
  const T* grad_output;
  int64_t grad_stride;
  const Index* argmax; // mode max: (batch, dim)
};

// One warp per tile of 32 * kPerLane lookups; grid y = slice of at most `slice_lanes` lanes.
// `width` columns lie between the places of partial_sums.
template <bool kMax, class T, class Index, class Columns, class Tables, class Key, int kPerLane>
__global__ void __launch_bounds__(kReduceThreads, sizeof(Key) > 4 ? 1 : 2) reduce_runs_kernel(
    const __grid_constant__ Tables gradients,
    const __grid_constant__ OrderedLookups<T, Key> ordered,
    const __grid_constant__ ReduceSource<T, Index> source,
    Acc<T>* __restrict__ partial_sums,
    int64_t width,
    int slice_lanes) {
  follow_the_chain();
  constexpr int kColumns = Columns::kColumns;
  constexpr int kVec = Columns::kVec;
  constexpr unsigned kAll = 0xffffffffu;
  constexpr int kLookups = 32 * kPerLane;
  const int lane = threadIdx.x & 31;
  const int64_t tile = int64_t{blockIdx.x} * (kReduceThreads / 32) + threadIdx.x / 32;
  const int64_t first = tile * kLookups;
  if (first >= ordered.count) {
    return;
  }
  struct Lookup {
    Key of_row;
    Key sample;
    bool again; // mode max: the sample has looked this row up before

    __device__ __forceinline__ Key row() const {
      return of_row;
    }
  };
  Lookup mine[kPerLane];
  Acc<T> factors[kPerLane];
  int count = 0;
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    const int64_t at = first + lane * kPerLane + i;
    mine[i] = {at < ordered.count ? ordered.rows[at] : kNoRow<Key>, Key(0), false};
    factors[i] = ordered.scale;
    if (mine[i].of_row != kNoRow<Key>) {
      mine[i].sample = ordered.samples[at];
      if (ordered.factors != nullptr) {
        factors[i] = ordered.factors[at];
      }
      if (kMax && at > 0) {
        mine[i].again =
            ordered.rows[at - 1] == mine[i].of_row && ordered.samples[at - 1] == mine[i].sample;
      }
    }
    count += __popc(__ballot_sync(kAll, mine[i].of_row != kNoRow<Key>));
  }
  if (count == 0) {
    return;
  }
  const Key first_row = __shfl_sync(kAll, mine[0].of_row, 0);
  const Key row_before = first > 0 ? ordered.rows[first - 1] : kNoRow<Key>;
  const Key row_after =
      first + kLookups < ordered.count ? ordered.rows[first + kLookups] : kNoRow<Key>;

  const auto reduce_table = [&](const Segment<T>& segment, int from, int to) {
    const int64_t lanes = Columns::lanes(segment.dim);
    if (blockIdx.y * int64_t{slice_lanes} >= lanes) {
      return;
    }
    const Team team(threadIdx.x, lanes, kColumns, blockIdx.y, slice_lanes);
    const Columns columns(team, segment.dim);
    const T* const grad_rows = source.grad_output + segment.column;
    const auto take = [&](int i, int owner) {
      Lookup taken{};
      taken.of_row = __shfl_sync(kAll, mine[i].of_row, owner);
      taken.sample = __shfl_sync(kAll, mine[i].sample, owner);
      if constexpr (kMax) {
        taken.again = __shfl_sync(kAll, mine[i].again, owner);
      }
      return taken;
    };
    const auto read = [&](const Lookup& lookup) {
      const auto sample = static_cast<int64_t>(lookup.sample);
      Vec<T, kColumns> value = load_columns(columns, grad_rows + sample * source.grad_stride);
      if constexpr (kMax) {
        // Zero where another row won, and for a second lookup of a row by one sample.
        const Index* const winners = source.argmax + sample * segment.dim;
        columns.for_each_chunk([&](int first_column, int64_t column) {
#pragma unroll
          for (int i = 0; i < kVec; ++i) {
            if (lookup.again || static_cast<Key>(winners[column + i]) != lookup.of_row) {
              value.v[first_column + i] = T(0.0f);
            }
          }
        });
      }
      return value;
    };
    const auto factor = [&](const Lookup&, int i, int owner) {
      return __shfl_sync(kAll, factors[i], owner);
    };
    const auto finish = [&](Key row, const Vec<Acc<T>, kColumns>& sum) {
      const bool is_cut = row == row_before || row == row_after;
      Acc<T>* const place = partial_sums + (tile * 2 + (row == first_row ? 0 : 1)) * width;
      T* const target = segment.row(static_cast<int64_t>(row) - segment.first_row);
      columns.for_each_chunk([&](int first_column, int64_t column) {
        const auto chunk = sub_vec<kVec>(sum, first_column);
        if (is_cut) {
          *reinterpret_cast<Vec<Acc<T>, kVec>*>(place + column) = chunk;
        } else {
          store_narrowed<T, kVec>(target + column, chunk);
        }
      });
    };
    sum_runs<T, kColumns, kPerLane, 8, true>(from, to, team.size, take, read, factor, finish);
  };
  if constexpr (Tables::kMaxTables == 1) {
    reduce_table(gradients.of_row(0), 0, count);
  } else {
    // The lookups of each table take a round; tables lie one after the other.
    for (int from = 0; from < count;) {
      Key row = __shfl_sync(kAll, mine[0].of_row, from / kPerLane);
#pragma unroll
      for (int i = 1; i < kPerLane; ++i) {
        const Key other = __shfl_sync(kAll, mine[i].of_row, from / kPerLane);
        row = from % kPerLane == i ? other : row;
      }
      const Segment<T> segment = gradients.of_row(row);
      const Key beyond = static_cast<Key>(segment.first_row + segment.num_rows);
      int to = 0;
#pragma unroll
      for (int i = 0; i < kPerLane; ++i) {
        to += __popc(__ballot_sync(kAll, mine[i].of_row < beyond));
      }
      reduce_table(segment, from, to);
      from = to;
    }
  }
}

constexpr int kJoinThreads = 128;
// The blocks that share a long run, and the most lanes of columns that each takes at a time.
constexpr int kJoiners = 16;
constexpr int kJoinerLanes = 4;

// Sums the runs that cross tiles from their parts. Grid x = tile: the block of the tile that a run
// begins in takes it; if the run is long, so do the blocks of the next tiles, each its share of the
// columns. Threads: `lanes` (a power of two) of columns times shares of the parts, which are added
// in order through shared memory.
template <class T, int kVec, class Tables, class Key>
__global__ void __launch_bounds__(kJoinThreads) join_runs_kernel(
    const __grid_constant__ Tables gradients,
    const __grid_constant__ OrderedLookups<T, Key> ordered,
    const Acc<T>* partial_sums,
    int64_t width,
    int64_t num_tiles,
    int tile_lookups,
    int lanes) {
  follow_the_chain();
  __shared__ Vec<Acc<T>, kVec> sums[kJoinThreads];
  const auto row_at = [&](int64_t at) {
    return at >= 0 && at < ordered.count ? ordered.rows[at] : kNoRow<Key>;
  };
  const auto first_row = [&](int64_t tile) { return row_at(tile * tile_lookups); };
  const auto last_row = [&](int64_t tile) { return row_at((tile + 1) * tile_lookups - 1); };
  const int64_t tile = blockIdx.x;
  // All at once: most blocks have nothing to do, and most runs end in the next tile.
  const Key row = last_row(tile);
  const Key rows_after[] = {first_row(tile + 1), first_row(tile + 2)};
  const Key row_before = last_row(tile - 1);
  const Key row_long_before = last_row(tile - kJoiners);
  if (row == kNoRow<Key> || rows_after[0] != row || row_long_before == row) {
    return;
  }
  int64_t head = tile; // the tile that the run begins in
  if (row_before == row) {
    --head;
    while (last_row(head - 1) == row) {
      --head;
    }
  }
  int64_t last = tile + 1; // of the tiles that begin with this row
  if (rows_after[1] == row) {
    ++last;
    int64_t beyond = num_tiles;
    while (beyond - last > 1) {
      const int64_t middle = (last + beyond) / 2;
      (first_row(middle) == row ? last : beyond) = middle;
    }
  }
  const int64_t parts = last - head;
  const int joiners = parts < kJoiners ? 1 : kJoiners;
  if (tile - head >= joiners) {
    return;
  }
  if (joiners > 1) {
    lanes = min(lanes, kJoinerLanes);
  }
  const int num_shares = kJoinThreads / lanes;
  const int share = threadIdx.x / lanes;
  const int64_t share_begin = head + 1 + parts * share / num_shares;
  const int64_t share_end = head + 1 + parts * (share + 1) / num_shares;

  const Segment<T> segment = gradients.of_row(row);
  T* const target = segment.row(static_cast<int64_t>(row) - segment.first_row);
  for (int64_t first = (tile - head) * lanes * kVec; first < segment.dim;
       first += joiners * lanes * kVec) {
    const int64_t column = first + threadIdx.x % lanes * kVec;
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
      if (share == 0) {
        add(part(head * 2 + (first_row(head) == row ? 0 : 1)));
      }
#pragma unroll 8
      for (int64_t other = share_begin; other < share_end; ++other) {
        add(part(other * 2));
      }
    }
    sums[threadIdx.x] = sum;
    __syncthreads();
    if (active && share == 0) {
      for (int other = 1; other < num_shares; ++other) {
        add(sums[other * lanes + threadIdx.x]);
      }
      store_narrowed<T, kVec>(target + column, sum);
    }
    __syncthreads();
  }
}

} // namespace embed_ops
