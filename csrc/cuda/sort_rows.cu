#include "cuda/sort_rows.h"

#include <thrust/iterator/counting_iterator.h>
#include <thrust/iterator/transform_iterator.h>
#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_scan.cuh>

#include <utility>

#include "common/dispatch.h"
#include "cuda/cub.h"
#include "kernels/radix_passes.cuh"
#include "kernels/runs_of_rows.cuh"

namespace embed_ops {

template <class Key>
RowSort<Key>::RowSort(Cuda& cuda, int64_t count, int64_t num_rows)
    : cuda_(cuda), count_(count), row_bits_(bits_for(num_rows)) {
  rows_ = cuda.workspace<Key>(4 * count);
  lookups_ = rows_ + count;
  spare_rows_ = lookups_ + count;
  spare_lookups_ = spare_rows_ + count;
  if (sizeof(Key) == sizeof(uint32_t) && plan_sorts_in_few_passes(count)) {
    const RadixPlan plan = plan_radix(row_bits_);
    const int64_t digits = int64_t{plan.passes} << plan.bits;
    const int64_t tiles = ceil_div(count, kRadixTile);
    scratch_words_ = digits * (tiles + 1) + plan.passes;
    auto* words = cuda.workspace<uint32_t>(scratch_words_);
    scratch_ = {words, words + digits, words + digits * (tiles + 1)};
  }
}

template <class Key>
std::vector<MemoryBlock> RowSort<Key>::zeros() const {
  if (scratch_words_ == 0) {
    return {};
  }
  const auto bytes = scratch_words_ * static_cast<int64_t>(sizeof(uint32_t));
  return {{reinterpret_cast<char*>(scratch_.digits), bytes}};
}

template <>
void RowSort<uint32_t>::run_few_passes() {
  constexpr int kNarrowBits = 8;
  const RadixPlan plan = plan_radix(row_bits_);
  const auto count = static_cast<int>(count_);
  Plan launch;
  launch.block_x = kRadixThreads;
  const int64_t tiles = ceil_div(count_, kRadixTile);
  launch.grid_x = std::min<int64_t>(tiles, cuda_.processors());
  follow(cuda_, count_digits_kernel, launch, rows_, count, plan, scratch_);
  launch.grid_x = tiles;
  for (int pass = 0; pass < plan.passes; ++pass) {
    const auto run = [&](auto bits) {
      follow(
          cuda_, radix_pass_kernel<decltype(bits)::value>, launch, rows_, lookups_, spare_rows_,
          spare_lookups_, count, pass, plan, scratch_);
    };
    plan.bits <= kNarrowBits ? run(Constant<kNarrowBits>{}) : run(Constant<kMostRadixBits>{});
    std::swap(rows_, spare_rows_);
    std::swap(lookups_, spare_lookups_);
  }
}

template <class Key>
void RowSort<Key>::run_cub() {
  cub::DoubleBuffer<Key> rows(rows_, spare_rows_);
  cub::DoubleBuffer<Key> lookups(lookups_, spare_lookups_);
  with_cub_workspace(cuda_, "cub::DeviceRadixSort", [&](void* workspace, size_t& bytes) {
    return cub::DeviceRadixSort::SortPairs(
        workspace, bytes, rows, lookups, count_, 0, row_bits_, cuda_.stream());
  });
  rows_ = rows.Current();
  spare_rows_ = rows.Alternate();
  lookups_ = lookups.Current();
  spare_lookups_ = lookups.Alternate();
}

template <class Key>
void RowSort<Key>::run() {
  if constexpr (sizeof(Key) == sizeof(uint32_t)) {
    if (scratch_words_ > 0) {
      run_few_passes();
      return;
    }
  }
  run_cub();
}

template <class Key>
void number_runs(Cuda& cuda, const Key* rows, int64_t count, Key* numbers) {
  if (count <= kMostNumbered) {
    Plan plan;
    plan.block_x = kNumberThreads;
    plan.grid_x = ceil_div(count, kNumberThreads * kNumberItems);
    int* begins = cuda.workspace<int>(plan.grid_x);
    follow(cuda, count_begins_kernel<Key>, plan, rows, count, begins);
    follow(cuda, number_begins_kernel<Key>, plan, rows, count, begins, numbers);
    return;
  }
  const auto begins = thrust::make_transform_iterator(
      thrust::make_counting_iterator<int64_t>(0), BeginsRun<Key>{rows});
  with_cub_workspace(cuda, "cub::DeviceScan", [&](void* workspace, size_t& bytes) {
    return cub::DeviceScan::InclusiveSum(workspace, bytes, begins, numbers, count, cuda.stream());
  });
}

template <class Count>
std::vector<int64_t> read_counts(
    Cuda& cuda,
    const char* op,
    const Count* counts,
    int64_t num_counts) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check_cuda(cudaStreamIsCapturing(cuda.stream(), &status), "cudaStreamIsCapturing");
  if (status != cudaStreamCaptureStatusNone) {
    throw std::runtime_error(concat(
        "embed_ops::", op,
        ": the number of rows is read from the device, which a CUDA graph cannot capture; "
        "embed_ops::",
        op, "_padded can be captured"));
  }
  std::vector<Count> host(num_counts);
  check_cuda(
      cudaMemcpyAsync(
          host.data(), counts, num_counts * sizeof(Count), cudaMemcpyDeviceToHost, cuda.stream()),
      "cudaMemcpyAsync");
  check_cuda(cudaStreamSynchronize(cuda.stream()), "cudaStreamSynchronize");
  return {host.begin(), host.end()};
}

template class RowSort<uint32_t>;
template class RowSort<uint64_t>;
template void number_runs(Cuda&, const uint32_t*, int64_t, uint32_t*);
template void number_runs(Cuda&, const uint64_t*, int64_t, uint64_t*);
template std::vector<int64_t> read_counts(Cuda&, const char*, const uint32_t*, int64_t);
template std::vector<int64_t> read_counts(Cuda&, const char*, const uint64_t*, int64_t);
template std::vector<int64_t> read_counts(Cuda&, const char*, const int64_t*, int64_t);

} // namespace embed_ops
