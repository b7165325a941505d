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
  // `zeros`: memory that is to be zero first.
  TiledScatter(
      Cuda& cuda,
      const Scatter& problem,
      const Factors& factors,
      const std::vector<MemoryBlock>& zeros)
      : cuda_(cuda),
        problem_(problem),
        zeros_(zeros),
        factors_(lookup_factors<Acc<T>>(factors)),
        has_factors_(
            problem.lookups.offsets != nullptr || problem.lookups.hotness != 1 ||
            factors.coefficients != nullptr || factors.scale != 1) {}

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
      run_tiles<Tables, uint64_t, 1, true, false>(tables, range, plan, row_bits);
      return;
    }
    if constexpr (Tables::kMaxTables == 1 && Columns::kChunks == 1 && Columns::kColumns > 1) {
      const TilePlan plan = plan_staged_tiles(lanes, kLaneBytes, count);
      if (!has_factors_ && plan.staged_bytes > 0) {
        dispatch_per_lane<1, 2, 4>(plan, [&](auto per_lane) {
          run_tiles<Tables, uint32_t, decltype(per_lane)::value, false, true>(
              tables, range, plan, row_bits);
        });
        return;
      }
    }
    const TilePlan plan =
        plan_sorted_tiles(lanes, kLaneBytes, count, cuda_.processors(), Columns::kLeastSliceLanes);
    dispatch_bool(has_factors_, [&](auto factors) {
      dispatch_per_lane<1, 4>(plan, [&](auto per_lane) {
        run_tiles<Tables, uint32_t, decltype(per_lane)::value, decltype(factors)::value, false>(
            tables, range, plan, row_bits);
      });
    });
  }

 private:
  static constexpr int64_t kLaneBytes = Columns::kColumns * sizeof(T);

  template <int... kChoices, class F>
  static void dispatch_per_lane(const TilePlan& plan, F&& f) {
    ((plan.per_lane == kChoices ? f(Constant<kChoices>{}) : void()), ...);
  }

  template <class Tables, class Key, int kPerLane, bool kFactors, bool kStages>
  void run_tiles(
      const Tables& tables,
      const TableRange& range,
      const TilePlan& plan,
      int row_bits) {
    // Only the first launch follows zeros, and at once.
    const bool early = !zeros_.empty() && fill_zero(cuda_, zeros_, {false, kStages});
    zeros_.clear();
    launch_on(
        cuda_.stream(), {early, kStages},
        scatter_tiled_kernel<T, Index, Columns, Tables, Key, kPerLane, kFactors, kStages>,
        plan.launch, plan.staged_bytes, tables, sources_of<Index>(problem_), range.first,
        range.count, factors_, static_cast<const T*>(problem_.grad_output), problem_.grad_stride,
        plan.slice_lanes, row_bits, plan.prefetches, cuda_.sink(problem_.op));
  }

  Cuda& cuda_;
  const Scatter& problem_;
  std::vector<MemoryBlock> zeros_;
  LookupFactors<Acc<T>> factors_;
  bool has_factors_;
};

// Adds the gradients of `problem` to `tables`, which are of Acc<T>; `zeros`: what of them is to be
// zero first.
template <class T>
void add_to(
    const std::vector<Table>& tables,
    Cuda& cuda,
    const Scatter& problem,
    const Factors& factors,
    const std::vector<MemoryBlock>& zeros) {
  dispatch_index(problem.lookups.indices_are_64bit, [&](auto index) {
    using Index = typename decltype(index)::type;
    const int64_t vec_bytes = Alignment(problem.dtype)
                                  .tables(problem.tables)
                                  .address(problem.grad_output)
                                  .elements(problem.grad_stride)
                                  .bytes();
    dispatch_columns<T>(vec_bytes, tables, [&](auto columns) {
      using Columns = typename decltype(columns)::type;
      TiledScatter<T, Index, Columns> scatter(cuda, problem, factors, zeros);
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
  std::vector<MemoryBlock> zeros;
  if (!problem.already_zero) {
    zeros = blocks_of(problem.tables, problem.dtype);
  }
  if (problem.dtype == DType::kDouble) {
    add_to<double>(problem.tables, cuda, problem, factors, zeros);
  } else {
    add_to<float>(problem.tables, cuda, problem, factors, zeros);
  }
}

void scatter_widened(Cuda& cuda, const Scatter& problem) {
  const Factors factors = factors_of(cuda, problem);
  int64_t count = 0;
  for (const Table& table : problem.tables) {
    count += table.num_rows * table.row_stride;
  }
  auto* const sums = cuda.workspace<float>(count);
  std::vector<Table> widened = problem.tables;
  float* next = sums;
  for (Table& table : widened) {
    table.data = next;
    next += table.num_rows * table.row_stride;
  }
  const std::vector<MemoryBlock> zeros = blocks_of(widened, DType::kFloat);
  const auto run = [&](auto dtype) {
    using T = typename decltype(dtype)::type;
    add_to<T>(widened, cuda, problem, factors, zeros);
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
