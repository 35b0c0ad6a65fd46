// Activations as int8 codes, for x86: 256 bits hold the codes of a block. The including file brings, before this one:
//   block_codes(x, inverse)  round(x * inverse) of the 32 values at x; 0 where inverse is 0, whatever x is
#pragma once

// Of four neighbouring codes, eight sums: those of a half in one half.
inline __m256i sums_of_four(__m256i codes) {
  return _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), codes), _mm256_set1_epi16(1));
}

void quantise_q8(const float* x, int64_t n, const float* inverse, int8_t* q, int32_t* sum) noexcept {
  for (int64_t b = 0; b < n / kBlock; b++) {
    const __m256i codes = block_codes(x + b * kBlock, inverse[b]), fours = sums_of_four(codes);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(q + b * kBlock), codes);
    const __m128i pairs = _mm_hadd_epi32(_mm256_castsi256_si128(fours), _mm256_extracti128_si256(fours, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(sum + 2 * b), _mm_hadd_epi32(pairs, pairs));
  }
}

// A 4 x 4 transpose of dwords in each half: of four tokens' words, out[i] has words i | 4 + i side by side.
inline void words_of_tokens(const __m256i token[4], __m256i out[4]) {
  const __m256i t0 = _mm256_unpacklo_epi32(token[0], token[1]), t1 = _mm256_unpackhi_epi32(token[0], token[1]);
  const __m256i t2 = _mm256_unpacklo_epi32(token[2], token[3]), t3 = _mm256_unpackhi_epi32(token[2], token[3]);
  out[0] = _mm256_unpacklo_epi64(t0, t2);
  out[1] = _mm256_unpackhi_epi64(t0, t2);
  out[2] = _mm256_unpacklo_epi64(t1, t3);
  out[3] = _mm256_unpackhi_epi64(t1, t3);
}

void quantise_q8_group(const float* x, int64_t ldx, int64_t rows, int64_t n, const float* inverse, int64_t ldi,
                       int8_t* q, int32_t* sum) noexcept {
  for (int64_t b = 0; b < n / kBlock; b++, q += kTokenGroup * kBlock, sum += 2 * kTokenGroup) {
    for (int64_t at = 0; at < kTokenGroup * kBlock; at += 64)
      __builtin_prefetch(q + 8 * kTokenGroup * kBlock + at, 1, 3);
    __m256i codes[kTokenGroup], fours[kTokenGroup], words[4], sums[4];
#pragma GCC unroll 4
    for (int t = 0; t < kTokenGroup; t++) {
      codes[t] = t < rows ? block_codes(x + t * ldx + b * kBlock, inverse[t * ldi + b]) : _mm256_setzero_si256();
      fours[t] = sums_of_four(codes[t]);
    }
    words_of_tokens(codes, words);
#pragma GCC unroll 2
    for (int i = 0; i < 4; i += 2) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(q + 16 * i),
                          _mm256_permute2x128_si256(words[i], words[i + 1], 0x20));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(q + 64 + 16 * i),
                          _mm256_permute2x128_si256(words[i], words[i + 1], 0x31));
    }
    words_of_tokens(fours, sums);
    const __m256i total = _mm256_add_epi32(_mm256_add_epi32(sums[0], sums[1]), _mm256_add_epi32(sums[2], sums[3]));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(sum), total);
  }
}
