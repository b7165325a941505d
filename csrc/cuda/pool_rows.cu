#include "kernels/pool_rows.cuh"

#include "cuda/dispatch.h"
#include "cuda/gather.h"
#include "cuda/launch.h"

namespace embed_ops {

namespace {

constexpr int kUnroll = 4;

template <class Combiner, class T, class Index, int kVec, class Tables>
void pool_with(
    Cuda& cuda,
    const Gather& problem,
    const Tables& tables,
    int64_t column,
    int64_t width) {
  const Lookups& lookups = problem.lookups;
  const int64_t lanes = width / kVec;
  const Plan plan = plan_pool(lanes, lookups.batch, mean_length(lookups), cuda.processors());
  const size_t shared_bytes = sizeof(Combiner) * plan.block_x * plan.block_y * (plan.block_z - 1);
  launch(
      pool_rows_kernel<T, Index, kVec, Tables, Combiner, kUnroll>, plan, shared_bytes,
      cuda.stream(), tables, LookupsView<Index>(lookups),
      static_cast<const T*>(lookups.per_sample_weights), lookups.mode,
      static_cast<T*>(problem.output), static_cast<Index*>(problem.argmax), problem.output_stride,
      column, lanes, cuda.sink(problem.op));
}

template <class T, class Index, int kVec, class Tables>
void pool_tables(
    Cuda& cuda,
    const Gather& problem,
    const Tables& tables,
    int64_t column,
    int64_t width) {
  if (problem.lookups.per_sample_weights != nullptr) {
    pool_with<Summer<T, Index, kVec, true>, T, Index, kVec>(cuda, problem, tables, column, width);
  } else if (problem.lookups.mode != Mode::kMax) {
    pool_with<Summer<T, Index, kVec, false>, T, Index, kVec>(cuda, problem, tables, column, width);
  } else if constexpr (std::is_same_v<Tables, OneTable<T>>) {
    pool_with<Maximum<T, Index, kVec>, T, Index, kVec>(cuda, problem, tables, column, width);
  }
}

} // namespace

void pool_rows(Cuda& cuda, const Gather& problem, int64_t vec_bytes) {
  dispatch_dtype(problem.dtype, [&](auto dtype) {
    using T = typename decltype(dtype)::type;
    dispatch_vec<T>(vec_bytes, [&](auto vec) {
      dispatch_index(problem.lookups.indices_are_64bit, [&](auto index) {
        using Index = typename decltype(index)::type;
        constexpr int kVec = decltype(vec)::value;
        for_each_table_set<T>(
            problem.tables, [&](const auto& tables, int64_t column, int64_t width) {
              pool_tables<T, Index, kVec>(cuda, problem, tables, column, width);
            });
      });
    });
  });
}

} // namespace embed_ops
