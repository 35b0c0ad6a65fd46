// AVX2 + FMA + F16C: row-wise and f32 kernels over 8 lanes, and the int8 kernels of quantised weights.
//
// Quantised tile (no VNNI). Q4_0 codes are u8 nibbles without the -8; activations s8 in [-127, 127]:
//   maddubs gives pairs  w0 a0 + w1 a1 in 16 bits; 8 of them stay below 8 * 2 * 15 * 127 = 30480 < 32768, so a whole 32-block is summed
//   in 16 bits and widened once; -8 * sum(a) puts the offset right. Exact in integers.
// Q8_0 codes are s8 (|w| <= 128): maddubs(|w|, sign(a, w)) gives pairs up to 2 * 128 * 127 = 32512, widened each time.
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
    const __m256 inverse = _mm256_set1_ps(top > 0 ? 127.0f / top : 0.0f);
    __m256i code[4], total = _mm256_setzero_si256();
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      code[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inverse));
      total = _mm256_add_epi32(total, code[i]);
    }
    // packs works within 128-bit halves: the dwords come out in the order 0 2 4 6 1 3 5 7
    const __m256i packed = _mm256_packs_epi16(_mm256_packs_epi32(code[0], code[1]), _mm256_packs_epi32(code[2], code[3]));
    alignas(32) int32_t words[8];
    _mm256_store_si256(reinterpret_cast<__m256i*>(words), _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
    for (int j = 0; j < 8; j++) std::memcpy(q + 4 * (b * 8 + j) * step, &words[j], 4);
    d[b * step] = top / 127.0f;
    sum[b * step] = sum_i32(total);
  }
}

// Eight rows x 16 bytes -> 4 vectors of [8 rows][4 bytes]: rows r and r + 4 share a vector, then a 4 x 4 transpose of dwords in each half.
//   in:  row0 = a b c d | row4 ...   out[0] = row0.a row1.a row2.a row3.a | row4.a row5.a row6.a row7.a
inline void interleave_rows(const unsigned char* w, int64_t stride, __m256i out[4]) {
  __m256i pair[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(w + i * stride));
    pair[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(low), _mm_loadu_si128(reinterpret_cast<const __m128i*>(w + (i + 4) * stride)), 1);
  }
  const __m256i t0 = _mm256_unpacklo_epi32(pair[0], pair[1]), t1 = _mm256_unpackhi_epi32(pair[0], pair[1]);
  const __m256i t2 = _mm256_unpacklo_epi32(pair[2], pair[3]), t3 = _mm256_unpackhi_epi32(pair[2], pair[3]);
  out[0] = _mm256_unpacklo_epi64(t0, t2);
  out[1] = _mm256_unpackhi_epi64(t0, t2);
  out[2] = _mm256_unpacklo_epi64(t1, t3);
  out[3] = _mm256_unpackhi_epi64(t1, t3);
}

inline __m256 row_scales(const unsigned char* w, int64_t stride) {
  uint16_t d[8];
#pragma GCC unroll 8
  for (int r = 0; r < 8; r++) std::memcpy(&d[r], w + r * stride, 2);
  const __m128i packed = _mm_setr_epi16(static_cast<short>(d[0]), static_cast<short>(d[1]), static_cast<short>(d[2]), static_cast<short>(d[3]),
                                        static_cast<short>(d[4]), static_cast<short>(d[5]), static_cast<short>(d[6]), static_cast<short>(d[7]));
  return _mm256_cvtph_ps(packed);
}

// One block of 8 rows -> 8 vectors, one per group of 4 k.
struct CodesQ4_0 {
  static constexpr int kBytes = sizeof(BlockQ4_0);
  static void load(const unsigned char* w, int64_t stride, __m256i group[8]) {
    __m256i packed[4];
    interleave_rows(w + 2, stride, packed);
    const __m256i low = _mm256_set1_epi8(15);
#pragma GCC unroll 4
    for (int g = 0; g < 4; g++) {
      group[g] = _mm256_and_si256(packed[g], low);
      group[g + 4] = _mm256_and_si256(_mm256_srli_epi16(packed[g], 4), low);
    }
  }
};
struct CodesQ8_0 {
  static constexpr int kBytes = sizeof(BlockQ8_0);
  static void load(const unsigned char* w, int64_t stride, __m256i group[8]) {
    interleave_rows(w + 2, stride, group);
    interleave_rows(w + 18, stride, group + 4);
  }
};

template <class Codes>
inline void pack(const void* w, int64_t stride, int64_t blocks, uint8_t* codes, float* scales) {
  for (int half = 0; half < 2; half++) {
    const unsigned char* rows = static_cast<const unsigned char*>(w) + half * 8 * stride;
    for (int64_t b = 0; b < blocks; b++) {
      __m256i group[8];
      Codes::load(rows + b * Codes::kBytes, stride, group);
#pragma GCC unroll 8
      for (int g = 0; g < 8; g++) _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes + (b * 8 + g) * 64 + half * 32), group[g]);
      _mm256_storeu_ps(scales + b * kPanelRows + half * 8, row_scales(rows + b * Codes::kBytes, stride));
    }
  }
}
void pack_q4_0(const void* w, int64_t stride, int64_t blocks, uint8_t* codes, float* scales) noexcept { pack<CodesQ4_0>(w, stride, blocks, codes, scales); }
void pack_q8_0(const void* w, int64_t stride, int64_t blocks, uint8_t* codes, float* scales) noexcept { pack<CodesQ8_0>(w, stride, blocks, codes, scales); }

inline __m256i broadcast_word(const int8_t* q) {
  int32_t word;
  std::memcpy(&word, q, 4);
  return _mm256_set1_epi32(word);
}

// Products of one group of 4 k summed into an accumulator, and what the accumulator means after the block.
struct DotQ4_0 {
  static __m256i add(__m256i sum_i16, __m256i w_u8, __m256i a_s8) { return _mm256_add_epi16(sum_i16, _mm256_maddubs_epi16(w_u8, a_s8)); }
  static __m256i finish(__m256i sum_i16, int32_t a_sum) { return _mm256_sub_epi32(_mm256_madd_epi16(sum_i16, _mm256_set1_epi16(1)), _mm256_set1_epi32(8 * a_sum)); }
};
struct DotQ8_0 {
  static __m256i add(__m256i sum_i32, __m256i w_s8, __m256i a_s8) {
    const __m256i pairs_i16 = _mm256_maddubs_epi16(_mm256_abs_epi8(w_s8), _mm256_sign_epi8(a_s8, w_s8));
    return _mm256_add_epi32(sum_i32, _mm256_madd_epi16(pairs_i16, _mm256_set1_epi16(1)));
  }
  static __m256i finish(__m256i sum_i32, int32_t) { return sum_i32; }
};

// 4 tokens x 16 rows.
template <class Dot>
inline void tile(int64_t tokens, int64_t blocks, const uint8_t* codes, const float* scales, const int8_t* q, const float* d, const int32_t* sum, float* y,
                 int64_t ldy, bool accumulate) {
  __m256 total[kTokenGroup][2];
#pragma GCC unroll 4
  for (int t = 0; t < kTokenGroup; t++) {
    for (int h = 0; h < 2; h++) total[t][h] = accumulate && t < tokens ? _mm256_loadu_ps(y + t * ldy + 8 * h) : _mm256_setzero_ps();
  }
  for (int64_t b = 0; b < blocks; b++) {
    __m256i acc[kTokenGroup][2];
#pragma GCC unroll 4
    for (int t = 0; t < kTokenGroup; t++) acc[t][0] = acc[t][1] = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) {
      const __m256i w0 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + (b * 8 + g) * 64));
      const __m256i w1 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + (b * 8 + g) * 64 + 32));
#pragma GCC unroll 4
      for (int t = 0; t < kTokenGroup; t++) {
        const __m256i a = broadcast_word(q + ((b * 8 + g) * kTokenGroup + t) * 4);
        acc[t][0] = Dot::add(acc[t][0], w0, a);
        acc[t][1] = Dot::add(acc[t][1], w1, a);
      }
    }
    const __m256 s0 = _mm256_loadu_ps(scales + b * kPanelRows), s1 = _mm256_loadu_ps(scales + b * kPanelRows + 8);
#pragma GCC unroll 4
    for (int t = 0; t < kTokenGroup; t++) {
      const __m256 a_scale = _mm256_set1_ps(d[b * kTokenGroup + t]);
      const int32_t a_sum = sum[b * kTokenGroup + t];
      total[t][0] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(Dot::finish(acc[t][0], a_sum)), _mm256_mul_ps(s0, a_scale), total[t][0]);
      total[t][1] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(Dot::finish(acc[t][1], a_sum)), _mm256_mul_ps(s1, a_scale), total[t][1]);
    }
  }
  for (int t = 0; t < kTokenGroup && t < tokens; t++) {
    _mm256_storeu_ps(y + t * ldy, total[t][0]);
    _mm256_storeu_ps(y + t * ldy + 8, total[t][1]);
  }
}

template <class Dot>
inline void gemm_q(int64_t tokens, int64_t blocks, const uint8_t* codes, const float* scales, int64_t panel, const int8_t* q, int64_t q_stride, const float* d,
                   const int32_t* sum, int64_t d_stride, float* y, int64_t ldy, bool accumulate) {
  for (int64_t t = 0; t < tokens; t += kTokenGroup) {
    const int64_t group = t / kTokenGroup;
    for (int p = 0; p < 2; p++) {
      tile<Dot>(tokens - t, blocks, codes + p * panel, scales + p * (panel / kBlock), q + group * q_stride, d + group * d_stride, sum + group * d_stride,
                y + t * ldy + p * kPanelRows, ldy, accumulate);
    }
  }
}
void gemm_q4_0(int64_t tokens, int64_t blocks, const uint8_t* codes, const float* scales, int64_t panel, const int8_t* q, int64_t q_stride, const float* d,
               const int32_t* sum, int64_t d_stride, float* y, int64_t ldy, bool accumulate) noexcept {
  gemm_q<DotQ4_0>(tokens, blocks, codes, scales, panel, q, q_stride, d, sum, d_stride, y, ldy, accumulate);
}
void gemm_q8_0(int64_t tokens, int64_t blocks, const uint8_t* codes, const float* scales, int64_t panel, const int8_t* q, int64_t q_stride, const float* d,
               const int32_t* sum, int64_t d_stride, float* y, int64_t ldy, bool accumulate) noexcept {
  gemm_q<DotQ8_0>(tokens, blocks, codes, scales, panel, q, q_stride, d, sum, d_stride, y, ldy, accumulate);
}

template <class Codes, class Dot>
inline void gemv_q(const void* w, int64_t stride, int64_t blocks, const int8_t* q, const float* d, const int32_t* sum, float* y) {
  const unsigned char* rows = static_cast<const unsigned char*>(w);
  __m256 total[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
  for (int64_t b = 0; b < blocks; b++) {
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
      const unsigned char* block = rows + h * 8 * stride + b * Codes::kBytes;
      __m256i group[8], acc = _mm256_setzero_si256();
      Codes::load(block, stride, group);
#pragma GCC unroll 8
      for (int g = 0; g < 8; g++) acc = Dot::add(acc, group[g], broadcast_word(q + (b * 8 + g) * 4));
      total[h] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(Dot::finish(acc, sum[b])), _mm256_mul_ps(row_scales(block, stride), _mm256_set1_ps(d[b])), total[h]);
    }
  }
  _mm256_storeu_ps(y, total[0]);
  _mm256_storeu_ps(y + 8, total[1]);
}
void gemv_q4_0(const void* w, int64_t stride, int64_t blocks, const int8_t* q, const float* d, const int32_t* sum, float* y) noexcept {
  gemv_q<CodesQ4_0, DotQ4_0>(w, stride, blocks, q, d, sum, y);
}
void gemv_q8_0(const void* w, int64_t stride, int64_t blocks, const int8_t* q, const float* d, const int32_t* sum, float* y) noexcept {
  gemv_q<CodesQ8_0, DotQ8_0>(w, stride, blocks, q, d, sum, y);
}

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
  t.pack_q4_0 = pack_q4_0;
  t.pack_q8_0 = pack_q8_0;
  t.gemm_q4_0 = gemm_q4_0;
  t.gemm_q8_0 = gemm_q8_0;
  t.gemv_q4_0 = gemv_q4_0;
  t.gemv_q8_0 = gemv_q8_0;
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
