// Eight f32 lanes. Included inside the AVX2 target region; the -inl.h bodies speak only this vocabulary.
#pragma once

struct Vec {
  using F = __m256;
  static constexpr int kLanes = 8;
  static constexpr int kGemvTokens = 3;  // 3 x 4 accumulators + 3 vectors of x + 1 of weights = 16 of 16 registers
  static constexpr int kTileRows = 6;    // 6 x 2 accumulators + 2 weights + 1 broadcast = 15 of 16 registers

  static F load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, F v) { _mm256_storeu_ps(p, v); }
  // Around the caches, to whole vectors of rows; other threads see it after end_stream().
  static bool streams_to(const float* p, int64_t ld) {
    return reinterpret_cast<uintptr_t>(p) % sizeof(F) == 0 && ld % kLanes == 0;
  }
  static void stream(float* p, F v) { _mm256_stream_ps(p, v); }
  static void end_stream() { _mm_sfence(); }
  static __m256i mask(int64_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static F load_part(const float* p, int64_t n) { return _mm256_maskload_ps(p, mask(n)); }  // lanes >= n are 0
  static void store_part(float* p, F v, int64_t n) { _mm256_maskstore_ps(p, mask(n), v); }
  static F from_f16(__m128i words) { return _mm256_cvtph_ps(words); }
  static F from_bf16(__m128i words) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(words), 16)); }
  static F load_f16(const void* p) { return from_f16(_mm_loadu_si128(static_cast<const __m128i*>(p))); }
  static F load_bf16(const void* p) { return from_bf16(_mm_loadu_si128(static_cast<const __m128i*>(p))); }
  static void store_f16(void* p, F v) {
    _mm_storeu_si128(static_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
  static F load_i8(const void* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p))));
  }

  static F zero() { return _mm256_setzero_ps(); }
  static F set1(float x) { return _mm256_set1_ps(x); }
  static F add(F a, F b) { return _mm256_add_ps(a, b); }
  static F sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F div(F a, F b) { return _mm256_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F max(F a, F b) { return _mm256_max_ps(a, b); }
  static F min(F a, F b) { return _mm256_min_ps(a, b); }
  static F round(F a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  // 2^n for whole n in [-126, 127]
  static F pow2(F n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
  }
  // v where x >= limit or x is NaN, else 0
  static F where_at_least(F x, F limit, F v) { return _mm256_and_ps(_mm256_cmp_ps(x, limit, _CMP_NLT_UQ), v); }
  // Pairs: {p0, p0, p1, p1, ...}; {a1, a0, a3, a2, ...}; even lanes a*b - c, odd lanes a*b + c
  static F load_twice(const float* p) {
    return _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3));
  }
  static F swap_pairs(F a) { return _mm256_permute_ps(a, 0xB1); }
  static F fmaddsub(F a, F b, F c) { return _mm256_fmaddsub_ps(a, b, c); }

  // 8 x 8 in place: pairs of rows, pairs of pairs, then 128-bit halves change places.
  static void transpose(F row[8]) {
    F t[8], u[8];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      t[2 * i] = _mm256_unpacklo_ps(row[2 * i], row[2 * i + 1]);
      t[2 * i + 1] = _mm256_unpackhi_ps(row[2 * i], row[2 * i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
      u[4 * i] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
      u[4 * i + 1] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0xEE);
      u[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
      u[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xEE);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      row[i] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x20);
      row[i + 4] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x31);
    }
  }

  static float sum(F v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
  }
  // The sums of four vectors, each half on half until one lane is left.
  static void sums_4(const F v[4], float sums[4]) {
    __m128 s[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) s[i] = _mm_add_ps(_mm256_castps256_ps128(v[i]), _mm256_extractf128_ps(v[i], 1));
    const __m128 s01 = _mm_add_ps(_mm_unpacklo_ps(s[0], s[1]), _mm_unpackhi_ps(s[0], s[1])),
                 s23 = _mm_add_ps(_mm_unpacklo_ps(s[2], s[3]), _mm_unpackhi_ps(s[2], s[3]));
    _mm_storeu_ps(sums, _mm_add_ps(_mm_movelh_ps(s01, s23), _mm_movehl_ps(s23, s01)));
  }
  static float largest(F v) {
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
  }
};

// The same registers as integers: eight rows of four bytes.
struct Int {
  using I = __m256i;
  static constexpr int kRows = 8;
  static constexpr int kRegisterGroups = 1;  // of 4 tokens, whose sums of two vectors of rows have registers

  static I load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  static void store(void* p, I v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }
  static I set1_8(int v) { return _mm256_set1_epi8(static_cast<char>(v)); }
  static I set1_16(int v) { return _mm256_set1_epi16(static_cast<short>(v)); }
  static I set1_32(int32_t v) { return _mm256_set1_epi32(v); }
  static I broadcast_word(const void* p) {
    int32_t word;
    __builtin_memcpy(&word, p, 4);
    return set1_32(word);
  }
  static I zero() { return _mm256_setzero_si256(); }
  static I add_16(I a, I b) { return _mm256_add_epi16(a, b); }
  static I add_32(I a, I b) { return _mm256_add_epi32(a, b); }
  static I sub_32(I a, I b) { return _mm256_sub_epi32(a, b); }
  // a times a power of two
  template <int factor>
  static I times(I a) {
    return _mm256_slli_epi32(a, __builtin_ctz(factor));
  }
  // The sums of neighbouring quads of dwords: quads 0 + 1, 2 + 3 of the four at p.
  static I add_quads(const int32_t* p) {
    const I a = load(p), b = load(p + 8);
    return add_32(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31));
  }
  static I maddubs(I a, I b) { return _mm256_maddubs_epi16(a, b); }
  static I madd_16(I a, I b) { return _mm256_madd_epi16(a, b); }
  static I bit_and(I a, I b) { return _mm256_and_si256(a, b); }
  static I bit_or(I a, I b) { return _mm256_or_si256(a, b); }
  static I bit_xor(I a, I b) { return _mm256_xor_si256(a, b); }
  static I shift_right_16(I a, int n) { return _mm256_srli_epi16(a, n); }
  static I shift_left_16(I a, int n) { return _mm256_slli_epi16(a, n); }
  static I shift_right_signed_16(I a, int n) { return _mm256_srai_epi16(a, n); }
  static I shift_right_32(I a, int n) { return _mm256_srli_epi32(a, n); }
  static I shift_left_32(I a, int n) { return _mm256_slli_epi32(a, n); }
  static I shift_right_signed_32(I a, int n) { return _mm256_srai_epi32(a, n); }
  // Bits 4 n … 4 n + 3 of each dword, each as bit 4 of a byte of its own.
  static I nibble_to_fifth_bits(I a, int n) {
    const __m128i index = _mm_add_epi8(_mm_set1_epi8(static_cast<char>(n / 2)),
                                       _mm_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12));
    const I wanted = set1_32(static_cast<int32_t>(0x08040201u << 4 * (n % 2)));  // one bit of each byte
    const I held = bit_and(_mm256_shuffle_epi8(a, _mm256_broadcastsi128_si256(index)), wanted);
    return bit_and(_mm256_cmpeq_epi8(held, wanted), set1_8(16));
  }
  // p, for what the compiler shall not do before v is there.
  static const unsigned char* after(const unsigned char* p, I v) {
    asm("" : "+r"(p) : "v"(v));
    return p;
  }
  static Vec::F to_f32(I a) { return _mm256_cvtepi32_ps(a); }
  static Vec::F as_f32(I a) { return _mm256_castsi256_ps(a); }
  static Vec::F halves_to_f32(I a) {  // the low 16 bits of each lane
    const I low = _mm256_and_si256(a, _mm256_set1_epi32(0xFFFF));
    return _mm256_cvtph_ps(_mm256_castsi256_si128(_mm256_permute4x64_epi64(_mm256_packus_epi32(low, low), 0x08)));
  }
  // Four bytes at w of each row.
  static I rows_32(const unsigned char* w, int64_t stride) {
    int32_t word[8];
#pragma GCC unroll 8
    for (int r = 0; r < 8; r++) __builtin_memcpy(&word[r], w + r * stride, 4);
    return _mm256_setr_epi32(word[0], word[1], word[2], word[3], word[4], word[5], word[6], word[7]);
  }
  // The half at w of each row.
  static Vec::F rows_f16(const unsigned char* w, int64_t stride) {
    short d[8];
#pragma GCC unroll 8
    for (int r = 0; r < 8; r++) __builtin_memcpy(&d[r], w + r * stride, 2);
    return _mm256_cvtph_ps(_mm_setr_epi16(d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]));
  }
  // A 4 x 4 transpose of dwords in each half.
  static void transpose_4(const I row[4], I out[4]) {
    const I t0 = _mm256_unpacklo_epi32(row[0], row[1]), t1 = _mm256_unpackhi_epi32(row[0], row[1]);
    const I t2 = _mm256_unpacklo_epi32(row[2], row[3]), t3 = _mm256_unpackhi_epi32(row[2], row[3]);
    out[0] = _mm256_unpacklo_epi64(t0, t2);
    out[1] = _mm256_unpackhi_epi64(t0, t2);
    out[2] = _mm256_unpacklo_epi64(t1, t3);
    out[3] = _mm256_unpackhi_epi64(t1, t3);
  }
  // 16 bytes of each row -> 4 vectors of [rows][4 bytes]: rows r and r + 4 share a vector, then a 4 x 4 transpose of
  // dwords in each half.
  //   in:  row0 = a b c d | row4 ...   out[0] = row0.a row1.a row2.a row3.a | row4.a row5.a row6.a row7.a
  static void interleave(const unsigned char* w, int64_t stride, I out[4]) {
    I pair[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(w + i * stride));
      pair[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(low),
                                        _mm_loadu_si128(reinterpret_cast<const __m128i*>(w + (i + 4) * stride)), 1);
    }
    transpose_4(pair, out);
  }

  // 32 bytes of each row -> 8 vectors of [rows][4 bytes], with half the loads of two of 16.
  static void interleave_32(const unsigned char* w, int64_t stride, I out[8]) {
    I four[8];
#pragma GCC unroll 2
    for (int h = 0; h < 8; h += 4) {
      I row[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) row[i] = load(w + (h + i) * stride);
      transpose_4(row, four + h);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      out[i] = _mm256_permute2x128_si256(four[i], four[4 + i], 0x20);
      out[4 + i] = _mm256_permute2x128_si256(four[i], four[4 + i], 0x31);
    }
  }
  // The upper half of each lane of a, then the lower one of b: what begins in the middle of a.
  static I from_middle(I a, I b) {
    const __m128i turn = _mm_setr_epi8(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
    return _mm256_shuffle_epi8(_mm256_blend_epi16(a, b, 0x55), _mm256_broadcastsi128_si256(turn));
  }

  static __m128i half(I a, int which) {
    return which == 0 ? _mm256_castsi256_si128(a) : _mm256_extracti128_si256(a, 1);
  }
  // 8 rows x 16 words in place, to two columns in each vector: row[c] = column c | column 8 + c. Pairs of words, pairs
  // of pairs, pairs of those.
  static void transpose_16(I row[8]) {
    I t[8], u[8];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      t[i] = _mm256_unpacklo_epi16(row[2 * i], row[2 * i + 1]);
      t[4 + i] = _mm256_unpackhi_epi16(row[2 * i], row[2 * i + 1]);
    }
#pragma GCC unroll 2
    // of columns i … i + 3, two by two: rows 0 … 3 in u[i] and u[i + 2], rows 4 … 7 in u[i + 1] and u[i + 3]
    for (int i = 0; i < 8; i += 4) {
      u[i] = _mm256_unpacklo_epi32(t[i], t[i + 1]);
      u[i + 1] = _mm256_unpacklo_epi32(t[i + 2], t[i + 3]);
      u[i + 2] = _mm256_unpackhi_epi32(t[i], t[i + 1]);
      u[i + 3] = _mm256_unpackhi_epi32(t[i + 2], t[i + 3]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
      row[i] = _mm256_unpacklo_epi64(u[i], u[i + 1]);
      row[i + 1] = _mm256_unpackhi_epi64(u[i], u[i + 1]);
    }
  }
};

// s8 codes for maddubs, which wants one factor unsigned.
struct SignedCodes {
  explicit SignedCodes(Int::I w) : code(w), size(_mm256_abs_epi8(w)) {}
  Int::I pairs(Int::I a) const { return Int::maddubs(size, _mm256_sign_epi8(a, code)); }
  Int::I code, size;
};

using F = Vec::F;
using I = Int::I;
constexpr int kLanes = Vec::kLanes;
constexpr int kRows = Int::kRows;
