// How one layer's keys and values lie in a page of a CUDA back end's cache.
//   Keys [Hk, Dh, kPageTokens], values [Hk, kPageTokens, padded Dh]; of q8_0 the scales of blocks of 32 values of a
//   head follow: of keys [Hk, blocks, kPageTokens], of values [Hk, kPageTokens, blocks]. It is the CPU's layout, which
//   suits both: lanes stand side by side over positions for scores, and over the head for values.
#pragma once
#include "cuda/platform.cuh"
#include "ops/args.h"

namespace llava::cuda {

constexpr int64_t kKvBlock = 32;

// Offsets in bytes from the beginning of a layer in a page, and steps in values.
struct PageLayout {
  int64_t heads, dim, padded;  // Hk, Dh, padded Dh
  int64_t blocks;              // of a head, where there are codes
  int64_t values_at, key_scales_at, value_scales_at, nbytes;
};

constexpr PageLayout page_layout(const KvLayout& layout) {
  const int64_t value = layout.type == KvType::kQ8_0 ? 1 : layout.type == KvType::kF16 ? 2 : 4;
  PageLayout p{};
  p.heads = layout.kv_heads;
  p.dim = layout.head_dim;
  p.padded = divided_up(layout.head_dim, 16) * 16;
  p.blocks = divided_up(layout.head_dim, kKvBlock);
  p.values_at = p.heads * p.dim * kPageTokens * value;
  p.key_scales_at = p.values_at + p.heads * p.padded * kPageTokens * value;
  const int64_t scales = layout.type == KvType::kQ8_0 ? p.heads * p.blocks * kPageTokens * 2 : 0;
  p.value_scales_at = p.key_scales_at + scales;
  p.nbytes = p.value_scales_at + scales;
  return p;
}

// Value `index` of what is stored there; of q8_0 its code.
template <KvType type>
__device__ __forceinline__ float stored_value(const std::byte* from, int64_t index) {
  if constexpr (type == KvType::kF32) return ld(reinterpret_cast<const float*>(from) + index);
  if constexpr (type == KvType::kF16) return half_bits_to_float(ld(reinterpret_cast<const uint16_t*>(from) + index));
  return static_cast<float>(ld(reinterpret_cast<const int8_t*>(from) + index));
}

// Where the key and value of a row of a batch go.
struct RowPlace {
  std::byte* page;
  int64_t slot;
};

}  // namespace llava::cuda
