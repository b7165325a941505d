// Many rows per bag: output[b, columns of t] = the combined rows of bag (b, t).
//
// A team of lanes (kernels/team.cuh) reads the rows of its bag, kPoolUnroll at a time. Its lanes
// share the work of reading the indices, and checking them, one step ahead of the rows: nothing
// stands between the loads of rows, and what is wrong with an index is reported when all is done.
// Where bags are few and long, several teams share one: teams of the same warp (its crew) first,
// then warps. They take consecutive parts of the bag.

#pragma once

#include "kernels/combine.cuh"
#include "kernels/lookups.cuh"
#include "kernels/row_reader.cuh"
#include "kernels/tables.cuh"
#include "kernels/team.cuh"
#include "kernels/vec.cuh"

namespace embed_ops {

constexpr int kPoolThreads = 256;
constexpr int kPoolWarps = kPoolThreads / 32;
constexpr int kPoolUnroll = 8;

// Blocks of a multiprocessor: as many as leave room for kPoolUnroll rows in registers.
template <class T, class Combiner, class Row>
__host__ __device__ constexpr int pool_blocks() {
  constexpr bool kLargeWeights = Combiner::kIsWeighted && sizeof(T) > 4;
  const bool large = Combiner::kIsMax || sizeof(Row) > 4 || kLargeWeights;
  return large ? 2 : Combiner::kIsWeighted ? 3 : 4;
}

// What a thread left out of a bag, and the weights of the rest.
template <class A>
struct Tally {
  int64_t skipped = 0;
  A weight = A(0);
  unsigned offends = 0; // not zero: one of its lookups names no row

  __device__ __forceinline__ void merge(int64_t others_skipped, A others_weight) {
    skipped += others_skipped;
    weight += others_weight;
  }
};

// The part of a bag that a team pools. Row is uint32_t, or uint64_t where rows are too many for it.
template <class T, class Index, class Row, bool kWeighted>
struct PoolPart {
  static constexpr Row kNone = static_cast<Row>(-1);

  const Index* __restrict__ indices;
  const T* __restrict__ weights;
  int64_t at; // the next lookup
  int64_t end;
  int64_t num_rows;
  int64_t padding_idx;

  struct Lookup {
    Index index;
    T weight;
  };

  // The lookup `ahead` of the next one, as it stands in memory.
  __device__ __forceinline__ Lookup read(int ahead) const {
    Lookup lookup{Index(-1), T(0.0f)};
    if (at + ahead < end) {
      lookup.index = indices[at + ahead];
      if constexpr (kWeighted) {
        lookup.weight = weights[at + ahead];
      }
    }
    return lookup;
  }

  // The row of that lookup, kNone and no weight if it does not count. For one lane of a team.
  __device__ __forceinline__ Row
  check(Lookup& lookup, int ahead, bool tallies, Tally<Acc<T>>& tally) const {
    const bool names = names_row(lookup.index, num_rows);
    const bool counts = names && lookup.index != padding_idx;
    if (!counts) {
      lookup.weight = T(0.0f);
    }
    if (tallies && at + ahead < end) {
      tally.skipped += counts ? 0 : 1;
      tally.offends |= names ? 0 : 1;
      tally.weight += kWeighted ? to_acc(lookup.weight) : Acc<T>(0);
    }
    return counts ? static_cast<Row>(lookup.index) : kNone;
  }
};

// Pools the part, all teams of the warp in step.
template <class T, class Index, class Row, class Columns, class Combiner>
__device__ __forceinline__ void pool_part(
    Combiner& combiner,
    Tally<Acc<T>>& tally,
    PoolPart<T, Index, Row, Combiner::kIsWeighted> part,
    const Team& team,
    const RowReader<T, Columns, Row>& table) {
  constexpr unsigned kAll = 0xffffffffu;
  using Part = decltype(part);
  using Lookup = typename Part::Lookup;
  // Lanes of narrow rows, which are less than kPoolUnroll, each read all the indices.
  const bool shares = team.size >= kPoolUnroll;
  const int step = shares ? team.size : kPoolUnroll;
  Lookup next = part.read(team.lane);
  while (__any_sync(kAll, part.at < part.end)) {
    Lookup mine = next;
    Row my_row = Part::kNone;
    if (shares) {
      my_row = part.check(mine, team.lane, true, tally);
      next = part.read(step + team.lane);
    }
    for (int first = 0; first < step; first += kPoolUnroll) {
      if (!__any_sync(kAll, part.at + first < part.end)) {
        break;
      }
      Row rows[kPoolUnroll];
      Acc<T> weights[kPoolUnroll];
      if (shares) {
#pragma unroll
        for (int u = 0; u < kPoolUnroll; ++u) {
          rows[u] = __shfl_sync(kAll, my_row, first + u, team.size);
          if constexpr (Combiner::kIsWeighted) {
            weights[u] = __shfl_sync(kAll, to_acc(mine.weight), first + u, team.size);
          }
        }
      } else {
        Lookup lookups[kPoolUnroll];
#pragma unroll
        for (int u = 0; u < kPoolUnroll; ++u) {
          lookups[u] = part.read(u);
        }
#pragma unroll
        for (int u = 0; u < kPoolUnroll; ++u) {
          rows[u] = part.check(lookups[u], u, team.lane == 0, tally);
          weights[u] = to_acc(lookups[u].weight);
        }
      }
      typename RowReader<T, Columns, Row>::Values values[kPoolUnroll];
#pragma unroll
      for (int u = 0; u < kPoolUnroll; ++u) {
        values[u] = table.read(rows[u], rows[u] != Part::kNone);
      }
#pragma unroll
      for (int u = 0; u < kPoolUnroll; ++u) {
        if (!Combiner::kIsMax || rows[u] != Part::kNone) {
          combiner.add(values[u].widen(), static_cast<Index>(rows[u]), weights[u]);
        }
      }
    }
    part.at += step;
  }
}

// How many share a bag.
struct PoolShape {
  int crew;  // lanes, if a team is not larger: a power of two
  int warps; // 1 if crews are smaller than warps
};

// Where a thread stands. kShared: whether more than one team may share a bag.
template <bool kShared>
struct PoolPlace {
  Team team;
  int warp;
  int crew;
  int lane; // in the crew
  int parts;
  int part;  // of the bag
  int64_t b; // the sample

  __device__ __forceinline__
  PoolPlace(int thread, int64_t lanes, int columns, const PoolShape& shape)
      : team(thread, lanes, columns, blockIdx.z, 32),
        warp(thread / 32),
        crew(kShared ? max(team.size, shape.crew) : team.size),
        lane(thread & (crew - 1)) {
    // Sizes are powers of two.
    const int warps = kShared ? shape.warps : 1;
    const int teams_shift = __ffs(crew) - __ffs(team.size);
    const int warps_shift = __ffs(warps) - 1;
    const int crews_shift = 6 - __ffs(crew);
    parts = warps << teams_shift;
    part = kShared ? ((warp & (warps - 1)) << teams_shift) + (lane >> (__ffs(team.size) - 1)) : 0;
    const int block_warps = static_cast<int>(blockDim.x) / 32;
    b = ((int64_t{blockIdx.x} * (block_warps >> warps_shift) + (warp >> warps_shift))
         << crews_shift) +
        ((thread & 31) >> (5 - crews_shift));
  }
};

// The index of the thread, without the compiler's knowing that it has been asked for before: what
// follows from it is computed again then, and takes no registers meanwhile.
__device__ __forceinline__ int thread_index() {
  int index;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(index));
  return index;
}

// Grid: x = bags, y = table, z = slice of its columns. Without kShared, shape says nothing.
template <
    class T,
    class Index,
    class Row,
    class Columns,
    class Tables,
    class Combiner,
    bool kShared>
__global__ void __launch_bounds__(kPoolThreads, pool_blocks<T, Combiner, Row>()) pool_rows_kernel(
    const __grid_constant__ Tables tables,
    const __grid_constant__ LookupsView<Index> lookups,
    const T* __restrict__ weights,
    Mode mode,
    T* __restrict__ output,
    Index* __restrict__ argmax,
    int64_t output_stride,
    PoolShape shape,
    OffenceSink sink) {
  extern __shared__ __align__(16) char shared_bytes[];

  const Segment<T> segment = tables.of_place(blockIdx.y);
  const int64_t lanes = Columns::lanes(segment.dim);
  if (blockIdx.z * int64_t{32} >= lanes) {
    return;
  }
  Combiner combiner;
  combiner.reset();
  Tally<Acc<T>> tally;
  {
    const PoolPlace<kShared> place(thread_index(), lanes, Columns::kColumns, shape);
    const Range range = place.b < lookups.batch
        ? part_of(lookups.bag(place.b, segment.slot), place.part, place.parts)
        : Range{0, 0};
    const PoolPart<T, Index, Row, Combiner::kIsWeighted> part{
        lookups.indices, weights, range.begin, range.end, segment.num_rows, lookups.padding_idx};
    const RowReader<T, Columns, Row> table(
        segment.data, segment.row_stride, Columns(place.team, segment.dim));
    pool_part(combiner, tally, part, place.team, table);
  }

  const PoolPlace<kShared> place(thread_index(), lanes, Columns::kColumns, shape);
  for (int distance = place.team.size; distance < place.crew; distance *= 2) {
    combiner.exchange(distance, place.lane);
  }
  if (mode == Mode::kMean) {
    for (int distance = 1; distance < place.crew; distance *= 2) {
      tally.merge(shuffle_xor(tally.skipped, distance), shuffle_xor(tally.weight, distance));
    }
  }
  const bool offends = __any_sync(0xffffffffu, tally.offends != 0);
  if (kShared && shape.warps > 1) {
    auto* combiners = reinterpret_cast<Combiner*>(shared_bytes);
    auto* skipped = reinterpret_cast<int64_t*>(combiners + kPoolThreads);
    auto* weight = reinterpret_cast<Acc<T>*>(skipped + kPoolWarps);
    combiners[threadIdx.x] = combiner;
    if (place.lane == 0) {
      skipped[place.warp] = tally.skipped;
      weight[place.warp] = tally.weight;
    }
    __syncthreads();
    for (int other = 1; place.part == 0 && other < shape.warps; ++other) {
      combiner.merge(combiners[threadIdx.x + other * 32]);
      tally.merge(skipped[place.warp + other], weight[place.warp + other]);
    }
  }
  if (place.b >= lookups.batch) {
    return;
  }
  if (place.part == 0) {
    if constexpr (!Combiner::kIsMax) {
      if (mode == Mode::kMean) {
        const Range bag = lookups.bag(place.b, segment.slot);
        const int64_t count = bag.end - bag.begin - tally.skipped;
        if (count > 0) {
          combiner.divide(Combiner::kIsWeighted ? tally.weight : static_cast<Acc<T>>(count));
        }
      }
    }
    const int64_t row = place.b * output_stride + segment.column;
    Columns(place.team, segment.dim).for_each_chunk([&](int first, int64_t column) {
      combiner.template store<Columns::kVec>(first, output + row + column, argmax + row + column);
    });
  }
  if (blockIdx.z == 0 && place.team.lane == 0) {
    if (offends) {
      report_offences(
          lookups, part_of(lookups.bag(place.b, segment.slot), place.part, place.parts),
          segment.num_rows, segment.table, sink);
    }
    if (lookups.offsets != nullptr && place.part == 0) {
      lookups.check_bag(segment.slot * lookups.batch + place.b, sink);
    }
  }
}

} // namespace embed_ops
