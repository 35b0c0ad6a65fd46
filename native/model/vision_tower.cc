// The vision tower (CLIPVisionTransformer, SiglipVisionModel up to the selected layer; no post_layernorm), and the
// block it shares with CLIP's text tower.
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

// hidden_states[l + 1] = layer_l(hidden_states[l]) of sequences of these lengths, whose keys and values stand in pages
// that each layer overwrites.
void Passes::clip_blocks(const ClipBlock& block, const std::vector<ClipLayer>& layers, std::span<const int64_t> lengths,
                         Activations x) {
  const KvLayout layout{block.heads, x.cols / block.heads, KvType::kF32};
  std::vector<std::vector<DeviceBytes>> pages;
  std::vector<KvSequence> sequences;
  pages.reserve(lengths.size());
  for (const int64_t length : lengths) {
    std::vector<DeviceBytes>& own = pages.emplace_back();
    for (int64_t at = 0; at < length; at += kPageTokens)
      own.push_back(arena.take<std::byte>(static_cast<int64_t>(backend.kv_layer_bytes(layout))));
    sequences.push_back({.pages = own, .rows = length, .end = length});
  }
  for (const ClipLayer& layer : layers) {
    let_others_run();
    stop_if_cancelled();
    clip_block(block, layer, {.layout = layout, .layer_offset = 0, .sequences = sequences}, x);
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

}  // namespace llava
