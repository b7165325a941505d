// The element types of tables: which C++ type each dtype is, and in which type its sums are kept.

#pragma once

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <type_traits>

#include "common/dispatch.h"

namespace embed_ops::cpu {

using Half = c10::Half;
using BFloat16 = c10::BFloat16;

// 16-bit types are summed in float: a bfloat16 sum of ones stops growing at 256.
template <class T>
using Accumulator = std::conditional_t<std::is_same_v<T, double>, double, float>;

template <class F>
auto dispatch_dtype(DType dtype, F&& f) {
  switch (dtype) {
    case DType::kDouble: return f(TypeTag<double>{});
    case DType::kHalf: return f(TypeTag<Half>{});
    case DType::kBFloat16: return f(TypeTag<BFloat16>{});
    default: return f(TypeTag<float>{});
  }
}

} // namespace embed_ops::cpu
