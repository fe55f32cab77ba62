// Work on several cores.
//     for_each(items, threads, [&](int64_t item) { Scratch scratch(total); float* a = scratch.take(n); ... });
// runs the body once for every item, in any order, on at most `threads` threads. Cut the work into items by its shape, never by the
// number of threads, let every item write its own output, and add partial sums up afterwards in the order of the items: then the
// result is bitwise the same for any number of threads. Scratch memory is the thread's own, uninitialised, and lasts until the
// thread makes the next Scratch; its total is the sum of Scratch::room(n) over the pieces; pieces start on 64-byte boundaries and
// have room for one vector more.
#pragma once
#include "export.h"

namespace sightline {
extern "C" {
typedef void (*sightline_body)(void* context, int64_t item);
void sightline_run(int64_t items, int64_t threads, sightline_body body, void* context);
float* sightline_scratch(int64_t floats);  // valid until the thread asks for the next
}
}  // namespace sightline

SIGHTLINE_OPEN

template <class Body>
struct Call {
  const Body& body;
  static void run(void* context, int64_t item) { static_cast<Call*>(context)->body(item); }
};

// Run body(item) for items 0 .. items - 1.
template <class Body>
inline void for_each(int64_t items, int64_t threads, const Body& body) {
  Call<Body> call{body};
  sightline_run(items, threads, &Call<Body>::run, &call);
}

// Hands out pieces of the thread's scratch memory: ask for the total first, then take the pieces.
struct Scratch {
  float* next;
  static int64_t room(int64_t floats) { return (floats + 16 + 15) / 16 * 16; }  // a vector more, whole cache lines
  explicit Scratch(int64_t total) : next(sightline_scratch(total)) {}
  float* take(int64_t floats) {
    float* piece = next;
    next += room(floats);
    return piece;
  }
};

SIGHTLINE_CLOSE
