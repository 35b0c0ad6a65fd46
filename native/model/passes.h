// What every pass of a model does on its back end: products with their adapters, blocks of a tower.
//   Holds the stream, the op table and the arena of one layer's activations; the models hold it.
#pragma once
#include <initializer_list>
#include <vector>

#include "model/kv_cache.h"
#include "model/weights.h"
#include "ops/backend.h"

namespace llava {

// y = activation(linear(x)) or linear(x) + residual, the adapter's share included.
struct Projection {
  const Linear& linear;
  Activations y;
  Activation activation = Activation::kNone;
  ConstActivations residual{};
};

// What the blocks of a tower need to know.
struct ClipBlock {
  int64_t heads;
  int64_t intermediate_size;
  float layer_norm_eps;
  Activation activation;
  bool causal;
};

class Passes {
 public:
  Passes(Backend& backend, Arithmetic arithmetic) : ops(backend.ops()), stream(backend.stream()), arithmetic_(arithmetic) {}

  const OpTable& ops;
  Stream& stream;
  Arena layer_arena;  // activations inside one layer

  void begin(const std::atomic<bool>& cancel);
  void stop_if_cancelled() const;  // throws kAborted
  uint64_t scratch_bytes() const { return stream.arena.capacity() + layer_arena.capacity() + stream.scratch_bytes(); }

  // The rows of x without gaps between them: [rows * cols].
  std::vector<float> values_of(ConstActivations x);

  // Up to three projections that share x.
  void project(ConstActivations x, std::initializer_list<Projection> projections);

  // pixel_values[3, S, S] -> hidden_states[layers]: [Tv, Dv].
  Activations vision_tower(const VisionConfig& c, const VisionWeights& w, const float* pixel_values);
  // ids[T] -> final_layer_norm(hidden_states): [T, D]
  Activations text_tower(const ClipTextConfig& c, const ClipTextWeights& w, const std::vector<int32_t>& ids);

 private:
  void clip_blocks(const ClipBlock& block, const std::vector<ClipLayer>& layers, Activations x);
  void clip_block(const ClipBlock& block, const ClipLayer& layer, KvCache& cache, Activations x);

  Arithmetic arithmetic_;
};

}  // namespace llava
