// AVX-512 with BF16 (512-bit vdpbf16ps): products of bfloat16 values; everything else is that of the table without it.
#if defined(__x86_64__)
#include <immintrin.h>

#include "common/target_region.h"
#include "cpu/kernels/reference.h"

LLAVA_TARGET_BEGIN("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")

namespace llava {
namespace {

#include "cpu/kernels/simd_avx512.h"

namespace pairs {

// Lanes that hold two values each: one instruction adds two products. Its subnormals are zeros.
struct Vec : llava::Vec {
  static F fma(F a, F b, F c) {
    return _mm512_dpbf16_ps(c, __builtin_bit_cast(__m512bh, a), __builtin_bit_cast(__m512bh, b));
  }
};
using F = Vec::F;
constexpr int kLanes = Vec::kLanes;

#include "cpu/kernels/gemm_tile-inl.h"

#include "cpu/kernels/gemm-inl.h"

}  // namespace pairs

void gemm_bf16(const Gemm<void>& g) noexcept {
  pairs::gemm_f32({g.m, g.n, g.k, static_cast<const float*>(g.a), g.lda, static_cast<const float*>(g.b), g.ldb, g.c,
                   g.ldc, g.accumulate});
}

void narrow_bf16(const float* src, uint16_t* dst, int64_t n) noexcept {
  int64_t i = 0;
  for (; i + Vec::kLanes <= n; i += Vec::kLanes) {
    const __m512 value = Vec::load(src + i);
    const __m512i bits = _mm512_castps_si512(value), upper = _mm512_srli_epi32(bits, 16);
    // ties to even
    const __m512i up = _mm512_add_epi32(_mm512_set1_epi32(0x7FFF), _mm512_and_si512(upper, _mm512_set1_epi32(1)));
    const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, up), 16),
                  quiet = _mm512_or_si512(upper, _mm512_set1_epi32(0x40));
    const __m512i words = _mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q), quiet);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(dst + i), _mm512_cvtepi32_epi16(words));
  }
  reference::narrow_bf16(src + i, dst + i, n - i);
}

// Twelve independent chains, written in assembly so that no compiler move stands between the instructions.
double peak_bf16(int64_t iterations) noexcept {
#define LLAVA_TWELVE(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11)
#define LLAVA_ZMM \
  "zmm0", "zmm1", "zmm2", "zmm3", "zmm4", "zmm5", "zmm6", "zmm7", "zmm8", "zmm9", "zmm10", "zmm11", "zmm12", "zmm13"
  asm volatile("vpxorq %%zmm12,%%zmm12,%%zmm12\n vpxorq %%zmm13,%%zmm13,%%zmm13" ::: LLAVA_ZMM);
#define LLAVA_BF16(i) "vdpbf16ps %%zmm12,%%zmm13,%%zmm" #i "\n"
  for (int64_t i = 0; i < iterations; i++) asm volatile(LLAVA_TWELVE(LLAVA_BF16)::: LLAVA_ZMM);
#undef LLAVA_BF16
#undef LLAVA_TWELVE
#undef LLAVA_ZMM
  return static_cast<double>(iterations) * 12 * 64;
}

}  // namespace
}  // namespace llava

LLAVA_TARGET_END

namespace llava {

void fill_avx512_bf16(KernelTable& table) {
  table.isa = "avx512-bf16";
  table.bf16 = Bf16::kPairs;
  table.bf16_mix = "vdpbf16ps";
  table.narrow_bf16 = narrow_bf16;
  table.gemm_bf16 = gemm_bf16;
  table.peak_bf16 = peak_bf16;
}

}  // namespace llava
#endif
