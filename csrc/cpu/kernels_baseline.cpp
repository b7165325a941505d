// The kernels in the instruction set that the compiler is set to.

#include "kernels.h"

#define EMBED_OPS_ISA baseline
#define EMBED_OPS_VECTOR_BYTES 16
#include "kernels.inc"
