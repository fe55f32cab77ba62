// Tensors as kernels see them. `native.view(tensor)` packs a 4-D CPU tensor of float32 or bfloat16 with any strides; a missing
// tensor is all zeros. bfloat16 is widened at load; at store it is rounded once, to nearest even.
//     read_row(view, b, c, row, col, step, n, out)     n values of a row, `step` columns apart, to float32
//     write_row(view, b, c, row, col, step, n, in)     the same way back
#pragma once
#include "vector.h"

SIGHTLINE_OPEN

struct View {
  int64_t address, bfloat16, stride[4];  // strides in elements
  bool missing() const { return address == 0; }
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

SIGHTLINE_CLOSE
