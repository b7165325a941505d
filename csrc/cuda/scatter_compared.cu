#include "kernels/scatter_compared.cuh"

#include "cuda/dispatch.h"
#include "cuda/sources.h"

namespace embed_ops {

void scatter_compared(Cuda& cuda, const Scatter& problem) {
  const Factors factors = factors_of(cuda, problem);
  bool early = fill_zero(cuda, problem);
  const int64_t vec_bytes = Alignment(problem.dtype)
                                .tables(problem.tables)
                                .address(problem.grad_output)
                                .elements(problem.grad_stride)
                                .bytes();
  dispatch_dtype(problem.dtype, [&](auto dtype) {
    using T = typename decltype(dtype)::type;
    dispatch_index(problem.lookups.indices_are_64bit, [&](auto index) {
      using Index = typename decltype(index)::type;
      dispatch_vec<T>(vec_bytes, [&](auto vec) {
        constexpr int kVec = decltype(vec)::value;
        for_each_table_set<T>(problem.tables, [&](const auto& tables, const TableRange& range) {
          using Tables = std::decay_t<decltype(tables)>;
          Plan plan;
          plan.block_x = kComparedThreads;
          plan.grid_x = problem.lookups.num_indices;
          plan.grid_y = ceil_div(ceil_div(range.widest, kVec), kTeamLanes);
          launch_on(
              cuda.stream(), {early}, scatter_compared_kernel<T, Index, kVec, Tables>, plan, 0,
              tables, sources_of<Index>(problem), range.first, range.count,
              lookup_factors<Acc<T>>(factors), static_cast<const T*>(problem.grad_output),
              problem.grad_stride, cuda.sink(problem.op));
          early = false;
        });
      });
    });
  });
}

} // namespace embed_ops
