// The tensors of a model: matrices keep their files' own layout, in files that the back end adopts; vectors (norms,
// biases, positions) become f32.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "model/config.h"
#include "ops/backend.h"

namespace llava {

// One line of the tensor directory that lib/weights made from the files' headers.
struct TensorEntry {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;  // row-major
  int64_t file;
  uint64_t offset;
  uint64_t nbytes;
  bool transposed = false;  // a matrix [out, in] whose file holds [in, out]
  // Of MODULE.lora_B.weight, an adapter's:
  float lora_scale = 0;  // alpha / r
  // above 0: rows of so many heads, rotation pairs half a head apart; the module's pairs are neighbours
  int64_t interleaved_heads = 0;
};

// Where row h * Dh + 2 j + s of a matrix with neighbouring rotation pairs lies in one whose pairs are half a head
// apart: h * Dh + s * Dh / 2 + j.
constexpr int64_t half_row(int64_t row, int64_t head_dim) {
  const int64_t in_head = row % head_dim;
  return row - in_head + in_head % 2 * (head_dim / 2) + in_head / 2;
}

struct Linear {
  Weight weight;
  Vector bias;
  Weight lora_a, lora_b;  // [r, in], [out, r]: y += lora_scale * (x Aᵀ) Bᵀ; absent without an adapter
  float lora_scale = 0;
};

struct Norm {
  Vector weight, bias;
};

struct DecoderLayer {
  Norm input_layernorm, post_attention_layernorm;
  Linear q_proj, k_proj, v_proj, o_proj;
  Linear gate_proj, up_proj, down_proj;
};

// A block of CLIP's two towers and of SigLIP's.
struct ClipLayer {
  Norm layer_norm1, layer_norm2;
  Linear q_proj, k_proj, v_proj, out_proj;
  Linear fc1, fc2;
};

struct VisionWeights {
  Vector class_embedding;               // CLIP's
  Weight patch_embedding;               // [Dv, 3 * patch^2]
  Vector patch_embedding_bias;          // SigLIP's
  ConstActivations position_embedding;  // [Tv, Dv]
  Norm pre_layrnorm;                    // CLIP's; sic: Hugging Face's spelling
  std::vector<ClipLayer> layers;
};

struct TextWeights {
  Vector rope_inv_freq;  // [Dh / 2]
  Weight embed_tokens;
  std::vector<DecoderLayer> layers;
  Norm norm;
  Linear lm_head;
};

// SigLIP's: a learned query that all rows of a picture answer, and an MLP on what they say.
struct PoolingHead {
  ConstActivations probe;  // [1, Dv]
  Linear q_proj, k_proj, v_proj, out_proj;
  Norm layernorm;
  Linear fc1, fc2;
};

struct ClipTextWeights {
  Weight token_embedding;
  Weight position_embedding;
  std::vector<ClipLayer> layers;
  Norm final_layer_norm;
};

// The adopted files and the vectors made from them.
class WeightStore {
 public:
  WeightStore(const std::vector<std::string>& files, Backend& backend);  // throws kModelNotFound
  // Lets go of the files; what was adopted without a copy keeps its mapping.
  void release_files();
  uint64_t mapped_bytes() const { return mapped_bytes_; }
  uint64_t heap_bytes() const { return heap_bytes_; }

 private:
  friend class WeightBinder;
  Backend& backend_;
  std::vector<std::shared_ptr<const MappedFile>> files_;
  std::vector<DeviceMemory> adopted_;  // of each file, the part that holds tensors
  std::vector<DeviceMemory> vectors_;
  uint64_t mapped_bytes_ = 0;
  uint64_t heap_bytes_ = 0;
};

// Every tensor a LLaVA's config asks for. Throws kModelNotFound, kModelCorrupt.
struct LlavaWeights {
  LlavaWeights(const std::vector<std::string>& files, const std::vector<TensorEntry>& directory,
               const ModelConfig& config, Backend& backend, const OpenProgress& progress);
  WeightStore store;
  TextWeights text;
  VisionWeights vision;
  std::vector<Linear> projector;  // multi_modal_projector.linear_1 …
};

// Every tensor a CLIP's or SigLIP's config asks for.
struct ClipWeights {
  ClipWeights(const std::vector<std::string>& files, const std::vector<TensorEntry>& directory,
              const ClipConfig& config, Backend& backend, const OpenProgress& progress);
  WeightStore store;
  VisionWeights vision;
  Norm post_layernorm;
  Linear visual_projection;  // CLIP's
  PoolingHead head;          // SigLIP's
  ClipTextWeights text;
  Linear text_projection;  // SigLIP's has a bias
};

}  // namespace llava
