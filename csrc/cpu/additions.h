// What the lookups add to the gradient of their tables. Part of kernels.inc.

#pragma once

#include "simd.h"

namespace embed_ops::cpu::EMBED_OPS_ISA {

// A row of a slice and what is added to it: a row of grad_output or, for a maximum, an element of
// it, numbered as if it were contiguous.
class Addition {
 public:
  static constexpr int kRowBits = 20;

  Addition() = default;
  Addition(int64_t row, int64_t source) : bits_(source << kRowBits | row) {}

  EMBED_OPS_INLINE int64_t row() const {
    return bits_ & ((1 << kRowBits) - 1);
  }
  EMBED_OPS_INLINE int64_t source() const {
    return bits_ >> kRowBits;
  }

 private:
  int64_t bits_;
};

// Additions and, unless `scales` is null, the factor of each.
template <class A>
struct AdditionList {
  const Addition* data;
  const A* scales;
  int64_t size;
};

template <class T, class Index>
class AdditionReader {
 public:
  using A = Accumulator<T>;

  AdditionReader(const Scatter& problem, Offences& offences)
      : p_(problem),
        lookups_(problem.lookups),
        indices_(static_cast<const Index*>(problem.lookups.indices)),
        weights_(static_cast<const T*>(problem.lookups.per_sample_weights)),
        max_(problem.lookups.mode == Mode::kMax),
        single_(are_copies(problem.lookups)),
        scaled_(!single_ && (weights_ != nullptr || problem.lookups.mode == Mode::kMean)),
        offences_(offences) {}

  // Whether additions have factors other than 1.
  bool scaled() const {
    return scaled_;
  }

  // Calls f(row, source, factor) for what the bags of a run add to their table.
  template <class F>
  EMBED_OPS_INLINE void for_each(const Run& run, const F& f) const {
    if (max_) {
      for_each_maximum(run, f);
    } else if (single_) {
      for_each_single(run, f);
    } else {
      for_each_lookup(run, f);
    }
  }

  // The additions of a run, whose rows Addition can hold; valid until the next call.
  AdditionList<A> list(const Run& run) {
    const int64_t most = most_additions(run);
    if (most > capacity_) {
      additions_.reset(new Addition[most]);
      factors_.reset(scaled_ ? new A[most] : nullptr);
      capacity_ = most;
    }
    Addition* const additions = additions_.get();
    A* const factors = factors_.get();
    int64_t size = 0;
    for_each(run, [&](int64_t row, int64_t source, A factor) {
      additions[size] = Addition(row, source);
      if (factors != nullptr) {
        factors[size] = factor;
      }
      ++size;
    });
    return {additions, factors, size};
  }

  // The gradient of a maximum reads argmax only; this looks for offences among the indices.
  void check(const Run& run) const {
    for_each_lookup(run, [](int64_t, int64_t, A) {});
  }

 private:
  template <class F>
  EMBED_OPS_INLINE void for_each_single(const Run& run, const F& f) const {
    const int64_t num_rows = p_.tables[run.table].num_rows;
    const int64_t padding_idx = lookups_.padding_idx;
    const Index* index = indices_ + run[0].begin;
    for (int64_t i = 0; i < run.size; ++i, index += run.stride()) {
      if (__builtin_expect(!in_table(*index, num_rows), false)) {
        offences_.add(index - indices_);
      } else if (*index != padding_idx) {
        f(*index, run.sample + i, A(1));
      }
    }
  }

  template <class F>
  EMBED_OPS_INLINE void for_each_lookup(const Run& run, const F& f) const {
    const int64_t num_rows = p_.tables[run.table].num_rows;
    const int64_t padding_idx = lookups_.padding_idx;
    const Index* const indices = indices_;
    for (int64_t i = 0; i < run.size; ++i) {
      const Span bag = run[i];
      const A divisor = lookups_.mode == Mode::kMean ? weight_of(bag, num_rows) : A(1);
      for (int64_t j = bag.begin; j < bag.end; ++j) {
        const Index index = indices[j];
        if (__builtin_expect(!in_table(index, num_rows), false)) {
          offences_.add(j);
        } else if (index != padding_idx) {
          const A weight = weights_ == nullptr ? A(1) : static_cast<A>(weights_[j]);
          f(index, run.sample + i, scaled_ ? weight / divisor : A(1));
        }
      }
    }
  }

  // -1 is the maximum of an empty bag.
  template <class F>
  EMBED_OPS_INLINE void for_each_maximum(const Run& run, const F& f) const {
    const Table& table = p_.tables[run.table];
    const Index* const argmax = static_cast<const Index*>(p_.argmax);
    const int64_t end = (run.sample + run.size) * table.dim;
    for (int64_t element = run.sample * table.dim; element < end; ++element) {
      if (in_table(argmax[element], table.num_rows)) {
        f(argmax[element], element, A(1));
      }
    }
  }

  // What a mean divides by: as in the forward, by the lookups that count.
  A weight_of(const Span& bag, int64_t num_rows) const {
    A sum = 0;
    int64_t count = 0;
    for (int64_t j = bag.begin; j < bag.end; ++j) {
      if (in_table(indices_[j], num_rows) && indices_[j] != lookups_.padding_idx) {
        sum += weights_ == nullptr ? A(0) : static_cast<A>(weights_[j]);
        ++count;
      }
    }
    return weights_ == nullptr ? static_cast<A>(count) : sum;
  }

  int64_t most_additions(const Run& run) const {
    if (max_) {
      return run.size * p_.tables[run.table].dim;
    }
    int64_t most = 0;
    for (int64_t i = 0; i < run.size; ++i) {
      most += run[i].end - run[i].begin;
    }
    return most;
  }

  const Scatter& p_;
  const Lookups& lookups_;
  const Index* indices_;
  const T* weights_;
  bool max_;
  bool single_; // bags of one lookup
  bool scaled_;
  Offences& offences_;
  std::unique_ptr<Addition[]> additions_;
  std::unique_ptr<A[]> factors_;
  int64_t capacity_ = 0;
};

} // namespace embed_ops::cpu::EMBED_OPS_ISA
