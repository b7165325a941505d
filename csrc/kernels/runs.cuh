// Sums runs of equal rows among lookups that a warp holds in the order of their rows.
//
// Lane l holds kPerLane neighbours, so a team of lanes (kernels/team.cuh) holds an equal share of
// all; it takes what it needs from its own lanes by shuffles, reads kUnroll gradients at a time and
// sums them in registers. A run that crosses teams is put together by a segmented scan.

#pragma once

#include "kernels/vec.cuh"

namespace embed_ops {

// In place of `factor`, where there is none.
struct NoFactor {};

// Of the 32 * kPerLane lookups that the warp holds, those at [from, to).
//   take(i, lane) -> the i-th lookup of a lane, which has a row(); called by all lanes
//   read(lookup) -> Vec<T, kColumns>, its gradient
//   factor(lookup, i, lane) -> what multiplies it, if kFactors; called by all lanes
//   finish(row, sum) takes the sum of a run.
template <
    class T,
    int kColumns,
    int kPerLane,
    int kUnroll,
    bool kFactors,
    class Take,
    class Read,
    class Factor,
    class Finish>
__device__ __forceinline__ void sum_runs(
    int from,
    int to,
    int team,
    const Take& take,
    const Read& read,
    const Factor& factor,
    const Finish& finish) {
  constexpr unsigned kAll = 0xffffffffu;
  static_assert(kUnroll % kPerLane == 0);
  using Lookup = decltype(take(0, 0));
  using Sum = Vec<Acc<T>, kColumns>;
  const int lane = threadIdx.x & 31;
  const int leader = lane & -team;
  const int first = leader * kPerLane;
  const int begin = max(first, from);
  const int end = min(first + team * kPerLane, to);

  auto row = take(0, begin / kPerLane).row();
#pragma unroll
  for (int i = 1; i < kPerLane; ++i) {
    const auto other = take(i, begin / kPerLane).row();
    row = begin % kPerLane == i ? other : row;
  }
  const auto row_before = take(kPerLane - 1, max(leader - 1, 0)).row();
  const auto row_after = take(0, min(leader + team, 31)).row();
  const auto head_row = row;
  const bool cut_before = first > from && begin < end && row_before == row;
  bool in_head = cut_before; // in the run that an earlier team began
  Sum head = zeros<Acc<T>, kColumns>();
  Sum sum = zeros<Acc<T>, kColumns>();
  for (int step = first; step < first + team * kPerLane; step += kUnroll) {
    if (!__any_sync(kAll, step < end)) {
      break;
    }
    Lookup lookups[kUnroll];
    Vec<T, kColumns> values[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      lookups[u] = take(u % kPerLane, (step + u) / kPerLane);
      values[u] = zeros<T, kColumns>();
      if (step + u >= begin && step + u < end) {
        values[u] = read(lookups[u]);
      }
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const bool inside = step + u >= begin && step + u < end;
      const bool ends = inside && lookups[u].row() != row;
      if (ends && !in_head) {
        finish(row, sum);
      }
      // Selected and not in branches, of which there would be kUnroll.
#pragma unroll
      for (int i = 0; i < kColumns; ++i) {
        head.v[i] = ends && in_head ? sum.v[i] : head.v[i];
        sum.v[i] = ends ? Acc<T>(0) : sum.v[i];
      }
      row = ends ? lookups[u].row() : row;
      in_head = in_head && !ends;
      Acc<T> by = Acc<T>(1);
      if constexpr (kFactors) {
        // Of lookups outside nothing is known, and not even zero times that need be zero.
        by = factor(lookups[u], u % kPerLane, (step + u) / kPerLane);
        by = inside ? by : Acc<T>(0);
      }
      const Sum value = widen(values[u]);
#pragma unroll
      for (int i = 0; i < kColumns; ++i) {
        sum.v[i] += kFactors ? by * value.v[i] : value.v[i];
      }
    }
  }

  // `sum` is the run that the share ends with. A share within one run passes on what came before.
  if (__any_sync(kAll, cut_before)) {
    bool starts = begin < end && !in_head;
    for (int distance = team; distance < 32; distance *= 2) {
      Sum before;
#pragma unroll
      for (int i = 0; i < kColumns; ++i) {
        before.v[i] = __shfl_up_sync(kAll, sum.v[i], distance);
      }
      const bool started = __shfl_up_sync(kAll, starts, distance);
      if (!starts && leader >= distance) {
#pragma unroll
        for (int i = 0; i < kColumns; ++i) {
          sum.v[i] += before.v[i];
        }
        starts = started;
      }
    }
#pragma unroll
    for (int i = 0; i < kColumns; ++i) {
      head.v[i] += __shfl_up_sync(kAll, sum.v[i], team & 31);
    }
    if (cut_before && !in_head) {
      finish(head_row, head);
    }
  }
  if (begin < end && (end == to || row_after != row)) {
    finish(row, sum);
  }
}

} // namespace embed_ops
