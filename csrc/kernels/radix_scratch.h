// What the passes of a sort (kernels/radix_passes.cuh) keep between their launches.

#pragma once

#include <cstdint>

namespace embed_ops {

// Zeros at first.
struct RadixScratch {
  uint32_t* digits;      // [pass][digit]: how often it occurs
  uint32_t* tile_digits; // [pass][tile][digit]: the same in a tile, and kPublished once it is there
  uint32_t* next_tiles;  // [pass]: the number of the next tile to begin
};

} // namespace embed_ops
