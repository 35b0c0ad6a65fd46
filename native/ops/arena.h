// Activations of one pass: bump allocation of device memory, 64-byte aligned, all given back at once by reset().
// After a pass that needed several chunks, reset() keeps one chunk of their total size.
#pragma once
#include <cstdint>
#include <vector>

#include "common/aligned.h"
#include "ops/backend.h"

namespace llava {

class Arena {
 public:
  explicit Arena(Backend& backend, PageSize pages = PageSize::kLarge) : backend_(backend), pages_(pages) {}
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  template <class T>
  Device<T> take(int64_t count) {
    return take_bytes(static_cast<uint64_t>(count) * sizeof(T)).template as<T>();
  }
  // An odd number of cache lines from one row to the next.
  Activations rows(int64_t rows, int64_t cols) {
    constexpr auto kValue = static_cast<int64_t>(sizeof(float));
    const int64_t stride = row_pitch(cols * kValue) / kValue;
    return Activations(take<float>(rows * stride), rows, cols, stride);
  }
  // Without gaps between the rows, as the host's arrays are.
  Activations dense(int64_t rows, int64_t cols) { return Activations(take<float>(rows * cols), rows, cols); }

  void reset();
  uint64_t capacity() const;

 private:
  DeviceBytes take_bytes(uint64_t nbytes);  // throws kOutOfMemory
  void add_chunk(uint64_t nbytes);

  Backend& backend_;
  PageSize pages_;
  std::vector<DeviceMemory> chunks_;
  uint64_t used_ = 0;  // of the last chunk
};

}  // namespace llava
