// Registers every op for CUDA.

#include "common/bounds.h"
#include "cuda/backend.h"
#include "ops/register.h"

STABLE_TORCH_LIBRARY_IMPL(embed_ops, CUDA, m) {
  embed_ops::register_ops<embed_ops::Cuda>(m);
}

EMBED_OPS_DEFINE_BOUNDS_CHECK_ENTRY_POINTS()
