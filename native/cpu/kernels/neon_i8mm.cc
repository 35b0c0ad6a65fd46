// NEON with i8mm (Armv8.6; optional from Armv8.2): panels and tiles of quantised weights; everything else is that of
// the weaker tables.
//
// Quantised tile: smmla multiplies 2 tokens x 8 values by 8 values x 2 rows, 32 products where sdot has 16. Sums stay
// in its own order:
//   a     t0 t0 | t1 t1      w     r0 r0 | r1 r1      (dwords of 4 values: groups g and g + 1 of one token or row side
//   by side) acc   t0·r0  t0·r1  t1·r0  t1·r1
// Panels are packed as w; two groups of activations become a by zip. Totals have acc's order too, and are turned into
// rows at the end.
#if defined(__aarch64__)
#include <arm_neon.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/target_region.h"
#include "cpu/kernels/reference.h"

LLAVA_TARGET_BEGIN("i8mm")

namespace llava {
namespace {

#include "cpu/kernels/simd_neon.h"

#include "cpu/kernels/tile_neon-inl.h"

// Groups g and g + 1 of four rows:   r0 r1 r2 r3, r0' r1' r2' r3'   ->   r0 r0' r1 r1', r2 r2' r3 r3'
template <class Codes>
inline void to_packed(I* group) {
  without_offset<Codes>(group);
  for (int g = 0; g < 8 * Codes::kUnit; g += 2) {
    const I first = group[g], second = group[g + 1];
    group[g] = vzip1q_s32(first, second);
    group[g + 1] = vzip2q_s32(first, second);
  }
}

#include "cpu/kernels/quantised_pack-inl.h"

inline I multiply_pairs(I acc, I a, I w) { return vmmlaq_s32(acc, vreinterpretq_s8_s32(a), vreinterpretq_s8_s32(w)); }

inline F low_halves(F a, F b) {
  return vreinterpretq_f32_f64(vzip1q_f64(vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b)));
}
inline F high_halves(F a, F b) {
  return vreinterpretq_f32_f64(vzip2q_f64(vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b)));
}

// acc[2 pairs of tokens][4 pairs of rows] = start[pair of tokens] + codes · activations over the groups of a block or
// half block.
template <class Codes>
inline void products(const uint8_t* w, const int8_t* q, const I start[2], I acc[2][4]) {
#pragma GCC unroll 2
  for (int t = 0; t < 2; t++) {
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++) acc[t][r] = start[t];
  }
#pragma GCC unroll 4
  for (int g = 0; g < 8 / Codes::kHalves; g += 2) {
    const I first = Int::load(q + g * kTokenGroup * 4), second = Int::load(q + (g + 1) * kTokenGroup * 4);
    const I a[2] = {vzip1q_s32(first, second), vzip2q_s32(first, second)};
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++) {
      const I rows = Int::load(w + (g + r % 2) * kStripRows * 4 + r / 2 * 16);
      acc[0][r] = multiply_pairs(acc[0][r], a[0], rows);
      acc[1][r] = multiply_pairs(acc[1][r], a[1], rows);
    }
  }
}

// Factors of 8 rows for two tokens:   r0 r1 r2 r3   ->   r0 r1 r0 r1, r2 r3 r2 r3
inline void row_pairs(const float* factors, F pair[4]) {
  const F low = Vec::load(factors), high = Vec::load(factors + kRows);
  pair[0] = low_halves(low, low);
  pair[1] = high_halves(low, low);
  pair[2] = low_halves(high, high);
  pair[3] = high_halves(high, high);
}

// 4 tokens x 2 vectors of rows from or to 2 pairs of tokens x 4 pairs of rows; the same step in either direction:
//   t0: r0 r1 r2 r3, t1: r0 r1 r2 r3   <->   t0·r0 t0·r1 t1·r0 t1·r1, t0·r2 t0·r3 t1·r2 t1·r3
inline void swap_order(F& a, F& b) {
  const F low = low_halves(a, b);
  b = high_halves(a, b);
  a = low;
}

template <class Codes>
inline void tile(int64_t tokens, int64_t blocks, const uint8_t* codes, const float* scales, const TokenGroups& x,
                 const Product& y) {
  const int8_t* q = x.q;
  const float* origin = x.origin;
  const int32_t* sum = x.sum;
  constexpr int kSpan = 8 / Codes::kHalves;  // groups that share a scale
  F total[2][4];
#pragma GCC unroll 2
  for (int t = 0; t < 2; t++) {
#pragma GCC unroll 2
    for (int v = 0; v < 2; v++) {
      for (int i = 0; i < 2; i++)
        total[t][2 * v + i] =
            y.accumulate && 2 * t + i < tokens ? Vec::load(y.y + (2 * t + i) * y.ldy + v * kRows) : Vec::zero();
      swap_order(total[t][2 * v], total[t][2 * v + 1]);
    }
  }
  for (int64_t b = 0; b < blocks;
       b++, scales += Codes::kScales * kStripRows, origin += kTokenGroup, sum += 2 * kTokenGroup) {
    const I origin_i32x4 = Int::load(origin),
            origin_pair[2] = {vzip1q_s32(origin_i32x4, origin_i32x4), vzip2q_s32(origin_i32x4, origin_i32x4)};
#pragma GCC unroll 2
    for (int h = 0; h < Codes::kHalves; h++, codes += kSpan * kStripRows * 4, q += kSpan * kTokenGroup * 4) {
      I acc[2][4];
      products<Codes>(codes, q, origin_pair, acc);
      F scale[4];
      row_pairs(scales + h * kStripRows, scale);
#pragma GCC unroll 2
      for (int t = 0; t < 2; t++) {
#pragma GCC unroll 4
        for (int r = 0; r < 4; r++)
          total[t][r] = Vec::fma(above_origin(acc[t][r], Int::as_f32(origin_pair[t])), scale[r], total[t][r]);
      }
    }
    if constexpr (Codes::kMins) {
#pragma GCC unroll 2
      for (int h = 0; h < Codes::kHalves; h++) {
        const F a_sum = token_sums<Codes>(sum, h, origin_i32x4),
                a_sum_pair[2] = {vzip1q_f32(a_sum, a_sum), vzip2q_f32(a_sum, a_sum)};
        F min[4];
        row_pairs(scales + (Codes::kHalves + h) * kStripRows, min);
#pragma GCC unroll 2
        for (int t = 0; t < 2; t++) {
#pragma GCC unroll 4
          for (int r = 0; r < 4; r++) total[t][r] = Vec::fma(a_sum_pair[t], min[r], total[t][r]);
        }
      }
    }
  }
#pragma GCC unroll 2
  for (int t = 0; t < 2; t++) {
#pragma GCC unroll 2
    for (int v = 0; v < 2; v++) {
      swap_order(total[t][2 * v], total[t][2 * v + 1]);
      for (int i = 0; i < 2 && 2 * t + i < tokens; i++)
        Vec::store(y.y + (2 * t + i) * y.ldy + v * kRows, total[t][2 * v + i]);
    }
  }
}

#include "cpu/kernels/quantised_gemm-inl.h"

#include "cpu/kernels/quantised_unpacked-inl.h"

// Sixteen independent chains, as in the NEON table.
#define LLAVA_SIXTEEN(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11) M(12) M(13) M(14) M(15)
#define LLAVA_V \
  "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16", "v17"

double peak_int8(int64_t iterations) noexcept {
  asm volatile("movi v16.4s, #0\n movi v17.4s, #0" ::: LLAVA_V);
#define LLAVA_INT8(i) "smmla v" #i ".4s, v16.16b, v17.16b\n"
  for (int64_t i = 0; i < iterations; i++) asm volatile(LLAVA_SIXTEEN(LLAVA_INT8)::: LLAVA_V);
#undef LLAVA_INT8
  return static_cast<double>(iterations) * 16 * 64;
}
#undef LLAVA_SIXTEEN
#undef LLAVA_V

}  // namespace
}  // namespace llava

LLAVA_TARGET_END

namespace llava {

void fill_neon_i8mm(KernelTable& table) {
  table.isa = "neon-i8mm";
  table.int8_mix = "smmla";
  fill_packs(table);
  fill_gemms(table);
  fill_gemms_unpacked(table);
  table.peak_int8 = peak_int8;
}

}  // namespace llava
#endif
