// The compressed gradient: lookups are renumbered by the distinct rows that they name, which makes
// it the dense gradient of a table of just these rows.

#include <algorithm>
#include <cstring>
#include <vector>

#include "backend.h"
#include "element.h"
#include "kernels.h"
#include "lookups.h"
#include "offences.h"
#include "order.h"

namespace embed_ops {
namespace cpu {
namespace {

// The rows of one table that are named, and which of them each lookup names.
template <class Index>
class Renumbering {
 public:
  Renumbering(const Compress& problem, Offences& offences)
      : p_(problem.scatter),
        offences_(offences),
        indices_(static_cast<const Index*>(p_.lookups.indices)),
        numbers_(p_.lookups.num_indices, Index(-1)),
        rows_(p_.tables.size()) {
    std::vector<std::vector<Ordered>> lookups(p_.tables.size());
    BagShares(p_.lookups, 1).for_each_run(0, [&](const Run& run) {
      for (int64_t i = 0; i < run.size; ++i) {
        const Span bag = run[i];
        for (int64_t j = bag.begin; j < bag.end; ++j) {
          list(run.table, j, lookups[run.table]);
        }
      }
    });
    offences_.raise_first(); // before anything is allocated
    for (size_t t = 0; t < rows_.size(); ++t) {
      number(lookups[t], p_.tables[t].num_rows, rows_[t]);
    }
  }

  // Of table t, in ascending order.
  const std::vector<Index>& rows(int64_t t) const {
    return rows_[t];
  }

  // For each lookup the place of its row among those; -1 if it counts for nothing.
  const std::vector<Index>& numbers() const {
    return numbers_;
  }

  // As numbers, for what mode max has kept of each element.
  std::vector<Index> numbers_of_argmax() const {
    const Index* argmax = static_cast<const Index*>(p_.argmax);
    const int64_t count = p_.lookups.batch * p_.tables[0].dim;
    std::vector<Index> numbers(count, Index(-1));
    for (int64_t i = 0; i < count; ++i) {
      const auto at = std::lower_bound(rows_[0].begin(), rows_[0].end(), argmax[i]);
      if (at != rows_[0].end() && *at == argmax[i]) {
        numbers[i] = static_cast<Index>(at - rows_[0].begin());
      }
    }
    return numbers;
  }

 private:
  void list(int64_t table, int64_t position, std::vector<Ordered>& lookups) {
    const int64_t index = indices_[position];
    if (!in_table(index, p_.tables[table].num_rows)) {
      offences_.add(position);
    } else if (index != p_.lookups.padding_idx) {
      lookups.push_back({index, position});
    }
  }

  void number(std::vector<Ordered>& lookups, int64_t num_rows, std::vector<Index>& rows) {
    sort_by_row(lookups, num_rows);
    for (const Ordered& lookup : lookups) {
      if (rows.empty() || rows.back() != lookup.row) {
        rows.push_back(static_cast<Index>(lookup.row));
      }
      numbers_[lookup.lookup] = static_cast<Index>(rows.size() - 1);
    }
  }

  const Scatter& p_;
  Offences& offences_;
  const Index* indices_;
  std::vector<Index> numbers_;
  std::vector<std::vector<Index>> rows_;
};

template <class Index>
void compress(const Compress& problem, Offences& offences, int64_t element_size) {
  const Scatter& p = problem.scatter;
  const int64_t num_tables = p.lookups.num_tables;
  const Renumbering<Index> renumbering(problem, offences);
  std::vector<int64_t> counts;
  for (int64_t t = 0; t < num_tables; ++t) {
    counts.push_back(renumbering.rows(t).size());
  }
  const std::vector<CompressedTable> outputs =
      problem.allocate ? problem.allocate(counts) : problem.outputs;

  Scatter scatter = p;
  for (int64_t t = 0; t < num_tables; ++t) {
    const std::vector<Index>& rows = renumbering.rows(t);
    const int64_t kept = std::min(counts[t], outputs[t].size);
    if (kept < counts[t] && bounds_check() != BoundsCheck::kIgnore) {
      throw std::out_of_range(
          offence_text({OffenceKind::kSize, p.op, counts[t], 0, outputs[t].size, -1}));
    }
    auto* named = static_cast<Index*>(outputs[t].rows);
    std::copy_n(rows.begin(), kept, named);
    std::fill_n(named + kept, outputs[t].size - kept, kept > 0 ? rows[kept - 1] : Index(0));
    if (problem.num_unique != nullptr) {
      problem.num_unique[t] = kept;
    }
    Table& table = scatter.tables[t];
    table.data = outputs[t].values;
    table.num_rows = kept;
    const int64_t row_bytes = table.dim * element_size;
    std::fill_n(
        static_cast<char*>(table.data) + kept * row_bytes, (outputs[t].size - kept) * row_bytes,
        char(0));
  }
  scatter.lookups.indices = renumbering.numbers().data();
  scatter.lookups.padding_idx = kNoPadding;
  std::vector<Index> argmax;
  if (p.lookups.mode == Mode::kMax) {
    argmax = renumbering.numbers_of_argmax();
    scatter.argmax = argmax.data();
  }
  // The lookups that count for nothing are numbered -1, which is no offence.
  Offences ignored(scatter.op, scatter.lookups, scatter.tables);
  const auto has_elements = [](const Table& table) { return table.num_rows * table.dim > 0; };
  if (std::any_of(scatter.tables.begin(), scatter.tables.end(), has_elements)) {
    kernels().scatter(scatter, ignored);
  }
}

} // namespace
} // namespace cpu

void Cpu::compress(const Compress& problem) {
  const Scatter& p = problem.scatter;
  cpu::Offences offences(p.op, p.lookups, p.tables);
  const int64_t element_size = cpu::dispatch_dtype(
      p.dtype, [](auto tag) { return static_cast<int64_t>(sizeof(typename decltype(tag)::type)); });
  dispatch_index(p.lookups.indices_are_64bit, [&](auto index) {
    cpu::compress<typename decltype(index)::type>(problem, offences, element_size);
  });
}

} // namespace embed_ops
