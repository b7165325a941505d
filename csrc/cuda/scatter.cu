#include "cuda/scatter.h"

#include "common/bounds.h"
#include "cuda/dispatch.h"
#include "cuda/sources.h"
#include "kernels/coefficients.cuh"

namespace embed_ops {

namespace {

template <class T, class Index>
const Acc<T>* make_coefficients(Cuda& cuda, const Scatter& problem, bool mean) {
  const Lookups& lookups = problem.lookups;
  const LookupsView<Index> view(lookups);
  const int64_t num_rows = problem.tables[0].num_rows;
  int32_t* counts = nullptr;
  if (problem.scale_grad_by_freq) {
    counts = cuda.workspace<int32_t>(num_rows);
    check_cuda(
        cudaMemsetAsync(counts, 0, num_rows * sizeof(int32_t), cuda.stream()), "cudaMemsetAsync");
    launch(
        count_rows_kernel<Index>, plan_elements(lookups.num_indices, cuda.processors()), 0,
        cuda.stream(), view, num_rows, counts);
  }
  auto* coefficients = cuda.workspace<Acc<T>>(lookups.num_indices);
  for_each_table_set<T>(problem.tables, [&](const auto& tables, const TableRange& range) {
    using Tables = std::decay_t<decltype(tables)>;
    Plan plan = plan_warps(lookups.batch);
    plan.grid_y = range.count;
    launch(
        coefficients_kernel<T, Index, Tables>, plan, 0, cuda.stream(), tables, view,
        static_cast<const T*>(lookups.per_sample_weights), mean, counts, coefficients);
  });
  return coefficients;
}

} // namespace

std::vector<MemoryBlock> blocks_of(const std::vector<Table>& tables, DType dtype) {
  std::vector<MemoryBlock> blocks;
  for (const Table& table : tables) {
    const MemoryBlock block{
        static_cast<char*>(table.data), table.num_rows * table.row_stride * size_of(dtype)};
    if (!blocks.empty() && blocks.back().data + blocks.back().bytes == block.data) {
      blocks.back().bytes += block.bytes;
    } else {
      blocks.push_back(block);
    }
  }
  return blocks;
}

bool fill_zero(Cuda& cuda, const std::vector<MemoryBlock>& blocks, const LaunchMode& mode) {
  int launches = 0;
  const auto fill = [&](const auto& chunked) {
    if (chunked.num_chunks() > 0) {
      launch_on(
          cuda.stream(), {mode.early && launches == 0, mode.most_shared},
          fill_zero_kernel<std::decay_t<decltype(chunked)>>, plan_fill_zero(chunked.num_chunks()),
          0, chunked);
      ++launches;
    }
  };
  if (blocks.size() == 1) {
    fill(ChunkedBlocks<1>(blocks.data(), 1));
  } else {
    constexpr size_t kMost = 96;
    for (size_t first = 0; first < blocks.size(); first += kMost) {
      const size_t count = std::min(kMost, blocks.size() - first);
      fill(ChunkedBlocks<kMost>(blocks.data() + first, static_cast<int>(count)));
    }
  }
  return launches == 1 && cuda.has_early_launch();
}

bool fill_zero(Cuda& cuda, const Scatter& problem) {
  return !problem.already_zero && fill_zero(cuda, blocks_of(problem.tables, problem.dtype));
}

Factors factors_of(Cuda& cuda, const Scatter& problem) {
  const Lookups& lookups = problem.lookups;
  const bool weighted = lookups.per_sample_weights != nullptr;
  const bool mean = lookups.mode == Mode::kMean;
  // Lookups out of range are left out of a mean; where they are an error, nobody needs to count.
  const bool plain_mean = mean && !weighted && lookups.padding_idx == kNoPadding &&
      bounds_check() != BoundsCheck::kIgnore;
  const bool native_weights = problem.dtype == DType::kFloat || problem.dtype == DType::kDouble;

  Factors factors;
  bool divide = mean;
  if (plain_mean && !problem.scale_grad_by_freq) {
    if (lookups.offsets == nullptr) {
      factors.scale = 1.0 / static_cast<double>(std::max<int64_t>(lookups.hotness, 1));
    } else {
      factors.by_length = true;
    }
    divide = false;
  }
  if (weighted && native_weights && !divide && !problem.scale_grad_by_freq) {
    factors.coefficients = lookups.per_sample_weights;
  } else if (weighted || divide || problem.scale_grad_by_freq) {
    dispatch_dtype(problem.dtype, [&](auto dtype) {
      using T = typename decltype(dtype)::type;
      dispatch_index(lookups.indices_are_64bit, [&](auto index) {
        using Index = typename decltype(index)::type;
        factors.coefficients = make_coefficients<T, Index>(cuda, problem, divide);
      });
    });
  }
  return factors;
}

void Cuda::scatter(const Scatter& problem) {
  if (problem.lookups.num_indices == 0 || problem.lookups.batch == 0) {
    fill_zero(*this, problem);
    return;
  }
  ScatterShape shape{};
  shape.is_dense = true;
  shape.num_lookups = problem.lookups.num_indices;
  for (const Table& table : problem.tables) {
    shape.num_rows += table.num_rows;
    shape.width += table.dim;
    shape.gradient_elements += table.num_rows * table.row_stride;
    shape.is_dense &= table.row_stride == table.dim;
  }
  shape.gradient_bytes = shape.gradient_elements * size_of(problem.dtype);
  shape.num_tables = static_cast<int64_t>(problem.tables.size());
  shape.sums_in_gradient = problem.dtype == DType::kFloat || problem.dtype == DType::kDouble;
  shape.deterministic = problem.deterministic;
  shape.is_max = problem.lookups.mode == Mode::kMax;

  switch (plan_scatter(shape)) {
    case ScatterWay::kAtomic: return scatter_atomic(*this, problem);
    case ScatterWay::kTiled: return scatter_tiled(*this, problem);
    case ScatterWay::kWidened: return scatter_widened(*this, problem);
    case ScatterWay::kCompared: return scatter_compared(*this, problem);
    case ScatterWay::kOrdered: return scatter_ordered(*this, problem);
  }
}

} // namespace embed_ops
