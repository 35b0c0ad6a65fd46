// CLIP's text tower (CLIPTextTransformer): causal, learned positions, no norm before the first block.
//   ids[T] -> final_layer_norm(hidden_states[layers])[T, D]
#include "common/error.h"
#include "model/passes.h"

namespace llava {

Activations Passes::text_tower(const ClipTextConfig& c, const ClipTextWeights& w, const std::vector<int32_t>& ids) {
  const auto T = static_cast<int64_t>(ids.size());
  std::vector<int32_t> positions(ids.size());
  for (int64_t t = 0; t < T; t++) positions[static_cast<size_t>(t)] = static_cast<int32_t>(t);
  const Activations x = stream.arena.rows(T, c.hidden_size), at = stream.arena.rows(T, c.hidden_size);  // [T, D] each
  // hidden = token_embedding(ids) + position_embedding(0 … T - 1)
  ops.embed_rows(stream, {.ids = ids.data(), .table = w.token_embedding, .y = x});
  ops.embed_rows(stream, {.ids = positions.data(), .table = w.position_embedding, .y = at});
  ops.add_rows(stream, {.a = x, .b = at, .y = x});
  clip_blocks({c.heads, c.intermediate_size, c.layer_norm_eps, c.activation, true}, w.layers, x);
  ops.layer_norm(stream, {.x = x, .weight = w.final_layer_norm.weight, .bias = w.final_layer_norm.bias, .eps = c.layer_norm_eps, .y = x});
  return x;
}

}  // namespace llava
