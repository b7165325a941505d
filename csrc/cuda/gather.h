// The two forwards: one row per bag is copied, more are pooled.

#pragma once

#include "cuda/backend.h"

namespace embed_ops {

void copy_rows(Cuda& cuda, const Gather& problem, int64_t vec_bytes);
void pool_rows(Cuda& cuda, const Gather& problem, int64_t vec_bytes);

// The mean number of lookups in a bag, which launch plans go by.
inline int64_t mean_length(const Lookups& lookups) {
  return lookups.offsets == nullptr
      ? lookups.hotness
      : lookups.num_indices / std::max<int64_t>(lookups.num_bags(), 1);
}

// Whether every bag is one lookup that always counts.
inline bool is_copy(const Lookups& lookups) {
  return lookups.offsets == nullptr && lookups.hotness == 1 && lookups.mode == Mode::kSum &&
      lookups.per_sample_weights == nullptr && lookups.padding_idx == kNoPadding;
}

} // namespace embed_ops
