// How a kernel is named and exported. Every kernel source is compiled once per instruction set (setup.py), with SIGHTLINE_LEVEL
// set to its name: baseline, avx2, avx512. All code lives in the namespace sightline::<level>, so that no function of one level is
// ever merged with the same function of another; use no templates of the standard library in kernels for the same reason.
//
//     extern "C" SIGHTLINE_EXPORT void SIGHTLINE_NAME(my_op)(const MyArguments* a, int64_t threads) { ... }
//
// exports sightline_my_op_<level>. MyArguments is a struct of 8-byte fields only (int64_t, View), which Python packs in order:
// sightline.ops.native.call("my_op", *native.view(tensor), kernel_size, ...).
#pragma once
#include <cstddef>
#include <cstdint>

#ifndef SIGHTLINE_LEVEL
#error "compile kernels through setup.py: it sets SIGHTLINE_LEVEL"
#endif

#define SIGHTLINE_JOIN2(a, b, c, d) a##b##c##d
#define SIGHTLINE_JOIN(a, b, c, d) SIGHTLINE_JOIN2(a, b, c, d)
#define SIGHTLINE_NAME(kernel) SIGHTLINE_JOIN(sightline_, kernel, _, SIGHTLINE_LEVEL)
#define SIGHTLINE_EXPORT __attribute__((visibility("default")))
#define SIGHTLINE_OPEN namespace sightline { namespace SIGHTLINE_LEVEL {
#define SIGHTLINE_CLOSE } }
#define SIGHTLINE_INLINE inline __attribute__((always_inline))
