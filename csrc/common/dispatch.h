// From run-time values to compile-time constants: dispatch(f, choices...) calls
// f(std::integral_constant...) with the constant that equals each run-time choice.

#pragma once

#include <type_traits>

#include "problem.h"

namespace embed_ops {

template <class T>
struct TypeTag {
  using type = T;
};

template <auto Value>
using Constant = std::integral_constant<decltype(Value), Value>;

template <class F>
auto dispatch_bool(bool value, F&& f) {
  return value ? f(Constant<true>{}) : f(Constant<false>{});
}

// The integer type of `indices` or `offsets`.
template <class F>
auto dispatch_index(bool is_64bit, F&& f) {
  return is_64bit ? f(TypeTag<int64_t>{}) : f(TypeTag<int32_t>{});
}

} // namespace embed_ops
