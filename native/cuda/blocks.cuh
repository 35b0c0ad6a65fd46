// 32 neighbouring values of a row of weights, of every type, as a thread takes them apart: words of four codes, as
// signed bytes, and the scale and min of each half; value = scale * code + min.
//   common/blocks.h says how each type lies in memory and what its values are. A row may begin at any address.
#pragma once
#include "common/dtype.h"
#include "cuda/platform.cuh"

namespace llava::cuda {

constexpr int kGroup = 32;  // values

struct Group {
  uint32_t codes[kGroup / 4];
  float scale[2], min[2];  // of values 0 … 15 and 16 … 31
};

__device__ __forceinline__ uint32_t load_word(const uint8_t* from) {
  const auto address = reinterpret_cast<uintptr_t>(from);
  const auto* words = reinterpret_cast<const uint32_t*>(address & ~uintptr_t{3});
  const auto shift = static_cast<uint32_t>(address & 3) * 8;
  const uint32_t low = ld(words);
  return shift == 0 ? low : __funnelshift_r(low, ld(words + 1), shift);
}
__device__ __forceinline__ float load_half(const uint8_t* from) {
  return half_bits_to_float(static_cast<uint16_t>(ld(from) | ld(from + 1) << 8));
}

// Each byte minus `offset`; bytes are below 128.
__device__ __forceinline__ uint32_t minus(uint32_t bytes, uint32_t offset) {
  return ((bytes | 0x80808080u) - offset * 0x01010101u) ^ 0x80808080u;
}
// Bits 0 … 3 to bit `bit` of bytes 0 … 3.
template <int bit>
__device__ __forceinline__ uint32_t spread(uint32_t bits) {
  return ((bits & 1u) | (bits & 2u) << 7 | (bits & 4u) << 14 | (bits & 8u) << 21) << bit;
}
__device__ __forceinline__ void set_scale(Group& g, float scale, float min) {
  g.scale[0] = g.scale[1] = scale;
  g.min[0] = g.min[1] = min;
}

// 6-bit scale and min of group j of a K block: `s` is its 12 bytes.
__device__ __forceinline__ void set_k_scale(Group& g, const uint8_t* block, const uint8_t* s, int j) {
  int scale, min;
  if (j < 4) {
    scale = ld(s + j) & 63;
    min = ld(s + j + 4) & 63;
  } else {
    scale = (ld(s + j + 4) & 15) | ld(s + j - 4) >> 6 << 4;
    min = ld(s + j + 4) >> 4 | ld(s + j) >> 6 << 4;
  }
  set_scale(g, load_half(block) * static_cast<float>(scale), -load_half(block + 2) * static_cast<float>(min));
}

// The group of `first` … first + 31 of a block.
template <DType type>
__device__ __forceinline__ void unpack(const uint8_t* block, int first, Group& g) {
  if constexpr (type == DType::Q4_0 || type == DType::Q4_1) {
    constexpr int kCodes = type == DType::Q4_0 ? 2 : 4;
    for (int i = 0; i < 4; i++) {
      const uint32_t word = load_word(block + kCodes + 4 * i);
      g.codes[i] = word & 0x0F0F0F0Fu;
      g.codes[i + 4] = word >> 4 & 0x0F0F0F0Fu;
    }
    if constexpr (type == DType::Q4_0) {
      for (uint32_t& word : g.codes) word = minus(word, 8);
    }
    set_scale(g, load_half(block), type == DType::Q4_0 ? 0.0f : load_half(block + 2));
  } else if constexpr (type == DType::Q5_0 || type == DType::Q5_1) {
    constexpr int kHigh = type == DType::Q5_0 ? 2 : 4;
    const uint32_t high = load_word(block + kHigh);
    for (int i = 0; i < 4; i++) {
      const uint32_t word = load_word(block + kHigh + 4 + 4 * i);
      g.codes[i] = (word & 0x0F0F0F0Fu) | spread<4>(high >> 4 * i);
      g.codes[i + 4] = (word >> 4 & 0x0F0F0F0Fu) | spread<4>(high >> (16 + 4 * i));
    }
    if constexpr (type == DType::Q5_0) {
      for (uint32_t& word : g.codes) word = minus(word, 16);
    }
    set_scale(g, load_half(block), type == DType::Q5_0 ? 0.0f : load_half(block + 2));
  } else if constexpr (type == DType::Q8_0) {
    for (int i = 0; i < 8; i++) g.codes[i] = load_word(block + 2 + 4 * i);
    set_scale(g, load_half(block), 0.0f);
  } else if constexpr (type == DType::Q2_K) {
    const uint8_t* const codes = block + 16 + 32 * (first / 128);
    for (int i = 0; i < 8; i++) g.codes[i] = load_word(codes + 4 * i) >> 2 * (first % 128 / 32) & 0x03030303u;
    const float d = load_half(block + 80), dmin = load_half(block + 82);
    for (int h = 0; h < 2; h++) {
      const int scale = ld(block + first / 16 + h);
      g.scale[h] = d * static_cast<float>(scale & 15);
      g.min[h] = -dmin * static_cast<float>(scale >> 4);
    }
  } else if constexpr (type == DType::Q3_K) {
    const uint8_t *const codes = block + 32 + 32 * (first / 128), *const scales = block + 96;
    for (int i = 0; i < 8; i++) {
      const uint32_t low = load_word(codes + 4 * i) >> 2 * (first % 128 / 32) & 0x03030303u;
      const uint32_t high = load_word(block + 4 * i) >> first / 32 & 0x01010101u;
      g.codes[i] = minus(low | high << 2, 4);
    }
    const float d = load_half(block + 108);
    for (int h = 0; h < 2; h++) {
      const int j = first / 16 + h;
      const int six = (ld(scales + j % 8) >> 4 * (j / 8) & 15) | (ld(scales + 8 + j % 4) >> 2 * (j / 4) & 3) << 4;
      g.scale[h] = d * static_cast<float>(six - 32);
      g.min[h] = 0;
    }
  } else if constexpr (type == DType::Q4_K) {
    const uint8_t* const codes = block + 16 + 32 * (first / 64);
    for (int i = 0; i < 8; i++) g.codes[i] = load_word(codes + 4 * i) >> 4 * (first / 32 % 2) & 0x0F0F0F0Fu;
    set_k_scale(g, block, block + 4, first / 32);
  } else if constexpr (type == DType::Q5_K) {
    const uint8_t* const codes = block + 48 + 32 * (first / 64);
    for (int i = 0; i < 8; i++) {
      const uint32_t low = load_word(codes + 4 * i) >> 4 * (first / 32 % 2) & 0x0F0F0F0Fu;
      g.codes[i] = low | (load_word(block + 16 + 4 * i) >> first / 32 & 0x01010101u) << 4;
    }
    set_k_scale(g, block, block + 4, first / 32);
  } else if constexpr (type == DType::Q6_K) {
    const int r = first % 128;
    const uint8_t *const low = block + 64 * (first / 128) + r % 64, *const high = block + 128 + 32 * (first / 128);
    for (int i = 0; i < 8; i++) {
      const uint32_t four = load_word(low + 4 * i) >> 4 * (r / 64) & 0x0F0F0F0Fu;
      const uint32_t two = load_word(high + 4 * i) >> 2 * (r / 32) & 0x03030303u;
      g.codes[i] = minus(four | two << 4, 32);
    }
    const float d = load_half(block + 208);
    for (int h = 0; h < 2; h++) {
      const auto scale = static_cast<int8_t>(ld(block + 192 + first / 16 + h));
      g.scale[h] = d * static_cast<float>(scale);
      g.min[h] = 0;
    }
  }
}

// Group number `group` of a row.
template <DType type>
__device__ __forceinline__ void unpack_group(const uint8_t* row, int64_t group, Group& g) {
  constexpr int kGroups = static_cast<int>(kDTypes[static_cast<int>(type)].elements / kGroup);
  constexpr int64_t kBytes = kDTypes[static_cast<int>(type)].bytes;
  unpack<type>(row + group / kGroups * kBytes, static_cast<int>(group % kGroups) * kGroup, g);
}

// Value i of a group: i is known where loops are unrolled.
__device__ __forceinline__ float value_of(const Group& g, int i) {
  const auto code = static_cast<int8_t>(g.codes[i / 4] >> 8 * (i % 4));
  return g.scale[i / 16] * static_cast<float>(code) + g.min[i / 16];
}

// One value of a row of float weights, which may begin at any address.
template <DType type>
__device__ __forceinline__ float load_float(const uint8_t* row, int64_t i) {
  if constexpr (type == DType::F32) return __int_as_float(static_cast<int>(load_word(row + 4 * i)));
  const auto bits = static_cast<uint16_t>(ld(row + 2 * i) | ld(row + 2 * i + 1) << 8);
  return type == DType::F16 ? half_bits_to_float(bits) : bfloat_bits_to_float(bits);
}

// Eight neighbours of a row of float weights, zeros behind its end: in words of 16 bytes where the row lies on them.
constexpr int kRun = 8;

template <DType type>
__device__ __forceinline__ void load_run(const uint8_t* row, int64_t k, int64_t K, float (&w)[kRun]) {
  constexpr int kBytes = static_cast<int>(kDTypes[static_cast<int>(type)].bytes);
  if (k + kRun <= K && reinterpret_cast<uintptr_t>(row) % 16 == 0) {
    uint4 words[kBytes * kRun / 16];
#pragma unroll
    for (int i = 0; i < kBytes * kRun / 16; i++) words[i] = ld(reinterpret_cast<const uint4*>(row + k * kBytes) + i);
    const auto* const packed = reinterpret_cast<const uint32_t*>(words);
#pragma unroll
    for (int i = 0; i < kRun; i++) {
      if constexpr (type == DType::F32) {
        w[i] = __int_as_float(static_cast<int>(packed[i]));
      } else {
        const auto bits = static_cast<uint16_t>(packed[i / 2] >> 16 * (i % 2));
        w[i] = type == DType::F16 ? half_bits_to_float(bits) : bfloat_bits_to_float(bits);
      }
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < kRun; i++) w[i] = k + i < K ? load_float<type>(row, k + i) : 0.0f;
}

constexpr bool is_quantised(DType type) { return kDTypes[static_cast<int>(type)].elements > 1; }

// body<type>() of a weight's type: kernels are chosen once, before a launch.
template <class Body>
void for_dtype(DType dtype, const Body& body) {
  switch (dtype) {
#define LLAVA_CASE(T, ...) \
  case DType::T: return body.template operator()<DType::T>();
    LLAVA_DTYPES(LLAVA_CASE)
#undef LLAVA_CASE
  }
}

}  // namespace llava::cuda
