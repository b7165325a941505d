// Which table a column of the output belongs to.
//
// Kernels give each thread one vector of columns ("lane") of an output row and ask once for the
// table that fills it; a table set travels as a kernel argument, so that no launch needs a copy
// to the device.

#pragma once

#include <cstdint>

#include "common/problem.h"

namespace embed_ops {

// A table as one thread sees it.
template <class T>
struct Segment {
  T* data; // row 0, at the thread's column
  int64_t num_rows;
  int64_t row_stride;
  int64_t dim;
  int64_t column;    // of the output, where the table begins
  int64_t first_row; // of all rows of all tables, counted table after table
  int64_t slot;      // the table's place among the op's tables
  int64_t table;     // what errors call it: the slot, or -1 where the op has but one table
  bool first_lane;   // whether the thread's column is the table's first: it reports offences

  __device__ __forceinline__ T* row(int64_t index) const {
    return data + index * row_stride;
  }
};

template <class T>
struct OneTable {
  using Element = T;
  static constexpr int kMaxTables = 1;

  T* data;
  int64_t num_rows;
  int64_t row_stride;
  int64_t dim;

  OneTable(const Table* tables, int /*count*/, int64_t /*first_table*/)
      : data(static_cast<T*>(tables[0].data)),
        num_rows(tables[0].num_rows),
        row_stride(tables[0].row_stride),
        dim(tables[0].dim) {}

  // The table under column `target` of the output.
  __device__ __forceinline__ Segment<T> at(int64_t target) const {
    return {data + target, num_rows, row_stride, dim, 0, 0, 0, -1, target == 0};
  }

  __device__ __forceinline__ Segment<T> of_place(int /*place*/) const {
    return at(0);
  }

  // The table of row `row` of all rows.
  __device__ __forceinline__ Segment<T> of_row(int64_t /*row*/) const {
    return at(0);
  }
};

template <class T>
struct TableSet {
  using Element = T;
  // 96 tables take 3.5 KB of the 4 KB that kernel arguments may take on every architecture.
  static constexpr int kMaxTables = 96;

  T* data[kMaxTables];
  int64_t num_rows[kMaxTables];
  int64_t row_stride[kMaxTables];
  int64_t first_row[kMaxTables];
  int32_t column[kMaxTables + 1];
  int32_t count;
  int64_t first_table;

  TableSet(const Table* tables, int count, int64_t first_table)
      : count(count), first_table(first_table) {
    int64_t row = 0;
    for (int i = 0; i < count; ++i) {
      data[i] = static_cast<T*>(tables[i].data);
      num_rows[i] = tables[i].num_rows;
      row_stride[i] = tables[i].row_stride;
      first_row[i] = row;
      column[i] = static_cast<int32_t>(tables[i].column);
      row += tables[i].num_rows;
    }
    column[count] = static_cast<int32_t>(tables[count - 1].column + tables[count - 1].dim);
  }

  __device__ __forceinline__ Segment<T> at(int64_t target) const {
    const int place = last_at_most(column, target);
    return segment(place, target - column[place]);
  }

  __device__ __forceinline__ Segment<T> of_place(int place) const {
    return segment(place, 0);
  }

  __device__ __forceinline__ Segment<T> of_row(int64_t row) const {
    return segment(last_at_most(first_row, row), 0);
  }

 private:
  __device__ __forceinline__ Segment<T> segment(int place, int64_t column_in_table) const {
    return {
        data[place] + column_in_table,
        num_rows[place],
        row_stride[place],
        column[place + 1] - column[place],
        column[place],
        first_row[place],
        first_table + place,
        first_table + place,
        column_in_table == 0};
  }

  // The last table whose value is at most `target`; a table without rows is never the one.
  template <class Value>
  __device__ __forceinline__ int last_at_most(const Value* values, int64_t target) const {
    int low = 0;
    int high = count - 1;
    while (low < high) {
      const int middle = (low + high + 1) / 2;
      if (values[middle] <= target) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    return low;
  }
};

} // namespace embed_ops
