// Quantised blocks as GGUF stores them (ggml's layouts), drawn byte by byte, and what one value of each is worth.
//   Every type reads  y = scale * code + min  with a whole-number code; scale and min hold for 32 or 16 neighbouring
//   values. d, dmin and m are IEEE halves. i is a value's index in its block; K blocks hold 256 values, the others 32.
//   A file may put them at any address (general.alignment = 1): packed structs are read wherever they lie.
#pragma once
#include <cstdint>

#include "common/dtype.h"
#include "common/half.h"

namespace llava {

constexpr int kBlock = 32;        // values that share a scale at most, and the block of the int8 activations
constexpr int kSuperBlock = 256;  // values in a K block

// | d (2) | qs (16) |   low nibbles are values 0 … 15, high nibbles 16 … 31
struct [[gnu::packed]] BlockQ4_0 {
  uint16_t d;
  uint8_t qs[16];
  int code(int i) const { return (qs[i % 16] >> 4 * (i / 16) & 15) - 8; }
  float scale(int) const { return half_to_float(d); }
  float min(int) const { return 0; }
};

// | d (2) | m (2) | qs (16) |
struct [[gnu::packed]] BlockQ4_1 {
  uint16_t d, m;
  uint8_t qs[16];
  int code(int i) const { return qs[i % 16] >> 4 * (i / 16) & 15; }
  float scale(int) const { return half_to_float(d); }
  float min(int) const { return half_to_float(m); }
};

// | d (2) | qh (4) | qs (16) |   bit i of qh is the fifth bit of value i
struct [[gnu::packed]] BlockQ5_0 {
  uint16_t d;
  uint8_t qh[4];
  uint8_t qs[16];
  int code(int i) const { return ((qs[i % 16] >> 4 * (i / 16) & 15) | (qh[i / 8] >> i % 8 & 1) << 4) - 16; }
  float scale(int) const { return half_to_float(d); }
  float min(int) const { return 0; }
};

// | d (2) | m (2) | qh (4) | qs (16) |
struct [[gnu::packed]] BlockQ5_1 {
  uint16_t d, m;
  uint8_t qh[4];
  uint8_t qs[16];
  int code(int i) const { return (qs[i % 16] >> 4 * (i / 16) & 15) | (qh[i / 8] >> i % 8 & 1) << 4; }
  float scale(int) const { return half_to_float(d); }
  float min(int) const { return half_to_float(m); }
};

// | d (2) | qs (32) |
struct [[gnu::packed]] BlockQ8_0 {
  uint16_t d;
  int8_t qs[32];
  int code(int i) const { return qs[i]; }
  float scale(int) const { return half_to_float(d); }
  float min(int) const { return 0; }
};

// | scales (16) | qs (64) | d (2) | dmin (2) |   16 values share a scale (low nibble) and a min (high nibble);
//   qs[32 h + r] holds values 128 h + r + {0, 32, 64, 96} in its four bit pairs
struct [[gnu::packed]] BlockQ2_K {
  uint8_t scales[16];
  uint8_t qs[64];
  uint16_t d, dmin;
  int code(int i) const { return qs[32 * (i / 128) + i % 32] >> 2 * (i % 128 / 32) & 3; }
  float scale(int i) const { return half_to_float(d) * static_cast<float>(scales[i / 16] & 15); }
  float min(int i) const { return -half_to_float(dmin) * static_cast<float>(scales[i / 16] >> 4); }
};

// | hmask (32) | qs (64) | scales (12) | d (2) |   bit pairs as Q2_K, third bit in hmask; 6-bit scales with offset 32:
//   scales[j % 8] holds the low four bits of j and j + 8, scales[8 + j % 4] the high two
struct [[gnu::packed]] BlockQ3_K {
  uint8_t hmask[32];
  uint8_t qs[64];
  uint8_t scales[12];
  uint16_t d;
  int code(int i) const {
    return (qs[32 * (i / 128) + i % 32] >> 2 * (i % 128 / 32) & 3) - ((hmask[i % 32] >> i / 32 & 1) != 0 ? 0 : 4);
  }
  float scale(int i) const {
    const int j = i / 16;
    const int six = (scales[j % 8] >> 4 * (j / 8) & 15) | (scales[8 + j % 4] >> 2 * (j / 4) & 3) << 4;
    return half_to_float(d) * static_cast<float>(six - 32);
  }
  float min(int) const { return 0; }
};

// 6-bit scale and min of 32-value group j: 12 bytes s[0 … 11] hold eight of each.
inline int k_scale(const uint8_t* s, int j) { return j < 4 ? s[j] & 63 : (s[j + 4] & 15) | s[j - 4] >> 6 << 4; }
inline int k_min(const uint8_t* s, int j) { return j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | s[j] >> 6 << 4; }

// | d (2) | dmin (2) | scales (12) | qs (128) |   qs[32 g + r] holds values 64 g + r (low) and 64 g + 32 + r (high)
struct [[gnu::packed]] BlockQ4_K {
  uint16_t d, dmin;
  uint8_t scales[12];
  uint8_t qs[128];
  int code(int i) const { return qs[32 * (i / 64) + i % 32] >> 4 * (i / 32 % 2) & 15; }
  float scale(int i) const { return half_to_float(d) * static_cast<float>(k_scale(scales, i / 32)); }
  float min(int i) const { return -half_to_float(dmin) * static_cast<float>(k_min(scales, i / 32)); }
};

// | d (2) | dmin (2) | scales (12) | qh (32) | qs (128) |   bit j of qh[r] is the fifth bit of value 32 j + r
struct [[gnu::packed]] BlockQ5_K {
  uint16_t d, dmin;
  uint8_t scales[12];
  uint8_t qh[32];
  uint8_t qs[128];
  int code(int i) const {
    return (qs[32 * (i / 64) + i % 32] >> 4 * (i / 32 % 2) & 15) | (qh[i % 32] >> i / 32 & 1) << 4;
  }
  float scale(int i) const { return half_to_float(d) * static_cast<float>(k_scale(scales, i / 32)); }
  float min(int i) const { return -half_to_float(dmin) * static_cast<float>(k_min(scales, i / 32)); }
};

// | ql (128) | qh (64) | scales (16, int8) | d (2) |   ql[64 h + r] holds values 128 h + r (low) and 128 h + 64 + r
// (high), r < 64;
//   qh[32 h + r] the high two bits of values 128 h + r + {0, 32, 64, 96}
struct [[gnu::packed]] BlockQ6_K {
  uint8_t ql[128];
  uint8_t qh[64];
  int8_t scales[16];
  uint16_t d;
  int code(int i) const {
    const int h = i / 128, r = i % 128;
    return ((ql[64 * h + r % 64] >> 4 * (r / 64) & 15) | (qh[32 * h + r % 32] >> 2 * (r / 32) & 3) << 4) - 32;
  }
  float scale(int i) const { return half_to_float(d) * static_cast<float>(scales[i / 16]); }
  float min(int) const { return 0; }
};

// The line of kDTypes that a block belongs to; one of a type that is not listed does not compile.
template <class Block>
struct BlockType;
#define LLAVA_BLOCK_TYPE(T, ...)             \
  template <>                                \
  struct BlockType<Block##T> {               \
    static constexpr DType kType = DType::T; \
  };                                         \
  static_assert(sizeof(Block##T) == traits(DType::T).bytes);
LLAVA_QUANTISED(LLAVA_BLOCK_TYPE)
#undef LLAVA_BLOCK_TYPE

template <class Block>
inline constexpr DTypeTraits kTraits = traits(BlockType<Block>::kType);

}  // namespace llava
