// The int8 tile of x86: 4 tokens x 2 vectors of rows. The including file brings, before this one:
//   products<Codes, groups>(codes, q, q_stride, start, acc)  acc[t][v] = start[t] + codes · activations over the groups
//   of a block or half block, for groups of tokens q_stride bytes apart; codes.group(v, g) are those of group g in
//   vector v of rows.

// A value of each token of a group, side by side.
using Quad = int32_t __attribute__((vector_size(16)));
using QuadF = float __attribute__((vector_size(16)));
template <class T>
inline T quad_at(const void* values) {
  T quad;
  __builtin_memcpy(&quad, values, sizeof quad);
  return quad;
}
template <class Codes>
inline Quad quad_sum(const int32_t* sum, int half) {
  const Quad first = quad_at<Quad>(sum + half * kTokenGroup);
  return Codes::kHalves == 2 ? first : first + quad_at<Quad>(sum + kTokenGroup);
}

// Of a group of tokens, for a block or a half: where integer sums start, and 2^e * the sum of activations, which mins
// are multiplied by.
template <class Codes>
inline void store_starts(const float* origin, const int32_t* sum, int half, int32_t* start) {
  Quad quad = quad_at<Quad>(origin);
  if constexpr (Codes::kOffset != 0) quad -= Codes::kOffset * quad_sum<Codes>(sum, half);
  __builtin_memcpy(start, &quad, sizeof quad);
}
template <class Codes>
inline void store_weighted_sums(const float* origin, const int32_t* sum, int half, float* weighted) {
  const QuadF zero = quad_at<QuadF>(origin), quad = (QuadF)((Quad)zero + quad_sum<Codes>(sum, half)) - zero;
  __builtin_memcpy(weighted, &quad, sizeof quad);
}

struct PanelCodes {
  const uint8_t* codes;
  int64_t step;  // bytes from one vector of rows to the other
  I group(int v, int g) const { return Int::load(codes + v * step + g * 64); }
};

// Codes and scales of the two vectors of rows lie code_step bytes and scale_step floats apart.
template <class Codes>
inline void tile(int64_t tokens, int64_t blocks, const uint8_t* codes, int64_t code_step, const float* scales,
                 int64_t scale_step, const int8_t* q, const float* origin, const int32_t* sum, float* y, int64_t ldy,
                 bool accumulate) {
  constexpr int kSpan = 8 / Codes::kHalves;  // groups that share a scale
  F total[kTokenGroup][2];
#pragma GCC unroll 4
  for (int t = 0; t < kTokenGroup; t++) {
    for (int v = 0; v < 2; v++)
      total[t][v] = accumulate && t < tokens ? Vec::load(y + t * ldy + v * kRows) : Vec::zero();
  }
  for (int64_t b = 0; b < blocks; b++) {
    const float* factor = scales + b * Codes::kScales * kPanelRows;
    const float* origin_b = origin + b * kTokenGroup;
    const int32_t* sum_b = sum + 2 * b * kTokenGroup;
    alignas(16) float a_sum[Codes::kHalves][kTokenGroup];
    if constexpr (Codes::kMins) {
#pragma GCC unroll 2
      for (int h = 0; h < Codes::kHalves; h++) store_weighted_sums<Codes>(origin_b, sum_b, h, a_sum[h]);
    }
#pragma GCC unroll 2
    for (int h = 0; h < Codes::kHalves; h++) {
      alignas(16) int32_t start[kTokenGroup];
      store_starts<Codes>(origin_b, sum_b, h, start);
      I acc[kTokenGroup][2];
      products<Codes, 1>(PanelCodes{codes + (b * 8 + h * kSpan) * 64 * Codes::kPanelBytes, code_step},
                         q + (b * 8 + h * kSpan) * kTokenGroup * 4 * Codes::kPanelBytes, 0, start, acc);
      const F s0 = Vec::load(factor + h * kPanelRows), s1 = Vec::load(factor + h * kPanelRows + scale_step);
#pragma GCC unroll 4
      for (int t = 0; t < kTokenGroup; t++) {
        const F zero = Vec::set1(origin_b[t]);
        total[t][0] = Vec::fma(above_origin(acc[t][0], zero), s0, total[t][0]);
        total[t][1] = Vec::fma(above_origin(acc[t][1], zero), s1, total[t][1]);
        if (!Codes::kMins || h + 1 < Codes::kHalves) continue;
#pragma GCC unroll 2
        for (int i = 0; i < Codes::kHalves; i++) {
          const float* min = factor + (Codes::kHalves + i) * kPanelRows;
          total[t][0] = Vec::fma(Vec::set1(a_sum[i][t]), Vec::load(min), total[t][0]);
          total[t][1] = Vec::fma(Vec::set1(a_sum[i][t]), Vec::load(min + scale_step), total[t][1]);
        }
      }
    }
  }
#pragma GCC unroll 4
  for (int t = 0; t < kTokenGroup; t++) {
    if (t >= tokens) break;
    Vec::store(y + t * ldy, total[t][0]);
    Vec::store(y + t * ldy + kRows, total[t][1]);
  }
}

// 32 rows: one tile over both panels with 16 lanes, one for each panel with 8.
template <class Codes>
inline void tile_32(int64_t tokens, int64_t blocks, const uint8_t* codes, const float* scales, int64_t panel,
                    const int8_t* q, const float* origin, const int32_t* sum, float* y, int64_t ldy, bool accumulate) {
  const int64_t panel_scales = panel / kBlock * Codes::kScales;
  if constexpr (kRows == kPanelRows) {
    tile<Codes>(tokens, blocks, codes, kPanelCodeBytes * panel, scales, panel_scales, q, origin, sum, y, ldy,
                accumulate);
  } else {
    for (int p = 0; p < 2; p++) {
      tile<Codes>(tokens, blocks, codes + p * kPanelCodeBytes * panel, kRows * 4, scales + p * panel_scales, kRows, q,
                  origin, sum, y + p * kPanelRows, ldy, accumulate);
    }
  }
}
