// The int8 tile of x86: one or more groups of 4 tokens x 2 vectors of rows. The including file brings, before this one:
//   products<Codes, groups>(codes, q, q_stride, start, start_stride, acc)  acc[t][v] = start + codes · activations over
//   the groups of values of a block or half block. Groups of tokens lie q_stride bytes and start_stride starts apart;
//   codes.group(v, g) are those of group g of values in vector v of rows.
#pragma once
#include "cpu/kernels/quantised-inl.h"

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

// The same for some blocks of groups of tokens, [group][block][half][4 tokens]: made once for all rows of a panel, and
// broadcast from memory.
template <class Codes, int kGroups>
struct BlockSums {
  static constexpr int64_t kBlocks = 16;  // at most
  static constexpr int64_t kStride = kBlocks * Codes::kHalves * kTokenGroup;
  alignas(64) int32_t start[kGroups * kStride];
  alignas(64) float weighted[Codes::kMins ? kGroups * kStride : 1];

  BlockSums(int64_t blocks, const TokenGroups& x) {
    for (int g = 0; g < kGroups; g++) {
      const float* origin = x.origin + g * x.o_stride;
      const int32_t* sum = x.sum + 2 * g * x.o_stride;
      int64_t b = 0;
      if constexpr (Codes::kHalves == 1) {
        for (; b + kRows / kTokenGroup <= blocks; b += kRows / kTokenGroup)
          fill_vector(origin + b * kTokenGroup, sum + 2 * b * kTokenGroup, g * kStride + b * kTokenGroup);
      }
      for (; b < blocks; b++) {
        for (int h = 0; h < Codes::kHalves; h++) {
          const int64_t at = g * kStride + (b * Codes::kHalves + h) * kTokenGroup;
          store_starts<Codes>(origin + b * kTokenGroup, sum + 2 * b * kTokenGroup, h, start + at);
          if constexpr (Codes::kMins)
            store_weighted_sums<Codes>(origin + b * kTokenGroup, sum + 2 * b * kTokenGroup, h, weighted + at);
        }
      }
    }
  }

 private:
  // A vector of blocks at once.
  void fill_vector(const float* origin, const int32_t* sum, int64_t at) {
    const I bits = Int::load(origin), values = Int::add_quads(sum);
    if constexpr (Codes::kOffset == 0) {
      Int::store(start + at, bits);
    } else {
      Int::store(start + at, Int::sub_32(bits, Int::times<Codes::kOffset>(values)));
    }
    if constexpr (Codes::kMins) Vec::store(weighted + at, above_origin(Int::add_32(bits, values), Int::as_f32(bits)));
  }
};

// Two vectors of rows of a panel, code_step bytes and scale_step floats apart.
struct TileRows {
  const uint8_t* codes;
  int64_t code_step;
  const float* scales;
  int64_t scale_step;
};

template <class Codes>
struct PanelCodes {
  const uint8_t* codes;
  int64_t step;
  I group(int v, int g) const { return Int::load(codes + v * step + g * kStripRows * 4); }
};

// y[tokens, 2 kRows] of kGroups groups of tokens.
template <class Codes, int kGroups>
inline void tile(int64_t tokens, const TileRows& w, int64_t blocks, const TokenGroups& x,
                 const BlockSums<Codes, kGroups>& sums, const Product& y) {
  constexpr int kTokens = kGroups * kTokenGroup, kSpan = 8 / Codes::kHalves;  // groups of values that share a scale
  constexpr int64_t kStride = BlockSums<Codes, kGroups>::kStride;
  F total[kTokens][2];
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; t++) {
    for (int v = 0; v < 2; v++)
      total[t][v] = y.accumulate && t < tokens ? Vec::load(y.y + t * y.ldy + v * kRows) : Vec::zero();
  }
  for (int64_t b = 0; b < blocks; b++) {
    const float* factor = w.scales + b * Codes::kScales * kStripRows;
    const float* origin = x.origin + b * kTokenGroup;
#pragma GCC unroll 2
    for (int h = 0; h < Codes::kHalves; h++) {
      const int64_t half = b * Codes::kHalves + h;
      I acc[kTokens][2];
      products<Codes, kGroups>(
          PanelCodes<Codes>{w.codes + half * kSpan * kStripRows * 4 * Codes::kCodeBytes, w.code_step},
          x.q + half * kSpan * kTokenGroup * 4 * Codes::kCodeBytes, x.q_stride, sums.start + half * kTokenGroup,
          kStride, acc);
      const F s0 = Vec::load(factor + h * kStripRows), s1 = Vec::load(factor + h * kStripRows + w.scale_step);
#pragma GCC unroll 8
      for (int t = 0; t < kTokens; t++) {
        const F zero = Vec::set1(origin[t / kTokenGroup * x.o_stride + t % kTokenGroup]);
        total[t][0] = Vec::fma(above_origin(acc[t][0], zero), s0, total[t][0]);
        total[t][1] = Vec::fma(above_origin(acc[t][1], zero), s1, total[t][1]);
        if (!Codes::kMins || h + 1 < Codes::kHalves) continue;
#pragma GCC unroll 2
        for (int i = 0; i < Codes::kHalves; i++) {
          const float* min = factor + (Codes::kHalves + i) * kStripRows;
          const F sum = Vec::set1(
              sums.weighted[t / kTokenGroup * kStride + (b * Codes::kHalves + i) * kTokenGroup + t % kTokenGroup]);
          total[t][0] = Vec::fma(sum, Vec::load(min), total[t][0]);
          total[t][1] = Vec::fma(sum, Vec::load(min + w.scale_step), total[t][1]);
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; t++) {
    if (t >= tokens) break;
    Vec::store(y.y + t * y.ldy, total[t][0]);
    Vec::store(y.y + t * y.ldy + kRows, total[t][1]);
  }
}

// Floats between the scales of the strips of a panel.
template <class Codes>
inline int64_t strip_scales(const PackedPanel& w) {
  return w.strip / kBlock * Codes::kScales;
}

// `blocks` blocks of a panel, from block b on.
template <class Codes>
inline PackedPanel panel_from(const PackedPanel& w, int64_t b, int64_t blocks) {
  return {w.codes + b * kBlock * kStripRows * Codes::kCodeBytes, w.scales + b * Codes::kScales * kStripRows, w.strip,
          blocks};
}

// 32 rows and some blocks: one tile over both strips with 16 lanes, one for each strip with 8.
template <class Codes, int kGroups>
inline void tile_32_of(int64_t tokens, const PackedPanel& w, const TokenGroups& x, const Product& y) {
  const BlockSums<Codes, kGroups> sums(w.blocks, x);
  if constexpr (kRows == kStripRows) {
    const TileRows rows = {w.codes, kMostCodeBytes * w.strip, w.scales, strip_scales<Codes>(w)};
    tile<Codes, kGroups>(tokens, rows, w.blocks, x, sums, y);
  } else {
    for (int p = 0; p < 2; p++) {
      const TileRows rows = {w.codes + p * kMostCodeBytes * w.strip, kRows * 4, w.scales + p * strip_scales<Codes>(w),
                             kRows};
      tile<Codes, kGroups>(tokens, rows, w.blocks, x, sums, {y.y + p * kStripRows, y.ldy, y.accumulate});
    }
  }
}

// 32 rows, blocks in stretches that BlockSums has room for.
template <class Codes, int kGroups>
inline void tile_32(int64_t tokens, const PackedPanel& w, const TokenGroups& x, const Product& y) {
  constexpr int64_t kBlocks = BlockSums<Codes, kGroups>::kBlocks;
  for (int64_t b = 0; b < w.blocks; b += kBlocks) {
    tile_32_of<Codes, kGroups>(tokens, panel_from<Codes>(w, b, std::min(kBlocks, w.blocks - b)), x.from(0, b),
                               {y.y, y.ldy, y.accumulate || b > 0});
  }
}
