// The dense gradient of the tables. Part of kernels.inc.
//
// No atomics and no order that depends on the threads: the gradient is cut into slices of rows (and
// of columns, where one slice holds most of the work) that no other thread writes and that fit a
// cache. A slice is zeroed, takes its additions in the order of their lookups and is done, so the
// memory behind it is passed over once. Tables that fit a cache are one slice, which reads the
// lookups themselves; of larger ones each slice reads a list of its lookups, made by one stable
// distribution of all of them.

namespace embed_ops::cpu::EMBED_OPS_ISA {

// A row of a slice and what is added to it: a row of grad_output or, for a maximum, an element.
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

// Rows and columns of one table.
struct Slice {
  int64_t table;
  int64_t first_row;
  int64_t num_rows;
  int64_t first_column;
  int64_t last_column;
  int64_t first_addition; // in the list of all
  int64_t num_additions;
  int64_t share; // of the threads
};

template <class T>
void zero_rows(T* data, int64_t stride, const Slice& slice) {
  const int64_t width = slice.last_column - slice.first_column;
  if (width == stride) {
    std::memset(static_cast<void*>(data), 0, slice.num_rows * stride * sizeof(T));
    return;
  }
  for (int64_t row = 0; row < slice.num_rows; ++row) {
    std::memset(static_cast<void*>(data + row * stride + slice.first_column), 0, width * sizeof(T));
  }
}

// The sums of a slice in the making. Those of float and double are made in place.
template <class T>
class Sums {
 public:
  Sums(const Table& table, const Slice& slice, bool already_zero)
      : data_(static_cast<T*>(table.data) + slice.first_row * table.row_stride),
        stride_(table.row_stride) {
    if (!already_zero) {
      zero_rows(data_, stride_, slice);
    }
  }

  // Row `row` of the slice, all columns of the table.
  EMBED_OPS_INLINE T* row(int64_t row) {
    return data_ + row * stride_;
  }

  void finish() {}

 private:
  T* data_;
  int64_t stride_;
};

// Those of 16-bit types are made in float, for the rows that are named, and rounded once.
template <class T>
class RoundedSums {
 public:
  RoundedSums(const Table& table, const Slice& slice, bool already_zero)
      : data_(static_cast<T*>(table.data) + slice.first_row * table.row_stride),
        stride_(table.row_stride),
        slice_(slice),
        already_zero_(already_zero),
        width_(slice.last_column - slice.first_column),
        slots_(slice.num_rows, 0) {}

  EMBED_OPS_INLINE float* row(int64_t row) {
    if (slots_[row] == 0) {
      take_slot(row);
    }
    return sums_.data() + (slots_[row] - 1) * width_ - slice_.first_column;
  }

  void finish() {
    if (!already_zero_) {
      zero_rows(data_, stride_, slice_);
    }
    for_each_tile<float>(slice_.first_column, slice_.last_column, [&](const auto& tile) {
      for (size_t slot = 0; slot < rows_.size(); ++slot) {
        const float* sums = sums_.data() + slot * width_ - slice_.first_column + tile.first;
        T* out = data_ + rows_[slot] * stride_ + tile.first;
        for (int v = 0; v < tile.kVectors; ++v) {
          store(out + tile[v], load<tile.kLanes>(sums + tile[v]));
        }
      }
    });
  }

 private:
  __attribute__((noinline)) void take_slot(int64_t row) {
    rows_.push_back(row);
    slots_[row] = rows_.size();
    sums_.resize(rows_.size() * width_, 0.0f);
  }

  T* data_;
  int64_t stride_;
  const Slice& slice_;
  bool already_zero_;
  int64_t width_;
  std::vector<int64_t> slots_; // of each row, from 1 on; 0: none yet
  std::vector<int64_t> rows_;  // of each slot
  std::vector<float> sums_;
};

template <class T>
using SumsOf = std::conditional_t<sizeof(T) == 2, RoundedSums<T>, Sums<T>>;

// Adds rows of `grad` to rows of the slice, in the columns of one tile.
template <class T, class Tile>
EMBED_OPS_LOOP void add_rows(
    AdditionList<Accumulator<T>> list,
    Tile tile,
    const T* grad,
    int64_t grad_stride,
    int64_t ahead,
    SumsOf<T>& sums) {
  using A = Accumulator<T>;
  using V = Vector<A, Tile::kLanes>;
  grad += tile.first;
  for (int64_t i = 0; i < list.size; ++i) {
    if (ahead > 0 && i + ahead < list.size) {
      __builtin_prefetch(grad + list.data[i + ahead].source() * grad_stride);
    }
    const A scale = list.scales == nullptr ? A(1) : list.scales[i];
    const T* from = grad + list.data[i].source() * grad_stride;
    A* to = sums.row(list.data[i].row()) + tile.first;
    V values[Tile::kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < Tile::kVectors; ++v) {
      values[v] = load<Tile::kLanes>(to + tile[v]) + scale * load<Tile::kLanes>(from + tile[v]);
    }
#pragma GCC unroll 8
    for (int v = 0; v < Tile::kVectors; ++v) {
      store(to + tile[v], values[v]);
    }
  }
}

// Adds elements of grad_output, numbered as those of a contiguous (batch, dim).
template <class T>
void add_elements(
    const AdditionList<Accumulator<T>>& list,
    const T* grad,
    int64_t grad_stride,
    int64_t dim,
    SumsOf<T>& sums) {
  for (int64_t i = 0; i < list.size; ++i) {
    const int64_t sample = list.data[i].source() / dim;
    const int64_t column = list.data[i].source() % dim;
    sums.row(list.data[i].row())[column] +=
        static_cast<Accumulator<T>>(grad[sample * grad_stride + column]);
  }
}

template <class T, class Index>
class Scatterer {
 public:
  using A = Accumulator<T>;

  Scatterer(const Scatter& problem, Offences& offences)
      : p_(problem),
        lookups_(problem.lookups),
        indices_(static_cast<const Index*>(problem.lookups.indices)),
        weights_(static_cast<const T*>(problem.lookups.per_sample_weights)),
        max_(problem.lookups.mode == Mode::kMax),
        scaled_(weights_ != nullptr || problem.lookups.mode == Mode::kMean),
        offences_(offences) {
    int64_t elements = 0;
    int64_t largest = 0;
    for (const Table& table : p_.tables) {
      elements += table.num_rows * table.dim;
      largest = std::max(largest, table.num_rows * table.dim);
    }
    const int64_t reads = std::max(lookups_.num_indices, lookups_.num_bags()) * p_.tables[0].dim;
    threads_ = threads_for((elements + reads) * sizeof(T));
    one_slice_a_table_ = largest * static_cast<int64_t>(sizeof(A)) <= kDirectBytes;
  }

  void run() {
    if (max_) {
      check_indices();
    }
    if (one_slice_a_table_) {
      add_from_lookups();
    } else {
      add_from_lists();
    }
  }

 private:
  static constexpr int64_t kDirectBytes = 1 << 20;
  static constexpr int64_t kSliceBytes = 1 << 18;
  static constexpr int64_t kMaxSlices = 1 << 14;

  // The gradient of a maximum reads argmax only.
  void check_indices() const {
    const BagShares bags(lookups_, threads_);
    parallel_shares(threads_, [&](int64_t share) {
      bags.for_each_run(
          share, [&](const Run& run) { for_each_lookup(run, [](int64_t, int64_t, A) {}); });
    });
  }

  // Calls f(row, source, scale) for what the bags of a run add to their table.
  template <class F>
  EMBED_OPS_INLINE void for_each_addition(const Run& run, const F& f) const {
    if (max_) {
      for_each_maximum(run, f);
    } else {
      for_each_lookup(run, f);
    }
  }

  template <class F>
  EMBED_OPS_INLINE void for_each_lookup(const Run& run, const F& f) const {
    const int64_t num_rows = p_.tables[run.table].num_rows;
    for (int64_t i = 0; i < run.size; ++i) {
      const Span bag = run[i];
      const A divisor = lookups_.mode == Mode::kMean ? weight_of(bag, num_rows) : A(1);
      for (int64_t j = bag.begin; j < bag.end; ++j) {
        const Index index = indices_[j];
        if (__builtin_expect(!in_table(index, num_rows), false)) {
          offences_.add(j);
        } else if (index != lookups_.padding_idx) {
          const A weight = weights_ == nullptr ? A(1) : static_cast<A>(weights_[j]);
          f(index, run.sample + i, scaled_ ? weight / divisor : A(1));
        }
      }
    }
  }

  // What a mean divides by: as in the forward, by the lookups that count.
  A weight_of(const Span& bag, int64_t num_rows) const {
    A sum = 0;
    int64_t counted = 0; // fp32 counts no further than 2^24
    for (int64_t j = bag.begin; j < bag.end; ++j) {
      if (in_table(indices_[j], num_rows) && indices_[j] != lookups_.padding_idx) {
        ++counted;
        sum += weights_ == nullptr ? A(0) : static_cast<A>(weights_[j]);
      }
    }
    return weights_ == nullptr ? static_cast<A>(counted) : sum;
  }

  // -1 is the maximum of an empty bag.
  template <class F>
  EMBED_OPS_INLINE void for_each_maximum(const Run& run, const F& f) const {
    const Table& table = p_.tables[0];
    const Index* argmax = static_cast<const Index*>(p_.argmax);
    const int64_t end = (run.sample + run.size) * table.dim;
    for (int64_t element = run.sample * table.dim; element < end; ++element) {
      if (in_table(argmax[element], table.num_rows)) {
        f(argmax[element], element, A(1));
      }
    }
  }

  // Every table is one slice, whose additions are listed run by run.
  void add_from_lookups() const {
    std::vector<Slice> slices;
    for (int64_t t = 0; t < lookups_.num_tables; ++t) {
      const int64_t lookups = lookups_.num_indices / lookups_.num_tables;
      slices.push_back({t, 0, p_.tables[t].num_rows, 0, p_.tables[t].dim, 0, lookups, 0});
    }
    const BagShares bags(lookups_, 1);
    for_each_slice(slices, [&](const Slice& slice) {
      std::vector<Addition> additions;
      std::vector<A> scales;
      const auto for_each_list = [&](const auto& f) {
        bags.for_each_run(0, [&](const Run& run) {
          if (run.table == slice.table) {
            additions.clear();
            scales.clear();
            for_each_addition(run, [&](int64_t row, int64_t source, A scale) {
              additions.push_back(Addition(row, source));
              if (scaled_) {
                scales.push_back(scale);
              }
            });
            f(AdditionList<A>{
                additions.data(), scaled_ ? scales.data() : nullptr,
                static_cast<int64_t>(additions.size())});
          }
        });
      };
      add_to_slice(slice, for_each_list);
    });
  }

  void add_from_lists() const {
    // The slices of table t begin at first_slice[t] and hold 2^shift[t] rows.
    std::vector<Slice> slices;
    std::vector<int64_t> first_slice;
    std::vector<int> shift;
    for (int64_t t = 0; t < lookups_.num_tables; ++t) {
      const Table& table = p_.tables[t];
      int bits = 0;
      while (bits < Addition::kRowBits &&
             ((table.dim * static_cast<int64_t>(sizeof(A)) << (bits + 1)) <= kSliceBytes ||
              (table.num_rows >> bits) > kMaxSlices)) {
        ++bits;
      }
      first_slice.push_back(slices.size());
      shift.push_back(bits);
      for (int64_t row = 0; row < table.num_rows; row += int64_t(1) << bits) {
        slices.push_back(
            {t, row, std::min(int64_t(1) << bits, table.num_rows - row), 0, table.dim, 0, 0, 0});
      }
    }

    // next[share * num_slices + slice]: first the count, then where the next addition goes.
    const int64_t num_slices = slices.size();
    std::vector<int64_t> next(threads_ * num_slices, 0);
    const BagShares bags(lookups_, threads_);
    parallel_shares(threads_, [&](int64_t share) {
      bags.for_each_run(share, [&](const Run& run) {
        int64_t* counts = next.data() + share * num_slices + first_slice[run.table];
        const int bits = shift[run.table];
        for_each_addition(run, [&](int64_t row, int64_t, A) { ++counts[row >> bits]; });
      });
    });
    int64_t total = 0;
    for (int64_t slice = 0; slice < num_slices; ++slice) {
      slices[slice].first_addition = total;
      for (int64_t share = 0; share < threads_; ++share) {
        total += std::exchange(next[share * num_slices + slice], total);
      }
      slices[slice].num_additions = total - slices[slice].first_addition;
    }
    const std::unique_ptr<Addition[]> additions(new Addition[total]);
    const std::unique_ptr<A[]> scales(scaled_ ? new A[total] : nullptr);
    parallel_shares(threads_, [&](int64_t share) {
      bags.for_each_run(share, [&](const Run& run) {
        int64_t* cursors = next.data() + share * num_slices + first_slice[run.table];
        const int bits = shift[run.table];
        const int64_t row_mask = (int64_t(1) << bits) - 1;
        for_each_addition(run, [&](int64_t row, int64_t source, A scale) {
          const int64_t at = cursors[row >> bits]++;
          additions[at] = Addition(row & row_mask, source);
          if (scaled_) {
            scales[at] = scale;
          }
        });
      });
    });

    for_each_slice(slices, [&](const Slice& slice) {
      const A* slice_scales = scaled_ ? scales.get() + slice.first_addition : nullptr;
      const AdditionList<A> list{
          additions.get() + slice.first_addition, slice_scales, slice.num_additions};
      add_to_slice(slice, [&](const auto& f) { f(list); });
    });
  }

  // Calls f for every slice on the threads, after cutting those into columns that would keep one
  // thread busy when the others are done.
  template <class F>
  void for_each_slice(const std::vector<Slice>& slices, const F& f) const {
    constexpr int64_t kColumnsOfLine = 64 / sizeof(T);
    const auto cost_of = [](const Slice& slice) {
      return (slice.num_rows + 4 * slice.num_additions) * (slice.last_column - slice.first_column);
    };
    int64_t total = 1;
    for (const Slice& slice : slices) {
      total += cost_of(slice);
    }
    std::vector<Slice> parts;
    int64_t before = 0;
    for (Slice slice : slices) {
      const int64_t width = slice.last_column;
      const int64_t lines = width / kColumnsOfLine;
      const bool cut = cost_of(slice) * threads_ * 2 > total && !max_;
      const int64_t count = cut ? std::clamp<int64_t>(lines, 1, threads_) : 1;
      for (int64_t part = 0; part < count; ++part) {
        slice.first_column = lines * part / count * kColumnsOfLine;
        slice.last_column = part + 1 == count ? width : lines * (part + 1) / count * kColumnsOfLine;
        const int64_t cost = cost_of(slice);
        slice.share = (before + cost / 2) * threads_ / total;
        before += cost;
        parts.push_back(slice);
      }
    }
    parallel_shares(threads_, [&](int64_t share) {
      for (const Slice& slice : parts) {
        if (slice.share == share) {
          f(slice);
        }
      }
    });
  }

  // for_each_list(f) calls f with lists of the additions to the slice.
  template <class F>
  void add_to_slice(const Slice& slice, const F& for_each_list) const {
    const Table& table = p_.tables[slice.table];
    SumsOf<T> sums(table, slice, p_.already_zero);
    const T* grad = static_cast<const T*>(p_.grad_output) + table.column;
    const int64_t ahead = 16;
    std::vector<int64_t> frequencies;
    if (p_.scale_grad_by_freq) {
      frequencies.assign(slice.num_rows, 0);
      for_each_list([&](const AdditionList<A>& list) {
        for (int64_t i = 0; i < list.size; ++i) {
          ++frequencies[list.data[i].row()];
        }
      });
    }
    std::vector<A> scales;
    for_each_list([&](AdditionList<A> list) {
      if (max_) {
        return add_elements(list, grad, p_.grad_stride, table.dim, sums);
      }
      if (p_.scale_grad_by_freq) {
        scales.resize(list.size);
        for (int64_t i = 0; i < list.size; ++i) {
          const A scale = list.scales == nullptr ? A(1) : list.scales[i];
          scales[i] = scale / static_cast<A>(frequencies[list.data[i].row()]);
        }
        list.scales = scales.data();
      }
      for_each_tile<A>(slice.first_column, slice.last_column, [&](const auto& tile) {
        add_rows(list, tile, grad, p_.grad_stride, ahead, sums);
      });
    });
    sums.finish();
  }

  const Scatter& p_;
  const Lookups& lookups_;
  const Index* indices_;
  const T* weights_;
  bool max_;
  bool scaled_;
  Offences& offences_;
  int64_t threads_;
  bool one_slice_a_table_;
};

inline void scatter(const Scatter& p, Offences& offences) {
  dispatch_dtype(p.dtype, [&](auto dtype) {
    dispatch_index(p.lookups.indices_are_64bit, [&](auto index) {
      Scatterer<typename decltype(dtype)::type, typename decltype(index)::type>(p, offences).run();
    });
  });
}

} // namespace embed_ops::cpu::EMBED_OPS_ISA
