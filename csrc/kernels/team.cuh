// How the columns of a table are shared out: a team of lanes of one warp takes a row, a lane being
// a vector of columns; rows of more than a team's lanes are cut into slices, one team each.

#pragma once

#include <cstdint>

namespace embed_ops {

struct Team {
  int size;       // lanes: a power of two, at most 32
  int lane;       // of this thread in its team
  bool active;    // whether the lane has columns: a slice may be narrower than its team
  int64_t column; // of the table: where the lane's vector begins, if lanes take vectors that lie
                  // side by side (else kernels/lane_columns.cuh); of idle lanes, 0
  unsigned first; // vector of the slice
  unsigned width; // of the slices, in vectors; the last may be narrower

  // The team of thread `thread` for slice `slice` of a row of `lanes` vectors of `vec` columns; no
  // slice is wider than `most_lanes`, at most 32.
  __device__ __forceinline__
  Team(int thread, int64_t lanes, int vec, unsigned slice, int most_lanes) {
    const auto all = static_cast<unsigned>(lanes);
    const auto most = static_cast<unsigned>(most_lanes);
    const unsigned slices = (all + most - 1) / most;
    width = slices <= 1 ? all : (all + slices - 1) / slices;
    size = width <= 1 ? 1 : 1 << (32 - __clz(width - 1));
    lane = thread & (size - 1);
    first = slice * width;
    active = lane < width && first + lane < all;
    column = active ? static_cast<int64_t>(first + lane) * vec : 0;
  }
};

// The least of the tables' places that the lanes of a warp hold, from `least` on; ~0: none.
__device__ __forceinline__ unsigned next_place(unsigned place, unsigned least) {
  return __reduce_min_sync(0xffffffffu, place >= least ? place : ~0u);
}

} // namespace embed_ops
