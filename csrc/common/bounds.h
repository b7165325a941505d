// What happens to an index that names no row, and to offsets that make no bags.

#pragma once

#include <atomic>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "check.h"
#include "offence.h"

namespace embed_ops {

// One setting per library; Python sets both (embed_ops.bounds_check).
inline std::atomic<int32_t>& bounds_check_setting() {
  static std::atomic<int32_t> setting{0};
  return setting;
}

inline BoundsCheck bounds_check() {
  return static_cast<BoundsCheck>(bounds_check_setting().load(std::memory_order_relaxed));
}

inline const char* op_name(OpId op) {
  static constexpr const char* kNames[] = {
      "embedding",
      "embedding_dense_backward",
      "embedding_renorm_",
      "embedding_bag",
      "embedding_bag_dense_backward",
      "embedding_bag_per_sample_weights_backward",
      "embedding_compressed_backward",
      "embedding_compressed_backward_padded",
      "embedding_bag_compressed_backward",
      "embedding_bag_compressed_backward_padded",
      "row_ids_from_csr",
      "offsets_from_row_ids",
      "transpose",
      "compressed_indices",
      "compressed_indices_padded",
      "multi_embedding",
      "multi_embedding_dense_backward",
      "multi_embedding_per_sample_weights_backward",
      "multi_embedding_list",
      "multi_embedding_list_dense_backward",
      "multi_embedding_list_per_sample_weights_backward",
      "multi_embedding_compressed_backward",
      "multi_embedding_compressed_backward_padded",
  };
  return kNames[static_cast<int32_t>(op)];
}

inline std::string offence_text(const Offence& offence) {
  const std::string prefix = concat("embed_ops::", op_name(offence.op), ": ");
  switch (offence.kind) {
    case OffenceKind::kIndex:
      return concat(
          prefix, "indices: expected values in [0, ", offence.limit, "), got ", offence.value,
          " at position ", offence.position,
          offence.table >= 0 ? concat(" (table ", offence.table, ")") : "");
    case OffenceKind::kIndicesOrder:
      return concat(
          prefix, "indices: expected non-decreasing values, and -1 behind them, got ",
          offence.value, " after ", offence.limit, " at position ", offence.position);
    case OffenceKind::kRowIds:
      return concat(
          prefix, "row_ids: expected non-decreasing values in [0, ", offence.limit,
          "), and -1 behind them, got ", offence.value, " at position ", offence.position);
    case OffenceKind::kSize:
      return concat(
          prefix, "size: expected at least the ", offence.value, " rows that are named, got ",
          offence.limit);
    case OffenceKind::kOffsetsStart:
      return concat(prefix, "offsets: expected offsets[0] == 0, got ", offence.value);
    case OffenceKind::kOffsetsOrder:
      return concat(
          prefix, "offsets: expected non-decreasing values, got ", offence.value, " after ",
          offence.limit, " at position ", offence.position);
    default:
      return concat(
          prefix, "offsets: expected values of at most ", offence.limit, ", got ", offence.value,
          " at position ", offence.position);
  }
}

} // namespace embed_ops

// The two entry points that both libraries export for Python's ctypes; each library's register
// file expands this once.
#define EMBED_OPS_EXPORT extern "C" __attribute__((visibility("default")))
#define EMBED_OPS_DEFINE_BOUNDS_CHECK_ENTRY_POINTS()                          \
  EMBED_OPS_EXPORT void embed_ops_set_bounds_check(int mode) {                \
    embed_ops::bounds_check_setting().store(mode, std::memory_order_relaxed); \
  }                                                                           \
  EMBED_OPS_EXPORT int embed_ops_get_bounds_check() {                         \
    return embed_ops::bounds_check_setting().load(std::memory_order_relaxed); \
  }
