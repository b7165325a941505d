// The forward: combines the rows of each bag. Part of kernels.inc.
//
// A bag's sums live in registers while its lookups are read, a tile of columns at a time; a bag of
// one row without a weight is a copy of bytes.

#pragma once

#include "rows.h"
#include "simd.h"

namespace embed_ops::cpu::EMBED_OPS_ISA {

// The bytes of a row, or zeros for nullptr, in one tile of columns.
template <class T, class Tile>
EMBED_OPS_INLINE void copy_tile(const Tile& tile, const T* row, T* out) {
  using V = Vector<uint8_t, Tile::kLanes * sizeof(T)>;
  V vectors[Tile::kVectors] = {};
  if (__builtin_expect(row != nullptr, true)) {
#pragma GCC unroll 16
    for (int v = 0; v < Tile::kVectors; ++v) {
      vectors[v] = load_bits<V>(row + tile[v]);
    }
  }
#pragma GCC unroll 16
  for (int v = 0; v < Tile::kVectors; ++v) {
    store_bits(out + tile[v], vectors[v]);
  }
}

template <bool kWeighted, bool kPrefetch, class T, class Index, class Tile>
EMBED_OPS_LOOP void sum_bags(
    const Gather& p,
    RowReader<T, Index> rows,
    Run run,
    Tile tile,
    T* out) {
  using A = Accumulator<T>;
  using V = Vector<A, Tile::kLanes>;
  constexpr int K = Tile::kVectors;
  const bool mean = p.lookups.mode == Mode::kMean;
  const int64_t output_stride = p.output_stride;
  for (int64_t i = 0; i < run.size; ++i, out += output_stride) {
    const Span bag = run[i];
    // Without widening and rounding.
    if (!kWeighted && bag.end - bag.begin == 1) {
      if constexpr (kPrefetch) {
        rows.template prefetch<Tile>(bag.begin);
      }
      copy_tile(tile, rows.row_or_null(bag.begin), out);
      continue;
    }
    V sums[K] = {};
    A weight_of_bag = 0;
    int64_t counted = 0;
#pragma GCC unroll 2
    for (int64_t j = bag.begin; j < bag.end; ++j) {
      if constexpr (kPrefetch) {
        rows.template prefetch<Tile>(j);
      }
      const auto add = [&](const T* row) __attribute__((always_inline)) {
        A weight = 1;
        if constexpr (kWeighted) {
          weight = static_cast<A>(rows.weights[j]);
          weight_of_bag += weight;
        }
#pragma GCC unroll 16
        for (int v = 0; v < K; ++v) {
          sums[v] += weight * load<Tile::kLanes>(row + tile[v]);
        }
      };
      counted += rows.visit(j, add);
    }
    const A divisor = kWeighted ? weight_of_bag : static_cast<A>(counted);
    const bool divide = mean && counted > 0 && divisor != A(1);
#pragma GCC unroll 16
    for (int v = 0; v < K; ++v) {
      store(out + tile[v], divide ? sums[v] / divisor : sums[v]);
    }
  }
}

// The greatest value of each column, the first of equal ones; NaN is greater than any number.
template <class T, class Index, class Tile>
EMBED_OPS_LOOP void max_bags(
    const Gather& p,
    RowReader<T, Index> rows,
    Run run,
    Tile tile,
    T* out,
    Index* argmax,
    int64_t argmax_stride) {
  using A = Accumulator<T>;
  using V = Vector<A, Tile::kLanes>;
  // Which lookup of a segment of the bag was greatest, in lanes as wide as the values.
  using Ordinal = std::conditional_t<std::is_same_v<A, double>, int64_t, int32_t>;
  using VOrdinal = Vector<Ordinal, Tile::kLanes>;
  constexpr int64_t kSegment = 1 << 12;
  constexpr int K = Tile::kVectors;
  for (int64_t i = 0; i < run.size; ++i, out += p.output_stride, argmax += argmax_stride) {
    const Span bag = run[i];
    V best[K] = {};
    bool empty = true;
    for (int v = 0; v < K; ++v) {
      std::fill_n(argmax + tile[v], Tile::kLanes, Index(-1));
    }
    for (int64_t begin = bag.begin; begin < bag.end; begin += kSegment) {
      const int64_t end = std::min(bag.end, begin + kSegment);
      VOrdinal winner[K];
      for (VOrdinal& lanes : winner) {
        lanes = VOrdinal{} - 1;
      }
      for (int64_t j = begin; j < end; ++j) {
        if (rows.ahead > 0) {
          rows.template prefetch<Tile>(j);
        }
        rows.visit(j, [&](const T* row) __attribute__((always_inline)) {
          const VOrdinal ordinal = VOrdinal{} + static_cast<Ordinal>(j - begin);
          const VOrdinal first = VOrdinal{} - static_cast<Ordinal>(empty);
          empty = false;
#pragma GCC unroll 16
          for (int v = 0; v < K; ++v) {
            const V value = load<Tile::kLanes>(row + tile[v]);
            // Not (best >= value) also where one is NaN; best stays if it is the NaN.
            const VOrdinal wins = first | (~(best[v] >= value) & (best[v] == best[v]));
            best[v] = wins ? value : best[v];
            winner[v] = wins ? ordinal : winner[v];
          }
        });
      }
      for (int v = 0; v < K; ++v) {
        for (int lane = 0; lane < Tile::kLanes; ++lane) {
          if (winner[v][lane] >= 0) {
            argmax[tile[v] + lane] = rows.indices[begin + winner[v][lane]];
          }
        }
      }
    }
    for (int v = 0; v < K; ++v) {
      store(out + tile[v], best[v]);
    }
  }
}

// Combines the bags of a run, in tiles of up to kMost vectors. Rows of several tiles are read in as
// many passes, over few bags at a time: the next pass finds their pages in the TLB and the lines
// that the hardware fetched unasked in the cache.
template <int kMost, class T, class Index, class Combine>
void for_each_pass(const Gather& p, const Run& run, Offences& offences, const Combine& combine) {
  using A = Accumulator<T>;
  constexpr int64_t kBytesPerPass = 1 << 15; // of rows
  const Table& table = p.tables[run.table];
  int64_t step = run.size;
  if (count_tiles<A, kMost>(0, table.dim) > 1) {
    const int64_t bag_size = p.lookups.num_indices / p.lookups.num_bags();
    const int64_t bag_bytes = std::max<int64_t>(1, bag_size) * table.dim * sizeof(T);
    step = std::max<int64_t>(1, kBytesPerPass / bag_bytes);
  }
  for (int64_t first = 0; first < run.size; first += step) {
    const Run bags(p.lookups, run.table, run.sample + first, std::min(step, run.size - first));
    for_each_tile<A, kMost>(0, table.dim, [&](const auto& tile) {
      combine(RowReader<T, Index>(p.lookups, table, tile.first, offences), bags, tile);
    });
  }
}

template <class T, class Index>
void combine_run(const Gather& p, const Run& whole, Offences& offences) {
  const int64_t column = p.tables[whole.table].column;
  const auto out_at = [&](const Run& run, int64_t first) {
    return static_cast<T*>(p.output) + run.sample * p.output_stride + column + first;
  };
  if (p.lookups.mode == Mode::kMax) {
    const int64_t dim = p.tables[whole.table].dim;
    for_each_pass<8, T, Index>(
        p, whole, offences, [&](const auto& rows, const Run& run, const auto& tile) {
          Index* argmax = static_cast<Index*>(p.argmax) + run.sample * dim + tile.first;
          max_bags(p, rows, run, tile, out_at(run, tile.first), argmax, dim);
        });
    return;
  }
  dispatch_bool(p.lookups.per_sample_weights != nullptr, [&](auto weighted) {
    // AVX2 has 16 registers, and its additions read a row from memory: all of them can be sums. A
    // weight takes one, and SSE another for each vector that is not aligned.
    constexpr int kMost = weighted() || EMBED_OPS_VECTOR_BYTES < 32 ? 8 : 16;
    for_each_pass<kMost, T, Index>(
        p, whole, offences, [&](const auto& rows, const Run& run, const auto& tile) {
          dispatch_bool(rows.ahead > 0, [&](auto prefetch) {
            sum_bags<weighted(), prefetch()>(p, rows, run, tile, out_at(run, tile.first));
          });
        });
  });
}

// Copies the bytes of some columns of each row.
template <class Index, class Columns>
EMBED_OPS_LOOP void copy_rows(
    RowReader<uint8_t, Index> rows,
    Run run,
    Columns columns,
    uint8_t* out,
    int64_t out_stride) {
  const int64_t stride = run.stride();
  const Index* index = rows.indices + run[0].begin;
  // The last lookups have none to prefetch for.
  const int64_t behind = rows.indices + rows.num_indices - index;
  const int64_t last_ahead = rows.ahead > 0 ? behind / stride - rows.ahead : 0;
  for (int64_t i = 0; i < run.size; ++i, index += stride, out += out_stride) {
    if (i < last_ahead) {
      __builtin_prefetch(rows.request(index[rows.ahead * stride]));
    }
    const uint8_t* const row = rows.row_or_null(index - rows.indices);
    columns.for_each_tile([&](const auto& tile) __attribute__((always_inline)) {
      copy_tile(tile, row == nullptr ? nullptr : row + tile.first, out + tile.first);
    });
  }
}

template <class Index>
void copy_run(const Gather& p, const Run& run, int64_t element_size, Offences& offences) {
  Table table = p.tables[run.table];
  table.row_stride *= element_size;
  table.dim *= element_size;
  const int64_t out_stride = p.output_stride * element_size;
  uint8_t* out =
      static_cast<uint8_t*>(p.output) + run.sample * out_stride + table.column * element_size;
  const RowReader<uint8_t, Index> rows(p.lookups, table, 0, offences);
  dispatch_columns<uint8_t>(
      0, table.dim, [&](const auto& columns) { copy_rows(rows, run, columns, out, out_stride); });
}

inline void gather(const Gather& p, Offences& offences) {
  dispatch_dtype(p.dtype, [&](auto dtype) {
    dispatch_index(p.lookups.indices_are_64bit, [&](auto index) {
      using T = typename decltype(dtype)::type;
      using Index = typename decltype(index)::type;
      const int64_t work = std::max(p.lookups.num_indices, p.lookups.num_bags());
      const int64_t shares = threads_for(work * p.tables[0].dim * sizeof(T));
      const BagShares bags(p.lookups, shares);
      const bool copy = are_copies(p.lookups);
      parallel_shares(shares, [&](int64_t share) {
        bags.for_each_run(share, [&](const Run& run) {
          if (copy) {
            copy_run<Index>(p, run, sizeof(T), offences);
          } else {
            combine_run<T, Index>(p, run, offences);
          }
        });
      });
    });
  });
}

} // namespace embed_ops::cpu::EMBED_OPS_ISA
