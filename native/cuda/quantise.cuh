// Activations as int8 blocks: x = D · 2^e · q, with D of the token and e of the block; the same numbers as the CPU's,
// which cpu/block_float.h and block_float.cc explain. A block of threads takes a token: that of quantise_rows, or of an
// op whose row a product takes next.
#pragma once
#include <climits>

#include "cuda/products.h"
#include "cuda/smem.cuh"

namespace llava::cuda {

constexpr int kQuantiseThreads = 256, kQuantiseWarps = kQuantiseThreads / kWarp;
constexpr float kSmallestToken = 1e-30f, kSmallestBlock = 4e-37f, kLargestFloat = 3.402823466e38f;
constexpr float kOutlierShare = 0.2f;
constexpr int kSmallestExponent = -60, kCandidates = 8;

__device__ __forceinline__ float power_of_two(int exponent) { return __int_as_float((127 + exponent) << 23); }

// The smallest e with largest <= limit * 2^e: floats compare as their bits do.
__device__ __forceinline__ int exponent_of(float largest, float limit) {
  const int e = (__float_as_int(largest) - __float_as_int(limit) + 0x7FFFFF) >> 23;
  return e > kSmallestExponent ? e : kSmallestExponent;
}

// 2^(i / 8)
__device__ __forceinline__ float eighth(int i) {
  constexpr float kEighths[kCandidates] = {1.0f,        1.09050773f, 1.18920712f, 1.29683955f,
                                           1.41421356f, 1.54221083f, 1.68179283f, 1.83400809f};
  float out = kEighths[0];
#pragma unroll
  for (int c = 1; c < kCandidates; c++) out = i == c ? kEighths[c] : out;
  return out;
}

// The block with the largest value (the first of equal ones), the largest of the others, and the sum of all squares.
struct Peak {
  float top;
  int block;
  float others, squares;
};

__device__ __forceinline__ Peak peak_of(const float* largest, int blocks) {
  const int lane = threadIdx.x % kWarp;
  Peak peak{-1.0f, INT_MAX, 0.0f, 0.0f};
  for (int b = lane; b < blocks; b += kWarp) {
    const float value = largest[b];
    if (value > peak.top) {
      peak.others = fmaxf(peak.others, peak.top);
      peak.top = value;
      peak.block = b;
    } else {
      peak.others = fmaxf(peak.others, value);
    }
    peak.squares += value * value;
  }
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    const Peak other{__shfl_xor_sync(~0u, peak.top, distance), __shfl_xor_sync(~0u, peak.block, distance),
                     __shfl_xor_sync(~0u, peak.others, distance), 0.0f};
    const bool wins = other.top > peak.top || (other.top == peak.top && other.block < peak.block);
    peak.others = fmaxf(fmaxf(peak.others, other.others), wins ? peak.top : other.top);
    if (wins) {
      peak.top = other.top;
      peak.block = other.block;
    }
  }
  peak.squares = warp_sum(peak.squares);
  return peak;
}

// A warp takes the token's outliers out of `largest`.
__device__ inline void take_outliers(const float* x, float* largest, int blocks, Token& token) {
  const int lane = threadIdx.x % kWarp;
  token.outliers = 0;
  while (token.outliers < kMostOutliers) {
    const Peak peak = peak_of(largest, blocks);
    const float top = peak.top, wanted = kOutlierShare * peak.squares;
    if (!(top * top > wanted)) break;
    const int column = peak.block * kGroup + lane;
    float magnitude = fabsf(ld(x + column));
#pragma unroll
    for (int i = 0; i < kMostOutliers; i++) {
      if (i < token.outliers && token.column[i] == column) magnitude = 0;
    }
    const uint32_t as_large = __ballot_sync(~0u, magnitude == top) & 0x7FFFFFFFu;
    int first = kWarp - 1;
    for (int i = kWarp - 2; i >= 0; i--) first = as_large >> i & 1 ? i : first;
    const float second = warp_max(lane == first ? 0.0f : magnitude);
    const float least = fmaxf(kSmallestToken, top * power_of_two(kSmallestExponent));
    if (!(fmaxf(second, peak.others) >= least) || !(top * top - second * second > wanted)) break;
#pragma unroll
    for (int i = 0; i < kMostOutliers; i++) {
      if (i != token.outliers) continue;
      token.column[i] = peak.block * kGroup + first;
      token.value[i] = ld(x + peak.block * kGroup + first);
    }
    token.outliers++;
    if (lane == 0) largest[peak.block] = second;
    __syncwarp();
  }
}

// What a code of 127 stands for at e = 0: of the candidates, the one with the least sum of squared steps.
__device__ inline float choose_limit(const float* largest, int blocks, float top) {
  const int lane = threadIdx.x % kWarp;
  float best = top, least = INFINITY;
  for (int c = 0; c < kCandidates; c++) {
    const float limit = top * eighth(c);
    float squares = 0;
    for (int b = lane; b < blocks; b += kWarp) squares += power_of_two(2 * exponent_of(largest[b], limit));
    squares = warp_sum(squares) * (eighth(c) * eighth(c));
    if (squares < least && limit <= kLargestFloat) {
      best = limit;
      least = squares;
    }
  }
  return best;
}

struct Choice {
  float limit;  // 0: a token of nothing
  float scale;  // D; NaN for a token that is not finite
  Token token;
};

__device__ inline void choose(const float* x, float* largest, int blocks, Choice& choice) {
  const int lane = threadIdx.x % kWarp;
  Token token{};
  take_outliers(x, largest, blocks, token);
  int top_bits = 0;  // magnitudes compare as their bits do, NaN above all
  for (int b = lane; b < blocks; b += kWarp) {
    const int bits = __float_as_int(largest[b]);
    top_bits = bits > top_bits ? bits : top_bits;
  }
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    const int other = __shfl_xor_sync(~0u, top_bits, distance);
    top_bits = other > top_bits ? other : top_bits;
  }
  const float top = __int_as_float(top_bits);
  const bool finite = top <= kLargestFloat, nothing = top < kSmallestToken;
  const float limit = nothing || !finite ? 0.0f : choose_limit(largest, blocks, top);
  if (lane != 0) return;
  token.scale = !finite ? NAN : limit / 127.0f;
  choice = {limit, limit / 127.0f, token};
}

constexpr size_t quantise_shared_bytes(int64_t K) {
  return shared_bytes_of(sizeof(Choice)) + shared_bytes_of(static_cast<size_t>(K / kGroup) * sizeof(float));
}

// Row m of `to` from row[K], which this block may have written before a barrier.
__device__ inline void quantise_row(const float* row, int64_t K, int64_t m, const QuantisedRows& to,
                                    SharedMemory& memory) {
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, blocks = static_cast<int>(K / kGroup);
  Choice* const choice = memory.take<Choice>(1);
  float* const largest = memory.take<float>(blocks);
  for (int b = warp; b < blocks; b += kQuantiseWarps) {
    int bits = __float_as_int(ld(row + b * kGroup + lane)) & 0x7FFFFFFF;
    for (int distance = kWarp / 2; distance > 0; distance /= 2) {
      const int other = __shfl_xor_sync(~0u, bits, distance);
      bits = other > bits ? other : bits;
    }
    if (lane == 0) largest[b] = __int_as_float(bits);
  }
  __syncthreads();
  if (warp == 0) choose(row, largest, blocks, *choice);
  __syncthreads();
  const Choice chosen = *choice;
  if (threadIdx.x == 0) st(to.tokens + m, chosen.token);
  const float smallest = fmaxf(kSmallestBlock, chosen.limit * power_of_two(kSmallestExponent));
  for (int b = warp; b < blocks; b += kQuantiseWarps) {
    const int e = chosen.limit > 0 ? exponent_of(largest[b], chosen.limit) : 0;
    const float inverse = !(chosen.limit > 0) || largest[b] < smallest ? 0.0f : power_of_two(-e) / chosen.scale;
    float value = ld(row + b * kGroup + lane);
#pragma unroll
    for (int i = 0; i < kMostOutliers; i++) {
      if (i < chosen.token.outliers && chosen.token.column[i] == b * kGroup + lane) value = 0;
    }
    const int code = inverse == 0 ? 0 : static_cast<int>(nearbyintf(value * inverse));
    int sum = code;  // of each half
    for (int distance = kWarp / 4; distance > 0; distance /= 2) sum += __shfl_xor_sync(~0u, sum, distance);
    const int other = __shfl_xor_sync(~0u, sum, kWarp / 2);
    st(to.codes + m * K + b * kGroup + lane, static_cast<int8_t>(code));
    if (lane == 0)
      st(to.factors + m * blocks + b,
         BlockFactor{power_of_two(e), {static_cast<int16_t>(sum), static_cast<int16_t>(other)}});
  }
}

}  // namespace llava::cuda
