// What the kernels that take lookups one by one need besides the problem.

#pragma once

#include <limits>

#include "cuda/launch.h"
#include "cuda/scatter.h"
#include "kernels/sources.cuh"

namespace embed_ops {

// Rows and lookups are counted in 32 bits below this.
constexpr int64_t kNarrowLimit = std::numeric_limits<uint32_t>::max();

// The tables of one launch.
struct TableRange {
  int64_t first;
  int64_t count;
  int64_t num_rows;
  int64_t widest;
};

inline TableRange table_range(const std::vector<Table>& tables, int64_t first, int64_t most) {
  TableRange range{
      first, std::min<int64_t>(static_cast<int64_t>(tables.size()) - first, most), 0, 0};
  for (int64_t i = first; i < first + range.count; ++i) {
    range.num_rows += tables[i].num_rows;
    range.widest = std::max(range.widest, tables[i].dim);
  }
  return range;
}

template <class Index>
SourcesView<Index> sources_of(Cuda& cuda, const Scatter& problem) {
  const LookupsView<Index> view(problem.lookups);
  if (problem.lookups.offsets == nullptr) {
    return {view, nullptr};
  }
  auto* bags = cuda.workspace<int64_t>(view.num_indices);
  check_cuda(
      cudaMemsetAsync(bags, 0xff, view.num_indices * sizeof(int64_t), cuda.stream()),
      "cudaMemsetAsync");
  launch(
      expand_bags_kernel<Index>, plan_warps(problem.lookups.num_bags()), 0, cuda.stream(), view,
      bags, cuda.sink(problem.op));
  return {view, bags};
}

} // namespace embed_ops
