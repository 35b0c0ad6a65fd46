#include "model/llava.h"

#include "common/error.h"

namespace llava {

Llava::Llava(const std::vector<std::string>& files, const std::vector<TensorEntry>& directory, ModelConfig config, const ModelOptions& options,
             std::unique_ptr<Backend> backend)
    : config_(std::move(config)),
      weights_(files, directory, config_),
      backend_(std::move(backend)),
      passes_(*backend_, options.arithmetic),
      kv_shape_{config_.text.layers, config_.text.kv_heads, config_.text.head_dim, options.kv_cache},
      kv_held_(std::make_shared<std::atomic<uint64_t>>(0)) {}

KvCache Llava::new_cache() const { return KvCache(kv_shape_, kv_held_); }

MemoryUse Llava::memory() const {
  return {.weights_mapped = weights_.store.mapped_bytes(),
          .weights_heap = weights_.store.heap_bytes(),
          .kv_cache = kv_held_->load(std::memory_order_relaxed),
          .kv_cache_full = kv_cache_bytes(kv_shape_, config_.text.context_length),
          .scratch = scratch_held_.load(std::memory_order_relaxed)};
}

std::shared_ptr<ImageFeatures> Llava::encode_image(const float* pixel_values, bool keep_features, const std::atomic<bool>& cancel) {
  if (!config_.has_vision) throw Error(ErrorCode::kModelUnsupported, "this model has no vision tower: it cannot encode pictures");
  passes_.begin(cancel);
  const Activations rows = passes_.vision_tower(config_.vision, weights_.vision, pixel_values);  // [Tv, Dv]
  // vision_feature_select_strategy: "default" drops the first row, "full" keeps it
  const Activations features = config_.vision.drop_class_row ? rows.slice(1, rows.rows - 1) : rows;
  const Activations projected = projector(features);
  auto image = std::make_shared<ImageFeatures>();
  image->rows = features.rows;
  image->vision_width = features.cols;
  image->text_width = projected.cols;
  if (keep_features) image->image_features = passes_.values_of(features);
  image->projected = passes_.values_of(projected);
  passes_.stop_if_cancelled();
  scratch_held_.store(passes_.scratch_bytes(), std::memory_order_relaxed);
  return image;
}

}  // namespace llava
