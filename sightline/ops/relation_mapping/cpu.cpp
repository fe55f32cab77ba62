// The mapping of additive relations, forward and backward: never more of the relation in memory than a block of a cache's size.
// The formulas are in __init__.py. Legend: R relation channels, D hidden, G outputs, T = K * K taps, a centre, b around (padded),
// P pixels of a band of rows; a column n = t * P + p of a block is tap t of pixel p.
//     z = max(scale1 (a + b) + shift1, 0)   x = W1 z   u = max(scale2 x + shift2, 0)   logits = W2 u + bias
// Backward makes two passes, each computing z and x anew: the first gives the gradients of W2 and bias and, with du = W2' dlogits
// where u > 0, the sums of du and of du x, which the gradient of a norm by batch statistics needs; the second takes
// dx = c0 du + c1 + c2 x to the gradient of W1 and, with dz = W1' dx where z > 0, to the sums of dz by centre and by neighbour.
#include <cstdlib>

#include "small_product.h"
#include "threads.h"

SIGHTLINE_OPEN
namespace {

struct Arguments {
  int64_t centre, around;                     // float32, contiguous: (B, R, h, w), (B, R, h + K - 1, w + K - 1)
  int64_t scale1, shift1, weight1;            // (R), (R), (D, R)
  int64_t scale2, shift2, weight2, bias;      // (D), (D), (G, D), (G)
  int64_t logits, coefficients;               // (B, G, T, h, w), or its gradient; (3, D)
  int64_t out1, out2, out3, out4;             // see each kernel
  int64_t B, R, D, G, K, h, w;
};

const float* in(int64_t address) { return reinterpret_cast<const float*>(address); }
float* to(int64_t address) { return reinterpret_cast<float*>(address); }

constexpr int64_t BLOCK = 128;           // columns
constexpr int64_t LD = BLOCK + LANES;    // between rows of a block

struct Piece { int64_t tap, pixel, count, column; };   // columns of one tap
struct Segment { int64_t a, b, count, column; };       // of one row: offsets in a channel of a and of b

// One band of rows of one image.
struct Band {
  const Arguments& args;
  int64_t image, first, rows, P, width, a_plane, b_plane;
  float *a, *b, *z, *x;
  Piece pieces[BLOCK];
  Segment segments[BLOCK];
  int64_t piece_count, segment_count, columns;

  static int64_t count(const Arguments& args) {  // bands of an image, a function of the shapes alone
    const int64_t wanted = (32 + args.B - 1) / (args.B ? args.B : 1), most = (args.h + args.K - 1) / args.K;
    return wanted < most ? wanted : most;
  }
  static int64_t floats(const Arguments& args, int64_t bands) {
    const int64_t rows = (args.h + bands - 1) / bands;
    return Scratch::room(args.R * Scratch::room(rows * args.w)) + Scratch::room(args.R * Scratch::room((rows + args.K - 1) * (args.w + args.K - 1))) +
           Scratch::room((args.R + args.D) * LD);
  }
  Band(const Arguments& arguments, int64_t bands, int64_t item, Scratch& scratch) : args(arguments) {
    image = item / bands, first = args.h * (item % bands) / bands, rows = args.h * (item % bands + 1) / bands - first;
    P = rows * args.w, width = args.w + args.K - 1;
    a_plane = Scratch::room(P), b_plane = Scratch::room((rows + args.K - 1) * width);
    a = scratch.take(args.R * a_plane), b = scratch.take(args.R * b_plane), z = scratch.take((args.R + args.D) * LD), x = z + args.R * LD;
    for (int64_t r = 0; r < args.R; ++r) {
      copy(a + r * a_plane, in(args.centre) + ((image * args.R + r) * args.h + first) * args.w, P);
      copy(b + r * b_plane, in(args.around) + ((image * args.R + r) * (args.h + args.K - 1) + first) * width, (rows + args.K - 1) * width);
    }
  }
  static void copy(float* to, const float* from, int64_t n) {
    std::memcpy(to, from, size_t(n) * 4);
    std::memset(to + n, 0, LANES * 4);
  }
  int64_t all() const { return args.K * args.K * P; }
  int64_t padded() const { return (columns + LANES - 1) / LANES * LANES; }

  void plan(int64_t n) {
    columns = all() - n < BLOCK ? all() - n : BLOCK;
    piece_count = segment_count = 0;
    for (int64_t column = 0; column < columns;) {
      const int64_t tap = (n + column) / P, pixel = (n + column) % P;
      const int64_t count = P - pixel < columns - column ? P - pixel : columns - column;
      pieces[piece_count++] = {tap, pixel, count, column};
      for (int64_t p = pixel; p < pixel + count;) {
        const int64_t row = p / args.w, col = p % args.w, rest = pixel + count - p, run = args.w - col < rest ? args.w - col : rest;
        segments[segment_count++] = {p, (row + tap / args.K) * width + tap % args.K + col, run, column + p - pixel};
        p += run;
      }
      column += count;
    }
  }
  // z of the columns from n on; zero behind the last one
  void relate(int64_t n) {
    plan(n);
    for (int64_t r = 0; r < args.R; ++r) {
      const Vec scale = splat(in(args.scale1)[r]), shift = splat(in(args.shift1)[r]);
      const float *from_a = a + r * a_plane, *from_b = b + r * b_plane;
      float* out = z + r * LD;
      for (int64_t s = 0; s < segment_count; ++s) {
        const Segment& one = segments[s];
        for (int64_t i = 0; i < one.count; i += LANES)
          store(out + one.column + i, maximum(zero(), scale * (load(from_a + one.a + i) + load(from_b + one.b + i)) + shift));
      }
      std::memset(out + columns, 0, LANES * 4);
    }
  }
  template <class Emit>
  void hide(const Emit& emit) const {
    product(in(args.weight1), args.R, 1, args.D, args.R, z, LD, columns, emit);
  }
  int64_t logit(int64_t g, const Piece& piece) const {
    return ((image * args.G + g) * args.K * args.K + piece.tap) * args.h * args.w + first * args.w + piece.pixel;
  }
};

Vec activate(const Arguments& a, int64_t d, Vec x) {
  return maximum(zero(), in(a.scale2)[d] * x + in(a.shift2)[d]);
}

void forward_item(const Arguments& a, int64_t bands, int64_t item) {
  Scratch scratch(Band::floats(a, bands) + Scratch::room(a.G * LD));
  Band band(a, bands, item, scratch);
  float *u = band.x, *y = scratch.take(a.G * LD);
  for (int64_t n = 0; n < band.all(); n += BLOCK) {
    band.relate(n);
    band.hide([&](int64_t d, int64_t i, Vec v) { store(u + d * LD + i, activate(a, d, v)); });
    product(in(a.weight2), a.D, 1, a.G, a.D, u, LD, band.columns, [&](int64_t g, int64_t i, Vec v) { store(y + g * LD + i, v + in(a.bias)[g]); });
    for (int64_t g = 0; g < a.G; ++g)
      for (int64_t k = 0; k < band.piece_count; ++k)
        std::memcpy(to(a.logits) + band.logit(g, band.pieces[k]), y + g * LD + band.pieces[k].column, size_t(band.pieces[k].count) * 4);
  }
}

// Sums of rows of blocks and of their products with another row's, in float32 over some blocks, in float64 over all.
struct Sums {
  int64_t count, blocks;
  float* lanes;   // 2 * count vectors
  double* out;    // 2 * count

  void add(const float* x, const float* y, int64_t columns) {
    for (int64_t d = 0; d < count; ++d) {
      Vec one = load(lanes + 2 * d * LANES), two = load(lanes + (2 * d + 1) * LANES);
      for (int64_t n = 0; n < columns; n += LANES) {
        const Vec left = load(x + d * LD + n);
        one += left, two += left * load(y + d * LD + n);
      }
      store(lanes + 2 * d * LANES, one), store(lanes + (2 * d + 1) * LANES, two);
    }
    if (++blocks % 8 == 0) flush();
  }
  void flush() {
    for (int64_t i = 0; i < 2 * count; ++i) {
      out[i] += sum_lanes(load(lanes + i * LANES));
      store(lanes + i * LANES, zero());
    }
  }
};

// Sums of x and x * x over all columns of an item: doubles (items, D, 2).
void moments_item(const Arguments& a, int64_t bands, int64_t item, double* out) {
  Scratch scratch(Band::floats(a, bands) + Scratch::room(2 * a.D * LANES));
  Band band(a, bands, item, scratch);
  Sums sums{a.D, 0, scratch.take(2 * a.D * LANES), out};
  std::memset(sums.lanes, 0, size_t(2 * a.D * LANES) * 4);
  for (int64_t n = 0; n < band.all(); n += BLOCK) {
    band.relate(n);
    band.hide([&](int64_t d, int64_t i, Vec v) { store(band.x + d * LD + i, v); });
    sums.add(band.x, band.x, band.columns);
  }
  sums.flush();
}

// What both passes of the backward share: x, u, the logits' gradient dl and du of a block.
struct Gradients {
  const Arguments& a;
  Band band;
  float *u, *dl, *du;

  static int64_t floats(const Arguments& a, int64_t bands) { return Band::floats(a, bands) + Scratch::room((2 * a.D + a.G) * LD); }
  Gradients(const Arguments& arguments, int64_t bands, int64_t item, Scratch& scratch)
      : a(arguments), band(arguments, bands, item, scratch), u(scratch.take((2 * a.D + a.G) * LD)), dl(u + a.D * LD), du(dl + a.G * LD) {}

  void block(int64_t n) {
    band.relate(n);
    band.hide([&](int64_t d, int64_t i, Vec v) {
      store(band.x + d * LD + i, v);
      store(u + d * LD + i, activate(a, d, v));
    });
    for (int64_t g = 0; g < a.G; ++g) {
      for (int64_t k = 0; k < band.piece_count; ++k)
        std::memcpy(dl + g * LD + band.pieces[k].column, in(a.logits) + band.logit(g, band.pieces[k]), size_t(band.pieces[k].count) * 4);
      std::memset(dl + g * LD + band.columns, 0, LANES * 4);
    }
    product(in(a.weight2), 1, a.D, a.D, a.G, dl, LD, band.columns, [&](int64_t d, int64_t i, Vec v) {
      store(du + d * LD + i, load(u + d * LD + i) > 0.0f ? v : zero());
    });
  }
};

void first_item(const Arguments& a, int64_t bands, int64_t item, double* sums_out, float* weight_out) {
  const int64_t size = a.G * a.D + a.G;
  Scratch scratch(Gradients::floats(a, bands) + Scratch::room(2 * a.D * LANES) + Scratch::room(size * LANES));
  Gradients grads(a, bands, item, scratch);
  Sums sums{a.D, 0, scratch.take(2 * a.D * LANES), sums_out};
  float *weight = scratch.take(size * LANES), *bias = weight + a.G * a.D * LANES;
  std::memset(sums.lanes, 0, size_t(2 * a.D * LANES) * 4);
  std::memset(weight, 0, size_t(size * LANES) * 4);
  for (int64_t n = 0; n < grads.band.all(); n += BLOCK) {
    grads.block(n);
    sums.add(grads.du, grads.band.x, grads.band.columns);
    add_outer(weight, grads.dl, a.G, grads.u, a.D, LD, grads.band.columns);
    for (int64_t g = 0; g < a.G; ++g)
      for (int64_t i = 0; i < grads.band.columns; i += LANES) store(bias + g * LANES, load(bias + g * LANES) + load(grads.dl + g * LD + i));
  }
  sums.flush();
  for (int64_t i = 0; i < size; ++i) weight_out[i] = sum_lanes(load(weight + i * LANES));
}

void add_row(float* out, const float* from, int64_t n) {
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES) store(out + i, load(out + i) + load(from + i));
  if (i < n) store(out + i, load(out + i) + load_first(from + i, n - i));
}

// around_out: (R, rows + K - 1, width) of this band alone
void second_item(const Arguments& a, int64_t bands, int64_t item, float* weight_out, float* around_out) {
  const int64_t rows = (a.h + bands - 1) / bands, a_plane = Scratch::room(rows * a.w);
  const int64_t b_plane = Scratch::room((rows + a.K - 1) * (a.w + a.K - 1)), size = a.D * a.R;
  Scratch scratch(Gradients::floats(a, bands) + Scratch::room(a.R * LD) + Scratch::room(a.R * a_plane) + Scratch::room(a.R * b_plane) +
                  Scratch::room(size * LANES));
  Gradients grads(a, bands, item, scratch);
  Band& band = grads.band;
  float *dz = scratch.take(a.R * LD), *da = scratch.take(a.R * a_plane), *db = scratch.take(a.R * b_plane), *weight = scratch.take(size * LANES);
  std::memset(da, 0, size_t(a.R * a_plane) * 4);
  std::memset(db, 0, size_t(a.R * b_plane) * 4);
  std::memset(weight, 0, size_t(size * LANES) * 4);
  const float* c = in(a.coefficients);
  for (int64_t n = 0; n < band.all(); n += BLOCK) {
    grads.block(n);
    float* dx = grads.du;
    for (int64_t d = 0; d < a.D; ++d) {
      for (int64_t i = 0; i < band.columns; i += LANES)
        store(dx + d * LD + i, c[d] * load(dx + d * LD + i) + c[a.D + d] + c[2 * a.D + d] * load(band.x + d * LD + i));
      std::memset(dx + d * LD + band.columns, 0, LANES * 4);
    }
    add_outer(weight, dx, a.D, band.z, a.R, LD, band.columns);
    product(in(a.weight1), 1, a.R, a.R, a.D, dx, LD, band.columns, [&](int64_t r, int64_t i, Vec v) {
      store(dz + r * LD + i, load(band.z + r * LD + i) > 0.0f ? v : zero());
    });
    for (int64_t r = 0; r < a.R; ++r) {
      for (int64_t k = 0; k < band.piece_count; ++k) add_row(da + r * a_plane + band.pieces[k].pixel, dz + r * LD + band.pieces[k].column, band.pieces[k].count);
      for (int64_t s = 0; s < band.segment_count; ++s) add_row(db + r * b_plane + band.segments[s].b, dz + r * LD + band.segments[s].column, band.segments[s].count);
    }
  }
  for (int64_t i = 0; i < size; ++i) weight_out[i] = sum_lanes(load(weight + i * LANES));
  const int64_t b_floats = (band.rows + a.K - 1) * band.width;
  for (int64_t r = 0; r < a.R; ++r) {
    std::memcpy(to(a.out2) + ((band.image * a.R + r) * a.h + band.first) * a.w, da + r * a_plane, size_t(band.P) * 4);
    std::memcpy(around_out + r * b_floats, db + r * b_plane, size_t(b_floats) * 4);
  }
}

// Sum the items' shares, (items, size), in the order of the items.
template <class T>
void add_up(const T* shares, int64_t items, int64_t size, float* out, int64_t threads) {
  for_each((size + 63) / 64, threads, [&](int64_t part) {
    for (int64_t i = part * 64; i < size && i < part * 64 + 64; ++i) {
      double sum = 0;
      for (int64_t item = 0; item < items; ++item) sum += double(shares[item * size + i]);
      out[i] = float(sum);
    }
  });
}

void add_bands(const Arguments& a, int64_t bands, const float* shares, int64_t share, int64_t image) {
  const int64_t width = a.w + a.K - 1, plane = (a.h + a.K - 1) * width;
  std::memset(to(a.out3) + image * a.R * plane, 0, size_t(a.R * plane) * 4);
  for (int64_t part = 0; part < bands; ++part) {
    const int64_t first = a.h * part / bands, floats = (a.h * (part + 1) / bands - first + a.K - 1) * width;
    for (int64_t r = 0; r < a.R; ++r)
      for (int64_t i = 0; i < floats; ++i)
        to(a.out3)[(image * a.R + r) * plane + first * width + i] += shares[(image * bands + part) * share + r * floats + i];
  }
}

void* zeros(int64_t bytes) {
  void* memory = std::calloc(size_t(bytes + 64), 1);
  if (!memory) std::abort();
  return memory;
}

// mean and mean square from double sums (items, D, 2) of `columns` numbers in all: out (2, D) mean and biased variance
void finish_moments(const double* shares, int64_t items, int64_t D, double columns, float* out) {
  for (int64_t d = 0; d < D; ++d) {
    double sum = 0, squares = 0;
    for (int64_t item = 0; item < items; ++item) sum += shares[(item * D + d) * 2], squares += shares[(item * D + d) * 2 + 1];
    const double mean = sum / columns, variance = squares / columns - mean * mean;
    out[d] = float(mean), out[D + d] = float(variance > 0 ? variance : 0);
  }
}

// Moments of a + b itself over all taps: one channel of one image, sums less the image's own mean `pivot`.
void relation_item(const Arguments& a, int64_t item, double* out) {
  const int64_t width = a.w + a.K - 1, N = a.h * a.w, M = (a.h + a.K - 1) * width;
  const float *centre = in(a.centre) + item * N, *around = in(a.around) + item * M;
  double mean_a = 0, mean_b = 0;
  for (int64_t i = 0; i < N; ++i) mean_a += centre[i];
  for (int64_t i = 0; i < M; ++i) mean_b += around[i];
  const double pivot = mean_a / double(N) + mean_b / double(M);
  double total = 0, squares = 0;
  for (int64_t r = 0; r < a.h; ++r) {
    Vec sum = zero(), square = zero();
    for (int64_t col = 0; col < a.w; col += LANES) {
      const int64_t n = a.w - col;
      const Vec here = load_first(centre + r * a.w + col, n) - float(pivot);
      for (int64_t t = 0; t < a.K * a.K; ++t) {
        Vec v = here + load_first(around + (r + t / a.K) * width + t % a.K + col, n);
        if (n < LANES) {
          float some[LANES] = {};
          store_first(some, v, n);
          v = load(some);
        }
        sum += v, square += v * v;
      }
    }
    total += sum_lanes(sum), squares += sum_lanes(square);
  }
  out[0] = total, out[1] = squares, out[2] = pivot;
}

}  // namespace

extern "C" SIGHTLINE_EXPORT void SIGHTLINE_NAME(relation_mapping)(const Arguments* a, int64_t threads) {
  const int64_t bands = Band::count(*a);
  for_each(a->B * bands, threads, [&](int64_t item) { forward_item(*a, bands, item); });
}

// out1: (2, R) mean and biased variance of a + b
extern "C" SIGHTLINE_EXPORT void SIGHTLINE_NAME(relation_moments)(const Arguments* a, int64_t threads) {
  double* shares = static_cast<double*>(zeros(a->B * a->R * 24));
  for_each(a->B * a->R, threads, [&](int64_t item) { relation_item(*a, item, shares + item * 3); });
  const double each = double(a->K * a->K * a->h * a->w), all = each * double(a->B);
  for (int64_t r = 0; r < a->R; ++r) {
    double sum = 0, squares = 0;
    for (int64_t b = 0; b < a->B; ++b) sum += shares[(b * a->R + r) * 3] + each * shares[(b * a->R + r) * 3 + 2];
    const double mean = sum / all;
    for (int64_t b = 0; b < a->B; ++b) {  // sum (v - mean)^2 = sum (v - pivot)^2 + 2 gap sum (v - pivot) + n gap^2
      const double* share = shares + (b * a->R + r) * 3;
      const double gap = share[2] - mean;
      squares += share[1] + 2 * gap * share[0] + each * gap * gap;
    }
    to(a->out1)[r] = float(mean), to(a->out1)[a->R + r] = float(squares > 0 ? squares / all : 0);
  }
  std::free(shares);
}

// out1: (2, D) mean and biased variance of x
extern "C" SIGHTLINE_EXPORT void SIGHTLINE_NAME(hidden_moments)(const Arguments* a, int64_t threads) {
  const int64_t bands = Band::count(*a), items = a->B * bands;
  double* shares = static_cast<double*>(zeros(items * a->D * 16));
  for_each(items, threads, [&](int64_t item) { moments_item(*a, bands, item, shares + item * a->D * 2); });
  finish_moments(shares, items, a->D, double(a->B * a->K * a->K * a->h * a->w), to(a->out1));
  std::free(shares);
}

// out1: (D, 2) sums of du and du x; out2: (G, D) and (G) gradients of W2 and bias
extern "C" SIGHTLINE_EXPORT void SIGHTLINE_NAME(relation_mapping_first)(const Arguments* a, int64_t threads) {
  const int64_t bands = Band::count(*a), items = a->B * bands, size = a->G * a->D + a->G;
  double* sums = static_cast<double*>(zeros(items * a->D * 16));
  float* weights = static_cast<float*>(zeros(items * size * 4));
  for_each(items, threads, [&](int64_t item) { first_item(*a, bands, item, sums + item * a->D * 2, weights + item * size); });
  add_up(sums, items, a->D * 2, to(a->out1), threads);
  add_up(weights, items, size, to(a->out2), threads);
  std::free(sums);
  std::free(weights);
}

// out1: (D, R) gradient of W1; out2, out3: sums of dz by centre (B, R, h, w) and by neighbour (as around)
extern "C" SIGHTLINE_EXPORT void SIGHTLINE_NAME(relation_mapping_second)(const Arguments* a, int64_t threads) {
  const int64_t bands = Band::count(*a), items = a->B * bands, size = a->D * a->R;
  const int64_t rows = (a->h + bands - 1) / (bands ? bands : 1), share = a->R * (rows + a->K - 1) * (a->w + a->K - 1);
  float* weights = static_cast<float*>(zeros(items * size * 4));
  float* around = static_cast<float*>(zeros(items * share * 4));
  for_each(items, threads, [&](int64_t item) { second_item(*a, bands, item, weights + item * size, around + item * share); });
  add_up(weights, items, size, to(a->out1), threads);
  for_each(a->B, threads, [&](int64_t image) { add_bands(*a, bands, around, share, image); });
  std::free(weights);
  std::free(around);
}

SIGHTLINE_CLOSE
