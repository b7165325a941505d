#include "kernels/scatter_ordered.cuh"

#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_scan.cuh>

#include "cuda/dispatch.h"
#include "cuda/sources.h"

namespace embed_ops {

namespace {

// CUB's calling convention: once for the size of the workspace, once to run.
template <class F>
void with_cub_workspace(Cuda& cuda, const char* what, F&& call) {
  size_t bytes = 0;
  check_cuda(call(nullptr, bytes), what);
  void* workspace = cuda.workspace<char>(static_cast<int64_t>(std::max<size_t>(bytes, 1)));
  check_cuda(call(workspace, bytes), what);
}

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
        coefficients_(static_cast<const Acc<T>*>(factors.coefficients)),
        scale_(static_cast<Acc<T>>(factors.scale)),
        count_(problem.lookups.num_indices) {}

  void run(int64_t vec_bytes) {
    order_.rows = cuda_.workspace<Key>(count_);
    order_.samples = cuda_.workspace<Key>(count_);
    order_.factors = coefficients_ ? cuda_.workspace<Acc<T>>(count_) : nullptr;
    // One more than rows: the scan then ends with the number of lookups that count.
    counts_ = cuda_.workspace<Key>(range_.num_rows + 1);
    check_cuda(
        cudaMemsetAsync(counts_, 0, (range_.num_rows + 1) * sizeof(Key), cuda_.stream()),
        "cudaMemsetAsync");
    // Mode max counts a row once per sample, which it sees where a sample's lookups are neighbours.
    if (problem_.deterministic || problem_.lookups.mode == Mode::kMax) {
      order_stably();
    } else {
      order_by_counting();
    }
    if constexpr (sizeof(Key) == sizeof(uint64_t)) {
      // More than 2^32 rows or lookups: too rare for an instance of every width of access.
      reduce<1>();
    } else {
      dispatch_vec<T>(vec_bytes, [&](auto vec) { reduce<decltype(vec)::value>(); });
    }
  }

 private:
  Plan plan() const {
    return plan_elements(count_, cuda_.processors());
  }

  void order_by_counting() {
    Key* rows = cuda_.workspace<Key>(count_);
    Key* ranks = cuda_.workspace<Key>(count_);
    Key* starts = cuda_.workspace<Key>(range_.num_rows + 1);
    launch(
        count_lookups_kernel<Key, Index, Tables>, plan(), 0, cuda_.stream(), tables_, sources_,
        range_.first, range_.count, counts_, rows, ranks, cuda_.sink(problem_.op));
    with_cub_workspace(cuda_, "cub::DeviceScan", [&](void* workspace, size_t& bytes) {
      return cub::DeviceScan::ExclusiveSum(
          workspace, bytes, counts_, starts, range_.num_rows + 1, cuda_.stream());
    });
    launch(
        place_lookups_kernel<Key, Acc<T>, Index>, plan(), 0, cuda_.stream(), sources_,
        coefficients_, starts, rows, ranks, range_.num_rows, order_);
  }

  void order_stably() {
    Key* rows = cuda_.workspace<Key>(count_);
    Key* lookups = cuda_.workspace<Key>(count_);
    Key* ordered_lookups = cuda_.workspace<Key>(count_);
    launch(
        list_lookups_kernel<Key, Index, Tables>, plan(), 0, cuda_.stream(), tables_, sources_,
        range_.first, range_.count, counts_, rows, lookups, cuda_.sink(problem_.op));
    with_cub_workspace(cuda_, "cub::DeviceRadixSort", [&](void* workspace, size_t& bytes) {
      return cub::DeviceRadixSort::SortPairs(
          workspace, bytes, rows, order_.rows, lookups, ordered_lookups, count_, 0,
          bits_for(range_.num_rows), cuda_.stream());
    });
    launch(
        name_sources_kernel<Key, Acc<T>, Index>, plan(), 0, cuda_.stream(), sources_, coefficients_,
        ordered_lookups, order_);
  }

  template <int kVec>
  void reduce() {
    const int64_t lanes = ceil_div(range_.widest, kVec);
    if (!problem_.already_zero) {
      launch(
          fill_unnamed_kernel<T, kVec, Tables, Key>,
          plan_fill(lanes, range_.num_rows, static_cast<int>(range_.count)), 0, cuda_.stream(),
          tables_, counts_);
    }
    const WalkPlan plan = plan_walk(lanes, count_, cuda_.processors());
    if (problem_.lookups.mode == Mode::kMax) {
      if constexpr (std::is_same_v<Tables, OneTable<T>>) {
        reduce_tiles<true, Index, kVec>(plan, lanes);
      }
    } else {
      // Only mode max reads indices here: one instance serves both of their types.
      reduce_tiles<false, int64_t, kVec>(plan, lanes);
    }
  }

  template <bool kMax, class Winner, int kVec>
  void reduce_tiles(const WalkPlan& plan, int64_t lanes) {
    if (plan.items == 1) {
      reduce_tiles_of<kMax, Winner, kVec, kWalkThreads>(plan, lanes);
    } else {
      reduce_tiles_of<kMax, Winner, kVec, 4 * kWalkThreads>(plan, lanes);
    }
  }

  template <bool kMax, class Winner, int kVec, int kLookups>
  void reduce_tiles_of(const WalkPlan& plan, int64_t lanes) {
    const int64_t width = lanes * kVec;
    const int64_t num_tiles = plan.launch.grid_x;
    auto* partial_sums = cuda_.workspace<Acc<T>>(2 * num_tiles * width);
    const OrderedLookups<T, Key> ordered{
        order_.rows, order_.samples, order_.factors, count_, scale_};
    const WalkSource<T, Winner, Key> source{
        static_cast<const T*>(problem_.grad_output), problem_.grad_stride,
        static_cast<const Winner*>(problem_.argmax)};
    launch(
        reduce_runs_kernel<kMax, T, Winner, kVec, Tables, Key, kLookups>, plan.launch, 0,
        cuda_.stream(), tables_, ordered, source, partial_sums, plan.slice_lanes * kVec, width,
        plan.group);
    if (num_tiles > 1) {
      launch(
          join_runs_kernel<T, kVec, Tables, Key>, plan_join(lanes, num_tiles), 0, cuda_.stream(),
          tables_, ordered, partial_sums, width, num_tiles, kLookups);
    }
  }

  Cuda& cuda_;
  const Scatter& problem_;
  const SourcesView<Index>& sources_;
  const Tables& tables_;
  const TableRange& range_;
  const Acc<T>* coefficients_;
  Acc<T> scale_;
  int64_t count_;
  Order<Key, Acc<T>> order_{};
  Key* counts_ = nullptr;
};

} // namespace

void scatter_ordered(Cuda& cuda, const Scatter& problem) {
  const Factors factors = factors_of(cuda, problem, /*length_in_kernel=*/false);
  const int64_t vec_bytes = Alignment(problem.dtype)
                                .tables(problem.tables)
                                .address(problem.grad_output)
                                .elements(problem.grad_stride)
                                .bytes();
  dispatch_dtype(problem.dtype, [&](auto dtype) {
    using T = typename decltype(dtype)::type;
    dispatch_index(problem.lookups.indices_are_64bit, [&](auto index) {
      using Index = typename decltype(index)::type;
      const SourcesView<Index> sources = sources_of<Index>(cuda, problem);
      int64_t first = 0;
      for_each_table_set<T>(problem.tables, [&](const auto& tables, int64_t, int64_t) {
        using Tables = std::decay_t<decltype(tables)>;
        const TableRange range = table_range(problem.tables, first, Tables::kMaxTables);
        first += range.count;
        if (range.num_rows < kNarrowLimit && problem.lookups.num_indices < kNarrowLimit) {
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
