// A stable radix sort of rows with the lookups they are of, for as few lookups as
// plan_sorts_in_few_passes says: its time is that of its launches, of which cub::DeviceRadixSort
// has twice as many and more. Digits have up to 10 bits, so that fewer than 2^20 rows are put in
// order by two passes, tiles are small, so that many processors take part, and launches overlap.
//
//   count_digits: how often each digit occurs in each pass.
//   radix_pass:   one block per tile ranks its rows (cub::BlockRadixRankMatchEarlyCounts), learns
//                 from all tiles before it where its digits go, and puts them there.
//
// A pass is that of A. Adinets and D. Merrill, "Onesweep: A Faster Least Significant Digit Radix
// Sort for GPUs", 2022 (arXiv:2206.01784). But tiles are few and run together: so each asks all
// tiles before it at once, and none tells of more than itself.
//
// Passes write in turn what the next one reads. Nothing here is __restrict__, by which it could be
// read as constants: these may be what an SM's cache holds from two passes before.

#pragma once

#include <cub/block/block_radix_rank.cuh>
#include <cub/block/block_scan.cuh>

#include <cstdint>

#include "kernels/pdl.cuh"
#include "kernels/plan_order.h"
#include "kernels/radix_scratch.h"
#include "kernels/vec.cuh"

namespace embed_ops {

// Four neighbours of a tile's digits: how often each occurs there, once that is published.
using TileWords = Vec<uint32_t, 4>;
constexpr uint32_t kPublished = 1u << 31;

__device__ __forceinline__ uint32_t digit_of(uint32_t row, int shift, uint32_t mask) {
  return row >> shift & mask;
}

__global__ void __launch_bounds__(kRadixThreads)
    count_digits_kernel(const uint32_t* rows, int count, RadixPlan plan, RadixScratch scratch) {
  follow_the_chain();
  __shared__ uint32_t digits[kMostRadixPasses << kMostRadixBits];
  const int num_digits = plan.passes << plan.bits;
  for (int i = static_cast<int>(threadIdx.x); i < num_digits; i += kRadixThreads) {
    digits[i] = 0;
  }
  __syncthreads();
  const uint32_t mask = (1u << plan.bits) - 1;
  const int stride = static_cast<int>(gridDim.x) * kRadixTile;
  for (int first = static_cast<int>(blockIdx.x) * kRadixTile; first < count; first += stride) {
#pragma unroll
    for (int i = 0; i < kRadixItems; ++i) {
      const int at = first + i * kRadixThreads + static_cast<int>(threadIdx.x);
      if (at < count) {
        const uint32_t row = rows[at];
        for (int pass = 0; pass < plan.passes; ++pass) {
          atomicAdd(&digits[(pass << plan.bits) + digit_of(row, pass * plan.bits, mask)], 1u);
        }
      }
    }
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < num_digits; i += kRadixThreads) {
    if (digits[i] != 0) {
      atomicAdd(&scratch.digits[i], digits[i]);
    }
  }
}

// Other blocks read meanwhile.
__device__ __forceinline__ void publish(uint32_t* target, const TileWords& words) {
  asm volatile("st.volatile.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(target), "r"(words.v[0]),
               "r"(words.v[1]), "r"(words.v[2]), "r"(words.v[3])
               : "memory");
}

__device__ __forceinline__ TileWords load_published(const uint32_t* source) {
  TileWords words;
  asm volatile("ld.volatile.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(words.v[0]), "=r"(words.v[1]), "=r"(words.v[2]), "=r"(words.v[3])
               : "l"(source)
               : "memory");
  return words;
}

// Adds to `before` how often each digit occurs in the tiles before `tile`. `words`: those of tile
// 0. Groups of four digits are divided among threads, and so are tiles, as far as threads go. Tiles
// are numbered as blocks begin: all that is waited for is running.
__device__ __forceinline__ void look_back(
    const uint32_t* words,
    int num_digits,
    int tile,
    uint32_t* before) {
  constexpr int kWindow = 16;
  const int groups = num_digits / 4;
  const int shares = kRadixThreads / groups;
  const int first_digit = static_cast<int>(threadIdx.x) % groups * 4;
  const uint32_t* const mine = words + first_digit;
  uint32_t sums[4] = {0, 0, 0, 0};
  for (int first = static_cast<int>(threadIdx.x) / groups; first < tile;
       first += shares * kWindow) {
    TileWords window[kWindow];
    uint32_t is_there;
    do {
      is_there = kPublished;
#pragma unroll
      for (int w = 0; w < kWindow; ++w) {
        const int from = min(first + w * shares, tile - 1);
        window[w] = load_published(mine + int64_t{from} * num_digits);
        is_there &= window[w].v[0] & window[w].v[1] & window[w].v[2] & window[w].v[3];
      }
    } while (is_there == 0);
#pragma unroll
    for (int w = 0; w < kWindow; ++w) {
#pragma unroll
      for (int u = 0; u < 4; ++u) {
        sums[u] += first + w * shares < tile ? window[w].v[u] & ~kPublished : 0;
      }
    }
  }
#pragma unroll
  for (int u = 0; u < 4; ++u) {
    if (sums[u] != 0) {
      atomicAdd(before + first_digit + u, sums[u]);
    }
  }
}

// Takes the counts of a tile's digits from CUB as soon as there are any, and publishes them.
template <int kBins>
struct PublishDigits {
  uint32_t* words;
  uint32_t* counts; // shared: one for each digit that the instance takes
  int num_digits;

  __device__ __forceinline__ void operator()(const int (&bins)[kBins]) const {
#pragma unroll
    for (int u = 0; u < kBins; ++u) {
      counts[threadIdx.x * kBins + u] = static_cast<uint32_t>(bins[u]);
    }
    __syncthreads();
    for (int first = static_cast<int>(threadIdx.x) * 4; first < num_digits;
         first += kRadixThreads * 4) {
      TileWords published;
#pragma unroll
      for (int u = 0; u < 4; ++u) {
        published.v[u] = kPublished | counts[first + u];
      }
      publish(words + first, published);
    }
    __syncthreads();
  }
};

// What CUB asks digits of.
struct DigitOfRow {
  int shift;
  uint32_t mask;

  __device__ __forceinline__ uint32_t Digit(uint32_t row) const {
    return digit_of(row, shift, mask);
  }
};

// One block per tile. kBits: the most bits of a digit that the instance takes.
template <int kBits>
__global__ void __launch_bounds__(kRadixThreads) radix_pass_kernel(
    const uint32_t* rows,
    const uint32_t* lookups,
    uint32_t* sorted_rows,
    uint32_t* sorted_lookups,
    int count,
    int pass,
    RadixPlan plan,
    RadixScratch scratch) {
  follow_the_chain();
  using Rank = cub::BlockRadixRankMatchEarlyCounts<
      kRadixThreads, kBits, false, cub::BLOCK_SCAN_WARP_SCANS, cub::WARP_MATCH_ANY>;
  using Sum = cub::BlockScan<uint32_t, kRadixThreads>;
  constexpr int kBins = Rank::BINS_PER_THREAD;
  __shared__ typename Rank::TempStorage rank_storage;
  __shared__ typename Sum::TempStorage sum_storage;
  __shared__ uint32_t places[1 << kBits]; // of each digit's first in this tile
  __shared__ int shared_tile;
  if (threadIdx.x == 0) {
    shared_tile = static_cast<int>(atomicAdd(&scratch.next_tiles[pass], 1u));
  }
  __syncthreads();
  const int tile = shared_tile;
  const int num_digits = 1 << plan.bits;
  uint32_t* const words = scratch.tile_digits + int64_t{pass} * gridDim.x * num_digits;

  // A warp's rows lie side by side: their order is that of steps and lanes.
  const int first = (tile * kRadixThreads + static_cast<int>(threadIdx.x & ~31u)) * kRadixItems +
      static_cast<int>(threadIdx.x & 31);
  uint32_t keys[kRadixItems];
  uint32_t values[kRadixItems];
#pragma unroll
  for (int i = 0; i < kRadixItems; ++i) {
    const int at = first + i * 32;
    keys[i] = at < count ? rows[at] : ~0u; // behind all others of the last tile
    values[i] = at < count ? lookups[at] : 0;
  }
  uint32_t begins[kBins];
#pragma unroll
  for (int u = 0; u < kBins; ++u) {
    const int bin = static_cast<int>(threadIdx.x) * kBins + u;
    begins[u] = bin < num_digits ? scratch.digits[pass * num_digits + bin] : 0;
  }
  Sum(sum_storage).ExclusiveSum(begins, begins);

  const DigitOfRow digit{pass * plan.bits, static_cast<uint32_t>(num_digits - 1)};
  int begins_in_tile[kBins];
  int ranks[kRadixItems];
  Rank(rank_storage)
      .RankKeys(
          keys, ranks, digit, begins_in_tile,
          PublishDigits<kBins>{words + int64_t{tile} * num_digits, places, num_digits});
#pragma unroll
  for (int u = 0; u < kBins; ++u) {
    places[threadIdx.x * kBins + u] = begins[u] - static_cast<uint32_t>(begins_in_tile[u]);
  }
  __syncthreads();
  look_back(words, num_digits, tile, places);
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kRadixItems; ++i) {
    if (first + i * 32 < count) {
      const uint32_t at = places[digit.Digit(keys[i])] + static_cast<uint32_t>(ranks[i]);
      sorted_rows[at] = keys[i];
      sorted_lookups[at] = values[i];
    }
  }
}

} // namespace embed_ops
