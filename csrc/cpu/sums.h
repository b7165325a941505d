// Sums of gradients in the making. Part of kernels.inc.

#pragma once

#include "additions.h"
#include "simd.h"

namespace embed_ops::cpu::EMBED_OPS_ISA {

// Consecutive rows of one table.
struct Slice {
  int64_t table;
  int64_t first_row;
  int64_t num_rows;
};

// Plain stores: memset's string instruction takes longer where the memory is cached.
inline void zero_bytes(void* data, int64_t bytes) {
  uint8_t* const to = static_cast<uint8_t*>(data);
  for_each_tile<uint8_t>(0, bytes, [&](const auto& tile) {
    for (int v = 0; v < tile.kVectors; ++v) {
      store_bits(to + tile.first + tile[v], Vector<uint8_t, tile.kLanes>{});
    }
  });
}

template <class T>
void zero_rows(T* data, int64_t stride, int64_t num_rows, int64_t dim) {
  if (dim == stride) {
    return zero_bytes(data, num_rows * dim * sizeof(T));
  }
  for (int64_t row = 0; row < num_rows; ++row) {
    zero_bytes(data + row * stride, dim * sizeof(T));
  }
}

// Sums of those rows of a slice that are named, apart from the table.
template <class A>
class NamedSums {
 public:
  // For at most `most_named` different rows out of `num_rows`.
  void begin(int64_t num_rows, int64_t most_named, int64_t dim) {
    for (const int64_t row : rows_) {
      slots_[row] = 0;
    }
    rows_.clear();
    slots_.resize(std::max<int64_t>(slots_.size(), num_rows));
    dim_ = dim;
    const int64_t most_sums = std::min(num_rows, most_named) * dim;
    if (most_sums > capacity_) {
      sums_.reset(new A[most_sums]);
      capacity_ = most_sums;
    }
  }

  EMBED_OPS_INLINE A* row(int64_t row) {
    if (__builtin_expect(slots_[row] == 0, false)) {
      take_slot(row);
    }
    return sums_.get() + (slots_[row] - 1) * dim_;
  }

  // Calls f(row, sums) for each named row, in the order in which they were named first.
  template <class F>
  EMBED_OPS_INLINE void for_each_row(const F& f) const {
    const A* sums = sums_.get();
    for (const int64_t row : rows_) {
      f(row, sums);
      sums += dim_;
    }
  }

 private:
  __attribute__((noinline)) void take_slot(int64_t row) {
    std::fill_n(sums_.get() + rows_.size() * dim_, dim_, A(0));
    rows_.push_back(row);
    slots_[row] = rows_.size();
  }

  std::vector<uint32_t> slots_; // of each row, from 1 on; 0: none
  std::vector<int64_t> rows_;   // of each slot
  std::unique_ptr<A[]> sums_;
  int64_t capacity_ = 0;
  int64_t dim_ = 0;
};

// The sums of a slice, made in the table itself.
template <class A>
class SumsInPlace {
 public:
  void begin(const Table& table, const Slice& slice, int64_t /*most_named*/, bool already_zero) {
    data_ = static_cast<A*>(table.data) + slice.first_row * table.row_stride;
    stride_ = table.row_stride;
    if (!already_zero) {
      zero_rows(data_, stride_, slice.num_rows, table.dim);
    }
  }

  // Row `row` of the slice.
  EMBED_OPS_INLINE A* row(int64_t row) {
    return data_ + row * stride_;
  }

  void finish() {}

 private:
  A* data_;
  int64_t stride_;
};

// Those of 16-bit types, made in float and rounded once.
template <class T>
class RoundedSums {
 public:
  void begin(const Table& table, const Slice& slice, int64_t most_named, bool already_zero) {
    data_ = static_cast<T*>(table.data) + slice.first_row * table.row_stride;
    stride_ = table.row_stride;
    dim_ = table.dim;
    if (!already_zero) {
      zero_rows(data_, stride_, slice.num_rows, dim_);
    }
    named_.begin(slice.num_rows, most_named, dim_);
  }

  EMBED_OPS_INLINE float* row(int64_t row) {
    return named_.row(row);
  }

  void finish() {
    dispatch_columns<float>(0, dim_, [&](const auto& columns) {
      named_.for_each_row([&](int64_t row, const float* sums) {
        T* const out = data_ + row * stride_;
        columns.for_each_tile([&](const auto& tile) {
          for (int v = 0; v < tile.kVectors; ++v) {
            const int64_t column = tile.first + tile[v];
            store(out + column, load<tile.kLanes>(sums + column));
          }
        });
      });
    });
  }

 private:
  T* data_;
  int64_t stride_;
  int64_t dim_;
  NamedSums<float> named_;
};

// Adds `factor` times the elements of `from` to those of `to`, in one tile of columns.
template <class T, class A, class Tile>
EMBED_OPS_INLINE void add_tile(const Tile& tile, const T* from, A factor, A* to) {
  constexpr int N = Tile::kLanes;
  constexpr int K = Tile::kVectors;
  from += tile.first;
  to += tile.first;
  Vector<A, N> values[K];
#pragma GCC unroll 8
  for (int v = 0; v < K; ++v) {
    values[v] = load<N>(to + tile[v]) + factor * load<N>(from + tile[v]);
  }
#pragma GCC unroll 8
  for (int v = 0; v < K; ++v) {
    store(to + tile[v], values[v]);
  }
}

// Adds rows of `grad` to sums.
template <class T, class Sums, class Columns>
EMBED_OPS_LOOP void add_rows(
    AdditionList<Accumulator<T>> list,
    Columns columns,
    const T* grad,
    int64_t grad_stride,
    Sums& sums) {
  using A = Accumulator<T>;
  constexpr int64_t kAhead = 16;
  for (int64_t i = 0; i < list.size; ++i) {
    if (i + kAhead < list.size) {
      __builtin_prefetch(grad + list.data[i + kAhead].source() * grad_stride);
    }
    const A factor = list.scales == nullptr ? A(1) : list.scales[i];
    const T* from = grad + list.data[i].source() * grad_stride;
    A* to = sums.row(list.data[i].row());
    columns.for_each_tile([&](const auto& tile)
                              __attribute__((always_inline)) { add_tile(tile, from, factor, to); });
  }
}

// Adds elements of `grad` to sums: what the gradient of a maximum does.
template <class T, class Sums>
void add_elements(
    const AdditionList<Accumulator<T>>& list,
    int64_t dim,
    const T* grad,
    int64_t grad_stride,
    Sums& sums) {
  for (int64_t i = 0; i < list.size; ++i) {
    const int64_t sample = list.data[i].source() / dim;
    const int64_t column = list.data[i].source() % dim;
    sums.row(list.data[i].row())[column] +=
        static_cast<Accumulator<T>>(grad[sample * grad_stride + column]);
  }
}

template <class A, class Sums>
void add_sums(const NamedSums<A>& more, int64_t dim, Sums& sums) {
  dispatch_columns<A>(0, dim, [&](const auto& columns) {
    more.for_each_row([&](int64_t row, const A* from) {
      A* const to = sums.row(row);
      columns.for_each_tile([&](const auto& tile) { add_tile(tile, from, A(1), to); });
    });
  });
}

} // namespace embed_ops::cpu::EMBED_OPS_ISA
