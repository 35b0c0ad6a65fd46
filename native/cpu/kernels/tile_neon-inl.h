// What the quantised tiles of the NEON tables share; included inside a target region, after the vocabulary
// (simd_neon.h).
// A tile is 4 tokens x 8 rows: its 8 integer sums and 8 f32 totals stay in registers together. Tokens are elements of
// vectors, as their words, origins and sums lie side by side. Panels hold signed values: the offset of the codes is
// taken off once, when they are packed, so sums start at the origins alone.
#pragma once
constexpr bool kSignedQ8 = true;
#include "cpu/kernels/quantised-inl.h"

constexpr int kTileLanes = 2 * kRows;  // rows of a tile
constexpr int kTallGroups = 1;

template <class Codes>
inline void without_offset(I* group) {
  if constexpr (Codes::kOffset != 0) {
    const int8x16_t offset_i8x16 = vdupq_n_s8(Codes::kOffset);
    for (int g = 0; g < 8 * Codes::kUnit; g++)
      group[g] = vreinterpretq_s32_s8(vsubq_s8(vreinterpretq_s8_s32(group[g]), offset_i8x16));
  }
}

// Sums of the activations of four tokens over a block, or over one half of it, each times its 2^e.
template <class Codes>
inline F token_sums(const int32_t* sum, int half, I origin) {
  const I values = Codes::kHalves == 2 ? Int::load(sum + half * kTokenGroup)
                                       : Int::add_32(Int::load(sum), Int::load(sum + kTokenGroup));
  return above_origin(Int::add_32(origin, values), Int::as_f32(origin));
}

// y[4 tokens][8 rows]; the rows' codes and scales stand in a strip.
template <class Codes>
inline void tile(int64_t tokens, int64_t blocks, const uint8_t* codes, const float* scales, const TokenGroups& x,
                 const Product& y);

template <class Codes, int kGroups>
inline void tile_32(int64_t tokens, const PackedPanel& w, const TokenGroups& x, const Product& y) {
  static_assert(kGroups == 1);
  const int64_t strip_scales = w.strip / kBlock * Codes::kScales;
  for (int p = 0; p < 2; p++) {
    for (int at = 0; at < kStripRows; at += kTileLanes) {
      tile<Codes>(tokens, w.blocks, w.codes + p * kMostCodeBytes * w.strip + at * 4, w.scales + p * strip_scales + at,
                  x, {y.y + p * kStripRows + at, y.ldy, y.accumulate});
    }
  }
}
