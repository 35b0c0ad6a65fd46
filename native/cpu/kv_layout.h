// How one layer's keys and values lie in a page of the CPU's cache.
//   Keys [Hk, Dh, kPageTokens] (transposed: scores are then lanes over tokens), values [Hk, kPageTokens, padded Dh].
//   Of q8_0 the scales follow the codes of both: of keys [Hk, blocks, kPageTokens], of values [Hk, kPageTokens,
//   blocks].
#pragma once
#include "ops/args.h"

namespace llava::cpu {

// Head dimension of values, padded to whole vectors of the widest ISA.
constexpr int64_t padded_head_dim(int64_t head_dim) { return (head_dim + 15) / 16 * 16; }

constexpr int64_t page_keys(int64_t kv_heads, int64_t head_dim) { return kv_heads * head_dim * kPageTokens; }
constexpr int64_t page_values(int64_t kv_heads, int64_t head_dim) {
  return kv_heads * padded_head_dim(head_dim) * kPageTokens;
}
constexpr int64_t kv_bytes(KvType type) { return type == KvType::kQ8_0 ? 1 : type == KvType::kF16 ? 2 : 4; }

constexpr int64_t kKvBlock = 32;
constexpr int64_t kv_blocks(int64_t head_dim) { return (head_dim + kKvBlock - 1) / kKvBlock; }

constexpr int64_t page_layer_bytes(const KvLayout& layout) {
  const int64_t scales =
      layout.type == KvType::kQ8_0 ? 2 * layout.kv_heads * kv_blocks(layout.head_dim) * kPageTokens : 0;
  return (page_keys(layout.kv_heads, layout.head_dim) + page_values(layout.kv_heads, layout.head_dim)) *
             kv_bytes(layout.type) +
         scales * 2;
}

}  // namespace llava::cpu
