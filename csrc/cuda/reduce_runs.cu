#include "cuda/reduce_runs.h"

#include "cuda/dispatch.h"
#include "cuda/dispatch_columns.h"
#include "cuda/launch.h"
#include "cuda/sources.h"
#include "kernels/plan_scatter.h"
#include "kernels/scatter_ordered.cuh"

namespace embed_ops {

namespace {

template <bool kMax, class T, class Winner, class Columns, class Key, int kPerLane, class Tables>
void reduce_tiles(
    Cuda& cuda,
    const OrderedRuns& runs,
    const Tables& tables,
    const TilePlan& plan,
    int64_t width) {
  constexpr int kLookups = 32 * kPerLane;
  const int64_t num_tiles = ceil_div(runs.count, kLookups);
  auto* partial_sums = cuda.workspace<Acc<T>>(2 * num_tiles * width);
  const OrderedLookups<T, Key> ordered{
      static_cast<const Key*>(runs.rows), static_cast<const Key*>(runs.samples),
      static_cast<const Acc<T>*>(runs.factors), runs.count, static_cast<Acc<T>>(runs.scale)};
  const ReduceSource<T, Winner> source{
      static_cast<const T*>(runs.grad_output), runs.grad_stride,
      static_cast<const Winner*>(runs.winners)};
  follow(
      cuda, reduce_runs_kernel<kMax, T, Winner, Columns, Tables, Key, kPerLane>, plan.launch,
      tables, ordered, source, partial_sums, width, plan.slice_lanes);
  if (num_tiles > 1) {
    follow(
        cuda, join_runs_kernel<T, Columns::kVec, Tables, Key>, plan_join(num_tiles, kJoinThreads),
        tables, ordered, partial_sums, width, num_tiles, kLookups,
        power_of_two_for(width / Columns::kVec, kTeamLanes));
  }
}

template <bool kMax, class T, class Winner, class Columns, class Key, class Tables>
void reduce(Cuda& cuda, const OrderedRuns& runs, const Tables& tables, int64_t widest) {
  const int64_t lanes = Columns::lanes(widest);
  const TilePlan plan =
      plan_ordered_tiles(lanes, runs.count, cuda.processors(), Columns::kLeastSliceLanes);
  if (plan.per_lane == 1) {
    reduce_tiles<kMax, T, Winner, Columns, Key, 1>(cuda, runs, tables, plan, widest);
  } else {
    reduce_tiles<kMax, T, Winner, Columns, Key, 4>(cuda, runs, tables, plan, widest);
  }
}

template <class T, class Columns, class Key>
void reduce_columns(Cuda& cuda, const OrderedRuns& runs) {
  const auto count = static_cast<int>(runs.tables.size());
  const int64_t widest = table_range(runs.tables, 0, count).widest;
  // Only mode max reads indices here: one instance serves both of their types otherwise.
  if (count > 1 || runs.tables[0].column != 0) { // the last table of many may be alone here
    const TableSet<T> tables(runs.tables.data(), count, 0);
    reduce<false, T, int64_t, Columns, Key>(cuda, runs, tables, widest);
    return;
  }
  const OneTable<T> table(runs.tables.data(), 1, 0);
  if (runs.winners == nullptr) {
    reduce<false, T, int64_t, Columns, Key>(cuda, runs, table, widest);
  } else {
    dispatch_index(runs.winners_are_64bit, [&](auto winner) {
      reduce<true, T, typename decltype(winner)::type, Columns, Key>(cuda, runs, table, widest);
    });
  }
}

} // namespace

void reduce_runs(Cuda& cuda, const OrderedRuns& runs, int64_t vec_bytes) {
  dispatch_dtype(runs.dtype, [&](auto dtype) {
    using T = typename decltype(dtype)::type;
    if (runs.wide_keys) {
      // More than 2^32 rows or lookups: too rare for an instance of every width of access.
      reduce_columns<T, LaneColumns<1, 1>, uint64_t>(cuda, runs);
    } else {
      dispatch_columns<T>(vec_bytes, runs.tables, [&](auto columns) {
        reduce_columns<T, typename decltype(columns)::type, uint32_t>(cuda, runs);
      });
    }
  });
}

} // namespace embed_ops
