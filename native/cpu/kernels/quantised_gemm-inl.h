// Products of panels with groups of 4 tokens. The including file brings, before this one, the tile:
//   tile_32<Codes, groups>(tokens, panel, x, y)  y[tokens, 32 rows] of so many groups of tokens, of which `tokens`
//   count kTallGroups                                  the most groups that there are registers for
#pragma once

// Groups of a tall tile. With a scale for each 16 values, half as many products stand beside as many conversions, and
// more chains of sums bring nothing.
template <class Codes>
constexpr int kTall = Codes::kHalves == 1 ? kTallGroups : 1;

// kGroups groups at a time, and those that are left one by one.
template <class Codes, int kGroups>
void gemm_q(int64_t tokens, const PackedPanel& w, const TokenGroups& x, const Product& y) noexcept {
  int64_t t = 0;
  for (; t + (kGroups - 1) * kTokenGroup < tokens; t += kGroups * kTokenGroup)
    tile_32<Codes, kGroups>(tokens - t, w, x.from(t / kTokenGroup, 0), {y.y + t * y.ldy, y.ldy, y.accumulate});
  for (; t < tokens; t += kTokenGroup)
    tile_32<Codes, 1>(tokens - t, w, x.from(t / kTokenGroup, 0), {y.y + t * y.ldy, y.ldy, y.accumulate});
}

inline void fill_gemms(KernelTable& t) {
#define LLAVA_GEMM_SLOTS(T, elements, ...) \
  t.gemm_##T = gemm_q<Codes##T, 1>;        \
  t.gemm_tall_##T = gemm_q<Codes##T, kTall<Codes##T>>;
  LLAVA_QUANTISED(LLAVA_GEMM_SLOTS)
#undef LLAVA_GEMM_SLOTS
}
