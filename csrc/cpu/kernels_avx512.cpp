// The kernels in AVX-512.

#include "kernels.h"

#ifdef EMBED_OPS_MANY_ISAS
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi,bmi2")
#define EMBED_OPS_ISA avx512
#define EMBED_OPS_VECTOR_BYTES 64
#include "kernels.inc"
#endif
