// <immintrin.h> for tables compiled for a CPU that lacks their instructions: AVX2, FMA and F16C are the CPU's own,
// AVX-512 comes from SIMDe 0.7.4, and what SIMDe lacks stands here as loops over lanes.
#pragma once
#include_next <immintrin.h>

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>

namespace emulated {

template <class T, class Vector>
auto lanes(const Vector& v) {
  return std::bit_cast<std::array<T, sizeof(Vector) / sizeof(T)>>(v);
}

// A vector whose lane i is function(lane i of v).
template <class Result, class T, class Vector, class Function>
Result map(const Vector& v, Function function) {
  const auto in = lanes<T>(v);
  std::array<decltype(function(in[0])), sizeof(Vector) / sizeof(T)> out;
  for (size_t i = 0; i < in.size(); i++) out[i] = function(in[i]);
  return std::bit_cast<Result>(out);
}

template <class T, class Vector, class Function>
T reduce(const Vector& v, Function function) {
  const auto in = lanes<T>(v);
  T result = in[0];
  for (size_t i = 1; i < in.size(); i++) result = function(result, in[i]);
  return result;
}

inline simde__m512 cvtepi32_ps(simde__m512i a) {
  return map<simde__m512, int32_t>(a, [](int32_t x) { return static_cast<float>(x); });
}
inline simde__m512i cvtps_epi32(simde__m512 a) {
  return map<simde__m512i, float>(a, [](float x) { return _mm_cvtss_si32(_mm_set_ss(x)); });
}
inline simde__m512i maskz_cvtps_epi32(simde__mmask16 mask, simde__m512 a) {
  auto out = lanes<int32_t>(cvtps_epi32(a));
  for (size_t i = 0; i < 16; i++) out[i] = mask >> i & 1 ? out[i] : 0;
  return std::bit_cast<simde__m512i>(out);
}
inline simde__m512i cvtepi8_epi32(__m128i a) {
  return map<simde__m512i, int8_t>(a, [](int8_t x) { return int32_t{x}; });
}
inline simde__m512i cvtepu16_epi32(__m256i a) {
  return map<simde__m512i, uint16_t>(a, [](uint16_t x) { return int32_t{x}; });
}
inline __m256i cvtepi32_epi16(simde__m512i a) {
  return map<__m256i, int32_t>(a, [](int32_t x) { return static_cast<int16_t>(x); });
}
inline __m128i cvtepi32_epi8(simde__m512i a) {
  return map<__m128i, int32_t>(a, [](int32_t x) { return static_cast<int8_t>(x); });
}
inline simde__m512 cvtph_ps(__m256i a) {
  return map<simde__m512, uint16_t>(a, [](uint16_t x) { return _cvtsh_ss(x); });
}
inline __m256i cvtps_ph(simde__m512 a, int) {
  return map<__m256i, float>(a, [](float x) { return static_cast<uint16_t>(_cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT)); });
}
inline simde__m512i srai_epi32(simde__m512i a, int n) {
  return map<simde__m512i, int32_t>(a, [n](int32_t x) { return x >> n; });
}
inline float reduce_add_ps(simde__m512 a) {
  return reduce<float>(a, [](float x, float y) { return x + y; });
}
inline float reduce_max_ps(simde__m512 a) {
  return reduce<float>(a, [](float x, float y) { return x > y ? x : y; });
}
inline int32_t reduce_max_epi32(simde__m512i a) {
  return reduce<int32_t>(a, [](int32_t x, int32_t y) { return x > y ? x : y; });
}
inline int32_t reduce_add_epi32(simde__m512i a) {
  return reduce<int32_t>(a, [](int32_t x, int32_t y) { return x + y; });
}

inline simde__m512 permute_ps(simde__m512 a, int control) {  // within quarters
  const auto in = lanes<float>(a);
  std::array<float, 16> out;
  for (size_t i = 0; i < 16; i++) out[i] = in[i / 4 * 4 + static_cast<size_t>(control >> 2 * (i % 4) & 3)];
  return std::bit_cast<simde__m512>(out);
}

inline simde__m512 shuffle_f32x4(simde__m512 a, simde__m512 b, int control) {  // two quarters of each
  const auto x = lanes<float>(a), y = lanes<float>(b);
  std::array<float, 16> out;
  for (size_t i = 0; i < 16; i++) out[i] = (i < 8 ? x : y)[static_cast<size_t>(control >> i / 4 * 2 & 3) * 4 + i % 4];
  return std::bit_cast<simde__m512>(out);
}

inline simde__m512 fmaddsub_ps(simde__m512 a, simde__m512 b, simde__m512 c) {
  const auto x = lanes<float>(a), y = lanes<float>(b), z = lanes<float>(c);
  std::array<float, 16> out;
  for (size_t i = 0; i < 16; i++) out[i] = std::fma(x[i], y[i], i % 2 == 0 ? -z[i] : z[i]);
  return std::bit_cast<simde__m512>(out);
}

// Memory of lanes that the mask leaves out is not touched.
inline simde__m512 maskz_loadu_ps(simde__mmask16 mask, const void* p) {
  std::array<float, 16> out = {};
  for (size_t i = 0; i < 16; i++) {
    if (mask >> i & 1) out[i] = static_cast<const float*>(p)[i];
  }
  return std::bit_cast<simde__m512>(out);
}
inline void mask_storeu_ps(void* p, simde__mmask16 mask, simde__m512 a) {
  const auto in = lanes<float>(a);
  for (size_t i = 0; i < 16; i++) {
    if (mask >> i & 1) static_cast<float*>(p)[i] = in[i];
  }
}

// AVX-VNNI: 4 products u8 x s8 added to each dword. Even and odd bytes as 16-bit values, whose products are added up in
// pairs, exactly.
//   w  b3 b2 | b1 b0  ->  even 0 b2 | 0 b0,  odd 0 b3 | 0 b1
inline __m256i dpbusd_avx_epi32(__m256i sum, __m256i w, __m256i a) {
  const __m256i even =
      _mm256_madd_epi16(_mm256_and_si256(w, _mm256_set1_epi16(255)), _mm256_srai_epi16(_mm256_slli_epi16(a, 8), 8));
  const __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(w, 8), _mm256_srai_epi16(a, 8));
  return _mm256_add_epi32(sum, _mm256_add_epi32(even, odd));
}

// Two products of bf16 pairs a lane.
inline simde__m512 dpbf16_ps(simde__m512 sum, simde__m512 a, simde__m512 b) {
  auto sums = lanes<float>(sum);
  const auto x = lanes<uint16_t>(a), y = lanes<uint16_t>(b);
  const auto value = [](uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); };
  for (size_t i = 0; i < 2 * sums.size(); i++) sums[i / 2] = std::fma(value(x[i]), value(y[i]), sums[i / 2]);
  return std::bit_cast<simde__m512>(sums);
}

inline uint16_t nearest_bf16(float x) {  // subnormals become zero
  const auto bits = std::bit_cast<uint32_t>(x);
  if (x != x) return static_cast<uint16_t>(bits >> 16 | 0x40);
  if ((bits & 0x7F800000) == 0) return static_cast<uint16_t>(bits >> 16 & 0x8000);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}
inline __m256i cvtneps_pbh(simde__m512 a) { return map<__m256i, float>(a, nearest_bf16); }
inline simde__m512i cvtne2ps_pbh(simde__m512 upper, simde__m512 lower) {
  const auto low = lanes<float>(lower), high = lanes<float>(upper);
  std::array<uint16_t, 32> out;
  for (size_t i = 0; i < out.size(); i++) out[i] = nearest_bf16(i < 16 ? low[i] : high[i - 16]);
  return std::bit_cast<simde__m512i>(out);
}
inline simde__m512i permutexvar_epi16(simde__m512i order, simde__m512i a) {
  const auto in = lanes<uint16_t>(a);
  return map<simde__m512i, uint16_t>(order, [&](uint16_t place) { return in[place % 32]; });
}

// AMX: tiles of up to 16 rows of 64 bytes.
struct Tiles {
  uint16_t row_bytes[16];
  uint8_t rows[16];
  alignas(64) unsigned char data[8][16][64];
};
inline thread_local Tiles tiles;
inline void tile_loadconfig(const void* shapes) {
  const auto* bytes = static_cast<const unsigned char*>(shapes);
  if (bytes[0] != 1) __builtin_trap();
  tiles = {};
  __builtin_memcpy(tiles.row_bytes, bytes + 16, sizeof tiles.row_bytes);
  __builtin_memcpy(tiles.rows, bytes + 48, sizeof tiles.rows);
}
inline void tile_release() { tiles = {}; }
inline void tile_zero(int t) { __builtin_memset(tiles.data[t], 0, sizeof tiles.data[t]); }
inline void tile_loadd(int t, const void* from, int64_t stride) {
  if (tiles.rows[t] == 0) __builtin_trap();  // as the instruction faults
  tile_zero(t);
  for (int r = 0; r < tiles.rows[t]; r++)
    __builtin_memcpy(tiles.data[t][r], static_cast<const char*>(from) + r * stride, tiles.row_bytes[t]);
}
inline void tile_stored(int t, void* to, int64_t stride) {
  if (tiles.rows[t] == 0) __builtin_trap();
  for (int r = 0; r < tiles.rows[t]; r++)
    __builtin_memcpy(static_cast<char*>(to) + r * stride, tiles.data[t][r], tiles.row_bytes[t]);
}
// c[m, n] += a[m, k][2] · b[k, n][2]
inline void tile_dpbf16ps(int c, int a, int b) {
  const auto value = [](int t, int row, int place) {
    uint16_t bits;
    __builtin_memcpy(&bits, tiles.data[t][row] + 2 * place, sizeof bits);
    return (bits & 0x7F80) == 0 ? 0.0f : std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
  };
  for (int m = 0; m < tiles.rows[c]; m++) {
    for (int n = 0; n < tiles.row_bytes[c] / 4; n++) {
      float sum;
      __builtin_memcpy(&sum, tiles.data[c][m] + 4 * n, sizeof sum);
      for (int k = 0; k < tiles.row_bytes[a] / 4; k++) {
        for (int i = 0; i < 2; i++) sum = std::fma(value(a, m, 2 * k + i), value(b, k, 2 * n + i), sum);
      }
      __builtin_memcpy(tiles.data[c][m] + 4 * n, &sum, sizeof sum);
    }
  }
}

inline void stream_ps(float* p, simde__m512 v) {
  if (reinterpret_cast<uintptr_t>(p) % sizeof v != 0) __builtin_trap();  // as the instruction faults
  simde_mm512_storeu_ps(p, v);
}

}  // namespace emulated

#undef _mm512_madd_epi16  // SIMDe 0.7.4 gives this name to the masked form
#define _mm512_madd_epi16 simde_mm512_madd_epi16
#define _mm512_cvtepi32_ps emulated::cvtepi32_ps
#define _mm512_cvtps_epi32 emulated::cvtps_epi32
#define _mm512_maskz_cvtps_epi32 emulated::maskz_cvtps_epi32
#define _mm512_cvtepi8_epi32 emulated::cvtepi8_epi32
#define _mm512_cvtepu16_epi32 emulated::cvtepu16_epi32
#define _mm512_cvtepi32_epi16 emulated::cvtepi32_epi16
#define _mm512_cvtepi32_epi8 emulated::cvtepi32_epi8
#undef _mm512_cvtph_ps
#define _mm512_cvtph_ps emulated::cvtph_ps
#undef _mm512_cvtps_ph
#define _mm512_cvtps_ph emulated::cvtps_ph
#define _mm512_srai_epi32 emulated::srai_epi32
#define _mm512_reduce_add_ps emulated::reduce_add_ps
#define _mm512_reduce_max_ps emulated::reduce_max_ps
#define _mm512_reduce_max_epi32 emulated::reduce_max_epi32
#define _mm512_reduce_add_epi32 emulated::reduce_add_epi32
#undef _mm512_permute_ps
#define _mm512_permute_ps emulated::permute_ps
#undef _mm512_shuffle_f32x4
#define _mm512_shuffle_f32x4 emulated::shuffle_f32x4
#define _mm512_fmaddsub_ps emulated::fmaddsub_ps
#define _mm512_maskz_loadu_ps emulated::maskz_loadu_ps
#define _mm512_mask_storeu_ps emulated::mask_storeu_ps
#define _mm512_stream_ps emulated::stream_ps
#define _mm256_dpbusd_avx_epi32 emulated::dpbusd_avx_epi32
#undef __m512bh
#define __m512bh simde__m512
#undef _mm512_dpbf16_ps  // SIMDe's has a type of its own for pairs
#define _mm512_dpbf16_ps emulated::dpbf16_ps
#undef _mm512_cvtneps_pbh
#define _mm512_cvtneps_pbh emulated::cvtneps_pbh
#undef _mm512_cvtne2ps_pbh
#define _mm512_cvtne2ps_pbh emulated::cvtne2ps_pbh
#undef _mm512_permutexvar_epi16
#define _mm512_permutexvar_epi16 emulated::permutexvar_epi16
#undef _tile_loadconfig
#define _tile_loadconfig emulated::tile_loadconfig
#undef _tile_release
#define _tile_release emulated::tile_release
#undef _tile_zero
#define _tile_zero emulated::tile_zero
#undef _tile_loadd
#define _tile_loadd emulated::tile_loadd
#undef _tile_stored
#define _tile_stored emulated::tile_stored
#undef _tile_dpbf16ps
#define _tile_dpbf16ps emulated::tile_dpbf16ps

#define asm(...)  // an order of additions, for speed alone
