// What the passes of a sort (kernels/radix_passes.cuh) keep between their launches.

#pragma once

#include <cstdint>

namespace embed_ops {

// Zeros at first.
struct RadixScratch {
  uint32_t* digits;      // [pass][digit]: how often it occurs
  uint32_t* tile_digits; // [pass][tile][digit]: TileWord
  uint32_t* next_tiles;  // [pass]
};

} // namespace embed_ops
