// What the kernels that take lookups one by one need besides the problem.

#pragma once

#include <limits>

#include "cuda/launch.h"
#include "cuda/scatter.h"
#include "kernels/factors.cuh"

namespace embed_ops {

// Rows and lookups are counted in 32 bits below this.
constexpr int64_t kNarrowLimit = std::numeric_limits<uint32_t>::max();

template <class A>
LookupFactors<A> lookup_factors(const Factors& factors) {
  return {
      static_cast<const A*>(factors.coefficients), static_cast<A>(factors.scale),
      factors.by_length};
}

template <class Index>
SourcesView<Index> sources_of(const Scatter& problem) {
  return SourcesView<Index>(LookupsView<Index>(problem.lookups));
}

} // namespace embed_ops
