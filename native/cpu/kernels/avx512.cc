// AVX-512 (F, BW, VL, DQ) with VNNI: row-wise and f32 kernels over 16 lanes, and the int8 kernels of quantised weights.
//
// Quantised tile: codes are u8 = value + offset (Q4_0: nibbles, offset 8; Q8_0: value xor 0x80, offset 128); activations s8.
//   vpdpbusd adds 4 products u8 x s8 to 32 bits without saturation. The accumulator starts at -offset * sum(a), so the offset costs nothing.
#if defined(__x86_64__)
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/kernels/reference.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")

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

constexpr bool kSignedQ8 = false;
constexpr int kTileTokens = 8;  // x 2 vectors: the 16 integer sums fill half of the registers; the f32 totals are touched once a block

inline __m512i broadcast_word(const int8_t* q) {
  int32_t word;
  std::memcpy(&word, q, 4);
  return _mm512_set1_epi32(word);
}

// acc[t][v] = start[t] + codes · activations over the groups of a block or half block.
template <class Codes, int kTokens>
inline void products(const uint8_t* w, int64_t step, const int8_t* q, int64_t q_stride, const int32_t* start, __m512i acc[kTokens][2]) {
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; t++) acc[t][0] = acc[t][1] = _mm512_set1_epi32(start[t]);
#pragma GCC unroll 8
  for (int g = 0; g < 8 / Codes::kHalves; g++) {
    const __m512i w0 = _mm512_loadu_si512(w + g * 64), w1 = _mm512_loadu_si512(w + g * 64 + step);
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; t++) {
      const __m512i a = broadcast_word(q + t / kTokenGroup * q_stride + (g * kTokenGroup + t % kTokenGroup) * 4);
      acc[t][0] = _mm512_dpbusd_epi32(acc[t][0], w0, a);
      acc[t][1] = _mm512_dpbusd_epi32(acc[t][1], w1, a);
    }
  }
}

// start + the groups of one block or half block · one token; two chains hide the latency of vpdpbusd.
template <class Codes>
inline __m512i dot(const __m512i* group, const int8_t* q, int32_t start) {
  __m512i even = _mm512_set1_epi32(start), odd = _mm512_setzero_si512();
#pragma GCC unroll 4
  for (int g = 0; g < 8 / Codes::kHalves; g += 2) {
    even = _mm512_dpbusd_epi32(even, group[g], broadcast_word(q + g * 4));
    odd = _mm512_dpbusd_epi32(odd, group[g + 1], broadcast_word(q + (g + 1) * 4));
  }
  return _mm512_add_epi32(even, odd);
}

#include "cpu/kernels/quantised-inl.h"

// Peaks: twelve independent chains, written in assembly so that no compiler move stands between the instructions.
#define LLAVA_TWELVE(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11)
#define LLAVA_ZMM "zmm0", "zmm1", "zmm2", "zmm3", "zmm4", "zmm5", "zmm6", "zmm7", "zmm8", "zmm9", "zmm10", "zmm11", "zmm12", "zmm13"

double peak_fma(int64_t iterations) noexcept {
  asm volatile("vpxorq %%zmm12,%%zmm12,%%zmm12\n vpxorq %%zmm13,%%zmm13,%%zmm13" ::: LLAVA_ZMM);
#define LLAVA_FMA(i) "vfmadd231ps %%zmm12,%%zmm13,%%zmm" #i "\n"
  for (int64_t i = 0; i < iterations; i++) asm volatile(LLAVA_TWELVE(LLAVA_FMA)::: LLAVA_ZMM);
#undef LLAVA_FMA
  return static_cast<double>(iterations) * 12 * 32;
}

double peak_int8(int64_t iterations) noexcept {
  asm volatile("vpxorq %%zmm12,%%zmm12,%%zmm12\n vpxorq %%zmm13,%%zmm13,%%zmm13" ::: LLAVA_ZMM);
#define LLAVA_INT8(i) "vpdpbusd %%zmm12,%%zmm13,%%zmm" #i "\n"
  for (int64_t i = 0; i < iterations; i++) asm volatile(LLAVA_TWELVE(LLAVA_INT8)::: LLAVA_ZMM);
#undef LLAVA_INT8
  return static_cast<double>(iterations) * 12 * 128;
}
#undef LLAVA_TWELVE
#undef LLAVA_ZMM

void fill(KernelTable& t) {
  fill_shared(t);
  t.quantize_q8 = quantize_q8;
  fill_quantised(t);
  t.peak_fma = peak_fma;
  t.peak_int8 = peak_int8;
}

}  // namespace
}  // namespace llava

#pragma GCC pop_options

namespace llava {

void fill_avx512(KernelTable& table) {
  table.isa = "avx512";
  table.int8_mix = "vpdpbusd";
  fill(table);
}

}  // namespace llava
#endif
