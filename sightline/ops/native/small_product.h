// Products of small weight matrices with blocks of columns held as rows of floats in cache (a row per channel, `ld` apart).
//     product(W, row_step, depth_step, M, depth, x, ld, columns, emit)   emit(m, n, v): v = sum over k of W[m, k] x[k, n .. n + LANES)
//     add_outer(sums, x, M, y, depth, ld, columns)                       sums[m, k] += x[m, :] * y[k, :], lane by lane
// columns are rounded up to whole vectors; what lies behind the last column must be zero in one factor and finite in the other.
#pragma once
#include "vector.h"

SIGHTLINE_OPEN

constexpr int TALL = LANES == 16 ? 8 : 4;  // rows of a tile that leave registers free

template <int M, int N, class Emit>
SIGHTLINE_INLINE void product_tile(const float* W, int64_t row_step, int64_t depth_step, int64_t depth, const float* x, int64_t ld,
                                   const Emit& emit) {
  Vec sum[M][N];
  for (int m = 0; m < M; ++m)
    for (int n = 0; n < N; ++n) sum[m][n] = zero();
  for (int64_t k = 0; k < depth; ++k, x += ld, W += depth_step) {
    Vec column[N];
    for (int n = 0; n < N; ++n) column[n] = load(x + n * LANES);
    for (int m = 0; m < M; ++m)
      for (int n = 0; n < N; ++n) sum[m][n] += W[m * row_step] * column[n];
  }
  for (int m = 0; m < M; ++m)
    for (int n = 0; n < N; ++n) emit(m, n * LANES, sum[m][n]);
}

template <int N, class Emit>
SIGHTLINE_INLINE void product_columns(const float* W, int64_t row_step, int64_t depth_step, int64_t M, int64_t depth, const float* x,
                                      int64_t ld, const Emit& emit) {
  int64_t m = 0;
  for (; m + TALL <= M; m += TALL)
    product_tile<TALL, N>(W + m * row_step, row_step, depth_step, depth, x, ld, [&](int64_t i, int64_t n, Vec v) { emit(m + i, n, v); });
  for (; m + 2 <= M; m += 2)
    product_tile<2, N>(W + m * row_step, row_step, depth_step, depth, x, ld, [&](int64_t i, int64_t n, Vec v) { emit(m + i, n, v); });
  if (m < M)
    product_tile<1, N>(W + m * row_step, row_step, depth_step, depth, x, ld, [&](int64_t i, int64_t n, Vec v) { emit(m + i, n, v); });
}

template <class Emit>
inline void product(const float* W, int64_t row_step, int64_t depth_step, int64_t M, int64_t depth, const float* x, int64_t ld,
                    int64_t columns, const Emit& emit) {
  int64_t n = 0;
  for (; n + LANES < columns; n += 2 * LANES)
    product_columns<2>(W, row_step, depth_step, M, depth, x + n, ld, [&](int64_t m, int64_t i, Vec v) { emit(m, n + i, v); });
  if (n < columns)
    product_columns<1>(W, row_step, depth_step, M, depth, x + n, ld, [&](int64_t m, int64_t i, Vec v) { emit(m, n + i, v); });
}

template <int M, int K>
SIGHTLINE_INLINE void outer_tile(float* sums, int64_t depth, const float* x, const float* y, int64_t ld, int64_t columns) {
  Vec sum[M][K];
  for (int m = 0; m < M; ++m)
    for (int k = 0; k < K; ++k) sum[m][k] = load(sums + (m * depth + k) * LANES);
  for (int64_t n = 0; n < columns; n += LANES) {
    Vec right[K];
    for (int k = 0; k < K; ++k) right[k] = load(y + k * ld + n);
    for (int m = 0; m < M; ++m) {
      const Vec left = load(x + m * ld + n);
      for (int k = 0; k < K; ++k) sum[m][k] += left * right[k];
    }
  }
  for (int m = 0; m < M; ++m)
    for (int k = 0; k < K; ++k) store(sums + (m * depth + k) * LANES, sum[m][k]);
}

inline void add_outer(float* sums, const float* x, int64_t M, const float* y, int64_t depth, int64_t ld, int64_t columns) {
  constexpr int T = LANES == 16 ? 4 : 2;
  for (int64_t m = 0; m < M;) {
    const int64_t rows = M - m < T ? 1 : T;
    int64_t k = 0;
    for (; k + 4 <= depth; k += 4) {
      float* at = sums + (m * depth + k) * LANES;
      if (rows == T)
        outer_tile<T, 4>(at, depth, x + m * ld, y + k * ld, ld, columns);
      else
        outer_tile<1, 4>(at, depth, x + m * ld, y + k * ld, ld, columns);
    }
    for (; k < depth; ++k) {
      float* at = sums + (m * depth + k) * LANES;
      if (rows == T)
        outer_tile<T, 1>(at, depth, x + m * ld, y + k * ld, ld, columns);
      else
        outer_tile<1, 1>(at, depth, x + m * ld, y + k * ld, ld, columns);
    }
    m += rows;
  }
}

SIGHTLINE_CLOSE
