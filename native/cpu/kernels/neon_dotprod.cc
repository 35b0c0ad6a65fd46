// NEON with dotprod (Armv8.2 and newer): the products of quantised weights; everything else, panels too, is the NEON
// table's.
//
// sdot adds 4 products s8 x s8 to each 32-bit lane, and its second factor is one word of a vector of four. Unsigned
// codes go up to 63, so they are s8 as well. Tile: a vector of codes is [4 rows][4 values]; a vector of activations is
// [4 tokens][4 values], of which sdot takes one token: 8 sdot a group of 4 values, on three loads.
#if defined(__aarch64__)
#include <arm_neon.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/target_region.h"
#include "cpu/kernels/reference.h"

LLAVA_TARGET_BEGIN("dotprod")

namespace llava {
namespace {

#include "cpu/kernels/simd_neon.h"

#include "cpu/kernels/tile_neon-inl.h"

// Word `word` of a is the second factor.
template <int word>
inline I dot_add(I acc, I w, I a) {
  return vdotq_laneq_s32(acc, vreinterpretq_s8_s32(w), vreinterpretq_s8_s32(a), word);
}

// acc + the groups of block j in a part · one token.
template <class Codes>
inline I dot(const typename Codes::Packed& packed, int j, const int8_t* q, I acc) {
#pragma GCC unroll 2
  for (int g = 0; g < Codes::kPart; g += 4) {
    const I a = Int::load(q + g * 4);
    acc = dot_add<0>(acc, Codes::code(packed, j, g), a);
    acc = dot_add<1>(acc, Codes::code(packed, j, g + 1), a);
    acc = dot_add<2>(acc, Codes::code(packed, j, g + 2), a);
    acc = dot_add<3>(acc, Codes::code(packed, j, g + 3), a);
  }
  return acc;
}

template <class Codes>
inline void products(const uint8_t* w, const int8_t* q, I start, I acc[kTokenGroup][2]) {
#pragma GCC unroll 4
  for (int t = 0; t < kTokenGroup; t++) acc[t][0] = acc[t][1] = Int::set1_32(start[t]);
#pragma GCC unroll 8
  for (int g = 0; g < 8 / Codes::kHalves; g++) {
    const I a = Int::load(q + g * kTokenGroup * 4);
#pragma GCC unroll 2
    for (int v = 0; v < 2; v++) {
      const I rows = Int::load(w + g * kStripRows * 4 + v * 16);
      acc[0][v] = dot_add<0>(acc[0][v], rows, a);
      acc[1][v] = dot_add<1>(acc[1][v], rows, a);
      acc[2][v] = dot_add<2>(acc[2][v], rows, a);
      acc[3][v] = dot_add<3>(acc[3][v], rows, a);
    }
  }
}

#include "cpu/kernels/tile_rows_neon-inl.h"

// Sixteen independent chains, as in the NEON table.
#define LLAVA_SIXTEEN(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11) M(12) M(13) M(14) M(15)
#define LLAVA_V \
  "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16", "v17"

double peak_int8(int64_t iterations) noexcept {
  asm volatile("movi v16.4s, #0\n movi v17.4s, #0" ::: LLAVA_V);
#define LLAVA_INT8(i) "sdot v" #i ".4s, v16.16b, v17.16b\n"
  for (int64_t i = 0; i < iterations; i++) asm volatile(LLAVA_SIXTEEN(LLAVA_INT8)::: LLAVA_V);
#undef LLAVA_INT8
  return static_cast<double>(iterations) * 16 * 32;
}
#undef LLAVA_SIXTEEN
#undef LLAVA_V

}  // namespace
}  // namespace llava

LLAVA_TARGET_END

namespace llava {

void fill_neon_dotprod(KernelTable& table) {
  table.isa = "neon-dotprod";
  table.int8_mix = "sdot";
  fill_int8(table);
  table.peak_int8 = peak_int8;
}

}  // namespace llava
#endif
