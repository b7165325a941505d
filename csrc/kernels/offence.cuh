// How a kernel tells the host of an index or offset out of range, without synchronisation and
// without losing the CUDA context.
//
// The record lies in host-mapped memory, one per device. The host reads it at the next call: a
// record is pending when `reported == epoch`, and taking it moves `epoch` on. Kernels read
// `epoch` from the record, not from their arguments, so a replayed CUDA graph reports too. The
// first thread to lift `claimed` to `epoch` writes; CUDA guarantees that atomics on mapped memory
// are atomic among the threads of one device, and no other device shares a record.

#pragma once

#include <cassert>
#include <cstdint>

#include "common/offence.h"

namespace embed_ops {

struct OffenceRecord {
  volatile uint32_t epoch;
  volatile uint32_t reported;
  uint32_t claimed;
  Offence offence;
};

struct OffenceSink {
  OffenceRecord* record; // device address
  OpId op;
  BoundsCheck bounds_check;

  __device__ __noinline__ void report(
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
          kind == OffenceKind::kIndex ? "embed_ops: index out of range"
                                      : "embed_ops: offsets do not describe bags",
          __FILE__, __LINE__, __func__);
    }
    const uint32_t epoch = record->epoch;
    if (atomicMax(&record->claimed, epoch) < epoch) {
      volatile Offence* offence = &record->offence;
      offence->kind = kind;
      offence->op = op;
      offence->value = value;
      offence->position = position;
      offence->limit = limit;
      offence->table = table;
      __threadfence_system();
      record->reported = epoch;
    }
  }
};

} // namespace embed_ops
