// Sixteen f32 lanes. Included inside the AVX-512 target region; the -inl.h bodies speak only this vocabulary.
#pragma once

struct Vec {
  using F = __m512;
  static constexpr int kLanes = 16;
  static constexpr int kGemvTokens = 6;  // 6 x 4 accumulators + 6 vectors of x + 1 of weights = 31 of 32 registers
  static constexpr int kTileRows = 12;   // 12 x 2 accumulators + 2 weights + 1 broadcast = 27 of 32 registers

  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, F v) { _mm512_storeu_ps(p, v); }
  // Around the caches, to whole vectors of rows; other threads see it after end_stream().
  static bool streams_to(const float* p, int64_t ld) {
    return reinterpret_cast<uintptr_t>(p) % sizeof(F) == 0 && ld % kLanes == 0;
  }
  static void stream(float* p, F v) { _mm512_stream_ps(p, v); }
  static void end_stream() { _mm_sfence(); }
  static __mmask16 mask(int64_t n) { return static_cast<__mmask16>((1u << n) - 1u); }
  static F load_part(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(mask(n), p); }  // lanes >= n are 0
  static void store_part(float* p, F v, int64_t n) { _mm512_mask_storeu_ps(p, mask(n), v); }
  static F from_f16(__m256i words) { return _mm512_cvtph_ps(words); }
  static F from_bf16(__m256i words) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(words), 16)); }
  static F load_f16(const void* p) { return from_f16(_mm256_loadu_si256(static_cast<const __m256i*>(p))); }
  static F load_bf16(const void* p) { return from_bf16(_mm256_loadu_si256(static_cast<const __m256i*>(p))); }
  static void store_f16(void* p, F v) {
    _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
  static F load_i8(const void* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p))));
  }

  static F zero() { return _mm512_setzero_ps(); }
  static F set1(float x) { return _mm512_set1_ps(x); }
  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F div(F a, F b) { return _mm512_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F max(F a, F b) { return _mm512_max_ps(a, b); }
  static F min(F a, F b) { return _mm512_min_ps(a, b); }
  static F round(F a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  // 2^n for whole n in [-126, 127]
  static F pow2(F n) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23));
  }
  // v where x >= limit or x is NaN, else 0
  static F where_at_least(F x, F limit, F v) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, limit, _CMP_NLT_UQ), v);
  }
  // Pairs: {p0, p0, p1, p1, ...}; {a1, a0, a3, a2, ...}; even lanes a*b - c, odd lanes a*b + c
  static F load_twice(const float* p) {
    return _mm512_permutexvar_ps(_mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7),
                                 _mm512_castps256_ps512(_mm256_loadu_ps(p)));
  }
  static F swap_pairs(F a) { return _mm512_permute_ps(a, 0xB1); }
  static F fmaddsub(F a, F b, F c) { return _mm512_fmaddsub_ps(a, b, c); }

  // 16 x 16 in place: pairs of rows, pairs of pairs, then 128-bit quarters: of rows 4 i + j to column quarter i, twice
  // two by two.
  static void transpose(F row[16]) {
    F t[16];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
      t[2 * i] = _mm512_unpacklo_ps(row[2 * i], row[2 * i + 1]);
      t[2 * i + 1] = _mm512_unpackhi_ps(row[2 * i], row[2 * i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {  // row[4 i + j]: quarter q holds rows 4 i … 4 i + 3 of column 4 q + j
      row[4 * i] = _mm512_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
      row[4 * i + 1] = _mm512_shuffle_ps(t[4 * i], t[4 * i + 2], 0xEE);
      row[4 * i + 2] = _mm512_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
      row[4 * i + 3] = _mm512_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xEE);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
      const F low01 = _mm512_shuffle_f32x4(row[j], row[4 + j], 0x44),
              high01 = _mm512_shuffle_f32x4(row[j], row[4 + j], 0xEE);
      const F low23 = _mm512_shuffle_f32x4(row[8 + j], row[12 + j], 0x44),
              high23 = _mm512_shuffle_f32x4(row[8 + j], row[12 + j], 0xEE);
      t[j] = _mm512_shuffle_f32x4(low01, low23, 0x88);
      t[4 + j] = _mm512_shuffle_f32x4(low01, low23, 0xDD);
      t[8 + j] = _mm512_shuffle_f32x4(high01, high23, 0x88);
      t[12 + j] = _mm512_shuffle_f32x4(high01, high23, 0xDD);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) row[i] = t[i];
  }

  static float sum(F v) { return _mm512_reduce_add_ps(v); }
  // The sums of four vectors, each half on half until one lane is left.
  static void sums_4(const F v[4], float sums[4]) {
    __m128 s[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(v[i]),
                                        _mm256_castsi256_ps(_mm512_extracti64x4_epi64(_mm512_castps_si512(v[i]), 1)));
      s[i] = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    }
    const __m128 s01 = _mm_add_ps(_mm_unpacklo_ps(s[0], s[1]), _mm_unpackhi_ps(s[0], s[1])),
                 s23 = _mm_add_ps(_mm_unpacklo_ps(s[2], s[3]), _mm_unpackhi_ps(s[2], s[3]));
    _mm_storeu_ps(sums, _mm_add_ps(_mm_movelh_ps(s01, s23), _mm_movehl_ps(s23, s01)));
  }
  static float largest(F v) { return _mm512_reduce_max_ps(v); }
};

// The same registers as integers: sixteen rows of four bytes.
struct Int {
  using I = __m512i;
  static constexpr int kRows = 16;
  static constexpr int kRegisterGroups = 2;  // of 4 tokens, whose sums of two vectors of rows have registers

  static I load(const void* p) { return _mm512_loadu_si512(p); }
  static void store(void* p, I v) { _mm512_storeu_si512(p, v); }
  static I set1_8(int v) { return _mm512_set1_epi8(static_cast<char>(v)); }
  static I set1_16(int v) { return _mm512_set1_epi16(static_cast<short>(v)); }
  static I set1_32(int32_t v) { return _mm512_set1_epi32(v); }
  static I broadcast_word(const void* p) {
    int32_t word;
    __builtin_memcpy(&word, p, 4);
    return set1_32(word);
  }
  static I zero() { return _mm512_setzero_si512(); }
  static I add_16(I a, I b) { return _mm512_add_epi16(a, b); }
  static I add_32(I a, I b) { return _mm512_add_epi32(a, b); }
  static I sub_32(I a, I b) { return _mm512_sub_epi32(a, b); }
  // a times a power of two
  template <int factor>
  static I times(I a) {
    return _mm512_slli_epi32(a, __builtin_ctz(factor));
  }
  // The sums of neighbouring quads of dwords: quads 0 + 1, 2 + 3, 4 + 5, 6 + 7 of the eight at p.
  static I add_quads(const int32_t* p) {
    const I a = load(p), b = load(p + 16);
    return add_32(_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xDD));
  }
  static I maddubs(I a, I b) { return _mm512_maddubs_epi16(a, b); }
  static I madd_16(I a, I b) { return _mm512_madd_epi16(a, b); }
  static I bit_and(I a, I b) { return _mm512_and_si512(a, b); }
  static I bit_or(I a, I b) { return _mm512_or_si512(a, b); }
  static I bit_xor(I a, I b) { return _mm512_xor_si512(a, b); }
  static I shift_right_16(I a, int n) { return _mm512_srli_epi16(a, n); }
  static I shift_left_16(I a, int n) { return _mm512_slli_epi16(a, n); }
  static I shift_right_signed_16(I a, int n) { return _mm512_srai_epi16(a, n); }
  static I shift_right_32(I a, int n) { return _mm512_srli_epi32(a, n); }
  static I shift_left_32(I a, int n) { return _mm512_slli_epi32(a, n); }
  static I shift_right_signed_32(I a, int n) { return _mm512_srai_epi32(a, n); }
  // Bits 4 n … 4 n + 3 of each dword, each as bit 4 of a byte of its own: a table of dwords, of whose index vpermd
  // reads four bits.
  static I nibble_to_fifth_bits(I a, int n) {
    const I table =
        _mm512_setr_epi32(0, 0x10, 0x1000, 0x1010, 0x100000, 0x100010, 0x101000, 0x101010, 0x10000000, 0x10000010,
                          0x10001000, 0x10001010, 0x10100000, 0x10100010, 0x10101000, 0x10101010);
    return _mm512_permutexvar_epi32(_mm512_srli_epi32(a, 4 * n), table);
  }
  // p, for what the compiler shall not do before v is there.
  static const unsigned char* after(const unsigned char* p, I v) {
    asm("" : "+r"(p) : "v"(v));
    return p;
  }
  static Vec::F to_f32(I a) { return _mm512_cvtepi32_ps(a); }
  static Vec::F as_f32(I a) { return _mm512_castsi512_ps(a); }
  // the low 16 bits of each lane
  static Vec::F halves_to_f32(I a) { return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(a)); }
  // Four bytes at w of each row.
  static I rows_32(const unsigned char* w, int64_t stride) {
    int32_t word[16];
#pragma GCC unroll 16
    for (int r = 0; r < 16; r++) __builtin_memcpy(&word[r], w + r * stride, 4);
    return _mm512_setr_epi32(word[0], word[1], word[2], word[3], word[4], word[5], word[6], word[7], word[8], word[9],
                             word[10], word[11], word[12], word[13], word[14], word[15]);
  }
  // The half at w of each row.
  static Vec::F rows_f16(const unsigned char* w, int64_t stride) {
    short d[16];
#pragma GCC unroll 16
    for (int r = 0; r < 16; r++) __builtin_memcpy(&d[r], w + r * stride, 2);
    return _mm512_cvtph_ps(_mm256_setr_epi16(d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7], d[8], d[9], d[10], d[11],
                                             d[12], d[13], d[14], d[15]));
  }
  // A 4 x 4 transpose of dwords in each quarter.
  static void transpose_4(const I row[4], I out[4]) {
    const I t0 = _mm512_unpacklo_epi32(row[0], row[1]), t1 = _mm512_unpackhi_epi32(row[0], row[1]);
    const I t2 = _mm512_unpacklo_epi32(row[2], row[3]), t3 = _mm512_unpackhi_epi32(row[2], row[3]);
    out[0] = _mm512_unpacklo_epi64(t0, t2);
    out[1] = _mm512_unpackhi_epi64(t0, t2);
    out[2] = _mm512_unpacklo_epi64(t1, t3);
    out[3] = _mm512_unpackhi_epi64(t1, t3);
  }
  // 16 bytes of each row -> 4 vectors of [rows][4 bytes]: quarter L of vector i holds row 4 L + i, then a 4 x 4
  // transpose of dwords in each quarter.
  static void interleave(const unsigned char* w, int64_t stride, I out[4]) {
    I quad[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      const unsigned char* row = w + i * stride;
      I v = _mm512_castsi128_si512(_mm_loadu_si128(reinterpret_cast<const __m128i*>(row)));
      v = _mm512_inserti32x4(v, _mm_loadu_si128(reinterpret_cast<const __m128i*>(row + 4 * stride)), 1);
      v = _mm512_inserti32x4(v, _mm_loadu_si128(reinterpret_cast<const __m128i*>(row + 8 * stride)), 2);
      quad[i] = _mm512_inserti32x4(v, _mm_loadu_si128(reinterpret_cast<const __m128i*>(row + 12 * stride)), 3);
    }
    transpose_4(quad, out);
  }

  // 32 bytes of each row -> 8 vectors of [rows][4 bytes], with fewer loads and shuffles than two of 16: a vector takes
  // such rows that after the 4 x 4 transposes quarters 0 and 2 are dword i of rows 0 … 7 or 8 … 15, and quarters 1 and
  // 3 dword 4 + i.
  static void interleave_32(const unsigned char* w, int64_t stride, I out[8]) {
    I four[8];
#pragma GCC unroll 2
    for (int h = 0; h < 8; h += 4) {
      const unsigned char* row = w + 2 * h * stride;
      I pair[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) {
        const I low = _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + i * stride)));
        pair[i] =
            _mm512_inserti64x4(low, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + (i + 4) * stride)), 1);
      }
      transpose_4(pair, four + h);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      out[i] = _mm512_shuffle_i32x4(four[i], four[4 + i], 0x88);
      out[4 + i] = _mm512_shuffle_i32x4(four[i], four[4 + i], 0xDD);
    }
  }
  // The upper half of each lane of a, then the lower one of b: what begins in the middle of a.
  static I from_middle(I a, I b) { return _mm512_rol_epi32(_mm512_mask_blend_epi16(0x55555555, a, b), 16); }

  static __m256i half(I a, int which) {
    return which == 0 ? _mm512_castsi512_si256(a) : _mm512_extracti64x4_epi64(a, 1);
  }
  // 16 rows x 32 words in place, to two columns in each vector: row[8 g + c] = column 16 g + c | column 16 g + 8 + c.
  // Of eight rows pairs of words, pairs of pairs, pairs of those, after which quarter q of vector c is column 8 q + c;
  // then the quarters of rows 0 … 7 and 8 … 15 come together.
  static void transpose_16(I row[16]) {
    I eight[16];
#pragma GCC unroll 2
    for (int h = 0; h < 16; h += 8) {
      I t[8], u[8];
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) {
        t[i] = _mm512_unpacklo_epi16(row[h + 2 * i], row[h + 2 * i + 1]);
        t[4 + i] = _mm512_unpackhi_epi16(row[h + 2 * i], row[h + 2 * i + 1]);
      }
#pragma GCC unroll 2
      // of columns i … i + 3, two by two: rows 0 … 3 in u[i] and u[i + 2], rows 4 … 7 in u[i + 1] and u[i + 3]
      for (int i = 0; i < 8; i += 4) {
        u[i] = _mm512_unpacklo_epi32(t[i], t[i + 1]);
        u[i + 1] = _mm512_unpacklo_epi32(t[i + 2], t[i + 3]);
        u[i + 2] = _mm512_unpackhi_epi32(t[i], t[i + 1]);
        u[i + 3] = _mm512_unpackhi_epi32(t[i + 2], t[i + 3]);
      }
#pragma GCC unroll 4
      for (int i = 0; i < 8; i += 2) {
        eight[h + i] = _mm512_unpacklo_epi64(u[i], u[i + 1]);
        eight[h + i + 1] = _mm512_unpackhi_epi64(u[i], u[i + 1]);
      }
    }
    const I first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), second = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
#pragma GCC unroll 8
    for (int c = 0; c < 8; c++) {
      row[c] = _mm512_permutex2var_epi64(eight[c], first, eight[8 + c]);
      row[8 + c] = _mm512_permutex2var_epi64(eight[c], second, eight[8 + c]);
    }
  }
};

// s8 codes for maddubs, which wants one factor unsigned. Without vpsignb the sign is a mask of w, which all tokens
// share, and a masked subtraction from 0; where w is 0, so is |w|.
struct SignedCodes {
  explicit SignedCodes(Int::I w) : size(_mm512_abs_epi8(w)), negative(_mm512_movepi8_mask(w)) {}
  Int::I pairs(Int::I a) const { return Int::maddubs(size, _mm512_mask_sub_epi8(a, negative, Int::zero(), a)); }
  Int::I size;
  __mmask64 negative;
};

using F = Vec::F;
using I = Int::I;
constexpr int kLanes = Vec::kLanes;
constexpr int kRows = Int::kRows;
