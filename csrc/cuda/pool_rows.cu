#include "kernels/pool_rows.cuh"

#include "cuda/dispatch.h"
#include "cuda/dispatch_columns.h"
#include "cuda/gather.h"
#include "cuda/launch.h"

namespace embed_ops {

namespace {

template <
    class T,
    class Index,
    class Row,
    class Columns,
    bool kShared,
    int kReads,
    class Combiner,
    class Tables>
void pool(Cuda& cuda, const Gather& problem, const Tables& tables, const PoolPlan& plan) {
  const Lookups& lookups = problem.lookups;
  const size_t shared_bytes = plan.warps == 1
      ? 0
      : kPoolThreads * sizeof(Combiner) + kPoolWarps * (sizeof(Row) + sizeof(Acc<T>));
  launch(
      pool_rows_kernel<T, Index, Row, Columns, Tables, Combiner, kShared, kReads>, plan.launch,
      shared_bytes, cuda.stream(), tables, LookupsView<Index>(lookups),
      static_cast<const T*>(lookups.per_sample_weights), lookups.mode,
      static_cast<T*>(problem.output), static_cast<Index*>(problem.argmax), problem.output_stride,
      PoolShape(plan), cuda.sink(problem.op));
}

template <class T, class Columns>
PoolPlan plan_for(Cuda& cuda, const Lookups& lookups, const TableRange& range) {
  return plan_pool(
      Columns::lanes(range.widest), lookups.batch, mean_length(lookups), range.count,
      cuda.processors(), kPoolWarps, pool_unroll<T, Columns>());
}

// The columns of lanes that take kFactor times as many, where their accesses allow it.
template <int kFactor, class T, class Columns>
using WideColumns = LaneColumns<kFactor * Columns::kColumns, sizeof(T) == 2 ? 8 : Columns::kVec>;

// Bags that nobody shares, by lanes that take kFactor times as many columns as usual: these
// Columns. Of one table, only where it is 1 may a team have fewer lanes than rows that it reads at
// a time, and where it is 4 bags are short; of many tables, teams are of any size.
template <bool kWeighted, int kFactor, class T, class Index, class Row, class Columns, class Tables>
void sum_alone(Cuda& cuda, const Gather& problem, const Tables& tables, const PoolPlan& plan) {
  using Combiner = Summer<T, Index, Columns::kColumns, kWeighted>;
  if constexpr (Tables::kMaxTables > 1) {
    pool<T, Index, Row, Columns, false, kReadsAny, Combiner>(cuda, problem, tables, plan);
  } else {
    const Lookups& lookups = problem.lookups;
    if constexpr (kFactor == 1) {
      if (plan.crew < pool_unroll<T, Columns>()) {
        pool<T, Index, Row, Columns, false, kReadsAll, Combiner>(cuda, problem, tables, plan);
        return;
      }
    }
    if constexpr (!kWeighted && kFactor <= 2) { // weights leave no room in the registers
      if (plan_reads_two(plan.crew, mean_length(lookups), lookups.batch)) {
        pool<T, Index, Row, Columns, false, 2, Combiner>(cuda, problem, tables, plan);
        return;
      }
    }
    pool<T, Index, Row, Columns, false, 1, Combiner>(cuda, problem, tables, plan);
  }
}

// The same, where lanes should take so many columns; false where they should not.
template <bool kWeighted, int kFactor, class T, class Index, class Row, class Columns, class Tables>
bool sum_wide(
    Cuda& cuda,
    const Gather& problem,
    const Tables& tables,
    const TableRange& range,
    int64_t vec_bytes) {
  using Wide = WideColumns<kFactor, T, Columns>;
  const PoolPlan plan = plan_for<T, Wide>(cuda, problem.lookups, range);
  const bool is_aligned = vec_bytes >= static_cast<int64_t>(Wide::kVec * sizeof(T));
  const int64_t length = mean_length(problem.lookups);
  if (!is_aligned || plan.is_shared ||
      !plan_takes_wide(kFactor, range.widest, Wide::kColumns, sizeof(T), length)) {
    return false;
  }
  sum_alone<kWeighted, kFactor, T, Index, Row, Wide>(cuda, problem, tables, plan);
  return true;
}

template <bool kWeighted, class T, class Index, class Row, class Columns, class Tables>
void sum(
    Cuda& cuda,
    const Gather& problem,
    const Tables& tables,
    const TableRange& range,
    int64_t vec_bytes) {
  using Combiner = Summer<T, Index, Columns::kColumns, kWeighted>;
  const PoolPlan plan = plan_for<T, Columns>(cuda, problem.lookups, range);
  // Only where it is most worth while instances of their own for bags that are not shared.
  constexpr bool kMany = Tables::kMaxTables > 1;
  constexpr bool kMayBeWide = Columns::kChunks == 1 && Columns::kColumns > 1;
  if constexpr (kMayBeWide && !kWeighted && sizeof(T) <= 4) {
    if (sum_wide<kWeighted, 4, T, Index, Row, Columns>(cuda, problem, tables, range, vec_bytes)) {
      return;
    }
  }
  if constexpr (kMayBeWide) {
    if (sum_wide<kWeighted, 2, T, Index, Row, Columns>(cuda, problem, tables, range, vec_bytes)) {
      return;
    }
  }
  if constexpr (!kMany && Columns::kChunks == 1) {
    if (!plan.is_shared) {
      sum_alone<kWeighted, 1, T, Index, Row, Columns>(cuda, problem, tables, plan);
      return;
    }
  }
  pool<T, Index, Row, Columns, true, kReadsAny, Combiner>(cuda, problem, tables, plan);
}

template <class T, class Index, class Row, class Columns>
void pool_tables(Cuda& cuda, const Gather& problem, int64_t vec_bytes) {
  for_each_table_set<T>(problem.tables, [&](const auto& tables, const TableRange& range) {
    using Tables = std::decay_t<decltype(tables)>;
    if (problem.lookups.per_sample_weights != nullptr) {
      sum<true, T, Index, Row, Columns>(cuda, problem, tables, range, vec_bytes);
    } else if (problem.lookups.mode != Mode::kMax) {
      sum<false, T, Index, Row, Columns>(cuda, problem, tables, range, vec_bytes);
    } else if constexpr (std::is_same_v<Tables, OneTable<T>>) {
      pool<T, Index, Row, Columns, true, kReadsAny, Maximum<T, Index, Columns::kColumns>>(
          cuda, problem, tables, plan_for<T, Columns>(cuda, problem.lookups, range));
    }
  });
}

// Whether 32 bits are enough to number rows and, with a sign, to count lookups and bags, those
// included that the last block and the last step have too many of.
bool fits_32_bits(const Gather& problem) {
  constexpr int64_t kLimit = 0xffffffffLL;
  constexpr int64_t kMostLookups = (int64_t{1} << 31) - (int64_t{1} << 16);
  const Lookups& lookups = problem.lookups;
  const bool counts_fit = lookups.num_indices <= kMostLookups && lookups.num_bags() <= kMostLookups;
  return counts_fit &&
      std::all_of(problem.tables.begin(), problem.tables.end(), [&](const Table& table) {
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
          pool_tables<T, Index, uint32_t, typename decltype(columns)::type>(
              cuda, problem, vec_bytes);
        });
      } else {
        // Too rare for an instance of every width of access.
        pool_tables<T, Index, uint64_t, LaneColumns<1, 1>>(cuda, problem, vec_bytes);
      }
    });
  });
}

} // namespace embed_ops
