// Local relation, forward and backward, one group of one image and one band of rows at a time. The formula is in __init__.py; flat
// positions, planes and taps in ../native/window.h, sums in ../native/sums.h, the backward's order in ../native/sliding.h.
// Legend: C channels of a group, G groups, K window side, R query rows treated together, p a flat query, t a tap.
//
// Backward recomputes the weights P of a query. With dP = dy . v, the gradient of its logits is L = P (dP - sum of P dP). What it
// owes a key is L times the slope of the similarity there, what it owes a value P dy.
#include <cstdlib>

#include "sliding.h"
#include "sums.h"

SIGHTLINE_OPEN
namespace {

enum Similarity { MULTIPLY, SQUARED_DIFFERENCE, ABSOLUTE_DIFFERENCE };

struct Arguments {
  View query, key, value, output;         // output: y, or its gradient
  View grad_query, grad_key, grad_value;  // missing: not wanted
  int64_t geometry, grad_geometry;        // float32 (G, K * K), or 0
  int64_t B, G, C, channels, H, W, K, stride, dilation, similarity, exclude, interleaved;

  const float* prior(int64_t g) const { return reinterpret_cast<const float*>(geometry) + g * K * K; }
  // Channels of a group: C, or fewer where the groups do not divide them.
  int64_t held(int64_t g) const {
    if (interleaved) return (channels - g + G - 1) / G;
    return channels - g * C < C ? channels - g * C : C;
  }
  // Call f(c, channel, count) for the runs of neighbouring channels that group g consists of; c counts within the group.
  template <class F>
  void each_run(int64_t g, const F& f) const {
    if (!interleaved) return f(0, g * C, held(g));
    for (int64_t c = 0; c < held(g); ++c) f(c, c * G + g, 1);
  }
  Window window() const {
    const bool pairs = stride == 1 && dilation == 1 && H > 1;
    return Window(H, W, K, stride, dilation, false, pairs ? 2 : 1);
  }
};

template <int SIMILARITY>
SIGHTLINE_INLINE Vec compare(Vec q, Vec k) {
  const Vec gap = q - k;
  if (SIMILARITY == MULTIPLY) return q * k;
  return SIMILARITY == SQUARED_DIFFERENCE ? -(gap * gap) : (gap < 0.0f ? gap : -gap);
}

// dk = slope of the similarity by k; that by q is its opposite for the differences, k for the product.
template <int SIMILARITY>
SIGHTLINE_INLINE Vec slope_by_key(Vec q, Vec k) {
  const Vec gap = q - k;
  if (SIMILARITY == MULTIPLY) return q;
  if (SIMILARITY == SQUARED_DIFFERENCE) return gap + gap;
  return gap > 0.0f ? splat(1) : (gap < 0.0f ? splat(-1) : zero());
}

// Scratch of an item: planes of a band, filled from the operands.
struct Planes {
  const Arguments& a;
  float *q, *k, *v, *weights, *bias, *taps, *entries, *prior;

  static int64_t floats(const Arguments& a, const Band& band) {
    const Window& window = band.window;
    return Scratch::room(band.query_floats()) + Scratch::room((1 + a.C) * band.plane) +
           Scratch::room(a.K * a.K * window.group * LANES) + Scratch::room(Bias::floats(band)) + Scratch::room(Taps::floats(window)) +
           Scratch::room(Entries::floats(window)) + Scratch::room(a.K * a.K);
  }
  Planes(const Arguments& arguments, const Band& band, Scratch& scratch, int64_t g) : a(arguments) {
    const Window& window = band.window;
    q = scratch.take(band.query_floats()), k = scratch.take((1 + a.C) * band.plane), v = k + band.plane;
    weights = scratch.take(a.K * a.K * window.group * LANES);
    bias = scratch.take(Bias::floats(band)), taps = scratch.take(Taps::floats(window));
    entries = scratch.take(Entries::floats(window)), prior = scratch.take(a.K * a.K);
    for (int64_t t = 0; t < a.K * a.K; ++t) prior[t] = a.geometry ? a.prior(g)[t] : 0;
  }
  void fill(const Band& band, int64_t b, int64_t g) {
    v = k + band.plane;
    band.fill_queries(a.query, b, g, q);
    band.fill(a.key, b, g, k);
    a.each_run(g, [&](int64_t c, int64_t channel, int64_t count) { band.fill(a.value, b, channel, count, v + c * band.plane); });
  }
};

// One group over one band. k and v point at the pixel of query 0; sub-planes of q are q_row apart.
template <int SIMILARITY, int R>
struct Group {
  const Arguments& a;
  const Taps taps;
  const Bias bias;
  const float *q, *k, *v, *prior;
  int64_t plane, q_row;

  Group(const Arguments& arguments, const Band& band, const Planes& planes)
      : a(arguments), taps(band, planes.taps), bias(band, a.exclude, planes.bias), q(planes.q), k(planes.k + band.origin),
        v(planes.v + band.origin), prior(planes.prior), plane(band.plane), q_row(band.padded_queries()) {}

  // Weights of LANES queries from p on, K * K vectors for each of the R rows, not yet divided by their sums; the inverses of the sums.
  void weigh(int64_t p, float* weights, Vec* scale) const {
    const float* cols = bias.cols + p % bias.pitch;
    for (int64_t r = 0; r < R; ++r, weights += a.K * a.K * LANES) {
      const Vec query = load(q + r * q_row + p);
      float* out = weights;
      for (int64_t i = 0; i < a.K; ++i) {
        const float *row = k + p + taps.row[i + r], *add = prior + i * a.K;
        const Vec outside = bias.row(i, p, r);
        for (int64_t j = 0; j < a.K; ++j, out += LANES) {
          const Vec logit = compare<SIMILARITY>(query, load(row + taps.col[j])) + add[j];
          store(out, a.exclude ? logit + (outside + load(cols + j * bias.col_step)) : logit);
        }
      }
      scale[r] = soften(weights, a.K * a.K);
    }
  }
};

template <int SIMILARITY, int R>
void forward_item(const Arguments& a, const Window& window, int64_t bands, int64_t item) {
  const int64_t b = item / (a.G * bands), g = item / bands % a.G, part = item % bands;
  const int64_t first = window.groups * part / bands * R, end = window.groups * (part + 1) / bands * R;
  const Band band(window, first, end < window.h ? end : window.h);
  const int64_t row = band.padded_queries(), plane = Scratch::room(R * row);
  Scratch scratch(Planes::floats(a, band) + Scratch::room(a.C * plane));
  Planes planes(a, band, scratch, g);
  float* y = scratch.take(a.C * plane);
  planes.fill(band, b, g);
  const Group<SIMILARITY, R> group(a, band, planes);
  const Entries entries = entries_of_queries(window, group.taps, planes.entries);
  Vec scale[R];
  for (int64_t p = 0; p < row; p += LANES) {
    group.weigh(p, planes.weights, scale);
    sum_entries<R>(entries, planes.weights, group.v + p, band.plane, a.held(g), scale, y + p, plane, row);
  }
  a.each_run(g, [&](int64_t c, int64_t channel, int64_t count) { band.drain(y + c * plane, plane, a.output, b, channel, count); });
}

// The sheet holds, for every row of a group one plane each: K * K of P, K * K of what queries owe keys, C of dy.
template <int SIMILARITY, int R>
struct Backward {
  const Arguments& a;
  const Window& window;
  int64_t b, g;
  Sheet& sheet;
  Planes& planes;
  float *dq, *grads, *prior_grad, *gathered, *readers;  // prior_grad: K * K vectors

  float* plane(int64_t index) const { return sheet.start + R * index * sheet.plane; }
  float* P() const { return plane(0); }
  float* owed() const { return plane(a.K * a.K); }
  float* dy() const { return plane(2 * a.K * a.K); }

  // Flat rows from .. to - 1 of queries.
  void queries(int64_t from, int64_t to, bool own) {
    const Band band(window, from * R, to * R < window.h ? to * R : window.h);
    const int64_t at = sheet.at(from);
    planes.fill(band, b, g);
    a.each_run(g, [&](int64_t c, int64_t channel, int64_t count) {
      band.fill_queries(a.output, b, channel, count, dy() + R * c * sheet.plane + at, R * sheet.plane, sheet.plane);
    });
    const Group<SIMILARITY, R> group(a, band, planes);
    for (int64_t p = 0; p < group.q_row; p += LANES) differentiate(group, p, at + p, own);
    if (own && !a.grad_query.missing()) band.drain(dq, a.grad_query, b, g);
  }

  // P, what keys are owed, dq and the prior's gradient of LANES queries of each row.
  void differentiate(const Group<SIMILARITY, R>& group, int64_t p, int64_t at, bool own) {
    const int64_t taps = a.K * a.K;
    Vec *weight = reinterpret_cast<Vec*>(planes.weights), *grad = reinterpret_cast<Vec*>(grads), scale[R];
    group.weigh(p, planes.weights, scale);
    window_dots<R>(dy() + at, sheet.plane, R * sheet.plane, group.v + p, group.plane, a.held(g), group.taps, grad);
    for (int64_t r = 0; r < R; ++r, weight += taps, grad += taps) {
      const Vec mean = sum_products(weight, grad, taps) * scale[r];
      owe(group, r, weight, grad, scale[r], mean, p, at, own);
    }
  }

  void owe(const Group<SIMILARITY, R>& group, int64_t r, const Vec* weight, const Vec* grad, Vec scale, Vec mean, int64_t p, int64_t at,
           bool own) {
    const Vec query = load(group.q + r * group.q_row + p);
    float *to_P = P() + r * a.K * a.K * sheet.plane + at, *to_owed = owed() + r * a.K * a.K * sheet.plane + at;
    Vec sum = zero();
    for (int64_t i = 0, t = 0; i < a.K; ++i) {
      const float* k = group.k + p + group.taps.row[i + r];
      for (int64_t j = 0; j < a.K; ++j, ++t, to_P += sheet.plane, to_owed += sheet.plane) {
        const Vec key = load(k + group.taps.col[j]), by_key = slope_by_key<SIMILARITY>(query, key);
        const Vec probability = weight[t] * scale, logit = probability * (grad[t] - mean);
        store(to_P, probability);
        store(to_owed, logit * by_key);
        sum += logit * (SIMILARITY == MULTIPLY ? key : -by_key);
        if (own) store(prior_grad + t * LANES, load(prior_grad + t * LANES) + logit);
      }
    }
    store(dq + r * group.q_row + p, sum);
  }

  // Gradients of keys and values in the flat rows of pixels from .. to - 1, one phase after the other.
  void pixels(int64_t from, int64_t to) {
    const int64_t length = (to - from) * window.pitch, plane = Scratch::room(length + LANES);
    const int64_t phases = R == 2 ? 1 : window.stride * window.stride, start = sheet.at(from);
    for (int64_t phase = 0; phase < phases && from < to; ++phase) {
      const Entries entries = entries_of_keys(window, phase, sheet.plane, readers);
      if (!a.grad_key.missing()) {
        for (int64_t u = 0; u < length; u += LANES) sum_weights<R>(entries, owed() + start + u, gathered + u, plane);
        for (int64_t r = 0; r < R; ++r) drain_pixels(window, gathered + r * plane, a.grad_key, b, g, R == 2 ? r : phase, from, to);
      }
      if (a.grad_value.missing()) continue;
      a.each_run(g, [&](int64_t c, int64_t channel, int64_t count) {
        for (int64_t d = 0; d < count; d += CHANNELS_AT_ONCE)
          values(entries, c + d, channel + d, count - d < CHANNELS_AT_ONCE ? count - d : CHANNELS_AT_ONCE, phase, from, to);
      });
    }
  }

  // Of some neighbouring channels.
  void values(const Entries& entries, int64_t c, int64_t channel, int64_t count, int64_t phase, int64_t from, int64_t to) {
    const int64_t length = (to - from) * window.pitch, plane = Scratch::room(length + LANES), start = sheet.at(from);
    const Vec one[2] = {splat(1), splat(1)};
    for (int64_t u = 0; u < length; u += LANES)
      sum_entries<R>(entries, P() + start + u, dy() + R * c * sheet.plane + start + u, R * sheet.plane, count, one, gathered + u,
                     R * plane, plane);
    for (int64_t r = 0; r < R; ++r)
      drain_pixels(window, gathered + r * plane, a.grad_value, b, channel, R == 2 ? r : phase, from, to, count, R * plane);
  }
};

template <int SIMILARITY, int R>
void backward_item(const Arguments& a, const Window& window, int64_t bands, int64_t item, float* partial) {
  const int64_t b = item / (a.G * bands), g = item / bands % a.G, part = item % bands, taps = a.K * a.K;
  const int64_t first = window.groups * part / bands, end = window.groups * (part + 1) / bands;
  Sheet sheet(window, R * (2 * taps + a.C), first, end);
  const Band largest(window, 0, sheet.rows * R);
  const int64_t gathered = R * CHANNELS_AT_ONCE * Scratch::room(largest.queries + 2 * LANES + window.margin);
  Scratch scratch(Planes::floats(a, largest) + Scratch::room(sheet.floats()) + Scratch::room(largest.query_floats()) +
                  Scratch::room(R * taps * LANES) + Scratch::room(taps * LANES) + Scratch::room(gathered) +
                  Scratch::room(Entries::floats(window)));
  Planes planes(a, largest, scratch, g);
  sheet.start = scratch.take(sheet.floats());
  std::memset(sheet.start, 0, size_t(sheet.floats()) * 4);
  Backward<SIMILARITY, R> backward{a, window, b, g, sheet, planes, scratch.take(largest.query_floats()),
                                   scratch.take(R * taps * LANES), scratch.take(taps * LANES), scratch.take(gathered),
                                   scratch.take(Entries::floats(window))};
  std::memset(backward.prior_grad, 0, size_t(taps) * LANES * 4);
  sweep(sheet, first, end, end, [&](int64_t from, int64_t to, bool own) { backward.queries(from, to, own); },
        [&](int64_t from, int64_t to) { backward.pixels(from, to); });
  for (int64_t t = 0; t < taps && partial; ++t) partial[item * taps + t] = sum_lanes(load(backward.prior_grad + t * LANES));
}

// Sum the items' shares of the prior's gradient, in the order of the items.
void add_priors(const Arguments& a, int64_t bands, const float* partial) {
  for (int64_t g = 0; g < a.G; ++g)
    for (int64_t t = 0; t < a.K * a.K; ++t) {
      double sum = 0;
      for (int64_t b = 0; b < a.B; ++b)
        for (int64_t part = 0; part < bands; ++part) sum += partial[((b * a.G + g) * bands + part) * a.K * a.K + t];
      reinterpret_cast<float*>(a.grad_geometry)[g * a.K * a.K + t] = float(sum);
    }
}

// Call f with the similarity and the rows together as numbers that a template takes.
template <class F>
void choose(const Arguments& a, const Window& window, const F& f) {
  const bool pairs = window.group == 2;
  if (a.similarity == MULTIPLY) return pairs ? f(Number<MULTIPLY>(), Number<2>()) : f(Number<MULTIPLY>(), Number<1>());
  if (a.similarity == SQUARED_DIFFERENCE)
    return pairs ? f(Number<SQUARED_DIFFERENCE>(), Number<2>()) : f(Number<SQUARED_DIFFERENCE>(), Number<1>());
  pairs ? f(Number<ABSOLUTE_DIFFERENCE>(), Number<2>()) : f(Number<ABSOLUTE_DIFFERENCE>(), Number<1>());
}

template <int SIMILARITY, int R>
void forward(const Arguments& a, const Window& window, int64_t threads, Number<SIMILARITY>, Number<R>) {
  const int64_t bands = band_count(a.B * a.G, window, window.pitch * (2 * a.C + 2), 4 * window.group);
  for_each(a.B * a.G * bands, threads, [&](int64_t item) { forward_item<SIMILARITY, R>(a, window, bands, item); });
}

template <int SIMILARITY, int R>
void backward(const Arguments& a, const Window& window, int64_t threads, Number<SIMILARITY>, Number<R>) {
  const int64_t bands = band_count(a.B * a.G, window, 0, 4 * (window.highest - window.lowest) + 4), items = a.B * a.G * bands;
  float* partial = a.grad_geometry ? static_cast<float*>(std::malloc(size_t(items * a.K * a.K + 1) * 4)) : nullptr;
  for_each(items, threads, [&](int64_t item) { backward_item<SIMILARITY, R>(a, window, bands, item, partial); });
  if (partial) add_priors(a, bands, partial);
  std::free(partial);
}

}  // namespace

extern "C" SIGHTLINE_EXPORT void SIGHTLINE_NAME(local_relation)(const Arguments* a, int64_t threads) {
  const Window window = a->window();
  choose(*a, window, [&](auto similarity, auto rows) { forward(*a, window, threads, similarity, rows); });
}

extern "C" SIGHTLINE_EXPORT void SIGHTLINE_NAME(local_relation_backward)(const Arguments* a, int64_t threads) {
  const Window window = a->window();
  choose(*a, window, [&](auto similarity, auto rows) { backward(*a, window, threads, similarity, rows); });
}

SIGHTLINE_CLOSE
