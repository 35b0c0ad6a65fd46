// What the quantised tiles of the NEON tables share; included before quantised-inl.h inside a target region.
// A tile is 4 tokens x 8 rows: its 8 integer sums and 8 f32 totals stay in registers together. Tokens are elements of vectors, as their words,
// scales and sums lie side by side; nothing is broadcast.
// Panels hold signed values: the offset of the codes is taken off once, when they are packed, and no sum has to be put right.
using F = Vec::F;
using I = Int::I;

constexpr bool kSignedQ8 = true;
constexpr int kTileTokens = kTokenGroup;
constexpr int kTileLanes = 2 * Int::kRows;  // rows of a tile

template <class Codes>
inline void without_offset(I* group) {
  if constexpr (Codes::kOffset != 0) {
    const int8x16_t offset_i8x16 = vdupq_n_s8(Codes::kOffset);
    for (int g = 0; g < 8 * Codes::kUnit; g++) group[g] = vreinterpretq_s32_s8(vsubq_s8(vreinterpretq_s8_s32(group[g]), offset_i8x16));
  }
}

// Sums of the activations of four tokens over a block, or over one half of it.
template <class Codes>
inline I token_sums(const int32_t* sum, int half) {
  return Codes::kHalves == 2 ? Int::load(sum + half * kTokenGroup) : Int::add(Int::load(sum), Int::load(sum + kTokenGroup));
}

// y[4 tokens][8 rows]
template <class Codes>
inline void tile(int64_t tokens, int64_t blocks, const uint8_t* codes, const float* scales, const int8_t* q, const float* d, const int32_t* sum, float* y,
                 int64_t ldy, bool accumulate);

template <class Codes, int kTokens>
inline void tile_32(int64_t tokens, int64_t blocks, const uint8_t* codes, const float* scales, int64_t panel, const int8_t* q, int64_t, const float* d,
                    const int32_t* sum, int64_t, float* y, int64_t ldy, bool accumulate) {
  const int64_t panel_scales = panel / kBlock * Codes::kScales;
  for (int p = 0; p < 2; p++) {
    for (int at = 0; at < kPanelRows; at += kTileLanes) {
      tile<Codes>(tokens, blocks, codes + p * panel + at * 4, scales + p * panel_scales + at, q, d, sum, y + p * kPanelRows + at, ldy, accumulate);
    }
  }
}
