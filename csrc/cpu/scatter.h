// The dense gradient of the tables. Part of kernels.inc.
//
// No atomics, and no order of additions that depends on the threads. There are two ways.
//
// In parts: where lookups far outnumber the rows of one small table, they are cut into parts; each
// has sums of its own, and these are added up at the end.
//
// In slices: otherwise the gradient is cut into slices of rows that fit a cache. One stable
// distribution of the lookups gives each slice the list of its additions. A slice is zeroed, takes
// them in the order of the lookups and is done, so the memory behind it is passed over once. Of a
// slice with much of the work the list is cut into parts.
//
// What is cut, and where, depends on the problem and its indices alone.

#pragma once

#include "additions.h"
#include "sums.h"

namespace embed_ops::cpu::EMBED_OPS_ISA {

template <class T, class Index>
class Scatterer {
 public:
  using A = Accumulator<T>;

  Scatterer(const Scatter& problem, Offences& offences)
      : p_(problem),
        lookups_(problem.lookups),
        max_(problem.lookups.mode == Mode::kMax),
        reader_(problem, offences),
        offences_(offences) {
    for (const Table& table : p_.tables) {
      elements_ += table.num_rows * table.dim;
    }
    const int64_t dim = p_.tables[0].dim;
    added_ = max_ ? lookups_.batch * dim : lookups_.num_indices * dim;
    threads_ = threads_for((elements_ + added_) * sizeof(T));
  }

  void run() const {
    if (max_) {
      const BagShares bags(lookups_, threads_);
      parallel_shares(threads_, [&](int64_t share) {
        bags.for_each_run(share, [&](const Run& run) { reader_.check(run); });
      });
    }
    const int64_t parts = num_parts();
    if (parts > 0) {
      add_in_parts(parts);
    } else {
      add_in_slices();
    }
  }

 private:
  using Reader = AdditionReader<T, Index>;
  // Sums of a slice.
  using Sums = std::conditional_t<std::is_same_v<T, A>, SumsInPlace<A>, RoundedSums<T>>;

  // 0: in slices.
  int64_t num_parts() const {
    constexpr int64_t kCachedBytes = 1 << 20; // of all parts
    constexpr int64_t kAdditionsPerSum = 8;
    constexpr int64_t kMostParts = 8;
    const int64_t bytes = std::max<int64_t>(1, elements_ * sizeof(A));
    if (lookups_.num_tables > 1 || bytes > kCachedBytes) {
      return 0;
    }
    const int64_t parts = std::min(
        {kMostParts, kCachedBytes / bytes,
         added_ / (kAdditionsPerSum * std::max<int64_t>(1, elements_))});
    if (parts > 1) {
      return parts < 4 ? 2 : parts < 8 ? 4 : 8; // a power of two keeps most numbers of threads busy
    }
    // One part keeps one thread busy, which pays only while listing for slices takes as long. Not
    // for a single thread, though it would pay there: its sums are those of any number.
    return added_ * static_cast<int64_t>(sizeof(T)) < kCachedBytes ? 1 : 0;
  }

  void add_in_parts(int64_t parts) const {
    const Table& table = p_.tables[0];
    const Slice whole{0, 0, table.num_rows};
    const std::vector<int64_t> frequencies = frequencies_in(BagShares(lookups_, 1), whole);
    // The first part needs no memory of its own where the table can hold its sums.
    constexpr int64_t kInPlace = std::is_same_v<T, A> ? 1 : 0;
    const std::unique_ptr<A[]> elsewhere(new A[(parts - kInPlace) * elements_]);
    const BagShares bags(lookups_, parts);
    parallel_items(std::min(threads_, parts), parts, [&](int64_t part) {
      const bool in_place = part < kInPlace;
      Table sums_of_part = table;
      if (!in_place) {
        sums_of_part.data = elsewhere.get() + (part - kInPlace) * elements_;
        sums_of_part.row_stride = table.dim;
      }
      SumsInPlace<A> sums;
      sums.begin(sums_of_part, whole, table.num_rows, in_place && p_.already_zero);
      Reader reader(p_, offences_);
      std::vector<A> factors;
      bags.for_each_run(
          part, [&](const Run& run) { add(reader.list(run), table, frequencies, factors, sums); });
    });
    if (parts > kInPlace) {
      add_up<kInPlace>(elsewhere.get(), parts - kInPlace);
    }
  }

  // The table becomes the sum of `count` tables that follow each other in memory and, if it is
  // in place, of itself.
  template <bool kInPlace>
  void add_up(const A* elsewhere, int64_t count) const {
    const Table& table = p_.tables[0];
    const int64_t shares = threads_for(count * elements_ * sizeof(A));
    parallel_shares(shares, [&](int64_t share) {
      const int64_t end = table.num_rows * (share + 1) / shares;
      for_each_tile<A>(0, table.dim, [&](const auto& tile) {
        for (int64_t row = table.num_rows * share / shares; row < end; ++row) {
          const A* from = elsewhere + row * table.dim + tile.first;
          T* to = static_cast<T*>(table.data) + row * table.row_stride + tile.first;
          Vector<A, tile.kLanes> sums[tile.kVectors] = {};
          for (int v = 0; v < tile.kVectors; ++v) {
            if constexpr (kInPlace) {
              sums[v] = load<tile.kLanes>(to + tile[v]);
            }
            for (int64_t part = 0; part < count; ++part) {
              sums[v] += load<tile.kLanes>(from + part * elements_ + tile[v]);
            }
          }
          for (int v = 0; v < tile.kVectors; ++v) {
            store(to + tile[v], sums[v]);
          }
        }
      });
    });
  }

  // The slices of all tables, and the additions to each of them, in the order of the lookups.
  struct Lists {
    AdditionList<A> part(int64_t slice, int64_t part, int64_t parts) const {
      const int64_t size = first[slice + 1] - first[slice];
      const int64_t begin = first[slice] + size * part / parts;
      const int64_t end = first[slice] + size * (part + 1) / parts;
      return {
          additions.get() + begin, scales == nullptr ? nullptr : scales.get() + begin, end - begin};
    }

    int64_t size(int64_t slice) const {
      return first[slice + 1] - first[slice];
    }

    std::vector<Slice> slices;
    std::vector<int64_t> first; // of each slice, and the end
    std::unique_ptr<Addition[]> additions;
    std::unique_ptr<A[]> scales;
  };

  // What one thread does at a time: adds what is listed for a slice, or a part of it.
  struct Piece {
    int64_t slice;
    int64_t part;
    int64_t parts;
    int64_t share; // of the threads
  };

  // The sums of a slice whose list is cut.
  struct CutSums {
    Sums first;
    std::vector<NamedSums<A>> others;
  };

  void add_in_slices() const {
    const Lists lists = make_lists();
    const std::vector<Piece> pieces = make_pieces(lists);
    std::vector<CutSums> cuts(lists.slices.size());
    std::vector<int64_t> cut_slices;
    for (const Piece& piece : pieces) {
      if (piece.part == 1) {
        cuts[piece.slice].others.resize(piece.parts - 1);
        cut_slices.push_back(piece.slice);
      }
    }
    parallel_shares(threads_, [&](int64_t share) {
      Sums sums;
      std::vector<A> factors;
      for (const Piece& piece : pieces) {
        if (piece.share != share) {
          continue;
        }
        const Slice& slice = lists.slices[piece.slice];
        const Table& table = p_.tables[slice.table];
        const AdditionList<A> list = lists.part(piece.slice, piece.part, piece.parts);
        const std::vector<int64_t> frequencies =
            frequencies_in(lists.part(piece.slice, 0, 1), slice);
        if (piece.part > 0) {
          NamedSums<A>& others = cuts[piece.slice].others[piece.part - 1];
          others.begin(slice.num_rows, list.size, table.dim);
          add(list, table, frequencies, factors, others);
        } else if (piece.parts > 1) {
          Sums& first = cuts[piece.slice].first;
          first.begin(table, slice, lists.size(piece.slice), p_.already_zero);
          add(list, table, frequencies, factors, first);
        } else {
          sums.begin(table, slice, list.size, p_.already_zero);
          add(list, table, frequencies, factors, sums);
          sums.finish();
        }
      }
    });
    const int64_t count = cut_slices.size();
    parallel_items(std::min(threads_, count), count, [&](int64_t i) {
      CutSums& sums = cuts[cut_slices[i]];
      for (const NamedSums<A>& others : sums.others) {
        add_sums(others, p_.tables[lists.slices[cut_slices[i]].table].dim, sums.first);
      }
      sums.first.finish();
    });
  }

  Lists make_lists() const {
    Lists lists;
    // The slices of table t begin at first_slice[t] and hold 2^shift[t] rows.
    std::vector<int64_t> first_slice;
    std::vector<int> shift;
    for (int64_t t = 0; t < lookups_.num_tables; ++t) {
      const Table& table = p_.tables[t];
      const int bits = row_bits_of_slices(table);
      first_slice.push_back(lists.slices.size());
      shift.push_back(bits);
      for (int64_t row = 0; row < table.num_rows; row += int64_t(1) << bits) {
        lists.slices.push_back({t, row, std::min(int64_t(1) << bits, table.num_rows - row)});
      }
    }

    // next[share * num_slices + slice]: first the count, then where the next addition goes.
    const int64_t num_slices = lists.slices.size();
    std::vector<int64_t> next(threads_ * num_slices, 0);
    const BagShares bags(lookups_, threads_);
    parallel_shares(threads_, [&](int64_t share) {
      bags.for_each_run(share, [&](const Run& run) {
        int64_t* const counts = next.data() + share * num_slices + first_slice[run.table];
        const int bits = shift[run.table];
        reader_.for_each(run, [&](int64_t row, int64_t, A) { ++counts[row >> bits]; });
      });
    });
    int64_t total = 0;
    for (int64_t slice = 0; slice < num_slices; ++slice) {
      lists.first.push_back(total);
      for (int64_t share = 0; share < threads_; ++share) {
        total += std::exchange(next[share * num_slices + slice], total);
      }
    }
    lists.first.push_back(total);
    lists.additions.reset(new Addition[total]);
    lists.scales.reset(reader_.scaled() ? new A[total] : nullptr);
    parallel_shares(threads_, [&](int64_t share) {
      Addition* const additions = lists.additions.get();
      A* const scales = lists.scales.get();
      bags.for_each_run(share, [&](const Run& run) {
        int64_t* const cursors = next.data() + share * num_slices + first_slice[run.table];
        const int bits = shift[run.table];
        const int64_t row_mask = (int64_t(1) << bits) - 1;
        reader_.for_each(run, [&](int64_t row, int64_t source, A factor) {
          const int64_t at = cursors[row >> bits]++;
          additions[at] = Addition(row & row_mask, source);
          if (scales != nullptr) {
            scales[at] = factor;
          }
        });
      });
    });
    return lists;
  }

  // Slices that fit a cache, several for each thread, but not too many to count in.
  int row_bits_of_slices(const Table& table) const {
    constexpr int64_t kSliceBytes = 1 << 18;
    constexpr int64_t kLeastSlices = 64;
    constexpr int64_t kMostSlices = 1 << 14; // of a table
    const int64_t slice_elements =
        std::min<int64_t>(kSliceBytes / sizeof(A), elements_ / kLeastSlices);
    int bits = 0;
    while (
        bits < Addition::kRowBits &&
        ((table.dim << (bits + 1)) <= slice_elements || (table.num_rows >> bits) > kMostSlices)) {
      ++bits;
    }
    return bits;
  }

  // Gives each thread consecutive pieces of about the same work, so that no two of them write to
  // the same page for the first time.
  std::vector<Piece> make_pieces(const Lists& lists) const {
    constexpr int64_t kPieces = 16;
    constexpr int64_t kLeastAdditions = 512; // of a part
    constexpr int64_t kCostOfAddition = 3;   // where zeroing a row costs 1
    const auto cost_of = [&](int64_t rows, int64_t additions, int64_t slice) {
      return (rows + kCostOfAddition * additions) * p_.tables[lists.slices[slice].table].dim;
    };
    const int64_t num_slices = lists.slices.size();
    int64_t total = 1;
    for (int64_t slice = 0; slice < num_slices; ++slice) {
      total += cost_of(lists.slices[slice].num_rows, lists.size(slice), slice);
    }
    std::vector<Piece> pieces;
    int64_t before = 0;
    for (int64_t slice = 0; slice < num_slices; ++slice) {
      const int64_t rows = lists.slices[slice].num_rows;
      const int64_t size = lists.size(slice);
      // Frequencies are those in the whole list.
      const int64_t parts = p_.scale_grad_by_freq
          ? 1
          : std::clamp<int64_t>(
                std::min(cost_of(0, size, slice) * kPieces / total, size / kLeastAdditions), 1,
                kPieces);
      for (int64_t part = 0; part < parts; ++part) {
        const int64_t cost = cost_of(part == 0 ? rows : 0, size / parts, slice);
        pieces.push_back({slice, part, parts, (before + cost / 2) * threads_ / total});
        before += cost;
      }
    }
    return pieces;
  }

  // How often each row of the slice is looked up; empty unless gradients are scaled by it.
  std::vector<int64_t> frequencies_in(const AdditionList<A>& list, const Slice& slice) const {
    std::vector<int64_t> frequencies(p_.scale_grad_by_freq ? slice.num_rows : 0);
    for (int64_t i = 0; p_.scale_grad_by_freq && i < list.size; ++i) {
      ++frequencies[list.data[i].row()];
    }
    return frequencies;
  }

  std::vector<int64_t> frequencies_in(const BagShares& bags, const Slice& slice) const {
    std::vector<int64_t> frequencies(p_.scale_grad_by_freq ? slice.num_rows : 0);
    if (p_.scale_grad_by_freq) {
      bags.for_each_run(0, [&](const Run& run) {
        reader_.for_each(run, [&](int64_t row, int64_t, A) { ++frequencies[row]; });
      });
    }
    return frequencies;
  }

  // Adds what is listed to sums of rows of a table; `factors` is room for the factors of a list.
  template <class S>
  void add(
      AdditionList<A> list,
      const Table& table,
      const std::vector<int64_t>& frequencies,
      std::vector<A>& factors,
      S& sums) const {
    const T* grad = static_cast<const T*>(p_.grad_output) + table.column;
    if (max_) {
      return add_elements(list, table.dim, grad, p_.grad_stride, sums);
    }
    if (!frequencies.empty()) {
      factors.resize(list.size);
      for (int64_t i = 0; i < list.size; ++i) {
        const A factor = list.scales == nullptr ? A(1) : list.scales[i];
        factors[i] = factor / static_cast<A>(frequencies[list.data[i].row()]);
      }
      list.scales = factors.data();
    }
    dispatch_columns<A>(0, table.dim, [&](const auto& columns) {
      add_rows(list, columns, grad, p_.grad_stride, sums);
    });
  }

  const Scatter& p_;
  const Lookups& lookups_;
  bool max_;
  Reader reader_;
  Offences& offences_;
  int64_t elements_ = 0; // of all tables
  int64_t added_;        // elements that are added to them
  int64_t threads_;
};

inline void scatter(const Scatter& p, Offences& offences) {
  dispatch_dtype(p.dtype, [&](auto dtype) {
    dispatch_index(p.lookups.indices_are_64bit, [&](auto index) {
      using T = typename decltype(dtype)::type;
      using Index = typename decltype(index)::type;
      Scatterer<T, Index>(p, offences).run();
    });
  });
}

} // namespace embed_ops::cpu::EMBED_OPS_ISA
