// The host's side of kernels/offence.cuh: one record per device, in host-mapped memory.

#pragma once

#include "common/bounds.h"
#include "kernels/offence.cuh"

namespace embed_ops {

// The record as kernels address it; made at the first call.
OffenceRecord* offence_record_on_device(int device);

// Throws what kernels on the device have recorded since the last time, if anything. Does not
// synchronise: a kernel that still runs reports to a later call.
void raise_pending_offence(int device);

} // namespace embed_ops
