// The vision tower (CLIPVisionTransformer, SiglipVisionModel up to the selected layer; no post_layernorm), and the block it shares with CLIP's text tower.
//   pixel_values[3, S, S] -> hidden_states[Tv, Dv];  CLIP: Tv = 1 + P, class token first; SigLIP: Tv = P
#include "model/passes.h"

namespace llava {

Activations Passes::vision_tower(const VisionConfig& c, const VisionWeights& w, const float* pixel_values) {
  const Activations x = stream.arena.rows(c.rows(), c.hidden_size);  // [Tv, Dv]
  // hidden = [class_embedding, conv(pixel_values)] + position_embedding; SigLIP: conv(pixel_values) + position_embedding
  ops.patch_embed(stream, {.pixel_values = pixel_values, .image_size = c.image_size, .patch_size = c.patch_size, .weight = w.patch_embedding,
                           .bias = w.patch_embedding_bias, .class_embedding = w.class_embedding, .position_embedding = w.position_embedding, .y = x});
  // hidden_states[0] = pre_layrnorm(hidden); SigLIP: hidden
  if (w.pre_layrnorm.weight != nullptr) ops.layer_norm(stream, {.x = x, .weight = w.pre_layrnorm.weight, .bias = w.pre_layrnorm.bias, .eps = c.layer_norm_eps, .y = x});
  clip_blocks({c.heads, c.intermediate_size, c.layer_norm_eps, c.activation, false}, w.layers, x);
  return x;
}

// hidden_states[l + 1] = layer_l(hidden_states[l])
void Passes::clip_blocks(const ClipBlock& block, const std::vector<ClipLayer>& layers, Activations x) {
  KvCache cache({1, block.heads, x.cols / block.heads, KvType::kF32}, std::make_shared<std::atomic<uint64_t>>(0));  // one layer's, overwritten by the next
  cache.reserve(x.rows);
  for (const ClipLayer& layer : layers) {
    stop_if_cancelled();
    clip_block(block, layer, cache, x);
  }
}

void Passes::clip_block(const ClipBlock& block, const ClipLayer& layer, KvCache& cache, Activations x) {
  const int64_t T = x.rows, D = x.cols;
  layer_arena.reset();
  const Activations h = layer_arena.rows(T, D);                                                    // [T, D]
  const Activations q = layer_arena.rows(T, D), k = layer_arena.rows(T, D), v = layer_arena.rows(T, D);  // [T, D] each
  const Activations mlp = layer_arena.rows(T, block.intermediate_size);                            // [T, F]
  const std::vector<std::byte*> pages = cache.layer_pages(0);

  // x = x + out_proj(softmax(q kᵀ / sqrt(Dh)) v),  q, k, v = q_proj(h), k_proj(h), v_proj(h),  h = layer_norm1(x)
  ops.layer_norm(stream, {.x = x, .weight = layer.layer_norm1.weight, .bias = layer.layer_norm1.bias, .eps = block.layer_norm_eps, .y = h});
  project(h, {{layer.q_proj, q}, {layer.k_proj, k}, {layer.v_proj, v}});
  ops.kv_append(stream, {.k = k, .v = v, .cache = cache.view(pages), .first = 0});
  ops.attention(stream, {.q = q, .cache = cache.view(pages), .heads = block.heads, .keys = T, .causal = block.causal, .y = h});
  project(h, {{layer.out_proj, x, Activation::kNone, x}});

  // x = x + fc2(activation(fc1(layer_norm2(x))))
  ops.layer_norm(stream, {.x = x, .weight = layer.layer_norm2.weight, .bias = layer.layer_norm2.bias, .eps = block.layer_norm_eps, .y = h});
  project(h, {{layer.fc1, mlp, block.activation}});
  project(mlp, {{layer.fc2, x, Activation::kNone, x}});
}

}  // namespace llava
