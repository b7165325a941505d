// From a problem's run-time choices to the kernels' template arguments.

#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "common/dispatch.h"
#include "kernels/tables.cuh"

namespace embed_ops {

inline int64_t size_of(DType dtype) {
  return dtype == DType::kDouble ? 8 : dtype == DType::kFloat ? 4 : 2;
}

// f(TypeTag<T>)
template <class F>
void dispatch_dtype(DType dtype, F&& f) {
  switch (dtype) {
    case DType::kFloat: return f(TypeTag<float>{});
    case DType::kDouble: return f(TypeTag<double>{});
    case DType::kHalf: return f(TypeTag<__half>{});
    case DType::kBFloat16: return f(TypeTag<__nv_bfloat16>{});
  }
}

// f(Constant<elements of T in `bytes`>)
template <class T, class F>
void dispatch_vec(int64_t bytes, F&& f) {
  if (bytes == 16) {
    return f(Constant<static_cast<int>(16 / sizeof(T))>{});
  }
  if constexpr (sizeof(T) <= 4) {
    if (bytes == 8) {
      return f(Constant<static_cast<int>(8 / sizeof(T))>{});
    }
  }
  if constexpr (sizeof(T) <= 2) {
    if (bytes == 4) {
      return f(Constant<static_cast<int>(4 / sizeof(T))>{});
    }
  }
  return f(Constant<1>{});
}

// Finds the longest access, up to 16 bytes, that everything offered to it allows.
class Alignment {
 public:
  explicit Alignment(DType dtype) : element_(size_of(dtype)) {}

  Alignment& address(const void* pointer) {
    bits_ |= reinterpret_cast<uintptr_t>(pointer);
    return *this;
  }

  Alignment& elements(int64_t count) {
    bits_ |= static_cast<uintptr_t>(count * element_);
    return *this;
  }

  Alignment& tables(const std::vector<Table>& tables) {
    for (const Table& table : tables) {
      address(table.data).elements(table.row_stride).elements(table.dim).elements(table.column);
    }
    return *this;
  }

  int64_t bytes() const {
    const int64_t aligned = static_cast<int64_t>(bits_ & -bits_);
    return std::max(aligned > 16 ? 16 : aligned, element_);
  }

 private:
  int64_t element_;
  uintptr_t bits_ = 16;
};

// The tables of one launch.
struct TableRange {
  int64_t first;
  int64_t count;
  int64_t num_rows;
  int64_t tallest;
  int64_t widest;
  int64_t column; // of the output, where they begin
  int64_t width;  // of all together
};

inline TableRange table_range(const std::vector<Table>& tables, int64_t first, int64_t most) {
  TableRange range{};
  range.first = first;
  range.count = std::min<int64_t>(static_cast<int64_t>(tables.size()) - first, most);
  range.column = tables[first].column;
  for (int64_t i = first; i < first + range.count; ++i) {
    range.num_rows += tables[i].num_rows;
    range.tallest = std::max(range.tallest, tables[i].num_rows);
    range.widest = std::max(range.widest, tables[i].dim);
    range.width += tables[i].dim;
  }
  return range;
}

// f(tables, range) for one table, or for each launch's share of many.
template <class T, class F>
void for_each_table_set(const std::vector<Table>& tables, F&& f) {
  if (tables.size() == 1) {
    f(OneTable<T>(tables.data(), 1, 0), table_range(tables, 0, 1));
    return;
  }
  const auto total = static_cast<int64_t>(tables.size());
  for (int64_t first = 0; first < total; first += TableSet<T>::kMaxTables) {
    const TableRange range = table_range(tables, first, TableSet<T>::kMaxTables);
    f(TableSet<T>(tables.data() + first, static_cast<int>(range.count), first), range);
  }
}

} // namespace embed_ops
