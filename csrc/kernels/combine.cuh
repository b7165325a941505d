// How the rows of a bag become one: a combiner holds the state of one lane.

#pragma once

#include <cstdint>

#include "common/problem.h"
#include "kernels/vec.cuh"

namespace embed_ops {

// Sum and mean, weighted or not. A mean divides by the number of rows added or, with weights, by
// the sum of their weights.
template <class T, class Index, int kVec, bool kWeighted>
struct Summer {
  static constexpr bool kIsWeighted = kWeighted;

  Vec<Acc<T>, kVec> sum;
  Acc<T> divisor;
  bool empty;

  __device__ __forceinline__ void reset() {
    sum = zeros<Acc<T>, kVec>();
    divisor = Acc<T>(0);
    empty = true;
  }

  __device__ __forceinline__ void add(const Vec<T, kVec>& row, Index, Acc<T> weight) {
    const Vec<Acc<T>, kVec> wide = widen(row);
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      sum.v[i] += kWeighted ? weight * wide.v[i] : wide.v[i];
    }
    divisor += kWeighted ? weight : Acc<T>(1);
    empty = false;
  }

  __device__ __forceinline__ void merge(const Summer& later) {
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      sum.v[i] += later.sum.v[i];
    }
    divisor += later.divisor;
    empty = empty && later.empty;
  }

  __device__ __forceinline__ void store(Mode mode, T* output, Index* /*argmax*/) {
    if (mode == Mode::kMean && !empty) {
#pragma unroll
      for (int i = 0; i < kVec; ++i) {
        sum.v[i] /= divisor;
      }
    }
    store_narrowed<T, kVec>(output, sum);
  }
};

// The greatest element and the row it came from: the first of equals; NaN is above everything.
template <class T, class Index, int kVec>
struct Maximum {
  static constexpr bool kIsWeighted = false;

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

  __device__ __forceinline__ void store(Mode, T* output, Index* argmax_output) {
    store_streaming<T, kVec>(output, best);
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      argmax_output[i] = argmax[i];
    }
  }
};

} // namespace embed_ops
