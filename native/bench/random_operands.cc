#include "bench/random_operands.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/blocks.h"
#include "common/half.h"

namespace llava::bench {

namespace {

// Random bits give a type's values the standard deviation of this many steps of its scale d; mins of `offset` steps
// centre them (from each type's formula).
template <class Block>
struct Steps;
#define LLAVA_STEPS(T, steps, offset_steps)                         \
  template <>                                                       \
  struct Steps<Block##T> {                                          \
    static constexpr float kDeviation = steps;                      \
    [[maybe_unused]] static constexpr float kOffset = offset_steps; \
  };
LLAVA_STEPS(Q4_0, 4.6f, 0)
LLAVA_STEPS(Q4_1, 4.6f, 7.5f)
LLAVA_STEPS(Q5_0, 9.2f, 0)
LLAVA_STEPS(Q5_1, 9.2f, 15.5f)
LLAVA_STEPS(Q8_0, 74, 0)
LLAVA_STEPS(Q2_K, 13.8f, 1.5f)
LLAVA_STEPS(Q3_K, 42, 0)
LLAVA_STEPS(Q4_K, 258, 7.5f)
LLAVA_STEPS(Q5_K, 525, 15.5f)
LLAVA_STEPS(Q6_K, 1370, 0)
#undef LLAVA_STEPS

void random_bytes(int64_t count, Random& random, std::byte* out) {
  for (int64_t at = 0; at < count; at += 8) {
    const uint64_t word = random.next();
    std::memcpy(out + at, &word, static_cast<size_t>(std::min<int64_t>(8, count - at)));
  }
}

template <class Block>
void random_blocks(int64_t blocks, float spread, Random& random, std::byte* out) {
  random_bytes(blocks * static_cast<int64_t>(sizeof(Block)), random, out);
  const float step = spread / Steps<Block>::kDeviation;
  const uint16_t d = float_to_half(step);
  for (int64_t b = 0; b < blocks; b++) {
    Block block;
    std::memcpy(&block, out + b * static_cast<int64_t>(sizeof block), sizeof block);
    block.d = d;
    if constexpr (requires { block.m; }) block.m = float_to_half(-Steps<Block>::kOffset * step);
    if constexpr (requires { block.dmin; }) block.dmin = float_to_half(Steps<Block>::kOffset * step);
    std::memcpy(out + b * static_cast<int64_t>(sizeof block), &block, sizeof block);
  }
}

// Sign and mantissa stay random; the exponent, of `exponent_bits` bits above `mantissa_bits`, is that of the spread.
template <class Bits>
void random_floats(int64_t count, float spread, int exponent_bits, int mantissa_bits, Random& random, std::byte* out) {
  random_bytes(count * static_cast<int64_t>(sizeof(Bits)), random, out);
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const auto exponent = static_cast<Bits>(static_cast<Bits>(bias + std::ilogb(spread)) << mantissa_bits);
  const auto exponent_mask = static_cast<Bits>(((Bits{1} << exponent_bits) - 1) << mantissa_bits);
  for (int64_t i = 0; i < count; i++) {
    Bits bits;
    std::memcpy(&bits, out + i * static_cast<int64_t>(sizeof bits), sizeof bits);
    bits = static_cast<Bits>((bits & static_cast<Bits>(~exponent_mask)) | exponent);
    std::memcpy(out + i * static_cast<int64_t>(sizeof bits), &bits, sizeof bits);
  }
}

}  // namespace

void random_weights(DType dtype, int64_t count, float spread, uint64_t seed, std::byte* out) {
  Random random(seed);
  switch (dtype) {
    case DType::F32: return random_floats<uint32_t>(count, spread, 8, 23, random, out);
    case DType::F16: return random_floats<uint16_t>(count, spread, 5, 10, random, out);
    case DType::BF16: return random_floats<uint16_t>(count, spread, 8, 7, random, out);
#define LLAVA_RANDOM_BLOCKS(T, elements, ...) \
  case DType::T: return random_blocks<Block##T>(count / elements, spread, random, out);
      LLAVA_QUANTISED(LLAVA_RANDOM_BLOCKS)
#undef LLAVA_RANDOM_BLOCKS
  }
}

void random_values(int64_t count, float magnitude, uint64_t seed, float* out) {
  Random random(seed);
  for (int64_t i = 0; i < count; i++) out[i] = magnitude * random.uniform();
}

}  // namespace llava::bench
