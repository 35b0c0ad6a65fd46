#include "cpu/block_float.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "common/blocks.h"

namespace llava::cpu {

namespace {

// a token with nothing above this counts as zero: its steps would not be normal numbers
constexpr float kSmallestToken = 1e-30f;
constexpr float kSmallestBlock = 4e-37f;  // and so does a block below this: 127 / largest would overflow
constexpr int kCandidates = 8;
// 2^(i / 8)
constexpr float kEighths[kCandidates] = {1.0f,        1.09050773f, 1.18920712f, 1.29683955f,
                                         1.41421356f, 1.54221083f, 1.68179283f, 1.83400809f};

int32_t bits(float x) { return std::bit_cast<int32_t>(x); }
float power_of_two(int32_t exponent) { return std::bit_cast<float>((127 + exponent) << 23); }

// The smallest e with largest <= limit * 2^e: floats compare as their bits do, and a power of two adds to the exponent
// field.
int32_t exponent_of(float largest, float limit) {
  return std::max((bits(largest) - bits(limit) + 0x7FFFFF) >> 23, kSmallestExponent);
}

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

// The block with the largest value, the largest value of all other blocks, and the sum of squares of all their largest.
struct Peak {
  int64_t block = 0;
  float others = 0, squares = 0;
};

Peak peak_of(const float* largest, int64_t blocks) {
  Peak peak{.squares = largest[0] * largest[0]};
  for (int64_t b = 1; b < blocks; b++) {
    const bool higher = largest[b] > largest[peak.block];
    peak.others = std::max(peak.others, higher ? largest[peak.block] : largest[b]);
    if (higher) peak.block = b;
    peak.squares += largest[b] * largest[b];
  }
  return peak;
}

float magnitude_of(const float* values) {
  float top = 0;
  for (int i = 0; i < kBlock; i++) top = std::max(top, std::fabs(values[i]));
  return top;
}

}  // namespace

void copy_without(const Outliers& outliers, const float* x, int64_t b, float* rest) {
  std::copy_n(x + b * kBlock, kBlock, rest);
  for (int i = 0; i < outliers.count; i++) {
    if (outliers.of[i].column / kBlock == b) rest[outliers.of[i].column % kBlock] = 0;
  }
}

Outliers take_outliers(const float* x, int64_t blocks, float* largest) {
  Outliers taken{};
  while (taken.count < kMostOutliers) {
    const Peak peak = peak_of(largest, blocks);
    const float top = largest[peak.block], wanted = kOutlierShare * peak.squares;
    if (!(top * top > wanted)) break;
    float rest[kBlock];
    copy_without(taken, x, peak.block, rest);
    float* outlier = std::find_if(rest, rest + kBlock - 1, [top](float value) { return std::fabs(value) == top; });
    const float value = std::exchange(*outlier, 0.0f), second = magnitude_of(rest);
    // What is left must not count as zero beside the outlier, which is multiplied in units of D.
    const float least = std::max(kSmallestToken, top * power_of_two(kSmallestExponent));
    const bool enough = std::max(second, peak.others) >= least;
    if (!enough || !(top * top - second * second > wanted)) break;
    taken.of[taken.count++] = {static_cast<int32_t>(peak.block * kBlock + (outlier - rest)), value};
    largest[peak.block] = second;
  }
  return taken;
}

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
  const Outliers outliers = take_outliers(x, blocks, largest.data());
  const auto scale = static_cast<double>(choose_scales(largest.data(), blocks, origin.data(), inverse.data()));
  for (int64_t i = 0; i < n; i++) {
    const auto b = static_cast<size_t>(i / kBlock);
    rounded[i] =
        static_cast<double>(std::nearbyintf(x[i] * inverse[b])) * scale * static_cast<double>(origin[b] / kOrigin);
  }
  for (int i = 0; i < outliers.count; i++) rounded[outliers.of[i].column] = static_cast<double>(outliers.of[i].value);
}

}  // namespace llava::cpu
