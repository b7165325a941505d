// The way a dense gradient takes, and its launch plans.

#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/plan.h"

namespace embed_ops {

// How a dense gradient is made (the reasons, with figures, are in csrc/README.md).
enum class ScatterWay {
  kAtomic,   // one atomic addition per lookup
  kTiled,    // one per run of equal rows of a tile that a warp sorts
  kWidened,  // the same into an fp32 copy of the gradient, which is then rounded
  kCompared, // the first lookup of each row sums them all: every row stored once
  kOrdered,  // all lookups ordered by row in memory: every sum stored once
};

struct ScatterShape {
  int64_t num_lookups;
  int64_t num_rows; // of all tables
  int64_t width;    // of all tables
  int64_t num_tables;
  int64_t gradient_elements; // of all tables
  int64_t gradient_bytes;
  bool sums_in_gradient; // fp32 and fp64: the gradient's type can hold the sums
  bool deterministic;
  bool is_max;
  bool is_dense; // whether the rows of each table lie one after the other
};

constexpr int64_t kMostCompared = 1024;

// The elements of an fp32 copy that nobody minds, 4 MB, and those per lookup: 4 machine words of 64
// bits. Of kLeastSomeLookups and more, as long as they are not more than kMostSomeLookups or add up
// no more than kMostSomeElements, ordering takes longer than filling and rounding 16 MB. Fewer
// lookups than kLeastWidened do without workspace.
constexpr int64_t kLeastWidened = 1024;
constexpr int64_t kMostWidened = int64_t{1} << 20;
constexpr int64_t kMostWidenedPerLookup = 8;
constexpr int64_t kMostWidenedForSome = int64_t{1} << 22;
constexpr int64_t kLeastSomeLookups = 4096;
constexpr int64_t kMostSomeLookups = 65536;
constexpr int64_t kMostSomeElements = int64_t{1} << 23;

// Measured on an H100. Fewer lookups are added one by one before a tile of them is sorted. From
// kLeastOrdered elements on, in gradients that do not fit the L2, what ordering costs is less than
// what storing each row once saves, unless hardly any row is named: then zeros are all there is to
// write. In those that do fit, so it is from kLeastOrderedWide elements of wide rows on (H200), of
// more rows than a tile merges well.
constexpr int64_t kLeastTiledLookups = 4096;
constexpr int64_t kLeastTiledNarrowLookups = 6144;
constexpr int64_t kNarrowWidth = 8;
constexpr int64_t kLeastOrdered = int64_t{1} << 24;
constexpr int64_t kLeastOrderedBytes = int64_t{32} << 20;
constexpr int64_t kMostOrderedRowsPerLookup = 8;
constexpr int64_t kLeastOrderedWide = int64_t{1} << 26;
constexpr int64_t kWideWidth = 256;
constexpr int64_t kLeastWideRows = 256;

inline ScatterWay plan_scatter(const ScatterShape& shape) {
  // Of several tables each lookup has only its own width.
  const int64_t width = shape.width / shape.num_tables;
  if (shape.deterministic || !shape.sums_in_gradient) {
    const bool some = shape.num_lookups >= kLeastSomeLookups &&
        (shape.num_lookups <= kMostSomeLookups || shape.num_lookups * width <= kMostSomeElements);
    const bool small = shape.gradient_elements <=
        std::max(some ? kMostWidenedForSome : kMostWidened,
                 kMostWidenedPerLookup * shape.num_lookups);
    // The copy is rounded as a whole, into what lies between the rows of a table too.
    if (small && shape.num_lookups >= kLeastWidened && shape.is_dense && !shape.deterministic &&
        !shape.is_max) {
      return ScatterWay::kWidened;
    }
    return shape.num_lookups <= kMostCompared && !shape.is_max ? ScatterWay::kCompared
                                                               : ScatterWay::kOrdered;
  }
  const int64_t least_tiled = width <= kNarrowWidth ? kLeastTiledNarrowLookups : kLeastTiledLookups;
  if (shape.is_max || shape.num_lookups < least_tiled) {
    return ScatterWay::kAtomic;
  }
  const int64_t elements = shape.num_lookups * width;
  const bool large = elements >= kLeastOrdered && shape.gradient_bytes >= kLeastOrderedBytes &&
      shape.num_rows / kMostOrderedRowsPerLookup <= shape.num_lookups;
  const bool wide = elements >= kLeastOrderedWide && width >= kWideWidth &&
      shape.num_rows / shape.num_tables >= kLeastWideRows &&
      shape.gradient_bytes < kLeastOrderedBytes;
  return large || wide ? ScatterWay::kOrdered : ScatterWay::kTiled;
}

// Grid z cuts every bag into parts of at least 4 lookups until the device is full.
inline Plan plan_scatter_atomic(int64_t lanes, int64_t batch, int64_t mean_length, int processors) {
  Plan plan = plan_lanes(lanes);
  plan.grid_x = ceil_div(batch, plan.block_y);
  const int64_t wanted = int64_t{processors} * kThreadsPerProcessor;
  while (plan.grid_z < 32 && lanes * batch * plan.grid_z < wanted &&
         mean_length >= 8 * plan.grid_z) {
    plan.grid_z *= 2;
  }
  return plan;
}

// Zeros (kernels/fill_zero.cuh): one block of threads per chunk of memory, at most 4 int4s a
// thread.
constexpr int kFillUnroll = 4;

// Half as many where all is far more than a cache holds: then the DRAM takes 1 % less time for
// them. Of less, the kernel that follows waits longer for twice as many blocks.
inline int64_t plan_fill_chunk(int64_t bytes) {
  constexpr int64_t kVeryMany = int64_t{1} << 28;
  constexpr int64_t kMostChunkBytes = int64_t{kBlockThreads} * kFillUnroll * 16;
  return bytes < kVeryMany ? kMostChunkBytes : kMostChunkBytes / 2;
}

inline Plan plan_fill_zero(int64_t num_chunks) {
  Plan plan;
  plan.block_x = kBlockThreads;
  plan.grid_x = num_chunks;
  return plan;
}

// Zeros for single rows (kernels/unnamed_rows.cuh), by blocks of kBlockThreads: groups of `lanes`
// threads write kFillRows rows each, neighbours in a block.
constexpr int kFillRows = 8;

struct FillPlan {
  int lanes;
  int groups; // of a block
  int64_t num_blocks;
};

inline FillPlan plan_fill(int64_t lanes, int64_t num_rows) {
  constexpr int64_t kMostLanes = 64;
  FillPlan plan;
  plan.lanes = static_cast<int>(std::clamp<int64_t>(lanes, 1, kMostLanes));
  plan.groups = kBlockThreads / plan.lanes;
  plan.num_blocks = ceil_div(num_rows, int64_t{kFillRows} * plan.groups);
  return plan;
}

// The same of several tables: one group of lanes per row of each of `num_tables` tables that share
// `num_rows` rows.
inline Plan plan_fill_tables(int64_t lanes, int64_t num_rows, int64_t num_tables) {
  Plan plan = plan_lanes(std::min<int64_t>(lanes, 64));
  plan.grid_x = ceil_div(ceil_div(num_rows, num_tables), 8 * plan.block_y);
  plan.grid_y = num_tables;
  return plan;
}

// How the lookups of a sorted gradient (kernels/runs.cuh) are cut into tiles, one warp each.
struct TilePlan {
  Plan launch;
  int per_lane;         // lookups per lane of a warp: 1, 2 or 4
  int slice_lanes;      // the most lanes of columns that one warp takes
  bool prefetches;      // whether tiles ask for their gradients before they are sorted
  int64_t staged_bytes; // of a block's shared memory, into which tiles bring their gradients; or 0
};

// Large tiles merge more lookups; small ones, and slices of the columns, give every processor warps
// where lookups are few.
inline TilePlan plan_tiles(
    int64_t lanes,
    int64_t num_lookups,
    int processors,
    int least_slice_lanes,
    int per_lane,
    int block_threads) {
  constexpr int64_t kWarpsPerProcessor = 15;
  TilePlan plan;
  plan.per_lane = per_lane;
  plan.prefetches = false;
  plan.staged_bytes = 0;
  const int64_t tiles = ceil_div(num_lookups, 32 * per_lane);
  plan.slice_lanes = power_of_two_for(lanes, kTeamLanes);
  while (plan.slice_lanes > least_slice_lanes &&
         tiles * ceil_div(lanes, plan.slice_lanes) < kWarpsPerProcessor * processors) {
    plan.slice_lanes /= 2;
  }
  plan.launch.block_x = block_threads;
  plan.launch.grid_x = ceil_div(tiles, block_threads / 32);
  plan.launch.grid_y = ceil_div(lanes, plan.slice_lanes);
  return plan;
}

constexpr int64_t kMostSmallTiles = 32768; // the most lookups that are cut into tiles of 32

// Lookups that are in the order of their rows (kernels/scatter_ordered.cuh).
inline TilePlan plan_ordered_tiles(
    int64_t lanes,
    int64_t num_lookups,
    int processors,
    int least_slice_lanes) {
  return plan_tiles(
      lanes, num_lookups, processors, least_slice_lanes, num_lookups > kMostSmallTiles ? 4 : 1,
      kBlockThreads);
}

// Lookups that each warp sorts first (kernels/scatter_tiled.cuh). Until there are enough to keep
// the memory busy, small blocks spread over more processors, narrow rows take small tiles too, and
// a tile's gradients, up to 4 KB, are on their way while it is sorted.
inline TilePlan plan_sorted_tiles(
    int64_t lanes,
    int64_t lane_bytes,
    int64_t num_lookups,
    int processors,
    int least_slice_lanes,
    int most_per_lane = 4) {
  constexpr int64_t kFew = 131072;
  constexpr int64_t kNarrowLanes = 2;
  constexpr int64_t kMostPrefetched = 4096;
  const bool few = num_lookups <= kFew;
  const int64_t most_small = lanes <= kNarrowLanes ? kFew : kMostSmallTiles;
  TilePlan plan = plan_tiles(
      lanes, num_lookups, processors, least_slice_lanes,
      num_lookups > most_small ? most_per_lane : 1, few ? 64 : kBlockThreads);
  plan.prefetches = few && 32 * plan.per_lane * plan.slice_lanes * lane_bytes <= kMostPrefetched;
  return plan;
}

// The same where each lookup is a bag and rows are narrow: a tile brings all its gradients into
// shared memory while it is sorted, and then waits for them once. Larger tiles merge more lookups,
// smaller ones spread over more warps. Without staged_bytes, this is not for them.
inline TilePlan plan_staged_tiles(int64_t lanes, int64_t lane_bytes, int64_t num_lookups) {
  constexpr int64_t kMostTileBytes = 16384;
  constexpr int kBlockWarps = 2;
  constexpr int64_t kNarrowLanes = 8; // of wider rows few tiles are better cut into slices
  constexpr int64_t kFew = 8192;
  // The most lookups that are cut into tiles of 32, of 64, and of 64 if those of 128 are too large.
  constexpr int64_t kMostOf32 = 24576;
  constexpr int64_t kMostOf64 = 49152;
  constexpr int64_t kMostOfLess = 98304;
  const int64_t row_bytes = power_of_two_for(lanes, kTeamLanes) * lane_bytes;
  const int wanted = num_lookups <= kMostOf32 ? 1 : num_lookups <= kMostOf64 ? 2 : 4;
  const int least = num_lookups <= kMostOf64 ? 1 : num_lookups <= kMostOfLess ? 2 : 4;
  int per_lane = wanted;
  while (per_lane > least && 32 * per_lane * row_bytes > kMostTileBytes) {
    per_lane /= 2;
  }
  TilePlan plan =
      plan_tiles(lanes, num_lookups, /*processors=*/0, kTeamLanes, per_lane, 32 * kBlockWarps);
  const int64_t tile_bytes = 32 * per_lane * row_bytes;
  const bool fits = lanes <= kTeamLanes && tile_bytes <= kMostTileBytes;
  if (fits && (lanes <= kNarrowLanes || num_lookups > kFew)) {
    plan.staged_bytes = kBlockWarps * tile_bytes;
  }
  return plan;
}

// One block per tile.
inline Plan plan_join(int64_t num_tiles, int block_threads) {
  Plan plan;
  plan.block_x = block_threads;
  plan.grid_x = num_tiles;
  return plan;
}

} // namespace embed_ops
