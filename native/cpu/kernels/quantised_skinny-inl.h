// Products of 32 rows of weights, as they lie in the file, with a few tokens: a panel of some blocks in L1, and the
// tile over it. Included after the packing and the tile (tile_32, quantised_gemm-inl.h).

// Part `part` of `parts` of what will be read next.
inline void prefetch_part(const unsigned char* next, int64_t bytes, int64_t part, int64_t parts) {
  for (int64_t line = bytes * part / parts / 64 * 64; line < bytes * (part + 1) / parts; line += 64)
    __builtin_prefetch(next + line, 0, 2);
}

template <class Codes>
void skinny(const void* w, int64_t stride, int64_t blocks, const void* next, int64_t groups, const int8_t* q,
            int64_t q_stride, const float* origin, const int32_t* sum, int64_t o_stride, float* y, int64_t ldy,
            bool accumulate) noexcept {
  constexpr int64_t kBlocks = Codes::kDiskBlocks > 1 ? Codes::kDiskBlocks : 16, kPanel = kBlocks * kBlock * kPanelRows,
                    kScales = kBlocks * Codes::kScales * kPanelRows;
  alignas(64) uint8_t codes[2 * kPanelCodeBytes * kPanel];
  alignas(64) float scales[2 * kScales];
  const auto* rows = static_cast<const unsigned char*>(w);
  const auto* next_rows = static_cast<const unsigned char*>(next);
  // many lines at once stand in the way of the loads; with few tiles, what is fetched late comes late
  const bool between_tiles = groups > 2;
  for (int64_t b = 0; b < blocks; b += kBlocks) {
    const int64_t count = std::min(kBlocks, blocks - b), bytes = count / Codes::kDiskBlocks * Codes::kBytes;
    for (int p = 0; p < 2; p++) {
      if (!between_tiles) prefetch_part(next_rows, 2 * kPanelRows * bytes, p, 2);
      pack_blocks<Codes>(rows + p * kPanelRows * stride, stride, count, codes + p * kPanelCodeBytes * kPanel,
                         scales + p * kScales);
    }
    const int64_t first = b * kTokenGroup;
    for (int64_t g = 0; g < groups; g++) {
      if (between_tiles) prefetch_part(next_rows, 2 * kPanelRows * bytes, g, groups);
      tile_32<Codes>(kTokenGroup, count, codes, scales, kPanel, q + g * q_stride + first * kBlock,
                     origin + g * o_stride + first, sum + 2 * (g * o_stride + first), y + g * kTokenGroup * ldy, ldy,
                     accumulate || b > 0);
    }
    rows += bytes;
    next_rows += 2 * kPanelRows * bytes;
  }
}

inline void fill_skinnies(KernelTable& t) {
#define LLAVA_SKINNY_SLOT(T, elements, ...) t.skinny_##T = skinny<Codes##T>;
  LLAVA_QUANTISED(LLAVA_SKINNY_SLOT)
#undef LLAVA_SKINNY_SLOT
}
