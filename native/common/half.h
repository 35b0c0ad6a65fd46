// IEEE binary16 and bfloat16 to and from float in plain integer arithmetic: subnormals, infinities and NaN included,
// rounding to nearest even, without branches, so that loops over them are vectorised. The vector kernels use the CPU's
// own conversions; these are their reference.
#pragma once
#include <bit>
#include <cstdint>

namespace llava {

// The bits moved into place are the value times 2^-112, exactly; an exponent of all ones stays one.
inline float half_to_float(uint16_t h) {
  const uint32_t magnitude = static_cast<uint32_t>(h & 0x7FFFu) << 13;
  const uint32_t scaled = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112f);
  const uint32_t special = magnitude >= 0x0F800000u ? 0x7F800000u : 0u,
                 quiet = magnitude > 0x0F800000u ? 0x00400000u : 0u;
  return std::bit_cast<float>(scaled | special | quiet | static_cast<uint32_t>(h & 0x8000u) << 16);
}

inline uint16_t float_to_half(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value), magnitude = bits & 0x7FFFFFFFu;
  // subnormal as a half: adding 0.5 aligns the bits
  const uint32_t tiny = 0u - static_cast<uint32_t>(magnitude < 0x38800000u);
  const uint32_t huge = 0u - static_cast<uint32_t>(magnitude >= 0x477FF000u);  // rounds to infinity
  const uint32_t nan = 0u - static_cast<uint32_t>(magnitude > 0x7F800000u);    // made quiet
  const uint32_t aligned = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3F000000u;
  const uint32_t rounded = (magnitude + 0xFFFu + (magnitude >> 13 & 1u) - 0x38000000u) >> 13;
  const uint32_t finite = (aligned & tiny) | (rounded & ~tiny),
                 special = 0x7C00u | (nan & (0x200u | (magnitude >> 13 & 0x3FFu)));
  return static_cast<uint16_t>((bits >> 16 & 0x8000u) | (special & huge) | (finite & ~huge));
}

inline float bfloat_to_float(uint16_t b) { return std::bit_cast<float>(static_cast<uint32_t>(b) << 16); }

inline uint16_t float_to_bfloat(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<uint16_t>(bits >> 16 | 0x40u);  // NaN, made quiet
  return static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

}  // namespace llava
