#include "cuda/scatter.h"

#include "common/bounds.h"
#include "cuda/dispatch.h"
#include "cuda/sources.h"
#include "kernels/coefficients.cuh"
#include "kernels/fill_zero.cuh"

namespace embed_ops {

namespace {

int64_t bytes_of(const Table& table, DType dtype) {
  return table.num_rows * table.dim * size_of(dtype);
}

// The one block of memory that the tables fill without gaps, if they do.
bool adjacent(const std::vector<Table>& tables, DType dtype) {
  for (size_t i = 0; i < tables.size(); ++i) {
    if (tables[i].row_stride != tables[i].dim) {
      return false;
    }
    if (i > 0 &&
        static_cast<char*>(tables[i - 1].data) + bytes_of(tables[i - 1], dtype) != tables[i].data) {
      return false;
    }
  }
  return true;
}

template <class T, class Index>
const Acc<T>* make_coefficients(Cuda& cuda, const Scatter& problem, bool mean) {
  const Lookups& lookups = problem.lookups;
  const LookupsView<Index> view(lookups);
  const OffenceSink sink = cuda.sink(problem.op);
  const int64_t num_rows = problem.tables[0].num_rows;
  int32_t* counts = nullptr;
  if (problem.scale_grad_by_freq) {
    counts = cuda.workspace<int32_t>(num_rows);
    check_cuda(
        cudaMemsetAsync(counts, 0, num_rows * sizeof(int32_t), cuda.stream()), "cudaMemsetAsync");
    launch(
        count_rows_kernel<Index>, plan_elements(lookups.num_indices, cuda.processors()), 0,
        cuda.stream(), view, num_rows, counts, sink);
  }
  auto* coefficients = cuda.workspace<Acc<T>>(lookups.num_indices);
  int64_t first = 0;
  for_each_table_set<T>(problem.tables, [&](const auto& tables, int64_t, int64_t) {
    using Tables = std::decay_t<decltype(tables)>;
    Plan plan = plan_warps(lookups.batch);
    plan.grid_y = static_cast<int>(table_range(problem.tables, first, Tables::kMaxTables).count);
    first += plan.grid_y;
    launch(
        coefficients_kernel<T, Index, Tables>, plan, 0, cuda.stream(), tables, view,
        static_cast<const T*>(lookups.per_sample_weights), mean, counts, coefficients, sink);
  });
  return coefficients;
}

} // namespace

void fill_zero(Cuda& cuda, const Scatter& problem) {
  if (problem.already_zero) {
    return;
  }
  if (adjacent(problem.tables, problem.dtype)) {
    int64_t bytes = 0;
    for (const Table& table : problem.tables) {
      bytes += bytes_of(table, problem.dtype);
    }
    check_cuda(cudaMemsetAsync(problem.tables[0].data, 0, bytes, cuda.stream()), "cudaMemsetAsync");
    return;
  }
  int64_t largest = 0;
  for (const Table& table : problem.tables) {
    largest = std::max(largest, bytes_of(table, problem.dtype));
  }
  // Zeros have no type: fill_zero_kernel runs over bytes, so one instance serves every dtype.
  std::vector<Table> tables = problem.tables;
  for (Table& table : tables) {
    table.dim *= size_of(problem.dtype);
    table.row_stride *= size_of(problem.dtype);
    table.column = 0;
  }
  for (int first = 0; first < static_cast<int>(tables.size());
       first += TableSet<char>::kMaxTables) {
    const int count =
        std::min<int>(static_cast<int>(tables.size()) - first, TableSet<char>::kMaxTables);
    Plan plan = plan_elements(ceil_div(largest, 16), cuda.processors());
    plan.grid_y = count;
    launch(
        fill_zero_kernel, plan, 0, cuda.stream(),
        TableSet<char>(tables.data() + first, count, first));
  }
}

Factors factors_of(Cuda& cuda, const Scatter& problem, bool length_in_kernel) {
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
      divide = false;
    } else if (length_in_kernel) {
      factors.by_length = true;
      divide = false;
    }
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
  shape.num_lookups = problem.lookups.num_indices;
  for (const Table& table : problem.tables) {
    shape.num_rows += table.num_rows;
    shape.width += table.dim;
  }
  shape.num_tables = static_cast<int64_t>(problem.tables.size());
  shape.sums_in_gradient = problem.dtype == DType::kFloat || problem.dtype == DType::kDouble;
  shape.deterministic = problem.deterministic;
  shape.is_max = problem.lookups.mode == Mode::kMax;

  switch (plan_scatter(shape)) {
    case ScatterWay::kAtomic: fill_zero(*this, problem); return scatter_atomic(*this, problem);
    case ScatterWay::kTiled: fill_zero(*this, problem); return scatter_tiled(*this, problem);
    case ScatterWay::kOneTile: fill_zero(*this, problem); return scatter_one_tile(*this, problem);
    case ScatterWay::kOrdered: return scatter_ordered(*this, problem);
  }
}

} // namespace embed_ops
