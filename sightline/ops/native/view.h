// Tensors as kernels see them. `native.view(tensor)` packs a 4-D CPU tensor of float32 or bfloat16 with any strides; a missing
// tensor is all zeros. bfloat16 is widened at load; at store it is rounded once, to nearest even.
//     read_row(view, b, c, row, col, step, n, out)     n values of a row, `step` columns apart, to float32
//     write_row(view, b, c, row, col, step, n, in)     the same way back
//     read_rows, write_rows(.., channels, .., plane)   the same for neighbouring channels whose rows lie `plane` floats apart; where a
//                                                      pixel's channels are neighbours in memory (channels last), in blocks of 4 x 4
#pragma once
#include "vector.h"

SIGHTLINE_OPEN

struct View {
  int64_t address, bfloat16, stride[4];  // strides in elements
  bool missing() const { return address == 0; }
  bool channels_last() const { return stride[1] == 1 && stride[3] != 1; }
  int64_t at(int64_t b, int64_t c, int64_t row, int64_t col) const {
    return b * stride[0] + c * stride[1] + row * stride[2] + col * stride[3];
  }
};

SIGHTLINE_INLINE float widen(uint16_t x) {
  const uint32_t bits = uint32_t(x) << 16;
  float y;
  std::memcpy(&y, &bits, 4);
  return y;
}

SIGHTLINE_INLINE uint16_t round_to_bfloat16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  const uint32_t rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
  return uint16_t((bits & 0x7FFFFFFF) > 0x7F800000 ? 0x7FC0 : rounded);
}

SIGHTLINE_INLINE float get(const View& view, int64_t element) {
  return view.bfloat16 ? widen(reinterpret_cast<const uint16_t*>(view.address)[element])
                       : reinterpret_cast<const float*>(view.address)[element];
}

SIGHTLINE_INLINE void put(const View& view, int64_t element, float x) {
  if (view.bfloat16)
    reinterpret_cast<uint16_t*>(view.address)[element] = round_to_bfloat16(x);
  else
    reinterpret_cast<float*>(view.address)[element] = x;
}

inline void read_row(const View& view, int64_t b, int64_t c, int64_t row, int64_t col, int64_t step, int64_t n,
                     float* __restrict out) {
  const int64_t first = view.at(b, c, row, col), gap = step * view.stride[3];
  if (view.bfloat16) {
    const uint16_t* p = reinterpret_cast<const uint16_t*>(view.address) + first;
    if (gap == 1)
      for (int64_t i = 0; i < n; ++i) out[i] = widen(p[i]);
    else
      for (int64_t i = 0; i < n; ++i) out[i] = widen(p[i * gap]);
  } else {
    const float* p = reinterpret_cast<const float*>(view.address) + first;
    if (gap == 1) {
      int64_t i = 0;
      for (; i + LANES <= n; i += LANES) store(out + i, load(p + i));
      if (i < n) store_first(out + i, load_first(p + i, n - i), n - i);
    } else {
      for (int64_t i = 0; i < n; ++i) out[i] = p[i * gap];
    }
  }
}

inline void write_row(const View& view, int64_t b, int64_t c, int64_t row, int64_t col, int64_t step, int64_t n,
                      const float* __restrict in) {
  const int64_t first = view.at(b, c, row, col), gap = step * view.stride[3];
  if (view.bfloat16) {
    uint16_t* p = reinterpret_cast<uint16_t*>(view.address) + first;
    if (gap == 1)
      for (int64_t i = 0; i < n; ++i) p[i] = round_to_bfloat16(in[i]);
    else
      for (int64_t i = 0; i < n; ++i) p[i * gap] = round_to_bfloat16(in[i]);
  } else {
    float* p = reinterpret_cast<float*>(view.address) + first;
    if (gap == 1) {
      int64_t i = 0;
      for (; i + LANES <= n; i += LANES) store(p + i, load(in + i));
      if (i < n) store_first(p + i, load_first(in + i, n - i), n - i);
    } else {
      for (int64_t i = 0; i < n; ++i) p[i * gap] = in[i];
    }
  }
}

// Four floats, whatever the instruction set: a block of 4 pixels x 4 channels is turned in registers.
typedef float Four __attribute__((vector_size(16)));
typedef float AnyFour __attribute__((vector_size(16), aligned(4), may_alias));

#if defined(__clang__) || __GNUC__ >= 12
#define SIGHTLINE_PICK(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
typedef int32_t FourOf __attribute__((vector_size(16)));
#define SIGHTLINE_PICK(a, b, i, j, k, l) __builtin_shuffle(a, b, FourOf{i, j, k, l})
#endif

SIGHTLINE_INLINE void turn(Four (&x)[4]) {
  const Four a = SIGHTLINE_PICK(x[0], x[1], 0, 4, 1, 5), b = SIGHTLINE_PICK(x[0], x[1], 2, 6, 3, 7);
  const Four c = SIGHTLINE_PICK(x[2], x[3], 0, 4, 1, 5), d = SIGHTLINE_PICK(x[2], x[3], 2, 6, 3, 7);
  x[0] = SIGHTLINE_PICK(a, c, 0, 1, 4, 5), x[1] = SIGHTLINE_PICK(a, c, 2, 3, 6, 7);
  x[2] = SIGHTLINE_PICK(b, d, 0, 1, 4, 5), x[3] = SIGHTLINE_PICK(b, d, 2, 3, 6, 7);
}

SIGHTLINE_INLINE Four get_four(const View& view, int64_t element) {
  if (!view.bfloat16) return *reinterpret_cast<const AnyFour*>(reinterpret_cast<const float*>(view.address) + element);
  return Four{get(view, element), get(view, element + 1), get(view, element + 2), get(view, element + 3)};
}

SIGHTLINE_INLINE void put_four(const View& view, int64_t element, Four x) {
  if (!view.bfloat16)
    *reinterpret_cast<AnyFour*>(reinterpret_cast<float*>(view.address) + element) = x;
  else
    for (int i = 0; i < 4; ++i) put(view, element + i, x[i]);
}

// Some channels of every pixel are a pattern that processors do not foresee; rows follow one another, so it goes on in the next.
constexpr int64_t AHEAD = 12;  // pixels
SIGHTLINE_INLINE void prefetch(const View& view, int64_t element) {
  __builtin_prefetch(reinterpret_cast<const char*>(view.address) + element * (view.bfloat16 ? 2 : 4));
}

inline void read_rows(const View& view, int64_t b, int64_t c, int64_t channels, int64_t row, int64_t col, int64_t step, int64_t n,
                      float* __restrict out, int64_t plane) {
  const int64_t first = view.at(b, c, row, col), gap = step * view.stride[3];
  int64_t d = 0;
  if (view.channels_last())
    for (int64_t i = 0; i + 4 <= n; i += 4)
      for (d = 0; d + 4 <= channels; d += 4) {
        if (d % 16 == 0)
          for (int j = 0; j < 4; ++j) prefetch(view, first + (i + j + AHEAD) * gap + d);
        Four x[4];
        for (int j = 0; j < 4; ++j) x[j] = get_four(view, first + (i + j) * gap + d);
        turn(x);
        for (int j = 0; j < 4; ++j) *reinterpret_cast<AnyFour*>(out + (d + j) * plane + i) = x[j];
      }
  const int64_t rest = n % 4;
  for (int64_t e = 0; e < d && rest; ++e) read_row(view, b, c + e, row, col + (n - rest) * step, step, rest, out + e * plane + n - rest);
  for (; d < channels; ++d) read_row(view, b, c + d, row, col, step, n, out + d * plane);
}

inline void write_rows(const View& view, int64_t b, int64_t c, int64_t channels, int64_t row, int64_t col, int64_t step, int64_t n,
                       const float* __restrict in, int64_t plane) {
  const int64_t first = view.at(b, c, row, col), gap = step * view.stride[3];
  int64_t d = 0;
  if (view.channels_last())
    for (int64_t i = 0; i + 4 <= n; i += 4)
      for (d = 0; d + 4 <= channels; d += 4) {
        Four x[4];
        for (int j = 0; j < 4; ++j) x[j] = *reinterpret_cast<const AnyFour*>(in + (d + j) * plane + i);
        turn(x);
        for (int j = 0; j < 4; ++j) put_four(view, first + (i + j) * gap + d, x[j]);
      }
  const int64_t rest = n % 4;
  for (int64_t e = 0; e < d && rest; ++e) write_row(view, b, c + e, row, col + (n - rest) * step, step, rest, in + e * plane + n - rest);
  for (; d < channels; ++d) write_row(view, b, c + d, row, col, step, n, in + d * plane);
}

SIGHTLINE_CLOSE
