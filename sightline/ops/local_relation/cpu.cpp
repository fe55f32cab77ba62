// Local relation, forward and backward, one group of one image and one band of rows at a time. The formula is in __init__.py; flat
// positions, planes and taps in ../native/window.h, the backward's order in ../native/sliding.h.
// Legend: C channels of a group, G groups, K window side, p a flat query, t a tap.
//
// Backward recomputes the weights P of a query. With dP = dy . v, the gradient of its logits is L = P (dP - sum of P dP). What it
// owes a key is L times the slope of the similarity there, what it owes a value P dy.
#include <cstdlib>

#include "sliding.h"

SIGHTLINE_OPEN
namespace {

enum Similarity { MULTIPLY, SQUARED_DIFFERENCE, ABSOLUTE_DIFFERENCE };

struct Arguments {
  View query, key, value, output;         // output: y, or its gradient
  View grad_query, grad_key, grad_value;  // missing: not wanted
  int64_t geometry, grad_geometry;        // float32 (G, K * K), or 0
  int64_t B, G, C, H, W, K, stride, dilation, similarity, exclude, interleaved;

  int64_t channel(int64_t g, int64_t c) const { return interleaved ? c * G + g : g * C + c; }
  const float* prior(int64_t g) const { return reinterpret_cast<const float*>(geometry) + g * K * K; }
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

// One group over one band: its planes. k and v point at the pixel of query 0.
struct Group {
  const Arguments& a;
  const Taps& taps;
  const Bias& bias;
  const float *q, *k, *v, *prior;  // prior: K * K numbers
  int64_t plane;

  // Weights of LANES queries from p on, not yet divided by their sum; the inverse of the sum.
  template <int SIMILARITY>
  Vec weigh(int64_t p, float* weights) const {
    const Vec query = load(q + p);
    Vec* cols = reinterpret_cast<Vec*>(weights + a.K * a.K * LANES);
    if (a.exclude)
      for (int64_t j = 0; j < a.K; ++j) cols[j] = bias.col(j, p);
    float* out = weights;
    for (int64_t i = 0; i < a.K; ++i) {
      const float* row = k + p + taps.row[i];
      const Vec outside = a.exclude ? bias.row(i, p) : zero();
      for (int64_t j = 0; j < a.K; ++j, out += LANES) {
        const Vec logit = compare<SIMILARITY>(query, load(row + taps.col[j])) + prior[i * a.K + j];
        store(out, a.exclude ? logit + outside + cols[j] : logit);
      }
    }
    return soften(weights, a.K * a.K);
  }
};

// Scratch of an item: planes of a band, filled from the operands.
struct Planes {
  const Arguments& a;
  float *q, *k, *v, *weights, *bias, *taps, *prior;

  static int64_t floats(const Arguments& a, const Band& band) {
    return Scratch::room(band.padded_queries()) + Scratch::room((1 + a.C) * band.plane) + Scratch::room((a.K * a.K + a.K) * LANES) +
           Scratch::room(Bias::floats(band)) + Scratch::room(Taps::floats(band.window)) + Scratch::room(a.K * a.K);
  }
  Planes(const Arguments& arguments, const Band& band, Scratch& scratch, int64_t g) : a(arguments) {
    q = scratch.take(band.padded_queries()), k = scratch.take((1 + a.C) * band.plane), v = k + band.plane;
    weights = scratch.take((a.K * a.K + a.K) * LANES);
    bias = scratch.take(Bias::floats(band)), taps = scratch.take(Taps::floats(band.window)), prior = scratch.take(a.K * a.K);
    for (int64_t t = 0; t < a.K * a.K; ++t) prior[t] = a.geometry ? a.prior(g)[t] : 0;
  }
  void fill(const Band& band, int64_t b, int64_t g) {
    v = k + band.plane;
    band.fill_queries(a.query, b, g, q);
    band.fill(a.key, b, g, k);
    for (int64_t c = 0; c < a.C; ++c) band.fill(a.value, b, a.channel(g, c), v + c * band.plane);
  }
};

template <int SIMILARITY>
void forward_item(const Arguments& a, const Window& window, int64_t bands, int64_t item) {
  const int64_t b = item / (a.G * bands), g = item / bands % a.G, part = item % bands;
  const Band band(window, window.h * part / bands, window.h * (part + 1) / bands);
  const int64_t queries = Scratch::room(band.padded_queries());
  Scratch scratch(Planes::floats(a, band) + Scratch::room(a.C * queries));
  Planes planes(a, band, scratch, g);
  float* y = scratch.take(a.C * queries);
  planes.fill(band, b, g);
  const Taps taps(band, planes.taps);
  const Bias bias(band, a.exclude, planes.bias);
  const Group group{a, taps, bias, planes.q, planes.k + band.origin, planes.v + band.origin, planes.prior, band.plane};
  for (int64_t p = 0; p < band.padded_queries(); p += LANES) {
    const Vec scale = group.weigh<SIMILARITY>(p, planes.weights);
    aggregate(taps, planes.weights, group.v + p, band.plane, a.C, scale, y + p, queries);
  }
  for (int64_t c = 0; c < a.C; ++c) band.drain(y + c * queries, a.output, b, a.channel(g, c));
}

template <int SIMILARITY>
struct Backward {
  const Arguments& a;
  const Window& window;
  int64_t b, g;
  Sheet& sheet;  // K * K planes of P, K * K of what queries owe keys, C of dy
  Planes& planes;
  float *dq, *grads, *prior_grad, *gathered;  // prior_grad: K * K vectors
  int64_t* lists;

  float* owed(int64_t t) const { return sheet.start + (a.K * a.K + t) * sheet.plane; }
  float* dy(int64_t c) const { return sheet.start + (2 * a.K * a.K + c) * sheet.plane; }

  void queries(int64_t from, int64_t to, bool own) {
    const Band band(window, from, to);
    const int64_t at = sheet.at(from);
    planes.fill(band, b, g);
    for (int64_t c = 0; c < a.C; ++c) band.fill_queries(a.output, b, a.channel(g, c), dy(c) + at);
    const Taps taps(band, planes.taps);
    const Bias bias(band, a.exclude, planes.bias);
    const Group group{a, taps, bias, planes.q, planes.k + band.origin, planes.v + band.origin, planes.prior, band.plane};
    for (int64_t p = 0; p < band.padded_queries(); p += LANES) differentiate(group, p, at + p, own);
    if (own && !a.grad_query.missing()) band.drain(dq, a.grad_query, b, g);
  }

  // P, what keys are owed, dq and the prior's gradient of LANES queries.
  void differentiate(const Group& group, int64_t p, int64_t at, bool own) {
    const Vec scale = group.template weigh<SIMILARITY>(p, planes.weights), query = load(group.q + p);
    Vec *weight = reinterpret_cast<Vec*>(planes.weights), *grad = reinterpret_cast<Vec*>(grads), mean = zero(), sum = zero();
    for (int64_t i = 0; i < a.K; ++i) {
      for (int64_t j = 0; j < a.K; ++j) grad[i * a.K + j] = zero();
      const float* v = group.v + p + group.taps.row[i];
      if (group.taps.neighbours)
        dots<true>(a.K, dy(0) + at, sheet.plane, v, group.plane, a.C, group.taps.col, grad + i * a.K);
      else
        dots<false>(a.K, dy(0) + at, sheet.plane, v, group.plane, a.C, group.taps.col, grad + i * a.K);
    }
    for (int64_t t = 0; t < a.K * a.K; ++t) weight[t] *= scale, mean += weight[t] * grad[t];
    for (int64_t i = 0, t = 0; i < a.K; ++i) {
      const float* k = group.k + p + group.taps.row[i];
      for (int64_t j = 0; j < a.K; ++j, ++t) {
        const Vec key = load(k + group.taps.col[j]), by_key = slope_by_key<SIMILARITY>(query, key);
        const Vec logit = weight[t] * (grad[t] - mean);
        store(sheet.start + t * sheet.plane + at, weight[t]);
        store(owed(t) + at, logit * by_key);
        sum += logit * (SIMILARITY == MULTIPLY ? key : -by_key);
        if (own) store(prior_grad + t * LANES, load(prior_grad + t * LANES) + logit);
      }
    }
    store(dq + p, sum);
  }

  // Gradients of keys and values in the rows of pixels from .. to - 1, one phase after the other.
  void pixels(int64_t from, int64_t to) {
    const int64_t s = window.stride, length = (to - from) * window.pitch, plane = Scratch::room(length + LANES);
    for (int64_t phase = 0; phase < s * s && from < to; ++phase) {
      const Readers readers(window, phase, lists);
      if (!a.grad_key.missing()) {
        for (int64_t u = 0; u < length; u += LANES) store(gathered + u, total(owed(0) + sheet.at(from) + u, sheet.plane, readers));
        drain_pixels(window, gathered, a.grad_key, b, g, phase, from, to);
      }
      for (int64_t c = 0; c < a.C && !a.grad_value.missing();) {
        const int64_t some = a.C - c < 8 ? 1 : 8;
        for (int64_t u = 0; u < length; u += LANES) {
          const float *w = sheet.start + sheet.at(from) + u, *x = dy(c) + sheet.at(from) + u;
          if (some == 8)
            collect<8>(w, x, sheet.plane, readers, gathered + u, plane);
          else
            collect<1>(w, x, sheet.plane, readers, gathered + u, plane);
        }
        for (int64_t e = 0; e < some; ++e, ++c) drain_pixels(window, gathered + e * plane, a.grad_value, b, a.channel(g, c), phase, from, to);
      }
    }
  }
};

template <int SIMILARITY>
void backward_item(const Arguments& a, const Window& window, int64_t bands, int64_t item, float* partial) {
  const int64_t b = item / (a.G * bands), g = item / bands % a.G, part = item % bands, taps = a.K * a.K;
  const int64_t first = window.h * part / bands, end = window.h * (part + 1) / bands;
  Sheet sheet(window, 2 * taps + a.C, first, end);
  const Band largest(window, 0, sheet.rows);
  const int64_t gathered = 8 * Scratch::room(largest.queries + 2 * LANES + window.margin);
  Scratch scratch(Planes::floats(a, largest) + Scratch::room(sheet.floats()) + Scratch::room(largest.padded_queries()) +
                  2 * Scratch::room(taps * LANES) + Scratch::room(gathered) + Scratch::room(4 * taps));
  Planes planes(a, largest, scratch, g);
  sheet.start = scratch.take(sheet.floats());
  std::memset(sheet.start, 0, size_t(sheet.floats()) * 4);
  float *dq = scratch.take(largest.padded_queries()), *grads = scratch.take(taps * LANES), *prior_grad = scratch.take(taps * LANES);
  std::memset(prior_grad, 0, size_t(taps) * LANES * 4);
  float* room = scratch.take(gathered);
  Backward<SIMILARITY> backward{a, window, b, g, sheet, planes, dq, grads, prior_grad, room,
                                reinterpret_cast<int64_t*>(scratch.take(4 * taps))};
  sweep(sheet, first, end, end, [&](int64_t from, int64_t to, bool own) { backward.queries(from, to, own); },
        [&](int64_t from, int64_t to) { backward.pixels(from, to); });
  for (int64_t t = 0; t < taps && partial; ++t) partial[item * taps + t] = sum_lanes(load(prior_grad + t * LANES));
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

}  // namespace

extern "C" SIGHTLINE_EXPORT void SIGHTLINE_NAME(local_relation)(const Arguments* a, int64_t threads) {
  const Window window(a->H, a->W, a->K, a->stride, a->dilation);
  const int64_t bands = band_count(a->B * a->G, window, window.pitch * (2 * a->C + 2), 4);
  for_each(a->B * a->G * bands, threads, [&](int64_t item) {
    if (a->similarity == MULTIPLY) return forward_item<MULTIPLY>(*a, window, bands, item);
    if (a->similarity == SQUARED_DIFFERENCE) return forward_item<SQUARED_DIFFERENCE>(*a, window, bands, item);
    forward_item<ABSOLUTE_DIFFERENCE>(*a, window, bands, item);
  });
}

extern "C" SIGHTLINE_EXPORT void SIGHTLINE_NAME(local_relation_backward)(const Arguments* a, int64_t threads) {
  const Window window(a->H, a->W, a->K, a->stride, a->dilation);
  const int64_t bands = band_count(a->B * a->G, window, 0, 4 * (window.highest - window.lowest) + 4);
  const int64_t items = a->B * a->G * bands;
  float* partial = a->grad_geometry ? static_cast<float*>(std::malloc(size_t(items * a->K * a->K + 1) * 4)) : nullptr;
  for_each(items, threads, [&](int64_t item) {
    if (a->similarity == MULTIPLY) return backward_item<MULTIPLY>(*a, window, bands, item, partial);
    if (a->similarity == SQUARED_DIFFERENCE) return backward_item<SQUARED_DIFFERENCE>(*a, window, bands, item, partial);
    backward_item<ABSOLUTE_DIFFERENCE>(*a, window, bands, item, partial);
  });
  if (partial) add_priors(*a, bands, partial);
  std::free(partial);
}

SIGHTLINE_CLOSE
