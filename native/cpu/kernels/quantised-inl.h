// Quantised weights over Int, included once per ISA inside its target region.
//
// Every type is u8 codes with an offset, and a scale (and for some a min) for 32 or 16 neighbouring values:
//   y = sum over blocks of  scale * d_a * (sum code * a  -  offset * sum a)  +  min * d_a * sum a
// `interleave` brings the same 16 bytes of kRows rows side by side, four bytes of each in a vector; codes of 4 consecutive values are cut out there
// by shifts and masks. So one vector is [rows][4 values], which is what a 4-byte dot product wants: lanes are rows, and a row's sum never leaves its lane.
//
// The including file says, before this one, how products are summed: kSignedQ8 (Q8_0 codes stay signed, without offset),
//   products<Codes, kTokens>(…) for the tile and dot<Codes>(…) for one token. With Vec::kByElement it brings to_panel and tile_32 as well.

using F = Vec::F;
using I = Int::I;
constexpr int kRows = Int::kRows;

// What all types have in common: a unit is the values that are loaded together.
template <class Block, int unit_blocks, int offset, int largest_code>
struct CodesOf {
  static constexpr int kBytes = sizeof(Block);                           // of a block on disk
  static constexpr int kDiskBlocks = reference::kValues<Block> / kBlock;  // blocks of 32 in it
  static constexpr int kUnit = unit_blocks;                              // blocks of 32 that one load() yields
  static constexpr int kOffset = offset;
  static constexpr int kLargest = largest_code;
  static constexpr int kHalves = reference::Layout<Block>::kHalves;
  static constexpr bool kMins = reference::Layout<Block>::kMins;
  static constexpr int kScales = kHalves * (kMins ? 2 : 1);
};

// 32 bytes of each row as 8 vectors.
inline void interleave_32(const unsigned char* w, int64_t stride, I out[8]) {
  Int::interleave(w, stride, out);
  Int::interleave(w + 16, stride, out + 4);
}

// Nibbles of 16 bytes: low ones are groups 0 … 3, high ones 4 … 7.
inline void split_nibbles(const unsigned char* w, int64_t stride, I group[8]) {
  I packed[4];
  Int::interleave(w, stride, packed);
  const I low = Int::set1_8(15);
#pragma GCC unroll 4
  for (int g = 0; g < 4; g++) {
    group[g] = Int::bit_and(packed[g], low);
    group[g + 4] = Int::bit_and(Int::shift_right_16(packed[g], 4), low);
  }
}

// Bits n (and n + 1, with mask 3) of each byte, moved to bit `to`.
inline I bits(I bytes, int n, int mask, int to) { return Int::shift_left_16(Int::bit_and(Int::shift_right_16(bytes, n), Int::set1_8(mask)), to); }

// Bit i of each row's dword becomes bit 4 of value i: value 4 g + j is byte j of group g.
inline void add_fifth_bits(I qh, I group[8]) {
#pragma GCC unroll 8
  for (int g = 0; g < 8; g++) {
    const I wanted = Int::set1_32(static_cast<int32_t>(0x08040201u << 4 * (g % 2)));  // one bit of each byte
    const I set = Int::equal_8(Int::bit_and(Int::spread_byte(qh, g / 2), wanted), wanted);
    group[g] = Int::bit_or(group[g], Int::bit_and(set, Int::set1_8(16)));
  }
}

struct CodesQ4_0 : CodesOf<BlockQ4_0, 1, 8, 15> {
  static void load(const unsigned char* w, int64_t stride, int, I* group) { split_nibbles(w + 2, stride, group); }
  static void scales(const unsigned char* w, int64_t stride, F* out) { out[0] = Int::rows_f16(w, stride); }
};

// d and m of a row, as one dword.
inline void scale_and_min(const unsigned char* w, int64_t stride, F* out) {
  const I dm = Int::rows_32(w, stride);
  out[0] = Int::halves_to_f32(dm);
  out[1] = Int::halves_to_f32(Int::shift_right_32(dm, 16));
}

struct CodesQ4_1 : CodesOf<BlockQ4_1, 1, 0, 15> {
  static void load(const unsigned char* w, int64_t stride, int, I* group) { split_nibbles(w + 4, stride, group); }
  static void scales(const unsigned char* w, int64_t stride, F* out) { scale_and_min(w, stride, out); }
};

struct CodesQ5_0 : CodesOf<BlockQ5_0, 1, 16, 31> {
  static void load(const unsigned char* w, int64_t stride, int, I* group) {
    split_nibbles(w + 6, stride, group);
    add_fifth_bits(Int::rows_32(w + 2, stride), group);
  }
  static void scales(const unsigned char* w, int64_t stride, F* out) { out[0] = Int::rows_f16(w, stride); }
};

struct CodesQ5_1 : CodesOf<BlockQ5_1, 1, 0, 31> {
  static void load(const unsigned char* w, int64_t stride, int, I* group) {
    split_nibbles(w + 8, stride, group);
    add_fifth_bits(Int::rows_32(w + 4, stride), group);
  }
  static void scales(const unsigned char* w, int64_t stride, F* out) { scale_and_min(w, stride, out); }
};

struct CodesQ8_0 : CodesOf<BlockQ8_0, 1, kSignedQ8 ? 0 : 128, 255> {
  static void load(const unsigned char* w, int64_t stride, int, I* group) {
    interleave_32(w + 2, stride, group);
    if constexpr (!kSignedQ8) {
#pragma GCC unroll 8
      for (int g = 0; g < 8; g++) group[g] = Int::bit_xor(group[g], Int::set1_8(0x80));
    }
  }
  static void scales(const unsigned char* w, int64_t stride, F* out) { out[0] = Int::rows_f16(w, stride); }
};

struct CodesQ2_K : CodesOf<BlockQ2_K, 4, 0, 3> {
  static void load(const unsigned char* w, int64_t stride, int unit, I* group) {
    I packed[8];
    interleave_32(w + 16 + 32 * unit, stride, packed);
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
#pragma GCC unroll 8
      for (int g = 0; g < 8; g++) group[8 * j + g] = bits(packed[g], 2 * j, 3, 0);
    }
  }
  static void scales(const unsigned char* w, int64_t stride, F* out) {
    I packed[4];
    Int::interleave(w, stride, packed);
    F d[2];
    scale_and_min(w + 80, stride, d);
    const F minus_dmin = Vec::sub(Vec::zero(), d[1]);
    const I low = Int::set1_32(15);
#pragma GCC unroll 16
    for (int h = 0; h < 16; h++) {
      const int at = h / 2 * 4 + h % 2, shift = 8 * (h % 4);
      out[at] = Vec::mul(d[0], Int::to_f32(Int::bit_and(Int::shift_right_32(packed[h / 4], shift), low)));
      out[at + 2] = Vec::mul(minus_dmin, Int::to_f32(Int::bit_and(Int::shift_right_32(packed[h / 4], shift + 4), low)));
    }
  }
};

struct CodesQ3_K : CodesOf<BlockQ3_K, 4, 4, 7> {
  static void load(const unsigned char* w, int64_t stride, int unit, I* group) {
    I packed[8], high[8];
    interleave_32(w + 32 + 32 * unit, stride, packed);
    interleave_32(w, stride, high);
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
#pragma GCC unroll 8
      for (int g = 0; g < 8; g++) group[8 * j + g] = Int::bit_or(bits(packed[g], 2 * j, 3, 0), bits(high[g], 4 * unit + j, 1, 2));
    }
  }
  static void scales(const unsigned char* w, int64_t stride, F* out) {
    // The last 16 bytes of the block are two of qs, 12 of scales and d: shifted by two bytes, scales[4 i …] are dword i.
    I tail[4], s[3];
    Int::interleave(w + 94, stride, tail);
#pragma GCC unroll 3
    for (int i = 0; i < 3; i++) s[i] = Int::bit_or(Int::shift_right_32(tail[i], 16), Int::shift_left_32(tail[i + 1], 16));
    const F d = Int::halves_to_f32(Int::shift_right_32(tail[3], 16));
    const I low = Int::set1_32(15), two = Int::set1_32(3);
#pragma GCC unroll 16
    for (int j = 0; j < 16; j++) {
      const I four = Int::bit_and(Int::shift_right_32(s[j % 8 / 4], 8 * (j % 4) + 4 * (j / 8)), low);
      const I upper = Int::bit_and(Int::shift_right_32(s[2], 8 * (j % 4) + 2 * (j / 4)), two);
      const F six = Int::to_f32(Int::bit_or(four, Int::shift_left_32(upper, 4)));
      out[j] = Vec::mul(d, Vec::sub(six, Vec::set1(32.0f)));
    }
  }
};

// Eight 6-bit scales and mins and their factors, from the first 16 bytes of a Q4_K or Q5_K block.
inline void k_scales(const unsigned char* w, int64_t stride, F* out) {
  I head[4];
  Int::interleave(w, stride, head);
  const F d = Int::halves_to_f32(head[0]), minus_dmin = Vec::sub(Vec::zero(), Int::halves_to_f32(Int::shift_right_32(head[0], 16)));
  const I six = Int::set1_32(63), four = Int::set1_32(15), two = Int::set1_32(0x30);
#pragma GCC unroll 4
  for (int j = 0; j < 4; j++) {
    out[2 * j] = Vec::mul(d, Int::to_f32(Int::bit_and(Int::shift_right_32(head[1], 8 * j), six)));
    out[2 * j + 1] = Vec::mul(minus_dmin, Int::to_f32(Int::bit_and(Int::shift_right_32(head[2], 8 * j), six)));
    const I scale_high = Int::bit_and(Int::shift_right_32(head[1], 8 * j + 2), two), min_high = Int::bit_and(Int::shift_right_32(head[2], 8 * j + 2), two);
    out[2 * j + 8] = Vec::mul(d, Int::to_f32(Int::bit_or(Int::bit_and(Int::shift_right_32(head[3], 8 * j), four), scale_high)));
    out[2 * j + 9] = Vec::mul(minus_dmin, Int::to_f32(Int::bit_or(Int::bit_and(Int::shift_right_32(head[3], 8 * j + 4), four), min_high)));
  }
}

struct CodesQ4_K : CodesOf<BlockQ4_K, 2, 0, 15> {
  static void load(const unsigned char* w, int64_t stride, int unit, I* group) {
    I packed[8];
    interleave_32(w + 16 + 32 * unit, stride, packed);
    const I low = Int::set1_8(15);
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) {
      group[g] = Int::bit_and(packed[g], low);
      group[g + 8] = Int::bit_and(Int::shift_right_16(packed[g], 4), low);
    }
  }
  static void scales(const unsigned char* w, int64_t stride, F* out) { k_scales(w, stride, out); }
};

struct CodesQ5_K : CodesOf<BlockQ5_K, 2, 0, 31> {
  static void load(const unsigned char* w, int64_t stride, int unit, I* group) {
    I packed[8], high[8];
    interleave_32(w + 48 + 32 * unit, stride, packed);
    interleave_32(w + 16, stride, high);
    const I low = Int::set1_8(15);
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) {
      group[g] = Int::bit_or(Int::bit_and(packed[g], low), bits(high[g], 2 * unit, 1, 4));
      group[g + 8] = Int::bit_or(Int::bit_and(Int::shift_right_16(packed[g], 4), low), bits(high[g], 2 * unit + 1, 1, 4));
    }
  }
  static void scales(const unsigned char* w, int64_t stride, F* out) { k_scales(w, stride, out); }
};

struct CodesQ6_K : CodesOf<BlockQ6_K, 4, 32, 63> {
  static void load(const unsigned char* w, int64_t stride, int unit, I* group) {
    I packed[16], high[8];
    interleave_32(w + 64 * unit, stride, packed);
    interleave_32(w + 64 * unit + 32, stride, packed + 8);
    interleave_32(w + 128 + 32 * unit, stride, high);
    const I low = Int::set1_8(15);
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
#pragma GCC unroll 8
      for (int g = 0; g < 8; g++) {
        const I nibble = Int::bit_and(Int::shift_right_16(packed[j % 2 * 8 + g], j / 2 * 4), low);
        group[8 * j + g] = Int::bit_or(nibble, bits(high[g], 2 * j, 3, 4));
      }
    }
  }
  static void scales(const unsigned char* w, int64_t stride, F* out) {
    I packed[4];
    Int::interleave(w + 192, stride, packed);
    const F d = Int::rows_f16(w + 208, stride);
#pragma GCC unroll 16
    for (int h = 0; h < 16; h++) out[h] = Vec::mul(d, Int::to_f32(Int::shift_right_signed_32(Int::shift_left_32(packed[h / 4], 24 - 8 * (h % 4)), 24)));
  }
};

// From the codes that load() gives to what a panel holds: the same, where the including file brings no to_panel of its own (Vec::kByElement).
template <class Codes, class V = Vec>
  requires(!V::kByElement)
inline void to_panel(I*) {}

template <class Codes>
inline void pack(const void* w, int64_t stride, int64_t blocks, uint8_t* codes, float* scales) {
  for (int at = 0; at < kPanelRows; at += kRows) {
    const unsigned char* rows = static_cast<const unsigned char*>(w) + at * stride;
    for (int64_t b = 0; b < blocks; b += Codes::kDiskBlocks, rows += Codes::kBytes) {
      F factor[Codes::kDiskBlocks * Codes::kScales];
      Codes::scales(rows, stride, factor);
      for (int i = 0; i < Codes::kDiskBlocks * Codes::kScales; i++) Vec::store(scales + (b * Codes::kScales + i) * kPanelRows + at, factor[i]);
      for (int unit = 0; unit < Codes::kDiskBlocks / Codes::kUnit; unit++) {
        I group[8 * Codes::kUnit];
        Codes::load(rows, stride, unit, group);
        to_panel<Codes>(group);
        uint8_t* out = codes + ((b + unit * Codes::kUnit) * 8 * kPanelRows + at) * 4;
        for (int g = 0; g < 8 * Codes::kUnit; g++) Int::store(out + g * kPanelRows * 4, group[g]);
      }
    }
  }
}

// Sum of a block's (or half block's) activations, times -offset: where its products start.
template <class Codes>
inline int32_t start_of(const int32_t* sum, int64_t step, int half) {
  if constexpr (Codes::kOffset == 0) return 0;
  return -Codes::kOffset * (Codes::kHalves == 2 ? sum[half * step] : sum[0] + sum[step]);
}

// kTokens tokens x 2 vectors of rows, whose codes and scales lie code_step bytes and scale_step floats apart.
template <class Codes, int kTokens>
inline void tile(int64_t tokens, int64_t blocks, const uint8_t* codes, int64_t code_step, const float* scales, int64_t scale_step, const int8_t* q,
                 int64_t q_stride, const float* d, const int32_t* sum, int64_t d_stride, float* y, int64_t ldy, bool accumulate) {
  constexpr int kSpan = 8 / Codes::kHalves;  // groups that share a scale
  F total[kTokens][2];
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; t++) {
    for (int v = 0; v < 2; v++) total[t][v] = accumulate && t < tokens ? Vec::load(y + t * ldy + v * kRows) : Vec::zero();
  }
  for (int64_t b = 0; b < blocks; b++) {
    const float* factor = scales + b * Codes::kScales * kPanelRows;
#pragma GCC unroll 2
    for (int h = 0; h < Codes::kHalves; h++) {
      int32_t start[kTokens];
#pragma GCC unroll 8
      for (int t = 0; t < kTokens; t++) {
        start[t] = start_of<Codes>(sum + t / kTokenGroup * 2 * d_stride + 2 * b * kTokenGroup + t % kTokenGroup, kTokenGroup, h);
      }
      I acc[kTokens][2];
      products<Codes, kTokens>(codes + (b * 8 + h * kSpan) * 64, code_step, q + (b * 8 + h * kSpan) * kTokenGroup * 4, q_stride, start, acc);
      const F s0 = Vec::load(factor + h * kPanelRows), s1 = Vec::load(factor + h * kPanelRows + scale_step);
#pragma GCC unroll 8
      for (int t = 0; t < kTokens; t++) {
        const F a_scale = Vec::set1(d[t / kTokenGroup * d_stride + b * kTokenGroup + t % kTokenGroup]);
        total[t][0] = Vec::fma(Int::to_f32(acc[t][0]), Vec::mul(s0, a_scale), total[t][0]);
        total[t][1] = Vec::fma(Int::to_f32(acc[t][1]), Vec::mul(s1, a_scale), total[t][1]);
      }
    }
    if constexpr (Codes::kMins) {
#pragma GCC unroll 2
      for (int h = 0; h < Codes::kHalves; h++) {
        const F m0 = Vec::load(factor + (Codes::kHalves + h) * kPanelRows), m1 = Vec::load(factor + (Codes::kHalves + h) * kPanelRows + scale_step);
#pragma GCC unroll 8
        for (int t = 0; t < kTokens; t++) {
          const int32_t* half = sum + t / kTokenGroup * 2 * d_stride + 2 * b * kTokenGroup + t % kTokenGroup;
          const int32_t values = Codes::kHalves == 2 ? half[h * kTokenGroup] : half[0] + half[kTokenGroup];
          const F a_sum = Vec::set1(static_cast<float>(values) * d[t / kTokenGroup * d_stride + b * kTokenGroup + t % kTokenGroup]);
          total[t][0] = Vec::fma(a_sum, m0, total[t][0]);
          total[t][1] = Vec::fma(a_sum, m1, total[t][1]);
        }
      }
    }
  }
  for (int t = 0; t < kTokens && t < tokens; t++) {
    Vec::store(y + t * ldy, total[t][0]);
    Vec::store(y + t * ldy + kRows, total[t][1]);
  }
}

// 32 rows: two vectors a tile, so one tile over both panels with 16 lanes, one for each panel with 8.
template <class Codes, int kTokens, class V = Vec>
  requires(!V::kByElement)
inline void tile_32(int64_t tokens, int64_t blocks, const uint8_t* codes, const float* scales, int64_t panel, const int8_t* q, int64_t q_stride, const float* d,
                    const int32_t* sum, int64_t d_stride, float* y, int64_t ldy, bool accumulate) {
  const int64_t panel_scales = panel / kBlock * Codes::kScales;
  if constexpr (kRows == kPanelRows) {
    tile<Codes, kTokens>(tokens, blocks, codes, panel, scales, panel_scales, q, q_stride, d, sum, d_stride, y, ldy, accumulate);
  } else {
    for (int p = 0; p < 2; p++) {
      tile<Codes, kTokens>(tokens, blocks, codes + p * panel, kRows * 4, scales + p * panel_scales, kRows, q, q_stride, d, sum, d_stride, y + p * kPanelRows, ldy,
                           accumulate);
    }
  }
}

template <class Codes>
inline void gemm_q(int64_t tokens, int64_t blocks, const uint8_t* codes, const float* scales, int64_t panel, const int8_t* q, int64_t q_stride, const float* d,
                   const int32_t* sum, int64_t d_stride, float* y, int64_t ldy, bool accumulate) {
  int64_t t = 0;
  for (; t + kTileTokens - kTokenGroup < tokens; t += kTileTokens) {
    const int64_t g = t / kTokenGroup;
    tile_32<Codes, kTileTokens>(tokens - t, blocks, codes, scales, panel, q + g * q_stride, q_stride, d + g * d_stride, sum + 2 * g * d_stride, d_stride,
                                y + t * ldy, ldy, accumulate);
  }
  for (; t < tokens; t += kTokenGroup) {
    const int64_t g = t / kTokenGroup;
    tile_32<Codes, kTokenGroup>(tokens - t, blocks, codes, scales, panel, q + g * q_stride, q_stride, d + g * d_stride, sum + 2 * g * d_stride, d_stride,
                                y + t * ldy, ldy, accumulate);
  }
}

template <class Codes>
inline void gemv_q(const void* w, int64_t stride, int64_t blocks, const int8_t* q, const float* d, const int32_t* sum, float* y) {
  constexpr int kSpan = 8 / Codes::kHalves;
  for (int at = 0; at < kPanelRows; at += kRows) {
    const unsigned char* rows = static_cast<const unsigned char*>(w) + at * stride;
    F total = Vec::zero();
    for (int64_t first = 0; first < blocks; first += Codes::kDiskBlocks, rows += Codes::kBytes) {
      F factor[Codes::kDiskBlocks * Codes::kScales];
      Codes::scales(rows, stride, factor);
      for (int unit = 0; unit < Codes::kDiskBlocks / Codes::kUnit; unit++) {
        I group[8 * Codes::kUnit];
        Codes::load(rows, stride, unit, group);
#pragma GCC unroll 4
        for (int j = 0; j < Codes::kUnit; j++) {
          const int in_disk_block = unit * Codes::kUnit + j;
          const int64_t b = first + in_disk_block;
          const F* scale = factor + in_disk_block * Codes::kScales;
#pragma GCC unroll 2
          for (int h = 0; h < Codes::kHalves; h++) {
            const I acc = dot<Codes>(group + 8 * j + h * kSpan, q + (b * 8 + h * kSpan) * 4, start_of<Codes>(sum + 2 * b, 1, h));
            total = Vec::fma(Int::to_f32(acc), Vec::mul(scale[h], Vec::set1(d[b])), total);
          }
          if constexpr (Codes::kMins) {
#pragma GCC unroll 2
            for (int h = 0; h < Codes::kHalves; h++) {
              const int32_t values = Codes::kHalves == 2 ? sum[2 * b + h] : sum[2 * b] + sum[2 * b + 1];
              total = Vec::fma(Vec::set1(static_cast<float>(values) * d[b]), scale[Codes::kHalves + h], total);
            }
          }
        }
      }
    }
    Vec::store(y + at, total);
  }
}

#define LLAVA_QUANTISED_ENTRIES(T, elements, bytes)                                                                                                            \
  void pack_##T(const void* w, int64_t stride, int64_t blocks, uint8_t* codes, float* scales) noexcept { pack<Codes##T>(w, stride, blocks, codes, scales); }    \
  void gemm_##T(int64_t tokens, int64_t blocks, const uint8_t* codes, const float* scales, int64_t panel, const int8_t* q, int64_t q_stride, const float* d,    \
                const int32_t* sum, int64_t d_stride, float* y, int64_t ldy, bool accumulate) noexcept {                                                        \
    gemm_q<Codes##T>(tokens, blocks, codes, scales, panel, q, q_stride, d, sum, d_stride, y, ldy, accumulate);                                                  \
  }                                                                                                                                                             \
  void gemv_##T(const void* w, int64_t stride, int64_t blocks, const int8_t* q, const float* d, const int32_t* sum, float* y) noexcept {                        \
    gemv_q<Codes##T>(w, stride, blocks, q, d, sum, y);                                                                                                          \
  }
LLAVA_QUANTISED(LLAVA_QUANTISED_ENTRIES)
#undef LLAVA_QUANTISED_ENTRIES

void fill_quantised(KernelTable& t) {
#define LLAVA_QUANTISED_SLOTS(T, elements, bytes) \
  t.pack_##T = pack_##T;                          \
  t.gemm_##T = gemm_##T;                          \
  t.gemv_##T = gemv_##T;
  LLAVA_QUANTISED(LLAVA_QUANTISED_SLOTS)
#undef LLAVA_QUANTISED_SLOTS
}
