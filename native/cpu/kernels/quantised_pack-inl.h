// Packing: 16 rows of quantised weights to a panel. The including file says, before this one, in which form a panel holds codes:
//   to_panel<Codes>(group)  brings the groups of a unit into that form, in place.

// The same stretch of each row that follows the one packed now: packed a few panels later, and 16 streams that no hardware prefetcher follows.
template <class Codes>
inline void prefetch_next_stretch(const unsigned char* w, int64_t stride, int64_t blocks) {
  const int64_t stretch = blocks / Codes::kDiskBlocks * Codes::kBytes;
  for (int r = 0; r < kPanelRows; r++) {
    for (int64_t at = stretch; at < 2 * stretch; at += 64) __builtin_prefetch(w + r * stride + at, 0, 2);
  }
}

template <class Codes>
inline void pack_blocks(const unsigned char* w, int64_t stride, int64_t blocks, uint8_t* codes, float* scales) {
  for (int at = 0; at < kPanelRows; at += kRows) {
    const unsigned char* rows = w + at * stride;
    for (int64_t b = 0; b < blocks; b += Codes::kDiskBlocks, rows += Codes::kBytes) {
      const typename Codes::Scales factors = Codes::scales(rows, stride);
#pragma GCC unroll 32
      for (int i = 0; i < Codes::kDiskBlocks * Codes::kScales; i++) Vec::store(scales + (b * Codes::kScales + i) * kPanelRows + at, factors.factor(i));
      for (int unit = 0; unit < Codes::kDiskBlocks / Codes::kUnit; unit++) {
        I group[8 * Codes::kUnit];
#pragma GCC unroll 2
        for (int part = 0; part < 8; part += Codes::kPart) {
          const typename Codes::Packed packed = Codes::load(rows, stride, unit, part / Codes::kPart);
#pragma GCC unroll 64
          for (int i = 0; i < Codes::kUnit * Codes::kPart; i++) {
            group[i / Codes::kPart * 8 + part + i % Codes::kPart] = Codes::code(packed, i / Codes::kPart, i % Codes::kPart);
          }
        }
        to_panel<Codes>(group);
        uint8_t* out = codes + ((b + unit * Codes::kUnit) * 8 * kPanelRows + at) * 4;
        for (int g = 0; g < 8 * Codes::kUnit; g++) Int::store(out + g * kPanelRows * 4, group[g]);
      }
    }
  }
}

template <class Codes>
void pack(const void* w, int64_t stride, int64_t blocks, uint8_t* codes, float* scales) noexcept {
  prefetch_next_stretch<Codes>(static_cast<const unsigned char*>(w), stride, blocks);
  pack_blocks<Codes>(static_cast<const unsigned char*>(w), stride, blocks, codes, scales);
}

inline void fill_packs(KernelTable& t) {
#define LLAVA_PACK_SLOT(T, elements, bytes) t.pack_##T = pack<Codes##T>;
  LLAVA_QUANTISED(LLAVA_PACK_SLOT)
#undef LLAVA_PACK_SLOT
}
