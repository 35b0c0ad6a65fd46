// Quantised weights over Int: the codes and scales of every type. Included once per ISA inside its target region.
//
// Every type is u8 codes with an offset, and a scale (and for some a min) for 32 or 16 neighbouring values:
//   y = sum over blocks of  scale * 2^e * (sum code * a  -  offset * sum a)  +  min * 2^e * sum a
// An integer sum starts at the bits of the block's origin (cpu/block_float.h) minus offset * sum a; as a float, it is
// then origin + 2^e * (what is wanted). `interleave` brings the same 16 bytes (`interleave_32`: 32) of kRows rows side
// by side, four bytes of each in a vector; codes of 4 consecutive values, a group, are cut out there by shifts and
// masks. So one vector is [rows][4 values], which is what a 4-byte dot product wants: lanes are rows, and a row's sum
// never leaves its lane.
//
// The including file says, before this one, whether Q8_0 codes stay signed, without offset: kSignedQ8.
#pragma once

// What all types have in common. A unit is the blocks whose bytes lie among each other; it is read in parts, each the
// same few groups of 4 values of every block.
//   load(w, stride, unit, part) -> Packed;  code(packed, j, g)  group g (of the part) of block j (of the unit)
//   scales(w, stride) -> Scales, of a block on disk;  factor(scales, i)  value i of [blocks][kScales]: of each block
//   its scales, then its mins
// Codes and factors are cut out right where they are multiplied, so that what is packed stays in registers.
template <class Block, int unit_blocks, int part_groups, int offset = kTraits<Block>.offset>
struct CodesOf {
  static constexpr int kBytes = sizeof(Block);                            // of a block on disk
  static constexpr int kDiskBlocks = reference::kValues<Block> / kBlock;  // blocks of 32 in it
  static constexpr int kUnit = unit_blocks;                               // blocks of 32
  // groups, of 8 in a block: no more than share a scale
  static constexpr int kPart = part_groups;
  static constexpr int kOffset = offset;
  static constexpr int kLargest = kTraits<Block>.largest_code;
  static constexpr bool kFillsByte = kLargest == (1 << 8) - 1;  // signed on disk, and where kSignedQ8 says so
  static constexpr bool kFifthBits = kLargest == (1 << 5) - 1;  // apart from the nibbles
  static constexpr int kHalves = kTraits<Block>.halves;
  static constexpr bool kMins = kTraits<Block>.mins;
  static constexpr int kScales = kTraits<Block>.factors();
  static constexpr int kCodeBytes = 1;  // of a packed code
};

// Blocks whose length is no multiple of 32 bytes, as many as make up one: read as a stretch in whole steps of 32 bytes,
// with far fewer loads than block by block. Everything in them begins at a dword or in the middle of one.
template <class Block>
struct BlockRun {
  static constexpr int kBytes = sizeof(Block), kBlocks = 32 / (kBytes & -kBytes), kSteps = kBlocks * kBytes / 32;
  I dword[kBlocks * kBytes / 4];
  void load_step(const unsigned char* w, int64_t stride, int step) {
    Int::interleave_32(w + 32 * step, stride, dword + 8 * step);
  }
  // Whether block j is whole once this step is loaded.
  static bool ends(int j, int step) { return ((j + 1) * kBytes - 1) / 32 == step; }
  I at(int byte) const {
    return byte % 4 == 0 ? dword[byte / 4] : Int::from_middle(dword[byte / 4], dword[byte / 4 + 1]);
  }
  template <int kCount>
  void read(int byte, I* out) const {
#pragma GCC unroll 8
    for (int i = 0; i < kCount; i++) out[i] = at(byte + 4 * i);
  }
  F half_at(int byte) const {
    return Int::halves_to_f32(byte % 4 == 0 ? dword[byte / 4] : Int::shift_right_32(dword[byte / 4], 16));
  }
};

inline I low_nibbles(I bytes) { return Int::bit_and(bytes, Int::set1_8(15)); }
inline I high_nibbles(I bytes) { return low_nibbles(Int::shift_right_16(bytes, 4)); }

// 16 bytes of each row, whose low nibbles are groups 0 … 3 of a block and whose high ones are groups 4 … 7.
struct Nibbles {
  I bytes[4];
  Nibbles(const unsigned char* w, int64_t stride) { Int::interleave(w, stride, bytes); }
  template <class Block>
  Nibbles(const BlockRun<Block>& run, int byte) {
    run.template read<4>(byte, bytes);
  }
  I group(int g) const { return g < 4 ? low_nibbles(bytes[g]) : high_nibbles(bytes[g - 4]); }
};

// Bits n (and n + 1, with mask 3) of each byte, moved to bit `to`.
inline I bits(I bytes, int n, int mask, int to) {
  // bits of a neighbour that come along are masked away
  const I moved = to >= n ? Int::shift_left_16(bytes, to - n) : Int::shift_right_16(bytes, n - to);
  return Int::bit_and(moved, Int::set1_8(mask << to));
}

// d of a row.
struct OneScale {
  static constexpr int kBytes = 2;
  F d;
  OneScale(const unsigned char* w, int64_t stride) : d(Int::rows_f16(w, stride)) {}
  template <class Block>
  OneScale(const BlockRun<Block>& run, int byte) : d(run.half_at(byte)) {}
  F factor(int) const { return d; }
};

// d and m of a row, which lie side by side.
struct ScaleAndMin {
  static constexpr int kBytes = 4;
  I dm;
  ScaleAndMin(const unsigned char* w, int64_t stride) : dm(Int::rows_32(w, stride)) {}
  template <class Block>
  ScaleAndMin(const BlockRun<Block>& run, int byte) : dm(run.at(byte)) {}
  F factor(int i) const { return Int::halves_to_f32(i == 0 ? dm : Int::shift_right_32(dm, 16)); }
};

// Blocks of 32 values that begin with their row's scales.
template <class Block, class RowScales, int offset = kTraits<Block>.offset>
struct SingleBlockCodes : CodesOf<Block, 1, 8, offset> {
  using Scales = RowScales;
  using Run = BlockRun<Block>;
  static Scales scales(const unsigned char* w, int64_t stride) { return {w, stride}; }
  static Scales scales(const Run& run, int j) { return {run, j * Run::kBytes}; }
};

// A row's scales, then 32 nibbles.
template <class Block, class RowScales>
struct NibbleCodes : SingleBlockCodes<Block, RowScales> {
  using Packed = Nibbles;
  static Packed load(const unsigned char* w, int64_t stride, int, int) { return {w + RowScales::kBytes, stride}; }
  static I code(const Packed& packed, int, int g) { return packed.group(g); }
  static Packed load(const BlockRun<Block>& run, int j) { return {run, j * run.kBytes + RowScales::kBytes}; }
};

struct CodesQ4_0 : NibbleCodes<BlockQ4_0, OneScale> {};
struct CodesQ4_1 : NibbleCodes<BlockQ4_1, ScaleAndMin> {};

// Bit i of each row's dword is bit 4 of value i: value 4 g + j is byte j of group g.
struct FiveBits {
  Nibbles low;
  I high;
  I group(int g) const { return Int::bit_or(low.group(g), Int::nibble_to_fifth_bits(high, g)); }
};

// A row's scales, the fifth bits, then 32 nibbles.
template <class Block, class RowScales>
struct FiveBitCodes : SingleBlockCodes<Block, RowScales> {
  using Packed = FiveBits;
  static Packed load(const unsigned char* w, int64_t stride, int, int) {
    return {{w + RowScales::kBytes + 4, stride}, Int::rows_32(w + RowScales::kBytes, stride)};
  }
  static I code(const Packed& packed, int, int g) { return packed.group(g); }
  static Packed load(const BlockRun<Block>& run, int j) {
    const int at = j * run.kBytes + RowScales::kBytes;
    return {{run, at + 4}, run.at(at)};
  }
};

struct CodesQ5_0 : FiveBitCodes<BlockQ5_0, OneScale> {};
struct CodesQ5_1 : FiveBitCodes<BlockQ5_1, ScaleAndMin> {};

// 32 bytes of each row: group g of them is bytes[g].
struct Bytes32 {
  I bytes[8];
  Bytes32(const unsigned char* w, int64_t stride) { Int::interleave_32(w, stride, bytes); }
  template <class Block>
  Bytes32(const BlockRun<Block>& run, int byte) {
    run.template read<8>(byte, bytes);
  }
};

struct CodesQ8_0 : SingleBlockCodes<BlockQ8_0, OneScale, kSignedQ8 ? 0 : kTraits<BlockQ8_0>.offset> {
  using Packed = Bytes32;
  static Packed load(const unsigned char* w, int64_t stride, int, int) { return {w + 2, stride}; }
  static I code(const Packed& packed, int, int g) {
    return kSignedQ8 ? packed.bytes[g] : Int::bit_xor(packed.bytes[g], Int::set1_8(0x80));
  }
  static Packed load(const Run& run, int j) { return {run, j * Run::kBytes + OneScale::kBytes}; }
};

// Bytes of each dword as s16: two of them in a dword again.
inline I even_bytes(I bytes) { return Int::shift_right_signed_16(Int::shift_left_16(bytes, 8), 8); }
inline I odd_bytes(I bytes) { return Int::shift_right_signed_16(bytes, 8); }

// The same 16 of the 32 bytes that four blocks share, two bits each.
struct CodesQ2_K : CodesOf<BlockQ2_K, 4, 4> {
  struct Packed {
    I pairs[4];
  };
  static Packed load(const unsigned char* w, int64_t stride, int unit, int part) {
    Packed packed;
    Int::interleave(w + 16 + 32 * unit + 16 * part, stride, packed.pairs);
    return packed;
  }
  static I code(const Packed& packed, int j, int g) { return bits(packed.pairs[g], 2 * j, 3, 0); }
  struct Scales {
    I packed[4];
    F d, minus_dmin;
    F factor(int i) const {
      const int half = i / 4 * 2 + i % 2, shift = 8 * (half % 4) + i % 4 / 2 * 4;
      const F four = Int::to_f32(Int::bit_and(Int::shift_right_32(packed[half / 4], shift), Int::set1_32(15)));
      return Vec::mul(i % 4 < 2 ? d : minus_dmin, four);
    }
  };
  static Scales scales(const unsigned char* w, int64_t stride) {
    I packed[4];
    Int::interleave(w, stride, packed);
    const ScaleAndMin d(w + 80, stride);
    return {{packed[0], packed[1], packed[2], packed[3]}, d.factor(0), Vec::sub(Vec::zero(), d.factor(1))};
  }
};

struct CodesQ3_K : CodesOf<BlockQ3_K, 8, 4> {
  struct Packed {
    I pairs[2][4], third[4];
  };
  static Packed load(const unsigned char* w, int64_t stride, int, int part) {
    Packed packed;
    Int::interleave(w + 16 * part, stride, packed.third);
    Int::interleave(w + 32 + 16 * part, stride, packed.pairs[0]);
    Int::interleave(w + 64 + 16 * part, stride, packed.pairs[1]);
    return packed;
  }
  static I code(const Packed& packed, int j, int g) {
    return Int::bit_or(bits(packed.pairs[j / 4][g], j % 4 * 2, 3, 0), bits(packed.third[g], j, 1, 2));
  }
  struct Scales {
    I packed[3];
    F d;
    F factor(int j) const {
      const I low = Int::set1_32(15), two = Int::set1_32(3);
      const I four = Int::bit_and(Int::shift_right_32(packed[j % 8 / 4], 8 * (j % 4) + 4 * (j / 8)), low);
      const I upper = Int::bit_and(Int::shift_right_32(packed[2], 8 * (j % 4) + 2 * (j / 4)), two);
      const F six = Int::to_f32(Int::bit_or(four, Int::shift_left_32(upper, 4)));
      return Vec::mul(d, Vec::sub(six, Vec::set1(32.0f)));
    }
  };
  // The last 16 bytes of the block are two of qs, 12 of scales and d: shifted by two bytes, scales[4 i …] are dword i.
  static Scales scales(const unsigned char* w, int64_t stride) {
    I tail[4];
    Int::interleave(w + 94, stride, tail);
    Scales s;
#pragma GCC unroll 3
    for (int i = 0; i < 3; i++) s.packed[i] = Int::from_middle(tail[i], tail[i + 1]);
    s.d = Int::halves_to_f32(Int::shift_right_32(tail[3], 16));
    return s;
  }
};

// Eight 6-bit scales and mins and their factors: the first 16 bytes of a Q4_K or Q5_K block.
struct SixBitScales {
  I head[4];
  F d, minus_dmin;
  SixBitScales(const unsigned char* w, int64_t stride) {
    Int::interleave(w, stride, head);
    d = Int::halves_to_f32(head[0]);
    minus_dmin = Vec::sub(Vec::zero(), Int::halves_to_f32(Int::shift_right_32(head[0], 16)));
  }
  F factor(int i) const {
    const int j = i / 2, shift = 8 * (j % 4);
    const I low = head[1 + i % 2];
    if (j < 4)
      return Vec::mul(i % 2 == 0 ? d : minus_dmin,
                      Int::to_f32(Int::bit_and(Int::shift_right_32(low, shift), Int::set1_32(63))));
    const I four = Int::bit_and(Int::shift_right_32(head[3], shift + i % 2 * 4), Int::set1_32(15));
    const I two = Int::bit_and(Int::shift_right_32(low, shift + 2), Int::set1_32(0x30));
    return Vec::mul(i % 2 == 0 ? d : minus_dmin, Int::to_f32(Int::bit_or(four, two)));
  }
};

struct CodesQ4_K : CodesOf<BlockQ4_K, 2, 8> {
  using Packed = Bytes32;
  static Packed load(const unsigned char* w, int64_t stride, int unit, int) { return {w + 16 + 32 * unit, stride}; }
  static I code(const Packed& packed, int j, int g) {
    return j == 0 ? low_nibbles(packed.bytes[g]) : high_nibbles(packed.bytes[g]);
  }
  using Scales = SixBitScales;
  static Scales scales(const unsigned char* w, int64_t stride) { return {w, stride}; }
};

struct CodesQ5_K : CodesOf<BlockQ5_K, 8, 4> {
  struct Packed {
    I nibbles[4][4], fifth[4];
  };
  static Packed load(const unsigned char* w, int64_t stride, int, int part) {
    Packed packed;
    Int::interleave(w + 16 + 16 * part, stride, packed.fifth);
#pragma GCC unroll 4
    for (int pair = 0; pair < 4; pair++) Int::interleave(w + 48 + 32 * pair + 16 * part, stride, packed.nibbles[pair]);
    return packed;
  }
  static I code(const Packed& packed, int j, int g) {
    const I four = packed.nibbles[j / 2][g];
    return Int::bit_or(j % 2 == 0 ? low_nibbles(four) : high_nibbles(four), bits(packed.fifth[g], j, 1, 4));
  }
  using Scales = SixBitScales;
  static Scales scales(const unsigned char* w, int64_t stride) { return {w, stride}; }
};

struct CodesQ6_K : CodesOf<BlockQ6_K, 4, 4> {
  struct Packed {
    I nibbles[2][4], pairs[4];
  };
  static Packed load(const unsigned char* w, int64_t stride, int unit, int part) {
    Packed packed;
    Int::interleave(w + 64 * unit + 16 * part, stride, packed.nibbles[0]);
    Int::interleave(w + 64 * unit + 32 + 16 * part, stride, packed.nibbles[1]);
    Int::interleave(w + 128 + 32 * unit + 16 * part, stride, packed.pairs);
    return packed;
  }
  static I code(const Packed& packed, int j, int g) {
    const I four = packed.nibbles[j % 2][g];
    return Int::bit_or(j < 2 ? low_nibbles(four) : high_nibbles(four), bits(packed.pairs[g], 2 * j, 3, 4));
  }
  struct Scales {
    I packed[4];
    F d;
    F factor(int h) const {
      return Vec::mul(d,
                      Int::to_f32(Int::shift_right_signed_32(Int::shift_left_32(packed[h / 4], 24 - 8 * (h % 4)), 24)));
    }
  };
  static Scales scales(const unsigned char* w, int64_t stride) {
    Scales s;
    Int::interleave(w + 192, stride, s.packed);
    s.d = Int::rows_f16(w + 208, stride);
    return s;
  }
};

// Of a block, or of its half where halves have scales of their own: the sum of activations.
template <class Codes>
inline int32_t block_sum(const int32_t* sum, int half) {
  return Codes::kHalves == 2 ? sum[half] : sum[0] + sum[1];
}

// A float origin + 2^e n, given as its bits, to 2^e n.
inline F above_origin(I bits, F origin) { return Vec::sub(Int::as_f32(bits), origin); }

// Four values, group g of token t, in every lane; groups of tokens lie q_stride bytes apart.
inline I word_of(const int8_t* q, int64_t q_stride, int g, int t) {
  return Int::broadcast_word(q + t / kTokenGroup * q_stride + (g * kTokenGroup + t % kTokenGroup) * 4);
}
