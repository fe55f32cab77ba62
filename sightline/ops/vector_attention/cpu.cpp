// Vector attention, forward and backward, one weight group of one image and one band of rows at a time. The formula is in
// __init__.py; flat positions, planes and taps in ../native/window.h, the backward's order in ../native/sliding.h.
// Legend: C channels of a group (channel c * G + g), G groups, K window side, p a flat query, t a tap.
//
// Backward: with weights P (softmax of the logits, or the logits) and dP = dy . v, the logits' gradient is P (dP - sum of P dP) or
// dP, and a query owes P dy to every value it reads.
#include "sliding.h"

SIGHTLINE_OPEN
namespace {

struct Arguments {
  View logits, value, output;     // logits as (B, G * K * K, h, w); output: y, or its gradient
  View grad_logits, grad_value;   // missing: not wanted
  int64_t B, G, C, H, W, K, stride, dilation, softmax, exclude, padded;

  int64_t channel(int64_t g, int64_t c) const { return c * G + g; }
};

// Planes of a band: the values of a group, and the weights of its queries, K * K planes of `queries` floats.
struct Group {
  const Arguments& a;
  int64_t b, g;
  float *v, *bias_memory, *taps_memory, *local;  // local: K * K vectors

  static int64_t floats(const Arguments& a, const Band& band) {
    return Scratch::room(a.C * band.plane) + Scratch::room(Bias::floats(band)) + Scratch::room(Taps::floats(band.window)) +
           Scratch::room(a.K * a.K * LANES);
  }
  Group(const Arguments& arguments, const Band& band, Scratch& scratch, int64_t image, int64_t group)
      : a(arguments), b(image), g(group), v(scratch.take(a.C * band.plane)), bias_memory(scratch.take(Bias::floats(band))),
        taps_memory(scratch.take(Taps::floats(band.window))), local(scratch.take(a.K * a.K * LANES)) {}

  void fill(const Band& band, float* logits, int64_t queries) const {
    for (int64_t c = 0; c < a.C; ++c) band.fill(a.value, b, a.channel(g, c), v + c * band.plane);
    for (int64_t t = 0; t < a.K * a.K; ++t) band.fill_queries(a.logits, b, g * a.K * a.K + t, logits + t * queries);
  }
  // The weights of LANES queries, into `local`, not yet multiplied by the scale returned.
  Vec weigh(const Bias& bias, const float* logits, int64_t queries, int64_t p) const {
    for (int64_t i = 0, t = 0; i < a.K; ++i)
      for (int64_t j = 0; j < a.K; ++j, ++t) {
        const Vec logit = load(logits + t * queries);
        store(local + t * LANES, a.exclude ? logit + bias.row(i, p) + bias.col(j, p) : logit);
      }
    return a.softmax ? soften(local, a.K * a.K) : splat(1);
  }
};

void forward_item(const Arguments& a, const Window& window, int64_t bands, int64_t item) {
  const int64_t b = item / (a.G * bands), g = item / bands % a.G, part = item % bands;
  const Band band(window, window.h * part / bands, window.h * (part + 1) / bands);
  const int64_t queries = Scratch::room(band.padded_queries());
  Scratch scratch(Group::floats(a, band) + Scratch::room((a.K * a.K + a.C) * queries));
  const Group group(a, band, scratch, b, g);
  float *logits = scratch.take((a.K * a.K + a.C) * queries), *y = logits + a.K * a.K * queries;
  group.fill(band, logits, queries);
  const Taps taps(band, group.taps_memory);
  const Bias bias(band, a.exclude, group.bias_memory);
  for (int64_t p = 0; p < band.padded_queries(); p += LANES) {
    const Vec scale = group.weigh(bias, logits + p, queries, p);
    aggregate(taps, group.local, group.v + band.origin + p, band.plane, a.C, scale, y + p, queries);
  }
  for (int64_t c = 0; c < a.C; ++c) band.drain(y + c * queries, a.output, b, a.channel(g, c));
}

struct Backward {
  const Arguments& a;
  const Window& window;
  const Group& group;
  Sheet& sheet;  // K * K planes of P, C of dy
  float *grads, *gathered;  // grads: K * K planes of a band's queries
  int64_t grads_plane, *lists;

  float* dy(int64_t c) const { return sheet.start + (a.K * a.K + c) * sheet.plane; }

  void queries(int64_t from, int64_t to, bool own) {
    const Band band(window, from, to);
    const int64_t at = sheet.at(from), b = group.b, g = group.g;
    group.fill(band, sheet.start + at, sheet.plane);
    for (int64_t c = 0; c < a.C; ++c) band.fill_queries(a.output, b, a.channel(g, c), dy(c) + at);
    const Taps taps(band, group.taps_memory);
    const Bias bias(band, a.exclude, group.bias_memory);
    const bool wanted = own && !a.grad_logits.missing();
    for (int64_t p = 0; p < band.padded_queries(); p += LANES) {
      const Vec scale = group.weigh(bias, sheet.start + at + p, sheet.plane, p);
      for (int64_t t = 0; t < a.K * a.K; ++t) store(sheet.start + t * sheet.plane + at + p, load(group.local + t * LANES) * scale);
      if (wanted) differentiate(taps, group.v + band.origin + p, band.plane, at + p, grads + p);
    }
    for (int64_t t = 0; t < a.K * a.K && wanted; ++t) band.drain(grads + t * grads_plane, a.grad_logits, b, g * a.K * a.K + t);
  }

  void differentiate(const Taps& taps, const float* v, int64_t plane, int64_t at, float* out) const {
    Vec *grad = reinterpret_cast<Vec*>(group.local), mean = zero();
    for (int64_t t = 0; t < a.K * a.K; ++t) grad[t] = zero();
    for (int64_t i = 0; i < a.K; ++i) {
      if (taps.neighbours)
        dots<true>(a.K, dy(0) + at, sheet.plane, v + taps.row[i], plane, a.C, taps.col, grad + i * a.K);
      else
        dots<false>(a.K, dy(0) + at, sheet.plane, v + taps.row[i], plane, a.C, taps.col, grad + i * a.K);
    }
    const float* weight = sheet.start + at;
    for (int64_t t = 0; t < a.K * a.K && a.softmax; ++t) mean += load(weight + t * sheet.plane) * grad[t];
    for (int64_t t = 0; t < a.K * a.K; ++t)
      store(out + t * grads_plane, a.softmax ? load(weight + t * sheet.plane) * (grad[t] - mean) : grad[t]);
  }

  // Gradients of values in the rows of pixels from .. to - 1, one phase after the other.
  void pixels(int64_t from, int64_t to) const {
    const int64_t s = window.stride, length = (to - from) * window.pitch, plane = Scratch::room(length + LANES);
    if (a.grad_value.missing() || from >= to) return;
    for (int64_t phase = 0; phase < s * s; ++phase) {
      const Readers readers(window, phase, lists);
      for (int64_t c = 0; c < a.C;) {
        const int64_t some = a.C - c < 8 ? 1 : 8;
        for (int64_t u = 0; u < length; u += LANES) {
          const float *w = sheet.start + sheet.at(from) + u, *x = dy(c) + sheet.at(from) + u;
          if (some == 8)
            collect<8>(w, x, sheet.plane, readers, gathered + u, plane);
          else
            collect<1>(w, x, sheet.plane, readers, gathered + u, plane);
        }
        for (int64_t e = 0; e < some; ++e, ++c)
          drain_pixels(window, gathered + e * plane, a.grad_value, group.b, a.channel(group.g, c), phase, from, to);
      }
    }
  }
};

void backward_item(const Arguments& a, const Window& window, int64_t bands, int64_t item) {
  const int64_t b = item / (a.G * bands), g = item / bands % a.G, part = item % bands, taps = a.K * a.K;
  const int64_t first = window.h * part / bands, own_end = window.h * (part + 1) / bands;
  const int64_t end = part + 1 < bands ? own_end : pixel_rows(window);
  Sheet sheet(window, taps + a.C, first, end);
  const Band largest(window, 0, sheet.rows);
  const int64_t gathered = 8 * Scratch::room(largest.queries + 2 * LANES + window.margin);
  const int64_t grads_plane = Scratch::room(largest.padded_queries());
  Scratch scratch(Group::floats(a, largest) + Scratch::room(sheet.floats()) + Scratch::room(taps * grads_plane) +
                  Scratch::room(gathered) + Scratch::room(4 * taps));
  const Group group(a, largest, scratch, b, g);
  sheet.start = scratch.take(sheet.floats());
  std::memset(sheet.start, 0, size_t(sheet.floats()) * 4);
  float *grads = scratch.take(taps * grads_plane), *room = scratch.take(gathered);
  const Backward backward{a, window, group, sheet, grads, room, grads_plane, reinterpret_cast<int64_t*>(scratch.take(4 * taps))};
  Backward step = backward;
  sweep(sheet, first, end, own_end, [&](int64_t from, int64_t to, bool own) { step.queries(from, to, own); },
        [&](int64_t from, int64_t to) { step.pixels(from, to); });
}

}  // namespace

extern "C" SIGHTLINE_EXPORT void SIGHTLINE_NAME(vector_attention)(const Arguments* a, int64_t threads) {
  const Window window(a->H, a->W, a->K, a->stride, a->dilation, a->padded);
  const int64_t bands = band_count(a->B * a->G, window, window.pitch * (2 * a->C + a->K * a->K), 4);
  for_each(a->B * a->G * bands, threads, [&](int64_t item) { forward_item(*a, window, bands, item); });
}

extern "C" SIGHTLINE_EXPORT void SIGHTLINE_NAME(vector_attention_backward)(const Arguments* a, int64_t threads) {
  const Window window(a->H, a->W, a->K, a->stride, a->dilation, a->padded);
  const int64_t bands = band_count(a->B * a->G, window, 0, 4 * (window.highest - window.lowest) + 4);
  for_each(a->B * a->G * bands, threads, [&](int64_t item) { backward_item(*a, window, bands, item); });
}

SIGHTLINE_CLOSE
