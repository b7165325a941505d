#include "kernels/weights_grad.cuh"

#include "cuda/backend.h"
#include "cuda/dispatch.h"
#include "cuda/launch.h"

namespace embed_ops {

void Cuda::weights_grad(const WeightsGrad& problem) {
  const Lookups& lookups = problem.lookups;
  const bool mean = lookups.mode == Mode::kMean;
  const int64_t vec_bytes = Alignment(problem.dtype)
                                .tables(problem.tables)
                                .address(problem.grad_output)
                                .elements(problem.grad_stride)
                                .bytes();
  dispatch_dtype(problem.dtype, [&](auto dtype) {
    using T = typename decltype(dtype)::type;
    dispatch_vec<T>(vec_bytes, [&](auto vec) {
      dispatch_index(lookups.indices_are_64bit, [&](auto index) {
        using Index = typename decltype(index)::type;
        auto* dots = mean ? workspace<Acc<T>>(lookups.num_indices) : nullptr;
        for_each_table_set<T>(problem.tables, [&](const auto& tables, const TableRange& range) {
          using Tables = std::decay_t<decltype(tables)>;
          Plan plan = plan_warps(lookups.batch);
          plan.grid_y = range.count;
          launch(
              weights_grad_kernel<T, Index, decltype(vec)::value, Tables>, plan, 0, stream(),
              tables, LookupsView<Index>(lookups),
              static_cast<const T*>(lookups.per_sample_weights), mean,
              static_cast<const T*>(problem.grad_output), problem.grad_stride, dots,
              static_cast<T*>(problem.output), sink(problem.op));
        });
      });
    });
  });
}

} // namespace embed_ops
