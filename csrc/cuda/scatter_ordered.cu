#include "kernels/order_in_block.cuh"
#include "kernels/scatter_ordered.cuh"
#include "kernels/unnamed_rows.cuh"

#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_scan.cuh>

#include "cuda/cub.h"
#include "cuda/dispatch.h"
#include "cuda/reduce_runs.h"
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
    order_.rows = cuda_.workspace<Key>(count_);
    order_.samples = cuda_.workspace<Key>(count_);
    order_.factors = varies() ? cuda_.workspace<Acc<T>>(count_) : nullptr;
    const Lookups& lookups = problem_.lookups;
    // Of several launches' tables not all begin where zeros can be written 16 bytes at a time.
    const bool has_all_tables = range_.count == lookups.num_tables;
    if (has_all_tables &&
        plan_orders_in_block(count_, lookups.batch * lookups.num_tables, range_.num_rows)) {
      order_in_block();
      if (!problem_.already_zero) {
        fill_zero(cuda_, blocks_of(problem_.tables, problem_.dtype), cuda_.has_early_launch());
      }
      reduce(vec_bytes);
      return;
    }
    // Mode max counts a row once per sample, which it sees where a sample's lookups are neighbours.
    const bool stable = problem_.deterministic || lookups.mode == Mode::kMax || plan_sorts(count_);
    if (stable && has_all_tables && plan_zeroes_first(bytes_of_gradient())) {
      order_stably(vec_bytes);
    } else {
      zero_counters();
      stable ? order_stably(vec_bytes) : order_by_counting(vec_bytes);
      if constexpr (Tables::kMaxTables > 1) {
        fill_tables(vec_bytes);
      }
    }
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
    Plan plan;
    plan.block_x = kBlockOrderThreads;
    launch(
        order_in_block_kernel<Key, Acc<T>, Index, Rows>, plan, 0, cuda_.stream(), rows_of_tables(),
        sources_, range_.first, range_.count, factors_, bits_for(range_.num_rows), order_,
        cuda_.sink(problem_.op));
  }

  int64_t bytes_of_gradient() const {
    int64_t bytes = 0;
    for (const MemoryBlock& block : blocks_of(problem_.tables, problem_.dtype)) {
      bytes += block.bytes;
    }
    return bytes;
  }

  // Zeros for the counters, and for one more: a scan of all then ends with the number of lookups
  // that count.
  void zero_counters() {
    counts_ = cuda_.workspace<Key>(num_counters_ + 1);
    const auto bytes = static_cast<int64_t>((num_counters_ + 1) * sizeof(Key));
    const std::vector<MemoryBlock> counters{{reinterpret_cast<char*>(counts_), bytes}};
    fill_zero(cuda_, counters);
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

  // Launches a kernel whose first blocks do their own work, and of one table the others write zeros
  // to the rows that nobody names, where that is still to be done.
  template <class Kernel, class... Arguments>
  void follow_filling(int64_t vec_bytes, Kernel kernel, const Arguments&... arguments) {
    Plan launch = plan();
    const auto blocks = static_cast<unsigned>(launch.grid_x);
    const Unnamed unnamed = unnamed_rows(vec_bytes);
    if constexpr (Tables::kMaxTables == 1) {
      const bool fills = counts_ != nullptr && !problem_.already_zero;
      launch.grid_x += fills ? unnamed.plan.num_blocks : 0;
    }
    follow(cuda_, kernel, launch, arguments..., blocks, unnamed);
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

  void order_by_counting(int64_t vec_bytes) {
    Key* rows = cuda_.workspace<Key>(count_);
    Key* ranks = cuda_.workspace<Key>(count_);
    Key* starts = cuda_.workspace<Key>(num_counters_ + 1);
    follow(
        cuda_, count_lookups_kernel<Key, Index, Tables>, plan(), tables_, sources_, range_.first,
        range_.count, counters_, counts_, rows, ranks, cuda_.sink(problem_.op));
    with_cub_workspace(cuda_, "cub::DeviceScan", [&](void* workspace, size_t& bytes) {
      return cub::DeviceScan::ExclusiveSum(
          workspace, bytes, counts_, starts, num_counters_ + 1, cuda_.stream());
    });
    follow_filling(
        vec_bytes, place_lookups_kernel<Key, Acc<T>, Index, Unnamed>, sources_, factors_, starts,
        rows, ranks, counters_, order_);
  }

  // With the counters, if there are any. Otherwise zeros to all come first, and the kernel that
  // lists lookups does not wait for them: so they come after all allocations, each of which may
  // launch a kernel of torch's own (torch.utils.deterministic.fill_uninitialized_memory).
  void order_stably(int64_t vec_bytes) {
    Key* rows = cuda_.workspace<Key>(count_);
    Key* lookups = cuda_.workspace<Key>(count_);
    Key* ordered_lookups = cuda_.workspace<Key>(count_);
    const bool early = counts_ == nullptr ? fill_zero(cuda_, problem_) : cuda_.has_early_launch();
    launch_on(
        cuda_.stream(), early, list_lookups_kernel<Key, Index, Tables>, plan(), 0, tables_,
        sources_, range_.first, range_.count, counters_, counts_, rows, lookups,
        cuda_.sink(problem_.op));
    with_cub_workspace(cuda_, "cub::DeviceRadixSort", [&](void* workspace, size_t& bytes) {
      return cub::DeviceRadixSort::SortPairs(
          workspace, bytes, rows, order_.rows, lookups, ordered_lookups, count_, 0,
          bits_for(range_.num_rows), cuda_.stream());
    });
    follow_filling(
        vec_bytes, name_sources_kernel<Key, Acc<T>, Index, Unnamed>, sources_, factors_,
        ordered_lookups, order_);
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
