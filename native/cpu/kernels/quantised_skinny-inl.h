// Products of 32 rows of weights, as they lie in the file, with a few tokens: a panel of one block on disk in L1, and the tile over it. Included after the
// packing and the tile (tile_32, quantised_gemm-inl.h).

template <class Codes>
void skinny(const void* w, int64_t stride, int64_t blocks, const void* next, int64_t groups, const int8_t* q, int64_t q_stride, const float* origin,
                     const int32_t* sum, int64_t o_stride, float* y, int64_t ldy, bool accumulate) noexcept {
  constexpr int64_t kBlocks = Codes::kDiskBlocks, kPanel = kBlocks * kBlock * kPanelRows, kScales = kBlocks * Codes::kScales * kPanelRows;
  alignas(64) uint8_t codes[2 * kPanel];
  alignas(64) float scales[2 * kScales];
  const auto* rows = static_cast<const unsigned char*>(w);
  const auto* next_rows = static_cast<const unsigned char*>(next);
  for (int64_t b = 0; b < blocks; b += kBlocks, rows += Codes::kBytes, next_rows += 2 * kPanelRows * Codes::kBytes) {
    for (int line = 0; line < 2 * kPanelRows * Codes::kBytes; line += 64) __builtin_prefetch(next_rows + line, 0, 2);
    for (int p = 0; p < 2; p++) pack_blocks<Codes>(rows + p * kPanelRows * stride, stride, kBlocks, codes + p * kPanel, scales + p * kScales);
    const int64_t first = b * kTokenGroup;
    for (int64_t g = 0; g < groups; g++) {
      tile_32<Codes>(kTokenGroup, kBlocks, codes, scales, kPanel, q + g * q_stride + first * kBlock, origin + g * o_stride + first,
                     sum + 2 * (g * o_stride + first), y + g * kTokenGroup * ldy, ldy, accumulate || b > 0);
    }
  }
}

inline void fill_skinnies(KernelTable& t) {
#define LLAVA_SKINNY_SLOT(T, elements, bytes) t.skinny_##T = skinny<Codes##T>;
  LLAVA_QUANTISED(LLAVA_SKINNY_SLOT)
#undef LLAVA_SKINNY_SLOT
}
