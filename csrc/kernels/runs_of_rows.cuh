// Numbers the runs of equal rows among lookups that a stable sort has put in the order of their
// rows: what compressed gradients and compressed indices are made from.
//
//   sort:   rows (kNoRow last, for lookups that count for nothing) with the lookups they are of.
//   number: an inclusive sum of BeginsRun: behind each lookup stand so many runs. Of few lookups
//           each block adds up what those before it have counted; more are left to CUB.
//   count:  how many runs each of many tables has, from where its rows begin and end in the order.
//
// A few lookups of one table take one kernel for all of it.

#pragma once

#include <cub/block/block_radix_sort.cuh>
#include <cub/block/block_reduce.cuh>
#include <cub/block/block_scan.cuh>

#include "kernels/order.cuh"
#include "kernels/plan_order.h"

namespace embed_ops {

// 1 where a run of rows that count begins.
template <class Key>
struct BeginsRun {
  const Key* rows;

  __device__ __forceinline__ Key operator()(int64_t at) const {
    return rows[at] != kNoRow<Key> && (at == 0 || rows[at - 1] != rows[at]) ? 1 : 0;
  }
};

// Kernels of a chain (kernels/pdl.cuh) read what the one before them wrote: not __restrict__, by
// which it could be read as constants.

// How many runs begin among the lookups of each block.
template <class Key>
__global__ void __launch_bounds__(kNumberThreads)
    count_begins_kernel(const Key* rows, int64_t count, int* begins) {
  follow_the_chain();
  using Sum = cub::BlockReduce<int, kNumberThreads>;
  __shared__ typename Sum::TempStorage storage;
  const BeginsRun<Key> begins_run{rows};
  const int64_t first = int64_t{blockIdx.x} * (kNumberThreads * kNumberItems) + threadIdx.x;
  int mine = 0;
#pragma unroll
  for (int i = 0; i < kNumberItems; ++i) {
    const int64_t at = first + i * kNumberThreads;
    mine += at < count ? static_cast<int>(begins_run(at)) : 0;
  }
  const int all = Sum(storage).Sum(mine);
  if (threadIdx.x == 0) {
    begins[blockIdx.x] = all;
  }
}

template <class Key>
__global__ void __launch_bounds__(kNumberThreads)
    number_begins_kernel(const Key* rows, int64_t count, const int* begins, Key* numbers) {
  follow_the_chain();
  using Sum = cub::BlockReduce<int, kNumberThreads>;
  using Scan = cub::BlockScan<int, kNumberThreads>;
  __shared__ union {
    typename Sum::TempStorage sum;
    typename Scan::TempStorage scan;
  } storage;
  __shared__ int shared_before;
  int before = 0;
  for (unsigned block = threadIdx.x; block < blockIdx.x; block += kNumberThreads) {
    before += begins[block];
  }
  before = Sum(storage.sum).Sum(before);
  if (threadIdx.x == 0) {
    shared_before = before;
  }
  __syncthreads();
  const BeginsRun<Key> begins_run{rows};
  const int64_t first =
      (int64_t{blockIdx.x} * kNumberThreads + threadIdx.x) * int64_t{kNumberItems};
  int mine[kNumberItems];
#pragma unroll
  for (int i = 0; i < kNumberItems; ++i) {
    mine[i] = first + i < count ? static_cast<int>(begins_run(first + i)) : 0;
  }
  Scan(storage.scan).InclusiveSum(mine, mine);
#pragma unroll
  for (int i = 0; i < kNumberItems; ++i) {
    if (first + i < count) {
      numbers[first + i] = static_cast<Key>(shared_before + mine[i]);
    }
  }
}

// The first place among `count` ascending values whose value is at least `target`.
template <class Value>
__device__ __forceinline__ int64_t
first_at_least(const Value* values, int64_t count, Value target) {
  int64_t low = 0;
  int64_t high = count;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (values[middle] < target) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

// Where the rows and the runs of each table of a set begin; one entry more than tables.
struct SetBounds {
  int64_t* first_rows; // of all rows
  int64_t* first_runs; // of all runs
};

// One block of more threads than tables.
template <class Key, class Tables>
__global__ void count_runs_kernel(
    const __grid_constant__ Tables tables,
    int num_places,
    int64_t num_rows,
    const Key* __restrict__ rows,
    const Key* __restrict__ numbers,
    int64_t count,
    SetBounds bounds,
    int64_t* __restrict__ num_unique) {
  const int place = threadIdx.x;
  int64_t runs = 0;
  if (place <= num_places) {
    const int64_t first_row = place < num_places ? tables.of_place(place).first_row : num_rows;
    const int64_t begin = first_at_least(rows, count, static_cast<Key>(first_row));
    runs = begin > 0 ? static_cast<int64_t>(numbers[begin - 1]) : 0;
    bounds.first_rows[place] = first_row;
    bounds.first_runs[place] = runs;
  }
  __syncthreads();
  if (place < num_places) {
    num_unique[place] = bounds.first_runs[place + 1] - runs;
  }
}

// The number of the last entry that is at most `target`.
__device__ __forceinline__ int last_at_most(
    const int64_t* __restrict__ firsts,
    int count,
    int64_t target) {
  int low = 0;
  int high = count - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (firsts[middle] <= target) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

// Turns lookups in the order of their rows into lookups in the order of the rows of compressed
// gradients, counted table after table: `numbers` holds the inclusive sum and becomes those rows,
// kNoRow where there is no room. Writes the row that each stands for. `outputs`: for each table
// where these go, and for how many there is room. by_frequency: divides by the length of the run.
// `num_unique`: of one table, to be written here; null where it is known.
template <class Key, class A, class Index, class Outputs>
__global__ void __launch_bounds__(256) name_runs_kernel(
    const __grid_constant__ Outputs outputs,
    const __grid_constant__ SourcesView<Index> sources,
    const __grid_constant__ LookupFactors<A> lookup_factors,
    bool by_frequency,
    const Key* rows,
    const Key* lookups,
    SetBounds bounds,
    int num_places,
    Key* numbers,
    Key* samples,
    A* factors,
    int64_t* num_unique,
    OffenceSink sink) {
  follow_the_chain();
  const int64_t count = sources.lookups.num_indices;
  const SlotRange slots = sources.all_slots();
  for (int64_t at = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; at < count;
       at += int64_t{gridDim.x} * blockDim.x) {
    const Key row = rows[at];
    const int64_t runs = static_cast<int64_t>(numbers[at]);
    if (num_unique != nullptr && at == count - 1) {
      const int64_t room = outputs.of_place(0).num_rows;
      *num_unique = min(runs, room);
      if (runs > room) {
        sink.report(OffenceKind::kSize, runs, 0, room, -1);
      }
    }
    Key number = kNoRow<Key>;
    if (row != kNoRow<Key>) {
      int place = 0;
      int64_t first_row = 0;
      int64_t run = runs - 1;
      if constexpr (Outputs::kMaxTables > 1) {
        place = last_at_most(bounds.first_rows, num_places, row);
        first_row = bounds.first_rows[place];
        run -= bounds.first_runs[place];
      }
      const Segment<Index> output = outputs.of_place(place);
      if (run < output.num_rows) {
        number = static_cast<Key>(output.first_row + run);
        if (at == 0 || rows[at - 1] != row) {
          *output.row(run) = static_cast<Index>(static_cast<int64_t>(row) - first_row);
        }
        const Source source = sources.at(lookups[at], slots);
        samples[at] = static_cast<Key>(source.sample);
        if (factors != nullptr) {
          A factor = lookup_factors.of(source);
          if (by_frequency) {
            factor /= static_cast<A>(
                first_at_least(rows, count, row + 1) - first_at_least(rows, count, row));
          }
          factors[at] = factor;
        }
      }
    }
    numbers[at] = number;
  }
}

// Mode max: the row of the compressed gradient that has won each of `num_elements`; -1 where none
// has. `numbers`: as name_runs_kernel leaves them.
template <class Key, class Index>
__global__ void __launch_bounds__(256) name_winners_kernel(
    const Index* __restrict__ argmax,
    int64_t num_elements,
    int64_t num_rows,
    const Key* __restrict__ rows,
    const Key* __restrict__ numbers,
    int64_t count,
    Index* __restrict__ winners) {
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < num_elements;
       i += int64_t{gridDim.x} * blockDim.x) {
    const int64_t row = argmax[i];
    Index winner = -1;
    if (row >= 0 && row < num_rows) {
      const int64_t at = first_at_least(rows, count, static_cast<Key>(row));
      if (at < count && rows[at] == static_cast<Key>(row) && numbers[at] != kNoRow<Key>) {
        winner = static_cast<Index>(numbers[at]);
      }
    }
    winners[i] = winner;
  }
}

// Behind the rows that are named, up to `size` of them: repetitions of the last one (row 0 where
// there is none), and zeros.
template <class T, int kVec, class Index>
__global__ void __launch_bounds__(256) pad_rows_kernel(
    T* __restrict__ values,
    Index* rows,
    int64_t size,
    int64_t dim,
    const int64_t* __restrict__ num_unique) {
  const int64_t named = *num_unique;
  const int64_t thread = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const int64_t threads = int64_t{gridDim.x} * blockDim.x;
  if (named < size) {
    const Index last = named > 0 ? rows[named - 1] : Index(0);
    for (int64_t i = named + thread; i < size; i += threads) {
      rows[i] = last;
    }
    for (int64_t i = named * dim / kVec + thread; i < size * dim / kVec; i += threads) {
      store_streaming<T, kVec>(values + i * kVec, zeros<T, kVec>());
    }
  }
}

// list_lookups_kernel, the sort and the sum for as many lookups as one block holds, of one table;
// `row_bits` tell rows and kNoRow apart.
template <class Index, int kThreads, int kItems>
__global__ void __launch_bounds__(kThreads, 1) order_in_one_block_kernel(
    const __grid_constant__ OneTable<char> table,
    const __grid_constant__ SourcesView<Index> sources,
    int row_bits,
    uint32_t* __restrict__ rows,
    uint32_t* __restrict__ lookups,
    uint32_t* __restrict__ numbers,
    OffenceSink sink) {
  using Sort = cub::BlockRadixSort<uint32_t, kThreads, kItems, uint32_t>;
  using Sum = cub::BlockScan<uint32_t, kThreads>;
  __shared__ union {
    typename Sort::TempStorage sort;
    typename Sum::TempStorage sum;
  } shared;
  __shared__ uint32_t last_rows[kThreads];

  sources.lookups.check_offsets(sink);
  const int count = static_cast<int>(sources.lookups.num_indices);
  const SlotRange slots = sources.all_slots();
  uint32_t keys[kItems];
  uint32_t from[kItems];
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    const int v = threadIdx.x * kItems + i;
    from[i] = v;
    keys[i] = v < count ? row_of<uint32_t>(table, sources, 0, 1, sources.at(v, slots), sink)
                        : kNoRow<uint32_t>;
  }
  // Stable, and those behind the last lookup are behind: kNoRow is above all.
  Sort(shared.sort).Sort(keys, from, 0, row_bits);
  last_rows[threadIdx.x] = keys[kItems - 1];
  __syncthreads();
  uint32_t begins[kItems];
  uint32_t before = threadIdx.x > 0 ? last_rows[threadIdx.x - 1] : kNoRow<uint32_t>;
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    begins[i] = keys[i] != kNoRow<uint32_t> && keys[i] != before ? 1 : 0;
    before = keys[i];
  }
  Sum(shared.sum).InclusiveSum(begins, begins);
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    const int at = threadIdx.x * kItems + i;
    if (at < count) {
      rows[at] = keys[i];
      lookups[at] = from[i];
      numbers[at] = begins[i];
    }
  }
}

} // namespace embed_ops
