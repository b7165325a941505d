#include "kernels/scatter_atomic.cuh"

#include "cuda/dispatch.h"
#include "cuda/gather.h"
#include "cuda/launch.h"
#include "cuda/sources.h"

namespace embed_ops {

namespace {

template <class T, class Index>
void scatter_argmax(Cuda& cuda, const Scatter& problem) {
  const Table& table = problem.tables[0];
  launch(
      scatter_argmax_kernel<T, Index>,
      plan_elements(problem.lookups.batch * table.dim, cuda.processors()), 0, cuda.stream(),
      static_cast<T*>(table.data), table.num_rows, table.dim,
      static_cast<const Index*>(problem.argmax), static_cast<const T*>(problem.grad_output),
      problem.grad_stride, problem.lookups.batch);
}

template <class T, class Index>
void scatter_rows(Cuda& cuda, const Scatter& problem) {
  const Lookups& lookups = problem.lookups;
  const LookupFactors<T> factors = lookup_factors<T>(factors_of(cuda, problem));
  const bool bags = lookups.offsets != nullptr || lookups.hotness != 1;
  const int64_t vec_bytes = Alignment(problem.dtype)
                                .tables(problem.tables)
                                .address(problem.grad_output)
                                .elements(problem.grad_stride)
                                .bytes();
  bool early = fill_zero(cuda, problem);
  dispatch_vec<T>(vec_bytes, [&](auto vec) {
    constexpr int kVec = decltype(vec)::value;
    for_each_table_set<T>(problem.tables, [&](const auto& tables, const TableRange& range) {
      using Tables = std::decay_t<decltype(tables)>;
      const int64_t lanes = range.width / kVec;
      const Plan plan = plan_scatter_atomic(
          lanes, lookups.batch, bags ? mean_length(lookups) : 1, cuda.processors());
      dispatch_bool(bags, [&](auto is_bags) {
        launch_on(
            cuda.stream(), {early},
            scatter_atomic_kernel<T, Index, kVec, Tables, decltype(is_bags)::value>, plan, 0,
            tables, LookupsView<Index>(lookups), factors,
            static_cast<const T*>(problem.grad_output), problem.grad_stride, range.column, lanes,
            cuda.sink(problem.op));
      });
      early = false;
    });
  });
}

} // namespace

void scatter_atomic(Cuda& cuda, const Scatter& problem) {
  dispatch_bool(problem.dtype == DType::kDouble, [&](auto is_double) {
    using T = std::conditional_t<decltype(is_double)::value, double, float>;
    dispatch_index(problem.lookups.indices_are_64bit, [&](auto index) {
      using Index = typename decltype(index)::type;
      if (problem.lookups.mode == Mode::kMax) {
        fill_zero(cuda, problem);
        scatter_argmax<T, Index>(cuda, problem);
      } else {
        scatter_rows<T, Index>(cuda, problem);
      }
    });
  });
}

} // namespace embed_ops
