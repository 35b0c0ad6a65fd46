// Sizes of a LLaVA model, as lib/weights resolved them from the checkpoint.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "ops/args.h"

namespace llava {

struct TextConfig {
  int64_t hidden_size = 0;        // D
  int64_t intermediate_size = 0;  // F
  int64_t layers = 0;             // L
  int64_t heads = 0;              // H
  int64_t kv_heads = 0;           // Hk
  int64_t head_dim = 0;           // Dh
  int64_t vocab_size = 0;         // V
  float rms_norm_eps = 0;
  RopeLayout rope_layout = RopeLayout::kHalf;
  std::vector<float> rope_inv_freq;  // [Dh / 2]
  int64_t context_length = 0;
  int64_t sliding_window = 0;  // positions a row sees, itself included; 0: all
};

// SigLIP's tower is CLIP's without class token and pre_layrnorm, and with a biased patch convolution.
enum class VisionTower : uint8_t { kClip, kSiglip };

struct VisionConfig {
  VisionTower tower = VisionTower::kClip;
  int64_t hidden_size = 0;  // Dv
  int64_t intermediate_size = 0;
  int64_t layers = 0;  // that run
  int64_t heads = 0;
  int64_t image_size = 0;  // S
  int64_t patch_size = 0;
  float layer_norm_eps = 0;
  Activation activation = Activation::kQuickGelu;
  bool drop_class_row = true;  // the first row: of SigLIP, as in transformers, the first patch
  int64_t projector_layers = 2;

  constexpr int64_t patches() const { return (image_size / patch_size) * (image_size / patch_size); }
  constexpr int64_t rows() const { return patches() + (tower == VisionTower::kClip ? 1 : 0); }  // Tv
  constexpr int64_t image_rows() const { return rows() - (drop_class_row ? 1 : 0); }
};

struct ModelConfig {
  TextConfig text;
  bool has_vision = false;
  VisionConfig vision;
};

// CLIP's text tower, or SigLIP's.
struct ClipTextConfig {
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t vocab_size = 0;
  int64_t context_length = 0;
  float layer_norm_eps = 0;
  Activation activation = Activation::kQuickGelu;
};

// A whole CLIP or SigLIP, as vision.tower says: the vision tower with all its layers, the text tower, and the space
// they share, which is as wide as SigLIP's vision tower.
struct ClipConfig {
  VisionConfig vision;
  ClipTextConfig text;
  int64_t projection_dim = 0;
};

// Hears how many bytes of the weights have been taken over, of how many.
using OpenProgress = std::function<void(uint64_t nbytes, uint64_t total)>;

struct ModelOptions {
  int threads = 0;             // 0: as many as this process may use
  std::string device = "cpu";  // or NAME:INDEX, of the back end's library
  std::string library;         // its path, unless device is cpu
  std::string isa = "auto";
  KvType kv_cache = KvType::kF16;
  Arithmetic arithmetic = Arithmetic::kFast;
  bool copies_weights = false;
};

}  // namespace llava
