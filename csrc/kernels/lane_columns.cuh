// The columns of a row that one lane of a team sums. They are one access where rows are aligned to
// it. Elsewhere they are several narrower ones ("chunks"), a whole team apart: each access of a
// team then covers memory without gaps.

#pragma once

#include <cstdint>

#include "kernels/team.cuh"

namespace embed_ops {

// The accesses of a row that are too few for a lane to take several.
constexpr int64_t kMostNarrow = 8;

// At most kColumns, in accesses of kVec.
template <int kLaneColumns, int kAccessColumns>
struct LaneColumns {
  static constexpr int kColumns = kLaneColumns;
  static constexpr int kVec = kAccessColumns;
  static constexpr int kChunks = kColumns / kVec;
  // The least lanes of a slice that is narrower than a row: of narrow rows of chunks, which have
  // more lanes than their columns fill, a slice could be left without any.
  static constexpr int kLeastSliceLanes = kChunks == 1 ? 4 : static_cast<int>(kMostNarrow);
  static_assert(kColumns % kVec == 0, "an access is no longer than a lane's columns");

  int64_t column; // of the table: where the lane's first chunk begins
  int apart;      // columns from one chunk to the next
  int chunks;     // that the row has; idle lanes have none

  // The lanes for `dim` columns. Narrow rows take a lane for each access, up to eight: one lane's
  // accesses one after the other would each look up the cache lines that they share.
  __host__ __device__ static constexpr int64_t lanes(int64_t dim) {
    const int64_t accesses = dim / kVec;
    const int64_t least = accesses < kMostNarrow ? accesses : kMostNarrow;
    const int64_t lanes = (dim + kColumns - 1) / kColumns;
    return lanes < least ? least : lanes;
  }

  // For a team of as many lanes, whose vectors are of kColumns.
  __device__ __forceinline__ LaneColumns(const Team& team, int64_t dim) {
    if constexpr (kChunks == 1) {
      column = team.column;
      apart = 0;
      chunks = team.active ? 1 : 0;
    } else {
      const int64_t begin = int64_t{team.first} * kColumns;
      const int64_t end = min(dim, begin + int64_t{team.width} * kColumns);
      column = begin + team.lane * kVec;
      apart = team.size * kVec;
      chunks = 0;
#pragma unroll
      for (int c = 0; c < kChunks; ++c) {
        chunks += column + c * apart < end ? 1 : 0;
      }
    }
  }

  // f(place of the chunk among the lane's columns, its column of the table) for each chunk.
  template <class F>
  __device__ __forceinline__ void for_each_chunk(F&& f) const {
#pragma unroll
    for (int c = 0; c < kChunks; ++c) {
      if (c < chunks) {
        f(c * kVec, column + c * apart);
      }
    }
  }
};

} // namespace embed_ops
