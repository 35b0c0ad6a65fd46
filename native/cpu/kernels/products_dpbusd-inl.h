// Integer products by vpdpbusd, which adds 4 products u8 x s8 to 32 bits without saturation: codes are
// u8 = value + offset (Q8_0: value xor 0x80, offset 128), activations s8. The including file brings, before this one:
//   dpbusd(sum, w, a)
#pragma once
constexpr bool kSignedQ8 = false;
#include "cpu/kernels/quantised_x86-inl.h"

// Eight tokens are 16 chains of products. Of 16 sums and as many totals some totals stand in memory.
constexpr int kTallGroups = kRows == kStripRows ? 2 : 1;

// acc[t][v] = start + codes · activations over the groups of a block or half block, for groups of tokens q_stride bytes
// and start_stride starts apart.
template <class Codes, int kGroups, class Source>
inline void products(const Source& codes, const int8_t* q, int64_t q_stride, const int32_t* start, int64_t start_stride,
                     I acc[][2]) {
  constexpr int kTokens = kGroups * kTokenGroup;
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; t++)
    acc[t][0] = acc[t][1] = Int::broadcast_word(start + t / kTokenGroup * start_stride + t % kTokenGroup);
#pragma GCC unroll 8
  for (int g = 0; g < 8 / Codes::kHalves; g++) {
    const I w0 = codes.group(0, g), w1 = codes.group(1, g);
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; t++) {
      const I a = word_of(q, q_stride, g, t);
      acc[t][0] = dpbusd(acc[t][0], w0, a);
      acc[t][1] = dpbusd(acc[t][1], w1, a);
    }
  }
}

// acc + the groups of block j in a part · one token. A whole block is summed in two chains: one of eight takes longer
// than what stands around it.
template <class Codes>
inline I dot(const typename Codes::Packed& packed, int j, const int8_t* q, I acc) {
  constexpr int kChains = Codes::kPart == 8 ? 2 : 1;
  I other = Int::zero();
#pragma GCC unroll 8
  for (int g = 0; g < Codes::kPart; g++) {
    I& sum = g % kChains == 0 ? acc : other;
    sum = dpbusd(sum, Codes::code(packed, j, g), Int::broadcast_word(q + g * 4));
  }
  return kChains == 2 ? Int::add_32(acc, other) : acc;
}
