#include "kernels/scatter_tiled.cuh"

#include "kernels/round_sums.cuh"

#include "cuda/dispatch.h"
#include "cuda/dispatch_columns.h"
#include "cuda/sources.h"

namespace embed_ops {

namespace {

template <class T, class Index, class Columns>
class TiledScatter {
 public:
  // `early`: whether the first launch may begin early.
  TiledScatter(Cuda& cuda, const Scatter& problem, const Factors& factors, bool early)
      : cuda_(cuda),
        problem_(problem),
        factors_(lookup_factors<Acc<T>>(factors)),
        has_factors_(
            problem.lookups.offsets != nullptr || problem.lookups.hotness != 1 ||
            factors.coefficients != nullptr || factors.scale != 1),
        early_(early) {}

  template <class Tables>
  void run(const Tables& tables, const TableRange& range) {
    const int64_t lanes = Columns::lanes(range.widest);
    const int64_t count = problem_.lookups.num_indices;
    const int row_bits = bits_for(range.tallest - 1);
    if (row_bits + log2_of(32 * 4) >= 32) {
      // Too rare for an instance of every kind of tile.
      const TilePlan plan = plan_sorted_tiles(
          lanes, kLaneBytes, count, cuda_.processors(), Columns::kLeastSliceLanes,
          /*most_per_lane=*/1);
      run_tiles<Tables, uint64_t, 1, true>(tables, range, plan, row_bits);
      return;
    }
    const TilePlan plan =
        plan_sorted_tiles(lanes, kLaneBytes, count, cuda_.processors(), Columns::kLeastSliceLanes);
    dispatch_bool(has_factors_, [&](auto factors) {
      constexpr bool kFactors = decltype(factors)::value;
      if (plan.per_lane == 1) {
        run_tiles<Tables, uint32_t, 1, kFactors>(tables, range, plan, row_bits);
      } else {
        run_tiles<Tables, uint32_t, 4, kFactors>(tables, range, plan, row_bits);
      }
    });
  }

 private:
  static constexpr int64_t kLaneBytes = Columns::kColumns * sizeof(T);

  template <class Tables, class Key, int kPerLane, bool kFactors>
  void run_tiles(
      const Tables& tables,
      const TableRange& range,
      const TilePlan& plan,
      int row_bits) {
    launch_on(
        cuda_.stream(), early_,
        scatter_tiled_kernel<T, Index, Columns, Tables, Key, kPerLane, kFactors>, plan.launch, 0,
        tables, sources_of<Index>(problem_), range.first, range.count, factors_,
        static_cast<const T*>(problem_.grad_output), problem_.grad_stride, plan.slice_lanes,
        row_bits, plan.prefetches, cuda_.sink(problem_.op));
    early_ = false;
  }

  Cuda& cuda_;
  const Scatter& problem_;
  LookupFactors<Acc<T>> factors_;
  bool has_factors_;
  bool early_;
};

// Adds the gradients of `problem` to `tables`, which are of Acc<T>.
template <class T>
void add_to(
    const std::vector<Table>& tables,
    Cuda& cuda,
    const Scatter& problem,
    const Factors& factors,
    bool early) {
  dispatch_index(problem.lookups.indices_are_64bit, [&](auto index) {
    using Index = typename decltype(index)::type;
    const int64_t vec_bytes = Alignment(problem.dtype)
                                  .tables(problem.tables)
                                  .address(problem.grad_output)
                                  .elements(problem.grad_stride)
                                  .bytes();
    dispatch_columns<T>(vec_bytes, tables, [&](auto columns) {
      using Columns = typename decltype(columns)::type;
      TiledScatter<T, Index, Columns> scatter(cuda, problem, factors, early);
      for_each_table_set<Acc<T>>(
          tables, [&](const auto& set, const TableRange& range) { scatter.run(set, range); });
    });
  });
}

template <class T>
void round_sums(Cuda& cuda, const float* sums, const MemoryBlock& block) {
  const int64_t count = block.bytes / static_cast<int64_t>(sizeof(T));
  const auto run = [&](auto vec) {
    constexpr int kVec = decltype(vec)::value;
    Plan plan;
    plan.block_x = kBlockThreads;
    plan.grid_x = ceil_div(count / kVec, kBlockThreads);
    follow(cuda, round_sums_kernel<T, kVec>, plan, sums, reinterpret_cast<T*>(block.data), count);
  };
  const int64_t bytes = Alignment(DType::kFloat).address(sums).elements(count).bytes();
  const bool aligned = bytes == 16 && reinterpret_cast<uintptr_t>(block.data) % 8 == 0;
  aligned ? run(Constant<4>{}) : run(Constant<1>{});
}

} // namespace

void scatter_tiled(Cuda& cuda, const Scatter& problem) {
  const Factors factors = factors_of(cuda, problem);
  const bool early = fill_zero(cuda, problem);
  if (problem.dtype == DType::kDouble) {
    add_to<double>(problem.tables, cuda, problem, factors, early);
  } else {
    add_to<float>(problem.tables, cuda, problem, factors, early);
  }
}

void scatter_widened(Cuda& cuda, const Scatter& problem) {
  const Factors factors = factors_of(cuda, problem);
  int64_t count = 0;
  for (const Table& table : problem.tables) {
    count += table.num_rows * table.row_stride;
  }
  auto* const sums = cuda.workspace<float>(count);
  Scatter widened = problem;
  widened.dtype = DType::kFloat;
  widened.already_zero = false;
  float* next = sums;
  for (Table& table : widened.tables) {
    table.data = next;
    next += table.num_rows * table.row_stride;
  }
  const bool early = fill_zero(cuda, widened);
  const auto run = [&](auto dtype) {
    using T = typename decltype(dtype)::type;
    add_to<T>(widened.tables, cuda, problem, factors, early);
    const float* from = sums;
    for (const MemoryBlock& block : blocks_of(problem.tables, problem.dtype)) {
      round_sums<T>(cuda, from, block);
      from += block.bytes / static_cast<int64_t>(sizeof(T));
    }
  };
  if (problem.dtype == DType::kHalf) {
    run(TypeTag<__half>{});
  } else {
    run(TypeTag<__nv_bfloat16>{});
  }
}

} // namespace embed_ops
