// Vectors of float32: as many lanes as the instruction set holds, by the compiler's vector extensions (GCC, clang).
// Vec is LANES floats, IVec LANES int32; + - * / < > & and the ternary work lane by lane, a plain number joins as splat(x).
//     load(p) store(p, v)            any address; `load_once` where several products use the vector; `load_first` and `store_first` touch the first n lanes only
//     load_neighbours(p, v)          v[j] = load(p + j); may touch LANES floats more
//     splat(x) zero() maximum(a, b) sum_lanes(v)
//     exponential(v)                 about 1 ulp; 0 below -87.3 and at -inf, NaN stays NaN; meant for arguments up to 88
//     exponential2(v), (array)       2^v, 1 ulp and cheaper; 0 from -150 down (-126 without AVX-512) and at -inf; for a softmax: exponential2(l * LOG2E - max * LOG2E)
#pragma once
#include <cstring>

#include "export.h"
#if defined(__AVX__)
#include <immintrin.h>
#endif

SIGHTLINE_OPEN

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;  // SSE2, NEON
#endif

typedef float Vec __attribute__((vector_size(4 * LANES)));
typedef int32_t IVec __attribute__((vector_size(4 * LANES)));
typedef uint32_t UVec __attribute__((vector_size(4 * LANES)));
typedef float AnyVec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

SIGHTLINE_INLINE Vec load(const float* p) { return *reinterpret_cast<const AnyVec*>(p); }
SIGHTLINE_INLINE void store(float* p, Vec v) { *reinterpret_cast<AnyVec*>(p) = v; }
SIGHTLINE_INLINE Vec zero() { return Vec{}; }
SIGHTLINE_INLINE Vec splat(float x) { return x - Vec{}; }
SIGHTLINE_INLINE Vec maximum(Vec a, Vec b) { return a > b ? a : b; }

// A vector loaded into a register here, once: left to itself GCC loads it again for every product that uses it.
SIGHTLINE_INLINE Vec load_once(const float* p) {
  Vec v = load(p);
#if defined(__x86_64__)
  asm("" : "+v"(v));
#elif defined(__aarch64__)
  asm("" : "+w"(v));
#endif
  return v;
}

#if defined(__AVX512F__)
// A vector of 64 bytes that starts anywhere lies in two cache lines, and loading it takes as long as two: two loads, then shifts.
template <int J>
SIGHTLINE_INLINE Vec neighbour(Vec low, Vec high) {
  return (Vec)_mm512_alignr_epi32((__m512i)high, (__m512i)low, J);
}
template <int J>
SIGHTLINE_INLINE void load_neighbours(const float* p, Vec (&v)[J]) {
  static_assert(J <= 8);
  const Vec low = load_once(p), high = J > 1 ? load_once(p + LANES) : low;
  v[0] = low;
  if constexpr (J > 1) v[1] = neighbour<1>(low, high);
  if constexpr (J > 2) v[2] = neighbour<2>(low, high);
  if constexpr (J > 3) v[3] = neighbour<3>(low, high);
  if constexpr (J > 4) v[4] = neighbour<4>(low, high);
  if constexpr (J > 5) v[5] = neighbour<5>(low, high);
  if constexpr (J > 6) v[6] = neighbour<6>(low, high);
  if constexpr (J > 7) v[7] = neighbour<7>(low, high);
}
#else
template <int J>
SIGHTLINE_INLINE void load_neighbours(const float* p, Vec (&v)[J]) {
#pragma GCC unroll 8
  for (int j = 0; j < J; ++j) v[j] = load_once(p + j);
}
#endif

SIGHTLINE_INLINE Vec load_first(const float* p, int64_t n) {
#if defined(__AVX512F__)
  return _mm512_maskz_loadu_ps(n >= LANES ? 0xFFFF : (1u << n) - 1, p);
#else
  if (n >= LANES) return load(p);
  float all[LANES] = {};
  for (int64_t i = 0; i < n; ++i) all[i] = p[i];
  return load(all);
#endif
}

SIGHTLINE_INLINE void store_first(float* p, Vec v, int64_t n) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, n >= LANES ? 0xFFFF : (1u << n) - 1, v);
#else
  if (n >= LANES) return store(p, v);
  float all[LANES];
  store(all, v);
  for (int64_t i = 0; i < n; ++i) p[i] = all[i];
#endif
}

SIGHTLINE_INLINE float sum_lanes(Vec v) {  // halves on halves: the same order at every call
  float part[LANES];
  store(part, v);
  for (int half = LANES / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) part[i] += part[i + half];
  return part[0];
}

// 2^n e^r with n = round(x / ln 2): n by adding and subtracting 1.5 * 2^23, e^r by the minimax polynomial of degree 6 (error 3e-9).
SIGHTLINE_INLINE Vec exponential(Vec x) {
  const Vec least = splat(-87.33654f);
  const Vec clamped = x < least ? least : x;
  const Vec shifted = clamped * 1.44269504f + 12582912.0f;
  const Vec n = shifted - 12582912.0f;
  const Vec r = (clamped - n * 0.693145752f) - n * 1.42860677e-6f;
  Vec e = splat(0x1.6a23cep-10f);
  e = e * r + 0x1.123a20p-7f;
  e = e * r + 0x1.5558f2p-5f;
  e = e * r + 0x1.555492p-3f;
  e = e * r + 0x1.fffffcp-2f;
  e = e * (r * r) + r + 1.0f;
  const UVec scaled = (UVec)e + ((UVec)shifted << 23);
  return x < least ? Vec{} : (Vec)scaled;
}

constexpr float LOG2E = 1.44269504f;

// What exponential2 needs of n = round(x): a vector that carries it, n itself, e 2^n.
#if defined(__AVX512F__)
SIGHTLINE_INLINE Vec carry(Vec x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
SIGHTLINE_INLINE Vec carried(Vec n) { return n; }
SIGHTLINE_INLINE Vec times_power(Vec e, Vec n, Vec) { return _mm512_scalef_ps(e, n); }  // 0 where n = -inf, even if e is NaN
#else
SIGHTLINE_INLINE Vec carry(Vec x) { return x + 12582912.0f; }
SIGHTLINE_INLINE Vec carried(Vec n) { return n - 12582912.0f; }
SIGHTLINE_INLINE Vec times_power(Vec e, Vec n, Vec x) {
  const UVec scaled = (UVec)e + ((UVec)n << 23);
  return x < splat(-126.0f) ? Vec{} : (Vec)scaled;
}
#endif

// 2^n 2^r with n = round(x): as above, with the minimax polynomial of 2^r (error 2e-9). At -inf all but the last line is NaN.
// N at once, step by step: each step takes about 4 cycles and N independent ones fill them.
template <int N>
SIGHTLINE_INLINE void exponential2(Vec (&x)[N]) {
  constexpr float factors[] = {0x1.5f4582p-10f, 0x1.3b2dbcp-7f, 0x1.c6aed4p-5f, 0x1.ebfbdap-3f, 0x1.62e430p-1f, 1.0f};
  Vec n[N], r[N], e[N];
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) n[i] = carry(x[i]);
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) r[i] = x[i] - carried(n[i]), e[i] = splat(0x1.41d324p-13f);
#pragma GCC unroll 8
  for (int step = 0; step < 6; ++step)
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) e[i] = e[i] * r[i] + factors[step];
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) x[i] = times_power(e[i], n[i], x[i]);
}

SIGHTLINE_INLINE Vec exponential2(Vec x) {
  Vec one[1] = {x};
  exponential2(one);
  return one[0];
}

SIGHTLINE_CLOSE
