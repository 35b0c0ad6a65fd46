// The contracts of args.h as code. A violation is a mistake of ours (shapes of files are checked when weights are
// bound): kInternal.
#pragma once
#include <string>

#include "common/error.h"
#include "ops/args.h"

namespace llava {

inline void require(bool holds, const char* what) {
  if (!holds) throw Error(ErrorCode::kInternal, std::string("op contract broken: ") + what);
}

// Of this length, or absent.
inline bool is_vector(const Vector& vector, int64_t length) { return !vector || vector.length == length; }

inline void check(const EmbedRowsArgs& a) { require(a.y.cols == a.table.cols, "embed_rows: y[T, D], table[V, D]"); }
inline void check(const CopyRowsArgs& a) {
  require(a.x.rows == a.y.rows && a.x.cols == a.y.cols, "copy_rows: equal shapes");
}
inline void check(const MeanRowsArgs& a) {
  require(a.rows >= 1 && a.x.rows == a.y.rows * a.rows && a.x.cols == a.y.cols, "mean_rows: x[B * rows, D], y[B, D]");
}
inline void check(const PatchEmbedArgs& a) {
  const int64_t grid = a.image_size / a.patch_size, rows = (a.class_embedding ? 1 : 0) + grid * grid;
  require(grid * a.patch_size <= a.image_size && a.pictures >= 1 && a.y.rows == a.pictures * rows,
          "patch_embed: y[B * (1 + P), Dv]");
  require(a.position_embedding.rows == rows && a.position_embedding.cols == a.y.cols,
          "patch_embed: position_embedding[1 + P, Dv]");
  require(is_vector(a.bias, a.y.cols) && is_vector(a.class_embedding, a.y.cols),
          "patch_embed: bias, class_embedding[Dv]");
  require(a.weight.cols == 3 * a.patch_size * a.patch_size && a.weight.rows == a.y.cols,
          "patch_embed: weight[Dv, 3 patch^2]");
}
inline void check(const LayerNormArgs& a) {
  require(a.x.rows == a.y.rows && a.x.cols == a.y.cols, "layer_norm: equal shapes");
  require(a.weight.length == a.x.cols && a.bias.length == a.x.cols, "layer_norm: weight, bias[D]");
}
inline void check(const RmsNormArgs& a) {
  require(a.x.rows == a.y.rows && a.x.cols == a.y.cols, "rms_norm: equal shapes");
  require(a.weight.length == a.x.cols, "rms_norm: weight[D]");
}
inline void check(const LinearArgs& a) {
  require(a.outputs >= 1 && a.outputs <= 3, "linear: 1 to 3 outputs");
  for (int i = 0; i < a.outputs; i++) {
    const LinearOutput& o = a.output[i];
    require(o.weight.cols == a.x.cols && o.y.rows == a.x.rows && o.y.cols == o.weight.rows,
            "linear: x[M, K], weight[N, K], y[M, N]");
    require(is_vector(o.bias, o.y.cols), "linear: bias[N]");
    require(!o.residual || (o.residual.rows == o.y.rows && o.residual.cols == o.y.cols), "linear: residual[M, N]");
    require(!o.y || Device<const float>(o.y.data) != a.x.data, "linear: y is not x");
  }
}
inline void check(const ActivateArgs& a) {
  require(a.x.rows == a.y.rows && a.x.cols == a.y.cols, "activate: equal shapes");
  require(a.activation != Activation::kNone, "activate: an activation");
}
inline void check(const SiluMulArgs& a) {
  require(a.gate.rows == a.y.rows && a.up.rows == a.y.rows && a.gate.cols == a.y.cols && a.up.cols == a.y.cols,
          "silu_mul: equal shapes");
}
inline void check(const AddRowsArgs& a) {
  require(a.a.rows == a.y.rows && a.b.rows == a.y.rows && a.a.cols == a.y.cols && a.b.cols == a.y.cols,
          "add_rows: equal shapes");
}
inline void check(const RopeAnglesArgs& a) {
  require(a.cos.rows == a.sin.rows && a.cos.cols == a.inv_freq.length && a.sin.cols == a.inv_freq.length,
          "rope_angles: cos, sin [T, Dh / 2], inv_freq[Dh / 2]");
}
inline void check(const RopeArgs& a) {
  require(a.head_dim % 2 == 0 && a.x.cols % a.head_dim == 0, "rope: x[T, heads * Dh], Dh even");
  require(a.cos.rows == a.x.rows && a.sin.rows == a.x.rows && a.cos.cols == a.head_dim / 2 && a.sin.cols == a.cos.cols,
          "rope: cos, sin [T, Dh / 2]");
}
// The sequences of a batch of so many rows.
inline void check(const KvPages& cache, int64_t rows) {
  int64_t total = 0;
  for (const KvSequence& sequence : cache.sequences) {
    require(sequence.rows >= 0 && sequence.end >= 1, "kv: rows of at least 0, and a position");
    require(static_cast<int64_t>(sequence.pages.size()) * kPageTokens >= sequence.end, "kv: a page for every position");
    total += sequence.rows;
  }
  require(total == rows, "kv: the rows of the batch are those of its sequences");
}
inline void check_past(const KvPages& cache) {
  for (const KvSequence& sequence : cache.sequences)
    require(sequence.end >= sequence.rows, "kv: rows stand at positions of at least 0");
}
inline void check(const KvAppendArgs& a) {
  require(a.k.cols == a.cache.layout.kv_heads * a.cache.layout.head_dim && a.v.cols == a.k.cols && a.v.rows == a.k.rows,
          "kv_append: k, v[T, Hk * Dh]");
  check(a.cache, a.k.rows);
  check_past(a.cache);
}
inline void check(const AttentionArgs& a) {
  require(a.heads % a.cache.layout.kv_heads == 0, "attention: H a multiple of Hk");
  require(a.q.cols == a.heads * a.cache.layout.head_dim && a.y.cols == a.q.cols && a.y.rows == a.q.rows,
          "attention: q, y[T, H * Dh]");
  check(a.cache, a.q.rows);
  if (a.causal) check_past(a.cache);
  require(a.window >= 0 && (a.window == 0 || a.causal), "attention: a window only where causal");
}
inline void check(const AttentionWeightsArgs& a) {
  require(a.heads % a.cache.layout.kv_heads == 0, "attention_weights: H a multiple of Hk");
  require(a.q.cols == a.heads * a.cache.layout.head_dim && a.y.rows == a.q.rows * a.heads,
          "attention_weights: q[T, H * Dh], y[T * H, K]");
  check(a.cache, a.q.rows);
  check_past(a.cache);
  for (const KvSequence& sequence : a.cache.sequences)
    require(sequence.end <= a.y.cols, "attention_weights: y has a column for every position");
  require(a.window >= 0, "attention_weights: a window of at least 0");
}
inline void check(const TopKArgs& a) {
  require(a.k >= 1 && a.k <= a.columns && a.columns <= a.x.cols, "top_k: 1 <= k <= columns <= V");
}

}  // namespace llava
