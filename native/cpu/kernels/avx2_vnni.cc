// AVX2 with AVX-VNNI (256-bit vpdpbusd, on CPUs without AVX-512): the int8 kernels of quantised weights; everything
// else is that of the table without it.
// Of panels, those of Q8_0 alone differ.
#if defined(__x86_64__)
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/target_region.h"
#include "cpu/kernels/reference.h"

LLAVA_TARGET_BEGIN("avx2,fma,f16c,avxvnni")

namespace llava {
namespace {

#include "cpu/kernels/simd_avx2.h"

inline I dpbusd(I sum, I w, I a) { return _mm256_dpbusd_avx_epi32(sum, w, a); }

#include "cpu/kernels/products_dpbusd-inl.h"

#include "cpu/kernels/int8_x86-inl.h"

// Twelve independent chains, written in assembly so that no compiler move stands between the instructions.
double peak_int8(int64_t iterations) noexcept {
#define LLAVA_TWELVE(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11)
#define LLAVA_YMM \
  "ymm0", "ymm1", "ymm2", "ymm3", "ymm4", "ymm5", "ymm6", "ymm7", "ymm8", "ymm9", "ymm10", "ymm11", "ymm12", "ymm13"
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

LLAVA_TARGET_END

namespace llava {

void fill_avx2_vnni(KernelTable& table) {
  table.isa = "avx2-vnni";
  table.int8_mix = "vpdpbusd";
  table.pack_Q8_0 = pack<CodesQ8_0>;
  fill_int8(table);
  table.peak_int8 = peak_int8;
}

}  // namespace llava
#endif
