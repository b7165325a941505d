// Dense gradients by atomic addition onto zeros, where lookups of one row meet first: each warp
// sorts a tile of lookups by row in its registers, sums each run of equal rows (kernels/runs.cuh),
// and adds the sum with one 16-byte atomic per lane. All but the additions may happen while the
// kernel that writes the zeros still runs; a kernel that rounds the sums may be launched meanwhile.

#pragma once

#include <cuda_pipeline_primitives.h>

#include "kernels/factors.cuh"
#include "kernels/pdl.cuh"
#include "kernels/row_reader.cuh"
#include "kernels/runs.cuh"
#include "kernels/sources.cuh"
#include "kernels/tables.cuh"
#include "kernels/team.cuh"
#include "kernels/vec.cuh"
#include "kernels/warp_sort.cuh"

namespace embed_ops {

constexpr int kMostTileThreads = 256;
constexpr int kMostTileWarps = kMostTileThreads / 32;

__host__ __device__ constexpr int log2_of(int power) {
  return power == 1 ? 0 : 1 + log2_of(power / 2);
}

__device__ __forceinline__ void prefetch_into_l2(const void* address) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(address));
}

// What the lookups of a warp's tile add, by their place in it.
template <class A, int kLookups>
struct WarpTile {
  int64_t gradients[kLookups];
  A factors[kLookups];
};

// Begins to copy the columns of a team's lanes, of rows `row_stride` apart, into the warp's part of
// shared memory, where they are `pitch` apart.
template <int kColumns, class T>
__device__ __forceinline__ void stage_rows(
    T* staged,
    int pitch,
    const T* rows,
    int64_t row_stride,
    int count,
    const Team& team) {
  const int shift = ceil_log2(team.size);
  const int step = 32 >> shift;
  int row = (threadIdx.x & 31) >> shift;
  T* to = staged + row * pitch + team.lane * kColumns;
  const T* from = rows + row * row_stride + team.column;
#pragma unroll 4
  for (; row < count && team.active; row += step) {
    __pipeline_memcpy_async(to, from, kColumns * sizeof(T));
    to += step * pitch;
    from += step * row_stride;
  }
  __pipeline_commit();
}

// One warp per tile of 32 * kPerLane lookups; the gradients are of Acc<T>; grid y = slice of at
// most `slice_lanes` lanes. kFactors: whether bags are of more than one lookup, or gradients
// multiplied by anything. kStages: whether tiles bring their gradients into shared memory; those of
// one table, in one slice. `row_bits` tell the rows of a table apart. `prefetches`: for slices of
// at most 128 bytes.
template <
    class T,
    class Index,
    class Columns,
    class Tables,
    class Key,
    int kPerLane,
    bool kFactors,
    bool kStages>
__global__ void __launch_bounds__(kMostTileThreads, 2) scatter_tiled_kernel(
    const __grid_constant__ Tables gradients,
    const __grid_constant__ SourcesView<Index> sources,
    int64_t first_place,
    int64_t num_places,
    const __grid_constant__ LookupFactors<Acc<T>> factors,
    const T* __restrict__ grad_output,
    int64_t grad_stride,
    int slice_lanes,
    int row_bits,
    bool prefetches,
    OffenceSink sink) {
  let_dependents_begin();
  constexpr int kColumns = Columns::kColumns;
  constexpr int kLookups = 32 * kPerLane;
  constexpr int kPlaceBits = log2_of(kLookups);
  constexpr bool kMany = Tables::kMaxTables > 1;
  __shared__ WarpTile<Acc<T>, kFactors ? kLookups : 1> tiles[kMostTileWarps];
  const bool reports = blockIdx.y == 0;
  if (kFactors && reports) {
    sources.lookups.check_offsets(sink);
  }
  auto& tile = tiles[threadIdx.x / 32];
  const int lane = threadIdx.x & 31;
  const LookupsView<Index>& lookups = sources.lookups;
  const int64_t number = int64_t{blockIdx.x} * (blockDim.x / 32) + threadIdx.x / 32;
  const int64_t first = number * kLookups;
  const int64_t last = min(first + kLookups, lookups.num_indices) - 1;

  extern __shared__ __align__(16) char shared_bytes[];
  const int pitch = slice_lanes * kColumns;
  T* const staged = reinterpret_cast<T*>(shared_bytes) + threadIdx.x / 32 * kLookups * pitch;
  Index ahead[kPerLane];
  if constexpr (kStages) {
    static_assert(!kFactors && !kMany && Columns::kChunks == 1);
    // Indices first: the sort waits for them.
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      const int64_t position = first + i * 32 + lane;
      ahead[i] = position <= last ? lookups.indices[position] : Index(-1);
    }
    const int64_t dim = gradients.of_place(0).dim;
    stage_rows<kColumns>(
        staged, pitch, grad_output + first * grad_stride, grad_stride,
        static_cast<int>(last + 1 - first),
        Team(threadIdx.x, Columns::lanes(dim), kColumns, 0, slice_lanes));
  }

  // Each lookup's row, and its table's place among those of this launch.
  constexpr unsigned kNowhere = ~0u;
  int64_t rows[kPerLane];
  unsigned places[kPerLane];
  int64_t nothing_at = -1; // the position of an index that names no row
  int nothing_in = 0;
  const SlotRange slots = kFactors ? sources.slots(first, last) : SlotRange{};
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    const int local = i * 32 + lane;
    places[i] = kNowhere;
    if (first + local <= last) {
      const Source source = kFactors ? sources.at(first + local, slots)
                                     : sources.template at_single<kMany>(first + local);
      const int64_t place = source.place - first_place;
      if (place >= 0 && place < num_places) {
        const auto segment = gradients.of_place(static_cast<int>(place));
        const Index index = kStages ? ahead[i] : lookups.indices[source.position];
        if (prefetches && segment.dim > 0) {
          const Team slice(0, Columns::lanes(segment.dim), kColumns, blockIdx.y, slice_lanes);
          prefetch_into_l2(
              grad_output + source.sample * grad_stride + segment.column + slice.column);
        }
        const Named name = named(index, lookups, segment.num_rows);
        if (name == Named::kRow) {
          rows[i] = index;
          places[i] = static_cast<unsigned>(place);
          if constexpr (kFactors) {
            tile.factors[local] = factors.of(source);
            tile.gradients[local] = source.sample * grad_stride;
          }
        } else if (name == Named::kNothing) {
          nothing_at = source.position;
          nothing_in = static_cast<int>(place);
        }
      }
    }
  }
  // Here and not above, where the code of a report would stand kPerLane times.
  if (__builtin_expect(nothing_at >= 0 && reports, 0)) {
    const auto segment = gradients.of_place(nothing_in);
    sink.report(
        OffenceKind::kIndex, lookups.indices[nothing_at], nothing_at, segment.num_rows,
        segment.table);
  }
  __syncwarp();

  // Warps begin at different rows: in step they would all add to the same ones at the same time.
  const Key salt = in_register(
      static_cast<Key>(static_cast<uint64_t>(number) * 0x9E3779B97F4A7C15u >> (64 - row_bits)));

  struct Lookup {
    Key key;

    __device__ __forceinline__ Key row() const {
      return key >> kPlaceBits;
    }
    __device__ __forceinline__ int at() const {
      return static_cast<int>(key & (kLookups - 1));
    }
  };
  const auto scatter_table = [&](unsigned place) {
    const auto segment = gradients.of_place(static_cast<int>(place));
    const int64_t lanes = Columns::lanes(segment.dim);
    if (blockIdx.y * int64_t{slice_lanes} >= lanes) {
      return;
    }
    Key keys[kPerLane];
    int count = 0;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      const bool here = places[i] == place;
      keys[i] = here ? (static_cast<Key>(rows[i]) ^ salt) << kPlaceBits | (i * 32 + lane) : ~Key(0);
      count += __popc(__ballot_sync(0xffffffffu, here));
    }
    warp_sort(keys);
    const Team team(threadIdx.x, lanes, kColumns, blockIdx.y, slice_lanes);
    const Columns columns(team, segment.dim);
    const T* const grad_rows = in_register(
        grad_output + segment.column +
        (kFactors ? 0 : (first - (first_place + place) * lookups.batch) * grad_stride));
    const auto stride = in_register(static_cast<uint64_t>(grad_stride));
    const T* const staged_columns = staged + (team.active ? team.lane * kColumns : 0);
    const auto take = [&](int i, int owner) {
      return Lookup{__shfl_sync(0xffffffffu, keys[i], owner)};
    };
    const auto read = [&](const Lookup& lookup) {
      if constexpr (kStages) {
        return load<T, kColumns>(staged_columns + lookup.at() * pitch);
      } else {
        // Of bags of one, tables lie one after the other, samples in their order.
        const int64_t gradient =
            kFactors ? tile.gradients[lookup.at()] : static_cast<int64_t>(lookup.at() * stride);
        return load_columns(columns, grad_rows + gradient);
      }
    };
    const auto factor = [&](const Lookup& lookup, int, int) { return tile.factors[lookup.at()]; };
    const auto finish = [&](Key row, const Vec<Acc<T>, kColumns>& sum) {
      Acc<T>* const target = segment.row(static_cast<int64_t>(row ^ salt));
      columns.for_each_chunk([&](int first_column, int64_t column) {
        atomic_add(target + column, sub_vec<Columns::kVec>(sum, first_column));
      });
    };
    if constexpr (kStages) {
      __pipeline_wait_prior(0);
      __syncwarp();
    }
    wait_for_dependency();
    // Tiles of 32 are for few lookups: the code for eight at a time takes longer to arrive than it
    // saves. Staged gradients are at hand.
    constexpr int kUnroll = kPerLane == 1 || kStages ? 4 : 8;
    sum_runs<T, kColumns, kPerLane, kUnroll, kFactors>(
        0, count, team.size, take, read, factor, finish);
  };
  if constexpr (!kMany) {
    scatter_table(0);
  } else {
    // Lookups of several tables in one tile are few: those of each table take a round.
    const auto next_from = [&](unsigned least) {
      unsigned next = kNowhere;
#pragma unroll
      for (int i = 0; i < kPerLane; ++i) {
        next = min(next, places[i] >= least ? places[i] : kNowhere);
      }
      return next_place(next, least);
    };
    for (unsigned place = next_from(0); place != kNowhere; place = next_from(place + 1)) {
      scatter_table(place);
    }
  }
  wait_for_dependency();
}

} // namespace embed_ops
