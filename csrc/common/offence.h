// An index that names no row, or offsets that make no bags: plain data that the CUDA kernels can
// write into host-mapped memory. bounds.h turns it into text.

#pragma once

#include <cstdint>

#include "problem.h"

namespace embed_ops {

enum class BoundsCheck : int32_t { kRaise = 0, kAssert = 1, kIgnore = 2 };

enum class OffenceKind : int32_t {
  kIndex,
  kIndicesOrder,
  kRowIds,
  kSize,
  kOffsetsStart, // from here on of offsets
  kOffsetsOrder,
  kOffsetsEnd
};

struct Offence {
  OffenceKind kind;
  OpId op;
  int64_t value;
  int64_t position; // in indices, row_ids or offsets
  // kIndex: rows of the table; k...Order: the value before; kRowIds: bags; kSize: the size given;
  // kOffsetsEnd: indices
  int64_t limit;
  int64_t table; // kIndex of an op with several tables; otherwise -1
};

} // namespace embed_ops
