// The text tower (CLIPTextTransformer, causal; SiglipTextModel, not causal): learned positions, no norm before the
// first block.
//   ids of texts one after the other -> final_layer_norm(hidden_states[layers])[T, D]
#include "model/passes.h"

namespace llava {

Activations Passes::text_tower(const ClipTextConfig& c, const ClipTextWeights& w, std::span<const int32_t> ids,
                               std::span<const int64_t> lengths, bool causal) {
  const auto T = static_cast<int64_t>(ids.size());
  std::vector<int32_t> positions;
  for (const int64_t length : lengths) {
    for (int64_t t = 0; t < length; t++) positions.push_back(static_cast<int32_t>(t));
  }
  const Activations x = arena.rows(T, c.hidden_size), at = arena.rows(T, c.hidden_size);  // [T, D] each
  // hidden = token_embedding(ids) + position_embedding(0 … length - 1)
  ops.embed_rows({.ids = taken(ids), .table = w.token_embedding, .y = x});
  ops.embed_rows({.ids = taken<int32_t>(positions), .table = w.position_embedding, .y = at});
  ops.add_rows({.a = x, .b = at, .y = x});
  clip_blocks({c.heads, c.intermediate_size, c.layer_norm_eps, c.activation, causal}, w.layers, lengths, x);
  ops.layer_norm(
      {.x = x, .weight = w.final_layer_norm.weight, .bias = w.final_layer_norm.bias, .eps = c.layer_norm_eps, .y = x});
  return x;
}

}  // namespace llava
