// Many rows per bag: output[b, columns of t] = the combined rows of bag (b, t).
//
// A team of lanes pools a bag (kernels/pool_part.cuh). Where bags are few and long, several teams
// share one: teams of the same warp (its crew) first, then warps. They take consecutive parts of
// the bag.

#pragma once

#include "kernels/combine.cuh"
#include "kernels/lookups.cuh"
#include "kernels/plan.h"
#include "kernels/pool_part.cuh"
#include "kernels/row_reader.cuh"
#include "kernels/tables.cuh"
#include "kernels/team.cuh"
#include "kernels/vec.cuh"

namespace embed_ops {

constexpr int kPoolThreads = 256;
constexpr int kPoolWarps = kPoolThreads / 32;

// Blocks of a multiprocessor: as many as leave room for the rows in registers.
template <class T, class Combiner, class Row, class Columns>
__host__ __device__ constexpr int pool_blocks() {
  constexpr bool kLargeWeights = Combiner::kIsWeighted && (sizeof(T) > 4 || Columns::kChunks > 1);
  constexpr bool kLarge = Combiner::kIsMax || sizeof(Row) > 4 || kLargeWeights;
  return kLarge ? 2 : Combiner::kIsWeighted ? 3 : 4;
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
  if constexpr (Tables::kMaxTables > 1) {
    // The grid is for the widest table. Of narrower ones there are fewer slices, and, where they
    // have crews of their own, fewer blocks; what would come behind these could not even be
    // numbered.
    const int bags_shift = 5 - team.shift; // of a warp
    const int64_t first_bag = int64_t{blockIdx.x} * (blockDim.x >> 5) << bags_shift;
    if (blockIdx.z * kTeamLanes >= team.lanes || (!kShared && first_bag >= lookups.batch)) {
      return;
    }
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
