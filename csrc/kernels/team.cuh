// How the columns of a table are shared out: a team of lanes of one warp takes a row, a lane being
// a vector of columns; rows of more than a team's lanes are cut into slices, one team each.

#pragma once

#include <cstdint>

namespace embed_ops {

// The least power of two that is not below `value` is 2^this.
__host__ __device__ inline int ceil_log2(unsigned value) {
#ifdef __CUDA_ARCH__
  return value <= 1 ? 0 : 32 - __clz(value - 1);
#else
  int shift = 0;
  while (shift < 31 && 1u << shift < value) {
    ++shift;
  }
  return shift;
#endif
}

// What is the same for all teams of a table of `lanes` vectors, none of whose slices is wider than
// `most_lanes`, at most 32.
struct TeamShape {
  unsigned lanes;
  unsigned width; // of the slices, in vectors; the last may be narrower
  int shift;      // a team has 2^shift lanes

  __host__ __device__ TeamShape(int64_t lanes, int most_lanes)
      : lanes(static_cast<unsigned>(lanes)) {
    const auto most = static_cast<unsigned>(most_lanes);
    const unsigned slices = (this->lanes + most - 1) / most;
    width = slices <= 1 ? this->lanes : (this->lanes + slices - 1) / slices;
    shift = ceil_log2(width);
  }
};

struct Team {
  int size;       // lanes: a power of two, at most 32
  int lane;       // of this thread in its team
  bool active;    // whether the lane has columns: a slice may be narrower than its team
  int64_t column; // of the table: where the lane's vector begins, if lanes take vectors that lie
                  // side by side (else kernels/lane_columns.cuh); of idle lanes, 0
  unsigned first; // vector of the slice
  unsigned width; // of the slices, in vectors; the last may be narrower

  // The team of thread `thread` for slice `slice` of a row of vectors of `vec` columns.
  __device__ __forceinline__ Team(int thread, const TeamShape& shape, int vec, unsigned slice)
      : size(1 << shape.shift),
        lane(thread & (size - 1)),
        first(slice * shape.width),
        width(shape.width) {
    active = lane < width && first + lane < shape.lanes;
    column = active ? static_cast<int64_t>(first + lane) * vec : 0;
  }

  __device__ __forceinline__
  Team(int thread, int64_t lanes, int vec, unsigned slice, int most_lanes)
      : Team(thread, TeamShape(lanes, most_lanes), vec, slice) {}
};

// The least of the tables' places that the lanes of a warp hold, from `least` on; ~0: none.
__device__ __forceinline__ unsigned next_place(unsigned place, unsigned least) {
  return __reduce_min_sync(0xffffffffu, place >= least ? place : ~0u);
}

} // namespace embed_ops
