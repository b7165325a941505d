#include "kernels/index_transforms.cuh"

#include "cuda/dispatch.h"
#include "cuda/scatter.h"
#include "cuda/sort_rows.h"
#include "cuda/sources.h"

#include "common/bounds.h"

namespace embed_ops {

namespace {

// f(pointer)
template <class F>
void dispatch_integers(const Integers& integers, F&& f) {
  dispatch_index(integers.are_64bit, [&](auto tag) {
    f(static_cast<typename decltype(tag)::type*>(integers.data));
  });
}

template <class Key, class Index, class RowId>
void transpose_with(Cuda& cuda, const Transpose& p) {
  const int64_t count = p.lookups.num_indices;
  const Plan plan = plan_elements(count, cuda.processors());
  RowSort<Key> sort(cuda, count, p.num_rows);
  fill_zero(cuda, sort.zeros());
  auto* row_ids = static_cast<const RowId*>(p.row_ids.data);
  launch(
      list_coordinates_kernel<Key, Index, RowId>, plan, 0, cuda.stream(),
      LookupsView<Index>(p.lookups), row_ids, p.num_rows, sort.rows(), sort.lookups(),
      cuda.sink(p.op));
  sort.run();
  launch(
      put_coordinates_kernel<Key, Index, RowId>, plan, 0, cuda.stream(), sort.rows(),
      sort.lookups(), count, row_ids, static_cast<Index*>(p.sorted_indices.data),
      static_cast<RowId*>(p.sorted_row_ids.data));
  const void* weights = p.lookups.per_sample_weights;
  if (weights == nullptr) {
    return;
  }
  const auto put_weights = [&](auto tag) {
    using Bits = typename decltype(tag)::type;
    launch(
        put_weights_kernel<Key, Bits>, plan, 0, cuda.stream(), sort.lookups(), count,
        static_cast<const Bits*>(weights), static_cast<Bits*>(p.sorted_weights));
  };
  switch (size_of(p.dtype)) {
    case 8: return put_weights(TypeTag<uint64_t>{});
    case 4: return put_weights(TypeTag<uint32_t>{});
    default: return put_weights(TypeTag<uint16_t>{});
  }
}

template <class Key, class Index>
void compress_sorted(Cuda& cuda, const CompressIndices& p, const Index* indices) {
  const int64_t count = p.indices.count;
  const Plan plan = plan_elements(count, cuda.processors());
  auto* rows = cuda.workspace<Key>(count);
  auto* numbers = cuda.workspace<Key>(count);
  if (count > 0) {
    launch(
        list_sorted_kernel<Key, Index>, plan, 0, cuda.stream(), indices, count, rows,
        cuda.sink(p.op));
    number_runs(cuda, rows, count, numbers);
  }
  CompressIndices::Outputs outputs = p.outputs;
  if (p.allocate) {
    outputs =
        p.allocate(count > 0 ? read_counts(cuda, op_name(p.op), numbers + count - 1, 1)[0] : 0);
  }
  auto* values = static_cast<Index*>(outputs.rows.data);
  launch(
      put_runs_kernel<Key, Index>, plan, 0, cuda.stream(), rows, numbers, count, values,
      static_cast<Index*>(outputs.inverse.data), outputs.offsets);
  const int64_t room = outputs.rows.count;
  launch(
      end_runs_kernel<Key, Index>, plan_elements(room + 1, cuda.processors()), 0, cuda.stream(),
      rows, numbers, count, p.num_unique, room, values, outputs.counts, outputs.offsets);
}

} // namespace

void Cuda::row_ids(const RowIds& problem) {
  const Lookups& lookups = problem.lookups;
  dispatch_integers(problem.row_ids, [&](auto* row_ids) {
    using RowId = std::remove_pointer_t<decltype(row_ids)>;
    const int64_t count = problem.row_ids.count;
    if (lookups.offsets == nullptr) {
      launch(
          row_ids_from_fixed_kernel<RowId>, plan_elements(count, processors_), 0, stream_, row_ids,
          count, lookups.hotness);
      return;
    }
    if (count > 0) {
      check_cuda(cudaMemsetAsync(row_ids, 0xff, count * sizeof(RowId), stream_), "cudaMemsetAsync");
    }
    launch(
        row_ids_from_csr_kernel<RowId>, plan_warps(lookups.batch), 0, stream_,
        LookupsView<RowId>(lookups), row_ids, sink(problem.op));
  });
}

void Cuda::offsets(const Offsets& problem) {
  dispatch_integers(problem.row_ids, [&](auto* row_ids) {
    using RowId = std::remove_pointer_t<decltype(row_ids)>;
    const int64_t count = problem.row_ids.count;
    launch(
        check_row_ids_kernel<RowId>, plan_elements(count, processors_), 0, stream_, row_ids, count,
        problem.num_bags, sink(problem.op));
    launch(
        offsets_from_row_ids_kernel<RowId>, plan_elements(problem.offsets.count, processors_), 0,
        stream_, row_ids, count, static_cast<RowId*>(problem.offsets.data), problem.offsets.count);
  });
}

void Cuda::transpose(const Transpose& problem) {
  dispatch_index(problem.lookups.indices_are_64bit, [&](auto index) {
    using Index = typename decltype(index)::type;
    dispatch_index(problem.row_ids.are_64bit, [&](auto row_id) {
      using RowId = typename decltype(row_id)::type;
      if (std::max(problem.num_rows, problem.lookups.num_indices) < kNarrowLimit) {
        transpose_with<uint32_t, Index, RowId>(*this, problem);
      } else {
        transpose_with<uint64_t, Index, RowId>(*this, problem);
      }
    });
  });
}

void Cuda::compress_indices(const CompressIndices& problem) {
  dispatch_integers(problem.indices, [&](auto* indices) {
    using Index = std::remove_pointer_t<decltype(indices)>;
    // int32 indices below 2^32 lookups are kept in 32 bits; int64 ones may name any row.
    if (sizeof(Index) == sizeof(int32_t) && problem.indices.count < kNarrowLimit) {
      compress_sorted<uint32_t, Index>(*this, problem, indices);
    } else {
      compress_sorted<uint64_t, Index>(*this, problem, indices);
    }
  });
}

} // namespace embed_ops
