// Argument checks: every error names op, argument, what was expected and what came.
//
// The fake kernels repeat these checks in meta/checks.py with the same texts, which
// tests/test_wrong_arguments.py compares. pybind11 turns std::invalid_argument into ValueError and
// std::out_of_range into IndexError.

#pragma once

#include <torch/csrc/stable/device.h>
#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "problem.h"

namespace embed_ops {

using Shape = torch::headeronly::IntHeaderOnlyArrayRef;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

template <class... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream stream;
  (stream << ... << parts);
  return stream.str();
}

inline std::string dtype_name(ScalarType type) {
  switch (type) {
    case ScalarType::Byte: return "uint8";
    case ScalarType::Char: return "int8";
    case ScalarType::Short: return "int16";
    case ScalarType::Int: return "int32";
    case ScalarType::Long: return "int64";
    case ScalarType::Half: return "float16";
    case ScalarType::Float: return "float32";
    case ScalarType::Double: return "float64";
    case ScalarType::ComplexHalf: return "complex32";
    case ScalarType::ComplexFloat: return "complex64";
    case ScalarType::ComplexDouble: return "complex128";
    case ScalarType::Bool: return "bool";
    case ScalarType::BFloat16: return "bfloat16";
    case ScalarType::UInt16: return "uint16";
    case ScalarType::UInt32: return "uint32";
    case ScalarType::UInt64: return "uint64";
    case ScalarType::Float8_e4m3fn: return "float8_e4m3fn";
    case ScalarType::Float8_e5m2: return "float8_e5m2";
    default: return concat("dtype ", static_cast<int>(type));
  }
}

// As Python prints a tuple: (), (3,), (2, 3).
inline std::string shape_text(Shape shape) {
  std::string text = "(";
  for (size_t i = 0; i < shape.size(); ++i) {
    text += concat(i > 0 ? ", " : "", shape[i]);
  }
  return text + (shape.size() == 1 ? ",)" : ")");
}

inline std::string shape_text(const Tensor& tensor) {
  return shape_text(tensor.sizes());
}

inline std::string device_name(const Tensor& tensor) {
  if (tensor.is_cpu()) {
    return "cpu";
  }
  return concat(tensor.is_cuda() ? "cuda:" : "device:", tensor.get_device_index());
}

inline std::string quoted(const std::string& text) {
  return concat("'", text, "'");
}

inline DType dtype_of(const Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case ScalarType::Double: return DType::kDouble;
    case ScalarType::Half: return DType::kHalf;
    case ScalarType::BFloat16: return DType::kBFloat16;
    default: return DType::kFloat;
  }
}

// The checks of one call of the op `name`.
class Check {
 public:
  explicit Check(const char* name) : name_(name) {}

  [[noreturn]] void fail(const char* argument, const std::string& expected, const std::string& got)
      const {
    throw std::invalid_argument(
        concat("embed_ops::", name_, ": ", argument, ": expected ", expected, ", got ", got));
  }

  // For fixed texts. Where a text has to be put together, `if (...) { check.fail(...); }` does that
  // only when it is needed: it takes longer than a small lookup.
  void require(bool condition, const char* argument, const char* expected, const char* got) const {
    if (!condition) {
      fail(argument, expected, got);
    }
  }

  void float_dtype(const char* argument, const Tensor& tensor) const {
    const ScalarType type = tensor.scalar_type();
    if (type != ScalarType::Float && type != ScalarType::Double && type != ScalarType::Half &&
        type != ScalarType::BFloat16) {
      fail(argument, "dtype float32, float64, float16 or bfloat16", dtype_name(type));
    }
  }

  void index_dtype(const char* argument, const Tensor& tensor) const {
    const ScalarType type = tensor.scalar_type();
    if (type != ScalarType::Int && type != ScalarType::Long) {
      fail(argument, "dtype int32 or int64", dtype_name(type));
    }
  }

  void same_dtype(
      const char* argument,
      const Tensor& tensor,
      const char* other_name,
      const Tensor& other) const {
    if (tensor.scalar_type() != other.scalar_type()) {
      fail(
          argument, concat("dtype ", dtype_name(other.scalar_type()), " (as ", other_name, ")"),
          dtype_name(tensor.scalar_type()));
    }
  }

  void same_device(
      const char* argument,
      const Tensor& tensor,
      const char* other_name,
      const Tensor& other) const {
    if (tensor.is_cuda() != other.is_cuda() ||
        tensor.get_device_index() != other.get_device_index()) {
      fail(
          argument, concat("device ", device_name(other), " (as ", other_name, ")"),
          device_name(tensor));
    }
  }

  void rank(const char* argument, const Tensor& tensor, int64_t rank, const char* when = "") const {
    if (tensor.dim() != rank) {
      fail(
          argument, concat(rank, rank == 1 ? " dimension" : " dimensions", when),
          concat("shape ", shape_text(tensor)));
    }
  }

  void shape(const char* argument, const Tensor& tensor, Shape expected) const {
    const Shape sizes = tensor.sizes();
    if (!sizes.equals(expected)) {
      fail(argument, concat("shape ", shape_text(expected)), concat("shape ", shape_text(sizes)));
    }
  }

  void at_least(const char* argument, int64_t value, int64_t least) const {
    if (value < least) {
      fail(argument, concat("a value of at least ", least), concat(value));
    }
  }

  void padding_idx(int64_t padding_idx, int64_t num_rows) const {
    if (padding_idx != kNoPadding && (padding_idx < 0 || padding_idx >= num_rows)) {
      fail("padding_idx", concat("-1 or a value in [0, ", num_rows, ")"), concat(padding_idx));
    }
  }

  const char* name() const {
    return name_;
  }

 private:
  const char* name_;
};

} // namespace embed_ops
