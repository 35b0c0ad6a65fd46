// AVX-512 with VNNI (512-bit vpdpbusd): the int8 kernels of quantised weights; everything else is that of the table
// without it.
// Of panels, those of Q8_0 alone differ.
#if defined(__x86_64__)
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/target_region.h"
#include "cpu/kernels/reference.h"

LLAVA_TARGET_BEGIN("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")

namespace llava {
namespace {

#include "cpu/kernels/simd_avx512.h"

inline I dpbusd(I sum, I w, I a) { return _mm512_dpbusd_epi32(sum, w, a); }

#include "cpu/kernels/products_dpbusd-inl.h"

#include "cpu/kernels/int8_x86-inl.h"

// Twelve independent chains, written in assembly so that no compiler move stands between the instructions.
double peak_int8(int64_t iterations) noexcept {
#define LLAVA_TWELVE(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11)
#define LLAVA_ZMM \
  "zmm0", "zmm1", "zmm2", "zmm3", "zmm4", "zmm5", "zmm6", "zmm7", "zmm8", "zmm9", "zmm10", "zmm11", "zmm12", "zmm13"
  asm volatile("vpxorq %%zmm12,%%zmm12,%%zmm12\n vpxorq %%zmm13,%%zmm13,%%zmm13" ::: LLAVA_ZMM);
#define LLAVA_INT8(i) "vpdpbusd %%zmm12,%%zmm13,%%zmm" #i "\n"
  for (int64_t i = 0; i < iterations; i++) asm volatile(LLAVA_TWELVE(LLAVA_INT8)::: LLAVA_ZMM);
#undef LLAVA_INT8
#undef LLAVA_TWELVE
#undef LLAVA_ZMM
  return static_cast<double>(iterations) * 12 * 128;
}

}  // namespace
}  // namespace llava

LLAVA_TARGET_END

namespace llava {

void fill_avx512(KernelTable& table) {
  table.isa = "avx512";
  table.int8_mix = "vpdpbusd";
  table.pack_Q8_0 = pack<CodesQ8_0>;
  fill_int8(table);
  table.peak_int8 = peak_int8;
}

}  // namespace llava
#endif
