// Pixel attention, forward and backward. A block of K * K pixels is a lane: LANES blocks, from whatever rows and images, are treated
// together, and all numbers of a block are vectors at constant places. The formula is in __init__.py.
// Legend: C pixel channels, N heads, E value channels a head, T = K * K places of a block, i a query's place, t a key's.
//
// Backward recomputes the weights P of a query and, with dP = dy . v, the gradients L = P (dP - sum of P dP) of its logits.
#include <cstdlib>

#include "window.h"

SIGHTLINE_OPEN
namespace {

struct Arguments {
  View pixels, output, grad_pixels;         // output: y, or its gradient; grad_pixels missing: not wanted
  int64_t bilinear, rows, cols, values;     // float32 tables (N, C, C), (N, 2K - 1, C) twice, (T, N, E, C)
  int64_t grad_tables;                      // the four, one after the other, written; or 0
  int64_t B, N, E, C, H, W, K, exclude;

  int64_t places() const { return K * K; }
  int64_t offsets() const { return 2 * K - 1; }
  int64_t block_cols() const { return (W + K - 1) / K; }
  int64_t blocks() const { return B * ((H + K - 1) / K) * block_cols(); }
  int64_t groups() const { return (blocks() + LANES - 1) / LANES; }
  int64_t of_bilinear() const { return N * C * C; }
  int64_t of_offsets() const { return N * offsets() * C; }
  int64_t of_values() const { return places() * N * E * C; }
  int64_t of_tables() const { return of_bilinear() + 2 * of_offsets() + of_values(); }
};

constexpr int64_t GROUPS_TOGETHER = 16;  // of an item
constexpr int SUMS = LANES == 16 ? 16 : 8;

SIGHTLINE_INLINE Vec at(const float* p, int64_t i) { return load(p + i * LANES); }
SIGHTLINE_INLINE void set(float* p, int64_t i, Vec v) { store(p + i * LANES, v); }
SIGHTLINE_INLINE void add(float* p, int64_t i, Vec v) { set(p, i, at(p, i) + v); }

// out[j] = scale * sum over k of a[k * a_step] b[k * b_step + j * b_column], J vectors at once.
template <int J>
SIGHTLINE_INLINE void combine_some(const float* a, int64_t a_step, const float* b, int64_t b_step, int64_t b_column, int64_t depth,
                                   Vec scale, float* out) {
  Vec sum[J];
#pragma GCC unroll 16
  for (int j = 0; j < J; ++j) sum[j] = zero();
  for (int64_t k = 0; k < depth; ++k) {
    const Vec one = at(a, k * a_step);
#pragma GCC unroll 16
    for (int j = 0; j < J; ++j) sum[j] += one * at(b, k * b_step + j * b_column);
  }
#pragma GCC unroll 16
  for (int j = 0; j < J; ++j) set(out, j, sum[j] * scale);
}

inline void combine(const float* a, int64_t a_step, const float* b, int64_t b_step, int64_t b_column, int64_t depth, Vec scale,
                    float* out, int64_t count) {
  int64_t j = 0;
  for (; j + SUMS <= count; j += SUMS)
    combine_some<SUMS>(a, a_step, b + j * b_column * LANES, b_step, b_column, depth, scale, out + j * LANES);
  for (; j + 4 <= count; j += 4)
    combine_some<4>(a, a_step, b + j * b_column * LANES, b_step, b_column, depth, scale, out + j * LANES);
  for (; j < count; ++j) combine_some<1>(a, a_step, b + j * b_column * LANES, b_step, b_column, depth, scale, out + j * LANES);
}

// LANES neighbouring blocks and the numbers of one head on them. CHANNELS: C where it is known when this is compiled, or 0.
template <int CHANNELS>
struct Group {
  const Arguments& a;
  int64_t *images, *top, *left;      // of a lane: its image (-1: none), first row and column
  float *x, *bias, *map, *v, *weights, *key, *by_row, *by_col;  // (C, T), (T), (T, N * E), (T, E), (T), (C), (K), (K)
  bool ragged;

  int64_t C() const { return CHANNELS ? CHANNELS : a.C; }
  static int64_t floats(const Arguments& a) {
    const int64_t T = a.places();
    return Scratch::room(6 * LANES) + LANES * (a.C * T + T + T * a.N * a.E + T * a.E + T + a.C + 2 * a.K) + 8 * 32;
  }
  Group(const Arguments& arguments, Scratch& scratch) : a(arguments), ragged(false) {
    const int64_t T = a.places();
    images = reinterpret_cast<int64_t*>(scratch.take(6 * LANES)), top = images + LANES, left = top + LANES;
    x = scratch.take(a.C * T * LANES), bias = scratch.take(T * LANES), map = scratch.take(T * a.N * a.E * LANES);
    v = scratch.take(T * a.E * LANES), weights = scratch.take(T * LANES), key = scratch.take(a.C * LANES);
    by_row = scratch.take(a.K * LANES), by_col = scratch.take(a.K * LANES);
  }

  bool inside(int64_t lane, int64_t t) const { return images[lane] >= 0 && top[lane] + t / a.K < a.H && left[lane] + t % a.K < a.W; }
  int64_t element(const View& view, int64_t lane, int64_t c, int64_t t) const {
    return view.at(images[lane], c, top[lane] + t / a.K, left[lane] + t % a.K);
  }
  void gather(int64_t group) {
    const int64_t cols = a.block_cols(), per_image = (a.H + a.K - 1) / a.K * cols;
    ragged = false;
    for (int64_t lane = 0; lane < LANES; ++lane) {
      const int64_t block = group * LANES + lane;
      images[lane] = block < a.blocks() ? block / per_image : -1;
      top[lane] = block % per_image / cols * a.K, left[lane] = block % cols * a.K;
      for (int64_t t = 0; t < a.places(); ++t) {
        const bool in = inside(lane, t);
        const int64_t first = in ? element(a.pixels, lane, 0, t) : 0;
        bias[t * LANES + lane] = in || images[lane] < 0 || !a.exclude ? 0.0f : -__builtin_inff();
        ragged = ragged || !in;
        for (int64_t c = 0; c < C(); ++c) x[(c * a.places() + t) * LANES + lane] = in ? get(a.pixels, first + c * a.pixels.stride[1]) : 0.0f;
      }
    }
  }

  // The output's channels at every place, to or from `map`; channels last in blocks of 4 x 4.
  void scatter_map() const { each_place([&](int64_t t, int64_t lane, float* from) { scatter(t, lane, from); }); }
  void gather_map() const { each_place([&](int64_t t, int64_t lane, float* to) { collect(t, lane, to); }); }

  template <class F>
  void each_place(const F& f) const {
    for (int64_t t = 0; t < a.places(); ++t)
      for (int64_t lane = 0; lane < LANES; lane += 4) f(t, lane, map + t * a.N * a.E * LANES + lane);
  }
  // Elements of the output at place t of four lanes, channel 0; -1 where there is none.
  struct Corner {
    int64_t element[4];
    Corner(const Group& group, int64_t t, int64_t lane) {
      for (int j = 0; j < 4; ++j)
        element[j] = group.ragged && !group.inside(lane + j, t) ? -1 : group.element(group.a.output, lane + j, 0, t);
    }
  };
  void scatter(int64_t t, int64_t lane, const float* from) const {
    const Corner corner(*this, t, lane);
    const int64_t channels = a.N * a.E;
    int64_t c = 0;
    for (; a.output.stride[1] == 1 && c + 4 <= channels; c += 4) {
      Four four[4];
      for (int j = 0; j < 4; ++j) four[j] = *reinterpret_cast<const AnyFour*>(from + (c + j) * LANES);
      turn(four);
      for (int j = 0; j < 4; ++j)
        if (corner.element[j] >= 0) put_four(a.output, corner.element[j] + c, four[j]);
    }
    for (; c < channels; ++c)
      for (int j = 0; j < 4; ++j)
        if (corner.element[j] >= 0) put(a.output, corner.element[j] + c * a.output.stride[1], from[c * LANES + j]);
  }
  void collect(int64_t t, int64_t lane, float* to) const {
    const Corner corner(*this, t, lane);
    const int64_t channels = a.N * a.E;
    int64_t c = 0;
    for (; a.output.stride[1] == 1 && c + 4 <= channels; c += 4) {
      Four four[4];
      for (int j = 0; j < 4; ++j) four[j] = corner.element[j] >= 0 ? get_four(a.output, corner.element[j] + c) : Four{};
      turn(four);
      for (int j = 0; j < 4; ++j) *reinterpret_cast<AnyFour*>(to + (c + j) * LANES) = four[j];
    }
    for (; c < channels; ++c)
      for (int j = 0; j < 4; ++j)
        to[c * LANES + j] = corner.element[j] >= 0 ? get(a.output, corner.element[j] + c * a.output.stride[1]) : 0.0f;
  }

  const float* table(int64_t address, int64_t size, int64_t n) const { return reinterpret_cast<const float*>(address) + n * size; }
  const float* value_table(int64_t t, int64_t n) const { return table(a.values, a.E * C(), t * a.N + n); }
  // Where a table of offsets holds offset t - i.
  int64_t offset(int64_t n, int64_t t, int64_t i) const { return (n * a.offsets() + t - i + a.K - 1) * C(); }
  Vec pixel(int64_t c, int64_t t) const { return at(x, c * a.places() + t); }
  Vec dot_pixel(const float* row, int64_t i) const {
    Vec sum = zero();
    for (int64_t c = 0; c < C(); ++c) sum += pixel(c, i) * row[c];
    return sum;
  }

  // Values (T, E) of head n.
  void value(int64_t n) {
    for (int64_t t = 0; t < a.places(); ++t)
      for (int64_t e = 0; e < a.E; ++e) set(v, t * a.E + e, dot_pixel(value_table(t, n) + e * C(), t));
  }

  // Exponentials of the logits of query i, in `weights`; the inverse of their sum. `key` is what a key's pixel is multiplied with.
  Vec weigh(int64_t n, int64_t i) {
    const float* bilinear = table(a.bilinear, C() * C(), n);
    for (int64_t c = 0; c < C(); ++c) {
      Vec sum = zero();
      for (int64_t d = 0; d < C(); ++d) sum += pixel(d, i) * bilinear[d * C() + c];
      set(key, c, sum);
    }
    for (int64_t j = 0; j < a.K; ++j) {
      set(by_row, j, dot_pixel(table(a.rows, 1, offset(n, j, i / a.K)), i));
      set(by_col, j, dot_pixel(table(a.cols, 1, offset(n, j, i % a.K)), i));
    }
    for (int64_t r = 0, t = 0; r < a.K; ++r)
      for (int64_t j = 0; j < a.K; ++j, ++t) {
        Vec sum = at(by_row, r) + at(by_col, j);
        if (ragged) sum += at(bias, t);
        for (int64_t c = 0; c < C(); ++c) sum += at(key, c) * pixel(c, t);
        set(weights, t, sum);
      }
    return soften(weights, a.places());
  }
};

template <int CHANNELS>
void forward_item(const Arguments& a, int64_t item) {
  Scratch scratch(Group<CHANNELS>::floats(a));
  Group<CHANNELS> group(a, scratch);
  const int64_t end = (item + 1) * GROUPS_TOGETHER < a.groups() ? (item + 1) * GROUPS_TOGETHER : a.groups();
  for (int64_t g = item * GROUPS_TOGETHER; g < end; ++g) {
    group.gather(g);
    for (int64_t n = 0; n < a.N; ++n) {
      group.value(n);
      for (int64_t i = 0; i < a.places(); ++i) {
        const Vec scale = group.weigh(n, i);
        combine(group.weights, 1, group.v, a.E, 1, a.places(), scale, group.map + (i * a.N + n) * a.E * LANES, a.E);
      }
    }
    group.scatter_map();
  }
}

template <int CHANNELS>
struct Backward {
  const Arguments& a;
  Group<CHANNELS>& group;
  float *P, *L, *dv, *dx, *sums;  // (T, T), (T), (T, E), (C, T), the four tables: vectors
  bool wanted;                    // the pixels' gradient

  float* sums_rows() const { return sums + a.of_bilinear() * LANES; }
  float* sums_cols() const { return sums_rows() + a.of_offsets() * LANES; }
  float* sums_values() const { return sums_cols() + a.of_offsets() * LANES; }

  void head(int64_t n) {
    const int64_t T = a.places();
    group.value(n);
    for (int64_t i = 0; i < T; ++i) {
      const Vec scale = group.weigh(n, i);
      float* dP = L;
      combine(group.map + (i * a.N + n) * a.E * LANES, 1, group.v, 1, a.E, a.E, splat(1), dP, T);
      Vec mean = zero();
      for (int64_t t = 0; t < T; ++t) mean += at(group.weights, t) * at(dP, t);
      mean = mean * scale;
      for (int64_t t = 0; t < T; ++t) {
        const Vec probability = at(group.weights, t) * scale;
        set(P, i * T + t, probability);
        set(L, t, probability * (at(dP, t) - mean));
      }
      logits(n, i);
    }
    for (int64_t t = 0; t < T; ++t)  // dv[t] = sum over i of P[i, t] dy[i]
      combine(P + t * LANES, T, group.map + n * a.E * LANES, a.N * a.E, 1, T, splat(1), dv + t * a.E * LANES, a.E);
    values(n);
  }

  // What the logits of query i owe to the tables and the pixels.
  void logits(int64_t n, int64_t i) {
    const int64_t K = a.K, T = a.places(), C = group.C();
    const float* bilinear = group.table(a.bilinear, C * C, n);
    float* of_bilinear = sums + n * C * C * LANES;
    for (int64_t c = 0; c < C; ++c) {
      Vec sum = zero();
      for (int64_t t = 0; t < T; ++t) sum += at(L, t) * group.pixel(c, t);
      for (int64_t d = 0; d < C; ++d) {
        add(of_bilinear, d * C + c, group.pixel(d, i) * sum);
        if (wanted) add(dx, d * T + i, sum * bilinear[d * C + c]);
      }
    }
    for (int64_t j = 0; j < K; ++j) {
      Vec row = zero(), col = zero();
      for (int64_t m = 0; m < K; ++m) row += at(L, j * K + m), col += at(L, m * K + j);
      offset(i, row, a.rows, sums_rows(), group.offset(n, j, i / K));
      offset(i, col, a.cols, sums_cols(), group.offset(n, j, i % K));
    }
    if (!wanted) return;
    for (int64_t c = 0; c < C; ++c)
      for (int64_t t = 0; t < T; ++t) add(dx, c * T + t, at(L, t) * at(group.key, c));
  }
  void offset(int64_t i, Vec owed, int64_t table, float* table_sums, int64_t first) {
    for (int64_t c = 0; c < group.C(); ++c) {
      add(table_sums, first + c, owed * group.pixel(c, i));
      if (wanted) add(dx, c * a.places() + i, owed * group.table(table, 1, first)[c]);
    }
  }

  // What the values owe to their table and the pixels.
  void values(int64_t n) {
    const int64_t T = a.places();
    for (int64_t t = 0; t < T; ++t) {
      float* table_sums = sums_values() + (t * a.N + n) * a.E * group.C() * LANES;
      for (int64_t e = 0; e < a.E; ++e)
        for (int64_t c = 0; c < group.C(); ++c) add(table_sums, e * group.C() + c, at(dv, t * a.E + e) * group.pixel(c, t));
      for (int64_t c = 0; c < group.C() && wanted; ++c) {
        Vec sum = at(dx, c * T + t);
        for (int64_t e = 0; e < a.E; ++e) sum += at(dv, t * a.E + e) * group.value_table(t, n)[e * group.C() + c];
        set(dx, c * T + t, sum);
      }
    }
  }

  void scatter_pixels() const {
    for (int64_t c = 0; c < group.C(); ++c)
      for (int64_t t = 0; t < a.places(); ++t)
        for (int64_t lane = 0; lane < LANES; ++lane)
          if (group.inside(lane, t)) put(a.grad_pixels, group.element(a.grad_pixels, lane, c, t), dx[(c * a.places() + t) * LANES + lane]);
  }
};

template <int CHANNELS>
void backward_item(const Arguments& a, int64_t item, float* partial) {
  const int64_t T = a.places(), tables = a.of_tables() * LANES;
  Scratch scratch(Group<CHANNELS>::floats(a) + Scratch::room(T * T * LANES) + Scratch::room(T * LANES) + Scratch::room(T * a.E * LANES) +
                  Scratch::room(a.C * T * LANES) + Scratch::room(tables));
  Group<CHANNELS> group(a, scratch);
  Backward<CHANNELS> backward{a, group, scratch.take(T * T * LANES), scratch.take(T * LANES), scratch.take(T * a.E * LANES),
                    scratch.take(a.C * T * LANES), scratch.take(tables), !a.grad_pixels.missing()};
  std::memset(backward.sums, 0, size_t(tables) * 4);
  const int64_t end = (item + 1) * GROUPS_TOGETHER < a.groups() ? (item + 1) * GROUPS_TOGETHER : a.groups();
  for (int64_t g = item * GROUPS_TOGETHER; g < end; ++g) {
    group.gather(g);
    group.gather_map();
    std::memset(backward.dx, 0, size_t(a.C * T * LANES) * 4);
    for (int64_t n = 0; n < a.N; ++n) backward.head(n);
    if (backward.wanted) backward.scatter_pixels();
  }
  for (int64_t i = 0; i < a.of_tables(); ++i) partial[item * a.of_tables() + i] = sum_lanes(at(backward.sums, i));
}

int64_t item_count(const Arguments& a) { return (a.groups() + GROUPS_TOGETHER - 1) / GROUPS_TOGETHER; }

}  // namespace

extern "C" SIGHTLINE_EXPORT void SIGHTLINE_NAME(pixel_attention)(const Arguments* a, int64_t threads) {
  for_each(item_count(*a), threads, [&](int64_t item) { a->C == 3 ? forward_item<3>(*a, item) : forward_item<0>(*a, item); });
}

extern "C" SIGHTLINE_EXPORT void SIGHTLINE_NAME(pixel_attention_backward)(const Arguments* a, int64_t threads) {
  const int64_t items = item_count(*a), tables = a->of_tables();
  float* partial = static_cast<float*>(std::malloc(size_t(items * tables + 1) * 4));
  if (!partial) std::abort();
  for_each(items, threads, [&](int64_t item) { a->C == 3 ? backward_item<3>(*a, item, partial) : backward_item<0>(*a, item, partial); });
  float* out = reinterpret_cast<float*>(a->grad_tables);
  for (int64_t i = 0; i < tables; ++i) {
    double sum = 0;  // in the order of the items
    for (int64_t item = 0; item < items; ++item) sum += partial[item * tables + i];
    out[i] = float(sum);
  }
  std::free(partial);
}

SIGHTLINE_CLOSE
