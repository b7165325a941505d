// From a lookup back to the bag it belongs to, for kernels that take lookups one by one instead of
// bag by bag.
//
// Lookups are counted table after table: CSR indices lie that way in memory; of fixed ones,
// lookup v is number v % hotness of sample (v / hotness) % batch of table v / (batch * hotness).

#pragma once

#include "kernels/lookups.cuh"

namespace embed_ops {

constexpr int64_t kNoBag = -1;

// CSR: bags[position] = the bag of each lookup; those of no bag keep kNoBag, set before. One warp
// per bag.
template <class Index>
__global__ void __launch_bounds__(256) expand_bags_kernel(
    const __grid_constant__ LookupsView<Index> lookups,
    int64_t* __restrict__ bags,
    OffenceSink sink) {
  const int64_t num_bags = lookups.batch * lookups.num_tables;
  for (int64_t slot = int64_t{blockIdx.x} * blockDim.y + threadIdx.y; slot < num_bags;
       slot += int64_t{gridDim.x} * blockDim.y) {
    const Range bag =
        lookups.bag(slot % lookups.batch, slot / lookups.batch, sink, threadIdx.x == 0);
    for (int64_t position = bag.begin + threadIdx.x; position < bag.end; position += 32) {
      bags[position] = slot;
    }
  }
}

struct Source {
  int64_t position; // in indices
  int64_t sample;
  int64_t place; // of the table
};

template <class Index>
struct SourcesView {
  LookupsView<Index> lookups;
  const int64_t* bags; // CSR only

  int64_t count() const {
    return lookups.num_indices;
  }

  // place is kNoBag for a lookup of no bag.
  __device__ __forceinline__ Source at(int64_t v) const {
    if (bags != nullptr) {
      const int64_t slot = bags[v];
      if (slot == kNoBag) {
        return {v, 0, kNoBag};
      }
      return lookups.num_tables == 1 ? Source{v, slot, 0}
                                     : Source{v, slot % lookups.batch, slot / lookups.batch};
    }
    if (lookups.num_tables == 1) {
      return {v, lookups.hotness == 1 ? v : v / lookups.hotness, 0};
    }
    // Tables looked up without offsets have one lookup each.
    const int64_t place = v / lookups.batch;
    const int64_t sample = v - place * lookups.batch;
    return {lookups.single(sample, place), sample, place};
  }
};

} // namespace embed_ops
