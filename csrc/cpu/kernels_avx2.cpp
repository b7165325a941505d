// The kernels in AVX2.

#include "kernels.h"

#ifdef EMBED_OPS_MANY_ISAS
#pragma GCC target("avx2,fma,f16c,bmi,bmi2")
#define EMBED_OPS_ISA avx2
#define EMBED_OPS_VECTOR_BYTES 32
#include "kernels.inc"
#endif
