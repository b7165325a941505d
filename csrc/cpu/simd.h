// Vectors of elements for the instruction set that is being compiled: loads that widen to the
// accumulator type, stores that round, and tiles that cover the columns of a row.
//
// Part of kernels.inc; the includes are in kernels.h.

#pragma once

namespace embed_ops::cpu::EMBED_OPS_ISA {

#define EMBED_OPS_INLINE inline __attribute__((always_inline))
// For the loops over lookups: one function each, compiled by itself.
#define EMBED_OPS_LOOP __attribute__((noinline))

template <class E, int N>
struct VectorOf {
  typedef E type __attribute__((vector_size(N * sizeof(E))));
};
template <class E, int N>
using Vector = typename VectorOf<E, N>::type;

template <class To, class From>
EMBED_OPS_INLINE To load_bits(const From* from) {
  To to;
  std::memcpy(&to, from, sizeof(To));
  return to;
}

template <class To, class From>
EMBED_OPS_INLINE void store_bits(To* to, const From& from) {
  std::memcpy(static_cast<void*>(to), &from, sizeof(From));
}

// load<N>(p): N elements from p on, as a vector of their accumulator type.

template <int N>
EMBED_OPS_INLINE Vector<double, N> load(const double* from) {
  return load_bits<Vector<double, N>>(from);
}

template <int N>
EMBED_OPS_INLINE Vector<float, N> load(const float* from) {
  return load_bits<Vector<float, N>>(from);
}

// N 16-bit numbers, widened. GCC's own conversion of 8 takes four instructions instead of one.
template <int N>
EMBED_OPS_INLINE Vector<uint32_t, N> widen(const void* from) {
#if EMBED_OPS_VECTOR_BYTES == 64
  if constexpr (N == 16) {
    return (Vector<uint32_t, N>)_mm512_maskz_cvtepu16_epi32(0xffff, load_bits<__m256i>(from));
  }
#endif
#if EMBED_OPS_VECTOR_BYTES >= 32
  if constexpr (N == 8) {
    return (Vector<uint32_t, N>)_mm256_cvtepu16_epi32(load_bits<__m128i>(from));
  }
#endif
  return __builtin_convertvector(load_bits<Vector<uint16_t, N>>(from), Vector<uint32_t, N>);
}

// N numbers below 2^16, narrowed. As above.
template <int N>
EMBED_OPS_INLINE Vector<uint16_t, N> narrow(Vector<uint32_t, N> numbers) {
#if EMBED_OPS_VECTOR_BYTES == 64
  if constexpr (N == 16) {
    return (Vector<uint16_t, N>)_mm512_maskz_cvtepi32_epi16(0xffff, (__m512i)numbers);
  }
#endif
#if EMBED_OPS_VECTOR_BYTES >= 32
  if constexpr (N == 8) {
    const __m256i packed = _mm256_packus_epi32((__m256i)numbers, (__m256i)numbers);
    return (Vector<uint16_t, N>)_mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0xd8));
  }
#endif
  return __builtin_convertvector(numbers, Vector<uint16_t, N>);
}

template <int N>
EMBED_OPS_INLINE Vector<float, N> load(const BFloat16* from) {
  return (Vector<float, N>)(widen<N>(from) << 16);
}

template <int N>
EMBED_OPS_INLINE Vector<float, N> load(const Half* from) {
#if EMBED_OPS_VECTOR_BYTES == 64
  if constexpr (N == 16) {
    return (Vector<float, N>)_mm512_maskz_cvtph_ps(0xffff, load_bits<__m256i>(from));
  }
#endif
#if EMBED_OPS_VECTOR_BYTES >= 32
  if constexpr (N == 8) {
    return (Vector<float, N>)_mm256_cvtph_ps(load_bits<__m128i>(from));
  }
  if constexpr (N == 4) {
    return (Vector<float, N>)_mm_cvtph_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
  }
#endif
  Vector<float, N> value;
  for (int i = 0; i < N; ++i) {
    value[i] = from[i];
  }
  return value;
}

// store(p, v): rounds the elements of v to the type of p, to nearest and ties to even.

template <class V>
constexpr int kLanesOf = sizeof(V) / sizeof(std::declval<V>()[0]);

template <class V>
EMBED_OPS_INLINE void store(double* to, V value) {
  store_bits(to, value);
}

template <class V>
EMBED_OPS_INLINE void store(float* to, V value) {
  store_bits(to, value);
}

template <class V>
EMBED_OPS_INLINE void store(BFloat16* to, V value) {
  constexpr int N = kLanesOf<V>;
  const auto bits = (Vector<uint32_t, N>)value;
  const auto rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const auto is_nan = (Vector<uint32_t, N>)(value != value);
  const auto result = (rounded & ~is_nan) | (0x7fc0 & is_nan);
  store_bits(to, narrow<N>(result));
}

template <class V>
EMBED_OPS_INLINE void store(Half* to, V value) {
  constexpr int N = kLanesOf<V>;
#if EMBED_OPS_VECTOR_BYTES == 64
  if constexpr (N == 16) {
    return store_bits(to, _mm512_maskz_cvtps_ph(0xffff, (__m512)value, _MM_FROUND_TO_NEAREST_INT));
  }
#endif
#if EMBED_OPS_VECTOR_BYTES >= 32
  if constexpr (N == 8) {
    return store_bits(to, _mm256_cvtps_ph((__m256)value, _MM_FROUND_TO_NEAREST_INT));
  }
#endif
  for (int i = 0; i < N; ++i) {
    to[i] = Half(static_cast<float>(value[i]));
  }
}

template <class V>
EMBED_OPS_INLINE auto sum_of_lanes(V value) {
  constexpr int N = kLanesOf<V>;
  if constexpr (N == 1) {
    return value[0];
  } else {
    using E = std::decay_t<decltype(value[0])>;
    Vector<E, N / 2> halves[2];
    std::memcpy(halves, &value, sizeof(value));
    return sum_of_lanes(halves[0] + halves[1]);
  }
}

// K vectors of N adjacent columns. The last one ends where the columns end, so it may overlap the
// one before it, which is of the same tile: harmless if all are read before any is written.
template <int N, int K>
struct Tile {
  static constexpr int kLanes = N;
  static constexpr int kVectors = K;
  int64_t first; // column of the first vector
  int64_t last;  // of the last vector, as its distance from the first

  // The column of vector i, as its distance from the first.
  EMBED_OPS_INLINE int64_t operator[](int i) const {
    return i == 0 || i + 1 < K ? i * N : last;
  }
};

// Fewer columns than 2 N: vectors of N, N / 2, ... 1.
template <int N, class F>
EMBED_OPS_INLINE void for_each_narrow_tile(int64_t begin, int64_t end, const F& f) {
  if (end - begin >= N) {
    f(Tile<N, 1>{begin, 0});
    begin += N;
  }
  if constexpr (N > 1) {
    for_each_narrow_tile<N / 2>(begin, end, f);
  }
}

// Calls f with tiles of up to kMost vectors of E that together cover the columns [begin, end).
template <class E, int kMost = 8, class F>
EMBED_OPS_INLINE void for_each_tile(int64_t begin, int64_t end, const F& f) {
  constexpr int N = EMBED_OPS_VECTOR_BYTES / sizeof(E);
  if (end - begin < N) {
    return for_each_narrow_tile<N / 2>(begin, end, f);
  }
  const int64_t vectors = (end - begin + N - 1) / N;
  const auto tile = [&](auto size) __attribute__((always_inline)) {
    const int64_t next = begin + size() * N;
    f(Tile<N, size()>{begin, std::min(next, end) - N - begin});
    begin = next;
  };
  // The smallest first: a last tile of one vector could overlap the tile before it.
  if (vectors & 1) {
    tile(Constant<1>{});
  }
  if (vectors & 2) {
    tile(Constant<2>{});
  }
  if (vectors & 4) {
    tile(Constant<4>{});
  }
  if constexpr (kMost > 8) {
    if (vectors & 8) {
      tile(Constant<8>{});
    }
  }
  while (begin < end) {
    tile(Constant<kMost>{});
  }
}

// Columns of a row, as one tile: its form is known where a loop over rows is compiled.
template <class T>
struct OneTile {
  template <class F>
  EMBED_OPS_INLINE void for_each_tile(const F& f) const {
    f(tile);
  }

  T tile;
};

// As many.
template <class E>
struct ManyTiles {
  template <class F>
  EMBED_OPS_INLINE void for_each_tile(const F& f) const {
    EMBED_OPS_ISA::for_each_tile<E>(begin, end, f);
  }

  int64_t begin;
  int64_t end;
};

template <class E, int kMost = 8>
int count_tiles(int64_t begin, int64_t end) {
  int tiles = 0;
  for_each_tile<E, kMost>(begin, end, [&](const auto&) { ++tiles; });
  return tiles;
}

// Calls f with the columns [begin, end), of which there is at least one.
template <class E, class F>
void dispatch_columns(int64_t begin, int64_t end, const F& f) {
  if (count_tiles<E>(begin, end) > 1) {
    return f(ManyTiles<E>{begin, end});
  }
  for_each_tile<E>(
      begin, end, [&](const auto& tile) { f(OneTile<std::decay_t<decltype(tile)>>{tile}); });
}

} // namespace embed_ops::cpu::EMBED_OPS_ISA
