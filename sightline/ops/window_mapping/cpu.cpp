// The mapping of whole windows, forward and backward, without a copy of the windows. The formula is in __init__.py.
// Legend: D channels, G outputs, T = K * K taps, W width of the padded map, p a flat pixel r * W + c of it; the query of output pixel
// (r, c) is p, its tap (i, j) reads p + i * W + j. Queries in the last K - 1 columns of a row do not exist; nobody reads them.
#include <cstdlib>

#include "threads.h"
#include "vector.h"

SIGHTLINE_OPEN
namespace {

struct Arguments {
  int64_t around;                    // float32, contiguous: (B, D, h + K - 1, W)
  int64_t scale, shift, weight;      // (D, T), (D, T), (G, D, T)
  int64_t hidden;                    // (B, G, h, w), or its gradient
  int64_t grad_around, grad_weight;  // as around; (D, T, G)
  int64_t sums;                      // (D, T, 2) sums of dz and of dz times what the tap reads
  int64_t B, D, G, K, h, w;

  int64_t taps() const { return K * K; }
  int64_t width() const { return w + K - 1; }
};

const float* in(int64_t address) { return reinterpret_cast<const float*>(address); }
float* to(int64_t address) { return reinterpret_cast<float*>(address); }
int64_t vectors(int64_t floats) { return (floats + LANES - 1) / LANES * LANES; }

void copy(float* out, const float* from, int64_t n, int64_t room) {
  std::memcpy(out, from, size_t(n) * 4);
  std::memset(out + n, 0, size_t(room - n) * 4);
}

// hidden of M outputs and 2 vectors of queries
template <int M>
void forward_tile(const Arguments& a, const float* planes, int64_t plane, int64_t g, int64_t p, float* out, int64_t queries) {
  Vec sum[M][2];
  for (int m = 0; m < M; ++m) sum[m][0] = sum[m][1] = zero();
  const float *weight = in(a.weight) + g * a.D * a.taps(), *scale = in(a.scale), *shift = in(a.shift);
  for (int64_t d = 0; d < a.D; ++d)
    for (int64_t i = 0; i < a.K; ++i)
      for (int64_t j = 0; j < a.K; ++j, ++weight, ++scale, ++shift) {
        const float* k = planes + d * plane + p + i * a.width() + j;
        const Vec one = maximum(zero(), *scale * load(k) + *shift), two = maximum(zero(), *scale * load(k + LANES) + *shift);
        for (int m = 0; m < M; ++m) {
          const float factor = weight[m * a.D * a.taps()];
          sum[m][0] += factor * one, sum[m][1] += factor * two;
        }
      }
  for (int m = 0; m < M; ++m) store(out + (g + m) * queries + p, sum[m][0]), store(out + (g + m) * queries + p + LANES, sum[m][1]);
}

void forward_item(const Arguments& a, int64_t bands, int64_t item) {
  const int64_t b = item / bands, first = a.h * (item % bands) / bands, rows = a.h * (item % bands + 1) / bands - first;
  const int64_t floats = (rows + a.K - 1) * a.width(), plane = vectors(floats) + 2 * LANES, queries = vectors(rows * a.width()) + 2 * LANES;
  Scratch scratch(Scratch::room(a.D * plane + a.K * a.width()) + Scratch::room(a.G * queries));
  float *planes = scratch.take(a.D * plane + a.K * a.width()), *y = scratch.take(a.G * queries);
  for (int64_t d = 0; d < a.D; ++d)
    copy(planes + d * plane, in(a.around) + ((b * a.D + d) * (a.h + a.K - 1) + first) * a.width(), floats, plane);
  std::memset(planes + a.D * plane, 0, size_t(a.K * a.width()) * 4);
  for (int64_t p = 0; p < rows * a.width() - a.K + 1; p += 2 * LANES) {
    int64_t g = 0;
    for (; g + 8 <= a.G; g += 8) forward_tile<8>(a, planes, plane, g, p, y, queries);
    for (; g + 2 <= a.G; g += 2) forward_tile<2>(a, planes, plane, g, p, y, queries);
    if (g < a.G) forward_tile<1>(a, planes, plane, g, p, y, queries);
  }
  for (int64_t g = 0; g < a.G; ++g)
    for (int64_t r = 0; r < rows; ++r)
      std::memcpy(to(a.hidden) + ((b * a.G + g) * a.h + first + r) * a.w, y + g * queries + r * a.width(), size_t(a.w) * 4);
}

// One tap of one channel: z of its queries, dz = W' dh, sums of dh z by output. dh is zero where there is no query.
struct Tap {
  float scale, shift;
  const float *k, *dh, *weight;  // weight: of output 0, `weight_step` apart
  int64_t queries, weight_step;
  float *dz, *grad_weight;

  Vec z(int64_t p) const { return maximum(zero(), scale * load(k + p) + shift); }

  template <int M>
  void outputs(int64_t g) const {
    Vec sum[M], factor[M];
    for (int m = 0; m < M; ++m) sum[m] = zero(), factor[m] = splat(weight[(g + m) * weight_step]);
    for (int64_t p = 0; p < queries; p += LANES) {
      const Vec here = z(p);
      Vec gradient = g ? load(dz + p) : zero();
      for (int m = 0; m < M; ++m) {
        const Vec one = load(dh + (g + m) * queries + p);
        gradient += factor[m] * one, sum[m] += one * here;
      }
      store(dz + p, gradient);
    }
    for (int m = 0; m < M; ++m) grad_weight[g + m] = sum_lanes(sum[m]);
  }

  // dz where z > 0: to the pixels that the tap reads, and its sums
  void settle(float* dk, float* sums) const {
    Vec total = zero(), moment = zero();
    for (int64_t p = 0; p < queries; p += LANES) {
      const Vec one = z(p) > 0.0f ? load(dz + p) : zero();
      total += one, moment += one * load(k + p);
      store(dk + p, load(dk + p) + scale * one);
    }
    sums[0] = sum_lanes(total), sums[1] = sum_lanes(moment);
  }
};

constexpr int64_t TOGETHER = 4;  // channels of an item, which share a copy of dh

void backward_item(const Arguments& a, int64_t parts, int64_t item, float* weights, float* sums) {
  const int64_t b = item / parts, first = item % parts * TOGETHER, end = first + TOGETHER < a.D ? first + TOGETHER : a.D;
  const int64_t floats = (a.h + a.K - 1) * a.width(), queries = vectors(a.h * a.width()), plane = queries + a.K * a.width() + LANES;
  Scratch scratch(Scratch::room(a.G * queries) + Scratch::room(queries) + 2 * Scratch::room(plane));
  float *dh = scratch.take(a.G * queries), *dz = scratch.take(queries), *k = scratch.take(plane), *dk = scratch.take(plane);
  std::memset(dh, 0, size_t(a.G * queries) * 4);
  for (int64_t g = 0; g < a.G; ++g)
    for (int64_t r = 0; r < a.h; ++r)
      std::memcpy(dh + g * queries + r * a.width(), in(a.hidden) + ((b * a.G + g) * a.h + r) * a.w, size_t(a.w) * 4);
  for (int64_t d = first; d < end; ++d) {
    copy(k, in(a.around) + (b * a.D + d) * floats, floats, plane);
    std::memset(dk, 0, size_t(plane) * 4);
    for (int64_t t = 0; t < a.taps(); ++t) {
      const int64_t at = d * a.taps() + t, offset = t / a.K * a.width() + t % a.K, share = b * a.D * a.taps() + at;
      const Tap tap{in(a.scale)[at], in(a.shift)[at], k + offset, dh, in(a.weight) + at, queries, a.D * a.taps(), dz, weights + share * a.G};
      int64_t g = 0;
      for (; g + 8 <= a.G; g += 8) tap.outputs<8>(g);
      for (; g + 2 <= a.G; g += 2) tap.outputs<2>(g);
      if (g < a.G) tap.outputs<1>(g);
      tap.settle(dk + offset, sums + share * 2);
    }
    std::memcpy(to(a.grad_around) + (b * a.D + d) * floats, dk, size_t(floats) * 4);
  }
}

// Sum the images' shares in their order.
void add_up(const float* shares, int64_t images, int64_t size, float* out, int64_t threads) {
  for_each((size + 255) / 256, threads, [&](int64_t part) {
    for (int64_t i = part * 256; i < size && i < part * 256 + 256; ++i) {
      double sum = 0;
      for (int64_t b = 0; b < images; ++b) sum += shares[b * size + i];
      out[i] = float(sum);
    }
  });
}

float* room(int64_t floats) {
  void* memory = std::malloc(size_t(floats + 16) * 4);
  if (!memory) std::abort();
  return static_cast<float*>(memory);
}

}  // namespace

extern "C" SIGHTLINE_EXPORT void SIGHTLINE_NAME(window_mapping)(const Arguments* a, int64_t threads) {
  const int64_t wanted = (32 + a->B - 1) / (a->B ? a->B : 1), most = (a->h + 3) / 4, bands = wanted < most ? wanted : most;
  for_each(a->B * bands, threads, [&](int64_t item) { forward_item(*a, bands, item); });
}

extern "C" SIGHTLINE_EXPORT void SIGHTLINE_NAME(window_mapping_backward)(const Arguments* a, int64_t threads) {
  const int64_t parts = (a->D + TOGETHER - 1) / TOGETHER, taps = a->D * a->taps();
  float *weights = room(a->B * taps * a->G), *sums = room(a->B * taps * 2);
  for_each(a->B * parts, threads, [&](int64_t item) { backward_item(*a, parts, item, weights, sums); });
  add_up(weights, a->B, taps * a->G, to(a->grad_weight), threads);
  add_up(sums, a->B, taps * 2, to(a->sums), threads);
  std::free(weights);
  std::free(sums);
}

SIGHTLINE_CLOSE
