// Local attention, forward and backward, one head of one image and one band of rows at a time. The formula is in __init__.py; flat
// positions, planes and taps in ../native/window.h. Legend: D E key and value channels of a head, K window side, p a flat query.
//
// Backward recomputes the weights P of a query and, from dP = dy . v, the gradients L of its logits; both are kept for a few rows
// only, so that each key can collect what its queries owe it: dk = sum of L q and dv = sum of P dy over the taps that read it.
#include <cstdlib>

#include "window.h"

SIGHTLINE_OPEN

struct Arguments {
  View query, key, value, output;      // output: y, or its gradient
  View grad_query, grad_key, grad_value;  // missing: not wanted
  int64_t rows, cols;                  // float32 tables (tables, part, K) and (tables, D - part, K), or 0
  int64_t grad_rows, grad_cols;        // the same, written; or 0
  int64_t tables, part;
  int64_t B, N, D, E, H, W, K, stride, dilation, exclude;

  bool wants_tables() const { return grad_rows || grad_cols; }  // a table of no channels has address 0
  const float* table(int64_t address, int64_t channels, int64_t n) const {
    return reinterpret_cast<const float*>(address) + (tables == 1 ? 0 : n) * channels * K;
  }
};

// One head over one band: its planes and tables.
struct Head {
  int64_t K, D, E, part;
  Taps taps;
  Bias bias;
  int64_t plane, queries;     // floats of a plane of keys, of queries
  const float *q, *k, *v;     // k and v point at the key of query 0
  const float *rows, *cols;
  bool relative;

  // Logits of LANES queries from p on, K * K vectors, and their maximum.
  template <bool NEIGHBOURS>
  Vec logits(int64_t p, float* out) const;

  // Exponentials of the logits less their maximum, in place; the inverse of their sum.
  Vec exponentials(float* weights, Vec highest) const {
    Vec sum = zero();
    for (int64_t t = 0; t < K * K; ++t) {
      const Vec e = exponential(load(weights + t * LANES) - highest);
      store(weights + t * LANES, e);
      sum += e;
    }
    return 1.0f / sum;
  }

  // q[d] . table[d, i] for all K offsets i of one axis
  void add_relative(const float* query, const float* table, int64_t channels, Vec* sums) const {
    for (int64_t d = 0; d < channels; ++d) {
      const Vec one = load(query + d * queries);
      for (int64_t i = 0; i < K; ++i) sums[i] += one * table[d * K + i];
    }
  }
};

template <bool NEIGHBOURS>
Vec Head::logits(int64_t p, float* out) const {
  Vec* row_half = reinterpret_cast<Vec*>(out + K * K * LANES);
  Vec* col_half = row_half + K;
  for (int64_t i = 0; i < K; ++i) row_half[i] = bias.row(i, p), col_half[i] = bias.col(i, p);
  if (relative) add_relative(q + p, rows, part, row_half), add_relative(q + p + part * queries, cols, D - part, col_half);
  Vec highest = splat(-__builtin_inff());
  Vec* logit = reinterpret_cast<Vec*>(out);
  for (int64_t i = 0; i < K; ++i, logit += K) {
    for (int64_t j = 0; j < K; ++j) logit[j] = row_half[i] + col_half[j];
    dots<NEIGHBOURS>(K, q + p, queries, k + p + taps.row[i], plane, D, taps.col, logit);
    for (int64_t j = 0; j < K; ++j) highest = maximum(highest, logit[j]);
  }
  return highest;
}

inline void forward_item(const Arguments& a, const Window& window, int64_t bands, int64_t item) {
  const int64_t b = item / (a.N * bands), n = item / bands % a.N, part = item % bands;
  const Band band(window, window.h * part / bands, window.h * (part + 1) / bands);
  const int64_t queries = Scratch::room(band.padded_queries()), logits = (a.K * a.K + 2 * a.K) * LANES;
  Scratch scratch((a.D + a.E) * (band.plane + queries) + Scratch::room(Bias::floats(band)) + Scratch::room(Taps::floats(window)) +
                  Scratch::room(logits) + 4 * Scratch::room(0));
  float* q = scratch.take(a.D * queries);
  float* y = scratch.take(a.E * queries);
  float* k = scratch.take(a.D * band.plane);
  float* v = scratch.take(a.E * band.plane);
  float* weights = scratch.take(logits);
  for (int64_t d = 0; d < a.D; ++d) band.fill_queries(a.query, b, n * a.D + d, q + d * queries);
  for (int64_t d = 0; d < a.D; ++d) band.fill(a.key, b, n * a.D + d, k + d * band.plane);
  for (int64_t e = 0; e < a.E; ++e) band.fill(a.value, b, n * a.E + e, v + e * band.plane);
  const Head head{a.K, a.D, a.E, a.part, Taps(band, scratch.take(Taps::floats(window))),
                  Bias(band, a.exclude, scratch.take(Bias::floats(band))), band.plane, queries, q, k + band.origin,
                  v + band.origin, a.table(a.rows, a.part, n), a.table(a.cols, a.D - a.part, n), a.tables > 0};
  for (int64_t p = 0; p < band.padded_queries(); p += LANES) {
    const Vec highest = head.taps.neighbours ? head.logits<true>(p, weights) : head.logits<false>(p, weights);
    const Vec scale = head.exponentials(weights, highest);
    aggregate(head.taps, weights, head.v + p, band.plane, a.E, scale, y + p, queries);
  }
  for (int64_t e = 0; e < a.E; ++e) band.drain(y + e * queries, a.output, b, n * a.E + e);
}

extern "C" SIGHTLINE_EXPORT void SIGHTLINE_NAME(local_attention)(const Arguments* a, int64_t threads) {
  const Window window(a->H, a->W, a->K, a->stride, a->dilation);
  const int64_t bands = band_count(a->B * a->N, window, window.pitch * 2 * (a->D + a->E), 4);
  for_each(a->B * a->N * bands, threads, [&](int64_t item) { forward_item(*a, window, bands, item); });
}

// What queries owe to the keys of their windows: P, dP . weights and L, one plane a tap, beside q and dy; some rows at a time.
// Flat position `at(row)` is column 0 of a query row; before it lie `margin` positions whose q and dy are zero.
struct Owed {
  const Window& window;
  int64_t K, D, E, base, rows, plane;  // first row held, rows that fit, floats of a plane
  float *P, *L, *q, *dy;

  static int64_t plane_floats(const Window& window, int64_t rows) {
    const int64_t floats = (window.margin + rows * window.pitch + 2 * window.margin + 2 * LANES + 15) / 16 * 16;
    return floats % 1024 ? floats : floats + 16;
  }
  int64_t planes() const { return 2 * K * K + D + E; }
  int64_t at(int64_t row) const { return window.margin + (row - base) * window.pitch; }
  void clear(int64_t from, int64_t to) {  // rows that are not in the map
    for (int64_t i = 0; i < planes() && from < to; ++i)
      std::memset(P + i * plane + at(from) - window.margin, 0, size_t((to - from) * window.pitch + 2 * window.margin) * 4);
  }
  void slide(int64_t first) {  // drop the rows before `first`
    const int64_t gone = (first - base) * window.pitch;
    for (int64_t i = 0; i < planes() && gone > 0; ++i)
      std::memmove(P + i * plane, P + i * plane + gone, size_t(plane - gone) * 4);
    base = first;
  }
};

// gradient[c] of LANES keys: sum of w[tap] * x[c] over the taps that read them, each at its query
template <int C>
SIGHTLINE_INLINE void collect(const float* w, const float* x, int64_t plane, const int64_t* taps, const int64_t* back, int64_t count,
                              float* out, int64_t out_plane) {
  Vec sum[C];
  for (int c = 0; c < C; ++c) sum[c] = zero();
  for (int64_t t = 0; t < count; ++t) {
    const Vec weight = load(w + taps[t] * plane - back[t]);
    const float* from = x - back[t];
    for (int c = 0; c < C; ++c) sum[c] += weight * load(from + c * plane);
  }
  for (int c = 0; c < C; ++c) store(out + c * out_plane, sum[c]);
}

struct Backward {
  const Arguments& a;
  const Window& window;
  int64_t b, n, first, end;  // image, head, rows of keys and of queries that are this item's own
  Owed owed;
  float *k, *v, *dq, *local, *bias, *taps, *grad_tables;  // scratch
  float* gathered;
  int64_t* lists;

  // P and L of query rows; with `own`, also dq and the tables' gradients.
  void queries(int64_t from, int64_t to, bool own) {
    if (from >= to) return;
    const Band band(window, from, to);
    const int64_t at = owed.at(from), taps_count = a.K * a.K;
    for (int64_t d = 0; d < a.D; ++d) band.fill_queries(a.query, b, n * a.D + d, owed.q + d * owed.plane + at);
    for (int64_t e = 0; e < a.E; ++e) band.fill_queries(a.output, b, n * a.E + e, owed.dy + e * owed.plane + at);
    for (int64_t d = 0; d < a.D; ++d) band.fill(a.key, b, n * a.D + d, k + d * band.plane);
    for (int64_t e = 0; e < a.E; ++e) band.fill(a.value, b, n * a.E + e, v + e * band.plane);
    const Head head{a.K, a.D, a.E, a.part, Taps(band, taps), Bias(band, a.exclude, bias), band.plane, owed.plane,
                    owed.q + at, k + band.origin, v + band.origin, a.table(a.rows, a.part, n), a.table(a.cols, a.D - a.part, n), a.tables > 0};
    const int64_t dq_plane = Scratch::room(band.padded_queries());
    float* grads = local + (taps_count + 2 * a.K) * LANES;
    for (int64_t p = 0; p < band.padded_queries(); p += LANES) {
      if (head.taps.neighbours)
        weigh<true>(head, p, at, local, grads);
      else
        weigh<false>(head, p, at, local, grads);
      if (own) differentiate_query(head, p, grads, dq + p, dq_plane);
    }
    if (own && !a.grad_query.missing())
      for (int64_t d = 0; d < a.D; ++d) band.drain(dq + d * dq_plane, a.grad_query, b, n * a.D + d);
  }

  template <bool NEIGHBOURS>
  void weigh(const Head& head, int64_t p, int64_t at, float* weights, float* grads) {
    const Vec highest = head.logits<NEIGHBOURS>(p, weights);
    const Vec scale = head.exponentials(weights, highest);
    Vec* grad = reinterpret_cast<Vec*>(grads);
    const Vec* weight = reinterpret_cast<const Vec*>(weights);
    const float* dy = owed.dy + at + p;
    Vec mean = zero();
    for (int64_t i = 0; i < a.K; ++i) {
      for (int64_t j = 0; j < a.K; ++j) grad[i * a.K + j] = zero();
      dots<NEIGHBOURS>(a.K, dy, owed.plane, head.v + p + head.taps.row[i], head.plane, a.E, head.taps.col, grad + i * a.K);
      for (int64_t j = 0; j < a.K; ++j) mean += weight[i * a.K + j] * grad[i * a.K + j];
    }
    mean *= scale;
    for (int64_t t = 0; t < a.K * a.K; ++t) {
      const Vec probability = weight[t] * scale;
      grad[t] = probability * (grad[t] - mean);
      store(owed.P + t * owed.plane + at + p, probability);
      store(owed.L + t * owed.plane + at + p, grad[t]);
    }
  }

  // dq = sum of L (k + r), and the tables' gradients: sums of L by row and by column times q.
  void differentiate_query(const Head& head, int64_t p, const float* grads, float* out, int64_t out_plane) {
    if (!a.grad_query.missing()) aggregate(head.taps, grads, head.k + p, head.plane, a.D, splat(1), out, out_plane);
    if (!head.relative) return;
    const Vec* grad = reinterpret_cast<const Vec*>(grads);
    Vec* by_row = reinterpret_cast<Vec*>(local + a.K * a.K * LANES);
    Vec* by_col = by_row + a.K;
    for (int64_t i = 0; i < 2 * a.K; ++i) by_row[i] = zero();
    for (int64_t i = 0; i < a.K; ++i)
      for (int64_t j = 0; j < a.K; ++j) by_row[i] += grad[i * a.K + j], by_col[j] += grad[i * a.K + j];
    Vec* table_grad = reinterpret_cast<Vec*>(grad_tables);
    for (int64_t d = 0; d < a.D; ++d, table_grad += a.K) {
      const Vec* along = d < a.part ? by_row : by_col;
      const float* table = d < a.part ? head.rows + d * a.K : head.cols + (d - a.part) * a.K;
      Vec sum = a.grad_query.missing() ? zero() : load(out + d * out_plane);
      const Vec q = load(head.q + p + d * owed.plane);
      for (int64_t i = 0; i < a.K; ++i) sum += along[i] * table[i];
      if (!a.grad_query.missing()) store(out + d * out_plane, sum);
      if (a.wants_tables())
        for (int64_t i = 0; i < a.K; ++i) table_grad[i] += q * along[i];
    }
  }

  // Gradients of the keys (from P and dy those of the values) of rows from .. to - 1, one phase after the other.
  void keys(const float* w, const float* x, int64_t channels, const View& out, int64_t from, int64_t to) {
    if (out.missing() || from >= to) return;
    const int64_t s = window.stride, length = (to - from) * window.pitch;
    int64_t *taps_of_phase = lists, *back = lists + a.K * a.K;
    for (int64_t phase = 0; phase < s * s; ++phase) {
      int64_t count = 0;
      for (int64_t t = 0; t < a.K * a.K; ++t) {
        if (window.phase(t / a.K) != phase / s || window.phase(t % a.K) != phase % s) continue;
        taps_of_phase[count] = t;
        back[count++] = window.shift(t / a.K) * window.pitch + window.shift(t % a.K);
      }
      const int64_t pixels = (window.W - phase % s + s - 1) / s;
      for (int64_t c = 0; c < channels; c += 8) {
        const int64_t some = channels - c < 8 ? channels - c : 8, plane = Scratch::room(length + LANES);
        for (int64_t u = 0; u < length; u += LANES) {
          const float *at_w = w + owed.at(from) + u, *at_x = x + c * owed.plane + owed.at(from) + u;
          if (some == 8)
            collect<8>(at_w, at_x, owed.plane, taps_of_phase, back, count, gathered + u, plane);
          else
            for (int64_t e = 0; e < some; ++e)
              collect<1>(at_w, at_x + e * owed.plane, owed.plane, taps_of_phase, back, count, gathered + e * plane + u, plane);
        }
        for (int64_t e = 0; e < some; ++e)
          for (int64_t r = from; r < to; ++r)
            if (r * s + phase / s < window.H && pixels > 0)
              write_row(out, b, n * channels + c + e, r * s + phase / s, phase % s, s, pixels,
                        gathered + e * plane + (r - from) * window.pitch);
      }
    }
  }

  void run() {
    const int64_t last = end - window.lowest;
    int64_t filled = owed.base, done = first;
    while (done < end) {
      const int64_t target = owed.base + owed.rows < last ? owed.base + owed.rows : last;
      for (int64_t stop; filled < target; filled = stop) {  // outside the map, of a neighbour, own
        stop = target;
        const int64_t borders[] = {0, first, end, window.h};
        for (int64_t border : borders)
          if (border > filled && border < stop) stop = border;
        if (filled < 0 || filled >= window.h)
          owed.clear(filled, stop);
        else
          queries(filled, stop, filled >= first && filled < end);
      }
      const int64_t ready = filled + window.lowest < end ? filled + window.lowest : end;
      keys(owed.L, owed.q, a.D, a.grad_key, done, ready);
      keys(owed.P, owed.dy, a.E, a.grad_value, done, ready);
      done = ready;
      owed.slide(done - window.highest);
    }
  }
};

inline void backward_item(const Arguments& a, const Window& window, int64_t bands, int64_t item, float* partial) {
  const int64_t b = item / (a.N * bands), n = item / bands % a.N, part = item % bands, taps = a.K * a.K;
  const int64_t first = window.h * part / bands, end = window.h * (part + 1) / bands, span = window.highest - window.lowest;
  int64_t step = (128 << 10) / (2 * taps * window.pitch) - span;  // rows at a time that fit a second-level cache
  step = step < span + 4 ? span + 4 : step;
  step = step < end - first ? step : end - first;
  const Band largest(window, 0, step + span);
  Owed owed{window, a.K, a.D, a.E, first - window.highest, step + span, Owed::plane_floats(window, step + span), 0, 0, 0, 0};
  const int64_t owed_floats = owed.planes() * owed.plane, dq_plane = Scratch::room(largest.padded_queries());
  const int64_t local = (2 * taps + 2 * a.K) * LANES, tables = a.D * a.K * LANES, gathered = 8 * Scratch::room(largest.queries + 2 * LANES + window.margin);
  Scratch scratch(Scratch::room(owed_floats) + Scratch::room((a.D + a.E) * largest.plane) + Scratch::room(a.D * dq_plane) +
                  Scratch::room(local) + Scratch::room(Bias::floats(largest)) + Scratch::room(Taps::floats(window)) +
                  Scratch::room(tables) + Scratch::room(gathered) + Scratch::room(4 * taps));
  owed.P = scratch.take(owed_floats);
  owed.L = owed.P + taps * owed.plane;
  owed.q = owed.L + taps * owed.plane;
  owed.dy = owed.q + a.D * owed.plane;
  std::memset(owed.P, 0, size_t(owed_floats) * 4);
  float* k = scratch.take((a.D + a.E) * largest.plane);
  Backward backward{a, window, b, n, first, end, owed, k, k + a.D * largest.plane, scratch.take(a.D * dq_plane), scratch.take(local),
                    scratch.take(Bias::floats(largest)), scratch.take(Taps::floats(window)), scratch.take(tables),
                    scratch.take(gathered), reinterpret_cast<int64_t*>(scratch.take(4 * taps))};
  std::memset(backward.grad_tables, 0, size_t(tables) * 4);
  backward.run();
  if (partial)
    for (int64_t i = 0; i < a.D * a.K; ++i) partial[item * a.D * a.K + i] = sum_lanes(load(backward.grad_tables + i * LANES));
}

// Sum the items' shares of the tables' gradients, in the order of the items.
inline void add_tables(const Arguments& a, int64_t bands, const float* partial) {
  for (int64_t table = 0; table < a.tables; ++table)
    for (int64_t i = 0; i < a.D * a.K; ++i) {
      double sum = 0;
      for (int64_t item = 0; item < a.B * a.N * bands; ++item)
        if (a.tables == 1 || item / bands % a.N == table) sum += partial[item * a.D * a.K + i];
      float* rows = reinterpret_cast<float*>(a.grad_rows) + table * a.part * a.K;
      float* cols = reinterpret_cast<float*>(a.grad_cols) + table * (a.D - a.part) * a.K;
      (i < a.part * a.K ? rows[i] : cols[i - a.part * a.K]) = float(sum);
    }
}

extern "C" SIGHTLINE_EXPORT void SIGHTLINE_NAME(local_attention_backward)(const Arguments* a, int64_t threads) {
  const Window window(a->H, a->W, a->K, a->stride, a->dilation);
  const int64_t bands = band_count(a->B * a->N, window, 0, 4 * (window.highest - window.lowest) + 4);
  const int64_t items = a->B * a->N * bands;
  float* partial = a->wants_tables() ? static_cast<float*>(std::malloc(size_t(items * a->D * a->K) * 4)) : nullptr;
  for_each(items, threads, [&](int64_t item) { backward_item(*a, window, bands, item, partial); });
  if (partial) add_tables(*a, bands, partial);
  std::free(partial);
}

SIGHTLINE_CLOSE
