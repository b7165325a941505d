// Dense gradients of few lookups, in a fixed order and without workspace: every lookup is compared
// with every other, and the first one of each row sums them all, in Acc<T>, and stores the row.

#pragma once

#include "kernels/factors.cuh"
#include "kernels/pdl.cuh"
#include "kernels/tables.cuh"
#include "kernels/team.cuh"
#include "kernels/vec.cuh"

namespace embed_ops {

constexpr int kComparedThreads = 256;
constexpr int kComparedWarps = kComparedThreads / 32;

// Grid x = lookup, y = slice of 32 lanes. The warps of a block share the lookups in their order.
template <class T, class Index, int kVec, class Tables>
__global__ void __launch_bounds__(kComparedThreads, 2) scatter_compared_kernel(
    const __grid_constant__ Tables gradients,
    const __grid_constant__ SourcesView<Index> sources,
    int64_t first_place,
    int64_t num_places,
    const __grid_constant__ LookupFactors<Acc<T>> factors,
    const T* __restrict__ grad_output,
    int64_t grad_stride,
    OffenceSink sink) {
  using Sum = Vec<Acc<T>, kVec>;
  constexpr int kUnroll = 8;
  __shared__ Sum sums[kComparedThreads];
  const bool reports = blockIdx.y == 0;
  if (reports) {
    sources.lookups.check_offsets(sink);
  }
  const LookupsView<Index>& lookups = sources.lookups;
  const int64_t count = lookups.num_indices;
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x & 31;
  const SlotRange slots = sources.all_slots();
  // No thread may leave before the zeros are written: they could overwrite what others store.
  wait_for_dependency();

  const Source source = sources.at(blockIdx.x, slots);
  const int64_t place = source.place - first_place;
  if (place < 0 || place >= num_places) {
    return;
  }
  const auto segment = gradients.of_place(static_cast<int>(place));
  const Index index = lookups.indices[source.position];
  const Named name = named(index, lookups, segment.num_rows);
  if (name != Named::kRow) {
    if (name == Named::kNothing && reports && threadIdx.x == 0) {
      sink.report(OffenceKind::kIndex, index, source.position, segment.num_rows, segment.table);
    }
    return;
  }
  const int64_t lanes = segment.dim / kVec;
  if (blockIdx.y * int64_t{32} >= lanes) {
    return;
  }
  const auto is_same = [&](int64_t v, Source& other) {
    other = sources.at(v, slots);
    return other.place == source.place && lookups.indices[other.position] == index;
  };
  bool earlier = false;
  for (int64_t v = threadIdx.x; v < blockIdx.x; v += kComparedThreads) {
    Source other;
    earlier |= is_same(v, other);
  }
  if (__syncthreads_or(earlier)) {
    return;
  }

  const int64_t share = (count + kComparedThreads - 1) / kComparedThreads * 32;
  const Team team(threadIdx.x, lanes, kVec, blockIdx.y, 32);
  const T* const columns = grad_output + segment.column + (lane < team.size ? team.column : 0);
  Sum sum = zeros<Acc<T>, kVec>();
  for (int64_t v = warp * share + lane; v - lane < min((warp + 1) * share, count); v += 32) {
    Source other;
    const bool same = v < count && is_same(v, other);
    const int64_t gradient = same ? other.sample * grad_stride : 0;
    const Acc<T> factor = same ? factors.of(other) : Acc<T>(0);
    unsigned matches = __ballot_sync(0xffffffffu, same);
    while (matches != 0) {
      Vec<T, kVec> values[kUnroll];
      Acc<T> by[kUnroll];
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        const int from = matches != 0 ? __ffs(matches) - 1 : 0;
        const int64_t at = __shfl_sync(0xffffffffu, gradient, from);
        by[u] = __shfl_sync(0xffffffffu, factor, from);
        values[u] = zeros<T, kVec>();
        if (matches != 0) {
          values[u] = load<T, kVec>(columns + at);
        }
        matches &= matches - 1;
      }
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        const Sum wide = widen(values[u]);
#pragma unroll
        for (int i = 0; i < kVec; ++i) {
          sum.v[i] += by[u] * wide.v[i];
        }
      }
    }
  }
  sums[threadIdx.x] = sum;
  __syncthreads();
  if (warp == 0 && lane < team.size && team.active) {
#pragma unroll
    for (int other = 1; other < kComparedWarps; ++other) {
#pragma unroll
      for (int i = 0; i < kVec; ++i) {
        sum.v[i] += sums[other * 32 + lane].v[i];
      }
    }
    store_narrowed<T, kVec>(segment.row(index) + team.column, sum);
  }
}

} // namespace embed_ops
