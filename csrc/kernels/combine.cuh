// How the rows of a bag become one: a combiner holds the state of one lane.

#pragma once

#include <cstdint>

#include "common/problem.h"
#include "kernels/vec.cuh"

namespace embed_ops {

// Sum and mean, weighted or not.
template <class T, class Index, int kVec, bool kWeighted>
struct Summer {
  static constexpr bool kIsWeighted = kWeighted;
  static constexpr bool kIsMax = false;

  Vec<Acc<T>, kVec> sum;

  __device__ __forceinline__ void reset() {
    sum = zeros<Acc<T>, kVec>();
  }

  __device__ __forceinline__ void add(const Vec<T, kVec>& row, Index, Acc<T> weight) {
    const Vec<Acc<T>, kVec> wide = widen(row);
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      sum.v[i] += kWeighted ? weight * wide.v[i] : wide.v[i];
    }
  }

  __device__ __forceinline__ void merge(const Summer& later) {
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      sum.v[i] += later.sum.v[i];
    }
  }

  // Merges with the lane `distance` away, a power of two, which does the same.
  __device__ __forceinline__ void exchange(int distance, int /*lane*/) {
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      sum.v[i] += __shfl_xor_sync(0xffffffffu, sum.v[i], distance);
    }
  }

  __device__ __forceinline__ void divide(Acc<T> divisor) {
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      sum.v[i] /= divisor;
    }
  }

  __device__ __forceinline__ void store(T* output, Index* /*argmax*/) const {
    store_narrowed<T, kVec>(output, sum);
  }
};

// The greatest element and the row it came from: the first of equals; NaN is above everything.
template <class T, class Index, int kVec>
struct Maximum {
  static constexpr bool kIsWeighted = false;
  static constexpr bool kIsMax = true;

  Vec<T, kVec> best;
  Index argmax[kVec];
  bool empty;

  __device__ __forceinline__ void reset() {
    best = zeros<T, kVec>();
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      argmax[i] = -1;
    }
    empty = true;
  }

  __device__ __forceinline__ void offer(int i, T value, Index row, bool first) {
    const Acc<T> candidate = to_acc(value);
    const Acc<T> current = to_acc(best.v[i]);
    if (first || candidate > current || (candidate != candidate && current == current)) {
      best.v[i] = value;
      argmax[i] = row;
    }
  }

  __device__ __forceinline__ void add(const Vec<T, kVec>& row, Index index, Acc<T>) {
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      offer(i, row.v[i], index, empty);
    }
    empty = false;
  }

  __device__ __forceinline__ void merge(const Maximum& later) {
    if (!later.empty) {
#pragma unroll
      for (int i = 0; i < kVec; ++i) {
        offer(i, later.best.v[i], later.argmax[i], empty);
      }
      empty = false;
    }
  }

  // As above; of the two the one whose `lane` lacks the bit of `distance` is the earlier.
  __device__ __forceinline__ void exchange(int distance, int lane) {
    Maximum other;
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      other.best.v[i] = shuffle_xor(best.v[i], distance);
      other.argmax[i] = __shfl_xor_sync(0xffffffffu, argmax[i], distance);
    }
    other.empty = __shfl_xor_sync(0xffffffffu, empty, distance);
    if ((lane & distance) != 0) {
      const Maximum later = *this;
      *this = other;
      merge(later);
    } else {
      merge(other);
    }
  }

  __device__ __forceinline__ void store(T* output, Index* argmax_output) const {
    store_streaming<T, kVec>(output, best);
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      argmax_output[i] = argmax[i];
    }
  }
};

} // namespace embed_ops
