// CLIP as a whole: pictures and texts as vectors of one space (CLIPModel.get_image_features, get_text_features; not normalised).
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "model/passes.h"

namespace llava {

class Clip {
 public:
  Clip(const std::vector<std::string>& files, const std::vector<TensorEntry>& directory, ClipConfig config, const ModelOptions& options,
       std::unique_ptr<Backend> backend);

  const ClipConfig& config() const { return config_; }
  BackendInfo info() const { return backend_->info(); }
  uint64_t mapped_bytes() const { return weights_.store.mapped_bytes(); }

  // pixel_values [3, S, S] -> out [projection_dim]
  void encode_image(const float* pixel_values, float* out, const std::atomic<bool>& cancel);
  // ids [T], start token to end token -> out [projection_dim], pooled at the last one
  void encode_text(const std::vector<int32_t>& ids, float* out, const std::atomic<bool>& cancel);

 private:
  void project_row(ConstActivations row, const Linear& projection, float* out);
  ClipConfig config_;
  ClipWeights weights_;
  std::unique_ptr<Backend> backend_;
  Passes passes_;
};

}  // namespace llava
