// The vision tower (CLIPVisionTransformer, SiglipVisionModel up to the selected layer; no post_layernorm), the block it
// shares with the text towers, and SigLIP's pooling head.
//   pixel_values[B, 3, S, S] -> hidden_states[B * Tv, Dv];  CLIP: Tv = 1 + P, class token first; SigLIP: Tv = P
//   Products see the rows of all pictures at once, so that weights are read once; attention sees one picture at a time.
#include "model/passes.h"

namespace llava {

Activations Passes::vision_tower(const VisionConfig& c, const VisionWeights& w, Device<const float> pixel_values,
                                 int64_t pictures) {
  const Activations x = arena.rows(pictures * c.rows(), c.hidden_size);  // [B * Tv, Dv]
  // hidden = [class_embedding, conv(pixel_values)] + position_embedding; SigLIP: conv(pixel_values) +
  // position_embedding
  ops.patch_embed({.pixel_values = pixel_values,
                   .pictures = pictures,
                   .image_size = c.image_size,
                   .patch_size = c.patch_size,
                   .weight = w.patch_embedding,
                   .bias = w.patch_embedding_bias,
                   .class_embedding = w.class_embedding,
                   .position_embedding = w.position_embedding,
                   .arithmetic = arithmetic_,
                   .y = x});
  // hidden_states[0] = pre_layrnorm(hidden); SigLIP: hidden
  if (w.pre_layrnorm.weight)
    ops.layer_norm(
        {.x = x, .weight = w.pre_layrnorm.weight, .bias = w.pre_layrnorm.bias, .eps = c.layer_norm_eps, .y = x});
  const std::vector<int64_t> lengths(static_cast<size_t>(pictures), c.rows());
  clip_blocks({c.heads, c.intermediate_size, c.layer_norm_eps, c.activation, false}, w.layers, lengths, x);
  return x;
}

Passes::OwnPages Passes::own_pages(const KvLayout& layout, std::span<const int64_t> lengths) {
  OwnPages own;
  own.pages.reserve(lengths.size());  // sequences look at them where they are
  for (const int64_t length : lengths) {
    std::vector<DeviceBytes>& pages = own.pages.emplace_back();
    for (int64_t at = 0; at < length; at += kPageTokens)
      pages.push_back(arena.take<std::byte>(static_cast<int64_t>(backend.kv_layer_bytes(layout))));
    own.sequences.push_back({.pages = pages, .rows = length, .end = length});
  }
  return own;
}

// hidden_states[l + 1] = layer_l(hidden_states[l]) of sequences of these lengths, whose keys and values stand in pages
// that each layer overwrites.
void Passes::clip_blocks(const ClipBlock& block, const std::vector<ClipLayer>& layers, std::span<const int64_t> lengths,
                         Activations x) {
  const KvLayout layout{block.heads, x.cols / block.heads, kv_type()};
  const OwnPages own = own_pages(layout, lengths);
  for (const ClipLayer& layer : layers) {
    stop_if_cancelled();
    clip_block(block, layer, {.layout = layout, .layer_offset = 0, .sequences = own.sequences}, x);
  }
}

void Passes::clip_block(const ClipBlock& block, const ClipLayer& layer, const KvPages& cache, Activations x) {
  const int64_t T = x.rows, D = x.cols;
  layer_arena.reset();
  const Activations h = layer_arena.rows(T, D);                                                          // [T, D]
  const Activations q = layer_arena.rows(T, D), k = layer_arena.rows(T, D), v = layer_arena.rows(T, D);  // [T, D] each
  const Activations mlp = layer_arena.rows(T, block.intermediate_size);                                  // [T, F]

  // x = x + out_proj(softmax(q kᵀ / sqrt(Dh)) v),  q, k, v = q_proj(h), k_proj(h), v_proj(h),  h = layer_norm1(x)
  ops.layer_norm({.x = x,
                  .weight = layer.layer_norm1.weight,
                  .bias = layer.layer_norm1.bias,
                  .eps = block.layer_norm_eps,
                  .y = h});
  project(h, {{layer.q_proj, q}, {layer.k_proj, k}, {layer.v_proj, v}});
  ops.kv_append({.k = k, .v = v, .cache = cache});
  ops.attention(
      {.q = q, .cache = cache, .heads = block.heads, .causal = block.causal, .y = h, .arithmetic = arithmetic_});
  project(h, {{layer.out_proj, x, Activation::kNone, x}});

  // x = x + fc2(activation(fc1(layer_norm2(x))))
  ops.layer_norm({.x = x,
                  .weight = layer.layer_norm2.weight,
                  .bias = layer.layer_norm2.bias,
                  .eps = block.layer_norm_eps,
                  .y = h});
  project(h, {{layer.fc1, mlp, block.activation}});
  project(mlp, {{layer.fc2, x, Activation::kNone, x}});
}

// SiglipMultiheadAttentionPoolingHead: the probe is the one query of each picture, and all rows are its keys and
// values.
Activations Passes::pooling_head(const VisionConfig& c, const PoolingHead& w, ConstActivations rows, int64_t pictures) {
  const int64_t B = pictures, D = c.hidden_size;
  const Activations k = arena.rows(rows.rows, D), v = arena.rows(rows.rows, D);  // [B * Tv, D] each
  const Activations probes = arena.rows(B, D), q = arena.rows(B, D), h = arena.rows(B, D), x = arena.rows(B, D),
                    mlp = arena.rows(B, c.intermediate_size);  // [B, D]; mlp [B, F]
  // x = out_proj(softmax(q kᵀ / sqrt(Dh)) v),  q = q_proj(probe), k, v = k_proj(rows), v_proj(rows)
  for (int64_t b = 0; b < B; b++) ops.copy_rows({.x = w.probe, .y = probes.slice(b, 1)});
  project(probes, {{w.q_proj, q}});
  project(rows, {{w.k_proj, k}, {w.v_proj, v}});
  const KvLayout layout{c.heads, D / c.heads, kv_type()};
  OwnPages own = own_pages(layout, std::vector<int64_t>(static_cast<size_t>(B), c.rows()));
  ops.kv_append({.k = k, .v = v, .cache = {.layout = layout, .layer_offset = 0, .sequences = own.sequences}});
  for (KvSequence& sequence : own.sequences) sequence.rows = 1;
  ops.attention({.q = q,
                 .cache = {.layout = layout, .layer_offset = 0, .sequences = own.sequences},
                 .heads = c.heads,
                 .causal = false,
                 .y = h,
                 .arithmetic = arithmetic_});
  project(h, {{w.out_proj, x}});
  // x = x + mlp(layernorm(x))
  ops.layer_norm({.x = x, .weight = w.layernorm.weight, .bias = w.layernorm.bias, .eps = c.layer_norm_eps, .y = h});
  project(h, {{w.fc1, mlp, c.activation}});
  project(mlp, {{w.fc2, x, Activation::kNone, x}});
  return x;
}

}  // namespace llava
