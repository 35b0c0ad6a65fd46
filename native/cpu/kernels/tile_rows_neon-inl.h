// The tile whose lanes are rows, for NEON with and without dotprod, and the kernels over it. The including file says,
// before this one, how products are summed (over the types of tile_neon-inl.h):
//   products<Codes>(codes, q, start, acc)  acc[4 tokens][2 vectors of 4 rows] = start[token] + codes · activations over
//   the groups of a block or half block
//   dot<Codes>(packed, j, q, acc)          of one token (quantised_gemv-inl.h)
#pragma once

template <class Codes>
inline void to_packed(I* group) {
  without_offset<Codes>(group);
}

#include "cpu/kernels/quantised_pack-inl.h"

// total[v] += min[v] * a_sum[t]
template <int t>
inline void add_min(const F min[2], F a_sum_f32x4, F total[2]) {
  total[0] = vfmaq_laneq_f32(total[0], min[0], a_sum_f32x4, t);
  total[1] = vfmaq_laneq_f32(total[1], min[1], a_sum_f32x4, t);
}

template <class Codes>
inline void tile(int64_t tokens, int64_t blocks, const uint8_t* codes, const float* scales, const TokenGroups& x,
                 const Product& y) {
  const int8_t* q = x.q;
  const float* origin = x.origin;
  const int32_t* sum = x.sum;
  constexpr int kSpan = 8 / Codes::kHalves;  // groups that share a scale
  F total[kTokenGroup][2];
  for (int t = 0; t < kTokenGroup; t++) {
    for (int v = 0; v < 2; v++)
      total[t][v] = y.accumulate && t < tokens ? Vec::load(y.y + t * y.ldy + v * kRows) : Vec::zero();
  }
  for (int64_t b = 0; b < blocks;
       b++, scales += Codes::kScales * kStripRows, origin += kTokenGroup, sum += 2 * kTokenGroup) {
    const I origin_i32x4 = Int::load(origin);
#pragma GCC unroll 2
    for (int h = 0; h < Codes::kHalves; h++, codes += kSpan * kStripRows * 4, q += kSpan * kTokenGroup * 4) {
      I acc[kTokenGroup][2];
      products<Codes>(codes, q, origin_i32x4, acc);
      const F scale[2] = {Vec::load(scales + h * kStripRows), Vec::load(scales + h * kStripRows + kRows)};
#pragma GCC unroll 4
      for (int t = 0; t < kTokenGroup; t++) {
        const F zero = Int::as_f32(Int::set1_32(origin_i32x4[t]));
        total[t][0] = Vec::fma(above_origin(acc[t][0], zero), scale[0], total[t][0]);
        total[t][1] = Vec::fma(above_origin(acc[t][1], zero), scale[1], total[t][1]);
      }
    }
    if constexpr (Codes::kMins) {
#pragma GCC unroll 2
      for (int h = 0; h < Codes::kHalves; h++) {
        const float* mins = scales + (Codes::kHalves + h) * kStripRows;
        const F min[2] = {Vec::load(mins), Vec::load(mins + kRows)},
                a_sum_f32x4 = token_sums<Codes>(sum, h, origin_i32x4);
        add_min<0>(min, a_sum_f32x4, total[0]);
        add_min<1>(min, a_sum_f32x4, total[1]);
        add_min<2>(min, a_sum_f32x4, total[2]);
        add_min<3>(min, a_sum_f32x4, total[3]);
      }
    }
  }
  for (int t = 0; t < kTokenGroup && t < tokens; t++) {
    for (int v = 0; v < 2; v++) Vec::store(y.y + t * y.ldy + v * kRows, total[t][v]);
  }
}

#include "cpu/kernels/quantised_gemm-inl.h"
//
#include "cpu/kernels/quantised_unpacked-inl.h"
//
#include "cpu/kernels/quantised_gemv-inl.h"

// Every product. Panels of other tables than these products' own are left alone: fill_packs().
inline void fill_int8(KernelTable& t) {
  fill_gemms(t);
  fill_gemms_unpacked(t);
  fill_gemvs(t);
}
