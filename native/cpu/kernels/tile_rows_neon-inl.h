// The tile whose lanes are rows, for NEON with and without dotprod. The including file says, before this one, how products are summed:
//   products<Codes>(codes, q, acc)  acc[4 tokens][2 vectors of 4 rows] = codes · activations over the groups of a block or half block.

// total[v] += acc[v] * scale[v] * d[t]
template <int t>
inline void add_scaled(const I acc[2], const F scale[2], F d_f32x4, F total[2]) {
  total[0] = Vec::fma(Int::to_f32(acc[0]), vmulq_laneq_f32(scale[0], d_f32x4, t), total[0]);
  total[1] = Vec::fma(Int::to_f32(acc[1]), vmulq_laneq_f32(scale[1], d_f32x4, t), total[1]);
}

// total[v] += min[v] * a_sum[t]
template <int t>
inline void add_min(const F min[2], F a_sum_f32x4, F total[2]) {
  total[0] = vfmaq_laneq_f32(total[0], min[0], a_sum_f32x4, t);
  total[1] = vfmaq_laneq_f32(total[1], min[1], a_sum_f32x4, t);
}

template <class Codes>
inline void tile(int64_t tokens, int64_t blocks, const uint8_t* codes, const float* scales, const int8_t* q, const float* d, const int32_t* sum, float* y,
                 int64_t ldy, bool accumulate) {
  constexpr int kSpan = 8 / Codes::kHalves;  // groups that share a scale
  F total[kTokenGroup][2];
  for (int t = 0; t < kTokenGroup; t++) {
    for (int v = 0; v < 2; v++) total[t][v] = accumulate && t < tokens ? Vec::load(y + t * ldy + v * kLanes) : Vec::zero();
  }
  for (int64_t b = 0; b < blocks; b++, scales += Codes::kScales * kPanelRows, d += kTokenGroup, sum += 2 * kTokenGroup) {
    const F d_f32x4 = Vec::load(d);
#pragma GCC unroll 2
    for (int h = 0; h < Codes::kHalves; h++, codes += kSpan * kPanelRows * 4, q += kSpan * kTokenGroup * 4) {
      I acc[kTokenGroup][2];
      products<Codes>(codes, q, acc);
      const F scale[2] = {Vec::load(scales + h * kPanelRows), Vec::load(scales + h * kPanelRows + kLanes)};
      add_scaled<0>(acc[0], scale, d_f32x4, total[0]);
      add_scaled<1>(acc[1], scale, d_f32x4, total[1]);
      add_scaled<2>(acc[2], scale, d_f32x4, total[2]);
      add_scaled<3>(acc[3], scale, d_f32x4, total[3]);
    }
    if constexpr (Codes::kMins) {
#pragma GCC unroll 2
      for (int h = 0; h < Codes::kHalves; h++) {
        const float* mins = scales + (Codes::kHalves + h) * kPanelRows;
        const F min[2] = {Vec::load(mins), Vec::load(mins + kLanes)}, a_sum_f32x4 = Vec::mul(Int::to_f32(token_sums<Codes>(sum, h)), d_f32x4);
        add_min<0>(min, a_sum_f32x4, total[0]);
        add_min<1>(min, a_sum_f32x4, total[1]);
        add_min<2>(min, a_sum_f32x4, total[2]);
        add_min<3>(min, a_sum_f32x4, total[3]);
      }
    }
  }
  for (int t = 0; t < kTokenGroup && t < tokens; t++) {
    for (int v = 0; v < 2; v++) Vec::store(y + t * ldy + v * kLanes, total[t][v]);
  }
}
