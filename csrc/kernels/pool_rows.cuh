// Many rows per bag: output[b, columns of t] = the combined rows of bag (b, t).
//
// A team of lanes (kernels/team.cuh) reads the rows of its bag, several at a time. Its lanes
// share the work of reading the indices, and checking them, one step ahead of the rows: nothing
// stands between the loads of rows, and what is wrong with an index is reported when all is done.
// Where bags are few and long, several teams share one: teams of the same warp (its crew) first,
// then warps. They take consecutive parts of the bag.

#pragma once

#include "kernels/combine.cuh"
#include "kernels/lookups.cuh"
#include "kernels/plan.h"
#include "kernels/row_reader.cuh"
#include "kernels/tables.cuh"
#include "kernels/team.cuh"
#include "kernels/vec.cuh"

namespace embed_ops {

constexpr int kPoolThreads = 256;
constexpr int kPoolWarps = kPoolThreads / 32;
constexpr int kMostPoolUnroll = 8;

// The rows that a lane reads together: at most those that fill 32 registers.
template <class T, class Columns>
__host__ __device__ constexpr int pool_unroll() {
  return sizeof(T) * Columns::kColumns > 16 ? kMostPoolUnroll / 2 : kMostPoolUnroll;
}

// Blocks of a multiprocessor: as many as leave room for the rows in registers.
template <class T, class Combiner, class Row, class Columns>
__host__ __device__ constexpr int pool_blocks() {
  constexpr bool kLargeWeights = Combiner::kIsWeighted && (sizeof(T) > 4 || Columns::kChunks > 1);
  constexpr bool kLarge = Combiner::kIsMax || sizeof(Row) > 4 || kLargeWeights;
  return kLarge ? 2 : Combiner::kIsWeighted ? 3 : 4;
}

// What a thread left out of a bag, and the weights of the rest.
template <class A, class Size>
struct Tally {
  Size skipped = 0;
  A weight = A(0);
  unsigned offends = 0; // not zero: one of its lookups names no row

  __device__ __forceinline__ void merge(Size others_skipped, A others_weight) {
    skipped += others_skipped;
    weight += others_weight;
  }
};

// The part of a bag that a team pools: `left` lookups from here on. Row is uint32_t, or uint64_t
// where rows or lookups are too many for it; so is their number, Size.
template <class T, class Index, class Row, bool kWeighted>
struct PoolPart {
  using Size = std::make_signed_t<Row>;
  static constexpr Row kNone = static_cast<Row>(-1);

  const Index* __restrict__ indices;
  const T* __restrict__ weights;
  Size left;
  int64_t num_rows;
  int64_t padding_idx;

  struct Lookup {
    Index index;
    T weight;
  };

  // The lookup `ahead` of the next one, as it stands in memory.
  __device__ __forceinline__ Lookup read(int ahead) const {
    Lookup lookup{Index(-1), T(0.0f)};
    if (ahead < left) {
      lookup.index = indices[ahead];
      if constexpr (kWeighted) {
        lookup.weight = weights[ahead];
      }
    }
    return lookup;
  }

  // The row of that lookup, kNone and no weight if it does not count. For one lane of a team.
  __device__ __forceinline__ Row
  check(Lookup& lookup, int ahead, bool tallies, Tally<Acc<T>, Size>& tally) const {
    const bool names = names_row(lookup.index, num_rows);
    const bool counts = names && lookup.index != padding_idx;
    if (!counts) {
      lookup.weight = T(0.0f);
    }
    if (tallies && ahead < left) {
      tally.skipped += counts ? 0 : 1;
      tally.offends |= names ? 0 : 1;
      tally.weight += kWeighted ? to_acc(lookup.weight) : Acc<T>(0);
    }
    return counts ? static_cast<Row>(lookup.index) : kNone;
  }

  __device__ __forceinline__ void advance(int step) {
    indices += step;
    if constexpr (kWeighted) {
      weights += step;
    }
    left -= step;
  }
};

// The first `count` lanes of every team of a warp; teams have four lanes at least.
__device__ __forceinline__ unsigned first_lanes(int count, const Team& team) {
  const unsigned teams = team.size == 32 ? 1u
      : team.size == 16                  ? 0x10001u
      : team.size == 8                   ? 0x1010101u
                                         : 0x11111111u;
  return ((1u << count) - 1) * teams;
}

// Pools kCount rows. Most of the time all of them count: then nothing is asked of each, and none is
// cleared.
template <
    int kCount,
    bool kAllCount,
    class T,
    class Columns,
    class Row,
    class Combiner,
    int kUnroll>
__device__ __forceinline__ void pool_together(
    Combiner& combiner,
    const RowReader<T, Columns, Row>& table,
    const Row (&rows)[kUnroll],
    const Acc<T> (&weights)[kUnroll]) {
  constexpr Row kNone = static_cast<Row>(-1);
  typename RowReader<T, Columns, Row>::Values values[kCount];
#pragma unroll
  for (int u = 0; u < kCount; ++u) {
    values[u] = kAllCount ? table.read(rows[u]) : table.read(rows[u], rows[u] != kNone);
  }
#pragma unroll
  for (int u = 0; u < kCount; ++u) {
    if (kAllCount || !Combiner::kIsMax || rows[u] != kNone) {
      combiner.add(values[u].widen(), rows[u], weights[u]);
    }
  }
}

// Pools the part, all teams of the warp in step, each lane reading all the indices.
template <class T, class Index, class Row, class Columns, class Combiner>
__device__ __forceinline__ void pool_by_each_lane(
    Combiner& combiner,
    Tally<Acc<T>, std::make_signed_t<Row>>& tally,
    PoolPart<T, Index, Row, Combiner::kIsWeighted> part,
    const Team& team,
    const RowReader<T, Columns, Row>& table) {
  constexpr int kUnroll = pool_unroll<T, Columns>();
  using Lookup = typename decltype(part)::Lookup;
  for (; __any_sync(0xffffffffu, part.left > 0); part.advance(kUnroll)) {
    Lookup lookups[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      lookups[u] = part.read(u);
    }
    Row rows[kUnroll];
    Acc<T> weights[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      rows[u] = part.check(lookups[u], u, team.lane == 0, tally);
      weights[u] = to_acc(lookups[u].weight);
    }
    pool_together<kUnroll, false>(combiner, table, rows, weights);
  }
}

// The same by lanes that share the reading of indices, kReads at a time. For teams of at least
// pool_unroll() lanes.
template <int kReads, class T, class Index, class Row, class Columns, class Combiner>
__device__ __forceinline__ void pool_by_team(
    Combiner& combiner,
    Tally<Acc<T>, std::make_signed_t<Row>>& tally,
    PoolPart<T, Index, Row, Combiner::kIsWeighted> part,
    const Team& team,
    const RowReader<T, Columns, Row>& table) {
  constexpr unsigned kAll = 0xffffffffu;
  constexpr int kUnroll = pool_unroll<T, Columns>();
  using Part = decltype(part);
  using Lookup = typename Part::Lookup;

  const unsigned firsts = first_lanes(kUnroll, team);
  const unsigned first_half = first_lanes(kUnroll / 2, team);
  const int step = kReads * team.size;
  Lookup next[kReads];
#pragma unroll
  for (int k = 0; k < kReads; ++k) {
    next[k] = part.read(k * team.size + team.lane);
  }
  for (bool more = true; more; part.advance(step)) {
    Lookup lookups[kReads];
    Row rows_of[kReads];
#pragma unroll
    for (int k = 0; k < kReads; ++k) {
      lookups[k] = next[k];
      rows_of[k] = part.check(lookups[k], k * team.size + team.lane, true, tally);
    }
    more = __any_sync(kAll, part.left > step);
    if (more) {
#pragma unroll
      for (int k = 0; k < kReads; ++k) {
        next[k] = part.read(step + k * team.size + team.lane);
      }
    }
#pragma unroll 1
    for (int k = 0; k < kReads; ++k) {
      // By lane, which lookups count. The next ones are always those of the first lanes of a team.
      unsigned counting = __ballot_sync(kAll, rows_of[0] != Part::kNone);
      for (int rest = team.size; rest > 0 && counting != 0; rest -= kUnroll) {
        if ((counting & firsts) != 0) {
          Row rows[kUnroll];
          Acc<T> weights[kUnroll];
#pragma unroll
          for (int u = 0; u < kUnroll; ++u) {
            rows[u] = __shfl_sync(kAll, rows_of[0], u, team.size);
            if constexpr (Combiner::kIsWeighted) {
              weights[u] = __shfl_sync(kAll, to_acc(lookups[0].weight), u, team.size);
            }
          }
          if ((counting & firsts) == firsts) {
            pool_together<kUnroll, true>(combiner, table, rows, weights);
          } else if ((counting & firsts & ~first_half) == 0) {
            pool_together<kUnroll / 2, false>(combiner, table, rows, weights);
          } else {
            pool_together<kUnroll, false>(combiner, table, rows, weights);
          }
        }
        counting >>= kUnroll;
        rows_of[0] = __shfl_down_sync(kAll, rows_of[0], kUnroll, team.size);
        if constexpr (Combiner::kIsWeighted) {
          lookups[0].weight =
              from_acc<T>(__shfl_down_sync(kAll, to_acc(lookups[0].weight), kUnroll, team.size));
        }
      }
#pragma unroll
      for (int later = 1; later < kReads; ++later) {
        rows_of[later - 1] = rows_of[later];
        lookups[later - 1].weight = lookups[later].weight;
      }
    }
  }
}

// How a team reads indices, where it is not by so many for each lane at a time: each lane reads all
// of them; or whatever suits the team, of which a kernel has several.
constexpr int kReadsAll = 0;
constexpr int kReadsAny = -1;

template <int kReads, class T, class Index, class Row, class Columns, class Combiner>
__device__ __forceinline__ void pool_part(
    Combiner& combiner,
    Tally<Acc<T>, std::make_signed_t<Row>>& tally,
    const PoolPart<T, Index, Row, Combiner::kIsWeighted>& part,
    const Team& team,
    const RowReader<T, Columns, Row>& table) {
  if constexpr (kReads == kReadsAll) {
    pool_by_each_lane(combiner, tally, part, team, table);
  } else if constexpr (kReads != kReadsAny) {
    pool_by_team<kReads>(combiner, tally, part, team, table);
  } else if (team.size < pool_unroll<T, Columns>()) {
    pool_by_each_lane(combiner, tally, part, team, table);
  } else {
    pool_by_team<1>(combiner, tally, part, team, table);
  }
}

// Who pools a bag.
struct PoolShape {
  TeamShape team;  // of one table; of several, each has its own
  int crew_shift;  // 2^crew_shift lanes, if a team is not larger
  int warps_shift; // 2^warps_shift warps; one if crews are smaller than that

  PoolShape(const PoolPlan& plan)
      : team(plan.lanes, kTeamLanes),
        crew_shift(ceil_log2(plan.crew)),
        warps_shift(ceil_log2(plan.warps)) {}
};

// Where a thread stands. kShared: whether more than one team may share a bag.
template <bool kShared, class Size>
struct PoolPlace {
  Team team;
  int warp;
  int crew;
  int lane; // in the crew
  int parts;
  int part; // of the bag
  Size b;   // the sample

  __device__ __forceinline__
  PoolPlace(int thread, const TeamShape& team_shape, int columns, const PoolShape& shape)
      : team(thread, team_shape, columns, blockIdx.z), warp(thread >> 5) {
    const int crew_shift = kShared ? max(team_shape.shift, shape.crew_shift) : team_shape.shift;
    const int warps_shift = kShared ? shape.warps_shift : 0;
    const int teams_shift = crew_shift - team_shape.shift;
    crew = 1 << crew_shift;
    lane = thread & (crew - 1);
    parts = 1 << (warps_shift + teams_shift);
    part = ((warp & ((1 << warps_shift) - 1)) << teams_shift) + (lane >> team_shape.shift);
    const Size block_warps = static_cast<Size>(blockDim.x >> (5 + warps_shift));
    const Size crews = Size(blockIdx.x) * block_warps + (warp >> warps_shift);
    b = (crews << (5 - crew_shift)) + ((thread & 31) >> crew_shift);
  }

  // What the team pools of its bag.
  template <class Index>
  __device__ __forceinline__ Range range(const LookupsView<Index>& lookups, int64_t table) const {
    const Range bag = lookups.template bag<Size>(b, table);
    return kShared ? part_of(bag, part, parts) : bag;
  }
};

// The index of the thread, without the compiler's knowing that it has been asked for before: what
// follows from it is computed again then, and takes no registers meanwhile.
__device__ __forceinline__ int thread_index() {
  int index;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(index));
  return index;
}

// Grid: x = bags, y = table, z = slice of its columns. kShared: whether teams may share a bag.
template <
    class T,
    class Index,
    class Row,
    class Columns,
    class Tables,
    class Combiner,
    bool kShared,
    int kReads>
__global__ void __launch_bounds__(kPoolThreads, pool_blocks<T, Combiner, Row, Columns>())
    pool_rows_kernel(
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

  using Size = std::make_signed_t<Row>;
  const Segment<T> segment = tables.of_place(blockIdx.y);
  const TeamShape team =
      Tables::kMaxTables == 1 ? shape.team : TeamShape(Columns::lanes(segment.dim), kTeamLanes);
  if (Tables::kMaxTables > 1 && blockIdx.z * kTeamLanes >= team.lanes) {
    return;
  }
  Combiner combiner;
  combiner.reset();
  Tally<Acc<T>, Size> tally;
  {
    const PoolPlace<kShared, Size> place(thread_index(), team, Columns::kColumns, shape);
    const Range range = place.b < lookups.batch ? place.range(lookups, segment.slot) : Range{0, 0};
    const PoolPart<T, Index, Row, Combiner::kIsWeighted> part{
        lookups.indices + range.begin, Combiner::kIsWeighted ? weights + range.begin : nullptr,
        static_cast<Size>(range.end - range.begin), segment.num_rows, lookups.padding_idx};
    const RowReader<T, Columns, Row> table(
        segment.data, segment.row_stride, Columns(place.team, segment.dim));
    pool_part<kReads>(combiner, tally, part, place.team, table);
  }

  const PoolPlace<kShared, Size> place(thread_index(), team, Columns::kColumns, shape);
  for (int distance = place.team.size; distance < place.crew; distance *= 2) {
    combiner.exchange(distance, place.lane);
  }
  if (mode == Mode::kMean) {
    for (int distance = 1; distance < place.crew; distance *= 2) {
      tally.merge(shuffle_xor(tally.skipped, distance), shuffle_xor(tally.weight, distance));
    }
  }
  const bool offends = __any_sync(0xffffffffu, tally.offends != 0);
  if (kShared && shape.warps_shift > 0) {
    auto* combiners = reinterpret_cast<Combiner*>(shared_bytes);
    auto* skipped = reinterpret_cast<Size*>(combiners + kPoolThreads);
    auto* weight = reinterpret_cast<Acc<T>*>(skipped + kPoolWarps);
    combiners[threadIdx.x] = combiner;
    if (place.lane == 0) {
      skipped[place.warp] = tally.skipped;
      weight[place.warp] = tally.weight;
    }
    __syncthreads();
    for (int other = 1; place.part == 0 && other < 1 << shape.warps_shift; ++other) {
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
        const Range bag = lookups.template bag<Size>(place.b, segment.slot);
        const auto count = static_cast<Size>(bag.end - bag.begin) - tally.skipped;
        if (count > 0) {
          combiner.divide(Combiner::kIsWeighted ? tally.weight : static_cast<Acc<T>>(count));
        }
      }
    }
    const int64_t row = int64_t{place.b} * output_stride + segment.column;
    Columns(place.team, segment.dim).for_each_chunk([&](int first, int64_t column) {
      combiner.template store<Columns::kVec>(first, output + row + column, argmax + row + column);
    });
  }
  if (blockIdx.z == 0 && place.team.lane == 0) {
    if (offends) {
      report_offences(
          lookups, place.range(lookups, segment.slot), segment.num_rows, segment.table, sink);
    }
    if (lookups.offsets != nullptr && place.part == 0) {
      lookups.check_bag(segment.slot * lookups.batch + place.b, sink);
    }
  }
}

} // namespace embed_ops
