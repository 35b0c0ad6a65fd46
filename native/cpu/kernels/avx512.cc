// AVX-512 (F, BW, VL, DQ) with VNNI: row-wise and f32 kernels over 16 lanes, and the int8 kernels of quantised weights.
//
// Quantised tile: codes are u8 = value + offset (Q4_0: nibbles, offset 8; Q8_0: value xor 0x80, offset 128); activations s8.
//   vpdpbusd adds 4 products u8 x s8 to 32 bits without saturation. The accumulator starts at -offset * sum(a), so the offset costs nothing.
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/kernels/reference.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")

namespace llava {
namespace {

#include "cpu/kernels/simd_avx512.h"

#include "cpu/kernels/rowwise-inl.h"

#include "cpu/kernels/gemm-inl.h"

void quantize_q8(const float* x, int64_t n, int64_t step, int8_t* q, float* d, int32_t* sum) noexcept {
  for (int64_t b = 0; b < n / kBlock; b++) {
    const __m512 v0 = _mm512_loadu_ps(x + b * kBlock), v1 = _mm512_loadu_ps(x + b * kBlock + 16);
    const float top = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(v0), _mm512_abs_ps(v1)));
    const __m512 inverse = _mm512_set1_ps(top > 0 ? 127.0f / top : 0.0f);
    const __m512i c0 = _mm512_cvtps_epi32(_mm512_mul_ps(v0, inverse)), c1 = _mm512_cvtps_epi32(_mm512_mul_ps(v1, inverse));
    alignas(16) int32_t words[8];
    _mm_store_si128(reinterpret_cast<__m128i*>(words), _mm512_cvtepi32_epi8(c0));
    _mm_store_si128(reinterpret_cast<__m128i*>(words + 4), _mm512_cvtepi32_epi8(c1));
    for (int j = 0; j < 8; j++) std::memcpy(q + 4 * (b * 8 + j) * step, &words[j], 4);
    d[b * step] = top / 127.0f;
    sum[b * step] = _mm512_reduce_add_epi32(_mm512_add_epi32(c0, c1));
  }
}

// Sixteen rows x 16 bytes -> 4 vectors of [16 rows][4 bytes]: quarter L of vector i holds row 4 L + i, then a 4 x 4 transpose of dwords in each quarter.
inline void interleave_rows(const unsigned char* w, int64_t stride, __m512i out[4]) {
  __m512i quad[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    const unsigned char* row = w + i * stride;
    __m512i v = _mm512_castsi128_si512(_mm_loadu_si128(reinterpret_cast<const __m128i*>(row)));
    v = _mm512_inserti32x4(v, _mm_loadu_si128(reinterpret_cast<const __m128i*>(row + 4 * stride)), 1);
    v = _mm512_inserti32x4(v, _mm_loadu_si128(reinterpret_cast<const __m128i*>(row + 8 * stride)), 2);
    quad[i] = _mm512_inserti32x4(v, _mm_loadu_si128(reinterpret_cast<const __m128i*>(row + 12 * stride)), 3);
  }
  const __m512i t0 = _mm512_unpacklo_epi32(quad[0], quad[1]), t1 = _mm512_unpackhi_epi32(quad[0], quad[1]);
  const __m512i t2 = _mm512_unpacklo_epi32(quad[2], quad[3]), t3 = _mm512_unpackhi_epi32(quad[2], quad[3]);
  out[0] = _mm512_unpacklo_epi64(t0, t2);
  out[1] = _mm512_unpackhi_epi64(t0, t2);
  out[2] = _mm512_unpacklo_epi64(t1, t3);
  out[3] = _mm512_unpackhi_epi64(t1, t3);
}

inline short half_at(const unsigned char* p) {
  short d;
  std::memcpy(&d, p, 2);
  return d;
}

inline __m512 row_scales(const unsigned char* w, int64_t s) {
  const __m256i d = _mm256_setr_epi16(half_at(w), half_at(w + s), half_at(w + 2 * s), half_at(w + 3 * s), half_at(w + 4 * s), half_at(w + 5 * s),
                                      half_at(w + 6 * s), half_at(w + 7 * s), half_at(w + 8 * s), half_at(w + 9 * s), half_at(w + 10 * s),
                                      half_at(w + 11 * s), half_at(w + 12 * s), half_at(w + 13 * s), half_at(w + 14 * s), half_at(w + 15 * s));
  return _mm512_cvtph_ps(d);
}

// One block of 16 rows -> 8 vectors of u8 codes, one per group of 4 k.
struct CodesQ4_0 {
  static constexpr int kBytes = sizeof(BlockQ4_0);
  static constexpr int32_t kOffset = 8;
  static void load(const unsigned char* w, int64_t stride, __m512i group[8]) {
    __m512i packed[4];
    interleave_rows(w + 2, stride, packed);
    const __m512i low = _mm512_set1_epi8(15);
#pragma GCC unroll 4
    for (int g = 0; g < 4; g++) {
      group[g] = _mm512_and_si512(packed[g], low);
      group[g + 4] = _mm512_and_si512(_mm512_srli_epi16(packed[g], 4), low);
    }
  }
};
struct CodesQ8_0 {
  static constexpr int kBytes = sizeof(BlockQ8_0);
  static constexpr int32_t kOffset = 128;
  static void load(const unsigned char* w, int64_t stride, __m512i group[8]) {
    interleave_rows(w + 2, stride, group);
    interleave_rows(w + 18, stride, group + 4);
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) group[g] = _mm512_xor_si512(group[g], _mm512_set1_epi8(static_cast<char>(0x80)));
  }
};

template <class Codes>
inline void pack(const void* w, int64_t stride, int64_t blocks, uint8_t* codes, float* scales) {
  const unsigned char* rows = static_cast<const unsigned char*>(w);
  for (int64_t b = 0; b < blocks; b++) {
    __m512i group[8];
    Codes::load(rows + b * Codes::kBytes, stride, group);
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) _mm512_storeu_si512(codes + (b * 8 + g) * 64, group[g]);
    _mm512_storeu_ps(scales + b * kPanelRows, row_scales(rows + b * Codes::kBytes, stride));
  }
}
void pack_q4_0(const void* w, int64_t stride, int64_t blocks, uint8_t* codes, float* scales) noexcept { pack<CodesQ4_0>(w, stride, blocks, codes, scales); }
void pack_q8_0(const void* w, int64_t stride, int64_t blocks, uint8_t* codes, float* scales) noexcept { pack<CodesQ8_0>(w, stride, blocks, codes, scales); }

inline __m512i broadcast_word(const int8_t* q) {
  int32_t word;
  std::memcpy(&word, q, 4);
  return _mm512_set1_epi32(word);
}

// Groups x 4 tokens x 32 rows. For 8 tokens the 16 integer sums fill half of the registers; the f32 totals are touched once a block.
template <int Groups, int32_t Offset>
inline void tile(int64_t tokens, int64_t blocks, const uint8_t* codes, const float* scales, int64_t panel, const int8_t* q, int64_t q_stride, const float* d,
                 const int32_t* sum, int64_t d_stride, float* y, int64_t ldy, bool accumulate) {
  constexpr int kTokens = Groups * kTokenGroup;
  __m512 total[kTokens][2];
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; t++) {
    for (int p = 0; p < 2; p++) total[t][p] = accumulate && t < tokens ? _mm512_loadu_ps(y + t * ldy + 16 * p) : _mm512_setzero_ps();
  }
  for (int64_t b = 0; b < blocks; b++) {
    __m512i acc[kTokens][2];
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; t++) acc[t][0] = acc[t][1] = _mm512_set1_epi32(-Offset * sum[t / kTokenGroup * d_stride + b * kTokenGroup + t % kTokenGroup]);
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) {
      const __m512i w0 = _mm512_loadu_si512(codes + (b * 8 + g) * 64), w1 = _mm512_loadu_si512(codes + panel + (b * 8 + g) * 64);
#pragma GCC unroll 8
      for (int t = 0; t < kTokens; t++) {
        const __m512i a = broadcast_word(q + t / kTokenGroup * q_stride + ((b * 8 + g) * kTokenGroup + t % kTokenGroup) * 4);
        acc[t][0] = _mm512_dpbusd_epi32(acc[t][0], w0, a);
        acc[t][1] = _mm512_dpbusd_epi32(acc[t][1], w1, a);
      }
    }
    const __m512 s0 = _mm512_loadu_ps(scales + b * kPanelRows), s1 = _mm512_loadu_ps(scales + panel / kBlock + b * kPanelRows);
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; t++) {
      const __m512 a_scale = _mm512_set1_ps(d[t / kTokenGroup * d_stride + b * kTokenGroup + t % kTokenGroup]);
      total[t][0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[t][0]), _mm512_mul_ps(s0, a_scale), total[t][0]);
      total[t][1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[t][1]), _mm512_mul_ps(s1, a_scale), total[t][1]);
    }
  }
  for (int t = 0; t < kTokens && t < tokens; t++) {
    _mm512_storeu_ps(y + t * ldy, total[t][0]);
    _mm512_storeu_ps(y + t * ldy + 16, total[t][1]);
  }
}

template <int32_t Offset>
inline void gemm_q(int64_t tokens, int64_t blocks, const uint8_t* codes, const float* scales, int64_t panel, const int8_t* q, int64_t q_stride, const float* d,
                   const int32_t* sum, int64_t d_stride, float* y, int64_t ldy, bool accumulate) {
  int64_t t = 0;
  for (; t + kTokenGroup < tokens; t += 2 * kTokenGroup) {
    const int64_t group = t / kTokenGroup;
    tile<2, Offset>(tokens - t, blocks, codes, scales, panel, q + group * q_stride, q_stride, d + group * d_stride, sum + group * d_stride, d_stride,
                    y + t * ldy, ldy, accumulate);
  }
  if (t < tokens) {
    const int64_t group = t / kTokenGroup;
    tile<1, Offset>(tokens - t, blocks, codes, scales, panel, q + group * q_stride, q_stride, d + group * d_stride, sum + group * d_stride, d_stride,
                    y + t * ldy, ldy, accumulate);
  }
}
void gemm_q4_0(int64_t tokens, int64_t blocks, const uint8_t* codes, const float* scales, int64_t panel, const int8_t* q, int64_t q_stride, const float* d,
               const int32_t* sum, int64_t d_stride, float* y, int64_t ldy, bool accumulate) noexcept {
  gemm_q<CodesQ4_0::kOffset>(tokens, blocks, codes, scales, panel, q, q_stride, d, sum, d_stride, y, ldy, accumulate);
}
void gemm_q8_0(int64_t tokens, int64_t blocks, const uint8_t* codes, const float* scales, int64_t panel, const int8_t* q, int64_t q_stride, const float* d,
               const int32_t* sum, int64_t d_stride, float* y, int64_t ldy, bool accumulate) noexcept {
  gemm_q<CodesQ8_0::kOffset>(tokens, blocks, codes, scales, panel, q, q_stride, d, sum, d_stride, y, ldy, accumulate);
}

template <class Codes>
inline void gemv_q(const void* w, int64_t stride, int64_t blocks, const int8_t* q, const float* d, const int32_t* sum, float* y) {
  const unsigned char* rows = static_cast<const unsigned char*>(w);
  __m512 total = _mm512_setzero_ps();
  for (int64_t b = 0; b < blocks; b++, rows += Codes::kBytes) {
    __m512i group[8];
    Codes::load(rows, stride, group);
    __m512i even = _mm512_set1_epi32(-Codes::kOffset * sum[b]), odd = _mm512_setzero_si512();  // two chains hide the latency of vpdpbusd
#pragma GCC unroll 4
    for (int g = 0; g < 8; g += 2) {
      even = _mm512_dpbusd_epi32(even, group[g], broadcast_word(q + (b * 8 + g) * 4));
      odd = _mm512_dpbusd_epi32(odd, group[g + 1], broadcast_word(q + (b * 8 + g + 1) * 4));
    }
    const __m512 isum = _mm512_cvtepi32_ps(_mm512_add_epi32(even, odd));
    total = _mm512_fmadd_ps(isum, _mm512_mul_ps(row_scales(rows, stride), _mm512_set1_ps(d[b])), total);
  }
  _mm512_storeu_ps(y, total);
}
void gemv_q4_0(const void* w, int64_t stride, int64_t blocks, const int8_t* q, const float* d, const int32_t* sum, float* y) noexcept {
  gemv_q<CodesQ4_0>(w, stride, blocks, q, d, sum, y);
}
void gemv_q8_0(const void* w, int64_t stride, int64_t blocks, const int8_t* q, const float* d, const int32_t* sum, float* y) noexcept {
  gemv_q<CodesQ8_0>(w, stride, blocks, q, d, sum, y);
}

// Peaks: twelve independent chains, written in assembly so that no compiler move stands between the instructions.
#define LLAVA_TWELVE(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11)
#define LLAVA_ZMM "zmm0", "zmm1", "zmm2", "zmm3", "zmm4", "zmm5", "zmm6", "zmm7", "zmm8", "zmm9", "zmm10", "zmm11", "zmm12", "zmm13"

double peak_fma(int64_t iterations) noexcept {
  asm volatile("vpxorq %%zmm12,%%zmm12,%%zmm12\n vpxorq %%zmm13,%%zmm13,%%zmm13" ::: LLAVA_ZMM);
#define LLAVA_FMA(i) "vfmadd231ps %%zmm12,%%zmm13,%%zmm" #i "\n"
  for (int64_t i = 0; i < iterations; i++) asm volatile(LLAVA_TWELVE(LLAVA_FMA)::: LLAVA_ZMM);
#undef LLAVA_FMA
  return static_cast<double>(iterations) * 12 * 32;
}

double peak_int8(int64_t iterations) noexcept {
  asm volatile("vpxorq %%zmm12,%%zmm12,%%zmm12\n vpxorq %%zmm13,%%zmm13,%%zmm13" ::: LLAVA_ZMM);
#define LLAVA_INT8(i) "vpdpbusd %%zmm12,%%zmm13,%%zmm" #i "\n"
  for (int64_t i = 0; i < iterations; i++) asm volatile(LLAVA_TWELVE(LLAVA_INT8)::: LLAVA_ZMM);
#undef LLAVA_INT8
  return static_cast<double>(iterations) * 12 * 128;
}
#undef LLAVA_TWELVE
#undef LLAVA_ZMM

void fill(KernelTable& t) {
  fill_shared(t);
  t.quantize_q8 = quantize_q8;
  t.pack_q4_0 = pack_q4_0;
  t.pack_q8_0 = pack_q8_0;
  t.gemm_q4_0 = gemm_q4_0;
  t.gemm_q8_0 = gemm_q8_0;
  t.gemv_q4_0 = gemv_q4_0;
  t.gemv_q8_0 = gemv_q8_0;
  t.peak_fma = peak_fma;
  t.peak_int8 = peak_int8;
}

}  // namespace
}  // namespace llava

#pragma GCC pop_options

namespace llava {

void fill_avx512(KernelTable& table) {
  table.isa = "avx512";
  table.int8_mix = "vpdpbusd";
  fill(table);
}

}  // namespace llava
