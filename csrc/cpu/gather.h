// The forward: combines the rows of each bag. Part of kernels.inc.
//
// A bag's sums live in registers while its lookups are read, a tile of columns at a time; a bag of
// one row without a weight is a copy of bytes.

namespace embed_ops::cpu::EMBED_OPS_ISA {

// Lookups between a request for a row and its use. Tables that stay in cache gain nothing.
template <class T>
int64_t lookups_ahead(const Table& table) {
  constexpr int64_t kCachedBytes = int64_t(8) << 20;
  const int64_t bytes = table.num_rows * table.dim * static_cast<int64_t>(sizeof(T));
  return bytes > kCachedBytes ? 16 : 0;
}

// The lookups of one table, as seen by the thread that reads them.
template <class T, class Index>
struct RowReader {
  // `column`: where the tile that is read begins.
  RowReader(const Lookups& lookups, const Table& table, int64_t column, Offences& offences)
      : indices(static_cast<const Index*>(lookups.indices)),
        weights(static_cast<const T*>(lookups.per_sample_weights)),
        data(static_cast<const T*>(table.data) + column),
        num_rows(table.num_rows),
        stride(table.row_stride),
        padding_idx(lookups.padding_idx),
        num_indices(lookups.num_indices),
        ahead(lookups_ahead<T>(table)),
        offences(offences) {}

  EMBED_OPS_INLINE const T* row(int64_t index) const {
    return data + index * stride;
  }

  // Requests the beginning of the row that is read some lookups later; the rest of it the hardware
  // fetches by itself.
  EMBED_OPS_INLINE void prefetch(int64_t position) const {
    __builtin_prefetch(row(indices[std::min(position + ahead, num_indices - 1)]));
  }

  const Index* indices;
  const T* weights;
  const T* data;
  int64_t num_rows;
  int64_t stride;
  int64_t padding_idx;
  int64_t num_indices;
  int64_t ahead;
  Offences& offences;
};

// A lookup out of range (BoundsCheck::kIgnore) is left out, as padding is.
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
    V sums[K] = {};
    A weight_of_bag = 0;
    int64_t counted = bag.end - bag.begin;
    for (int64_t j = bag.begin; j < bag.end; ++j) {
      if constexpr (kPrefetch) {
        rows.prefetch(j);
      }
      const Index index = rows.indices[j];
      if (__builtin_expect(!in_table(index, rows.num_rows), false)) {
        rows.offences.add(j);
        --counted;
        continue;
      }
      if (index == rows.padding_idx) {
        --counted;
        continue;
      }
      const T* row = rows.row(index);
      A weight = 1;
      if constexpr (kWeighted) {
        weight = static_cast<A>(rows.weights[j]);
        weight_of_bag += weight;
      }
#pragma GCC unroll 8
      for (int v = 0; v < K; ++v) {
        sums[v] += weight * load<Tile::kLanes>(row + tile[v]);
      }
    }
    const bool divide = mean && counted > 0;
    const A divisor = kWeighted ? weight_of_bag : static_cast<A>(counted);
#pragma GCC unroll 8
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
          rows.prefetch(j);
        }
        const Index index = rows.indices[j];
        if (__builtin_expect(!in_table(index, rows.num_rows), false)) {
          rows.offences.add(j);
          continue;
        }
        if (index == rows.padding_idx) {
          continue;
        }
        const T* row = rows.row(index);
        const VOrdinal ordinal = VOrdinal{} + static_cast<Ordinal>(j - begin);
        const VOrdinal first = VOrdinal{} - static_cast<Ordinal>(empty);
        empty = false;
#pragma GCC unroll 8
        for (int v = 0; v < K; ++v) {
          const V value = load<Tile::kLanes>(row + tile[v]);
          // Not (best >= value) also where one is NaN; best stays if it is the NaN.
          const VOrdinal wins = first | (~(best[v] >= value) & (best[v] == best[v]));
          best[v] = wins ? value : best[v];
          winner[v] = wins ? ordinal : winner[v];
        }
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

template <class T, class Index>
void combine_run(const Gather& p, const Run& run, Offences& offences) {
  const Table& table = p.tables[run.table];
  for_each_tile<Accumulator<T>>(0, table.dim, [&](const auto& tile) {
    const RowReader<T, Index> rows(p.lookups, table, tile.first, offences);
    T* out = static_cast<T*>(p.output) + run.sample * p.output_stride + table.column + tile.first;
    if (p.lookups.mode == Mode::kMax) {
      Index* argmax = static_cast<Index*>(p.argmax) + run.sample * table.dim + tile.first;
      max_bags(p, rows, run, tile, out, argmax, table.dim);
      return;
    }
    dispatch_bool(rows.weights != nullptr, [&](auto weighted) {
      dispatch_bool(rows.ahead > 0, [&](auto prefetch) {
        sum_bags<weighted(), prefetch()>(p, rows, run, tile, out);
      });
    });
  });
}

// Bags of one row each, which is copied: no weight, no greatest of several.
inline bool is_copy(const Lookups& lookups) {
  return lookups.offsets == nullptr && lookups.hotness == 1 && lookups.mode != Mode::kMax &&
      lookups.per_sample_weights == nullptr;
}

// Copies tile after tile (all bytes, if the tile is as wide as a row) of a run's rows.
template <class Index, class Tile>
EMBED_OPS_LOOP void copy_rows(
    RowReader<uint8_t, Index> rows,
    Run run,
    Tile tile,
    uint8_t* out,
    int64_t out_stride) {
  using V = Vector<uint8_t, Tile::kLanes>;
  const int64_t begin = run[0].begin;
  const int64_t ahead = rows.ahead * run.stride();
  for (int64_t i = 0; i < run.size; ++i, out += out_stride) {
    const int64_t j = begin + i * run.stride();
    if (ahead > 0 && j + ahead < rows.num_indices) {
      __builtin_prefetch(rows.row(rows.indices[j + ahead]));
    }
    const Index index = rows.indices[j];
    V vectors[Tile::kVectors] = {};
    if (__builtin_expect(!in_table(index, rows.num_rows), false)) {
      rows.offences.add(j);
    } else if (index != rows.padding_idx) {
      const uint8_t* row = rows.row(index);
#pragma GCC unroll 8
      for (int v = 0; v < Tile::kVectors; ++v) {
        vectors[v] = load_bits<V>(row + tile[v]);
      }
    }
#pragma GCC unroll 8
    for (int v = 0; v < Tile::kVectors; ++v) {
      store_bits(out + tile[v], vectors[v]);
    }
  }
}

template <class Index>
void copy_run(const Gather& p, const Run& run, int64_t element_size, Offences& offences) {
  Table table = p.tables[run.table];
  uint8_t* out = static_cast<uint8_t*>(p.output) +
      (run.sample * p.output_stride + table.column) * element_size;
  table.row_stride *= element_size;
  table.dim *= element_size;
  for_each_tile<uint8_t>(0, table.dim, [&](const auto& tile) {
    const RowReader<uint8_t, Index> rows(p.lookups, table, tile.first, offences);
    copy_rows(rows, run, tile, out + tile.first, p.output_stride * element_size);
  });
}

inline void gather(const Gather& p, Offences& offences) {
  dispatch_dtype(p.dtype, [&](auto dtype) {
    dispatch_index(p.lookups.indices_are_64bit, [&](auto index) {
      using T = typename decltype(dtype)::type;
      using Index = typename decltype(index)::type;
      const int64_t work = std::max(p.lookups.num_indices, p.lookups.num_bags());
      const int64_t shares = threads_for(work * p.tables[0].dim * sizeof(T));
      const BagShares bags(p.lookups, shares);
      const bool copy = is_copy(p.lookups);
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
