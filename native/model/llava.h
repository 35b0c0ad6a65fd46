// LLaVA: pixel values -> image rows (vision_tower, projector); tokens and image rows -> logits (decoder).
//   Used by one runner thread at a time, except where a member says otherwise.
#pragma once
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "model/config.h"
#include "model/passes.h"

namespace llava {

// One encoded picture. Immutable once made; readable from any thread.
struct ImageFeatures {
  int64_t rows = 0;  // P
  int64_t vision_width = 0;
  int64_t text_width = 0;
  std::vector<float> image_features;  // [P, Dv], empty unless kept
  std::vector<float> projected;       // [P, D]
};

// A stretch of new positions: token ids, or rows of a picture.
struct Segment {
  std::vector<int32_t> tokens;
  std::shared_ptr<const ImageFeatures> image;  // set: rows [start, start + count) of it
  int64_t start = 0;
  int64_t count = 0;
  int64_t length() const { return image ? count : static_cast<int64_t>(tokens.size()); }
};

enum class LogitsOf : uint8_t { kNone, kLast, kAll };

// Appends segments to one sequence's cache.
struct Step {
  KvCache* cache = nullptr;
  std::vector<Segment> segments;
  LogitsOf logits = LogitsOf::kLast;
  int64_t tokens() const;
  int64_t logit_rows() const;
};

struct MemoryUse {
  uint64_t weights_mapped, weights_heap;
  uint64_t kv_cache;       // of all sequences there are
  uint64_t kv_cache_full;  // of one sequence that fills the context
  uint64_t scratch;
};

class Llava {
 public:
  Llava(const std::vector<std::string>& files, const std::vector<TensorEntry>& directory, ModelConfig config, const ModelOptions& options,
        std::unique_ptr<Backend> backend);

  const ModelConfig& config() const { return config_; }
  KvCache new_cache() const;
  BackendInfo info() const { return backend_->info(); }
  MemoryUse memory() const;  // from any thread

  // pixel_values [3, S, S] -> one encoded picture. Throws kAborted when cancel is set meanwhile.
  std::shared_ptr<ImageFeatures> encode_image(const float* pixel_values, bool keep_features, const std::atomic<bool>& cancel);

  // Runs all steps as one ragged batch. logits [sum of logit_rows, V] and hidden [the same rows, D] (after the final norm) in step order; either may
  // be null. On any error every cache is as it was.
  void forward(const std::vector<Step>& steps, float* logits, float* hidden, const std::atomic<bool>& cancel);

  Peak measure_peak(PeakKind kind) { return backend_->measure_peak(kind); }

 private:
  struct Batch;
  void rotation_angles(Batch& batch);
  Activations embed(const Batch& batch);
  Activations wanted(const Batch& batch, ConstActivations x, Arena& arena);
  Activations decoder_layer(const Batch& batch, int64_t index, Activations x);
  void append_keys(const Batch& batch, int64_t layer, Activations k, Activations v);
  void attend(const Batch& batch, int64_t layer, Activations q, Activations y);
  void head(Activations x, float* logits, float* hidden);
  Activations projector(ConstActivations features);

  ModelConfig config_;
  LlavaWeights weights_;
  std::unique_ptr<Backend> backend_;
  Passes passes_;
  KvShape kv_shape_;
  std::shared_ptr<std::atomic<uint64_t>> kv_held_;
  std::atomic<uint64_t> scratch_held_{0};
};

}  // namespace llava
