// K x K windows over a map, laid out so that every tap of every query is one address plus a constant, whatever the map's width.
//
// A map is copied into planes, one per channel: rows of `pitch` floats, w pixels and then `margin` zeros. The zeros right of one row
// are also those left of the next, so a flat index runs over pixels of several rows, and a vector of LANES consecutive flat
// positions is always full: narrow maps need no path of their own. With a stride s, a plane is s * s smaller ones, one per row and
// column phase, and taps still differ by constants.
//     query of output pixel (r, c): flat index (r - first row) * pitch + c
// With `group` rows to a flat row (2 pays where stride and dilation are 1), query rows r, r + 1, .. of a group share a flat index, one
// sub-plane each, and most rows of keys that they read: a vector loaded once serves them all. Row phases are then stride * group, and
// row taps run over the K + group - 1 rows that a group reads; query row i of the group meets its tap t at row tap t + i.
//     tap (i, j) of the flat query p, in a plane of `fill`: plane + origin + p + row_tap[i] + col_tap[j]
// Border "exclude" is a bias on logits, 0 or -infinity, again by flat index: see Bias. Lanes that lie in the margin between rows
// compute numbers that nobody reads; `drain` copies the pixels alone.
#pragma once
#include "threads.h"
#include "view.h"

SIGHTLINE_OPEN

struct Window {
  int64_t H, W, h, w, K, stride, dilation;  // input and output rows and columns, window side
  int64_t centre;                            // the tap that reads the pixel (r * stride, c * stride) of query (r, c)
  int64_t lowest, highest;                   // row and column shift of the first and the last tap, in output pixels
  int64_t margin, pitch;
  int64_t group, groups;                     // query rows to a flat row; flat rows of the map
  int64_t row_lowest, row_highest;           // shift of the first and the last row tap, in flat rows

  // With `padded` the map already has its border, (K - 1) * spread rows and columns more, and every window lies inside.
  Window(int64_t height, int64_t width, int64_t side, int64_t step, int64_t spread, bool padded = false,
         int64_t rows_together = 1)
      : H(height), W(width), K(side), stride(step), dilation(spread), centre(padded ? 0 : side / 2), group(rows_together) {
    const int64_t border = padded ? (K - 1) * dilation : 0;
    h = (H - border + stride - 1) / stride, w = (W - border + stride - 1) / stride;
    lowest = shift(0), highest = shift(K - 1);
    margin = highest > -lowest ? highest : -lowest;
    pitch = w + margin;
    groups = (h + group - 1) / group;
    row_lowest = row_shift(0), row_highest = row_shift(K + group - 2);
  }
  static int64_t floor_divide(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }
  int64_t offset(int64_t tap) const { return (tap - centre) * dilation; }  // input pixels from the query's own
  int64_t pixels(int64_t phase) const {  // of a row of this column phase, as far as windows reach
    const int64_t all = (W - phase + stride - 1) / stride;
    return all < pitch ? all : pitch;
  }
  int64_t shift(int64_t tap) const { return floor_divide(offset(tap), stride); }
  int64_t phase(int64_t tap) const { return offset(tap) - shift(tap) * stride; }
  int64_t row_shift(int64_t tap) const { return floor_divide(offset(tap), stride * group); }
  int64_t row_phase(int64_t tap) const { return offset(tap) - row_shift(tap) * stride * group; }
};

// A band of output rows first .. end - 1 of a Window (first a multiple of the group), and the planes of input rows that their windows
// reach.
struct Band {
  const Window& window;
  int64_t first, end, rows;  // flat rows
  int64_t queries;           // flat positions of the band's queries
  int64_t origin;            // of flat position 0 in a plane
  int64_t phase_floats;      // of one phase
  int64_t plane;             // floats of one channel, all phases

  Band(const Window& over, int64_t first_row, int64_t end_row) : window(over), first(first_row), end(end_row) {
    rows = (end - first + over.group - 1) / over.group;
    queries = rows * over.pitch - over.margin;
    origin = over.margin - over.row_lowest * over.pitch;
    phase_floats = origin + (rows + over.row_highest) * over.pitch + over.margin;
    phase_floats = (phase_floats + LANES + 15) / 16 * 16;
    if (phase_floats % 1024 == 0) phase_floats += 16;  // planes a power of two apart would fight for the same cache lines
    plane = phase_floats * over.stride * over.stride * over.group;
  }
  int64_t vectors() const { return (queries + LANES - 1) / LANES; }
  int64_t padded_queries() const { return vectors() * LANES; }
  int64_t query_floats() const { return padded_queries() * window.group; }  // of one channel, all sub-planes
  int64_t row_tap(int64_t i) const {
    return window.row_phase(i) * window.stride * phase_floats + window.row_shift(i) * window.pitch;
  }
  int64_t col_tap(int64_t j) const { return window.phase(j) * phase_floats + window.shift(j); }

  // Copy channel c of image b, the rows that the band's windows reach, into a plane; zeros elsewhere.
  void fill(const View& view, int64_t b, int64_t c, float* out) const { fill(view, b, c, 1, out); }

  // The same for neighbouring channels, into neighbouring planes.
  void fill(const View& view, int64_t b, int64_t c, int64_t channels, float* out) const {
    const int64_t together = view.channels_last() ? channels : 1;
    for (int64_t d = 0; d < channels; ++d)
      lay(out + d * plane, [&](int64_t row, int64_t col, int64_t pixels, float* to) {
        if (d % together == 0) read_rows(view, b, c + d, together, row, col, window.stride, pixels, to, plane);
      });
  }

  // Copy the queries (or anything of the output's size) of channel c; zeros between rows. Sub-planes are padded_queries() apart, or step.
  void fill_queries(const View& view, int64_t b, int64_t c, float* out, int64_t step = 0) const {
    fill_queries(view, b, c, 1, out, 0, step);
  }

  // The same for neighbouring channels, `query_plane` floats apart.
  void fill_queries(const View& view, int64_t b, int64_t c, int64_t channels, float* out, int64_t query_plane, int64_t step = 0) const {
    const int64_t together = view.channels_last() ? channels : 1;
    for (int64_t d = 0; d < channels; ++d)
      lay_queries(out + d * query_plane, step ? step : padded_queries(), [&](int64_t row, float* to) {
        if (d % together == 0) read_rows(view, b, c + d, together, row, 0, 1, window.w, to, query_plane);
      });
  }

  // Copy pixels by flat query index back into channel c of a tensor of the output's size.
  void drain(const float* in, const View& view, int64_t b, int64_t c) const { drain(in, 0, view, b, c, 1); }

  // The same for neighbouring channels, `query_plane` floats apart.
  void drain(const float* in, int64_t query_plane, const View& view, int64_t b, int64_t c, int64_t channels) const {
    const int64_t together = view.channels_last() ? channels : 1;
    for (int64_t d = 0; d < channels; d += together)
      for (int64_t r = first; r < end; ++r)
        write_rows(view, b, c + d, together, r, 0, 1, window.w,
                   in + d * query_plane + (r - first) % window.group * padded_queries() + (r - first) / window.group * window.pitch,
                   query_plane);
  }

 private:
  // Call read(row, column phase, pixels, where) for every row of input pixels that a plane holds; zeros elsewhere.
  template <class Read>
  void lay(float* out, const Read& read) const {
    const int64_t s = window.stride, step = s * window.group;
    for (int64_t row_phase = 0; row_phase < step; ++row_phase)
      for (int64_t col_phase = 0; col_phase < s; ++col_phase, out += phase_floats) {
        const int64_t pixels = window.pixels(col_phase);
        float* next = out;  // the next float that is not yet written
        for (int64_t r = window.row_lowest; r < rows + window.row_highest; ++r) {
          const int64_t row = (first / window.group + r) * step + row_phase;
          if (row < 0 || row >= window.H || pixels <= 0) continue;
          float* to = out + origin + r * window.pitch;
          while (next < to) *next++ = 0;
          read(row, col_phase, pixels, to);
          next = to + pixels;
        }
        std::memset(next, 0, size_t(out + phase_floats - next) * sizeof(float));
      }
  }

  // Call read(row, where) for every row of queries; zeros between them. Sub-planes are `step` floats apart.
  template <class Read>
  void lay_queries(float* out, int64_t step, const Read& read) const {
    for (int64_t i = 0; i < window.group; ++i) {
      float* next = out + i * step;
      float* const start = next;
      for (int64_t r = first + i; r < end; r += window.group) {
        float* to = start + (r - first) / window.group * window.pitch;
        while (next < to) *next++ = 0;
        read(r, to);
        next = to + window.w;
      }
      while (next < start + padded_queries()) *next++ = 0;
    }
  }
};

// Border "exclude" as numbers to add to logits: 0 where a tap reads a pixel, -infinity where it reads none; all 0 for "zero".
// A tap is outside when its row or its column is: row_bias[i] (K vectors by flat query), col_bias[j] (the same in every row).
struct Bias {
  float *rows, *cols;
  int64_t row_step, col_step, pitch, K;

  static int64_t floats(const Band& band) { return band.window.K * (band.query_floats() + band.window.pitch + LANES); }
  Bias(const Band& band, bool exclude, float* memory)
      : rows(memory), row_step(band.padded_queries()), col_step(band.window.pitch + LANES), pitch(band.window.pitch), K(band.window.K) {
    const Window& window = band.window;
    cols = rows + window.K * band.query_floats();
    for (int64_t tap = 0; tap < window.K; ++tap) {
      for (int64_t p = 0; p < col_step; ++p) cols[tap * col_step + p] = bias(window, p % pitch, tap, window.w, window.W, exclude);
      for (int64_t i = 0; i < window.group; ++i)
        for (int64_t r = band.first + i, p = 0; p < row_step; r += window.group) {
          const float value = bias(window, r, tap, band.end, window.H, exclude);
          float* row = rows + (i * window.K + tap) * row_step;
          for (int64_t stop = p + pitch < row_step ? p + pitch : row_step; p < stop; ++p) row[p] = value;
        }
    }
  }
  Vec row(int64_t tap, int64_t p, int64_t in_group = 0) const {
    return load(rows + (in_group * K + tap) * row_step + p);
  }
  Vec col(int64_t tap, int64_t p) const { return load(cols + tap * col_step + p % pitch); }

 private:
  static float bias(const Window& window, int64_t position, int64_t tap, int64_t end, int64_t size, bool exclude) {
    const int64_t read = position * window.stride + window.offset(tap);
    return exclude && position < end && (read < 0 || read >= size) ? -__builtin_inff() : 0.0f;
  }
};

// The constants by which taps differ, and the sums over taps and channels that window kernels are made of.
struct Taps {
  int64_t K;
  int64_t *row, *col;
  bool neighbours;  // col[j + 1] == col[j] + 1

  static int64_t floats(const Window& window) { return 4 * window.K + 2 * window.group; }  // two int64 a tap
  Taps(const Band& band, float* memory) : K(band.window.K), row(reinterpret_cast<int64_t*>(memory)), col(row + K + band.window.group - 1) {
    for (int64_t tap = 0; tap < K; ++tap) col[tap] = band.col_tap(tap);
    for (int64_t tap = 0; tap < K + band.window.group - 1; ++tap) row[tap] = band.row_tap(tap);
    neighbours = band.window.stride == 1 && band.window.dilation == 1;
  }
};

// sums[j] += sum over channels of x[channel] * y[channel, tap j], for J taps of one window row; x and y are at flat positions.
template <int J, bool NEIGHBOURS>
SIGHTLINE_INLINE void dots(const float* x, int64_t x_plane, const float* y, int64_t y_plane, int64_t channels, const int64_t* taps,
                           Vec* sums) {
  Vec sum[J];
  const float* tap[J];
  for (int j = 0; j < J; ++j) sum[j] = sums[j], tap[j] = y + taps[NEIGHBOURS ? 0 : j] + (NEIGHBOURS ? j : 0);
  for (int64_t channel = 0; channel < channels; ++channel) {
    const Vec one = load(x + channel * x_plane);
    for (int j = 0; j < J; ++j) sum[j] += one * load(tap[j] + channel * y_plane);
  }
  for (int j = 0; j < J; ++j) sums[j] = sum[j];
}

// The same for any number of taps.
template <bool NEIGHBOURS>
inline void dots(int64_t count, const float* x, int64_t x_plane, const float* y, int64_t y_plane, int64_t channels,
                 const int64_t* taps, Vec* sums) {
  for (; count >= 7; count -= 7, taps += 7, sums += 7) dots<7, NEIGHBOURS>(x, x_plane, y, y_plane, channels, taps, sums);
  switch (count) {
    case 6: return dots<6, NEIGHBOURS>(x, x_plane, y, y_plane, channels, taps, sums);
    case 5: return dots<5, NEIGHBOURS>(x, x_plane, y, y_plane, channels, taps, sums);
    case 4: return dots<4, NEIGHBOURS>(x, x_plane, y, y_plane, channels, taps, sums);
    case 3: return dots<3, NEIGHBOURS>(x, x_plane, y, y_plane, channels, taps, sums);
    case 2: return dots<2, NEIGHBOURS>(x, x_plane, y, y_plane, channels, taps, sums);
    case 1: return dots<1, NEIGHBOURS>(x, x_plane, y, y_plane, channels, taps, sums);
  }
}

// y[c] = scale * sum over taps of weights[tap] * v[c, tap], for C channels; weights are K * K vectors
template <int C>
SIGHTLINE_INLINE void aggregate(const Taps& taps, const float* weights, const float* v, int64_t plane, Vec scale, float* y,
                                int64_t y_plane) {
  Vec sum[C];
  for (int c = 0; c < C; ++c) sum[c] = zero();
  for (int64_t i = 0; i < taps.K; ++i)
    for (int64_t j = 0; j < taps.K; ++j, weights += LANES) {
      const float* tap = v + taps.row[i] + taps.col[j];
      const Vec weight = load(weights);
      for (int c = 0; c < C; ++c) sum[c] += weight * load(tap + c * plane);
    }
  for (int c = 0; c < C; ++c) store(y + c * y_plane, sum[c] * scale);
}

inline void aggregate(const Taps& taps, const float* weights, const float* v, int64_t plane, int64_t channels, Vec scale, float* y,
                      int64_t y_plane) {
  int64_t c = 0;
  for (; c + 8 <= channels; c += 8) aggregate<8>(taps, weights, v + c * plane, plane, scale, y + c * y_plane, y_plane);
  for (; c + 3 <= channels; c += 3) aggregate<3>(taps, weights, v + c * plane, plane, scale, y + c * y_plane, y_plane);
  for (; c < channels; ++c) aggregate<1>(taps, weights, v + c * plane, plane, scale, y + c * y_plane, y_plane);
}

// Logits, `count` vectors, to exponentials of them less their maximum, in place; the inverse of their sum.
inline Vec soften(float* weights, int64_t count) {
  constexpr int N = 4;  // chains that do not wait for one another
  const int64_t whole = count - count % N;
  Vec highest[N], sum[N];
#pragma GCC unroll 4
  for (int i = 0; i < N; ++i) highest[i] = load(weights + (i < count ? i : 0) * LANES), sum[i] = zero();
  for (int64_t t = N; t < whole; t += N)
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) highest[i] = maximum(highest[i], load(weights + (t + i) * LANES));
  for (int64_t t = whole; t < count; ++t) highest[0] = maximum(highest[0], load(weights + t * LANES));
  const Vec top = maximum(maximum(highest[0], highest[1]), maximum(highest[2], highest[3])) * LOG2E;
  for (int64_t t = 0; t < whole; t += N) {
    Vec e[N];
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) e[i] = load(weights + (t + i) * LANES) * LOG2E - top;
    exponential2(e);
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) store(weights + (t + i) * LANES, e[i]), sum[i] += e[i];
  }
  for (int64_t t = whole; t < count; ++t) {
    const Vec e = exponential2(load(weights + t * LANES) * LOG2E - top);
    store(weights + t * LANES, e);
    sum[0] += e;
  }
  return 1.0f / ((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

// How many bands of rows to cut each of `maps` maps into: enough items for many threads, planes that stay in a core's second-level
// cache. A function of the shapes alone.
inline int64_t band_count(int64_t maps, const Window& window, int64_t row_floats, int64_t least_rows) {
  maps = maps > 0 ? maps : 1;
  const int64_t wanted = (32 + maps - 1) / maps, large = (window.h * row_floats) / (96 << 10) + 1;
  const int64_t most = (window.h + least_rows - 1) / least_rows, count = wanted > large ? wanted : large;
  return count < most ? count : most;
}

SIGHTLINE_CLOSE
