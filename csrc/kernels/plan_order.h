// How lookups are put in the order of their rows: by counting, by a sort, or by one block.

#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/plan.h"

namespace embed_ops {

// Where lookups are counted by row (kernels/order.cuh): 2^shift groups of `stride` counters each.
struct CounterPlan {
  int shift;
  int64_t stride;

  int64_t size() const {
    return stride << shift;
  }
};

// Atomics on one cache line wait for each other: neighbours, which the popular rows of a power law
// are, are counted in different lines. Of several tables, which must stay in their order, rows do.
inline CounterPlan plan_counters(int64_t num_rows, int64_t num_tables) {
  constexpr int kMostShift = 8;
  constexpr int64_t kLineCounters = 32;
  CounterPlan plan{0, 0};
  while (num_tables == 1 && plan.shift < kMostShift && int64_t{1} << plan.shift < num_rows) {
    ++plan.shift;
  }
  plan.stride = std::max(ceil_div(num_rows, int64_t{1} << plan.shift), kLineCounters);
  return plan;
}

// Whether one block puts all lookups in order (kernels/order_in_block.cuh), and checks all bags.
// That saves a counter per row, and most of the time that zeros take; for smaller tables these are
// less than what one block takes longer than many.
constexpr int64_t kMostBlockOrdered = 4096;

inline bool plan_orders_in_block(int64_t num_lookups, int64_t num_bags, int64_t num_rows) {
  constexpr int64_t kMostBags = 16384;
  constexpr int64_t kLeastRows = int64_t{1} << 19;
  return num_lookups <= kMostBlockOrdered && num_bags <= kMostBags && num_rows >= kLeastRows;
}

// Whether lookups are put in order by a radix sort rather than by counting, whose atomics and
// places are anywhere in memory: from so many lookups on, where these no longer fit the L2 (H200).
inline bool plan_sorts(int64_t num_lookups) {
  return num_lookups >= int64_t{1} << 21;
}

// Whether that sort is made of passes of our own (kernels/radix_passes.cuh), which are bound by
// their launches, and not cub::DeviceRadixSort, which is made for many times as many.
constexpr int64_t kMostRadixSorted = int64_t{1} << 17;

inline bool plan_sorts_in_few_passes(int64_t num_lookups) {
  return num_lookups > kMostBlockOrdered && num_lookups <= kMostRadixSorted;
}

constexpr int kRadixThreads = 256;
constexpr int kRadixItems = 8;
constexpr int kRadixTile = kRadixThreads * kRadixItems;
constexpr int kMostRadixBits = 10;
constexpr int kMostRadixPasses = 4;

struct RadixPlan {
  int passes;
  int bits; // of a digit
};

// As few passes as `row_bits`, at most 32, allow, and then digits of as few bits, but four digits.
inline RadixPlan plan_radix(int row_bits) {
  constexpr int kLeastBits = 2;
  const auto passes = static_cast<int>(ceil_div(row_bits, kMostRadixBits));
  return {passes, std::max(static_cast<int>(ceil_div(row_bits, passes)), kLeastBits)};
}

// Runs of so many lookups are numbered by blocks that each add up what the blocks before them have
// counted (kernels/runs_of_rows.cuh), and those of more by cub::DeviceScan.
constexpr int64_t kMostNumbered = int64_t{1} << 19;
constexpr int kNumberThreads = 256;
constexpr int kNumberItems = 8;

} // namespace embed_ops
