// Products of 32 rows of weights, as they lie in the file, with a few tokens: a panel of some blocks in L1, and the
// tile over it (tile_32, quantised_gemm-inl.h).
#pragma once
#include "cpu/kernels/quantised_pack-inl.h"

// Part `part` of `parts` of what will be read next.
inline void prefetch_part(const unsigned char* next, int64_t bytes, int64_t part, int64_t parts) {
  for (int64_t line = bytes * part / parts / 64 * 64; line < bytes * (part + 1) / parts; line += 64)
    __builtin_prefetch(next + line, 0, 2);
}

template <class Codes>
void gemm_unpacked(const QuantisedRows& w, int64_t groups, const TokenGroups& x, const Product& y) noexcept {
  constexpr int64_t kBlocks = Codes::kDiskBlocks > 1 ? Codes::kDiskBlocks : 16, kStrip = kBlocks * kBlock * kStripRows,
                    kScales = kBlocks * Codes::kScales * kStripRows;
  alignas(64) uint8_t codes[2 * kMostCodeBytes * kStrip];
  alignas(64) float scales[2 * kScales];
  const auto* rows = static_cast<const unsigned char*>(w.w);
  const auto* next_rows = static_cast<const unsigned char*>(w.next);
  // many lines at once stand in the way of the loads; with few tiles, what is fetched late comes late
  const bool between_tiles = groups > 2;
  for (int64_t b = 0; b < w.blocks; b += kBlocks) {
    const int64_t count = std::min(kBlocks, w.blocks - b), bytes = count / Codes::kDiskBlocks * Codes::kBytes;
    for (int p = 0; p < 2; p++) {
      if (!between_tiles) prefetch_part(next_rows, 2 * kStripRows * bytes, p, 2);
      pack_blocks<Codes>(rows + p * kStripRows * w.stride, w.stride, count, codes + p * kMostCodeBytes * kStrip,
                         scales + p * kScales);
    }
    for (int64_t g = 0; g < groups; g++) {
      if (between_tiles) prefetch_part(next_rows, 2 * kStripRows * bytes, g, groups);
      tile_32<Codes, 1>(kTokenGroup, {codes, scales, kStrip, count}, x.from(g, b),
                        {y.y + g * kTokenGroup * y.ldy, y.ldy, y.accumulate || b > 0});
    }
    rows += bytes;
    next_rows += 2 * kStripRows * bytes;
  }
}

inline void fill_gemms_unpacked(KernelTable& t) {
#define LLAVA_UNPACKED_SLOT(T, elements, ...) t.gemm_unpacked_##T = gemm_unpacked<Codes##T>;
  LLAVA_QUANTISED(LLAVA_UNPACKED_SLOT)
#undef LLAVA_UNPACKED_SLOT
}
