// Registers every op for the CPU.

#include "ops/register.h"

#include "backend.h"
#include "common/bounds.h"

STABLE_TORCH_LIBRARY_IMPL(embed_ops, CPU, m) {
  embed_ops::register_ops<embed_ops::Cpu>(m);
}

EMBED_OPS_DEFINE_BOUNDS_CHECK_ENTRY_POINTS()
