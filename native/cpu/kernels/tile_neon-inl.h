// What the quantised tiles of the NEON tables share; included inside a target region.
// A tile is 4 tokens x 8 rows: its 8 integer sums and 8 f32 totals stay in registers together. Tokens are elements of
// vectors, as their words, origins and sums lie side by side. Panels hold signed values: the offset of the codes is
// taken off once, when they are packed, so sums start at the origins alone.
constexpr bool kSignedQ8 = true;

#include "cpu/kernels/quantised-inl.h"

constexpr int kTileLanes = 2 * kRows;  // rows of a tile

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

// y[4 tokens][8 rows]
template <class Codes>
inline void tile(int64_t tokens, int64_t blocks, const uint8_t* codes, const float* scales, const int8_t* q,
                 const float* origin, const int32_t* sum, float* y, int64_t ldy, bool accumulate);

template <class Codes>
inline void tile_32(int64_t tokens, int64_t blocks, const uint8_t* codes, const float* scales, int64_t panel,
                    const int8_t* q, const float* origin, const int32_t* sum, float* y, int64_t ldy, bool accumulate) {
  const int64_t panel_scales = panel / kBlock * Codes::kScales;
  for (int p = 0; p < 2; p++) {
    for (int at = 0; at < kPanelRows; at += kTileLanes) {
      tile<Codes>(tokens, blocks, codes + p * kPanelCodeBytes * panel + at * 4, scales + p * panel_scales + at, q,
                  origin, sum, y + p * kPanelRows + at, ldy, accumulate);
    }
  }
}
