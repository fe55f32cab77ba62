// Vectors of float32: as many lanes as the instruction set holds, by the compiler's vector extensions (GCC, clang).
// Vec is LANES floats, IVec LANES int32; + - * / < > & and the ternary work lane by lane, a plain number joins as splat(x).
//     load(p) store(p, v)            any address; `load_once` where several products use the vector; `load_first` and `store_first` touch the first n lanes only
//     splat(x) zero() maximum(a, b) sum_lanes(v)
//     exponential(v)                 about 1 ulp; 0 below -87.3 and at -inf, NaN stays NaN; meant for arguments up to 88
//     exponential2(v), (array)       2^v, 1 ulp and cheaper; 0 below -126 and at -inf; for a softmax: exponential2(l * LOG2E - max * LOG2E)
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

// 2^n 2^r with n = round(x): as above, with the minimax polynomial of 2^r (error 2e-9). At -inf all but the last line is NaN.
// N at once, step by step: each step takes about 4 cycles and N independent ones fill them.
template <int N>
SIGHTLINE_INLINE void exponential2(Vec (&x)[N]) {
  constexpr float factors[] = {0x1.5f4582p-10f, 0x1.3b2dbcp-7f, 0x1.c6aed4p-5f, 0x1.ebfbdap-3f, 0x1.62e430p-1f, 1.0f};
  Vec shifted[N], r[N], e[N];
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) shifted[i] = x[i] + 12582912.0f;
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) r[i] = x[i] - (shifted[i] - 12582912.0f), e[i] = splat(0x1.41d324p-13f);
#pragma GCC unroll 8
  for (int step = 0; step < 6; ++step)
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) e[i] = e[i] * r[i] + factors[step];
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) {
    const UVec scaled = (UVec)e[i] + ((UVec)shifted[i] << 23);
    x[i] = x[i] < splat(-126.0f) ? Vec{} : (Vec)scaled;
  }
}

SIGHTLINE_INLINE Vec exponential2(Vec x) {
  Vec one[1] = {x};
  exponential2(one);
  return one[0];
}

SIGHTLINE_CLOSE
