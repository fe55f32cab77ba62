// Threads and scratch memory; compiled once, for the oldest processor.
// The OpenMP runtime that torch has already started runs our work too: its threads wait spinning between parallel regions, and a
// second pool would fight them for the cores. Python finds its GOMP_parallel; without one, threads are started for the call.
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "export.h"

namespace {

typedef void (*Parallel)(void (*body)(void*), void* context, unsigned threads, unsigned flags);
Parallel openmp = nullptr;

struct Work {
  void (*body)(void*, int64_t);
  void* context;
  int64_t items, threads;
  std::atomic<int64_t> next{0};
};

// A thread takes neighbouring items together, ever fewer towards the end: in channels-last they write to the same cache lines, for which
// two threads would fight.
void take_items(void* pointer) {
  Work& work = *static_cast<Work*>(pointer);
  for (int64_t item = work.next.load(); item < work.items;) {
    const int64_t some = (work.items - item) / (4 * work.threads) + 1;
    if (!work.next.compare_exchange_weak(item, item + some)) continue;
    for (int64_t i = item; i < item + some; ++i) work.body(work.context, i);
    item = work.next.load();
  }
}

struct Memory {
  float* start = nullptr;
  int64_t floats = 0;
  ~Memory() { std::free(start); }
};
thread_local Memory memory;

constexpr int64_t KEPT = 4 << 20;  // floats a thread keeps between calls

}  // namespace

extern "C" {

SIGHTLINE_EXPORT extern const char* const sightline_sources;
const char* const sightline_sources = SIGHTLINE_SOURCES;

SIGHTLINE_EXPORT void sightline_set_openmp(void* gomp_parallel) { openmp = reinterpret_cast<Parallel>(gomp_parallel); }

SIGHTLINE_EXPORT int sightline_supports(const char* level) {
  if (!std::strcmp(level, "baseline")) return 1;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (!std::strcmp(level, "avx2")) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (!std::strcmp(level, "avx512"))
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
#endif
  return 0;
}

void sightline_run(int64_t items, int64_t threads, void (*body)(void*, int64_t), void* context) {
  if (threads > items) threads = items;
  Work work{body, context, items, threads > 1 ? threads : 1};
  if (threads <= 1) return take_items(&work);
  if (openmp) return openmp(&take_items, &work, unsigned(threads), 0);
  std::vector<std::thread> others;
  for (int64_t i = 1; i < threads; ++i) others.emplace_back(take_items, &work);
  take_items(&work);
  for (std::thread& one : others) one.join();
}

float* sightline_scratch(int64_t floats) {
  if (floats > memory.floats || (memory.floats > KEPT && floats < memory.floats)) {
    std::free(memory.start);
    memory.start = static_cast<float*>(std::aligned_alloc(64, size_t(floats * 4 + 63) / 64 * 64));
    memory.floats = memory.start ? floats : 0;
    if (!memory.start) std::abort();  // as out of memory as malloc gets
  }
#if defined(SIGHTLINE_POISON)
  std::memset(memory.start, 0xFF, size_t(floats) * 4);  // NaN: whoever reads what was not written shows
#endif
  return memory.start;
}

}  // extern "C"
