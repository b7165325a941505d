// The index transforms.

#include <algorithm>
#include <cstring>
#include <vector>

#include "backend.h"
#include "element.h"
#include "lookups.h"
#include "offences.h"
#include "order.h"
#include "parallel.h"

namespace embed_ops {
namespace cpu {
namespace {

template <class F>
auto dispatch_integers(const Integers& integers, F&& f) {
  return dispatch_index(integers.are_64bit, [&](auto tag) {
    using Index = typename decltype(tag)::type;
    return f(static_cast<Index*>(integers.data));
  });
}

[[noreturn]] void throw_offence(const Offence& offence) {
  throw std::out_of_range(offence_text(offence));
}

bool errors_are_raised() {
  return bounds_check() != BoundsCheck::kIgnore;
}

template <class RowId>
void list_row_ids(const Lookups& lookups, RowId* row_ids) {
  std::fill_n(row_ids, lookups.num_indices, RowId(-1));
  const int64_t shares = threads_for(lookups.num_indices * sizeof(RowId));
  const BagShares bags(lookups, shares);
  parallel_shares(shares, [&](int64_t share) {
    bags.for_each_run(share, [&](const Run& run) {
      for (int64_t i = 0; i < run.size; ++i) {
        const Span bag = run[i];
        std::fill(row_ids + bag.begin, row_ids + bag.end, static_cast<RowId>(run.sample + i));
      }
    });
  });
}

template <class RowId>
void check_row_ids(const Offsets& p, const RowId* row_ids) {
  for (int64_t i = 0; i < p.row_ids.count; ++i) {
    const int64_t id = row_ids[i];
    const bool ended = i > 0 && row_ids[i - 1] == -1;
    const bool last = id == -1;
    if (!last && (ended || !in_table(id, p.num_bags) || (i > 0 && id < row_ids[i - 1]))) {
      throw_offence({OffenceKind::kRowIds, p.op, id, i, p.num_bags, -1});
    }
  }
}

// -1 stands behind every bag.
template <class RowId>
int64_t first_at_least(const RowId* row_ids, int64_t count, int64_t bag) {
  return std::partition_point(
             row_ids, row_ids + count,
             [bag](RowId id) { return id != -1 && static_cast<int64_t>(id) < bag; }) -
      row_ids;
}

template <class Index>
std::vector<Ordered> sorted_lookups(const Transpose& p, Offences& offences) {
  const Index* indices = static_cast<const Index*>(p.lookups.indices);
  std::vector<Ordered> lookups(p.lookups.num_indices);
  dispatch_integers(p.row_ids, [&](const auto* row_ids) {
    for (int64_t j = 0; j < p.lookups.num_indices; ++j) {
      const int64_t index = indices[j];
      const bool of_a_bag = row_ids[j] >= 0;
      const bool named = in_table(index, p.num_rows);
      if (of_a_bag && !named) {
        offences.add(j);
      }
      const bool counts = of_a_bag && named && index != p.lookups.padding_idx;
      lookups[j] = {counts ? index : p.num_rows, j};
    }
  });
  offences.raise_first();
  sort_by_row(lookups, p.num_rows);
  return lookups;
}

template <class Index>
void check_order(const CompressIndices& p, const Index* indices) {
  for (int64_t i = 0; i < p.indices.count; ++i) {
    const int64_t before = i > 0 ? indices[i - 1] : 0;
    const int64_t index = indices[i];
    if (index < -1 || (index >= 0 && index < before) || (index >= 0 && before == -1)) {
      throw_offence({OffenceKind::kIndicesOrder, p.op, index, i, before, -1});
    }
  }
}

template <class Index>
void compress_indices(const CompressIndices& p, const Index* indices) {
  if (errors_are_raised()) {
    check_order(p, indices);
  }
  const int64_t count = p.indices.count;
  int64_t counted = 0;
  std::vector<int64_t> begins;
  while (counted < count && indices[counted] >= 0) {
    if (counted == 0 || indices[counted] != indices[counted - 1]) {
      begins.push_back(counted);
    }
    ++counted;
  }
  const int64_t runs = begins.size();
  begins.push_back(counted);
  const CompressIndices::Outputs outputs = p.allocate ? p.allocate(runs) : p.outputs;
  if (p.num_unique != nullptr) {
    *p.num_unique = runs;
  }
  auto* rows = static_cast<Index*>(outputs.rows.data);
  auto* inverse = static_cast<Index*>(outputs.inverse.data);
  for (int64_t run = 0; run < outputs.rows.count; ++run) {
    const bool padding = run >= runs;
    const int64_t begin = begins[std::min(run, runs)];
    rows[run] = !padding ? indices[begin] : runs > 0 ? indices[counted - 1] : Index(0);
    outputs.counts[run] = padding ? 0 : begins[run + 1] - begin;
    outputs.offsets[run] = begin;
    if (!padding) {
      std::fill(inverse + begin, inverse + begins[run + 1], static_cast<Index>(run));
    }
  }
  outputs.offsets[outputs.rows.count] = counted;
  std::fill(inverse + counted, inverse + count, Index(-1));
}

} // namespace
} // namespace cpu

void Cpu::row_ids(const RowIds& problem) {
  const std::vector<Table> no_tables;
  const cpu::Offences offences(problem.op, problem.lookups, no_tables); // checks offsets
  cpu::dispatch_integers(
      problem.row_ids, [&](auto* row_ids) { cpu::list_row_ids(problem.lookups, row_ids); });
}

void Cpu::offsets(const Offsets& problem) {
  cpu::dispatch_integers(problem.row_ids, [&](const auto* row_ids) {
    if (cpu::errors_are_raised()) {
      cpu::check_row_ids(problem, row_ids);
    }
    cpu::dispatch_integers(problem.offsets, [&](auto* offsets) {
      for (int64_t bag = 0; bag < problem.offsets.count; ++bag) {
        offsets[bag] = cpu::first_at_least(row_ids, problem.row_ids.count, bag);
      }
    });
  });
}

void Cpu::transpose(const Transpose& problem) {
  const std::vector<Table> tables{{nullptr, problem.num_rows, 0, 0, 0}};
  cpu::Offences offences(problem.op, problem.lookups, tables);
  cpu::dispatch_integers(problem.sorted_indices, [&](auto* sorted_indices) {
    using Index = std::remove_pointer_t<decltype(sorted_indices)>;
    const auto lookups = cpu::sorted_lookups<Index>(problem, offences);
    for (size_t at = 0; at < lookups.size(); ++at) {
      const int64_t row = lookups[at].row;
      sorted_indices[at] = row < problem.num_rows ? static_cast<Index>(row) : Index(-1);
    }
    cpu::dispatch_integers(problem.sorted_row_ids, [&](auto* sorted_row_ids) {
      const auto* row_ids = static_cast<decltype(sorted_row_ids)>(problem.row_ids.data);
      for (size_t at = 0; at < lookups.size(); ++at) {
        sorted_row_ids[at] = row_ids[lookups[at].lookup];
      }
    });
    if (problem.lookups.per_sample_weights != nullptr) {
      cpu::dispatch_dtype(problem.dtype, [&](auto dtype) {
        using T = typename decltype(dtype)::type;
        const auto* weights = static_cast<const T*>(problem.lookups.per_sample_weights);
        auto* sorted_weights = static_cast<T*>(problem.sorted_weights);
        for (size_t at = 0; at < lookups.size(); ++at) {
          sorted_weights[at] = weights[lookups[at].lookup];
        }
      });
    }
  });
}

void Cpu::compress_indices(const CompressIndices& problem) {
  cpu::dispatch_integers(
      problem.indices, [&](const auto* indices) { cpu::compress_indices(problem, indices); });
}

} // namespace embed_ops
