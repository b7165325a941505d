// How the rows of a bag become one: a combiner holds the state of kColumns columns of one lane.

#pragma once

#include <cstdint>

#include "common/problem.h"
#include "kernels/vec.cuh"

namespace embed_ops {

// Sum and mean, weighted or not.
template <class T, class Index, int kColumns, bool kWeighted>
struct Summer {
  static constexpr bool kIsWeighted = kWeighted;
  static constexpr bool kIsMax = false;

  Vec<Acc<T>, kColumns> sum;

  __device__ __forceinline__ void reset() {
    sum = zeros<Acc<T>, kColumns>();
  }

  __device__ __forceinline__ void add(const Vec<Acc<T>, kColumns>& row, Index, Acc<T> weight) {
#pragma unroll
    for (int i = 0; i < kColumns; ++i) {
      sum.v[i] += kWeighted ? weight * row.v[i] : row.v[i];
    }
  }

  __device__ __forceinline__ void merge(const Summer& later) {
#pragma unroll
    for (int i = 0; i < kColumns; ++i) {
      sum.v[i] += later.sum.v[i];
    }
  }

  // Merges with the lane `distance` away, a power of two, which does the same.
  __device__ __forceinline__ void exchange(int distance, int /*lane*/) {
#pragma unroll
    for (int i = 0; i < kColumns; ++i) {
      sum.v[i] += __shfl_xor_sync(0xffffffffu, sum.v[i], distance);
    }
  }

  __device__ __forceinline__ void divide(Acc<T> divisor) {
#pragma unroll
    for (int i = 0; i < kColumns; ++i) {
      sum.v[i] /= divisor;
    }
  }

  // Stores kVec columns, from the lane's `first` on.
  template <int kVec>
  __device__ __forceinline__ void store(int first, T* output, Index* /*argmax*/) const {
    store_narrowed<T, kVec>(output, sub_vec<kVec>(sum, first));
  }
};

// The greatest element and the row it came from: the first of equals; NaN is above everything.
template <class T, class Index, int kColumns>
struct Maximum {
  static constexpr bool kIsWeighted = false;
  static constexpr bool kIsMax = true;

  Vec<Acc<T>, kColumns> best;
  Index argmax[kColumns];
  bool empty;

  __device__ __forceinline__ void reset() {
    best = zeros<Acc<T>, kColumns>();
#pragma unroll
    for (int i = 0; i < kColumns; ++i) {
      argmax[i] = -1;
    }
    empty = true;
  }

  __device__ __forceinline__ void offer(int i, Acc<T> candidate, Index row, bool first) {
    const Acc<T> current = best.v[i];
    if (first || candidate > current || (candidate != candidate && current == current)) {
      best.v[i] = candidate;
      argmax[i] = row;
    }
  }

  __device__ __forceinline__ void add(const Vec<Acc<T>, kColumns>& row, Index index, Acc<T>) {
#pragma unroll
    for (int i = 0; i < kColumns; ++i) {
      offer(i, row.v[i], index, empty);
    }
    empty = false;
  }

  __device__ __forceinline__ void merge(const Maximum& later) {
    if (!later.empty) {
#pragma unroll
      for (int i = 0; i < kColumns; ++i) {
        offer(i, later.best.v[i], later.argmax[i], empty);
      }
      empty = false;
    }
  }

  // As above; of the two the one whose `lane` lacks the bit of `distance` is the earlier.
  __device__ __forceinline__ void exchange(int distance, int lane) {
    Maximum other;
#pragma unroll
    for (int i = 0; i < kColumns; ++i) {
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

  // As above.
  template <int kVec>
  __device__ __forceinline__ void store(int first, T* output, Index* argmax_output) const {
    store_narrowed<T, kVec>(output, sub_vec<kVec>(best, first));
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      argmax_output[i] = argmax[first + i];
    }
  }
};

} // namespace embed_ops
