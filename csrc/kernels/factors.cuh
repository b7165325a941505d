// What the gradient of a lookup is multiplied by.

#pragma once

#include "kernels/sources.cuh"

namespace embed_ops {

template <class A>
struct LookupFactors {
  const A* coefficients; // by position; null: 1
  A scale;
  bool by_length; // divide by the length of the bag

  __device__ __forceinline__ A of(const Source& source) const {
    A factor = coefficients == nullptr ? scale : scale * coefficients[source.position];
    if (by_length) {
      factor /= static_cast<A>(source.length);
    }
    return factor;
  }
};

} // namespace embed_ops
