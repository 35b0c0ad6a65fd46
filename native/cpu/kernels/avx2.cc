// AVX2 + FMA + F16C: row-wise and f32 kernels over 8 lanes, and the int8 kernels of quantised weights.
//
// Quantised tile (no VNNI). Codes are u8 with an offset, activations s8 in [-127, 127]:
//   maddubs gives pairs  w0 a0 + w1 a1 in 16 bits; of 4-bit codes 8 stay below 8 * 2 * 15 * 127 = 30480 < 32768, so a whole block of 32 is summed in
//   16 bits and widened once; 5-bit codes are widened every 4, 6-bit every 2. -offset * sum(a) puts the offset right. Exact in integers.
// Q8_0 codes stay s8 (|w| <= 128): maddubs(|w|, sign(a, w)) gives pairs up to 2 * 128 * 127 = 32512, widened each time.
#if defined(__x86_64__)
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/kernels/reference.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")

namespace llava {
namespace {

#include "cpu/kernels/simd_avx2.h"

#include "cpu/kernels/rowwise-inl.h"

#include "cpu/kernels/gemm-inl.h"

// 8 x 8 blocks: unpack pairs, then pairs of pairs, then swap 128-bit halves.
inline void transpose_8x8(const float* src, int64_t src_stride, float* dst, int64_t ld) {
  __m256 r[8], t[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; i++) r[i] = _mm256_loadu_ps(src + i * src_stride);
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; i++) {
    r[4 * i] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
    r[4 * i + 1] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0xEE);
    r[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
    r[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xEE);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    _mm256_storeu_ps(dst + i * ld, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
    _mm256_storeu_ps(dst + (i + 4) * ld, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
  }
}

void transpose(const float* src, int64_t src_stride, int64_t rows, int64_t columns, float* dst, int64_t ld) noexcept {
  const int64_t whole_rows = rows / 8 * 8, whole_columns = columns / 8 * 8;
  for (int64_t r = 0; r < whole_rows; r += 8) {
    for (int64_t k = 0; k < whole_columns; k += 8) transpose_8x8(src + r * src_stride + k, src_stride, dst + k * ld + r, ld);
  }
  reference::transpose(src + whole_rows * src_stride, src_stride, rows - whole_rows, whole_columns, dst + whole_rows, ld);
  reference::transpose(src + whole_columns, src_stride, rows, columns - whole_columns, dst + whole_columns * ld, ld);
}

inline int32_t sum_i32(__m256i v) {
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4E));
  return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xB1)));
}

void quantize_q8(const float* x, int64_t n, int64_t step, int8_t* q, float* d, int32_t* sum) noexcept {
  const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7FFFFFFF));
  for (int64_t b = 0; b < n / kBlock; b++) {
    const float* block = x + b * kBlock;
    __m256 v[4], largest = _mm256_setzero_ps();
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      v[i] = _mm256_loadu_ps(block + 8 * i);
      largest = _mm256_max_ps(largest, _mm256_and_ps(v[i], magnitude));
    }
    const float top = Vec::largest(largest);
    const __m256 inverse = _mm256_set1_ps(top > reference::kSmallestScaled ? 127.0f / top : 0.0f);
    __m256i code[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) code[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inverse));
    // packs works within 128-bit halves: the dwords come out in the order 0 2 4 6 1 3 5 7
    const __m256i packed = _mm256_packs_epi16(_mm256_packs_epi32(code[0], code[1]), _mm256_packs_epi32(code[2], code[3]));
    alignas(32) int32_t words[8];
    _mm256_store_si256(reinterpret_cast<__m256i*>(words), _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
    for (int j = 0; j < 8; j++) std::memcpy(q + 4 * (b * 8 + j) * step, &words[j], 4);
    d[b * step] = top / 127.0f;
    sum[2 * b * step] = sum_i32(_mm256_add_epi32(code[0], code[1]));
    sum[(2 * b + 1) * step] = sum_i32(_mm256_add_epi32(code[2], code[3]));
  }
}

constexpr bool kSignedQ8 = true;
constexpr int kTileTokens = 4;  // x 2 vectors: 8 sums and 2 weights, 1 broadcast, 1 product in 16 registers

inline __m256i broadcast_word(const int8_t* q) {
  int32_t word;
  std::memcpy(&word, q, 4);
  return _mm256_set1_epi32(word);
}

// Groups of 4 products that a 16-bit lane can hold: a lane adds two products, at most 2 * largest * 127, for each group.
template <class Codes>
constexpr int groups_in_16_bits() {
  int groups = 8 / Codes::kHalves;
  while (groups * 2 * Codes::kLargest * 127 > 32767) groups /= 2;
  return groups;
}

// A sum the compiler may not regroup: GCC would compute all products of a block first and add them as a tree, out of registers.
inline __m256i in_order(__m256i sum) {
  asm("" : "+x"(sum));
  return sum;
}

// acc[t][v] = start[t] + codes · activations over the groups of a block or half block.
template <class Codes, int kTokens>
inline void products(const uint8_t* w, int64_t step, const int8_t* q, int64_t q_stride, const int32_t* start, __m256i acc[kTokens][2]) {
  const __m256i ones = _mm256_set1_epi16(1);
  if constexpr (Codes::kLargest == 255) {  // signed codes: |w| and the sign moved to the activation; each pair is widened
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; t++) acc[t][0] = acc[t][1] = _mm256_set1_epi32(start[t]);
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) {
      const __m256i w0 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + g * 64)), w1 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + g * 64 + step));
      const __m256i size0 = _mm256_abs_epi8(w0), size1 = _mm256_abs_epi8(w1);
#pragma GCC unroll 4
      for (int t = 0; t < kTokens; t++) {
        const __m256i a = broadcast_word(q + t / kTokenGroup * q_stride + (g * kTokenGroup + t % kTokenGroup) * 4);
        acc[t][0] = in_order(_mm256_add_epi32(acc[t][0], _mm256_madd_epi16(_mm256_maddubs_epi16(size0, _mm256_sign_epi8(a, w0)), ones)));
        acc[t][1] = in_order(_mm256_add_epi32(acc[t][1], _mm256_madd_epi16(_mm256_maddubs_epi16(size1, _mm256_sign_epi8(a, w1)), ones)));
      }
    }
  } else {
    constexpr int kGroups = groups_in_16_bits<Codes>();
#pragma GCC unroll 4
    for (int first = 0; first < 8 / Codes::kHalves; first += kGroups) {
      __m256i sum_i16[kTokens][2];
#pragma GCC unroll 8
      for (int g = first; g < first + kGroups; g++) {
        const __m256i w0 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + g * 64)), w1 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + g * 64 + step));
#pragma GCC unroll 4
        for (int t = 0; t < kTokens; t++) {
          const __m256i a = broadcast_word(q + t / kTokenGroup * q_stride + (g * kTokenGroup + t % kTokenGroup) * 4);
          const __m256i p0 = _mm256_maddubs_epi16(w0, a), p1 = _mm256_maddubs_epi16(w1, a);
          sum_i16[t][0] = g == first ? p0 : in_order(_mm256_add_epi16(sum_i16[t][0], p0));
          sum_i16[t][1] = g == first ? p1 : in_order(_mm256_add_epi16(sum_i16[t][1], p1));
        }
      }
#pragma GCC unroll 4
      for (int t = 0; t < kTokens; t++) {
        const __m256i before = first == 0 ? _mm256_set1_epi32(start[t]) : acc[t][0], before1 = first == 0 ? before : acc[t][1];
        acc[t][0] = _mm256_add_epi32(before, _mm256_madd_epi16(sum_i16[t][0], ones));
        acc[t][1] = _mm256_add_epi32(before1, _mm256_madd_epi16(sum_i16[t][1], ones));
      }
    }
  }
}

// start + the groups of one block or half block · one token.
template <class Codes>
inline __m256i dot(const __m256i* group, const int8_t* q, int32_t start) {
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i acc = _mm256_set1_epi32(start);
  if constexpr (Codes::kLargest == 255) {
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) {
      const __m256i pairs_i16 = _mm256_maddubs_epi16(_mm256_abs_epi8(group[g]), _mm256_sign_epi8(broadcast_word(q + g * 4), group[g]));
      acc = _mm256_add_epi32(acc, _mm256_madd_epi16(pairs_i16, ones));
    }
  } else {
    constexpr int kGroups = groups_in_16_bits<Codes>();
#pragma GCC unroll 4
    for (int first = 0; first < 8 / Codes::kHalves; first += kGroups) {
      __m256i sum_i16 = _mm256_maddubs_epi16(group[first], broadcast_word(q + first * 4));
#pragma GCC unroll 8
      for (int g = first + 1; g < first + kGroups; g++) sum_i16 = in_order(_mm256_add_epi16(sum_i16, _mm256_maddubs_epi16(group[g], broadcast_word(q + g * 4))));
      acc = _mm256_add_epi32(acc, _mm256_madd_epi16(sum_i16, ones));
    }
  }
  return acc;
}

#include "cpu/kernels/quantised-inl.h"

// Peaks: twelve independent chains, written in assembly so that no compiler move stands between the instructions.
#define LLAVA_TWELVE(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11)
#define LLAVA_YMM "ymm0", "ymm1", "ymm2", "ymm3", "ymm4", "ymm5", "ymm6", "ymm7", "ymm8", "ymm9", "ymm10", "ymm11", "ymm12", "ymm13", "ymm14"

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
    for (int i = 0; i < 4; i++) sum = _mm256_xor_si256(sum, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + at + 32 * i)));
  }
  volatile int32_t keep = sum_i32(sum);
  (void)keep;
  return static_cast<double>(bytes);
}

void fill(KernelTable& t) {
  fill_shared(t);
  t.transpose = transpose;
  t.quantize_q8 = quantize_q8;
  fill_quantised(t);
  t.peak_fma = peak_fma;
  t.peak_int8 = peak_int8;
  t.peak_read = peak_read;
}

}  // namespace
}  // namespace llava

#pragma GCC pop_options

namespace llava {

void fill_avx2(KernelTable& table) {
  table.isa = "avx2";
  table.int8_mix = "vpmaddubsw + vpaddw";
  fill(table);
}

}  // namespace llava
#endif
