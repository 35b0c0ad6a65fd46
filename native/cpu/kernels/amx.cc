// AMX with BF16: products of bfloat16 on tiles of 16 x 16 outputs, sixteen times as many a cycle as by FMA. So
// quantised weights are multiplied as bfloat16 where rows are many, and float32 as two bfloat16 terms; everything else
// is that of the table without it.
#if defined(__x86_64__) && !defined(_WIN32)  // Windows gives no tiles
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/target_region.h"
#include "cpu/kernels/reference.h"

LLAVA_TARGET_BEGIN("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16,amx-tile,amx-bf16")

namespace llava {
namespace {

#include "cpu/kernels/simd_avx512.h"

constexpr bool kSignedQ8 = false;

#include "cpu/kernels/quantised_x86-inl.h"

// ---- products

// Four tiles of outputs (0 to 3), two of a (4, 5) and two of b (6, 7), each of 16 rows of 64 bytes (Intel SDM,
// "TILECFG").
struct alignas(64) TileShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
alignas(64) constexpr TileShapes kShapes;

constexpr int64_t kStep = kTileRows * kTileDepth;  // values of a tile of a or b
constexpr int64_t kLine = kTileDepth * 2;          // bytes of a row of it

// Where a product of two terms begins.
struct TermPair {
  const uint16_t* a;
  const uint16_t* b;
};

// Outputs of 16 or 32 rows x 32 columns. `high`: whether there are 32.
template <bool high>
inline void multiply_tiles(const TermPair* pairs, int count, int64_t k, const Product& y) {
  float* const c = y.y;
  float* const below = c + kTileRows * y.ldy;
  const int64_t step = y.ldy * static_cast<int64_t>(sizeof(float));
  if (y.accumulate) {
    _tile_loadd(0, c, step);
    _tile_loadd(1, c + kTileRows, step);
    if constexpr (high) {
      _tile_loadd(2, below, step);
      _tile_loadd(3, below + kTileRows, step);
    }
  } else {
    _tile_zero(0);
    _tile_zero(1);
    if constexpr (high) {
      _tile_zero(2);
      _tile_zero(3);
    }
  }
  const int64_t to_other = kTileRows * k;         // rows of a, and columns of b
  const float* next = c + 2 * kTileRows * y.ldy;  // outputs, fetched meanwhile
  for (int t = 0; t < count; t++) {
    const uint16_t *a = pairs[t].a, *b = pairs[t].b;
    for (int64_t p = 0; p < k; p += kTileDepth, a += kStep, b += kStep) {
      if (t == 0) {
#pragma GCC unroll 4
        for (int r = 0; r < 4; r++, next += y.ldy) {
          __builtin_prefetch(next, 1, 3);
          __builtin_prefetch(next + kTileRows, 1, 3);
        }
      }
      _tile_loadd(4, a, kLine);
      _tile_loadd(6, b, kLine);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(7, b + to_other, kLine);
      _tile_dpbf16ps(1, 4, 7);
      if constexpr (high) {
        _tile_loadd(5, a + to_other, kLine);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
      }
    }
  }
  _tile_stored(0, c, step);
  _tile_stored(1, c + kTileRows, step);
  if constexpr (high) {
    _tile_stored(2, below, step);
    _tile_stored(3, below + kTileRows, step);
  }
}

void gemm_tiles(int64_t m, int64_t k, const BfloatTerms& a, const BfloatTerms& b, const Product& c) noexcept {
  _tile_loadconfig(&kShapes);
  for (int64_t i = 0; i < m; i += 2 * kTileRows) {
    // the small ones first
    TermPair pairs[kBfloatTerms * kBfloatTerms];
    int count = 0;
    for (int of_b = b.count - 1; of_b >= 0; of_b--) {
      for (int of_a = a.count - 1 - of_b; of_a >= 0; of_a--)
        pairs[count++] = {a.values + of_a * a.plane + i * k, b.values + of_b * b.plane};
    }
    const auto multiply = m - i > kTileRows ? multiply_tiles<true> : multiply_tiles<false>;
    multiply(pairs, count, k, {c.y + i * c.ldy, c.ldy, c.accumulate});
  }
  _tile_release();
}

// ---- factors

// The bfloats nearest to the lanes of two vectors, in pairs.
inline I pairs_of(F even, F odd) {
  const I order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5,
                                   20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(order, __builtin_bit_cast(I, _mm512_cvtne2ps_pbh(odd, even)));
}

inline F byte_of(I words, int n) {
  const I moved = Int::shift_right_32(words, 8 * n);
  return Int::to_f32(n == 3 ? moved : Int::bit_and(moved, Int::set1_32(255)));
}

// Blocks that are brought into a panel of codes in L1 first.
template <class Codes>
constexpr int64_t kCodeBlocks = Codes::kDiskBlocks > 1 ? Codes::kDiskBlocks : 16;

template <class Codes>
void bfloats(const void* w, int64_t stride, int64_t blocks, uint16_t* dst) noexcept {
  constexpr int64_t kBlocks = kCodeBlocks<Codes>, kSpan = 8 / Codes::kHalves;
  alignas(64) uint8_t codes[kBlocks * kBlock * kStripRows];
  alignas(64) float scales[kBlocks * Codes::kScales * kStripRows];
  const auto* rows = static_cast<const unsigned char*>(w);
  prefetch_next_stretch<Codes>(rows, stride, blocks);
  for (int64_t b = 0; b < blocks; b += kBlocks) {
    const int64_t count = std::min(kBlocks, blocks - b);
    pack_blocks<Codes>(rows + b / Codes::kDiskBlocks * Codes::kBytes, stride, count, codes, scales);
    for (int64_t i = 0; i < count; i++) {
      const float* factor = scales + i * Codes::kScales * kStripRows;
#pragma GCC unroll 2
      for (int h = 0; h < Codes::kHalves; h++) {
        const F scale = Vec::load(factor + h * kStripRows);
        // of a power of two, exactly: so that one rounding gives the weight
        const F base = Codes::kMins ? Vec::load(factor + (Codes::kHalves + h) * kStripRows)
                                    : Vec::mul(Vec::set1(-static_cast<float>(Codes::kOffset)), scale);
#pragma GCC unroll 8
        for (int64_t g = h * kSpan; g < (h + 1) * kSpan; g++, dst += 4 * kStripRows) {
          const I four = Int::load(codes + (i * 8 + g) * 4 * kStripRows);
          const auto value = [&](int n) { return Vec::fma(byte_of(four, n), scale, base); };
          Int::store(dst, pairs_of(value(0), value(1)));
          Int::store(dst + 2 * kStripRows, pairs_of(value(2), value(3)));
        }
      }
    }
  }
}

// What the terms so far leave of a value, exactly; of an infinity nothing.
inline F rest_of(F value, I term) {
  const F magnitude = Int::as_f32(Int::bit_and(term, Int::set1_32(0x7FFFFFFF)));
  const __mmask16 finite = _mm512_cmp_ps_mask(magnitude, Int::as_f32(Int::set1_32(0x7F800000)), _CMP_LT_OQ);
  return _mm512_maskz_sub_ps(finite, value, Int::as_f32(term));
}

// Value i of a row in its tiles.
inline int64_t place(int64_t i) { return i / kTileDepth * kStep + i % kTileDepth; }

void tile_row(const float* x, int64_t n, int terms, uint16_t* dst, int64_t plane) noexcept {
  int64_t i = 0;
  for (; i + Vec::kLanes <= n; i += Vec::kLanes) {
    F value = Vec::load(x + i);
    for (int t = 0; t < terms; t++) {
      const __m256i words = __builtin_bit_cast(__m256i, _mm512_cvtneps_pbh(value));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(dst + t * plane + place(i)), words);
      if (t + 1 < terms) value = rest_of(value, _mm512_castps_si512(Vec::from_bf16(words)));
    }
  }
  if (i < n) reference::tile_row(x + i, n - i, terms, dst + place(i), plane);
}

void tile_columns(const float* b, int64_t ldb, int64_t k, int terms, uint16_t* dst, int64_t plane) noexcept {
  for (int64_t p = 0; p < k; p += 2, b += 2 * ldb, dst += 2 * kTileRows) {
    F even = Vec::load(b), odd = Vec::load(b + ldb);
    for (int t = 0; t < terms; t++) {
      const I words = pairs_of(even, odd);
      Int::store(dst + t * plane, words);
      if (t + 1 == terms) break;
      even = rest_of(even, Int::shift_left_32(words, 16));
      odd = rest_of(odd, Int::bit_and(words, Int::set1_32(~0xFFFF)));
    }
  }
}

// Four independent tiles.
double peak_bf16(int64_t iterations) noexcept {
  _tile_loadconfig(&kShapes);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(6);
  for (int64_t i = 0; i < iterations; i++) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 6);
    _tile_dpbf16ps(2, 4, 6);
    _tile_dpbf16ps(3, 4, 6);
  }
  _tile_release();
  return static_cast<double>(iterations * 4 * 2 * kTileRows * kStep);
}

}  // namespace
}  // namespace llava

LLAVA_TARGET_END

namespace llava {

void fill_amx(KernelTable& table) {
  table.isa = "amx";
  table.bf16 = Bf16::kTiles;
  table.bf16_mix = "tdpbf16ps";
  table.gemm_tiles = gemm_tiles;
  table.tile_row = tile_row;
  table.tile_columns = tile_columns;
#define LLAVA_BFLOATS_SLOT(T, elements, ...) table.bfloats_##T = bfloats<Codes##T>;
  LLAVA_QUANTISED(LLAVA_BFLOATS_SLOT)
#undef LLAVA_BFLOATS_SLOT
  table.peak_bf16 = peak_bf16;
}

}  // namespace llava
#endif
