#include "kernels/copy_rows.cuh"

#include "cuda/dispatch.h"
#include "cuda/gather.h"
#include "cuda/launch.h"

namespace embed_ops {

void copy_rows(Cuda& cuda, const Gather& problem, int64_t vec_bytes) {
  dispatch_dtype(problem.dtype, [&](auto dtype) {
    using T = typename decltype(dtype)::type;
    dispatch_vec<T>(vec_bytes, [&](auto vec) {
      dispatch_index(problem.lookups.indices_are_64bit, [&](auto index) {
        using Index = typename decltype(index)::type;
        constexpr int kVec = decltype(vec)::value;
        for_each_table_set<T>(problem.tables, [&](const auto& tables, const TableRange& range) {
          using Tables = std::decay_t<decltype(tables)>;
          const int64_t lanes = range.width / kVec;
          const Plan plan = plan_copy(lanes, problem.lookups.batch, cuda.processors());
          const auto kernel = plan.unroll == 1 ? copy_rows_kernel<T, Index, kVec, Tables, 1>
              : plan.unroll == 2               ? copy_rows_kernel<T, Index, kVec, Tables, 2>
                                               : copy_rows_kernel<T, Index, kVec, Tables, 4>;
          launch(
              kernel, plan, 0, cuda.stream(), tables, LookupsView<Index>(problem.lookups),
              static_cast<T*>(problem.output), problem.output_stride, range.column, lanes,
              cuda.sink(problem.op));
        });
      });
    });
  });
}

} // namespace embed_ops
