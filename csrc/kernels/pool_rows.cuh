// Many rows per bag: output[b, columns of t] = the combined rows of bag (b, t).

#pragma once

#include "kernels/combine.cuh"
#include "kernels/lookups.cuh"
#include "kernels/tables.cuh"
#include "kernels/vec.cuh"

namespace embed_ops {

// Blocks per multiprocessor: enough threads that, with kUnroll loads each, memory never waits.
constexpr int kPoolBlocks = 3;

// Adds kUnroll positions of one bag to `combiner`, their rows in flight together.
template <int kUnroll, class Combiner, class T, class Index, int kVec>
__device__ __forceinline__ void combine_some(
    Combiner& combiner,
    const Segment<T>& segment,
    const LookupsView<Index>& lookups,
    const T* __restrict__ weights,
    int64_t position,
    const OffenceSink& sink) {
  Index index[kUnroll];
  Vec<T, kVec> rows[kUnroll];
  bool counted[kUnroll];
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
    index[u] = lookups.indices[position + u];
  }
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
    counted[u] = counts(
        index[u], lookups, segment.num_rows, position + u, segment.table, sink, segment.first_lane);
    rows[u] = counted[u] ? load<T, kVec>(segment.row(index[u])) : zeros<T, kVec>();
  }
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
    if (counted[u]) {
      Acc<T> weight = Acc<T>(1);
      if constexpr (Combiner::kIsWeighted) {
        weight = to_acc(weights[position + u]);
      }
      combiner.add(rows[u], index[u], weight);
    }
  }
}

// Adds positions [begin, end) of one bag to `combiner`.
template <int kUnroll, class Combiner, class T, class Index, int kVec>
__device__ __forceinline__ void combine_range(
    Combiner& combiner,
    const Segment<T>& segment,
    const LookupsView<Index>& lookups,
    const T* __restrict__ weights,
    int64_t begin,
    int64_t end,
    const OffenceSink& sink) {
  int64_t position = begin;
  for (; position + kUnroll <= end; position += kUnroll) {
    combine_some<kUnroll, Combiner, T, Index, kVec>(
        combiner, segment, lookups, weights, position, sink);
  }
  for (; position < end; ++position) {
    combine_some<1, Combiner, T, Index, kVec>(combiner, segment, lookups, weights, position, sink);
  }
}

// Threads: x = lane (a vector of columns), y = sample, z = part of the bag. Long bags of small
// batches are cut into blockDim.z parts, merged in bag order through shared memory.
template <class T, class Index, int kVec, class Tables, class Combiner, int kUnroll>
__global__ void __launch_bounds__(256, kPoolBlocks) pool_rows_kernel(
    const __grid_constant__ Tables tables,
    const __grid_constant__ LookupsView<Index> lookups,
    const T* __restrict__ weights,
    Mode mode,
    T* __restrict__ output,
    Index* __restrict__ argmax,
    int64_t output_stride,
    int64_t first_column,
    int64_t num_lanes,
    OffenceSink sink) {
  extern __shared__ __align__(16) char shared_bytes[];
  Combiner* parts = reinterpret_cast<Combiner*>(shared_bytes);

  const int64_t lane = int64_t{blockIdx.y} * blockDim.x + threadIdx.x;
  const bool has_lane = lane < num_lanes;
  const int64_t column = first_column + (has_lane ? lane : 0) * kVec;
  const Segment<T> segment = tables.at(column);
  const int num_parts = blockDim.z;
  const int part = threadIdx.z;
  const int place = threadIdx.y * blockDim.x + threadIdx.x;
  const int places = blockDim.x * blockDim.y;

  for (int64_t first = int64_t{blockIdx.x} * blockDim.y; first < lookups.batch;
       first += int64_t{gridDim.x} * blockDim.y) {
    const int64_t b = first + threadIdx.y;
    const bool active = has_lane && b < lookups.batch;
    Combiner combiner;
    combiner.reset();
    if (active) {
      const Range bag = lookups.bag(b, segment.slot, sink, segment.first_lane && part == 0);
      const int64_t length = bag.end - bag.begin;
      const int64_t begin = bag.begin + length * part / num_parts;
      const int64_t end = bag.begin + length * (part + 1) / num_parts;
      combine_range<kUnroll, Combiner, T, Index, kVec>(
          combiner, segment, lookups, weights, begin, end, sink);
    }
    if (num_parts > 1) {
      __syncthreads(); // the parts of the round before have been read
      if (part > 0) {
        parts[(part - 1) * places + place] = combiner;
      }
      __syncthreads();
      for (int other = 1; part == 0 && other < num_parts; ++other) {
        combiner.merge(parts[(other - 1) * places + place]);
      }
    }
    if (active && part == 0) {
      const int64_t at = b * output_stride + column;
      combiner.store(mode, output + at, argmax + at);
    }
  }
}

} // namespace embed_ops
