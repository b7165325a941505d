// Reads the columns of one lane.

#pragma once

#include <cstdint>

#include "kernels/lane_columns.cuh"
#include "kernels/vec.cuh"

namespace embed_ops {

// Of a row whose column 0 is at `row`; zeros in place of columns that it lacks.
template <class Columns, class T>
__device__ __forceinline__ Vec<T, Columns::kColumns> load_columns(
    const Columns& columns,
    const T* row) {
  constexpr int kVec = Columns::kVec;
  constexpr int kColumns = Columns::kColumns;
  if constexpr (kVec == kColumns) { // idle lanes read column 0
    return load<T, kColumns>(row + columns.column);
  } else {
    Vec<T, kColumns> values = zeros<T, kColumns>();
    columns.for_each_chunk([&](int first, int64_t column) {
      const Vec<T, kVec> chunk = load<T, kVec>(row + column);
#pragma unroll
      for (int i = 0; i < kVec; ++i) {
        values.v[first + i] = chunk.v[i];
      }
    });
    return values;
  }
}

// Rows of a table, by their number; in words as they lie in memory. Row is uint32_t, or uint64_t
// where rows are too many.
template <class T, class Columns, class Row>
class RowReader {
  static constexpr int kChunks = Columns::kChunks;
  static constexpr int kVec = Columns::kVec;

 public:
  struct Values {
    Packed<T, kVec> chunks[kChunks];

    __device__ __forceinline__ Vec<Acc<T>, Columns::kColumns> widen() const {
      Vec<Acc<T>, Columns::kColumns> wide;
#pragma unroll
      for (int i = 0; i < Columns::kColumns; ++i) {
        wide.v[i] = chunks[i / kVec][i % kVec];
      }
      return wide;
    }
  };

  __device__ __forceinline__ RowReader(const T* table, int64_t row_stride, const Columns& columns)
      : row_0_(in_register(table + (columns.chunks > 0 ? columns.column : 0))),
        row_bytes_(in_register(static_cast<Row>(row_stride * sizeof(T)))),
        apart_(columns.apart * sizeof(T)),
        chunks_(columns.chunks) {}

  // Zeros unless the row `counts`, and in place of columns that it lacks. Without branches, so that
  // the loads of several rows can be in flight.
  __device__ __forceinline__ Values read(Row row, bool counts) const {
    Values values;
    const T* const address = row_at(row_0_, row, row_bytes_);
#pragma unroll
    for (int c = 0; c < kChunks; ++c) {
      values.chunks[c].clear();
      if (counts && (kChunks == 1 || c < chunks_)) { // of whole vectors idle lanes read column 0
        values.chunks[c].load(ahead_of(address, c * apart_));
      }
    }
    return values;
  }

  // Of a row that is known to count, with anything in place of columns that it lacks.
  __device__ __forceinline__ Values read(Row row) const {
    Values values;
    const T* const address = row_at(row_0_, row, row_bytes_);
#pragma unroll
    for (int c = 0; c < kChunks; ++c) {
      values.chunks[c].load(ahead_of(address, c < chunks_ ? c * apart_ : 0));
    }
    return values;
  }

 private:
  static __device__ __forceinline__ const T* ahead_of(const T* address, unsigned bytes) {
    return reinterpret_cast<const T*>(reinterpret_cast<const char*>(address) + bytes);
  }

  const T* row_0_; // at the lane's first chunk
  Row row_bytes_;
  unsigned apart_; // bytes from one chunk to the next
  int chunks_;
};

} // namespace embed_ops
