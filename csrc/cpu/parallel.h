// Splits work among the threads of torch's pool.

#pragma once

#include <torch/csrc/stable/ops.h>

#include <algorithm>

namespace embed_ops::cpu {

// How many threads are worth waking to move `bytes`.
inline int64_t threads_for(int64_t bytes) {
  constexpr int64_t kBytesWorthAThread = 1 << 15;
  const int64_t threads = torch::stable::get_num_threads();
  return std::clamp<int64_t>(bytes / kBytesWorthAThread, 1, threads);
}

// Calls f(share) for every share in [0, shares), each on one thread.
template <class F>
void parallel_shares(int64_t shares, const F& f) {
  if (shares == 1) {
    return f(0);
  }
  torch::stable::parallel_for(0, shares, 1, [&](int64_t begin, int64_t end) {
    for (int64_t share = begin; share < end; ++share) {
      f(share);
    }
  });
}

// Calls f(item) for every item in [0, items), neighbours on the same thread.
template <class F>
void parallel_items(int64_t shares, int64_t items, const F& f) {
  if (items > 0) {
    parallel_shares(shares, [&](int64_t share) {
      for (int64_t item = items * share / shares; item < items * (share + 1) / shares; ++item) {
        f(item);
      }
    });
  }
}

} // namespace embed_ops::cpu
