// NEON, which every AArch64 CPU has: row-wise and f32 kernels over 4 lanes, and the int8 kernels of quantised weights
// without dot-product instructions.
//
// Quantised tile: smull and smlal add products s8 x s8 in 16 bits, 8 at a time.
//   codes       r0 r0 r0 r0 r1 r1 r1 r1 | r2 r2 r2 r2 r3 r3 r3 r3     (bytes; four values of each row)
//   activation  a0 a1 a2 a3 a0 a1 a2 a3 | a0 a1 a2 a3 a0 a1 a2 a3     (one token's word)
//   sums        low_i16x8: r0 x4, r1 x4     high_i16x8: r2 x4, r3 x4
// As many groups are summed so as 16 bits can hold twice (all 8 of 4-bit codes); then addp joins neighbours, and sadalp
// widens them: a lane is a row.
#if defined(__aarch64__)
#include <arm_neon.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/kernels/reference.h"

namespace llava {
namespace {

#include "cpu/kernels/simd_neon.h"

// One column of the tile, whose elements of a stand in lane `lane` of x.
template <int lane, int MR, int NV>
[[gnu::always_inline]] inline void add_column(const float* b, const F (&x)[MR], F (&sum)[MR][NV]) {
  F weight[NV];
#pragma GCC unroll 2
  for (int j = 0; j < NV; j++) weight[j] = Vec::load(b + j * kLanes);
#pragma GCC unroll 8
  for (int i = 0; i < MR; i++) {
#pragma GCC unroll 2
    for (int j = 0; j < NV; j++) sum[i][j] = vfmaq_laneq_f32(sum[i][j], weight[j], x[i], lane);
  }
}

// Four columns at a time: a vector of each row of a is four multipliers.
template <int MR, int NV>
inline void gemm_tile(int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc,
                      bool accumulate) {
  F sum[MR][NV], x[MR];
#pragma GCC unroll 8
  for (int i = 0; i < MR; i++) {
#pragma GCC unroll 2
    for (int j = 0; j < NV; j++) sum[i][j] = accumulate ? Vec::load(c + i * ldc + j * kLanes) : Vec::zero();
  }
  int64_t p = 0;
  for (; p + 4 <= k; p += 4, b += 4 * ldb) {
#pragma GCC unroll 8
    for (int i = 0; i < MR; i++) x[i] = Vec::load(a + i * lda + p);
    add_column<0>(b, x, sum);
    add_column<1>(b + ldb, x, sum);
    add_column<2>(b + 2 * ldb, x, sum);
    add_column<3>(b + 3 * ldb, x, sum);
  }
  for (; p < k; p++, b += ldb) {
#pragma GCC unroll 8
    for (int i = 0; i < MR; i++) x[i] = Vec::set1(a[i * lda + p]);
    add_column<0>(b, x, sum);
  }
#pragma GCC unroll 8
  for (int i = 0; i < MR; i++) {
#pragma GCC unroll 2
    for (int j = 0; j < NV; j++) Vec::store(c + i * ldc + j * kLanes, sum[i][j]);
  }
}

#include "cpu/kernels/floats-inl.h"

void block_largest(const float* x, int64_t n, float* largest) noexcept {
  const I magnitude = Int::set1_32(0x7FFFFFFF);
  for (int64_t b = 0; b < n / kBlock; b++) {
    I top_i32x4 = Int::zero();
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
      top_i32x4 = vmaxq_s32(top_i32x4, Int::bit_and(Int::load(x + b * kBlock + 4 * i), magnitude));
    const int32_t top = vmaxvq_s32(top_i32x4);
    std::memcpy(largest + b, &top, sizeof top);
  }
}

// Where inverse is 0, so is every code: the conversion takes NaN, an infinity times 0, to 0.
// Half a block: 16 codes, and in which four lanes their sum is spread.
inline I half_codes(const float* x, F factor, I& spread) {
  I code[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) code[i] = vcvtnq_s32_f32(Vec::mul(Vec::load(x + 4 * i), factor));
  spread = Int::add_32(Int::add_32(code[0], code[1]), Int::add_32(code[2], code[3]));
  const int16x8_t low_i16x8 = vcombine_s16(vmovn_s32(code[0]), vmovn_s32(code[1])),
                  high_i16x8 = vcombine_s16(vmovn_s32(code[2]), vmovn_s32(code[3]));
  return vreinterpretq_s32_s8(vcombine_s8(vmovn_s16(low_i16x8), vmovn_s16(high_i16x8)));
}

void quantise_q8(const float* x, int64_t n, const float* inverse, int8_t* q, int32_t* sum) noexcept {
  for (int64_t half = 0; half < n / 16; half++) {
    I spread;
    Int::store(q + 16 * half, half_codes(x + 16 * half, Vec::set1(inverse[half / 2]), spread));
    sum[half] = vaddvq_s32(spread);
  }
}

void quantise_q8_group(const float* x, int64_t ldx, int64_t rows, int64_t n, const float* inverse, int64_t ldi,
                       int8_t* q, int32_t* sum) noexcept {
  for (int64_t half = 0; half < n / 16; half++) {
    int32x4x4_t codes;
    I spread[kTokenGroup];
#pragma GCC unroll 4
    for (int t = 0; t < kTokenGroup; t++) {
      codes.val[t] = spread[t] = Int::zero();
      if (t < rows)
        codes.val[t] = half_codes(x + t * ldx + 16 * half, Vec::set1(inverse[t * ldi + half / 2]), spread[t]);
    }
    vst4q_s32(reinterpret_cast<int32_t*>(q + kTokenGroup * 16 * half), codes);
    Int::store(sum + kTokenGroup * half,
               vpaddq_s32(vpaddq_s32(spread[0], spread[1]), vpaddq_s32(spread[2], spread[3])));
  }
}

#include "cpu/kernels/tile_neon-inl.h"

// The largest |value| in a panel, and the largest that code() gives (Q8_0 is signed in both).
template <class Codes>
constexpr int kLargestValue = Codes::kFillsByte ? 128 : std::max(Codes::kOffset, Codes::kLargest - Codes::kOffset);
template <class Codes>
constexpr int kLargestCode = Codes::kFillsByte ? 128 : Codes::kLargest;

// Groups of a span whose products two lanes of 16 bits can hold in one; a lane has one product of each group.
constexpr int groups_in_16_bits(int largest, int span) {
  while (span * 2 * largest * 127 > 32767) span /= 2;
  return span;
}

// One token's sums over some groups of 4 rows.
struct Sum16 {
  int16x8_t low_i16x8, high_i16x8;
};

inline Sum16 multiply(I w, I a) {
  const int8x16_t w_i8x16 = vreinterpretq_s8_s32(w), a_i8x16 = vreinterpretq_s8_s32(a);
  return {vmull_s8(vget_low_s8(w_i8x16), vget_low_s8(a_i8x16)), vmull_high_s8(w_i8x16, a_i8x16)};
}

inline Sum16 multiply_add(Sum16 sum, I w, I a) {
  const int8x16_t w_i8x16 = vreinterpretq_s8_s32(w), a_i8x16 = vreinterpretq_s8_s32(a);
  return {vmlal_s8(sum.low_i16x8, vget_low_s8(w_i8x16), vget_low_s8(a_i8x16)),
          vmlal_high_s8(sum.high_i16x8, w_i8x16, a_i8x16)};
}

// acc + the four lanes of each row.
inline I widen_and_add(I acc, Sum16 sum) { return vpadalq_s16(acc, vpaddq_s16(sum.low_i16x8, sum.high_i16x8)); }

template <class Codes>
inline void products(const uint8_t* w, const int8_t* q, I start, I acc[kTokenGroup][2]) {
  constexpr int kSpan = 8 / Codes::kHalves, kGroups = groups_in_16_bits(kLargestValue<Codes>, kSpan);
#pragma GCC unroll 8
  for (int first = 0; first < kSpan; first += kGroups) {
    Sum16 sum[kTokenGroup][2];
#pragma GCC unroll 8
    for (int g = first; g < first + kGroups; g++) {
      const I w0 = Int::load(w + g * 64), w1 = Int::load(w + g * 64 + 16);
#pragma GCC unroll 4
      for (int t = 0; t < kTokenGroup; t++) {
        const I a = Int::broadcast_word(q + (g * kTokenGroup + t) * 4);
        sum[t][0] = g == first ? multiply(w0, a) : multiply_add(sum[t][0], w0, a);
        sum[t][1] = g == first ? multiply(w1, a) : multiply_add(sum[t][1], w1, a);
        if (g + 1 < first + kGroups) continue;
#pragma GCC unroll 2
        for (int v = 0; v < 2; v++)
          acc[t][v] = widen_and_add(first == 0 ? Int::set1_32(start[t]) : acc[t][v], sum[t][v]);
      }
    }
  }
}

// acc + the groups of block j in a part · one token.
template <class Codes>
inline I dot(const typename Codes::Packed& packed, int j, const int8_t* q, I acc) {
  constexpr int kGroups = groups_in_16_bits(kLargestCode<Codes>, Codes::kPart);
#pragma GCC unroll 8
  for (int first = 0; first < Codes::kPart; first += kGroups) {
    Sum16 sum = multiply(Codes::code(packed, j, first), Int::broadcast_word(q + first * 4));
#pragma GCC unroll 8
    for (int g = first + 1; g < first + kGroups; g++)
      sum = multiply_add(sum, Codes::code(packed, j, g), Int::broadcast_word(q + g * 4));
    acc = widen_and_add(acc, sum);
  }
  return acc;
}

#include "cpu/kernels/tile_rows_neon-inl.h"

// Peaks: sixteen independent chains (four pipes, four cycles), written in assembly so that no compiler move stands
// between the instructions.
#define LLAVA_SIXTEEN(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11) M(12) M(13) M(14) M(15)
#define LLAVA_V \
  "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16", "v17"

double peak_fma(int64_t iterations) noexcept {
  asm volatile("movi v16.4s, #0\n movi v17.4s, #0" ::: LLAVA_V);
#define LLAVA_FMA(i) "fmla v" #i ".4s, v16.4s, v17.4s\n"
  for (int64_t i = 0; i < iterations; i++) asm volatile(LLAVA_SIXTEEN(LLAVA_FMA)::: LLAVA_V);
#undef LLAVA_FMA
  return static_cast<double>(iterations) * 16 * 8;
}

double peak_int8(int64_t iterations) noexcept {
  asm volatile("movi v16.4s, #0\n movi v17.4s, #0" ::: LLAVA_V);
#define LLAVA_INT8(i) "smlal v" #i ".8h, v16.8b, v17.8b\n"
  for (int64_t i = 0; i < iterations; i++) asm volatile(LLAVA_SIXTEEN(LLAVA_INT8)::: LLAVA_V);
#undef LLAVA_INT8
  return static_cast<double>(iterations) * 16 * 16;
}
#undef LLAVA_SIXTEEN
#undef LLAVA_V

double peak_read(const void* memory, int64_t bytes) noexcept {
  const char* p = static_cast<const char*>(memory);
  I sum[4] = {Int::zero(), Int::zero(), Int::zero(), Int::zero()};
  for (int64_t at = 0; at + 128 <= bytes; at += 128) {
    __builtin_prefetch(p + at + 2048);
    __builtin_prefetch(p + at + 2112);
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) sum[i % 4] = Int::bit_xor(sum[i % 4], Int::load(p + at + 16 * i));
  }
  volatile int32_t keep = vaddvq_s32(Int::bit_xor(Int::bit_xor(sum[0], sum[1]), Int::bit_xor(sum[2], sum[3])));
  (void)keep;
  return static_cast<double>(bytes);
}

}  // namespace

void fill_neon(KernelTable& table) {
  table.isa = "neon";
  table.int8_mix = "smlal";
  fill_floats(table);
  table.block_largest = block_largest;
  table.quantise_q8 = quantise_q8;
  table.quantise_q8_group = quantise_q8_group;
  fill_packs(table);
  fill_int8(table);
  table.peak_fma = peak_fma;
  table.peak_int8 = peak_int8;
  table.peak_read = peak_read;
}

}  // namespace llava
#endif
