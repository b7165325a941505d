// The gradient of per_sample_weights. Part of kernels.inc.

#pragma once

#include "rows.h"

namespace embed_ops::cpu::EMBED_OPS_ISA {

// dots[j] += grad . row_j over the columns of a tile, for the lookups of a bag that count; the
// weights of those and their weighted dots are left in `dots` by the caller.
template <class T, class Index, class Tile>
EMBED_OPS_LOOP void add_dots(
    RowReader<T, Index> rows,
    Span bag,
    Tile tile,
    const T* grad,
    Accumulator<T>* dots) {
  using A = Accumulator<T>;
  using V = Vector<A, Tile::kLanes>;
  constexpr int K = Tile::kVectors;
  V factors[K];
  for (int v = 0; v < K; ++v) {
    factors[v] = load<Tile::kLanes>(grad + tile[v]);
  }
  // Columns that the last two vectors share count once.
  for (int64_t lane = 0; K > 1 && lane < tile[K - 2] + Tile::kLanes - tile.last; ++lane) {
    factors[K - 1][lane] = 0;
  }
  for (int64_t j = bag.begin; j < bag.end; ++j) {
    if (rows.ahead > 0) {
      rows.template prefetch<Tile>(j);
    }
    rows.visit(j, [&](const T* row) __attribute__((always_inline)) {
      V products = {};
#pragma GCC unroll 8
      for (int v = 0; v < K; ++v) {
        products += factors[v] * load<Tile::kLanes>(row + tile[v]);
      }
      dots[j - bag.begin] += sum_of_lanes(products);
    });
  }
}

// With s = sum_i w_i (grad . row_i) and W = sum_i w_i over a bag, the gradient of w_j is
// grad . row_j for a sum and (grad . row_j - s / W) / W for a mean.
template <class T, class Index>
void weights_grad_of_run(const WeightsGrad& p, const Run& run, Offences& offences) {
  using A = Accumulator<T>;
  const Table& table = p.tables[run.table];
  const RowReader<T, Index> rows(p.lookups, table, 0, offences);
  const T* grad = static_cast<const T*>(p.grad_output) + run.sample * p.grad_stride + table.column;
  T* out = static_cast<T*>(p.output);
  std::vector<A> dots;
  for (int64_t i = 0; i < run.size; ++i, grad += p.grad_stride) {
    const Span bag = run[i];
    dots.assign(bag.end - bag.begin, A(0));
    for_each_tile<A>(0, table.dim, [&](const auto& tile) {
      const RowReader<T, Index> columns(p.lookups, table, tile.first, offences);
      add_dots(columns, bag, tile, grad + tile.first, dots.data());
    });
    const auto counts = [&](int64_t j) {
      return in_table(rows.indices[j], rows.num_rows) && rows.indices[j] != rows.padding_idx;
    };
    A mean = 0;
    A divisor = 1;
    if (p.lookups.mode == Mode::kMean) {
      A total = 0;
      A weighted = 0;
      for (int64_t j = bag.begin; j < bag.end; ++j) {
        const A weight = counts(j) ? static_cast<A>(rows.weights[j]) : A(0);
        weighted += weight * dots[j - bag.begin];
        total += weight;
      }
      mean = weighted / total;
      divisor = total;
    }
    for (int64_t j = bag.begin; j < bag.end; ++j) {
      out[j] = static_cast<T>(counts(j) ? (dots[j - bag.begin] - mean) / divisor : A(0));
    }
  }
}

inline void weights_grad(const WeightsGrad& p, Offences& offences) {
  dispatch_dtype(p.dtype, [&](auto dtype) {
    dispatch_index(p.lookups.indices_are_64bit, [&](auto index) {
      using T = typename decltype(dtype)::type;
      using Index = typename decltype(index)::type;
      const int64_t shares = threads_for(p.lookups.num_indices * p.tables[0].dim * sizeof(T));
      const BagShares bags(p.lookups, shares);
      parallel_shares(shares, [&](int64_t share) {
        bags.for_each_run(
            share, [&](const Run& run) { weights_grad_of_run<T, Index>(p, run, offences); });
      });
    });
  });
}

} // namespace embed_ops::cpu::EMBED_OPS_ISA
