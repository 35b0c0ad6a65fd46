// The panels and products of Q8_0 in s16, for AVX2: vpsignb, vpmaddubsw, vpmaddwd and vpaddd for 32 products wait for
// each other's ports longer than twice vpmaddwd and vpaddd do.
#pragma once
#include "cpu/kernels/quantised_tile-inl.h"

struct CodesQ8_0S16 : CodesQ8_0 {
  static constexpr int kCodeBytes = 2;
};

constexpr int64_t kS16Blocks = 16;

// The codes of a group of tokens as s16, where s16_word finds them.
inline void to_s16(const int8_t* q, int64_t bytes, int8_t* out) {
  for (int64_t at = 0; at < bytes; at += kRows * 4) {
    const I words = Int::load(q + at);
    Int::store(out + 2 * at, even_bytes(words));
    Int::store(out + 2 * at + kRows * 4, odd_bytes(words));
  }
}

void gemm_Q8_0_s16(int64_t tokens, const PackedPanel& w, const TokenGroups& x, const Product& y) noexcept {
  alignas(64) int8_t q[CodesQ8_0S16::kCodeBytes * kS16Blocks * kBlock * kTokenGroup];
  for (int64_t t = 0; t < tokens; t += kTokenGroup) {
    for (int64_t b = 0; b < w.blocks; b += kS16Blocks) {
      const int64_t count = std::min(kS16Blocks, w.blocks - b);
      TokenGroups part = x.from(t / kTokenGroup, b);
      to_s16(part.q, count * kBlock * kTokenGroup, q);
      part.q = q;
      tile_32<CodesQ8_0S16, 1>(tokens - t, panel_from<CodesQ8_0S16>(w, b, count), part,
                               {y.y + t * y.ldy, y.ldy, y.accumulate || b > 0});
    }
  }
}

inline void fill_s16(KernelTable& t) {
  t.pack_Q8_0 = pack<CodesQ8_0S16>;
  t.gemm_Q8_0 = t.gemm_tall_Q8_0 = gemm_Q8_0_s16;
}
