// AVX2 + FMA + F16C: row-wise and f32 kernels over 8 lanes, and the int8 kernels of quantised weights by maddubs
// (products_maddubs-inl.h).
#if defined(__x86_64__)
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/target_region.h"
#include "cpu/kernels/reference.h"

LLAVA_TARGET_BEGIN("avx2,fma,f16c")

namespace llava {
namespace {

#include "cpu/kernels/simd_avx2.h"

#include "cpu/kernels/gemm_tile-inl.h"

#include "cpu/kernels/floats-inl.h"

inline int32_t sum_i32(__m256i v) {
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4E));
  return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xB1)));
}

inline int32_t largest_i32(__m256i v) {
  __m128i m = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4E));
  return _mm_cvtsi128_si32(_mm_max_epi32(m, _mm_shuffle_epi32(m, 0xB1)));
}

void block_largest(const float* x, int64_t n, float* largest) noexcept {
  const __m256i magnitude = _mm256_set1_epi32(0x7FFFFFFF);
  for (int64_t b = 0; b < n / kBlock; b++) {
    __m256i top_i32x8 = _mm256_setzero_si256();
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      top_i32x8 = _mm256_max_epi32(
          top_i32x8,
          _mm256_and_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + b * kBlock + 8 * i)), magnitude));
    }
    const int32_t top = largest_i32(top_i32x8);
    std::memcpy(largest + b, &top, sizeof top);
  }
}

inline __m256i block_codes(const float* x, float inverse) {
  const __m256 factor = _mm256_set1_ps(inverse);
  const __m256i kept = _mm256_set1_epi32(inverse != 0 ? -1 : 0);
  __m256i code[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++)
    code[i] = _mm256_and_si256(kept, _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), factor)));
  // packs works within 128-bit halves: the dwords come out in the order 0 2 4 6 1 3 5 7
  const __m256i packed = _mm256_packs_epi16(_mm256_packs_epi32(code[0], code[1]), _mm256_packs_epi32(code[2], code[3]));
  return _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

#include "cpu/kernels/quantise_x86-inl.h"

#include "cpu/kernels/products_maddubs-inl.h"

#include "cpu/kernels/int8_x86-inl.h"

#include "cpu/kernels/quantised_s16-inl.h"

// Peaks: twelve independent chains, written in assembly so that no compiler move stands between the instructions.
#define LLAVA_TWELVE(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11)
#define LLAVA_YMM                                                                                                     \
  "ymm0", "ymm1", "ymm2", "ymm3", "ymm4", "ymm5", "ymm6", "ymm7", "ymm8", "ymm9", "ymm10", "ymm11", "ymm12", "ymm13", \
      "ymm14"

double peak_fma(int64_t iterations) noexcept {
  asm volatile("vxorps %%ymm12,%%ymm12,%%ymm12\n vxorps %%ymm13,%%ymm13,%%ymm13" ::: LLAVA_YMM);
#define LLAVA_FMA(i) "vfmadd231ps %%ymm12,%%ymm13,%%ymm" #i "\n"
  for (int64_t i = 0; i < iterations; i++) asm volatile(LLAVA_TWELVE(LLAVA_FMA)::: LLAVA_YMM);
#undef LLAVA_FMA
  return static_cast<double>(iterations) * 12 * 16;
}

double peak_int8(int64_t iterations) noexcept {
  asm volatile("vpxor %%ymm12,%%ymm12,%%ymm12\n vpxor %%ymm13,%%ymm13,%%ymm13" ::: LLAVA_YMM);
#define LLAVA_INT8(i) "vpmaddubsw %%ymm12,%%ymm13,%%ymm14\n vpaddw %%ymm14,%%ymm" #i ",%%ymm" #i "\n"
  for (int64_t i = 0; i < iterations; i++) asm volatile(LLAVA_TWELVE(LLAVA_INT8)::: LLAVA_YMM);
#undef LLAVA_INT8
  return static_cast<double>(iterations) * 12 * 64;
}
#undef LLAVA_TWELVE
#undef LLAVA_YMM

double peak_read(const void* memory, int64_t bytes) noexcept {
  const char* p = static_cast<const char*>(memory);
  __m256i sum = _mm256_setzero_si256();
  for (int64_t at = 0; at + 128 <= bytes; at += 128) {
    _mm_prefetch(p + at + 2048, _MM_HINT_T0);
    _mm_prefetch(p + at + 2112, _MM_HINT_T0);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
      sum = _mm256_xor_si256(sum, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + at + 32 * i)));
  }
  volatile int32_t keep = sum_i32(sum);
  (void)keep;
  return static_cast<double>(bytes);
}

void fill(KernelTable& t) {
  fill_floats(t);
  t.block_largest = block_largest;
  t.quantise_q8 = quantise_q8;
  t.quantise_q8_group = quantise_q8_group;
  fill_packs(t);
  fill_int8(t);
  fill_s16(t);
  t.peak_fma = peak_fma;
  t.peak_int8 = peak_int8;
  t.peak_read = peak_read;
}

}  // namespace
}  // namespace llava

LLAVA_TARGET_END

namespace llava {

void fill_avx2(KernelTable& table) {
  table.isa = "avx2";
  table.int8_mix = "vpmaddubsw + vpaddw";
  fill(table);
}

}  // namespace llava
#endif
