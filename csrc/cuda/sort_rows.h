// Lookups sorted by row, and their runs numbered, on the device.

#pragma once

#include <cstdint>
#include <vector>

#include "cuda/backend.h"
#include "kernels/fill_zero.cuh"
#include "kernels/radix_scratch.h"

namespace embed_ops {

// A stable sort of rows with the lookups they are of. Key: uint32_t or uint64_t.
template <class Key>
class RowSort {
 public:
  // Over no more bits than tell `num_rows` rows and kNoRow apart. Allocates all that is written
  // before it runs: what does so may begin early.
  RowSort(Cuda& cuda, int64_t count, int64_t num_rows);

  // What must be zero when it runs.
  std::vector<MemoryBlock> zeros() const;

  void run();

  // To be written before it runs; then in order.
  Key* rows() const {
    return rows_;
  }
  Key* lookups() const {
    return lookups_;
  }

  // As much space, which nobody needs once it has run.
  Key* spare_rows() const {
    return spare_rows_;
  }
  Key* spare_lookups() const {
    return spare_lookups_;
  }

 private:
  void run_few_passes();
  void run_cub();

  Cuda& cuda_;
  int64_t count_;
  int row_bits_;
  Key* rows_;
  Key* lookups_;
  Key* spare_rows_;
  Key* spare_lookups_;
  RadixScratch scratch_{};
  int64_t scratch_words_ = 0;
};

// numbers[at] = how many runs of equal `rows` (but kNoRow) begin at `at` or before.
template <class Key>
void number_runs(Cuda& cuda, const Key* rows, int64_t count, Key* numbers);

// Copies counts to the host, for which the stream must finish.
template <class Count>
std::vector<int64_t> read_counts(
    Cuda& cuda,
    const char* op,
    const Count* counts,
    int64_t num_counts);

} // namespace embed_ops
