// The panels and products of Q8_0 in s16, for AVX2: vpsignb, vpmaddubsw, vpmaddwd and vpaddd for 32 products wait for
// each other's ports longer than twice vpmaddwd and vpaddd do. Included after the tile (quantised_tile-inl.h).

struct WideQ8_0 : CodesQ8_0 {
  static constexpr int kPanelBytes = 2;
};

constexpr int64_t kWideBlocks = 16;

// q of a group of tokens, as wide_word finds it.
inline void widen(const int8_t* q, int64_t bytes, int8_t* wide) {
  for (int64_t at = 0; at < bytes; at += kRows * 4) {
    const I words = Int::load(q + at);
    Int::store(wide + 2 * at, even_bytes(words));
    Int::store(wide + 2 * at + kRows * 4, odd_bytes(words));
  }
}

void gemm_wide_Q8_0(int64_t tokens, int64_t blocks, const uint8_t* codes, const float* scales, int64_t panel,
                    const int8_t* q, int64_t q_stride, const float* origin, const int32_t* sum, int64_t o_stride,
                    float* y, int64_t ldy, bool accumulate) noexcept {
  alignas(64) int8_t wide[WideQ8_0::kPanelBytes * kWideBlocks * kBlock * kTokenGroup];
  for (int64_t t = 0; t < tokens; t += kTokenGroup, q += q_stride, origin += o_stride, sum += 2 * o_stride) {
    for (int64_t b = 0; b < blocks; b += kWideBlocks) {
      const int64_t count = std::min(kWideBlocks, blocks - b), first = b * kTokenGroup;
      widen(q + first * kBlock, count * kBlock * kTokenGroup, wide);
      tile_32<WideQ8_0>(tokens - t, count, codes + WideQ8_0::kPanelBytes * b * kBlock * kPanelRows,
                        scales + b * kPanelRows, panel, wide, origin + first, sum + 2 * first, y + t * ldy, ldy,
                        accumulate || b > 0);
    }
  }
}

inline void fill_wide(KernelTable& t) {
  t.pack_Q8_0 = pack<WideQ8_0>;
  t.gemm_Q8_0 = gemm_wide_Q8_0;
}
