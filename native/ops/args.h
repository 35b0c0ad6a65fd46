// Arguments of every op: plain views and scalars. The comment above each struct is its contract; check.h is the contract as code.
//   T tokens · P patches · D hidden_size · F intermediate_size · H heads · Hk kv heads · Dh head_dim · V vocab · Tk keys
//   Activations are f32 rows; weights are [out, in] in their file's layout.
#pragma once
#include <cstdint>

#include "common/tensor.h"

namespace llava {

// y[T, D] = table[ids[t], :]
struct EmbedRowsArgs {
  const int32_t* ids;
  Weight table;
  Activations y;
};

// y = x, row by row
struct CopyRowsArgs {
  ConstActivations x;
  Activations y;
};

// y[0, :] = class_embedding + position[0, :];  y[1 + p, :] = weight · patch p of pixel_values[3, S, S] + bias + position[1 + p, :]
//   weight [Dv, 3 * patch * patch], index c * patch^2 + i * patch + j; patches in raster order (CLIPVisionEmbeddings);
//   pixels beyond the last whole patch are not looked at. Without class_embedding its row is missing from y and position (SiglipVisionEmbeddings).
struct PatchEmbedArgs {
  const float* pixel_values;
  int64_t image_size;
  int64_t patch_size;
  Weight weight;
  const float* bias;                // [Dv]; may be absent
  const float* class_embedding;     // [Dv]; may be absent
  const float* position_embedding;  // [1 + P, Dv]
  Activations y;                    // [1 + P, Dv]
};

// y[T, D] = (x - mean) / sqrt(var + eps) * weight + bias; y may be x
struct LayerNormArgs {
  ConstActivations x;
  const float* weight;
  const float* bias;
  float eps;
  Activations y;
};

// y[T, D] = weight * x / sqrt(mean(x^2) + eps); y may be x
struct RmsNormArgs {
  ConstActivations x;
  const float* weight;
  float eps;
  Activations y;
};

enum class Activation : uint8_t { kNone, kQuickGelu, kGelu, kGeluTanh };

// exact: quantised weights are dequantised and multiplied in f32; fast: activations are quantised to int8 blocks for them, and, for more than kFewRows rows
// of bf16 weights on a CPU that multiplies bf16, rounded to bf16.
// A row of a product has the same bits whatever rows stand beside it: of quantised weights always, of float weights under exact arithmetic, and under fast
// arithmetic up to kFewRows rows.
enum class Arithmetic : uint8_t { kFast, kExact };
constexpr int64_t kFewRows = 32;

// y[M, N] = activation(scale * x[M, K] · weight[N, K]ᵀ + bias[N]) + residual[M, N]; bias and residual may be absent; y may be residual.
struct LinearOutput {
  Weight weight;
  const float* bias = nullptr;
  float scale = 1;
  Activation activation = Activation::kNone;
  ConstActivations residual{};
  Activations y{};
};

// Up to three products that share x: q, k and v; gate and up.
struct LinearArgs {
  ConstActivations x;
  Arithmetic arithmetic = Arithmetic::kFast;
  int outputs = 1;
  LinearOutput output[3];
};

// y[T, D] = activation(x[T, D]), one other than kNone; y may be x
struct ActivateArgs {
  ConstActivations x;
  Activation activation;
  Activations y;
};

// y[T, F] = silu(gate[T, F]) * up[T, F]; y may be gate or up
struct SiluMulArgs {
  ConstActivations gate;
  ConstActivations up;
  Activations y;
};

// y[T, D] = a[T, D] + b[T, D]; y may be a or b
struct AddRowsArgs {
  ConstActivations a;
  ConstActivations b;
  Activations y;
};

enum class RopeLayout : uint8_t { kHalf, kInterleaved };

// Rotates every head of x[T, heads * Dh] in place by the angles whose cos and sin are given.
struct RopeArgs {
  Activations x;
  ConstActivations cos;  // [T, Dh / 2]
  ConstActivations sin;  // [T, Dh / 2]
  int64_t head_dim;
  RopeLayout layout;
};

// q8_0: int8 codes, and a half scale for each block of 32 values of one head at one position (the last block of a head may be shorter).
enum class KvType : uint8_t { kF16, kF32, kQ8_0 };

constexpr int64_t kPageTokens = 64;  // four AVX-512 vectors of scores; a page of one 7B layer is 1 MB in f16

// Head dimension of values, padded to whole vectors of the widest ISA.
constexpr int64_t padded_head_dim(int64_t head_dim) { return (head_dim + 15) / 16 * 16; }

// Values of one layer in one page: keys [Hk, Dh, kPageTokens] (transposed: scores are then lanes over tokens), values [Hk, kPageTokens, padded Dh].
constexpr int64_t page_keys(int64_t kv_heads, int64_t head_dim) { return kv_heads * head_dim * kPageTokens; }
constexpr int64_t page_values(int64_t kv_heads, int64_t head_dim) { return kv_heads * padded_head_dim(head_dim) * kPageTokens; }
constexpr int64_t kv_bytes(KvType type) { return type == KvType::kQ8_0 ? 1 : type == KvType::kF16 ? 2 : 4; }

// Scales follow the codes of both: of keys [Hk, blocks, kPageTokens], of values [Hk, kPageTokens, blocks].
constexpr int64_t kKvBlock = 32;
constexpr int64_t kv_blocks(int64_t head_dim) { return (head_dim + kKvBlock - 1) / kKvBlock; }

// One layer's keys and values of one sequence, page by page.
struct KvPages {
  std::byte* const* pages;  // each: keys, then values
  int64_t kv_heads;
  int64_t head_dim;
  KvType type;
};

// Bytes of one layer in one page.
constexpr int64_t page_layer_bytes(int64_t kv_heads, int64_t head_dim, KvType type) {
  const int64_t scales = type == KvType::kQ8_0 ? 2 * kv_heads * kv_blocks(head_dim) * kPageTokens : 0;
  return (page_keys(kv_heads, head_dim) + page_values(kv_heads, head_dim)) * kv_bytes(type) + scales * 2;
}

// Writes k, v [T, Hk * Dh] at positions first … first + T - 1.
struct KvAppendArgs {
  ConstActivations k;
  ConstActivations v;
  KvPages cache;
  int64_t first;
};

// y[T, H * Dh] = softmax(q kᵀ / sqrt(Dh)) v over the cached positions [0, keys).
//   causal: row t, at position p = keys - T + t, sees positions <= p; with a window, only the last `window` of those.
//   Query head h reads kv head h / (H / Hk).
struct AttentionArgs {
  ConstActivations q;
  KvPages cache;
  int64_t heads;
  int64_t keys;
  bool causal;
  Activations y;
  int64_t window = 0;  // 0: no limit
};

}  // namespace llava
