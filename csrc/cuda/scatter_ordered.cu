#include "kernels/order_in_block.cuh"
#include "kernels/scatter_ordered.cuh"
#include "kernels/unnamed_rows.cuh"

#include <cub/device/device_scan.cuh>

#include "cuda/cub.h"
#include "cuda/dispatch.h"
#include "cuda/reduce_runs.h"
#include "cuda/sort_rows.h"
#include "cuda/sources.h"

namespace embed_ops {

namespace {

template <class T, class Index, class Key, class Tables>
class OrderedScatter {
 public:
  OrderedScatter(
      Cuda& cuda,
      const Scatter& problem,
      const SourcesView<Index>& sources,
      const Tables& tables,
      const TableRange& range,
      const Factors& factors)
      : cuda_(cuda),
        problem_(problem),
        sources_(sources),
        tables_(tables),
        range_(range),
        factors_(lookup_factors<Acc<T>>(factors)),
        count_(problem.lookups.num_indices) {
    const CounterPlan plan = plan_counters(range.num_rows, range.count);
    counters_ = {plan.shift, plan.stride};
    num_counters_ = plan.size();
  }

  void run(int64_t vec_bytes) {
    order_.factors = varies() ? cuda_.workspace<Acc<T>>(count_) : nullptr;
    const Lookups& lookups = problem_.lookups;
    // The zeros that one block leaves to others are those of the whole gradient.
    const bool has_all_tables = range_.count == lookups.num_tables;
    if (has_all_tables &&
        plan_orders_in_block(count_, lookups.batch * lookups.num_tables, range_.num_rows)) {
      order_in_block();
      if (!problem_.already_zero) {
        fill_zero(cuda_, blocks_of(problem_.tables, problem_.dtype), {cuda_.has_early_launch()});
      }
      reduce(vec_bytes);
      return;
    }
    // Mode max counts a row once per sample, which it sees where a sample's lookups are neighbours.
    const bool stable = problem_.deterministic || lookups.mode == Mode::kMax || plan_sorts(count_);
    stable ? order_stably() : order_by_counting(vec_bytes);
    reduce(vec_bytes);
  }

 private:
  Plan plan() const {
    return plan_elements(count_, cuda_.processors());
  }

  // Whether lookups have factors of their own.
  bool varies() const {
    return factors_.coefficients != nullptr || factors_.by_length;
  }

  std::vector<Table> tables_of_range() const {
    const auto first = problem_.tables.begin() + range_.first;
    return {first, first + range_.count};
  }

  // The tables for kernels that ask for rows only: one instance serves all dtypes.
  using Rows =
      std::conditional_t<std::is_same_v<Tables, OneTable<T>>, OneTable<char>, TableSet<char>>;

  Rows rows_of_tables() const {
    return {problem_.tables.data() + range_.first, static_cast<int>(range_.count), range_.first};
  }

  void order_in_block() {
    allocate_order();
    Plan plan;
    plan.block_x = kBlockOrderThreads;
    launch(
        order_in_block_kernel<Key, Acc<T>, Index, Rows>, plan, 0, cuda_.stream(), rows_of_tables(),
        sources_, range_.first, range_.count, factors_, bits_for(range_.num_rows), order_,
        cuda_.sink(problem_.op));
  }

  void allocate_order() {
    order_.rows = cuda_.workspace<Key>(2 * count_);
    order_.samples = order_.rows + count_;
  }

  using Unnamed =
      std::conditional_t<Tables::kMaxTables == 1, UnnamedRows<Rows, Key>, NoUnnamedRows>;

  Unnamed unnamed_rows(int64_t vec_bytes) const {
    if constexpr (Tables::kMaxTables == 1) {
      const auto element_bytes = static_cast<int>(sizeof(T));
      return {
          rows_of_tables(),
          counters_,
          counts_,
          range_.num_rows,
          element_bytes,
          static_cast<int>(vec_bytes),
          plan_fill(ceil_div(range_.widest * element_bytes, vec_bytes), range_.num_rows)};
    } else {
      return {};
    }
  }

  // Zeros to the rows of several tables that nobody names.
  void fill_tables(int64_t vec_bytes) {
    const auto fill = [&](auto vec) {
      constexpr int kVec = decltype(vec)::value;
      follow(
          cuda_, fill_unnamed_kernel<T, kVec, Tables, Key>,
          plan_fill_tables(ceil_div(range_.widest, kVec), range_.num_rows, range_.count), tables_,
          counters_, counts_);
    };
    if (problem_.already_zero) {
      return;
    }
    if constexpr (sizeof(Key) == sizeof(uint64_t)) {
      fill(Constant<1>{});
    } else {
      dispatch_vec<T>(vec_bytes, fill);
    }
  }

  // Rows that nobody names get their zeros meanwhile: those of one table from blocks of the kernel
  // that puts lookups in their places.
  void order_by_counting(int64_t vec_bytes) {
    allocate_order();
    Key* rows = cuda_.workspace<Key>(2 * count_);
    Key* ranks = rows + count_;
    // One more than there are: a scan of all then ends with the number of lookups that count.
    counts_ = cuda_.workspace<Key>(num_counters_ + 1);
    Key* starts = cuda_.workspace<Key>(num_counters_ + 1);
    const auto bytes = static_cast<int64_t>((num_counters_ + 1) * sizeof(Key));
    const std::vector<MemoryBlock> counters{{reinterpret_cast<char*>(counts_), bytes}};
    fill_zero(cuda_, counters);
    follow(
        cuda_, count_lookups_kernel<Key, Index, Tables>, plan(), tables_, sources_, range_.first,
        range_.count, counters_, counts_, rows, ranks, cuda_.sink(problem_.op));
    with_cub_workspace(cuda_, "cub::DeviceScan", [&](void* workspace, size_t& bytes) {
      return cub::DeviceScan::ExclusiveSum(
          workspace, bytes, counts_, starts, num_counters_ + 1, cuda_.stream());
    });
    Plan places = plan();
    const auto blocks = static_cast<unsigned>(places.grid_x);
    const Unnamed unnamed = unnamed_rows(vec_bytes);
    if constexpr (Tables::kMaxTables == 1) {
      places.grid_x += problem_.already_zero ? 0 : unnamed.plan.num_blocks;
    }
    follow(
        cuda_, place_lookups_kernel<Key, Acc<T>, Index, Unnamed>, places, sources_, factors_,
        starts, rows, ranks, counters_, order_, blocks, unnamed);
    if constexpr (Tables::kMaxTables > 1) {
      fill_tables(vec_bytes);
    }
  }

  // Zeros to the whole gradient come first. The kernel that lists lookups does not wait for them:
  // so they come after the allocation of what it writes, which may launch a kernel of torch's own
  // (torch.utils.deterministic.fill_uninitialized_memory).
  void order_stably() {
    RowSort<Key> sort(cuda_, count_, range_.num_rows);
    std::vector<MemoryBlock> zeros = sort.zeros();
    if (range_.first == 0 && !problem_.already_zero) {
      // Of all launches' tables: not all begin where zeros can be written 16 bytes at a time.
      const std::vector<MemoryBlock> gradient = blocks_of(problem_.tables, problem_.dtype);
      zeros.insert(zeros.end(), gradient.begin(), gradient.end());
    }
    const bool early = fill_zero(cuda_, zeros);
    launch_on(
        cuda_.stream(), {early}, list_lookups_kernel<Key, Index, Tables>, plan(), 0, tables_,
        sources_, range_.first, range_.count, sort.rows(), sort.lookups(), cuda_.sink(problem_.op));
    sort.run();
    order_.rows = sort.rows();
    order_.samples = sort.spare_rows();
    follow(
        cuda_, name_sources_kernel<Key, Acc<T>, Index>, plan(), sources_, factors_, sort.lookups(),
        order_);
  }

  void reduce(int64_t vec_bytes) {
    const bool is_max = problem_.lookups.mode == Mode::kMax;
    reduce_runs(
        cuda_,
        {problem_.dtype, tables_of_range(), sizeof(Key) == sizeof(uint64_t), order_.rows,
         order_.samples, order_.factors, count_,
         varies() ? 1.0 : static_cast<double>(factors_.scale), problem_.grad_output,
         problem_.grad_stride, is_max ? problem_.argmax : nullptr,
         problem_.lookups.indices_are_64bit},
        vec_bytes);
  }

  Cuda& cuda_;
  const Scatter& problem_;
  const SourcesView<Index>& sources_;
  const Tables& tables_;
  const TableRange& range_;
  LookupFactors<Acc<T>> factors_;
  int64_t count_;
  Order<Key, Acc<T>> order_{};
  CounterShape counters_{};
  int64_t num_counters_ = 0;
  Key* counts_ = nullptr;
};

} // namespace

void scatter_ordered(Cuda& cuda, const Scatter& problem) {
  const Factors factors = factors_of(cuda, problem);
  const int64_t vec_bytes = Alignment(problem.dtype)
                                .tables(problem.tables)
                                .address(problem.grad_output)
                                .elements(problem.grad_stride)
                                .bytes();
  dispatch_dtype(problem.dtype, [&](auto dtype) {
    using T = typename decltype(dtype)::type;
    dispatch_index(problem.lookups.indices_are_64bit, [&](auto index) {
      using Index = typename decltype(index)::type;
      const SourcesView<Index> sources = sources_of<Index>(problem);
      for_each_table_set<T>(problem.tables, [&](const auto& tables, const TableRange& range) {
        using Tables = std::decay_t<decltype(tables)>;
        if (plan_counters(range.num_rows, range.count).size() < kNarrowLimit &&
            problem.lookups.num_indices < kNarrowLimit) {
          OrderedScatter<T, Index, uint32_t, Tables>(cuda, problem, sources, tables, range, factors)
              .run(vec_bytes);
        } else {
          OrderedScatter<T, Index, uint64_t, Tables>(cuda, problem, sources, tables, range, factors)
              .run(vec_bytes);
        }
      });
    });
  });
}

} // namespace embed_ops
