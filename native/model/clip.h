// CLIP as a whole, or SigLIP: pictures and texts as vectors of one space (CLIPModel's and SiglipModel's
// get_image_features, get_text_features; not normalised).
#pragma once
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "model/memory_plan.h"
#include "model/passes.h"

namespace llava {

class Clip {
 public:
  Clip(const std::vector<std::string>& files, const std::vector<TensorEntry>& directory, ClipConfig config,
       const ModelOptions& options, std::shared_ptr<Backend> backend, const OpenProgress& progress = {});

  const ClipConfig& config() const { return config_; }
  BackendInfo info() const { return backend_->info(); }
  uint64_t weight_bytes() const { return weights_.store.mapped_bytes() + weights_.store.heap_bytes(); }
  uint64_t activation_bytes() const { return passes_.activation_bytes(); }
  // As it was before the model was loaded; absent where the device's memory is the host's.
  const std::optional<MemoryPlan>& plan() const { return plan_; }

  // pixel_values [count, 3, S, S] -> out [count, projection_dim], several in a pass
  void encode_images(std::span<const float> pixel_values, int64_t count, float* out, const std::atomic<bool>& cancel);
  // ids of one text after the other, lengths[i] of each -> out [texts, projection_dim], pooled at the last one of each:
  // CLIP's from start token to end token, SigLIP's filled up to the context
  void encode_texts(std::span<const int32_t> ids, std::span<const int64_t> lengths, float* out,
                    const std::atomic<bool>& cancel);

 private:
  void project_class_rows(ConstActivations rows, int64_t pictures, float* out);
  void pool_rows(Activations rows, int64_t pictures, float* out);
  void copy_result(Activations dense, float* out);
  void project_rows(ConstActivations rows, const Linear& projection, float* out);
  void encode_some_texts(std::span<const int32_t> ids, std::span<const int64_t> lengths, float* out);
  ClipConfig config_;
  std::shared_ptr<Backend> backend_;
  std::optional<MemoryPlan> plan_;
  ClipWeights weights_;
  Passes passes_;
};

}  // namespace llava
