// Integer products by vpmaddubsw, for x86 without vpdpbusd. Codes are u8 with an offset, activations s8 in [-127, 127]:
//   maddubs gives pairs  w0 a0 + w1 a1 in 16 bits; of 4-bit codes 8 stay below 8 * 2 * 15 * 127 = 30480 < 32768, so a
//   whole block of 32 is summed in 16 bits and widened once; 5-bit codes are widened every 4, 6-bit every 2. Exact in
//   integers.
// Q8_0 codes stay s8 (|w| <= 128): maddubs(|w|, a with the sign of w) gives pairs up to 2 * 128 * 127 = 32512, widened
// each time. Where panels hold them as s16 (quantised_s16-inl.h), vpmaddwd multiplies s16 activations. The vocabulary
// brings SignedCodes, a vector of s8 codes: pairs(a) as above.
#pragma once
constexpr bool kSignedQ8 = true;
#include "cpu/kernels/quantised_x86-inl.h"

constexpr int kTallGroups = 1;  // 16-bit sums take registers too

// Groups of 4 products that a 16-bit lane can hold: a lane adds two products, at most 2 * largest * 127, for each
// group.
template <class Codes>
constexpr int groups_in_16_bits() {
  int groups = 8 / Codes::kHalves;
  while (groups * 2 * Codes::kLargest * 127 > 32767) groups /= 2;
  return groups;
}

// A sum the compiler may not regroup: GCC would compute all products of a block first and add them as a tree, out of
// registers.
inline I in_order(I sum) {
  asm("" : "+v"(sum));
  return sum;
}

// Where the even or odd activations of group g of token t stand as s16: those of a vector of words are the even ones of
// all, then the odd ones.
constexpr int s16_word(int g, int odd, int t) {
  const int word = g * kTokenGroup + t;
  return ((word / kRows * 2 + odd) * kRows + word % kRows) * 4;
}

inline I add_pairs(I acc, I pairs_i16) { return Int::add_32(acc, Int::madd_16(pairs_i16, Int::set1_16(1))); }

// Where the sums of token t start; groups of tokens lie `stride` apart.
inline I start_of(const int32_t* start, int64_t stride, int t) {
  return Int::broadcast_word(start + t / kTokenGroup * stride + t % kTokenGroup);
}

// acc[t][v] = start + codes · activations over the groups of a block or half block, for groups of tokens q_stride bytes
// and start_stride starts apart.
template <class Codes, int kGroups, class Source>
inline void products(const Source& codes, const int8_t* q, int64_t q_stride, const int32_t* start, int64_t start_stride,
                     I acc[][2]) {
  constexpr int kTokens = kGroups * kTokenGroup;
  if constexpr (Codes::kCodeBytes == 2) {  // s16
    static_assert(kGroups == 1);
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; t++) acc[t][0] = acc[t][1] = start_of(start, start_stride, t);
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
      const I w0 = codes.group(0, i), w1 = codes.group(1, i);
#pragma GCC unroll 4
      for (int t = 0; t < kTokens; t++) {
        const I a = Int::broadcast_word(q + s16_word(i / 2, i % 2, t));
        acc[t][0] = in_order(Int::add_32(acc[t][0], Int::madd_16(w0, a)));
        acc[t][1] = in_order(Int::add_32(acc[t][1], Int::madd_16(w1, a)));
      }
    }
  } else if constexpr (Codes::kFillsByte) {  // signed codes: each pair is widened
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; t++) acc[t][0] = acc[t][1] = start_of(start, start_stride, t);
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) {
      const SignedCodes w0(codes.group(0, g)), w1(codes.group(1, g));
#pragma GCC unroll 8
      for (int t = 0; t < kTokens; t++) {
        const I a = word_of(q, q_stride, g, t);
        acc[t][0] = in_order(add_pairs(acc[t][0], w0.pairs(a)));
        acc[t][1] = in_order(add_pairs(acc[t][1], w1.pairs(a)));
      }
    }
  } else {
    constexpr int kAdded = groups_in_16_bits<Codes>();
#pragma GCC unroll 4
    for (int first = 0; first < 8 / Codes::kHalves; first += kAdded) {
      I sum_i16[kTokens][2];
#pragma GCC unroll 8
      for (int g = first; g < first + kAdded; g++) {
        const I w0 = codes.group(0, g), w1 = codes.group(1, g);
#pragma GCC unroll 8
        for (int t = 0; t < kTokens; t++) {
          const I a = word_of(q, q_stride, g, t);
          const I p0 = Int::maddubs(w0, a), p1 = Int::maddubs(w1, a);
          sum_i16[t][0] = g == first ? p0 : in_order(Int::add_16(sum_i16[t][0], p0));
          sum_i16[t][1] = g == first ? p1 : in_order(Int::add_16(sum_i16[t][1], p1));
        }
      }
#pragma GCC unroll 8
      for (int t = 0; t < kTokens; t++) {
        const I before0 = first == 0 ? start_of(start, start_stride, t) : acc[t][0],
                before1 = first == 0 ? before0 : acc[t][1];
        acc[t][0] = add_pairs(before0, sum_i16[t][0]);
        acc[t][1] = add_pairs(before1, sum_i16[t][1]);
      }
    }
  }
}

// acc + the groups of block j in a part · one token.
template <class Codes>
inline I dot(const typename Codes::Packed& packed, int j, const int8_t* q, I acc) {
  if constexpr (Codes::kFillsByte) {
#pragma GCC unroll 8
    for (int g = 0; g < Codes::kPart; g++)
      acc = add_pairs(acc, SignedCodes(Codes::code(packed, j, g)).pairs(Int::broadcast_word(q + g * 4)));
  } else {
    constexpr int kGroups = std::min(groups_in_16_bits<Codes>(), Codes::kPart);
#pragma GCC unroll 4
    for (int first = 0; first < Codes::kPart; first += kGroups) {
      I sum_i16 = Int::maddubs(Codes::code(packed, j, first), Int::broadcast_word(q + first * 4));
#pragma GCC unroll 8
      for (int g = first + 1; g < first + kGroups; g++) {
        sum_i16 =
            in_order(Int::add_16(sum_i16, Int::maddubs(Codes::code(packed, j, g), Int::broadcast_word(q + g * 4))));
      }
      acc = add_pairs(acc, sum_i16);
    }
  }
  return acc;
}
