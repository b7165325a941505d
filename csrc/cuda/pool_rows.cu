#include "kernels/pool_rows.cuh"

#include "cuda/dispatch.h"
#include "cuda/dispatch_columns.h"
#include "cuda/gather.h"
#include "cuda/launch.h"

namespace embed_ops {

namespace {

template <class Combiner, class T, class Index, class Row, class Columns, class Tables>
void pool_with(Cuda& cuda, const Gather& problem, const Tables& tables, const TableRange& range) {
  const Lookups& lookups = problem.lookups;
  const PoolPlan plan = plan_pool(
      Columns::lanes(range.widest), lookups.batch, mean_length(lookups), range.count,
      cuda.processors(), kPoolWarps, kPoolUnroll);
  const size_t shared_bytes = plan.warps == 1
      ? 0
      : kPoolThreads * sizeof(Combiner) + kPoolWarps * (sizeof(int64_t) + sizeof(Acc<T>));
  const auto run = [&](auto shared) {
    launch(
        pool_rows_kernel<T, Index, Row, Columns, Tables, Combiner, decltype(shared)::value>,
        plan.launch, shared_bytes, cuda.stream(), tables, LookupsView<Index>(lookups),
        static_cast<const T*>(lookups.per_sample_weights), lookups.mode,
        static_cast<T*>(problem.output), static_cast<Index*>(problem.argmax), problem.output_stride,
        PoolShape{plan.crew, plan.warps}, cuda.sink(problem.op));
  };
  // Only where it is most worth while an instance of its own for bags that are not shared.
  if constexpr (Tables::kMaxTables == 1 && !Combiner::kIsMax && Columns::kChunks == 1) {
    dispatch_bool(plan.is_shared, run);
  } else {
    run(std::true_type{});
  }
}

template <class T, class Index, class Row, class Columns>
void pool_tables(Cuda& cuda, const Gather& problem) {
  constexpr int kColumns = Columns::kColumns;
  for_each_table_set<T>(problem.tables, [&](const auto& tables, const TableRange& range) {
    using Tables = std::decay_t<decltype(tables)>;
    if (problem.lookups.per_sample_weights != nullptr) {
      pool_with<Summer<T, Index, kColumns, true>, T, Index, Row, Columns>(
          cuda, problem, tables, range);
    } else if (problem.lookups.mode != Mode::kMax) {
      pool_with<Summer<T, Index, kColumns, false>, T, Index, Row, Columns>(
          cuda, problem, tables, range);
    } else if constexpr (std::is_same_v<Tables, OneTable<T>>) {
      pool_with<Maximum<T, Index, kColumns>, T, Index, Row, Columns>(cuda, problem, tables, range);
    }
  });
}

// Whether rows can be staged, and their addresses computed, from 32 bits each.
bool fits_32_bits(const Gather& problem) {
  constexpr int64_t kLimit = 0xffffffffLL;
  return std::all_of(problem.tables.begin(), problem.tables.end(), [&](const Table& table) {
    return table.num_rows < kLimit && table.row_stride < kLimit / size_of(problem.dtype);
  });
}

} // namespace

void pool_rows(Cuda& cuda, const Gather& problem, int64_t vec_bytes) {
  dispatch_dtype(problem.dtype, [&](auto dtype) {
    using T = typename decltype(dtype)::type;
    dispatch_index(problem.lookups.indices_are_64bit, [&](auto index) {
      using Index = typename decltype(index)::type;
      if (fits_32_bits(problem)) {
        dispatch_columns<T>(vec_bytes, problem.tables, [&](auto columns) {
          pool_tables<T, Index, uint32_t, typename decltype(columns)::type>(cuda, problem);
        });
      } else {
        // Too rare for an instance of every width of access.
        pool_tables<T, Index, uint64_t, LaneColumns<1, 1>>(cuda, problem);
      }
    });
  });
}

} // namespace embed_ops
