// Sorts lookups by row and numbers the runs, on the device: kernels/runs_of_rows.cuh through CUB.

#pragma once

#include <thrust/iterator/counting_iterator.h>
#include <thrust/iterator/transform_iterator.h>
#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_scan.cuh>

#include "cuda/cub.h"
#include "kernels/runs_of_rows.cuh"

namespace embed_ops {

// Rows and the lookups that they are of, each with as much space again.
template <class Key>
struct SortBuffers {
  cub::DoubleBuffer<Key> rows;
  cub::DoubleBuffer<Key> lookups;

  SortBuffers(Cuda& cuda, int64_t count)
      : rows(cuda.workspace<Key>(count), cuda.workspace<Key>(count)),
        lookups(cuda.workspace<Key>(count), cuda.workspace<Key>(count)) {}
};

// Stable, and over no more bits than tell `num_rows` rows and kNoRow apart.
template <class Key>
void sort_rows(Cuda& cuda, SortBuffers<Key>& buffers, int64_t count, int64_t num_rows) {
  with_cub_workspace(cuda, "cub::DeviceRadixSort", [&](void* workspace, size_t& bytes) {
    return cub::DeviceRadixSort::SortPairs(
        workspace, bytes, buffers.rows, buffers.lookups, count, 0, bits_for(num_rows),
        cuda.stream());
  });
}

// numbers[at] = how many runs of `rows` begin at `at` or before.
template <class Key>
void number_runs(Cuda& cuda, const Key* rows, int64_t count, Key* numbers) {
  const auto begins = thrust::make_transform_iterator(
      thrust::make_counting_iterator<int64_t>(0), BeginsRun<Key>{rows});
  with_cub_workspace(cuda, "cub::DeviceScan", [&](void* workspace, size_t& bytes) {
    return cub::DeviceScan::InclusiveSum(workspace, bytes, begins, numbers, count, cuda.stream());
  });
}

// Copies counts to the host, for which the stream must finish.
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

} // namespace embed_ops
