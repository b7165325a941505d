// Launch plans: pure functions of shapes and device, from which the host code launches.

#pragma once

#include <algorithm>
#include <cstdint>

namespace embed_ops {

constexpr int kBlockThreads = 256;
constexpr int kMaxGridX = 1 << 30;
constexpr int kThreadsPerProcessor = 2048;

inline int64_t ceil_div(int64_t value, int64_t divisor) {
  return (value + divisor - 1) / divisor;
}

// Threads of a block: x = lane, y = sample (or tile), z = part of a bag.
struct Plan {
  int block_x = 1;
  int block_y = 1;
  int block_z = 1;
  int grid_x = 1;
  int grid_y = 1;
  int grid_z = 1;
  int unroll = 1;
};

// Spreads `lanes` over x; as many samples over y as fill the block.
inline Plan plan_lanes(int64_t lanes, int threads = kBlockThreads) {
  Plan plan;
  plan.block_x = static_cast<int>(std::min<int64_t>(lanes, threads));
  plan.block_y = std::max(1, threads / plan.block_x);
  plan.grid_y = static_cast<int>(ceil_div(lanes, plan.block_x));
  return plan;
}

inline int grid_for(int64_t samples, int64_t samples_per_block) {
  return static_cast<int>(std::min<int64_t>(ceil_div(samples, samples_per_block), kMaxGridX));
}

// Copies: several rows per thread once there are threads enough to fill the device.
inline Plan plan_copy(int64_t lanes, int64_t batch, int processors) {
  Plan plan = plan_lanes(lanes);
  plan.unroll = lanes * batch >= 4 * int64_t{processors} * kThreadsPerProcessor ? 4 : 1;
  plan.grid_x = grid_for(batch, int64_t{plan.block_y} * plan.unroll);
  return plan;
}

// Into how many parts a bag is cut so that the device is filled, each part at least
// `least_lookups` long.
inline int parts_for(
    int64_t lanes,
    int64_t batch,
    int64_t mean_length,
    int processors,
    int64_t least_lookups) {
  const int64_t wanted = int64_t{processors} * kThreadsPerProcessor;
  int parts = 1;
  while (parts < 32 && lanes * batch * parts < wanted && mean_length >= 2 * parts * least_lookups) {
    parts *= 2;
  }
  return parts;
}

inline Plan plan_pool(int64_t lanes, int64_t batch, int64_t mean_length, int processors) {
  const int parts = parts_for(lanes, batch, mean_length, processors, 4);
  Plan plan = plan_lanes(lanes, std::max(32, kBlockThreads / parts));
  plan.block_z = std::min(parts, kBlockThreads / (plan.block_x * plan.block_y));
  plan.grid_x = grid_for(batch, plan.block_y);
  return plan;
}

inline Plan plan_scatter_atomic(int64_t lanes, int64_t batch, int64_t mean_length, int processors) {
  Plan plan = plan_lanes(lanes);
  plan.grid_x = grid_for(batch, plan.block_y);
  plan.grid_z = parts_for(lanes, batch, mean_length, processors, 4);
  return plan;
}

// One group of lanes per row of each of `num_tables` tables that share `num_rows` rows.
inline Plan plan_fill(int64_t lanes, int64_t num_rows, int num_tables) {
  Plan plan = plan_lanes(std::min<int64_t>(lanes, 64));
  plan.grid_x = grid_for(ceil_div(num_rows, num_tables), 8 * plan.block_y);
  plan.grid_y = num_tables;
  return plan;
}

// How a walk (kernels/walk.cuh) over `num_lookups` is cut into blocks.
struct WalkPlan {
  Plan launch;
  int items = 1;           // lookups per thread of a block
  int group = 1;           // lanes that share a lookup: a power of two
  int64_t slice_lanes = 1; // lanes of the columns that one block takes
};

// Long tiles merge more lookups; short ones, and slices of the columns, give every processor work
// where there are few lookups.
inline WalkPlan plan_walk(int64_t lanes, int64_t num_lookups, int processors) {
  WalkPlan plan;
  plan.items = num_lookups >= 512 * int64_t{processors} ? 4 : 1;
  const int64_t tiles = ceil_div(num_lookups, int64_t{kBlockThreads} * plan.items);
  int64_t slices = 1;
  while (tiles * slices < 2 * int64_t{processors} && lanes >= 16 * slices) {
    slices *= 2;
  }
  plan.slice_lanes = ceil_div(lanes, slices);
  // Groups of a few lanes would share a short tile so finely that a run crosses many of them.
  plan.group = plan.items == 1 ? 8 : 1;
  while (plan.group < plan.slice_lanes && plan.group < 64) {
    plan.group *= 2;
  }
  plan.launch.block_x = kBlockThreads;
  plan.launch.grid_x = static_cast<int>(tiles);
  plan.launch.grid_y = static_cast<int>(ceil_div(lanes, plan.slice_lanes));
  return plan;
}

// One block per tile; a group of lanes, at most a warp, for each share of a run's parts.
inline Plan plan_join(int64_t lanes, int64_t num_tiles) {
  Plan plan;
  while (plan.block_x < 32 && plan.block_x < lanes) {
    plan.block_x *= 2;
  }
  plan.block_y = kBlockThreads / plan.block_x;
  plan.grid_x = static_cast<int>(num_tiles);
  return plan;
}

// One warp per bag or lookup.
inline Plan plan_warps(int64_t count) {
  Plan plan;
  plan.block_x = 32;
  plan.block_y = kBlockThreads / 32;
  plan.grid_x = grid_for(count, plan.block_y);
  return plan;
}

// One thread per element, in a grid-stride loop.
inline Plan plan_elements(int64_t count, int processors) {
  Plan plan;
  plan.block_x = kBlockThreads;
  plan.grid_x = static_cast<int>(std::min<int64_t>(
      ceil_div(count, kBlockThreads),
      int64_t{processors} * (kThreadsPerProcessor / kBlockThreads)));
  return plan;
}

// How a dense gradient is made (the reasons, with figures, are in csrc/README.md).
enum class ScatterWay {
  kAtomic,  // one atomic addition per lookup
  kTiled,   // one per run of equal rows of a sorted tile
  kOneTile, // all lookups in one sorted tile: every row stored once
  kOrdered, // all lookups ordered by row in memory: every row stored once
};

struct ScatterShape {
  int64_t num_lookups;
  int64_t num_rows; // of all tables
  int64_t width;    // of all tables
  int64_t num_tables;
  bool sums_in_gradient; // fp32 and fp64: the gradient's type can hold the sums
  bool deterministic;
  bool is_max;
};

constexpr int64_t kMostOneTile = 4 * kBlockThreads;

// Measured on an H200, in elements of the gradients that lookups bring: below kLeastTiled (and
// kLeastTiledLookups) atomics finish before a tile is sorted; from kLeastOrdered on, what ordering
// costs (about 30 us) is less than what storing each row once saves.
constexpr int64_t kLeastTiledLookups = 4096;
constexpr int64_t kLeastTiled = int64_t{1} << 18;
constexpr int64_t kLeastOrdered = int64_t{1} << 24;

inline ScatterWay plan_scatter(const ScatterShape& shape) {
  constexpr int64_t k32Bits = 0xffffffffLL;
  const bool narrow = shape.num_rows < k32Bits && shape.num_lookups < k32Bits;
  if (shape.deterministic || !shape.sums_in_gradient) {
    const bool fits = shape.num_lookups <= kMostOneTile && narrow && !shape.is_max;
    return fits ? ScatterWay::kOneTile : ScatterWay::kOrdered;
  }
  // Of several tables each lookup has only its own width.
  const int64_t elements = shape.num_lookups * (shape.width / shape.num_tables);
  if (shape.is_max || !narrow || shape.num_lookups < kLeastTiledLookups || elements < kLeastTiled) {
    return ScatterWay::kAtomic;
  }
  return elements >= kLeastOrdered ? ScatterWay::kOrdered : ScatterWay::kTiled;
}

// The bits that tell 0 ... count apart.
inline int bits_for(int64_t count) {
  int bits = 0;
  while (count > 0) {
    ++bits;
    count >>= 1;
  }
  return std::max(bits, 1);
}

} // namespace embed_ops
