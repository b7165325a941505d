#include "kernels/renorm.cuh"

#include "cuda/backend.h"
#include "cuda/dispatch.h"
#include "cuda/launch.h"

namespace embed_ops {

void Cuda::renorm(const Renorm& problem) {
  const int64_t num_claims = ceil_div(problem.table.num_rows, 32);
  auto* claims = workspace<uint32_t>(num_claims);
  check_cuda(
      cudaMemsetAsync(claims, 0, num_claims * sizeof(uint32_t), stream()), "cudaMemsetAsync");
  dispatch_dtype(problem.dtype, [&](auto dtype) {
    using T = typename decltype(dtype)::type;
    dispatch_index(problem.lookups.indices_are_64bit, [&](auto index) {
      using Index = typename decltype(index)::type;
      launch(
          renorm_kernel<T, Index>, plan_warps(problem.lookups.num_indices), 0, stream(),
          OneTable<T>(&problem.table, 1, 0), LookupsView<Index>(problem.lookups), problem.max_norm,
          problem.norm_type, claims, sink(problem.op));
    });
  });
}

} // namespace embed_ops
