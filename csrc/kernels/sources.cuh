// From a lookup back to the bag it belongs to, for kernels that take lookups one by one instead of
// bag by bag.
//
// Lookups are counted table after table: CSR indices lie that way in memory; of fixed ones, lookup
// v is number v % hotness of sample (v / hotness) % batch of table v / (batch * hotness).

#pragma once

#include "kernels/lookups.cuh"

namespace embed_ops {

constexpr int64_t kNoBag = -1;

struct Source {
  int64_t position; // in indices
  int64_t sample;
  int64_t place;  // of the table; kNoBag: the lookup belongs to no bag
  int64_t length; // of the bag
};

// Bags [low, high] of a CSR layout hold the lookups that a warp looks for.
struct SlotRange {
  int64_t low;
  int64_t high;
};

template <class Index>
struct SourcesView {
  LookupsView<Index> lookups;
  double bags_per_lookup;
  double tables_per_bag;

  explicit SourcesView(const LookupsView<Index>& lookups)
      : lookups(lookups),
        bags_per_lookup(1.0 / static_cast<double>(lookups.hotness)),
        tables_per_bag(1.0 / static_cast<double>(lookups.batch)) {}

  // The bags of lookups [first, last], found by the whole warp.
  __device__ __forceinline__ SlotRange slots(int64_t first, int64_t last) const {
    if (lookups.offsets == nullptr) {
      return {0, 0};
    }
    const int64_t low = slot_by_warp(first, kNoBag);
    return {low, slot_by_warp(last, low)};
  }

  // A range that holds every lookup.
  __device__ __forceinline__ SlotRange all_slots() const {
    return {kNoBag, min(lookups.num_offsets, lookups.batch * lookups.num_tables + 1) - 1};
  }

  // `slots`: of a range that v lies in.
  __device__ __forceinline__ Source at(int64_t v, const SlotRange& slots) const {
    if (lookups.offsets != nullptr) {
      return of_slot(v, slots);
    }
    return of_fixed(v, lookups.hotness);
  }

  // Where every bag is known to be of one lookup, and kMany tells whether there are many tables: so
  // that a kernel for these has code for nothing else.
  template <bool kMany>
  __device__ __forceinline__ Source at_single(int64_t v) const {
    return kMany ? of_fixed(v, 1) : Source{v, v, 0, 1};
  }

 private:
  // value / divisor, below 2^53, without the subroutine call of a 64-bit division.
  static __device__ __forceinline__ int64_t
  divided(int64_t value, int64_t divisor, double inverse) {
    if (((value | divisor) >> 32) == 0) {
      return static_cast<uint32_t>(value) / static_cast<uint32_t>(divisor);
    }
    const auto quotient = static_cast<int64_t>(static_cast<double>(value) * inverse);
    const int64_t rest = value - quotient * divisor;
    return quotient + (rest >= divisor) - (rest < 0);
  }

  __device__ __forceinline__ Source of_fixed(int64_t v, int64_t hotness) const {
    const int64_t bag = hotness == 1 ? v : divided(v, hotness, bags_per_lookup);
    if (lookups.num_tables == 1) {
      return {v, bag, 0, hotness};
    }
    const int64_t place = divided(bag, lookups.batch, tables_per_bag);
    const int64_t sample = bag - place * lookups.batch;
    return {lookups.single(sample, place) * hotness + v - bag * hotness, sample, place, hotness};
  }

  // The last slot from `low` on whose bag begins at v or before; kNoBag stands before all.
  __device__ __forceinline__ int64_t slot_by_warp(int64_t v, int64_t low) const {
    const int lane = threadIdx.x & 31;
    int64_t beyond = min(lookups.num_offsets, lookups.batch * lookups.num_tables + 1);
    while (beyond - low > 1) {
      const int64_t step = (beyond - low + 31) / 32;
      const int64_t probe = low + (lane + 1) * step;
      const bool before = probe < beyond && lookups.offset(probe) <= v;
      // Where offsets decrease, which check_bag reports, any of the bags will do.
      const int passed = __popc(__ballot_sync(0xffffffffu, before));
      const int64_t next = low + passed * step;
      beyond = min(beyond, next + step);
      low = next;
    }
    return low;
  }

  __device__ __forceinline__ Source of_slot(int64_t v, const SlotRange& slots) const {
    int64_t low = slots.low;
    int64_t beyond = max(slots.high, low) + 1;
    while (beyond - low > 1) {
      const int64_t middle = low + (beyond - low) / 2;
      (lookups.offset(middle) <= v ? low : beyond) = middle;
    }
    if (low < 0 || low >= lookups.batch * lookups.num_tables) {
      return {v, 0, kNoBag, 0};
    }
    const int64_t place = lookups.num_tables == 1 ? 0 : divided(low, lookups.batch, tables_per_bag);
    const int64_t sample = low - place * lookups.batch;
    const Range bag = lookups.bag(sample, place);
    return {v, sample, place, bag.end - bag.begin};
  }
};

} // namespace embed_ops
