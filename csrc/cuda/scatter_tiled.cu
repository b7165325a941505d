#include "kernels/scatter_tiled.cuh"

#include "cuda/dispatch.h"
#include "cuda/sources.h"

namespace embed_ops {

namespace {

template <class T, class Index, int kVec, int kItems, bool kAtomic, class Tables>
void scatter_table_set(
    Cuda& cuda,
    const Scatter& problem,
    const SourcesView<Index>& sources,
    const Tables& tables,
    const TableRange& range,
    const Factors& factors,
    const WalkPlan& plan) {
  launch(
      scatter_tiled_kernel<T, Index, kVec, Tables, kItems, kAtomic>, plan.launch, 0, cuda.stream(),
      tables, sources, range.first, range.count, static_cast<const Acc<T>*>(factors.coefficients),
      static_cast<Acc<T>>(factors.scale), static_cast<const T*>(problem.grad_output),
      problem.grad_stride, plan.slice_lanes * kVec, range.widest, plan.group,
      bits_for(range.num_rows), cuda.sink(problem.op));
}

// `run` launches one table set: run(constant vec, tables, range, factors).
template <class T, class Index, class F>
void for_each_scatter(Cuda& cuda, const Scatter& problem, F&& run) {
  const int64_t vec_bytes = Alignment(problem.dtype)
                                .tables(problem.tables)
                                .address(problem.grad_output)
                                .elements(problem.grad_stride)
                                .bytes();
  dispatch_vec<T>(vec_bytes, [&](auto vec) {
    int64_t first = 0;
    for_each_table_set<T>(problem.tables, [&](const auto& tables, int64_t, int64_t) {
      const TableRange range =
          table_range(problem.tables, first, std::decay_t<decltype(tables)>::kMaxTables);
      first += range.count;
      run(vec, tables, range);
    });
  });
}

template <class T, class Index>
void scatter_tiles(Cuda& cuda, const Scatter& problem) {
  const Factors factors = factors_of(cuda, problem, /*length_in_kernel=*/false);
  const SourcesView<Index> sources = sources_of<Index>(cuda, problem);
  for_each_scatter<T, Index>(cuda, problem, [&](auto vec, const auto& tables, auto range) {
    constexpr int kVec = decltype(vec)::value;
    const WalkPlan plan =
        plan_walk(ceil_div(range.widest, kVec), problem.lookups.num_indices, cuda.processors());
    if (plan.items == 1) {
      scatter_table_set<T, Index, kVec, 1, true>(
          cuda, problem, sources, tables, range, factors, plan);
    } else {
      scatter_table_set<T, Index, kVec, 4, true>(
          cuda, problem, sources, tables, range, factors, plan);
    }
  });
}

template <class T, class Index>
void scatter_single_tile(Cuda& cuda, const Scatter& problem) {
  const Factors factors = factors_of(cuda, problem, /*length_in_kernel=*/false);
  const SourcesView<Index> sources = sources_of<Index>(cuda, problem);
  for_each_scatter<T, Index>(cuda, problem, [&](auto vec, const auto& tables, auto range) {
    constexpr int kVec = decltype(vec)::value;
    WalkPlan plan =
        plan_walk(ceil_div(range.widest, kVec), problem.lookups.num_indices, cuda.processors());
    plan.launch.grid_x = 1;
    scatter_table_set<T, Index, kVec, kMostOneTile / kBlockThreads, false>(
        cuda, problem, sources, tables, range, factors, plan);
  });
}

} // namespace

void scatter_tiled(Cuda& cuda, const Scatter& problem) {
  dispatch_bool(problem.dtype == DType::kDouble, [&](auto is_double) {
    using T = std::conditional_t<decltype(is_double)::value, double, float>;
    dispatch_index(problem.lookups.indices_are_64bit, [&](auto index) {
      scatter_tiles<T, typename decltype(index)::type>(cuda, problem);
    });
  });
}

void scatter_one_tile(Cuda& cuda, const Scatter& problem) {
  dispatch_dtype(problem.dtype, [&](auto dtype) {
    using T = typename decltype(dtype)::type;
    dispatch_index(problem.lookups.indices_are_64bit, [&](auto index) {
      scatter_single_tile<T, typename decltype(index)::type>(cuda, problem);
    });
  });
}

} // namespace embed_ops
