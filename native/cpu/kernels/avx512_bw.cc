// AVX-512 (F, BW, VL, DQ) without VNNI: row-wise and f32 kernels over 16 lanes, and the int8 kernels of quantised
// weights by maddubs (products_maddubs-inl.h).
#if defined(__x86_64__)
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/target_region.h"
#include "cpu/kernels/reference.h"

LLAVA_TARGET_BEGIN("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq")

namespace llava {
namespace {

#include "cpu/kernels/simd_avx512.h"

#include "cpu/kernels/gemm_tile-inl.h"

#include "cpu/kernels/floats-inl.h"

void block_largest(const float* x, int64_t n, float* largest) noexcept {
  const __m512i magnitude = _mm512_set1_epi32(0x7FFFFFFF);
  for (int64_t b = 0; b < n / kBlock; b++) {
    const __m512i v0 = _mm512_loadu_si512(x + b * kBlock), v1 = _mm512_loadu_si512(x + b * kBlock + 16);
    const int32_t top =
        _mm512_reduce_max_epi32(_mm512_max_epi32(_mm512_and_si512(v0, magnitude), _mm512_and_si512(v1, magnitude)));
    std::memcpy(largest + b, &top, sizeof top);
  }
}

inline __m256i block_codes(const float* x, float inverse) {
  const __m512 factor = _mm512_set1_ps(inverse);
  const __mmask16 kept = inverse != 0 ? 0xFFFF : 0;
  const __m512i c0 = _mm512_maskz_cvtps_epi32(kept, _mm512_mul_ps(_mm512_loadu_ps(x), factor));
  const __m512i c1 = _mm512_maskz_cvtps_epi32(kept, _mm512_mul_ps(_mm512_loadu_ps(x + 16), factor));
  return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm512_cvtepi32_epi8(c0)), _mm512_cvtepi32_epi8(c1), 1);
}

#include "cpu/kernels/quantise_x86-inl.h"

#include "cpu/kernels/products_maddubs-inl.h"

#include "cpu/kernels/int8_x86-inl.h"

// Peaks: twelve independent chains, written in assembly so that no compiler move stands between the instructions.
#define LLAVA_TWELVE(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11)
#define LLAVA_ZMM                                                                                                     \
  "zmm0", "zmm1", "zmm2", "zmm3", "zmm4", "zmm5", "zmm6", "zmm7", "zmm8", "zmm9", "zmm10", "zmm11", "zmm12", "zmm13", \
      "zmm14"

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

LLAVA_TARGET_END

namespace llava {

void fill_avx512_bw(KernelTable& table) {
  table.isa = "avx512-bw";
  table.int8_mix = "vpmaddubsw + vpaddw";
  fill_floats(table);
  table.block_largest = block_largest;
  table.quantise_q8 = quantise_q8;
  table.quantise_q8_group = quantise_q8_group;
  fill_packs(table);
  fill_int8(table);
  table.peak_fma = peak_fma;
  table.peak_int8 = peak_int8;
}

}  // namespace llava
#endif
