// N elements moved as one access, and the type that sums are held in.

#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

namespace embed_ops {

template <class T, int N>
struct alignas(sizeof(T) * N) Vec {
  T v[N];
};

// 16-bit types are summed in fp32.
template <class T>
struct AccOf {
  using type = float;
};
template <>
struct AccOf<double> {
  using type = double;
};
template <class T>
using Acc = typename AccOf<T>::type;

template <class T>
__device__ __forceinline__ Acc<T> to_acc(T value) {
  return static_cast<Acc<T>>(value);
}
template <>
__device__ __forceinline__ float to_acc<__half>(__half value) {
  return __half2float(value);
}
template <>
__device__ __forceinline__ float to_acc<__nv_bfloat16>(__nv_bfloat16 value) {
  return __bfloat162float(value);
}

template <class T>
__device__ __forceinline__ T from_acc(Acc<T> value) {
  return static_cast<T>(value);
}
template <>
__device__ __forceinline__ __half from_acc<__half>(float value) {
  return __float2half_rn(value);
}
template <>
__device__ __forceinline__ __nv_bfloat16 from_acc<__nv_bfloat16>(float value) {
  return __float2bfloat16_rn(value);
}

template <class T>
__device__ __forceinline__ T shuffle_xor(T value, int distance) {
  return __shfl_xor_sync(0xffffffffu, value, distance);
}

// Keep the compiler from computing a value anew at every use, as it does, for want of registers,
// with what derives from kernel arguments.
__device__ __forceinline__ uint32_t in_register(uint32_t value) {
  asm("" : "+r"(value));
  return value;
}

__device__ __forceinline__ uint64_t in_register(uint64_t value) {
  asm("" : "+l"(value));
  return value;
}

template <class T>
__device__ __forceinline__ T* in_register(T* pointer) {
  asm("" : "+l"(pointer));
  __builtin_assume(__isGlobal(pointer));
  return pointer;
}

// The same column as `columns`, of row 0, in row `row`: one multiply-add (mad.wide.u32).
template <class T>
__device__ __forceinline__ const T* row_at(const T* columns, uint32_t row, uint32_t row_bytes) {
  const T* address;
  asm("mad.wide.u32 %0, %1, %2, %3;" : "=l"(address) : "r"(row), "r"(row_bytes), "l"(columns));
  __builtin_assume(__isGlobal(address));
  return address;
}

template <class T>
__device__ __forceinline__ const T* row_at(const T* columns, uint64_t row, uint64_t row_bytes) {
  return reinterpret_cast<const T*>(reinterpret_cast<const char*>(columns) + row * row_bytes);
}

template <class T, int N>
__device__ __forceinline__ Vec<T, N> load(const T* address) {
  return *reinterpret_cast<const Vec<T, N>*>(address);
}

template <class T, int N>
__device__ __forceinline__ Vec<T, N> zeros() {
  Vec<T, N> vec;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    vec.v[i] = T(0.0f);
  }
  return vec;
}

// The N elements of `vec` from `first` on.
template <int N, class T, int M>
__device__ __forceinline__ Vec<T, N> sub_vec(const Vec<T, M>& vec, int first) {
  Vec<T, N> sub;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    sub.v[i] = vec.v[first + i];
  }
  return sub;
}

template <class T, int N>
__device__ __forceinline__ Vec<Acc<T>, N> widen(const Vec<T, N>& vec) {
  Vec<Acc<T>, N> wide;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    wide.v[i] = to_acc(vec.v[i]);
  }
  return wide;
}

// Of a word of two 16-bit elements the lower or the upper one.
template <class T>
__device__ __forceinline__ float acc_of_word(uint32_t word, bool upper) {
  if constexpr (std::is_same_v<T, __half>) {
    return __half2float(__ushort_as_half(static_cast<uint16_t>(upper ? word >> 16 : word)));
  } else {
    return __uint_as_float(upper ? word & 0xffff0000u : word << 16);
  }
}

// N elements as an access leaves them in registers: 16-bit ones in words of two, each one
// instruction away from fp32. Those of a Vec the compiler takes out of their words and puts
// together anew.
template <class T, int N>
struct Packed {
  static constexpr bool kInWords = sizeof(T) == 2;
  using Word = std::conditional_t<kInWords, uint32_t, T>;
  static constexpr int kWords = kInWords ? (N + 1) / 2 : N;

  Vec<Word, kWords> words;

  __device__ __forceinline__ void clear() {
    words = zeros<Word, kWords>();
  }

  __device__ __forceinline__ void load(const T* address) {
    if constexpr (sizeof(T) * N == 2) {
      words.v[0] = *reinterpret_cast<const uint16_t*>(address);
    } else {
      words = *reinterpret_cast<const Vec<Word, kWords>*>(address);
    }
  }

  __device__ __forceinline__ Acc<T> operator[](int i) const {
    if constexpr (kInWords) {
      return acc_of_word<T>(words.v[i / 2], i % 2 == 1);
    } else {
      return words.v[i];
    }
  }
};

// Outputs are written once and not read again here: keep them from pushing table rows out of L2.
template <class T, int N>
__device__ __forceinline__ void store_streaming(T* address, const Vec<T, N>& vec) {
  constexpr int kBytes = sizeof(T) * N;
  if constexpr (kBytes == 16) {
    __stcs(reinterpret_cast<int4*>(address), *reinterpret_cast<const int4*>(&vec));
  } else if constexpr (kBytes == 8) {
    __stcs(reinterpret_cast<int2*>(address), *reinterpret_cast<const int2*>(&vec));
  } else if constexpr (kBytes == 4) {
    __stcs(reinterpret_cast<int*>(address), *reinterpret_cast<const int*>(&vec));
  } else {
    __stcs(reinterpret_cast<short*>(address), *reinterpret_cast<const short*>(&vec));
  }
}

template <class T, int N>
__device__ __forceinline__ void store_narrowed(T* address, const Vec<Acc<T>, N>& wide) {
  Vec<T, N> vec;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    vec.v[i] = from_acc<T>(wide.v[i]);
  }
  store_streaming<T, N>(address, vec);
}

template <class T, int N>
__device__ __forceinline__ void atomic_add_each(T* address, const Vec<T, N>& vec) {
#pragma unroll
  for (int i = 0; i < N; ++i) {
    atomicAdd(address + i, vec.v[i]);
  }
}

// sm_90 adds 16 bytes in one go (red.global.add.v4.f32, PTX ISA 8.1); elsewhere element by element.
// In PTX, since of atomicAdd the compiler may keep the old values that nobody asks for (ATOMG
// instead of REDG), which costs half as much again.
template <int N>
__device__ __forceinline__ void atomic_add(float* address, const Vec<float, N>& vec) {
#if __CUDA_ARCH__ >= 900
  if constexpr (N == 4) {
    asm volatile("red.relaxed.gpu.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(address),
                 "f"(vec.v[0]), "f"(vec.v[1]), "f"(vec.v[2]), "f"(vec.v[3])
                 : "memory");
  } else if constexpr (N == 2) {
    asm volatile("red.relaxed.gpu.global.add.v2.f32 [%0], {%1, %2};" ::"l"(address), "f"(vec.v[0]),
                 "f"(vec.v[1])
                 : "memory");
  } else {
    asm volatile("red.relaxed.gpu.global.add.f32 [%0], %1;" ::"l"(address), "f"(vec.v[0])
                 : "memory");
  }
#else
  atomic_add_each(address, vec);
#endif
}

template <int N>
__device__ __forceinline__ void atomic_add(double* address, const Vec<double, N>& vec) {
#pragma unroll
  for (int i = 0; i < N; ++i) {
    asm volatile("red.relaxed.gpu.global.add.f64 [%0], %1;" ::"l"(address + i), "d"(vec.v[i])
                 : "memory");
  }
}

} // namespace embed_ops
