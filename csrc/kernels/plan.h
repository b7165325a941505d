// Launch plans: pure functions of shapes and device, from which the host code launches. Here what
// all share, and the forward's; the gradient's are in plan_scatter.h, those of putting lookups in
// order in plan_order.h.

#pragma once

#include <algorithm>
#include <cstdint>

namespace embed_ops {

constexpr int kBlockThreads = 256;
constexpr int kThreadsPerProcessor = 2048;

inline int64_t ceil_div(int64_t value, int64_t divisor) {
  return (value + divisor - 1) / divisor;
}

// The least power of two that is at least `value`, and at most `most`.
inline int power_of_two_for(int64_t value, int most) {
  int power = 1;
  while (power < most && power < value) {
    power *= 2;
  }
  return power;
}

struct Plan {
  int block_x = 1;
  int block_y = 1;
  int64_t grid_x = 1;
  int64_t grid_y = 1;
  int64_t grid_z = 1;
  int unroll = 1;
};

// Threads: x = lane, y = sample: `lanes` spread over x; as many samples over y as fill the block.
inline Plan plan_lanes(int64_t lanes) {
  Plan plan;
  plan.block_x = static_cast<int>(std::min<int64_t>(lanes, kBlockThreads));
  plan.block_y = kBlockThreads / plan.block_x;
  plan.grid_y = ceil_div(lanes, plan.block_x);
  return plan;
}

// Copies: several rows per thread once there are threads enough to fill the device.
inline Plan plan_copy(int64_t lanes, int64_t batch, int processors) {
  Plan plan = plan_lanes(lanes);
  const double rounds =
      static_cast<double>(lanes) * batch / (int64_t{processors} * kThreadsPerProcessor);
  plan.unroll = rounds < 1 ? 1 : rounds < 6 ? 2 : 4;
  plan.grid_x = ceil_div(batch, int64_t{plan.block_y} * plan.unroll);
  return plan;
}

constexpr int kTeamLanes = 32;

// How rows are pooled (kernels/pool_rows.cuh): `crew` lanes of a warp, and `warps`, share a bag.
struct PoolPlan {
  Plan launch;
  int64_t lanes; // of a row
  int crew;
  int warps;
  bool is_shared; // whether a bag is for more lanes than a row has
};

// Whether the lanes that pool bags take `factor` times as many columns, `columns`: fewer warps then
// have the work around a bag to do. Where eight lanes are left, which share the reading of indices.
// Four times as many where a bag is little more than that work; twice as many elsewhere, but of
// long bags of longer elements than 16 bits more rows in flight are worth more.
inline bool plan_takes_wide(
    int factor,
    int64_t dim,
    int64_t columns,
    int64_t element_bytes,
    int64_t length) {
  constexpr int64_t kLeastLanes = 8;
  constexpr int64_t kShortBag = 3;
  constexpr int64_t kLongBag = 64;
  const bool suits = factor > 2 ? length < kShortBag : element_bytes == 2 || length < kLongBag;
  return dim >= kLeastLanes * columns && suits;
}

// Whether each of the eight lanes that share the reading of a bag's indices reads two at a time: of
// 64 bits all eight then read a whole cache line, which costs the memory less than two halves. Of
// long bags, where they are so many that the memory is busy.
inline bool plan_reads_two(int64_t lanes, int64_t length, int64_t batch) {
  constexpr int64_t kLanes = 8;
  constexpr int64_t kLongBag = 32;
  constexpr int64_t kLeastLookups = int64_t{1} << 20;
  return lanes == kLanes && length >= kLongBag && batch >= ceil_div(kLeastLookups, length);
}

// `lanes` and `mean_length` of the bags of any one of `num_tables` tables. Bags are shared until
// there are lanes enough, each with `unroll` loads in flight, to keep memory busy; shares are
// not shorter than that.
inline PoolPlan plan_pool(
    int64_t lanes,
    int64_t batch,
    int64_t mean_length,
    int64_t num_tables,
    int processors,
    int block_warps,
    int unroll) {
  constexpr int64_t kLanesPerProcessor = 512;
  constexpr int64_t kLoneWarps = 2;
  const int64_t slices = ceil_div(lanes, kTeamLanes);
  const int team = power_of_two_for(ceil_div(lanes, slices), kTeamLanes);
  const int most = kTeamLanes / team * block_warps;
  int parts = 1;
  while (parts < most && mean_length >= 2 * parts * unroll &&
         batch * num_tables * slices * team * parts < kLanesPerProcessor * processors) {
    parts *= 2;
  }
  PoolPlan plan;
  plan.lanes = lanes;
  plan.crew = std::min(kTeamLanes, team * parts);
  plan.warps = team * parts / plan.crew;
  plan.is_shared = parts > 1;
  // Warps that wait for no other make way for the next sooner in small blocks.
  const int64_t warps = plan.warps == 1 ? kLoneWarps : block_warps;
  plan.launch.block_x = static_cast<int>(warps * kTeamLanes);
  plan.launch.grid_x = ceil_div(batch, warps / plan.warps * (kTeamLanes / plan.crew));
  plan.launch.grid_y = num_tables;
  plan.launch.grid_z = slices;
  return plan;
}

// One warp per bag or lookup.
inline Plan plan_warps(int64_t count) {
  Plan plan;
  plan.block_x = 32;
  plan.block_y = kBlockThreads / 32;
  plan.grid_x = ceil_div(count, plan.block_y);
  return plan;
}

// One thread per element, in a grid-stride loop.
inline Plan plan_elements(int64_t count, int processors) {
  Plan plan;
  plan.block_x = kBlockThreads;
  plan.grid_x = std::min<int64_t>(
      ceil_div(count, kBlockThreads), int64_t{processors} * (kThreadsPerProcessor / kBlockThreads));
  return plan;
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
