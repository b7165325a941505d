// The walk that every sorted gradient shares: one block sums the runs of equal rows among lookups
// that lie in shared memory in the order of their rows.
//
// The block's threads are groups of `group` lanes, a lane being a vector of columns; each group
// walks an equal share of the lookups with its sums in registers. A run that lies within one share
// is finished by its group. A run that crosses shares is put together in shared memory, in order,
// by the group where it begins. Either way it is handed to `Finish` once: finish(row, segment,
// column, sum).

#pragma once

#include "kernels/tables.cuh"
#include "kernels/vec.cuh"

namespace embed_ops {

constexpr int kWalkThreads = 256;

// kLookups lookups as the walk reads them.
template <class T, class Key, int kLookups>
struct WalkLookups {
  Key rows[kLookups];
  Key samples[kLookups];
  Acc<T> factors[kLookups];
};

// For each thread, the sum of the run that its share begins with, if the run began before.
template <class T, int kVec>
struct WalkHeads {
  Vec<Acc<T>, kVec> sums[kWalkThreads];
};

// The gradient that lookups read.
template <class T, class Index, class Key>
struct WalkSource {
  const T* grad_output;
  int64_t grad_stride;
  const Index* argmax; // mode max: (batch, dim)
};

// Mode max: zero where another row won, and for a second lookup of a row by one sample.
template <int kVec, class T, class Index, class Key>
__device__ __forceinline__ void keep_winners(
    Vec<Acc<T>, kVec>& value,
    const Index* winners,
    Key row,
    bool again) {
#pragma unroll
  for (int i = 0; i < kVec; ++i) {
    if (again || static_cast<Key>(winners[i]) != row) {
      value.v[i] = Acc<T>(0);
    }
  }
}

// Mode max asks for the lookup before the first, too: row_before and sample_before.
template <
    bool kMax,
    int kVec,
    class T,
    class Index,
    class Key,
    class Tables,
    int kLookups,
    class Finish>
__device__ __forceinline__ void walk(
    const Tables& gradients,
    const WalkSource<T, Index, Key>& source,
    const WalkLookups<T, Key, kLookups>& lookups,
    WalkHeads<T, kVec>& heads,
    int count,
    Key row_before,
    Key sample_before,
    int group,
    int64_t first_column,
    int64_t width,
    const Finish& finish) {
  constexpr int kUnroll = kVec * sizeof(Acc<T>) <= 16 ? 8 : 4;
  const int num_groups = kWalkThreads / group;
  const int mine = threadIdx.x / group;
  const int lane = threadIdx.x % group;
  const auto share_begin = [&](int g) { return count * g / num_groups; };
  const int begin = share_begin(mine);
  const int end = share_begin(mine + 1);

  // Every thread makes every step: the groups meet at the barriers.
  for (int64_t step = 0; step < width; step += group * kVec) {
    const int64_t in_width = step + lane * kVec;
    const int64_t column = first_column + in_width;
    bool tail_waits = false;
    Key row{};
    Segment<T> segment{};
    Vec<Acc<T>, kVec> sum = zeros<Acc<T>, kVec>();
    if (begin < end && in_width < width) {
      row = lookups.rows[begin];
      segment = gradients.of_row(row);
      Segment<T> ahead = segment;
      bool cut_before = begin > 0 && lookups.rows[begin - 1] == row;
      const auto end_run = [&] {
        if (cut_before) {
          heads.sums[threadIdx.x] = sum;
        } else if (column < segment.dim) {
          finish(row, segment, column, sum);
        }
      };
      // Rows come in order, so the next table begins where this one's rows end.
      const auto follow = [&](Segment<T>& current, Key next) {
        if (static_cast<int64_t>(next) >= current.first_row + current.num_rows) {
          current = gradients.of_row(next);
        }
      };
      for (int at = begin; at < end; at += kUnroll) {
        Vec<T, kVec> values[kUnroll];
#pragma unroll
        for (int u = 0; u < kUnroll; ++u) {
          values[u] = zeros<T, kVec>();
          if (at + u < end) {
            follow(ahead, lookups.rows[at + u]);
            if (column < ahead.dim) {
              values[u] = load<T, kVec>(
                  source.grad_output +
                  static_cast<int64_t>(lookups.samples[at + u]) * source.grad_stride +
                  ahead.column + column);
            }
          }
        }
#pragma unroll
        for (int u = 0; u < kUnroll; ++u) {
          if (at + u < end) {
            const Key next = lookups.rows[at + u];
            if (next != row) {
              end_run();
              cut_before = false;
              row = next;
              follow(segment, next);
              sum = zeros<Acc<T>, kVec>();
            }
            Vec<Acc<T>, kVec> value = widen(values[u]);
            if constexpr (kMax) {
              const Key sample = lookups.samples[at + u];
              const Key other_row = at + u > 0 ? lookups.rows[at + u - 1] : row_before;
              const Key other_sample = at + u > 0 ? lookups.samples[at + u - 1] : sample_before;
              if (column < segment.dim) {
                keep_winners<kVec, T>(
                    value, source.argmax + static_cast<int64_t>(sample) * segment.dim + column, row,
                    other_row == row && other_sample == sample);
              }
            }
            const Acc<T> factor = lookups.factors[at + u];
#pragma unroll
            for (int i = 0; i < kVec; ++i) {
              sum.v[i] += factor * value.v[i];
            }
          }
        }
      }
      const bool cut_after = end < count && lookups.rows[end] == row;
      if (!cut_after) {
        end_run();
      } else if (cut_before) {
        heads.sums[threadIdx.x] = sum;
      } else {
        tail_waits = true;
      }
    }
    __syncthreads();
    if (tail_waits) {
      for (int other = mine + 1; other < num_groups; ++other) {
        const int other_begin = share_begin(other);
        const int other_end = share_begin(other + 1);
        if (other_begin == other_end) {
          continue;
        }
        const Vec<Acc<T>, kVec>& head = heads.sums[other * group + lane];
#pragma unroll
        for (int i = 0; i < kVec; ++i) {
          sum.v[i] += head.v[i];
        }
        if (other_end >= count || lookups.rows[other_end] != row) {
          break;
        }
      }
      if (column < segment.dim) {
        finish(row, segment, column, sum);
      }
    }
    __syncthreads();
  }
}

} // namespace embed_ops
