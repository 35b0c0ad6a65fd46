// Quantised blocks as GGUF stores them (ggml's block layouts); d is an IEEE half.
#pragma once
#include <cstdint>

namespace llava {

constexpr int kBlock = 32;  // values in a block of every type below, and of the int8 activations

// | d (2) | qs (16) |   value i < 16: low nibble of qs[i];  i >= 16: high nibble of qs[i - 16];  y = d * (nibble - 8)
struct BlockQ4_0 {
  uint16_t d;
  uint8_t qs[16];
};
static_assert(sizeof(BlockQ4_0) == 18);

// | d (2) | qs (32) |   y = d * qs[i]
struct BlockQ8_0 {
  uint16_t d;
  int8_t qs[32];
};
static_assert(sizeof(BlockQ8_0) == 34);

}  // namespace llava
