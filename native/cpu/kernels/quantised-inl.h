// Quantised weights over Int: the codes and scales of every type. Included once per ISA inside its target region.
//
// Every type is u8 codes with an offset, and a scale (and for some a min) for 32 or 16 neighbouring values:
//   y = sum over blocks of  scale * 2^e * (sum code * a  -  offset * sum a)  +  min * 2^e * sum a
// An integer sum starts at the bits of the block's origin (cpu/block_float.h) minus offset * sum a; as a float, it is then origin + 2^e * (what is wanted).
// `interleave` brings the same 16 bytes of kRows rows side by side, four bytes of each in a vector; codes of 4 consecutive values are cut out there
// by shifts and masks. So one vector is [rows][4 values], which is what a 4-byte dot product wants: lanes are rows, and a row's sum never leaves its lane.
//
// The including file says, before this one, whether Q8_0 codes stay signed, without offset: kSignedQ8.

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
inline I bits(I bytes, int n, int mask, int to) {
  const I moved = to >= n ? Int::shift_left_16(bytes, to - n) : Int::shift_right_16(bytes, n - to);  // bits of a neighbour that come along are masked away
  return Int::bit_and(moved, Int::set1_8(mask << to));
}

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

// Of a block, or of its half where halves have scales of their own: the sum of activations.
template <class Codes>
inline int32_t block_sum(const int32_t* sum, int half) {
  return Codes::kHalves == 2 ? sum[half] : sum[0] + sum[1];
}

// A float origin + 2^e n, given as its bits, to 2^e n.
inline F above_origin(I bits, F origin) { return Vec::sub(Int::as_f32(bits), origin); }
