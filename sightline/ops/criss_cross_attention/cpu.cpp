// One criss-cross pass, forward and backward, one line of pixels at a time: a column, a row, or a pixel's frames. The formula is in
// __init__.py. On a line of L pixels everything is a matrix product: logits L x L over D channels, values L x E over L.
// A pixel's softmax runs over lines of two or three axes. Forward lets each axis use its own maximum m and merges as it goes:
//     y = (sum over axes of exp(m_a - m) o_a) / (sum over axes of exp(m_a - m) s_a),     s_a, o_a sums of exponentials, of values
// Backward first finds m, s and the mean d of the weights' gradients over the whole cross, then the gradients, axis by axis.
// Legend: a axis (0 down the column, 1 along the row, 2 through the frames), i j query and key on a line, P weights, G gradient of P.
#include "threads.h"
#include "view.h"

SIGHTLINE_OPEN

constexpr int ROWS = 6, WIDE = LANES == 16 ? 4 : 2, PANEL = WIDE * LANES;  // a tile of a product: ROWS rows, WIDE vectors
constexpr int64_t DEEP = 128;                                              // terms of a product before it rests in memory

SIGHTLINE_INLINE int64_t padded(int64_t n) { return (n + LANES - 1) / LANES * LANES; }
SIGHTLINE_INLINE float exponential_of(float x) { return exponential(splat(x))[0]; }

// (B, C, T, H, W) with channels side by side; strides in elements, that of C unused.
struct Map {
  int64_t address, bfloat16, stride[5];
  bool missing() const { return address == 0; }
  float* floats() const { return reinterpret_cast<float*>(address); }
};

struct Arguments {
  Map query, key, value, output;          // output: y, or its gradient
  Map grad_query, grad_key, grad_value;   // missing: not wanted; these and y are float32
  int64_t statistics, products;           // float32 scratch: see Statistics; G of every line of `group` images
  int64_t B, T, H, W, D, E, axes, group;

  int64_t pixels() const { return T * H * W; }
  int64_t length(int64_t axis) const { return axis == 0 ? H : axis == 1 ? W : T; }
  int64_t lines(int64_t axis) const { return pixels() / length(axis); }  // of one image
  int64_t pitch(int64_t axis) const {  // floats of a row of L; rows of a power of two would share few sets of the cache
    const int64_t floats = padded(length(axis));
    return floats % 128 ? floats : floats + LANES;
  }
  int64_t square(int64_t axis) const { return length(axis) * pitch(axis); }
};

// One line of one image: which pixels it holds.
struct Line {
  int64_t axis, length, pitch, b, place[3], stride_of;  // place: t, h, w of its first pixel
  int64_t pixel, step;                                   // flat number of its first pixel in the image, and from one to the next
  Line(const Arguments& a, int64_t axis, int64_t image, int64_t number) : axis(axis), b(image) {
    length = a.length(axis), pitch = a.pitch(axis);
    const int64_t w = axis == 1 ? 1 : a.W, h = axis == 0 ? 1 : a.H;
    place[2] = number % w, place[1] = number / w % h, place[0] = number / (w * h);
    stride_of = axis == 0 ? 3 : axis == 1 ? 4 : 2;
    step = axis == 0 ? a.W : axis == 1 ? 1 : a.H * a.W;
    pixel = (place[0] * a.H + place[1]) * a.W + place[2];
  }
  int64_t first(const Map& map) const {
    return b * map.stride[0] + place[0] * map.stride[2] + place[1] * map.stride[3] + place[2] * map.stride[4];
  }
  int64_t gap(const Map& map) const { return map.stride[stride_of]; }
};

// out[i * pitch + c] = channel from + c of pixel i, zero up to whole vectors
inline void read(const Map& map, const Line& line, int64_t from, int64_t channels, float* __restrict out, int64_t pitch) {
  const int64_t first = line.first(map) + from, gap = line.gap(map), whole = padded(channels);
  for (int64_t i = 0; i < line.length; ++i, out += pitch) {
    if (map.bfloat16) {
      const uint16_t* p = reinterpret_cast<const uint16_t*>(map.address) + first + i * gap;
      for (int64_t c = 0; c < channels; ++c) out[c] = widen(p[c]);
      for (int64_t c = channels; c < whole; ++c) out[c] = 0;
    } else {
      const float* p = map.floats() + first + i * gap;
      for (int64_t c = 0; c < whole; c += LANES) store(out + c, load_first(p + c, channels - c));
    }
  }
}

// out[c * pitch + i], the same transposed, zero up to pitch; `rows` holds LANES pixels meanwhile
inline void read_transposed(const Map& map, const Line& line, int64_t from, int64_t channels, float* __restrict out,
                            float* __restrict rows) {
  const int64_t whole = padded(channels);
  for (int64_t i = 0; i < line.pitch; i += LANES) {
    Line part = line;
    part.length = line.length - i < LANES ? (line.length > i ? line.length - i : 0) : LANES;
    if (part.length < LANES) std::memset(rows, 0, size_t(LANES * whole) * 4);
    Map moved = map;
    moved.address += i * line.gap(map) * (map.bfloat16 ? 2 : 4);
    read(moved, part, from, channels, rows, whole);
    for (int64_t c = 0; c < channels; ++c)
      for (int n = 0; n < LANES; ++n) out[c * line.pitch + i + n] = rows[n * whole + c];
  }
}

// c[m, n] (+)= sum over k of a[m * row + k * term] * b[k * pitch + n], M rows, N vectors
template <int M, int N>
inline void tile(int64_t K, const float* a, int64_t row, int64_t term, const float* b, int64_t pitch, bool add, float* c,
                 int64_t c_pitch) {
  Vec sum[M][N];
  for (int m = 0; m < M; ++m)
    for (int n = 0; n < N; ++n) sum[m][n] = add ? load(c + m * c_pitch + n * LANES) : zero();
  for (int64_t k = 0; k < K; ++k, a += term, b += pitch) {
    Vec right[N];
    for (int n = 0; n < N; ++n) right[n] = load(b + n * LANES);
    for (int m = 0; m < M; ++m) {
      const Vec left = splat(a[m * row]);
      for (int n = 0; n < N; ++n) sum[m][n] += left * right[n];
    }
  }
  for (int m = 0; m < M; ++m)
    for (int n = 0; n < N; ++n) store(c + m * c_pitch + n * LANES, sum[m][n]);
}

template <int N>
inline void strip(int64_t M, int64_t K, const float* a, int64_t row, int64_t term, const float* b, int64_t pitch, bool add, float* c,
                  int64_t c_pitch) {
  int64_t m = 0;
  for (; m + ROWS <= M; m += ROWS) tile<ROWS, N>(K, a + m * row, row, term, b, pitch, add, c + m * c_pitch, c_pitch);
  for (; m + 2 <= M; m += 2) tile<2, N>(K, a + m * row, row, term, b, pitch, add, c + m * c_pitch, c_pitch);
  for (; m < M; ++m) tile<1, N>(K, a + m * row, row, term, b, pitch, add, c + m * c_pitch, c_pitch);
}

// The same for `columns` whole vectors, in strips that stay in the first-level cache.
inline void product(int64_t M, int64_t columns, int64_t K, const float* a, int64_t row, int64_t term, const float* b, int64_t pitch,
                    bool add, float* c, int64_t c_pitch) {
  for (int64_t n = 0; n < columns; n += PANEL)
    for (int64_t k = 0; k < K; k += DEEP) {
      const int64_t deep = K - k < DEEP ? K - k : DEEP, width = (columns - n) / LANES;
      const float *left = a + k * term, *right = b + k * pitch + n;
      const bool more = add || k > 0;
      if (width >= 4 && WIDE >= 4) strip<WIDE>(M, deep, left, row, term, right, pitch, more, c + n, c_pitch);
      else if (width >= 3 && WIDE >= 4) strip<3>(M, deep, left, row, term, right, pitch, more, c + n, c_pitch);
      else if (width >= 2) strip<2>(M, deep, left, row, term, right, pitch, more, c + n, c_pitch);
      else strip<1>(M, deep, left, row, term, right, pitch, more, c + n, c_pitch);
    }
}

// Logits (L, pitch) of a line, by pieces of at most DEEP channels; -inf where there is no key, and at the pixel itself but in axis 0.
struct Logits {
  static int64_t room(const Arguments& a, int64_t axis) {
    return Scratch::room(a.length(axis) * DEEP) + Scratch::room(DEEP * a.pitch(axis)) + Scratch::room(LANES * DEEP);
  }
  float *rows, *turned, *few;
  Logits(const Arguments& a, int64_t axis, Scratch& scratch)
      : rows(scratch.take(a.length(axis) * DEEP)), turned(scratch.take(DEEP * a.pitch(axis))), few(scratch.take(LANES * DEEP)) {}

  // out[i, j] = sum over C channels of x_i y_j
  void products(const Line& line, const Map& x, const Map& y, int64_t channels, float* out) const {
    for (int64_t c = 0; c < channels; c += DEEP) {
      const int64_t deep = channels - c < DEEP ? channels - c : DEEP;
      read(x, line, c, deep, rows, DEEP);
      read_transposed(y, line, c, deep, turned, few);
      product(line.length, padded(line.length), deep, rows, DEEP, 1, turned, line.pitch, c > 0, out, line.pitch);
    }
  }

  void find(const Arguments& a, const Line& line, float* out) const {
    products(line, a.query, a.key, a.D, out);
    for (int64_t i = 0; i < line.length; ++i, out += line.pitch) {
      for (int64_t j = line.length; j < line.pitch; ++j) out[j] = -__builtin_inff();
      if (line.axis > 0) out[i] = -__builtin_inff();
    }
  }
};

// One row of logits becomes exponentials, less its maximum m; s is their sum. An empty row has m = -inf and s = 0.
SIGHTLINE_INLINE void exponentials(float* row, int64_t length, float& m, float& s) {
  Vec top = splat(-__builtin_inff());
  for (int64_t j = 0; j < length; j += LANES) top = maximum(top, load(row + j));
  m = top[0];
  for (int n = 1; n < LANES; ++n) m = top[n] > m ? top[n] : m;
  const Vec least = splat(m == -__builtin_inff() ? 0 : m);
  Vec sum = zero();
  for (int64_t j = 0; j < length; j += LANES) {
    const Vec e = exponential(load(row + j) - least);
    store(row + j, e);
    sum += e;
  }
  s = sum_lanes(sum);
}

// x = old x + now y for the channels of one pixel; without `old`, x = now y
SIGHTLINE_INLINE void blend(float* x, const float* y, int64_t channels, bool first, float old, float now) {
  for (int64_t c = 0; c < channels; c += LANES) {
    Vec sum = load(y + c) * now;
    if (!first) sum += load_first(x + c, channels - c) * old;
    store_first(x + c, sum, channels - c);
  }
}

inline void forward_item(const Arguments& a, int64_t axis, int64_t item) {
  const Line line(a, axis, item / a.lines(axis), item % a.lines(axis));
  const int64_t L = line.length;
  Scratch scratch(Scratch::room(a.square(axis)) + Logits::room(a, axis) + 2 * Scratch::room(L * PANEL) + 2 * Scratch::room(L));
  float* weights = scratch.take(a.square(axis));
  const Logits logits(a, axis, scratch);
  float *v = scratch.take(L * PANEL), *y = scratch.take(L * PANEL), *old = scratch.take(L), *now = scratch.take(L);
  logits.find(a, line, weights);
  float* highest = reinterpret_cast<float*>(a.statistics) + 2 * line.b * a.pixels();
  float* total = highest + a.pixels();
  for (int64_t i = 0; i < L; ++i) {
    float m, s;
    exponentials(weights + i * line.pitch, line.pitch, m, s);
    float &top = highest[line.pixel + i * line.step], &sum = total[line.pixel + i * line.step];
    old[i] = 0, now[i] = 1;
    if (axis > 0) {
      const float both = m > top ? m : top;
      old[i] = exponential_of(top - both), now[i] = exponential_of(m - both);
      m = both, s = s * now[i] + sum * old[i];
    }
    top = m, sum = s;
    if (axis == a.axes - 1) old[i] /= s, now[i] /= s;
  }
  for (int64_t e = 0; e < a.E; e += PANEL) {
    const int64_t channels = a.E - e < PANEL ? a.E - e : PANEL;
    read(a.value, line, e, channels, v, PANEL);
    product(L, padded(channels), L, weights, line.pitch, 1, v, PANEL, false, y, PANEL);
    float* out = a.output.floats() + line.first(a.output) + e;
    for (int64_t i = 0; i < L; ++i, out += line.gap(a.output)) blend(out, y + i * PANEL, channels, axis == 0, old[i], now[i]);
  }
}

extern "C" SIGHTLINE_EXPORT void SIGHTLINE_NAME(criss_cross_attention)(const Arguments* a, int64_t threads) {
  for (int64_t axis = 0; axis < a->axes; ++axis)
    for_each(a->B * a->lines(axis), threads, [&](int64_t item) { forward_item(*a, axis, item); });
}

// Backward, `group` images at a time: where the line of an item keeps its G and its pixels' m, s and d.
struct Group {
  const Arguments& a;
  int64_t first, images;

  float* products(const Line& line, int64_t number) const {
    float* start = reinterpret_cast<float*>(a.products);
    for (int64_t axis = 0; axis < line.axis; ++axis) start += images * a.lines(axis) * a.square(axis);
    return start + ((line.b - first) * a.lines(line.axis) + number) * a.square(line.axis);
  }
  float* statistics(int64_t axis, int64_t b, int64_t pixel) const {  // m, s, d
    return reinterpret_cast<float*>(a.statistics) + ((axis * images + b - first) * a.pixels() + pixel) * 3;
  }
};

// G = dy . v of a line, and for each of its pixels m, s and the sum d of exponentials times G.
inline void weigh_item(const Group& group, int64_t axis, int64_t item) {
  const Arguments& a = group.a;
  const int64_t number = item % a.lines(axis);
  const Line line(a, axis, group.first + item / a.lines(axis), number);
  Scratch scratch(Scratch::room(a.square(axis)) + Logits::room(a, axis));
  float* weights = scratch.take(a.square(axis));
  const Logits logits(a, axis, scratch);
  float* G = group.products(line, number);
  logits.find(a, line, weights);
  logits.products(line, a.output, a.value, a.E, G);
  for (int64_t i = 0; i < line.length; ++i) {
    float* found = group.statistics(axis, line.b, line.pixel + i * line.step);
    exponentials(weights + i * line.pitch, line.pitch, found[0], found[1]);
    Vec sum = zero();
    for (int64_t j = 0; j < padded(line.length); j += LANES) sum += load(weights + i * line.pitch + j) * load(G + i * line.pitch + j);
    found[2] = sum_lanes(sum);
  }
}

// gradient[i] (+)= sum over j of w[i * row + j * term] x_j on one line
inline void gather(const Line& line, const Map& gradient, const float* w, int64_t row, int64_t term, const Map& x, int64_t channels,
                   float* panel, float* sum) {
  for (int64_t c = 0; c < channels && !gradient.missing(); c += PANEL) {
    const int64_t some = channels - c < PANEL ? channels - c : PANEL;
    read(x, line, c, some, panel, PANEL);
    product(line.length, padded(some), line.length, w, row, term, panel, PANEL, false, sum, PANEL);
    float* out = gradient.floats() + line.first(gradient) + c;
    for (int64_t i = 0; i < line.length; ++i, out += line.gap(gradient)) blend(out, sum + i * PANEL, some, line.axis == 0, 1, 1);
  }
}

inline void differentiate_item(const Group& group, int64_t axis, int64_t item) {
  const Arguments& a = group.a;
  const int64_t number = item % a.lines(axis);
  const Line line(a, axis, group.first + item / a.lines(axis), number);
  const int64_t L = line.length;
  Scratch scratch(Scratch::room(a.square(axis)) + Logits::room(a, axis) + 2 * Scratch::room(L * PANEL));
  float* weights = scratch.take(a.square(axis));
  const Logits logits(a, axis, scratch);
  float *panel = scratch.take(L * PANEL), *sum = scratch.take(L * PANEL), *G = group.products(line, number);
  logits.find(a, line, weights);
  for (int64_t i = 0; i < L; ++i) {
    float m = -__builtin_inff(), s = 0, d = 0;
    for (int64_t other = 0; other < a.axes; ++other) {
      const float top = group.statistics(other, line.b, line.pixel + i * line.step)[0];
      m = top > m ? top : m;
    }
    for (int64_t other = 0; other < a.axes; ++other) {
      const float* found = group.statistics(other, line.b, line.pixel + i * line.step);
      const float share = exponential_of(found[0] - m);
      s += share * found[1], d += share * found[2];
    }
    d /= s;
    for (int64_t j = 0; j < padded(L); j += LANES) {
      float *weight = weights + i * line.pitch + j, *gradient = G + i * line.pitch + j;
      const Vec P = exponential(load(weight) - m) * (1 / s);
      store(weight, P);
      store(gradient, P * (load(gradient) - d));
    }
  }
  gather(line, a.grad_value, weights, 1, line.pitch, a.output, a.E, panel, sum);
  gather(line, a.grad_query, G, line.pitch, 1, a.key, a.D, panel, sum);
  gather(line, a.grad_key, G, 1, line.pitch, a.query, a.D, panel, sum);
}

extern "C" SIGHTLINE_EXPORT void SIGHTLINE_NAME(criss_cross_attention_backward)(const Arguments* a, int64_t threads) {
  for (int64_t first = 0; first < a->B; first += a->group) {
    const Group group{*a, first, a->B - first < a->group ? a->B - first : a->group};
    for (int64_t axis = 0; axis < a->axes; ++axis)
      for_each(group.images * a->lines(axis), threads, [&](int64_t item) { weigh_item(group, axis, item); });
    for (int64_t axis = 0; axis < a->axes; ++axis)
      for_each(group.images * a->lines(axis), threads, [&](int64_t item) { differentiate_item(group, axis, item); });
  }
}

SIGHTLINE_CLOSE
