// AVX2 with AVX-VNNI (256-bit vpdpbusd, on CPUs without AVX-512): the int8 kernels of quantised weights; everything else is the AVX2 table's.
//
// Quantised tile, as with AVX-512: codes are u8 = value + offset (Q8_0: value xor 0x80, offset 128), activations s8.
//   vpdpbusd adds 4 products u8 x s8 to 32 bits without saturation. The accumulator starts at -offset * sum(a), so the offset costs nothing.
#if defined(__x86_64__)
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/kernels/reference.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avxvnni")

namespace llava {
namespace {

#include "cpu/kernels/simd_avx2.h"

constexpr bool kSignedQ8 = false;
constexpr int kTileTokens = 4;  // x 2 vectors: 8 sums, 2 weights and 1 broadcast in 16 registers

inline __m256i broadcast_word(const int8_t* q) {
  int32_t word;
  std::memcpy(&word, q, 4);
  return _mm256_set1_epi32(word);
}

// acc[t][v] = start[t] + codes · activations over the groups of a block or half block.
template <class Codes, int kTokens>
inline void products(const uint8_t* w, int64_t step, const int8_t* q, int64_t, const int32_t* start, __m256i acc[kTokens][2]) {
#pragma GCC unroll 4
  for (int t = 0; t < kTokens; t++) acc[t][0] = acc[t][1] = _mm256_set1_epi32(start[t]);
#pragma GCC unroll 8
  for (int g = 0; g < 8 / Codes::kHalves; g++) {
    const __m256i w0 = Int::load(w + g * 64), w1 = Int::load(w + g * 64 + step);
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; t++) {
      const __m256i a = broadcast_word(q + (g * kTokenGroup + t) * 4);
      acc[t][0] = _mm256_dpbusd_avx_epi32(acc[t][0], w0, a);
      acc[t][1] = _mm256_dpbusd_avx_epi32(acc[t][1], w1, a);
    }
  }
}

// start + the groups of one block or half block · one token; two chains hide the latency of vpdpbusd.
template <class Codes>
inline __m256i dot(const __m256i* group, const int8_t* q, int32_t start) {
  __m256i even = _mm256_set1_epi32(start), odd = _mm256_setzero_si256();
#pragma GCC unroll 4
  for (int g = 0; g < 8 / Codes::kHalves; g += 2) {
    even = _mm256_dpbusd_avx_epi32(even, group[g], broadcast_word(q + g * 4));
    odd = _mm256_dpbusd_avx_epi32(odd, group[g + 1], broadcast_word(q + (g + 1) * 4));
  }
  return _mm256_add_epi32(even, odd);
}

#include "cpu/kernels/quantised-inl.h"

// Twelve independent chains, written in assembly so that no compiler move stands between the instructions.
double peak_int8(int64_t iterations) noexcept {
#define LLAVA_TWELVE(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11)
#define LLAVA_YMM "ymm0", "ymm1", "ymm2", "ymm3", "ymm4", "ymm5", "ymm6", "ymm7", "ymm8", "ymm9", "ymm10", "ymm11", "ymm12", "ymm13"
  asm volatile("vpxor %%ymm12,%%ymm12,%%ymm12\n vpxor %%ymm13,%%ymm13,%%ymm13" ::: LLAVA_YMM);
#define LLAVA_INT8(i) "%{vex%} vpdpbusd %%ymm12,%%ymm13,%%ymm" #i "\n"
  for (int64_t i = 0; i < iterations; i++) asm volatile(LLAVA_TWELVE(LLAVA_INT8)::: LLAVA_YMM);
#undef LLAVA_INT8
#undef LLAVA_TWELVE
#undef LLAVA_YMM
  return static_cast<double>(iterations) * 12 * 64;
}

}  // namespace
}  // namespace llava

#pragma GCC pop_options

namespace llava {

void fill_avx2_vnni(KernelTable& table) {
  table.isa = "avx2-vnni";
  table.int8_mix = "vpdpbusd";
  fill_quantised(table);
  table.peak_int8 = peak_int8;
}

}  // namespace llava
#endif
