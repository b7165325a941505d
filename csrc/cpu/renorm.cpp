// max_norm: scales the named rows whose norm is too large.

#include <algorithm>
#include <cmath>
#include <vector>

#include "backend.h"
#include "element.h"
#include "lookups.h"
#include "offences.h"
#include "parallel.h"

namespace embed_ops {
namespace cpu {
namespace {

template <class T>
Accumulator<T> norm_of(const T* row, int64_t dim, double norm_type) {
  using A = Accumulator<T>;
  A sum = 0;
  if (norm_type == 1) {
    for (int64_t c = 0; c < dim; ++c) {
      sum += std::abs(static_cast<A>(row[c]));
    }
    return sum;
  }
  if (norm_type == 2) {
    for (int64_t c = 0; c < dim; ++c) {
      const A value = static_cast<A>(row[c]);
      sum += value * value;
    }
    return std::sqrt(sum);
  }
  if (std::isinf(norm_type)) {
    for (int64_t c = 0; c < dim; ++c) {
      const A value = std::abs(static_cast<A>(row[c]));
      sum = value > sum || std::isnan(value) ? value : sum;
    }
    return sum;
  }
  for (int64_t c = 0; c < dim; ++c) {
    sum += std::pow(std::abs(static_cast<A>(row[c])), static_cast<A>(norm_type));
  }
  return std::pow(sum, static_cast<A>(1 / norm_type));
}

// Every named row once, in ascending order.
template <class Index>
std::vector<Index> distinct_rows(const Renorm& p, Offences& offences) {
  std::vector<Index> rows;
  rows.reserve(p.lookups.num_indices);
  const Index* indices = static_cast<const Index*>(p.lookups.indices);
  for (int64_t j = 0; j < p.lookups.num_indices; ++j) {
    if (in_table(indices[j], p.table.num_rows)) {
      rows.push_back(indices[j]);
    } else {
      offences.add(j);
    }
  }
  std::sort(rows.begin(), rows.end());
  rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
  return rows;
}

template <class T>
void renorm_row(const Renorm& p, int64_t index) {
  using A = Accumulator<T>;
  T* row = static_cast<T*>(p.table.data) + index * p.table.row_stride;
  const A norm = norm_of(row, p.table.dim, p.norm_type);
  if (norm > static_cast<A>(p.max_norm)) {
    const A scale = static_cast<A>(p.max_norm) / (norm + static_cast<A>(1e-7));
    for (int64_t c = 0; c < p.table.dim; ++c) {
      row[c] = static_cast<T>(static_cast<A>(row[c]) * scale);
    }
  }
}

} // namespace
} // namespace cpu

void Cpu::renorm(const Renorm& problem) {
  const std::vector<Table> tables{problem.table};
  cpu::Offences offences(problem.op, problem.lookups, tables);
  dispatch_index(problem.lookups.indices_are_64bit, [&](auto index) {
    using Index = typename decltype(index)::type;
    const std::vector<Index> rows = cpu::distinct_rows<Index>(problem, offences);
    offences.raise_first(); // before any row is changed
    cpu::dispatch_dtype(problem.dtype, [&](auto dtype) {
      using T = typename decltype(dtype)::type;
      const int64_t count = rows.size();
      const int64_t shares = cpu::threads_for(count * problem.table.dim * sizeof(T));
      cpu::parallel_shares(shares, [&](int64_t share) {
        for (int64_t i = count * share / shares; i < count * (share + 1) / shares; ++i) {
          cpu::renorm_row<T>(problem, rows[i]);
        }
      });
    });
  });
}

} // namespace embed_ops
