// Activations of one forward pass: bump allocation, 64-byte aligned, all given back at once by reset().
// After a pass that needed several chunks, reset() keeps one chunk of their total size.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/aligned.h"
#include "common/tensor.h"

namespace llava {

class Arena {
 public:
  explicit Arena(PageSize pages = PageSize::kLarge) : pages_(pages) {}
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  template <class T>
  T* take(int64_t count) {
    return static_cast<T*>(take_bytes(static_cast<uint64_t>(count) * sizeof(T)));
  }
  Activations rows(int64_t rows, int64_t cols) {
    constexpr auto kValue = static_cast<int64_t>(sizeof(float));
    const int64_t stride = row_pitch(cols * kValue) / kValue;
    return Activations(take<float>(rows * stride), rows, cols, stride);
  }
  void reset();
  uint64_t capacity() const;

 private:
  struct Chunk {
    std::byte* data;
    uint64_t size;
    uint64_t used;
  };
  void* take_bytes(uint64_t size);  // throws kOutOfMemory
  void add_chunk(uint64_t size);
  PageSize pages_;
  std::vector<Chunk> chunks_;
};

}  // namespace llava
