// Finds the first index or offset that is out of range and throws for it.

#pragma once

#include <atomic>
#include <cstdint>
#include <limits>

#include "common/bounds.h"
#include "lookups.h"

namespace embed_ops::cpu {

// Offsets are checked before the work starts. Indices are checked by the work itself, one compare
// per row: each thread reports the positions that it leaves out, and the smallest one is thrown
// for once all threads are done, so the text does not depend on their number.
class Offences {
 public:
  Offences(OpId op, const Lookups& lookups, const std::vector<Table>& tables)
      : op_(op), lookups_(lookups), tables_(tables) {
    if (lookups.offsets != nullptr && bounds_check() != BoundsCheck::kIgnore) {
      check_offsets();
    }
  }

  // Out of line, for the sake of the loops that call it.
  __attribute__((noinline, cold)) void add(int64_t position) {
    int64_t first = first_.load(std::memory_order_relaxed);
    while (position < first && !first_.compare_exchange_weak(first, position)) {
    }
  }

  void raise_first() const {
    const int64_t position = first_.load();
    if (position == kNone || bounds_check() == BoundsCheck::kIgnore) {
      return;
    }
    const int64_t row = lookups_.indices_are_64bit
        ? static_cast<const int64_t*>(lookups_.indices)[position]
        : static_cast<const int32_t*>(lookups_.indices)[position];
    const int64_t table = table_of_position(position);
    const bool many = op_ >= OpId::kMultiEmbedding;
    throw_offence(OffenceKind::kIndex, row, position, tables_[table].num_rows, many ? table : -1);
  }

 private:
  static constexpr int64_t kNone = std::numeric_limits<int64_t>::max();

  [[noreturn]] void throw_offence(
      OffenceKind kind,
      int64_t value,
      int64_t position,
      int64_t limit,
      int64_t table) const {
    throw std::out_of_range(offence_text({kind, op_, value, position, limit, table}));
  }

  void check_offsets() const {
    if (lookups_.num_offsets == 0) {
      return;
    }
    const OffsetsReader offsets(lookups_);
    if (offsets[0] != 0) {
      throw_offence(OffenceKind::kOffsetsStart, offsets[0], 0, 0, -1);
    }
    for (int64_t i = 1; i < lookups_.num_offsets; ++i) {
      if (offsets[i] < offsets[i - 1]) {
        throw_offence(OffenceKind::kOffsetsOrder, offsets[i], i, offsets[i - 1], -1);
      }
      if (offsets[i] > lookups_.num_indices) {
        throw_offence(OffenceKind::kOffsetsEnd, offsets[i], i, lookups_.num_indices, -1);
      }
    }
  }

  int64_t table_of_position(int64_t position) const {
    if (lookups_.offsets == nullptr) {
      return position / lookups_.hotness % lookups_.num_tables;
    }
    const OffsetsReader offsets(lookups_);
    int64_t table = 0;
    while (table + 1 < lookups_.num_tables && offsets[(table + 1) * lookups_.batch] <= position) {
      ++table;
    }
    return table;
  }

  OpId op_;
  const Lookups& lookups_;
  const std::vector<Table>& tables_;
  std::atomic<int64_t> first_{kNone};
};

} // namespace embed_ops::cpu
