// How a team of lanes (kernels/team.cuh) pools its part of a bag: it reads rows several at a time.
// Its lanes share the work of reading the indices, and checking them, one step ahead of the rows:
// nothing stands between the loads of rows, and what is wrong with an index is reported when all is
// done.

#pragma once

#include "kernels/combine.cuh"
#include "kernels/lookups.cuh"
#include "kernels/row_reader.cuh"
#include "kernels/team.cuh"
#include "kernels/vec.cuh"

namespace embed_ops {

constexpr int kMostPoolUnroll = 8;

// The rows that a lane reads together: at most those that fill 32 registers.
template <class T, class Columns>
__host__ __device__ constexpr int pool_unroll() {
  constexpr int kBytes = sizeof(T) * Columns::kColumns;
  return kBytes > 32 ? kMostPoolUnroll / 4 : kBytes > 16 ? kMostPoolUnroll / 2 : kMostPoolUnroll;
}

// What a thread left out of a bag, and the weights of the rest.
template <class A, class Size>
struct Tally {
  Size skipped = 0;
  A weight = A(0);
  unsigned offends = 0; // not zero: one of its lookups names no row

  __device__ __forceinline__ void merge(Size others_skipped, A others_weight) {
    skipped += others_skipped;
    weight += others_weight;
  }
};

// The part of a bag that a team pools: `left` lookups from here on. Row is uint32_t, or uint64_t
// where rows or lookups are too many for it; so is their number, Size.
template <class T, class Index, class Row, bool kWeighted>
struct PoolPart {
  using Size = std::make_signed_t<Row>;
  static constexpr Row kNone = static_cast<Row>(-1);

  const Index* __restrict__ indices;
  const T* __restrict__ weights;
  Size left;
  int64_t num_rows;
  int64_t padding_idx;

  struct Lookup {
    Index index;
    T weight;
  };

  // The lookup `ahead` of the next one, as it stands in memory.
  __device__ __forceinline__ Lookup read(int ahead) const {
    Lookup lookup{Index(-1), T(0.0f)};
    if (ahead < left) {
      lookup.index = indices[ahead];
      if constexpr (kWeighted) {
        lookup.weight = weights[ahead];
      }
    }
    return lookup;
  }

  // The row of that lookup, kNone and no weight if it does not count. For one lane of a team.
  __device__ __forceinline__ Row
  check(Lookup& lookup, int ahead, bool tallies, Tally<Acc<T>, Size>& tally) const {
    const bool names = names_row(lookup.index, num_rows);
    const bool counts = names && lookup.index != padding_idx;
    if (!counts) {
      lookup.weight = T(0.0f);
    }
    if (tallies && ahead < left) {
      tally.skipped += counts ? 0 : 1;
      tally.offends |= names ? 0 : 1;
      tally.weight += kWeighted ? to_acc(lookup.weight) : Acc<T>(0);
    }
    return counts ? static_cast<Row>(lookup.index) : kNone;
  }

  __device__ __forceinline__ void advance(int step) {
    indices += step;
    if constexpr (kWeighted) {
      weights += step;
    }
    left -= step;
  }
};

// The first `count` lanes of every team of a warp; teams have four lanes at least.
__device__ __forceinline__ unsigned first_lanes(int count, const Team& team) {
  const unsigned teams = team.size == 32 ? 1u
      : team.size == 16                  ? 0x10001u
      : team.size == 8                   ? 0x1010101u
                                         : 0x11111111u;
  return ((1u << count) - 1) * teams;
}

// Pools kCount rows. Most of the time all of them count: then nothing is asked of each, and none is
// cleared.
template <
    int kCount,
    bool kAllCount,
    class T,
    class Columns,
    class Row,
    class Combiner,
    int kUnroll>
__device__ __forceinline__ void pool_together(
    Combiner& combiner,
    const RowReader<T, Columns, Row>& table,
    const Row (&rows)[kUnroll],
    const Acc<T> (&weights)[kUnroll]) {
  constexpr Row kNone = static_cast<Row>(-1);
  typename RowReader<T, Columns, Row>::Values values[kCount];
#pragma unroll
  for (int u = 0; u < kCount; ++u) {
    values[u] = kAllCount ? table.read(rows[u]) : table.read(rows[u], rows[u] != kNone);
  }
#pragma unroll
  for (int u = 0; u < kCount; ++u) {
    if (kAllCount || !Combiner::kIsMax || rows[u] != kNone) {
      combiner.add(values[u].widen(), rows[u], weights[u]);
    }
  }
}

// Pools the part, all teams of the warp in step, each lane reading all the indices.
template <class T, class Index, class Row, class Columns, class Combiner>
__device__ __forceinline__ void pool_by_each_lane(
    Combiner& combiner,
    Tally<Acc<T>, std::make_signed_t<Row>>& tally,
    PoolPart<T, Index, Row, Combiner::kIsWeighted> part,
    const Team& team,
    const RowReader<T, Columns, Row>& table) {
  constexpr int kUnroll = pool_unroll<T, Columns>();
  using Lookup = typename decltype(part)::Lookup;
  for (; __any_sync(0xffffffffu, part.left > 0); part.advance(kUnroll)) {
    Lookup lookups[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      lookups[u] = part.read(u);
    }
    Row rows[kUnroll];
    Acc<T> weights[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      rows[u] = part.check(lookups[u], u, team.lane == 0, tally);
      weights[u] = to_acc(lookups[u].weight);
    }
    pool_together<kUnroll, false>(combiner, table, rows, weights);
  }
}

// The same by lanes that share the reading of indices, kReads at a time. For teams of at least
// pool_unroll() lanes.
template <int kReads, class T, class Index, class Row, class Columns, class Combiner>
__device__ __forceinline__ void pool_by_team(
    Combiner& combiner,
    Tally<Acc<T>, std::make_signed_t<Row>>& tally,
    PoolPart<T, Index, Row, Combiner::kIsWeighted> part,
    const Team& team,
    const RowReader<T, Columns, Row>& table) {
  static_assert(kReads >= 1);
  constexpr unsigned kAll = 0xffffffffu;
  constexpr int kUnroll = pool_unroll<T, Columns>();
  using Part = decltype(part);
  using Lookup = typename Part::Lookup;

  const unsigned firsts = first_lanes(kUnroll, team);
  const unsigned first_half = first_lanes(kUnroll / 2, team);
  const int step = kReads * team.size;
  Lookup next[kReads];
#pragma unroll
  for (int k = 0; k < kReads; ++k) {
    next[k] = part.read(k * team.size + team.lane);
  }
  for (bool more = true; more; part.advance(step)) {
    Lookup lookups[kReads];
    Row rows_of[kReads];
#pragma unroll
    for (int k = 0; k < kReads; ++k) {
      lookups[k] = next[k];
      rows_of[k] = part.check(lookups[k], k * team.size + team.lane, true, tally);
    }
    more = __any_sync(kAll, part.left > step);
    if (more) {
#pragma unroll
      for (int k = 0; k < kReads; ++k) {
        next[k] = part.read(step + k * team.size + team.lane);
      }
    }
#pragma unroll 1
    for (int k = 0; k < kReads; ++k) {
      // By lane, which lookups count. The next ones are always those of the first lanes of a team.
      unsigned counting = __ballot_sync(kAll, rows_of[0] != Part::kNone);
      for (int rest = team.size; rest > 0 && counting != 0; rest -= kUnroll) {
        if ((counting & firsts) != 0) {
          Row rows[kUnroll];
          Acc<T> weights[kUnroll];
#pragma unroll
          for (int u = 0; u < kUnroll; ++u) {
            rows[u] = __shfl_sync(kAll, rows_of[0], u, team.size);
            if constexpr (Combiner::kIsWeighted) {
              weights[u] = __shfl_sync(kAll, to_acc(lookups[0].weight), u, team.size);
            }
          }
          if ((counting & firsts) == firsts) {
            pool_together<kUnroll, true>(combiner, table, rows, weights);
          } else if ((counting & firsts & ~first_half) == 0) {
            pool_together<kUnroll / 2, false>(combiner, table, rows, weights);
          } else {
            pool_together<kUnroll, false>(combiner, table, rows, weights);
          }
        }
        counting >>= kUnroll;
        rows_of[0] = __shfl_down_sync(kAll, rows_of[0], kUnroll, team.size);
        if constexpr (Combiner::kIsWeighted) {
          lookups[0].weight =
              from_acc<T>(__shfl_down_sync(kAll, to_acc(lookups[0].weight), kUnroll, team.size));
        }
      }
      // They move up, so that no array is indexed by k, which would put it in memory.
#pragma unroll
      for (int later = 1; later < kReads; ++later) {
        rows_of[later - 1] = rows_of[later];
        lookups[later - 1].weight = lookups[later].weight;
      }
    }
  }
}

// How a team reads indices, where it is not so many for each lane at a time: each lane reads all of
// them; or one of the ways, chosen when the kernel runs, by the size of its team.
constexpr int kReadsAll = 0;
constexpr int kReadsAny = -1;

template <int kReads, class T, class Index, class Row, class Columns, class Combiner>
__device__ __forceinline__ void pool_part(
    Combiner& combiner,
    Tally<Acc<T>, std::make_signed_t<Row>>& tally,
    const PoolPart<T, Index, Row, Combiner::kIsWeighted>& part,
    const Team& team,
    const RowReader<T, Columns, Row>& table) {
  if constexpr (kReads == kReadsAll) {
    pool_by_each_lane(combiner, tally, part, team, table);
  } else if constexpr (kReads != kReadsAny) {
    pool_by_team<kReads>(combiner, tally, part, team, table);
  } else if (team.size < pool_unroll<T, Columns>()) {
    pool_by_each_lane(combiner, tally, part, team, table);
  } else {
    pool_by_team<1>(combiner, tally, part, team, table);
  }
}

} // namespace embed_ops
