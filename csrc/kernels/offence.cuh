// How a kernel tells the host of an index or offset out of range, without synchronisation and
// without losing the CUDA context.
//
// The record lies in host-mapped memory, one per device. The host reads it at the next call: an
// offence is pending when `reported == epoch`, and taking it moves `epoch` on. Kernels read
// `epoch` from the record, not from their arguments, so a replayed CUDA graph reports too. The
// first thread to lift `claimed` to `epoch` writes; CUDA guarantees that atomics on mapped memory
// are atomic among the threads of one device, and no other device shares a record.
//
// Offsets have a slot of their own, which the host reads first: bags that make no sense lead to
// indices that make none, whichever thread comes first.

#pragma once

#include <cassert>
#include <cstdint>

#include "common/offence.h"

namespace embed_ops {

struct OffenceSlot {
  volatile uint32_t reported;
  uint32_t claimed;
  Offence offence;
};

struct OffenceRecord {
  volatile uint32_t epoch;
  OffenceSlot of_offsets;
  OffenceSlot of_indices;
};

struct OffenceSink {
  OffenceRecord* record; // device address
  OpId op;
  BoundsCheck bounds_check;

  // Inline: where a function is called, registers are spilled.
  __device__ __forceinline__ void report(
      OffenceKind kind,
      int64_t value,
      int64_t position,
      int64_t limit,
      int64_t table) const {
    if (bounds_check == BoundsCheck::kIgnore) {
      return;
    }
    if (bounds_check == BoundsCheck::kAssert) {
      __assert_fail(
          kind == OffenceKind::kIndex             ? "embed_ops: index out of range"
              : kind < OffenceKind::kOffsetsStart ? "embed_ops: values not as expected"
                                                  : "embed_ops: offsets do not describe bags",
          __FILE__, __LINE__, __func__);
    }
    OffenceSlot& slot = kind < OffenceKind::kOffsetsStart ? record->of_indices : record->of_offsets;
    const uint32_t epoch = record->epoch;
    if (atomicMax(&slot.claimed, epoch) < epoch) {
      volatile Offence* offence = &slot.offence;
      offence->kind = kind;
      offence->op = op;
      offence->value = value;
      offence->position = position;
      offence->limit = limit;
      offence->table = table;
      __threadfence_system();
      slot.reported = epoch;
    }
  }
};

} // namespace embed_ops
