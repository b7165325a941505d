// The kernels of one instruction set, as called by backend.cpp, and everything that kernels.inc
// includes: those headers must be read before the instruction set changes, or their inline
// functions would be compiled for it too and might be the copies that the linker keeps for all.

#pragma once

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#ifdef __x86_64__
#include <immintrin.h>
#endif

#include "common/dispatch.h"
#include "common/problem.h"
#include "element.h"
#include "lookups.h"
#include "offences.h"
#include "parallel.h"

namespace embed_ops::cpu {

struct Kernels {
  void (*gather)(const Gather&, Offences&);
  void (*scatter)(const Scatter&, Offences&);
  void (*weights_grad)(const WeightsGrad&, Offences&);
};

// Those of the best instruction set of this machine.
const Kernels& kernels();

// GCC's vectors may be of any width, but instruction sets are chosen per function only by GCC.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define EMBED_OPS_MANY_ISAS 1
namespace avx2 {
extern const Kernels kKernels;
}
namespace avx512 {
extern const Kernels kKernels;
}
#endif
namespace baseline {
extern const Kernels kKernels;
}

} // namespace embed_ops::cpu
