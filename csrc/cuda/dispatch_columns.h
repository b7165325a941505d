// How the columns of a row are shared out: from their number and alignment to the template argument
// of kernels that sum rows.

#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cuda/dispatch.h"
#include "kernels/lane_columns.cuh"
#include "kernels/vec.cuh"

namespace embed_ops {

// f(TypeTag<LaneColumns>): a lane sums 16 bytes of sums, in accesses of at most `vec_bytes`; of
// rows that are too narrow for that an element.
template <class T, class F>
void dispatch_columns(int64_t vec_bytes, const std::vector<Table>& tables, F&& f) {
  constexpr int kColumns = static_cast<int>(16 / sizeof(Acc<T>));
  dispatch_vec<T>(vec_bytes, [&](auto vec) {
    constexpr int kVec = std::min(decltype(vec)::value, kColumns);
    if constexpr (kVec == 1) {
      const auto count = static_cast<int64_t>(tables.size());
      if (table_range(tables, 0, count).widest <= kMostNarrow) {
        return f(TypeTag<LaneColumns<1, 1>>{});
      }
    }
    f(TypeTag<LaneColumns<kColumns, kVec>>{});
  });
}

} // namespace embed_ops
