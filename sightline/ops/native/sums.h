// Sums of products over taps, for the query rows of a group at once (Window::group): whatever two of them read is loaded once.
//     row_dots     over channels: sums[tap] of x[channel] y[channel, tap], row tap by row tap (logits)
//     Entries      which weights a vector of values meets, for one or two rows: forward (what a query reads), backward (who reads a key)
//     window_dots  the same for all taps of a window
//     sum_entries  over entries: out[channel] of weight[entry] value[channel, entry];  sum_weights: of the weights alone
// Two rows share the middle of their windows; the first has one row of its own at the top, the second one at the bottom.
#pragma once
#include "window.h"

SIGHTLINE_OPEN

constexpr int TAPS_AT_ONCE = LANES == 16 ? 7 : 4;      // as many sums as 32 or 16 registers hold, for two rows
constexpr int CHANNELS_AT_ONCE = LANES == 16 ? 8 : 4;

template <int N>
struct Number {};

// Call f(Number<n>, first) for pieces of n <= most that make up `count`.
template <class F>
SIGHTLINE_INLINE void in_pieces(int64_t count, const F& f) {
  for (int64_t first = 0; first < count;) {
    const int64_t left = count - first;
    if (TAPS_AT_ONCE == 7 && left >= 7) f(Number<7>(), first), first += 7;
    else if (TAPS_AT_ONCE == 7 && left == 5) f(Number<5>(), first), first += 5;
    else if (left >= 4) f(Number<4>(), first), first += 4;
    else if (left == 3) f(Number<3>(), first), first += 3;
    else if (left == 2) f(Number<2>(), first), first += 2;
    else f(Number<1>(), first), first += 1;
  }
}

// For query rows FIRST .. LAST of a group: sums[row][j] += x[row, channel] y[channel, tap j]; sub-planes of x are x_row apart.
template <int FIRST, int LAST, bool NEIGHBOURS, int J>
SIGHTLINE_INLINE void row_dots(const float* x, int64_t x_row, int64_t x_plane, const float* y, int64_t y_plane, int64_t channels,
                               const int64_t* taps, Vec (&sums)[2][J]) {
  Vec sum[2][J];
  const float* tap[J];
#pragma GCC unroll 8
  for (int j = 0; j < J; ++j) {
    tap[j] = y + taps[NEIGHBOURS ? 0 : j] + (NEIGHBOURS ? j : 0);
    for (int r = FIRST; r <= LAST; ++r) sum[r][j] = sums[r][j];
  }
  x += FIRST * x_row;
  for (int64_t channel = 0; channel < channels; ++channel, x += x_plane) {
    const Vec first = load(x), last = FIRST == LAST ? first : load(x + x_row);
    Vec value[J];
    if constexpr (NEIGHBOURS && J > 2) load_neighbours(tap[0] + channel * y_plane, value);
#pragma GCC unroll 8
    for (int j = 0; j < J; ++j) {
      if constexpr (!NEIGHBOURS || J <= 2)
        value[j] = FIRST == LAST ? load(tap[j] + channel * y_plane) : load_once(tap[j] + channel * y_plane);
      sum[FIRST][j] += first * value[j];
      if (FIRST != LAST) sum[LAST][j] += last * value[j];
    }
  }
#pragma GCC unroll 8
  for (int j = 0; j < J; ++j)
    for (int r = FIRST; r <= LAST; ++r) sums[r][j] = sum[r][j];
}

// Of J taps, for query rows FIRST .. LAST; a row's results lie `step` vectors behind those of the row before.
template <int FIRST, int LAST, bool NEIGHBOURS, int J>
SIGHTLINE_INLINE void some_dots(Number<J>, const float* x, int64_t x_row, int64_t x_plane, const float* y, int64_t y_plane,
                                int64_t channels, const int64_t* taps, Vec* out, int64_t step) {
  Vec sums[2][J];
#pragma GCC unroll 8
  for (int j = 0; j < J; ++j) sums[0][j] = sums[1][j] = zero();
  row_dots<FIRST, LAST, NEIGHBOURS>(x, x_row, x_plane, y, y_plane, channels, taps, sums);
#pragma GCC unroll 8
  for (int j = 0; j < J; ++j)
    for (int r = FIRST; r <= LAST; ++r) out[r * step + j] = sums[r][j];
}

// x . y for all K * K taps of a window: out is K * K vectors for every row of the group. Sub-planes of x are x_row apart.
template <int G, int FIRST, int LAST>
SIGHTLINE_INLINE void window_row_dots(const float* x, int64_t x_row, int64_t x_plane, const float* y, int64_t y_plane,
                                      int64_t channels, const Taps& taps, int64_t i, Vec* out) {
  const int64_t K = taps.K;
  in_pieces(K, [&](auto number, int64_t j) {
    some_dots<FIRST, LAST, G == 2>(number, x, x_row, x_plane, y + taps.row[i], y_plane, channels, taps.col + j, out + i * K + j,
                                   K * K - K);
  });
}
template <int G>
inline void window_dots(const float* x, int64_t x_row, int64_t x_plane, const float* y, int64_t y_plane, int64_t channels,
                        const Taps& taps, Vec* out) {
  window_row_dots<G, 0, 0>(x, x_row, x_plane, y, y_plane, channels, taps, 0, out);
  for (int64_t i = 1; i < taps.K; ++i) window_row_dots<G, 0, G - 1>(x, x_row, x_plane, y, y_plane, channels, taps, i, out);
  if (G == 2) window_row_dots<G, G - 1, G - 1>(x, x_row, x_plane, y, y_plane, channels, taps, taps.K, out);
}

struct Entry {
  int64_t weight[2], value;  // offsets of the weights of both rows, of the value
};

struct Entries {
  Entry* list;
  int64_t first, both, second;  // how many are read by the first row alone, by both, by the second alone; in this order
  int64_t run = 1, step = 0;    // that many entries after one another have neighbouring values, and weights `step` floats apart

  static int64_t floats(const Window& window) { return 6 * (window.K + 1) * window.K; }  // three int64 an entry
};

// What a query reads: weights are group * K * K vectors, `weight_step` floats apart; values are planes of keys.
inline Entries entries_of_queries(const Window& window, const Taps& taps, float* memory) {
  const int64_t K = window.K, last = K + window.group - 2;
  Entries out{reinterpret_cast<Entry*>(memory), 0, 0, 0};
  for (int64_t y = 0, n = 0; y <= last; ++y)
    for (int64_t j = 0; j < K; ++j, ++n) {
      out.list[n] = {{(y * K + j) * LANES, (K * K + (y - 1) * K + j) * LANES}, taps.row[y] + taps.col[j]};
      ++(window.group == 1 || y == 0 ? out.first : y == last ? out.second : out.both);
    }
  if (taps.neighbours) out.run = K, out.step = LANES;
  return out;
}

// Who reads the keys of a phase: group * K * K planes of weights and, a group's rows apart, planes of values of queries.
inline Entries entries_of_keys(const Window& window, int64_t phase, int64_t plane, float* memory) {
  const int64_t K = window.K, c = window.centre;
  Entries out{reinterpret_cast<Entry*>(memory), 0, 0, 0};
  int64_t n = 0;
  if (window.group == 1) {
    for (int64_t t = 0; t < K * K; ++t) {
      if (window.phase(t / K) != phase / window.stride || window.phase(t % K) != phase % window.stride) continue;
      const int64_t back = window.shift(t / K) * window.pitch + window.shift(t % K);
      out.list[n++] = {{t * plane - back, 0}, -back};
    }
    out.first = n;
    return out;
  }
  for (int64_t z = c - K + 1; z <= c + 1; ++z) {  // rows from the key's pair to the query; key row i is the query's tap c + i - z
    const int64_t flat = Window::floor_divide(z, 2), row = z - 2 * flat;
    for (int64_t j = K - 1; j >= 0; --j, ++n) {
      const int64_t at = flat * window.pitch - (j - c), tap = row * K * K + (c - z) * K + j;
      out.list[n] = {{tap * plane + at, (tap + K) * plane + at}, row * plane + at};
      ++(z == c - K + 1 ? out.first : z == c + 1 ? out.second : out.both);
    }
  }
  out.run = K, out.step = 1 - plane;
  return out;
}

// The same sums for runs of RUN entries: weights stay in registers, neighbouring values come from two loads.
constexpr int RUN = 7;
template <int FIRST, int LAST, int C>
SIGHTLINE_INLINE void add_runs(const Entry* entry, int64_t count, int64_t step, const float* weights, const float* values,
                               int64_t plane, Vec (&sums)[2][C]) {
  for (const Entry* stop = entry + count; entry < stop; entry += RUN) {
    Vec weight[2][RUN];
#pragma GCC unroll 8
    for (int j = 0; j < RUN; ++j)
      for (int r = FIRST; r <= LAST; ++r) weight[r][j] = load_once(weights + entry->weight[r] + j * step);
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) {
      Vec value[RUN];
      load_neighbours(values + entry->value + c * plane, value);
#pragma GCC unroll 8
      for (int j = 0; j < RUN; ++j)
        for (int r = FIRST; r <= LAST; ++r) sums[r][c] += weight[r][j] * value[j];
    }
  }
}

template <int FIRST, int LAST, int C>
SIGHTLINE_INLINE void add_entries(const Entry* entry, int64_t count, const float* weights, const float* values, int64_t plane,
                                  Vec (&sums)[2][C]) {
  for (const Entry* stop = entry + count; entry < stop; ++entry) {
    const Vec first = load(weights + entry->weight[FIRST]), last = FIRST == LAST ? first : load(weights + entry->weight[LAST]);
    const float* value = values + entry->value;
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) {
      const Vec one = FIRST == LAST ? load(value + c * plane) : load_once(value + c * plane);
      sums[FIRST][c] += first * one;
      if (FIRST != LAST) sums[LAST][c] += last * one;
    }
  }
}

// out[row] = sum over entries of weight.
template <int G>
SIGHTLINE_INLINE void sum_weights(const Entries& entries, const float* weights, float* out, int64_t out_row) {
  Vec sums[2] = {zero(), zero()};
  const Entry *entry = entries.list, *both = entry + entries.first, *second = both + entries.both, *end = second + entries.second;
  for (; entry < second; ++entry) {
    sums[0] += load(weights + entry->weight[0]);
    if (G == 2 && entry >= both) sums[1] += load(weights + entry->weight[1]);
  }
  for (; G == 2 && entry < end; ++entry) sums[1] += load(weights + entry->weight[1]);
  store(out, sums[0]);
  if (G == 2) store(out + out_row, sums[1]);
}

// The sum of x[i] y[i] over `count` vectors, in four chains that do not wait for one another.
inline Vec sum_products(const Vec* x, const Vec* y, int64_t count) {
  Vec part[4] = {zero(), zero(), zero(), zero()};
  int64_t t = 0;
  for (; t + 4 <= count; t += 4)
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) part[i] += x[t + i] * y[t + i];
  for (; t < count; ++t) part[0] += x[t] * y[t];
  return (part[0] + part[1]) + (part[2] + part[3]);
}

template <int G, int C>
SIGHTLINE_INLINE void sum_some_entries(const Entries& entries, const float* weights, const float* values, int64_t plane,
                                       const Vec* scale, float* out, int64_t out_plane, int64_t out_row) {
  Vec sums[2][C];
#pragma GCC unroll 8
  for (int c = 0; c < C; ++c) sums[0][c] = zero(), sums[1][c] = zero();
  const Entry *entry = entries.list, *both = entry + entries.first, *second = both + entries.both;
  if (LANES == 16 && entries.run == RUN) {
    add_runs<0, 0>(entry, entries.first, entries.step, weights, values, plane, sums);
    if (G == 2) {
      add_runs<0, G - 1>(both, entries.both, entries.step, weights, values, plane, sums);
      add_runs<G - 1, G - 1>(second, entries.second, entries.step, weights, values, plane, sums);
    }
  } else {
    add_entries<0, 0>(entry, entries.first, weights, values, plane, sums);
    if (G == 2) {
      add_entries<0, G - 1>(both, entries.both, weights, values, plane, sums);
      add_entries<G - 1, G - 1>(second, entries.second, weights, values, plane, sums);
    }
  }
#pragma GCC unroll 8
  for (int c = 0; c < C; ++c) {
    store(out + c * out_plane, sums[0][c] * scale[0]);
    if (G == 2) store(out + c * out_plane + out_row, sums[1][c] * scale[1]);
  }
}

// out[row, channel] = scale[row] * sum over entries of weight * value[channel]; sub-planes of out are out_row apart.
template <int G>
inline void sum_entries(const Entries& entries, const float* weights, const float* values, int64_t plane, int64_t channels,
                        const Vec* scale, float* out, int64_t out_plane, int64_t out_row) {
  int64_t c = 0;
  for (; c + CHANNELS_AT_ONCE <= channels; c += CHANNELS_AT_ONCE)
    sum_some_entries<G, CHANNELS_AT_ONCE>(entries, weights, values + c * plane, plane, scale, out + c * out_plane, out_plane, out_row);
  if (channels - c == 3)
    return sum_some_entries<G, 3>(entries, weights, values + c * plane, plane, scale, out + c * out_plane, out_plane, out_row);
  for (; c + 2 <= channels; c += 2)
    sum_some_entries<G, 2>(entries, weights, values + c * plane, plane, scale, out + c * out_plane, out_plane, out_row);
  for (; c < channels; ++c)
    sum_some_entries<G, 1>(entries, weights, values + c * plane, plane, scale, out + c * out_plane, out_plane, out_row);
}

SIGHTLINE_CLOSE
