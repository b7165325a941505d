#include <algorithm>

#include "common/bounds.h"
#include "cuda/dispatch.h"
#include "cuda/reduce_runs.h"
#include "cuda/scatter.h"
#include "cuda/sort_rows.h"
#include "cuda/sources.h"
#include "kernels/runs_of_rows.cuh"

namespace embed_ops {

namespace {

constexpr int kMaxPlaces = 128; // a power of two above TableSet's
constexpr int kBlockSortThreads = 512;
constexpr int kBlockSortItems = 4;

// The tables of one launch: their lookups in the order of their rows, and then the gradients of
// those rows. Tables is OneTable or TableSet.
template <class Index, class Key, template <class> class Tables>
class CompressedSet {
 public:
  CompressedSet(
      Cuda& cuda,
      const Scatter& problem,
      const SourcesView<Index>& sources,
      const TableRange& range)
      : cuda_(cuda),
        problem_(problem),
        sources_(sources),
        range_(range),
        count_(problem.lookups.num_indices),
        sort_(cuda, count_, range.num_rows) {}

  // Of many tables, also writes how many rows of each are named to the device.
  void order(int64_t* num_unique) {
    // Only numbers of rows are asked of these tables: their type does not matter.
    const auto places = static_cast<int>(range_.count);
    const Tables<char> tables(problem_.tables.data() + range_.first, places, range_.first);
    if constexpr (kOneTable && sizeof(Key) == sizeof(uint32_t)) {
      if (count_ <= kBlockSortThreads * kBlockSortItems) {
        Plan one_block;
        one_block.block_x = kBlockSortThreads;
        launch(
            order_in_one_block_kernel<Index, kBlockSortThreads, kBlockSortItems>, one_block, 0,
            cuda_.stream(), tables, sources_, bits_for(range_.num_rows), sort_.rows(),
            sort_.lookups(), numbers(), cuda_.sink(problem_.op));
        return;
      }
    }
    const bool early = fill_zero(cuda_, sort_.zeros());
    launch_on(
        cuda_.stream(), {early}, list_lookups_kernel<Key, Index, Tables<char>>, plan(), 0, tables,
        sources_, range_.first, range_.count, sort_.rows(), sort_.lookups(),
        cuda_.sink(problem_.op));
    sort_.run();
    number_runs(cuda_, sort_.rows(), count_, numbers());
    if constexpr (!kOneTable) {
      bounds_ = {
          cuda_.workspace<int64_t>(range_.count + 1), cuda_.workspace<int64_t>(range_.count + 1)};
      Plan one_block;
      one_block.block_x = kMaxPlaces;
      launch(
          count_runs_kernel<Key, Tables<char>>, one_block, 0, cuda_.stream(), tables, places,
          range_.num_rows, sort_.rows(), numbers(), count_, bounds_, num_unique);
    }
  }

  // How many rows of the only table are named, on the device.
  const Key* num_runs() {
    return numbers() + count_ - 1;
  }

  // Writes the rows of this set's tables and their gradients. num_unique: as name_runs_kernel.
  void write(
      const std::vector<CompressedTable>& outputs,
      const Factors& factors,
      int64_t* num_unique) {
    dispatch_bool(problem_.dtype == DType::kDouble, [&](auto is_double) {
      using A = std::conditional_t<decltype(is_double)::value, double, float>;
      const LookupFactors<A> lookup = lookup_factors<A>(factors);
      const bool by_frequency = problem_.scale_grad_by_freq;
      const bool varies = lookup.coefficients != nullptr || lookup.by_length || by_frequency;
      auto* ordered = varies ? cuda_.workspace<A>(count_) : nullptr;
      follow(
          cuda_, name_runs_kernel<Key, A, Index, Tables<Index>>, plan(), rows_of(outputs), sources_,
          lookup, by_frequency, sort_.rows(), sort_.lookups(), bounds_,
          static_cast<int>(range_.count), numbers(), samples(), ordered, num_unique,
          cuda_.sink(problem_.op));
      reduce(outputs, factors.scale, ordered);
    });
  }

 private:
  static constexpr bool kOneTable = Tables<Index>::kMaxTables == 1;

  Plan plan() const {
    return plan_elements(count_, cuda_.processors());
  }

  // The sort has left the other half of its buffers free.
  Key* numbers() {
    return sort_.spare_rows();
  }
  Key* samples() {
    return sort_.spare_lookups();
  }

  Tables<Index> rows_of(const std::vector<CompressedTable>& outputs) const {
    std::vector<Table> tables;
    for (int64_t t = range_.first; t < range_.first + range_.count; ++t) {
      tables.push_back({outputs[t].rows, outputs[t].size, 1, 1, 0});
    }
    return Tables<Index>(tables.data(), static_cast<int>(range_.count), range_.first);
  }

  void reduce(const std::vector<CompressedTable>& outputs, double scale, const void* factors) {
    std::vector<Table> gradients;
    for (int64_t t = range_.first; t < range_.first + range_.count; ++t) {
      const Table& table = problem_.tables[t];
      gradients.push_back({outputs[t].values, outputs[t].size, table.dim, table.dim, table.column});
    }
    if (range_.widest == 0) {
      return;
    }
    reduce_runs(
        cuda_,
        {problem_.dtype, gradients, sizeof(Key) == sizeof(uint64_t), numbers(), samples(), factors,
         count_, scale, problem_.grad_output, problem_.grad_stride, winners(),
         problem_.lookups.indices_are_64bit},
        Alignment(problem_.dtype)
            .tables(gradients)
            .address(problem_.grad_output)
            .elements(problem_.grad_stride)
            .bytes());
  }

  // Mode max: argmax in the numbering of the compressed gradient's rows.
  const void* winners() {
    if (problem_.lookups.mode != Mode::kMax) {
      return nullptr;
    }
    const int64_t elements = problem_.lookups.batch * range_.widest;
    auto* winners = cuda_.workspace<Index>(elements);
    launch(
        name_winners_kernel<Key, Index>, plan_elements(elements, cuda_.processors()), 0,
        cuda_.stream(), static_cast<const Index*>(problem_.argmax), elements, range_.num_rows,
        sort_.rows(), numbers(), count_, winners);
    return winners;
  }

  Cuda& cuda_;
  const Scatter& problem_;
  const SourcesView<Index>& sources_;
  TableRange range_;
  int64_t count_;
  RowSort<Key> sort_;
  SetBounds bounds_{};
};

template <template <class> class Tables>
std::vector<TableRange> table_ranges(const std::vector<Table>& tables) {
  std::vector<TableRange> ranges;
  for (int64_t first = 0; first < static_cast<int64_t>(tables.size());
       first += ranges.back().count) {
    ranges.push_back(table_range(tables, first, Tables<char>::kMaxTables));
  }
  return ranges;
}

// Fills what is behind the rows that are named.
template <class Index>
void pad(Cuda& cuda, const Compress& problem) {
  const Scatter& p = problem.scatter;
  dispatch_dtype(p.dtype, [&](auto dtype) {
    using T = typename decltype(dtype)::type;
    for (size_t t = 0; t < p.tables.size(); ++t) {
      const CompressedTable& output = problem.outputs[t];
      const int64_t dim = p.tables[t].dim;
      const int64_t vec_bytes = Alignment(p.dtype).address(output.values).elements(dim).bytes();
      dispatch_vec<T>(vec_bytes, [&](auto vec) {
        constexpr int kVec = decltype(vec)::value;
        const int64_t most = std::max(output.size, output.size * dim / kVec);
        launch(
            pad_rows_kernel<T, kVec, Index>, plan_elements(most, cuda.processors()), 0,
            cuda.stream(), static_cast<T*>(output.values), static_cast<Index*>(output.rows),
            output.size, dim, problem.num_unique + t);
      });
    }
  });
}

template <class Index, class Key, template <class> class Tables>
void compress_named(Cuda& cuda, const Compress& problem) {
  // The frequency of a row is the length of its run: no counts of all rows are needed.
  Scatter without_frequency = problem.scatter;
  without_frequency.scale_grad_by_freq = false;
  const Factors factors = factors_of(cuda, without_frequency);
  const SourcesView<Index> sources = sources_of<Index>(problem.scatter);
  const auto num_tables = static_cast<int64_t>(problem.scatter.tables.size());
  constexpr bool kOneTable = Tables<Index>::kMaxTables == 1;
  int64_t* num_unique = problem.num_unique;
  if (problem.allocate && !kOneTable) {
    num_unique = cuda.workspace<int64_t>(num_tables);
  }

  std::vector<CompressedSet<Index, Key, Tables>> sets;
  for (const TableRange& range : table_ranges<Tables>(problem.scatter.tables)) {
    sets.emplace_back(cuda, problem.scatter, sources, range);
    sets.back().order(kOneTable ? nullptr : num_unique + range.first);
  }
  std::vector<CompressedTable> outputs = problem.outputs;
  if (problem.allocate) {
    const char* op = op_name(problem.scatter.op);
    outputs = problem.allocate(
        kOneTable ? read_counts(cuda, op, sets[0].num_runs(), 1)
                  : read_counts(cuda, op, num_unique, num_tables));
  }
  for (auto& set : sets) {
    set.write(outputs, factors, kOneTable ? num_unique : nullptr);
  }
}

template <class Index, template <class> class Tables>
void compress_tables(Cuda& cuda, const Compress& problem) {
  const Lookups& lookups = problem.scatter.lookups;
  const auto num_tables = static_cast<int64_t>(problem.scatter.tables.size());
  if (lookups.num_indices == 0 || lookups.batch == 0) {
    if (problem.allocate) {
      problem.allocate(std::vector<int64_t>(num_tables, 0));
    } else {
      check_cuda(
          cudaMemsetAsync(problem.num_unique, 0, num_tables * sizeof(int64_t), cuda.stream()),
          "cudaMemsetAsync");
    }
  } else {
    int64_t num_rows = 0;
    int64_t room = 0;
    for (int64_t t = 0; t < num_tables; ++t) {
      num_rows += problem.scatter.tables[t].num_rows;
      room += problem.allocate ? 0 : problem.outputs[t].size;
    }
    if (std::max({num_rows, room, lookups.num_indices}) < kNarrowLimit) {
      compress_named<Index, uint32_t, Tables>(cuda, problem);
    } else {
      compress_named<Index, uint64_t, Tables>(cuda, problem);
    }
  }
  if (!problem.allocate) {
    pad<Index>(cuda, problem);
  }
}

} // namespace

void Cuda::compress(const Compress& problem) {
  dispatch_index(problem.scatter.lookups.indices_are_64bit, [&](auto index) {
    using Index = typename decltype(index)::type;
    if (problem.scatter.tables.size() == 1) {
      compress_tables<Index, OneTable>(*this, problem);
    } else {
      compress_tables<Index, TableSet>(*this, problem);
    }
  });
}

} // namespace embed_ops
