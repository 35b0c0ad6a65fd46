// The contracts of args.h as code. A violation is a mistake of ours (shapes of files are checked when weights are bound): kInternal.
#pragma once
#include <string>

#include "common/error.h"
#include "ops/args.h"

namespace llava {

inline void require(bool holds, const char* what) {
  if (!holds) throw Error(ErrorCode::kInternal, std::string("op contract broken: ") + what);
}

inline void check(const EmbedRowsArgs& a) {
  require(a.y.cols == a.table.cols, "embed_rows: y[T, D], table[V, D]");
  for (int64_t t = 0; t < a.y.rows; t++) require(a.ids[t] >= 0 && a.ids[t] < a.table.rows, "embed_rows: 0 <= id < V");
}
inline void check(const CopyRowsArgs& a) { require(a.x.rows == a.y.rows && a.x.cols == a.y.cols, "copy_rows: equal shapes"); }
inline void check(const PatchEmbedArgs& a) {
  const int64_t grid = a.image_size / a.patch_size;
  require(grid * a.patch_size <= a.image_size && a.y.rows == (a.class_embedding ? 1 : 0) + grid * grid, "patch_embed: y[1 + P, Dv]");
  require(a.weight.cols == 3 * a.patch_size * a.patch_size && a.weight.rows == a.y.cols, "patch_embed: weight[Dv, 3 patch^2]");
}
inline void check(const LayerNormArgs& a) { require(a.x.rows == a.y.rows && a.x.cols == a.y.cols, "layer_norm: equal shapes"); }
inline void check(const RmsNormArgs& a) { require(a.x.rows == a.y.rows && a.x.cols == a.y.cols, "rms_norm: equal shapes"); }
inline void check(const LinearArgs& a) {
  require(a.outputs >= 1 && a.outputs <= 3, "linear: 1 to 3 outputs");
  for (int i = 0; i < a.outputs; i++) {
    const LinearOutput& o = a.output[i];
    require(o.weight.cols == a.x.cols && o.y.rows == a.x.rows && o.y.cols == o.weight.rows, "linear: x[M, K], weight[N, K], y[M, N]");
    require(o.residual.data == nullptr || (o.residual.rows == o.y.rows && o.residual.cols == o.y.cols), "linear: residual[M, N]");
    require(o.y.data != a.x.data, "linear: y is not x");
  }
}
inline void check(const ActivateArgs& a) {
  require(a.x.rows == a.y.rows && a.x.cols == a.y.cols, "activate: equal shapes");
  require(a.activation != Activation::kNone, "activate: an activation");
}
inline void check(const SiluMulArgs& a) {
  require(a.gate.rows == a.y.rows && a.up.rows == a.y.rows && a.gate.cols == a.y.cols && a.up.cols == a.y.cols, "silu_mul: equal shapes");
}
inline void check(const AddRowsArgs& a) {
  require(a.a.rows == a.y.rows && a.b.rows == a.y.rows && a.a.cols == a.y.cols && a.b.cols == a.y.cols, "add_rows: equal shapes");
}
inline void check(const RopeArgs& a) {
  require(a.head_dim % 2 == 0 && a.x.cols % a.head_dim == 0, "rope: x[T, heads * Dh], Dh even");
  require(a.cos.rows == a.x.rows && a.sin.rows == a.x.rows && a.cos.cols == a.head_dim / 2 && a.sin.cols == a.cos.cols, "rope: cos, sin [T, Dh / 2]");
}
inline void check(const KvAppendArgs& a) {
  require(a.k.cols == a.cache.kv_heads * a.cache.head_dim && a.v.cols == a.k.cols && a.v.rows == a.k.rows, "kv_append: k, v[T, Hk * Dh]");
}
inline void check(const AttentionArgs& a) {
  require(a.heads % a.cache.kv_heads == 0, "attention: H a multiple of Hk");
  require(a.q.cols == a.heads * a.cache.head_dim && a.y.cols == a.q.cols && a.y.rows == a.q.rows, "attention: q, y[T, H * Dh]");
  require(a.keys >= 1 && (!a.causal || a.keys >= a.q.rows), "attention: keys >= T when causal");
  require(a.window >= 0 && (a.window == 0 || a.causal), "attention: a window only where causal");
}

}  // namespace llava
