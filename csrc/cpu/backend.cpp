// Runs each problem with the kernels of the best instruction set of this machine.

#include "backend.h"

#include <cstdlib>

#include "kernels.h"
#include "memory.h"

namespace embed_ops {
namespace cpu {

namespace {

int64_t size_of(DType dtype) {
  return dispatch_dtype(
      dtype, [](auto tag) { return static_cast<int64_t>(sizeof(typename decltype(tag)::type)); });
}

} // namespace

const Kernels& kernels() {
#ifdef EMBED_OPS_MANY_ISAS
  static const Kernels& chosen = [&]() -> const Kernels& {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
      return avx512::kKernels;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("f16c") && __builtin_cpu_supports("bmi2")) {
      return avx2::kKernels;
    }
    return baseline::kKernels;
  }();
  return chosen;
#else
  return baseline::kKernels;
#endif
}

} // namespace cpu

void Cpu::gather(const Gather& problem) {
  cpu::Offences offences(problem.op, problem.lookups, problem.tables);
  const int64_t elements = problem.lookups.batch * problem.output_stride;
  cpu::expect_writes(problem.output, elements * cpu::size_of(problem.dtype));
  cpu::kernels().gather(problem, offences);
  offences.raise_first();
}

void Cpu::scatter(const Scatter& problem) {
  cpu::Offences offences(problem.op, problem.lookups, problem.tables);
  if (!problem.already_zero) {
    for (const Table& table : problem.tables) {
      const int64_t elements = table.num_rows * table.row_stride;
      cpu::expect_writes(table.data, elements * cpu::size_of(problem.dtype));
    }
  }
  cpu::kernels().scatter(problem, offences);
  offences.raise_first();
}

void Cpu::weights_grad(const WeightsGrad& problem) {
  cpu::Offences offences(problem.op, problem.lookups, problem.tables);
  cpu::kernels().weights_grad(problem, offences);
  offences.raise_first();
}

} // namespace embed_ops
