// The backward pass of window operators. A query reads K * K pixels, so a pixel is read by up to K * K queries, and its gradient is
// a sum of what each of them owes it. The queries write what they owe into planes of flat positions, one a tap; then every pixel
// collects its own, always in the order of the taps. The planes hold some rows only and slide down the map.
//     sweep(sheet, first, end, owe, settle)   owe(from, to, own) fills rows of queries; settle(from, to) collects rows of pixels
//     Readers                                 the taps that read the pixels of one phase, and how far back their queries lie
//     collect<C>, total                       sums over the readers, of weights times C planes or of weights alone
// Items are bands of rows: what the queries of a neighbouring band owe is computed again (own is false there).
#pragma once
#include "window.h"

SIGHTLINE_OPEN

struct Sheet {
  const Window& window;
  int64_t planes, base, rows, plane;  // first row held, rows that fit, floats of a plane
  float* start;

  static int64_t plane_floats(const Window& window, int64_t rows) {
    const int64_t floats = (window.margin + rows * window.pitch + 2 * window.margin + 2 * LANES + 15) / 16 * 16;
    return floats % 1024 ? floats : floats + 16;
  }
  // Rows of pixels of a band first .. end - 1, and as many rows as a second-level cache holds.
  Sheet(const Window& over, int64_t count, int64_t first, int64_t end) : window(over), planes(count), start(nullptr) {
    const int64_t span = over.row_highest - over.row_lowest;
    int64_t step = (128 << 10) / (planes * over.pitch) - span;
    step = step < span + 4 ? span + 4 : step;
    step = step < end - first ? step : end - first;
    base = first - over.row_highest, rows = step + span, plane = plane_floats(over, rows);
  }
  int64_t floats() const { return planes * plane; }
  int64_t at(int64_t row) const { return window.margin + (row - base) * window.pitch; }
  void clear(int64_t from, int64_t to) {  // rows that are not in the map
    for (int64_t i = 0; i < planes && from < to; ++i)
      std::memset(start + i * plane + at(from) - window.margin, 0, size_t((to - from) * window.pitch + 2 * window.margin) * 4);
  }
  void clear_margin(int64_t row) {  // the positions before a row, which bands of queries need not reach
    for (int64_t i = 0; i < planes; ++i)
      std::memset(start + i * plane + at(row) - window.margin, 0, size_t(window.margin) * 4);
  }
  void slide(int64_t first) {  // drop the rows before `first`
    const int64_t gone = (first - base) * window.pitch;
    for (int64_t i = 0; i < planes && gone > 0; ++i)
      std::memmove(start + i * plane, start + i * plane + gone, size_t(plane - gone) * 4);
    base = first;
  }
};

// Pixel rows first .. end - 1, by index of their phase; queries are the rows 0 .. queries - 1.
template <class Owe, class Settle>
inline void sweep(Sheet& sheet, int64_t first, int64_t end, int64_t own_end, const Owe& owe, const Settle& settle) {
  const Window& window = sheet.window;
  const int64_t last = end - window.row_lowest;
  int64_t filled = sheet.base, done = first;
  sheet.clear_margin(filled);
  while (done < end) {
    const int64_t target = sheet.base + sheet.rows < last ? sheet.base + sheet.rows : last;
    for (int64_t stop; filled < target; filled = stop) {  // outside the map, of a neighbour, own
      stop = target;
      const int64_t borders[] = {0, first, own_end, window.groups};
      for (int64_t border : borders)
        if (border > filled && border < stop) stop = border;
      if (filled < 0 || filled >= window.groups)
        sheet.clear(filled, stop);
      else
        owe(filled, stop, filled >= first && filled < own_end), sheet.clear_margin(stop);
    }
    const int64_t ready = filled + window.row_lowest < end ? filled + window.row_lowest : end;
    settle(done, ready);
    done = ready;
    sheet.slide(done - window.row_highest);
  }
}

struct Readers {
  int64_t count, *taps, *back;
  Readers(const Window& window, int64_t phase, int64_t* memory) : count(0), taps(memory), back(memory + window.K * window.K) {
    const int64_t s = window.stride, K = window.K;
    for (int64_t t = 0; t < K * K; ++t) {
      if (window.phase(t / K) != phase / s || window.phase(t % K) != phase % s) continue;
      taps[count] = t;
      back[count++] = window.shift(t / K) * window.pitch + window.shift(t % K);
    }
  }
};

template <int C>
SIGHTLINE_INLINE void collect(const float* w, const float* x, int64_t plane, const Readers& readers, float* out, int64_t out_plane) {
  Vec sum[C];
  for (int c = 0; c < C; ++c) sum[c] = zero();
  for (int64_t t = 0; t < readers.count; ++t) {
    const Vec weight = load(w + readers.taps[t] * plane - readers.back[t]);
    const float* from = x - readers.back[t];
    for (int c = 0; c < C; ++c) sum[c] += weight * load(from + c * plane);
  }
  for (int c = 0; c < C; ++c) store(out + c * out_plane, sum[c]);
}

SIGHTLINE_INLINE Vec total(const float* w, int64_t plane, const Readers& readers) {
  Vec even = zero(), odd = zero();
  int64_t t = 0;
  for (; t + 1 < readers.count; t += 2) {
    even += load(w + readers.taps[t] * plane - readers.back[t]);
    odd += load(w + readers.taps[t + 1] * plane - readers.back[t + 1]);
  }
  if (t < readers.count) even += load(w + readers.taps[t] * plane - readers.back[t]);
  return even + odd;
}

// Rows of pixels by index of their phase: as many as queries, or with a padded map all that windows reach.
inline int64_t pixel_rows(const Window& window) { return window.h + (window.lowest ? 0 : window.highest); }

// Write gathered rows of one phase of neighbouring channels, `plane` floats apart, to a tensor of the map's size.
inline void drain_pixels(const Window& window, const float* in, const View& out, int64_t b, int64_t c, int64_t phase, int64_t from,
                         int64_t to, int64_t channels = 1, int64_t plane = 0) {
  const int64_t s = window.stride, count = window.pixels(phase % s);
  for (int64_t r = from; r < to; ++r, in += window.pitch)
    if (const int64_t row = r * s * window.group + phase / s; row < window.H && count > 0)
      write_rows(out, b, c, channels, row, phase % s, s, count, in, plane);
}

SIGHTLINE_CLOSE
