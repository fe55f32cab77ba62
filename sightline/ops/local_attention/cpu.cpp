// Local attention, forward and backward, one head of one image and one band of rows at a time. The formula is in __init__.py; flat
// positions, planes and taps in ../native/window.h, sums in ../native/sums.h, the backward's order in ../native/sliding.h.
// Legend: D E key and value channels of a head, K window side, G query rows treated together, p a flat query, t a tap.
//
// Backward recomputes the weights P of a query and, with dP = dy . v, the gradients L = P (dP - sum of P dP) of its logits. A query owes
// its keys L q and its values P dy.
#include <cstdlib>

#include "sliding.h"
#include "sums.h"

SIGHTLINE_OPEN
namespace {

struct Arguments {
  View query, key, value, output;         // output: y, or its gradient
  View grad_query, grad_key, grad_value;  // missing: not wanted
  int64_t rows, cols;                     // float32 tables (tables, part, K) and (tables, D - part, K), or 0
  int64_t grad_rows, grad_cols;           // the same, written; or 0
  int64_t tables, part;
  int64_t B, N, D, E, H, W, K, stride, dilation, exclude;

  // Heads treated together: of a channels-last map so many that their channels of a pixel fill some cache lines. Of planes one: the
  // fewer channels, the more rows a band has beside those that the next one reads again.
  int64_t together() const {
    if (!key.channels_last()) return 1;
    const int64_t depth = D > E ? D : E, heads = depth > 0 ? 64 / depth : N;
    return heads < 1 ? 1 : heads < N ? heads : N;
  }
  bool wants_tables() const { return grad_rows || grad_cols; }  // a table of no channels has address 0
  const float* table(int64_t address, int64_t channels, int64_t n) const {
    return reinterpret_cast<const float*>(address) + (tables == 1 ? 0 : n) * channels * K;
  }
  Window window() const {
    const bool pairs = stride == 1 && dilation == 1 && H > 1;
    return Window(H, W, K, stride, dilation, false, pairs ? 2 : 1);
  }
};

// Scratch of an item: planes of a band of keys and values of some heads, and what a vector of queries needs.
struct Planes {
  float *k, *v, *weights, *halves, *bias, *taps, *entries;

  static int64_t floats(const Arguments& a, const Band& band, int64_t heads = 1) {
    const Window& window = band.window;
    return Scratch::room(heads * (a.D + a.E) * band.plane) + Scratch::room(a.K * a.K * window.group * LANES) +
           Scratch::room(2 * a.K * window.group * LANES) + Scratch::room(Bias::floats(band)) + Scratch::room(Taps::floats(window)) +
           Scratch::room(Entries::floats(window));
  }
  Planes(const Arguments& a, const Band& band, Scratch& scratch, int64_t heads = 1) {
    const Window& window = band.window;
    k = scratch.take(heads * (a.D + a.E) * band.plane), v = nullptr;
    weights = scratch.take(a.K * a.K * window.group * LANES), halves = scratch.take(2 * a.K * window.group * LANES);
    bias = scratch.take(Bias::floats(band)), taps = scratch.take(Taps::floats(window));
    entries = scratch.take(Entries::floats(window));
  }
  void fill(const Arguments& a, const Band& band, int64_t b, int64_t n, int64_t heads = 1) {
    v = k + heads * a.D * band.plane;
    band.fill(a.key, b, n * a.D, heads * a.D, k);
    band.fill(a.value, b, n * a.E, heads * a.E, v);
  }
};

// One head over one band. Sub-planes of q are q_row apart, its channels q_plane.
template <int G>
struct Head {
  const Arguments& a;
  const Taps taps;
  const Bias bias;
  const Entries entries;
  const float *k, *v, *rows, *cols;  // k and v point at the key of query 0
  int64_t plane, q_plane, q_row;

  Head(const Arguments& arguments, const Band& band, const Planes& planes, int64_t n, int64_t query_plane, int64_t query_row)
      : a(arguments), taps(band, planes.taps), bias(band, a.exclude, planes.bias),
        entries(entries_of_queries(band.window, taps, planes.entries)), k(planes.k + band.origin), v(planes.v + band.origin),
        rows(a.table(a.rows, a.part, n)), cols(a.table(a.cols, a.D - a.part, n)), plane(band.plane), q_plane(query_plane),
        q_row(query_row) {}

  // On to the next head of those whose planes are filled.
  void next() {
    k += a.D * plane, v += a.E * plane;
    if (a.tables > 1) rows += a.part * a.K, cols += (a.D - a.part) * a.K;
  }

  // sums[i] += q[d] . table[d, i] for all K offsets i of one axis
  void add_relative(const float* q, const float* table, int64_t channels, Vec* sums) const {
    in_pieces(a.K, [&](auto number, int64_t i) { add_some_relative(number, q, table + i, channels, sums + i); });
  }
  template <int J>
  SIGHTLINE_INLINE void add_some_relative(Number<J>, const float* q, const float* table, int64_t channels, Vec* sums) const {
    Vec sum[J];
#pragma GCC unroll 8
    for (int i = 0; i < J; ++i) sum[i] = sums[i];
    for (int64_t d = 0; d < channels; ++d, q += q_plane, table += a.K) {
      const Vec one = load(q);
#pragma GCC unroll 8
      for (int i = 0; i < J; ++i) sum[i] += one * table[i];
    }
#pragma GCC unroll 8
    for (int i = 0; i < J; ++i) sums[i] = sum[i];
  }

  // What the row and the column of a tap add to its logit: `halves` is 2 * K vectors for every row of the group.
  void halve(const float* q, int64_t p, Vec* halves) const {
    const float* cols_bias = bias.cols + p % bias.pitch;
    for (int64_t g = 0; g < G; ++g, halves += 2 * a.K, q += q_row) {
      for (int64_t i = 0; i < a.K; ++i) halves[i] = bias.row(i, p, g), halves[a.K + i] = load(cols_bias + i * bias.col_step);
      if (a.tables == 0) continue;
      add_relative(q, rows, a.part, halves);
      add_relative(q + a.part * q_plane, cols, a.D - a.part, halves + a.K);
    }
  }

  // x . y for the K taps of row tap i and query rows FIRST .. LAST of the group, plus the halves if there are any.
  template <int FIRST, int LAST>
  SIGHTLINE_INLINE void dot_row(const float* x, int64_t channels, const float* y, int64_t i, const Vec* halves, Vec* out) const {
    const int64_t K = a.K;
    in_pieces(K, [&](auto number, int64_t j) { dot_piece<FIRST, LAST>(number, x, channels, y, i, halves, out, j, K); });
  }
  template <int FIRST, int LAST, int J>
  SIGHTLINE_INLINE void dot_piece(Number<J>, const float* x, int64_t channels, const float* y, int64_t i, const Vec* halves, Vec* out,
                                  int64_t j, int64_t K) const {
    Vec sums[2][J];
#pragma GCC unroll 8
    for (int s = 0; s < J; ++s)
      for (int g = FIRST; g <= LAST; ++g)
        sums[g][s] = halves ? halves[g * 2 * K + i - g] + halves[g * 2 * K + K + j + s] : zero();
    row_dots<FIRST, LAST, G == 2>(x, q_row, q_plane, y + taps.row[i], plane, channels, taps.col + j, sums);
#pragma GCC unroll 8
    for (int s = 0; s < J; ++s)
      for (int g = FIRST; g <= LAST; ++g) out[(g * K + i - g) * K + j + s] = sums[g][s];
  }
  // The same for all row taps: out is K * K vectors for every row of the group.
  void dot(const float* x, int64_t channels, const float* y, const Vec* halves, Vec* out) const {
    dot_row<0, 0>(x, channels, y, 0, halves, out);
    if (G == 1) {
      for (int64_t i = 1; i < a.K; ++i) dot_row<0, 0>(x, channels, y, i, halves, out);
      return;
    }
    for (int64_t i = 1; i < a.K; ++i) dot_row<0, 1>(x, channels, y, i, halves, out);
    dot_row<1, 1>(x, channels, y, a.K, halves, out);
  }
};

template <int G>
void forward_head(const Head<G>& head, const Planes& planes, const float* q, float* y) {
  const Arguments& a = head.a;
  Vec scale[G], *halves = reinterpret_cast<Vec*>(planes.halves), *weights = reinterpret_cast<Vec*>(planes.weights);
  for (int64_t p = 0; p < head.q_row; p += LANES) {
    head.halve(q + p, p, halves);
    head.dot(q + p, a.D, head.k + p, halves, weights);
    for (int64_t g = 0; g < G; ++g) scale[g] = soften(planes.weights + g * a.K * a.K * LANES, a.K * a.K);
    sum_entries<G>(head.entries, planes.weights, head.v + p, head.plane, a.E, scale, y + p, head.q_plane, head.q_row);
  }
}

template <int G>
void forward_item(const Arguments& a, const Window& window, int64_t bands, int64_t item) {
  const int64_t parts = (a.N + a.together() - 1) / a.together(), b = item / (parts * bands), part = item % bands;
  const int64_t n = item / bands % parts * a.together(), heads = a.N - n < a.together() ? a.N - n : a.together();
  const int64_t first = window.groups * part / bands * G, end = window.groups * (part + 1) / bands * G;
  const Band band(window, first, end < window.h ? end : window.h);
  const int64_t q_row = band.padded_queries(), q_plane = Scratch::room(G * q_row);
  Scratch scratch(Planes::floats(a, band, heads) + Scratch::room(heads * (a.D + a.E) * q_plane));
  Planes planes(a, band, scratch, heads);
  float *q = scratch.take(heads * (a.D + a.E) * q_plane), *y = q + heads * a.D * q_plane;
  planes.fill(a, band, b, n, heads);
  band.fill_queries(a.query, b, n * a.D, heads * a.D, q, q_plane);
  Head<G> head(a, band, planes, n, q_plane, q_row);
  for (int64_t h = 0; h < heads; ++h) {
    forward_head<G>(head, planes, q + h * a.D * q_plane, y + h * a.E * q_plane);
    head.next();
  }
  band.drain(y, q_plane, a.output, b, n * a.E, heads * a.E);
}

// The sheet holds, for every row of a group one plane each: K * K of P, K * K of L, D of q, E of dy.
template <int G>
struct Backward {
  const Arguments& a;
  const Window& window;
  int64_t b, n;
  Sheet& sheet;
  Planes& planes;
  float *dq, *grads, *grad_tables, *gathered, *readers;  // grad_tables: D * K vectors

  float* plane(int64_t index) const { return sheet.start + G * index * sheet.plane; }
  float* P() const { return plane(0); }
  float* L() const { return plane(a.K * a.K); }
  float* q() const { return plane(2 * a.K * a.K); }
  float* dy() const { return plane(2 * a.K * a.K + a.D); }

  // Flat rows from .. to - 1 of queries: P and L; with `own`, also dq and the tables' gradients.
  void queries(int64_t from, int64_t to, bool own) {
    const Band band(window, from * G, to * G < window.h ? to * G : window.h);
    const int64_t at = sheet.at(from), dq_row = band.padded_queries(), dq_plane = Scratch::room(G * dq_row);
    planes.fill(a, band, b, n);
    band.fill_queries(a.query, b, n * a.D, a.D, q() + at, G * sheet.plane, sheet.plane);
    band.fill_queries(a.output, b, n * a.E, a.E, dy() + at, G * sheet.plane, sheet.plane);
    const Head<G> head(a, band, planes, n, G * sheet.plane, sheet.plane);
    for (int64_t p = 0; p < dq_row; p += LANES) {
      weigh(head, p, at + p);
      if (own) differentiate(head, p, q() + at + p, dq + p, dq_plane, dq_row);
    }
    if (own && !a.grad_query.missing()) band.drain(dq, dq_plane, a.grad_query, b, n * a.D, a.D);
  }

  void weigh(const Head<G>& head, int64_t p, int64_t at) {
    const int64_t taps = a.K * a.K;
    Vec *weight = reinterpret_cast<Vec*>(planes.weights), *grad = reinterpret_cast<Vec*>(grads);
    Vec* halves = reinterpret_cast<Vec*>(planes.halves);
    head.halve(q() + at, p, halves);
    head.dot(q() + at, a.D, head.k + p, halves, weight);
    head.dot(dy() + at, a.E, head.v + p, nullptr, grad);
    for (int64_t g = 0; g < G; ++g, weight += taps, grad += taps) {
      const Vec scale = soften(reinterpret_cast<float*>(weight), taps);
      Vec part[4] = {zero(), zero(), zero(), zero()};
      for (int64_t t = 0; t + 4 <= taps; t += 4)
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) part[i] += weight[t + i] * grad[t + i];
      for (int64_t t = taps - taps % 4; t < taps; ++t) part[0] += weight[t] * grad[t];
      const Vec mean = ((part[0] + part[1]) + (part[2] + part[3])) * scale;
      float *to_P = P() + g * taps * sheet.plane + at, *to_L = L() + g * taps * sheet.plane + at;
      for (int64_t t = 0; t < taps; ++t) {
        const Vec probability = weight[t] * scale;
        grad[t] = probability * (grad[t] - mean);
        store(to_P + t * sheet.plane, probability);
        store(to_L + t * sheet.plane, grad[t]);
      }
    }
  }

  // dq = sum of L (k + r), and the tables' gradients: q times sums of L by row and by column.
  void differentiate(const Head<G>& head, int64_t p, const float* query, float* out, int64_t out_plane, int64_t out_row) {
    const Vec one[2] = {splat(1), splat(1)};
    const bool wanted = !a.grad_query.missing();
    if (wanted) sum_entries<G>(head.entries, grads, head.k + p, head.plane, a.D, one, out, out_plane, out_row);
    if (a.tables == 0) return;
    const Vec* grad = reinterpret_cast<const Vec*>(grads);
    Vec *by_row = reinterpret_cast<Vec*>(planes.halves), *by_col = by_row + a.K;
    for (int64_t g = 0; g < G; ++g, grad += a.K * a.K, query += sheet.plane, out += out_row) {
      for (int64_t i = 0; i < a.K; ++i) {
        Vec row = zero(), col = zero();
        for (int64_t j = 0; j < a.K; ++j) row += grad[i * a.K + j], col += grad[j * a.K + i];
        by_row[i] = row, by_col[i] = col;
      }
      Vec* table_grad = reinterpret_cast<Vec*>(grad_tables);
      for (int64_t d = 0; d < a.D; ++d, table_grad += a.K) {
        const Vec* along = d < a.part ? by_row : by_col;
        const float* table = d < a.part ? head.rows + d * a.K : head.cols + (d - a.part) * a.K;
        if (wanted) {
          Vec sum = load(out + d * out_plane);
          for (int64_t i = 0; i < a.K; ++i) sum += along[i] * table[i];
          store(out + d * out_plane, sum);
        }
        if (!a.wants_tables()) continue;
        const Vec x = load(query + G * d * sheet.plane);
        for (int64_t i = 0; i < a.K; ++i) table_grad[i] += x * along[i];
      }
    }
  }

  // Gradients of keys (by L and q) or values (by P and dy) in the flat rows from .. to - 1, one phase after the other.
  void keys(const float* weights, const float* values, int64_t channels, const View& out, int64_t from, int64_t to) {
    if (out.missing() || from >= to) return;
    const Vec one[2] = {splat(1), splat(1)};
    const int64_t length = (to - from) * window.pitch, plane = Scratch::room(length + LANES);
    const int64_t phases = G == 2 ? 1 : window.stride * window.stride;
    for (int64_t phase = 0; phase < phases; ++phase) {
      const Entries entries = entries_of_keys(window, phase, sheet.plane, readers);
      for (int64_t c = 0; c < channels; c += CHANNELS_AT_ONCE) {
        const int64_t some = channels - c < CHANNELS_AT_ONCE ? channels - c : CHANNELS_AT_ONCE;
        for (int64_t u = 0; u < length; u += LANES)
          sum_entries<G>(entries, weights + sheet.at(from) + u, values + G * c * sheet.plane + sheet.at(from) + u, G * sheet.plane,
                         some, one, gathered + u, G * plane, plane);
        for (int64_t g = 0; g < G; ++g)
          drain_pixels(window, gathered + g * plane, out, b, n * channels + c, G == 2 ? g : phase, from, to, some, G * plane);
      }
    }
  }
};

template <int G>
void backward_item(const Arguments& a, const Window& window, int64_t bands, int64_t item, float* partial) {
  const int64_t b = item / (a.N * bands), n = item / bands % a.N, part = item % bands, taps = a.K * a.K;
  const int64_t first = window.groups * part / bands, end = window.groups * (part + 1) / bands;
  Sheet sheet(window, G * (2 * taps + a.D + a.E), first, end);
  const Band largest(window, 0, sheet.rows * G);
  const int64_t dq = a.D * Scratch::room(largest.query_floats()), tables = a.D * a.K * LANES;
  const int64_t gathered = G * CHANNELS_AT_ONCE * Scratch::room(largest.queries + 2 * LANES + window.margin);
  Scratch scratch(Planes::floats(a, largest) + Scratch::room(sheet.floats()) + Scratch::room(dq) + Scratch::room(G * taps * LANES) +
                  Scratch::room(tables) + Scratch::room(gathered) + Scratch::room(Entries::floats(window)));
  Planes planes(a, largest, scratch);
  sheet.start = scratch.take(sheet.floats());
  Backward<G> backward{a, window, b, n, sheet, planes, scratch.take(dq), scratch.take(G * taps * LANES), scratch.take(tables),
                       scratch.take(gathered), scratch.take(Entries::floats(window))};
  std::memset(backward.grad_tables, 0, size_t(tables) * 4);
  sweep(sheet, first, end, end, [&](int64_t from, int64_t to, bool own) { backward.queries(from, to, own); },
        [&](int64_t from, int64_t to) {
          backward.keys(backward.L(), backward.q(), a.D, a.grad_key, from, to);
          backward.keys(backward.P(), backward.dy(), a.E, a.grad_value, from, to);
        });
  for (int64_t i = 0; i < a.D * a.K && partial; ++i)
    partial[item * a.D * a.K + i] = sum_lanes(load(backward.grad_tables + i * LANES));
}

// Sum the items' shares of the tables' gradients, in the order of the items.
void add_tables(const Arguments& a, int64_t bands, const float* partial) {
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

}  // namespace

extern "C" SIGHTLINE_EXPORT void SIGHTLINE_NAME(local_attention)(const Arguments* a, int64_t threads) {
  const Window window = a->window();
  const int64_t heads = a->together(), maps = a->B * ((a->N + heads - 1) / heads);
  const int64_t bands = band_count(maps, window, window.pitch * heads * (a->D + a->E), 4 * window.group);
  for_each(maps * bands, threads, [&](int64_t item) {
    window.group == 2 ? forward_item<2>(*a, window, bands, item) : forward_item<1>(*a, window, bands, item);
  });
}

extern "C" SIGHTLINE_EXPORT void SIGHTLINE_NAME(local_attention_backward)(const Arguments* a, int64_t threads) {
  const Window window = a->window();
  const int64_t bands = band_count(a->B * a->N, window, 0, 4 * (window.highest - window.lowest) + 4);
  const int64_t items = a->B * a->N * bands;
  float* partial = a->wants_tables() ? static_cast<float*>(std::malloc(size_t(items * a->D * a->K + 1) * 4)) : nullptr;
  for_each(items, threads, [&](int64_t item) {
    window.group == 2 ? backward_item<2>(*a, window, bands, item, partial) : backward_item<1>(*a, window, bands, item, partial);
  });
  if (partial) add_tables(*a, bands, partial);
  std::free(partial);
}

SIGHTLINE_CLOSE
