// CLIP ViT as LLaVA uses it (CLIPVisionTransformer up to the selected layer; no post_layernorm).
//   pixel_values[3, S, S] -> image_features[P, Dv];  T = 1 + P rows while the class token is there
#include "common/error.h"
#include "model/llava.h"

namespace llava {

Activations Llava::vision_tower(const float* pixel_values) {
  const VisionConfig& c = config_.vision;
  const VisionWeights& w = weights_.vision;
  const int64_t T = 1 + c.patches(), D = c.hidden_size;

  // hidden = [class_embedding, conv(pixel_values)] + position_embedding
  const Activations x = stream_.arena.rows(T, D);  // [T, Dv]
  ops_.patch_embed(stream_, {.pixel_values = pixel_values, .image_size = c.image_size, .patch_size = c.patch_size, .weight = w.patch_embedding,
                             .class_embedding = w.class_embedding, .position_embedding = w.position_embedding, .y = x});
  // hidden_states[0] = pre_layrnorm(hidden)
  ops_.layer_norm(stream_, {.x = x, .weight = w.pre_layrnorm.weight, .bias = w.pre_layrnorm.bias, .eps = c.layer_norm_eps, .y = x});
  // hidden_states[l + 1] = layer_l(hidden_states[l])
  KvCache cache({1, c.heads, D / c.heads, KvType::kF32}, std::make_shared<std::atomic<uint64_t>>(0));  // one layer's, overwritten by the next
  cache.reserve(T);
  for (const VisionLayer& layer : w.layers) {
    stop_if_cancelled();
    vision_layer(layer, cache, x);
  }
  // vision_feature_select_strategy: "default" drops the class row, "full" keeps it
  return c.drop_class_row ? x.slice(1, T - 1) : x;
}

void Llava::vision_layer(const VisionLayer& layer, KvCache& cache, Activations x) {
  const VisionConfig& c = config_.vision;
  const int64_t T = x.rows, D = x.cols, F = c.intermediate_size;
  Arena& arena = layer_arena_;
  arena.reset();
  const Activations h = arena.rows(T, D);                                              // [T, Dv]
  const Activations q = arena.rows(T, D), k = arena.rows(T, D), v = arena.rows(T, D);  // [T, Dv] each
  const Activations mlp = arena.rows(T, F);                                            // [T, F]
  const std::vector<std::byte*> pages = cache.layer_pages(0);

  // x = x + out_proj(softmax(q kᵀ / sqrt(Dh)) v),  q, k, v = q_proj(h), k_proj(h), v_proj(h),  h = layer_norm1(x)
  ops_.layer_norm(stream_, {.x = x, .weight = layer.layer_norm1.weight, .bias = layer.layer_norm1.bias, .eps = c.layer_norm_eps, .y = h});
  ops_.linear(stream_, {.x = h, .arithmetic = arithmetic_, .outputs = 3,
                        .output = {{.weight = layer.q_proj.weight, .bias = layer.q_proj.bias, .y = q},
                                   {.weight = layer.k_proj.weight, .bias = layer.k_proj.bias, .y = k},
                                   {.weight = layer.v_proj.weight, .bias = layer.v_proj.bias, .y = v}}});
  ops_.kv_append(stream_, {.k = k, .v = v, .cache = cache.view(pages), .first = 0});
  ops_.attention(stream_, {.q = q, .cache = cache.view(pages), .heads = c.heads, .keys = T, .causal = false, .y = h});
  ops_.linear(stream_, {.x = h, .arithmetic = arithmetic_, .output = {{.weight = layer.out_proj.weight, .bias = layer.out_proj.bias, .residual = x, .y = x}}});

  // x = x + fc2(quick_gelu(fc1(layer_norm2(x))))
  ops_.layer_norm(stream_, {.x = x, .weight = layer.layer_norm2.weight, .bias = layer.layer_norm2.bias, .eps = c.layer_norm_eps, .y = h});
  ops_.linear(stream_, {.x = h, .arithmetic = arithmetic_, .output = {{.weight = layer.fc1.weight, .bias = layer.fc1.bias, .activation = c.activation, .y = mlp}}});
  ops_.linear(stream_, {.x = mlp, .arithmetic = arithmetic_, .output = {{.weight = layer.fc2.weight, .bias = layer.fc2.bias, .residual = x, .y = x}}});
}

}  // namespace llava
