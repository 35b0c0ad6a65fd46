// Memory for what is computed with: cache lines to begin with, and pages as large as they come.
#pragma once
#include <cstdint>
#include <cstdlib>

#if defined(__linux__)
#include <sys/mman.h>
#elif defined(_WIN32)
#include <malloc.h>
#endif

namespace llava {

constexpr uint64_t kCacheLine = 64;

// The smallest multiple of `of` that is not below n >= 0.
constexpr int64_t round_up(int64_t n, int64_t of) { return (n + of - 1) / of * of; }

// Bytes from one row to the next: an odd number of cache lines, as rows a power of two apart compete for the same cache
// sets.
constexpr int64_t row_pitch(int64_t bytes) {
  constexpr auto kLine = static_cast<int64_t>(kCacheLine);
  return ((bytes + kLine - 1) / kLine | 1) * kLine;
}

enum class PageSize : uint8_t { kLarge, kUsual };

// Cache-line aligned memory to give back by free_aligned, or nullptr. Rows of activations lie pages apart, and a walk
// down a column looks each page up: where the system has pages of 2 MiB for those who ask, large blocks ask.
inline void* allocate_aligned(uint64_t size, PageSize pages = PageSize::kLarge) {
  constexpr uint64_t kHugePage = uint64_t{2} << 20;
  const bool asks = pages == PageSize::kLarge && size >= kHugePage;
  const uint64_t alignment = asks ? kHugePage : kCacheLine;
  const uint64_t whole = (size + alignment - 1) / alignment * alignment;
#if defined(_WIN32)
  void* data = _aligned_malloc(whole, alignment);
#else
  void* data = std::aligned_alloc(alignment, whole);
#endif
#if defined(__linux__)
  if (data != nullptr && asks) madvise(data, size / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
  return data;
}

inline void free_aligned(void* data) {
#if defined(_WIN32)
  _aligned_free(data);
#else
  std::free(data);
#endif
}

}  // namespace llava
