// Arguments of every op: views of device memory, and scalars and lists of the host, which need to live until the op
// returns.
//   The comment above each struct is its contract; check.h is the contract as code.
//   T tokens · P patches · D hidden_size · F intermediate_size · H heads · Hk kv heads · Dh head_dim · V vocab · Tk
//   keys Activations are f32 rows; weights are [out, in] in their file's layout.
//   NaN and infinities: what stands in one row, or overflows there, changes no bit of a row that does not depend on it.
//   Each row of y depends on the same row of its inputs, of attention on the keys and values that it sees, of mean_rows
//   on its picture. What becomes of the row itself stands with each op; where nothing does, each value of y is computed
//   from its own values as IEEE 754 has it. "Not finite" is NaN or an infinity, and which of them differs between ISAs.
#pragma once
#include <cstdint>
#include <span>

#include "ops/tensor.h"

namespace llava {

// y[T, D] = table[ids[t], :];  0 <= ids[t] < V is the caller's to see to
struct EmbedRowsArgs {
  Device<const int32_t> ids;  // [T]
  Weight table;
  Activations y;
};

// y = x, row by row
struct CopyRowsArgs {
  ConstActivations x;
  Activations y;
};

// y[b, :] = the mean of the rows of picture b, x[b * rows … (b + 1) * rows - 1, :], summed in double precision
struct MeanRowsArgs {
  ConstActivations x;  // [B * rows, D]
  int64_t rows;
  Activations y;  // [B, D]
};

// exact: quantised weights are dequantised and multiplied in f32. fast: activations are quantised to int8 blocks for
// them. For more than kFewRows rows, where the CPU is so much faster at it: products of bf16 weights, and of quantised
// ones, in bf16, and those of other float weights in two terms of bf16 (cpu/factors.h).
// A row of a product has the same bits whatever rows stand beside it: under exact arithmetic always, under fast
// arithmetic up to kFewRows rows and from there on.
enum class Arithmetic : uint8_t { kFast, kExact };
constexpr int64_t kFewRows = 32;

// Of each of B pictures:  y[0, :] = class_embedding + position[0, :];
//   y[1 + p, :] = weight · patch p of pixel_values[3, S, S] + bias + position[1 + p, :]
//   weight [Dv, 3 * patch * patch], index c * patch^2 + i * patch + j; patches in raster order (CLIPVisionEmbeddings);
//   pixels beyond the last whole patch are not looked at. Without class_embedding its row is missing from y and
//   position (SiglipVisionEmbeddings). A pixel that is not finite makes its patch's row not finite, and no other.
struct PatchEmbedArgs {
  Device<const float> pixel_values;  // [B, 3, S, S]
  int64_t pictures;                  // B
  int64_t image_size;
  int64_t patch_size;
  Weight weight;
  Vector bias;                          // [Dv]; may be absent
  Vector class_embedding;               // [Dv]; may be absent
  ConstActivations position_embedding;  // [1 + P, Dv]
  Arithmetic arithmetic = Arithmetic::kFast;
  Activations y;  // [B * (1 + P), Dv], one picture after the other
};

// y[T, D] = (x - mean) / sqrt(var + eps) * weight + bias; y may be x. NaN or an infinity makes its row NaN; where only
// the squares overflow, the row is bias.
struct LayerNormArgs {
  ConstActivations x;
  Vector weight;  // [D]
  Vector bias;    // [D]
  float eps;
  Activations y;
};

// y[T, D] = weight * x / sqrt(mean(x^2) + eps); y may be x. NaN makes its row NaN. An infinity becomes NaN, and what is
// finite beside it 0; so it does where only the squares overflow.
struct RmsNormArgs {
  ConstActivations x;
  Vector weight;  // [D]
  float eps;
  Activations y;
};

enum class Activation : uint8_t { kNone, kQuickGelu, kGelu, kGeluTanh };

// y[M, N] = activation(scale * x[M, K] · weight[N, K]ᵀ + bias[N]) + residual[M, N]; bias and residual may be absent; y
// may be residual. A value of x that is not finite makes its whole row of y not finite; so does one that bf16 rounds to
// an infinity, where x is multiplied in bf16. What is not finite in a row of weight stays in its column of y.
struct LinearOutput {
  Weight weight;
  Vector bias{};
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

// y[T, D] = activation(x[T, D]), one other than kNone; y may be x. NaN and infinities become values that are not
// finite.
struct ActivateArgs {
  ConstActivations x;
  Activation activation;
  Activations y;
};

// y[T, F] = silu(gate[T, F]) * up[T, F]; y may be gate or up. NaN and infinities become values that are not finite.
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

// cos[t, j], sin[t, j] of the angle positions[t] * inv_freq[j], which is rounded to f32 first (LlamaRotaryEmbedding).
struct RopeAnglesArgs {
  Device<const int32_t> positions;  // [T]
  Vector inv_freq;                  // [Dh / 2]
  Activations cos;                  // [T, Dh / 2]
  Activations sin;                  // [T, Dh / 2]
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

// q8_0: int8 codes, and a half scale for each block of 32 values of one head at one position (the last block of a head
// may be shorter).
enum class KvType : uint8_t { kF16, kF32, kQ8_0 };

// positions in a page: four AVX-512 vectors of scores; one 7B layer takes 1 MB in f16
constexpr int64_t kPageTokens = 64;

// What a page holds of one layer; how it lies there is the back end's.
struct KvLayout {
  int64_t kv_heads;
  int64_t head_dim;
  KvType type;
};

// One sequence of a ragged batch: its rows follow those of the sequences before it, and stand at positions [end - rows,
// end).
struct KvSequence {
  std::span<const DeviceBytes> pages;  // of its positions [0, end), all layers of each
  int64_t rows;                        // may be 0
  int64_t end;
};

// One layer's keys and values of the sequences of a batch.
struct KvPages {
  KvLayout layout;
  uint64_t layer_offset;  // in every page
  std::span<const KvSequence> sequences;
};

// Writes k, v [T, Hk * Dh] of all sequences at their positions. In f16, what is nearer to 2^16 than to 65504 is an
// infinity. In q8_0, finite values end at 127 * 65504, and a block that holds NaN or an infinity reads as NaN.
struct KvAppendArgs {
  ConstActivations k;
  ConstActivations v;
  KvPages cache;
};

// y[T, H * Dh] = softmax(q kᵀ / sqrt(Dh)) v over the cached positions [0, end) of each row's sequence.
//   causal: a row at position p sees positions <= p; with a window, only the last `window` of those.
//   Query head h reads kv head h / (H / Hk).
//   NaN in a query, or in a key that it sees, makes that head of the row NaN; so does an infinite score. A score of
//   -infinity is a weight of 0; where all are, the head is 0. A value that is not finite makes its column of the head
//   so.
//   Under fast arithmetic a device may multiply in f16, with sums in float32, over a cache of f16 or q8_0 for sequences
//   of more than kFewRows rows: then q * log2(e) / sqrt(Dh) beyond 65504 is an infinity. A row has the same bits in any
//   company, of up to kFewRows rows of its sequence and from there on.
struct AttentionArgs {
  ConstActivations q;
  KvPages cache;
  int64_t heads;
  bool causal;
  Activations y;
  int64_t window = 0;  // 0: no limit
  Arithmetic arithmetic = Arithmetic::kFast;
};

// What causal attention multiplies the values by: y[t * H + h, p] = softmax(q kᵀ / sqrt(Dh)) of head h of row t at each
// position p that the row sees; 0 at all others up to K.
//   NaN in a query, or in a key that it sees, makes that head's weights of the row NaN wherever it sees; so does an
//   infinite score. A score of -infinity is a weight of 0, also where all are.
struct AttentionWeightsArgs {
  ConstActivations q;  // [T, H * Dh]
  KvPages cache;
  int64_t heads;
  Activations y;       // [T * H, K]; no sequence ends beyond K
  int64_t window = 0;  // 0: no limit
};

// Of each row of x[R, V]: the k largest of its first `columns` values and where they stand, best first, of equals the
// lower column; NaN is above all, and -0 equals 0. log_sum_exp[r] = ln sum over all V of exp(x[r, v]), in double
// precision; NaN where the row holds NaN, else what its largest value is where that is infinite.
struct TopKArgs {
  ConstActivations x;  // [R, V]
  int64_t columns;     // k <= columns <= V
  int64_t k;
  Device<int32_t> ids;                   // [R, k]
  Device<float> values;                  // [R, k]
  Device<double> log_sum_exp = nullptr;  // [R]; may be absent
};

}  // namespace llava
