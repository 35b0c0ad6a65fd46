// Random operands in their file's layout, the same on every machine and any number of threads.
//   Weights have a standard deviation of about `spread`, so that products of normalised rows stay near 1.
#pragma once
#include <cstddef>
#include <cstdint>

#include "common/dtype.h"

namespace llava::bench {

// SplitMix64.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = state_ += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  float uniform() { return static_cast<float>(static_cast<int64_t>(next()) >> 40) * 0x1p-23f; }  // [-1, 1)
  int64_t below(int64_t n) { return static_cast<int64_t>(next() % static_cast<uint64_t>(n)); }

 private:
  uint64_t state_;
};

// `count` weights of a type, whole blocks, at `out`.
void random_weights(DType dtype, int64_t count, float spread, uint64_t seed, std::byte* out);

// Uniform in [-magnitude, magnitude).
void random_values(int64_t count, float magnitude, uint64_t seed, float* out);

}  // namespace llava::bench
