// Programmatic dependent launch (CUDA Programming Guide; PTX griddepcontrol, sm_90): a kernel that
// is launched as the dependent of the one before it begins while that one still runs.

#pragma once

namespace embed_ops {

// In the earlier kernel: the dependent one may begin, as soon as there is room for it.
__device__ __forceinline__ void let_dependents_begin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// In the dependent kernel: waits until what the earlier one wrote can be seen.
__device__ __forceinline__ void wait_for_dependency() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// For a kernel in the middle of a chain, all of which depends on the one before it: launches
// overlap.
__device__ __forceinline__ void follow_the_chain() {
  let_dependents_begin();
  wait_for_dependency();
}

} // namespace embed_ops
