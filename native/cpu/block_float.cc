#include "cpu/block_float.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "common/blocks.h"

namespace llava::cpu {

namespace {

constexpr float kSmallestToken = 1e-30f;  // a token with nothing above this counts as zero: its steps would not be normal numbers
constexpr float kSmallestBlock = 4e-37f;  // and so does a block below this: 127 / largest would overflow
constexpr int kCandidates = 8;
constexpr float kEighths[kCandidates] = {1.0f, 1.09050773f, 1.18920712f, 1.29683955f, 1.41421356f, 1.54221083f, 1.68179283f, 1.83400809f};  // 2^(i / 8)

int32_t bits(float x) { return std::bit_cast<int32_t>(x); }
float power_of_two(int32_t exponent) { return std::bit_cast<float>((127 + exponent) << 23); }

// The smallest e with largest <= limit * 2^e: floats compare as their bits do, and a power of two adds to the exponent field.
int32_t exponent_of(float largest, float limit) { return std::max((bits(largest) - bits(limit) + 0x7FFFFF) >> 23, kSmallestExponent); }

// What a code of 127 stands for at e = 0: of the candidates, the one with the least sum of squared steps.
float choose_limit(const float* largest, int64_t blocks, float top) {
  float best = top, least = std::numeric_limits<float>::infinity();
  for (const float eighth : kEighths) {
    const float limit = top * eighth;
    float squares = 0;
    for (int64_t b = 0; b < blocks; b++) squares += power_of_two(2 * exponent_of(largest[b], limit));
    squares *= eighth * eighth;
    if (squares < least && limit <= std::numeric_limits<float>::max()) {
      best = limit;
      least = squares;
    }
  }
  return best;
}

}  // namespace

float choose_scales(const float* largest, int64_t blocks, float* origin, float* inverse) {
  float top = 0;
  for (int64_t b = 0; b < blocks; b++) top = bits(largest[b]) > bits(top) ? largest[b] : top;
  const bool finite = top <= std::numeric_limits<float>::max(), nothing = top < kSmallestToken;
  if (nothing || !finite) {
    for (int64_t b = 0; b < blocks; b++) {
      origin[b] = kOrigin;
      inverse[b] = 0;
    }
    return finite ? 0 : std::numeric_limits<float>::quiet_NaN();
  }
  const float limit = choose_limit(largest, blocks, top), scale = limit / 127.0f;
  const float smallest = std::max(kSmallestBlock, limit * power_of_two(kSmallestExponent));
  for (int64_t b = 0; b < blocks; b++) {
    const int32_t e = exponent_of(largest[b], limit);
    origin[b] = kOrigin * power_of_two(e);
    inverse[b] = largest[b] < smallest ? 0.0f : power_of_two(-e) / scale;
  }
  return scale;
}

void round_to_blocks(const float* x, int64_t n, double* rounded) {
  const int64_t blocks = n / kBlock;
  std::vector<float> largest(static_cast<size_t>(blocks)), origin(largest.size()), inverse(largest.size());
  for (int64_t i = 0; i < n; i++) {
    float& top = largest[static_cast<size_t>(i / kBlock)];
    top = std::fmax(top, std::fabs(x[i]));
  }
  const auto scale = static_cast<double>(choose_scales(largest.data(), blocks, origin.data(), inverse.data()));
  for (int64_t i = 0; i < n; i++) {
    const auto b = static_cast<size_t>(i / kBlock);
    rounded[i] = static_cast<double>(std::nearbyintf(x[i] * inverse[b])) * scale * static_cast<double>(origin[b] / kOrigin);
  }
}

}  // namespace llava::cpu
