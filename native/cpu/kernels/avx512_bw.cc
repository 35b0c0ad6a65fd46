// AVX-512 (F, BW, VL, DQ) without VNNI: row-wise and f32 kernels over 16 lanes, and the int8 kernels of quantised weights.
//
// Quantised tile, as with AVX2: codes are u8 with an offset, activations s8 in [-127, 127].
//   maddubs gives pairs  w0 a0 + w1 a1 in 16 bits; as many groups of 4 as 16 bits can hold (all 8 of 4-bit codes) are summed before they are widened.
//   -offset * sum(a) puts the offset right. Exact in integers.
// Q8_0 codes stay s8 (|w| <= 128): maddubs(|w|, a with the sign of w) gives pairs up to 2 * 128 * 127 = 32512, widened each time. Without vpsignb the
// sign is a mask of w, which all tokens share, and a masked subtraction from 0; where w is 0, so is |w|.
#if defined(__x86_64__)
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/kernels/reference.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq")

namespace llava {
namespace {

#include "cpu/kernels/simd_avx512.h"

#include "cpu/kernels/rowwise-inl.h"

#include "cpu/kernels/gemm-inl.h"

void quantize_q8(const float* x, int64_t n, int64_t step, int8_t* q, float* d, int32_t* sum) noexcept {
  for (int64_t b = 0; b < n / kBlock; b++) {
    const __m512 v0 = _mm512_loadu_ps(x + b * kBlock), v1 = _mm512_loadu_ps(x + b * kBlock + 16);
    const float top = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(v0), _mm512_abs_ps(v1)));
    const __m512 inverse = _mm512_set1_ps(top > reference::kSmallestScaled ? 127.0f / top : 0.0f);
    const __m512i c0 = _mm512_cvtps_epi32(_mm512_mul_ps(v0, inverse)), c1 = _mm512_cvtps_epi32(_mm512_mul_ps(v1, inverse));
    alignas(16) int32_t words[8];
    _mm_store_si128(reinterpret_cast<__m128i*>(words), _mm512_cvtepi32_epi8(c0));
    _mm_store_si128(reinterpret_cast<__m128i*>(words + 4), _mm512_cvtepi32_epi8(c1));
    for (int j = 0; j < 8; j++) std::memcpy(q + 4 * (b * 8 + j) * step, &words[j], 4);
    d[b * step] = top / 127.0f;
    sum[2 * b * step] = _mm512_reduce_add_epi32(c0);
    sum[(2 * b + 1) * step] = _mm512_reduce_add_epi32(c1);
  }
}

constexpr bool kSignedQ8 = true;
constexpr int kTileTokens = 4;  // x 2 vectors: 8 sums of 16 bits beside 8 f32 totals stay in registers through the block

inline __m512i broadcast_word(const int8_t* q) {
  int32_t word;
  std::memcpy(&word, q, 4);
  return _mm512_set1_epi32(word);
}

// Groups of 4 products that a 16-bit lane can hold: a lane adds two products, at most 2 * largest * 127, for each group.
template <class Codes>
constexpr int groups_in_16_bits() {
  int groups = 8 / Codes::kHalves;
  while (groups * 2 * Codes::kLargest * 127 > 32767) groups /= 2;
  return groups;
}

// A sum the compiler may not regroup: GCC would compute all products of a block first and add them as a tree, out of registers.
inline __m512i in_order(__m512i sum) {
  asm("" : "+v"(sum));
  return sum;
}

inline __m512i widen(__m512i pairs_i16) { return _mm512_madd_epi16(pairs_i16, _mm512_set1_epi16(1)); }

// s8 codes of a vector, as maddubs takes them.
struct SignedCodes {
  explicit SignedCodes(__m512i w) : size(_mm512_abs_epi8(w)), negative(_mm512_movepi8_mask(w)) {}
  __m512i times(__m512i a) const { return widen(_mm512_maddubs_epi16(size, _mm512_mask_sub_epi8(a, negative, _mm512_setzero_si512(), a))); }
  __m512i size;
  __mmask64 negative;
};

// acc[t][v] = start[t] + codes · activations over the groups of a block or half block.
template <class Codes, int kTokens>
inline void products(const uint8_t* w, int64_t step, const int8_t* q, int64_t, const int32_t* start, __m512i acc[kTokens][2]) {
#pragma GCC unroll 4
  for (int t = 0; t < kTokens; t++) acc[t][0] = acc[t][1] = _mm512_set1_epi32(start[t]);
  if constexpr (Codes::kLargest == 255) {  // signed codes: each pair is widened
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) {
      const SignedCodes w0(Int::load(w + g * 64)), w1(Int::load(w + g * 64 + step));
#pragma GCC unroll 4
      for (int t = 0; t < kTokens; t++) {
        const __m512i a = broadcast_word(q + (g * kTokenGroup + t) * 4);
        acc[t][0] = in_order(_mm512_add_epi32(acc[t][0], w0.times(a)));
        acc[t][1] = in_order(_mm512_add_epi32(acc[t][1], w1.times(a)));
      }
    }
  } else {
    constexpr int kGroups = groups_in_16_bits<Codes>();
#pragma GCC unroll 4
    for (int first = 0; first < 8 / Codes::kHalves; first += kGroups) {
      __m512i sum_i16[kTokens][2];
#pragma GCC unroll 8
      for (int g = first; g < first + kGroups; g++) {
        const __m512i w0 = Int::load(w + g * 64), w1 = Int::load(w + g * 64 + step);
#pragma GCC unroll 4
        for (int t = 0; t < kTokens; t++) {
          const __m512i a = broadcast_word(q + (g * kTokenGroup + t) * 4);
          const __m512i p0 = _mm512_maddubs_epi16(w0, a), p1 = _mm512_maddubs_epi16(w1, a);
          sum_i16[t][0] = g == first ? p0 : in_order(_mm512_add_epi16(sum_i16[t][0], p0));
          sum_i16[t][1] = g == first ? p1 : in_order(_mm512_add_epi16(sum_i16[t][1], p1));
        }
      }
#pragma GCC unroll 4
      for (int t = 0; t < kTokens; t++) {
#pragma GCC unroll 2
        for (int v = 0; v < 2; v++) acc[t][v] = _mm512_add_epi32(acc[t][v], widen(sum_i16[t][v]));
      }
    }
  }
}

// start + the groups of one block or half block · one token.
template <class Codes>
inline __m512i dot(const __m512i* group, const int8_t* q, int32_t start) {
  __m512i acc = _mm512_set1_epi32(start);
  if constexpr (Codes::kLargest == 255) {
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) acc = _mm512_add_epi32(acc, SignedCodes(group[g]).times(broadcast_word(q + g * 4)));
  } else {
    constexpr int kGroups = groups_in_16_bits<Codes>();
#pragma GCC unroll 4
    for (int first = 0; first < 8 / Codes::kHalves; first += kGroups) {
      __m512i sum_i16 = _mm512_maddubs_epi16(group[first], broadcast_word(q + first * 4));
#pragma GCC unroll 8
      for (int g = first + 1; g < first + kGroups; g++) sum_i16 = _mm512_add_epi16(sum_i16, _mm512_maddubs_epi16(group[g], broadcast_word(q + g * 4)));
      acc = _mm512_add_epi32(acc, widen(sum_i16));
    }
  }
  return acc;
}

#include "cpu/kernels/quantised-inl.h"

// Peaks: twelve independent chains, written in assembly so that no compiler move stands between the instructions.
#define LLAVA_TWELVE(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11)
#define LLAVA_ZMM "zmm0", "zmm1", "zmm2", "zmm3", "zmm4", "zmm5", "zmm6", "zmm7", "zmm8", "zmm9", "zmm10", "zmm11", "zmm12", "zmm13", "zmm14"

double peak_fma(int64_t iterations) noexcept {
  asm volatile("vpxorq %%zmm12,%%zmm12,%%zmm12\n vpxorq %%zmm13,%%zmm13,%%zmm13" ::: LLAVA_ZMM);
#define LLAVA_FMA(i) "vfmadd231ps %%zmm12,%%zmm13,%%zmm" #i "\n"
  for (int64_t i = 0; i < iterations; i++) asm volatile(LLAVA_TWELVE(LLAVA_FMA)::: LLAVA_ZMM);
#undef LLAVA_FMA
  return static_cast<double>(iterations) * 12 * 32;
}

double peak_int8(int64_t iterations) noexcept {
  asm volatile("vpxorq %%zmm12,%%zmm12,%%zmm12\n vpxorq %%zmm13,%%zmm13,%%zmm13" ::: LLAVA_ZMM);
#define LLAVA_INT8(i) "vpmaddubsw %%zmm12,%%zmm13,%%zmm14\n vpaddw %%zmm14,%%zmm" #i ",%%zmm" #i "\n"
  for (int64_t i = 0; i < iterations; i++) asm volatile(LLAVA_TWELVE(LLAVA_INT8)::: LLAVA_ZMM);
#undef LLAVA_INT8
  return static_cast<double>(iterations) * 12 * 128;
}
#undef LLAVA_TWELVE
#undef LLAVA_ZMM

}  // namespace
}  // namespace llava

#pragma GCC pop_options

namespace llava {

void fill_avx512_bw(KernelTable& table) {
  table.isa = "avx512-bw";
  table.int8_mix = "vpmaddubsw + vpaddw";
  fill_shared(table);
  table.quantize_q8 = quantize_q8;
  fill_quantised(table);
  table.peak_fma = peak_fma;
  table.peak_int8 = peak_int8;
}

}  // namespace llava
#endif
