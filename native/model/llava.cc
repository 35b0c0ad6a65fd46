#include "model/llava.h"

namespace llava {

uint64_t ImageFeatures::nbytes() const {
  uint64_t total = 0;
  for (const DeviceMemory& result : results) total += result.nbytes();
  return total;
}

std::vector<float> ImageFeatures::read(ImageResult which) const {
  const DeviceMemory& memory = result(which);
  if (!memory) throw Error(ErrorCode::kInvalidArgument, "this was not asked for when the picture was encoded");
  std::vector<float> values(memory.nbytes() / sizeof(float));
  backend->read(std::as_writable_bytes(std::span(values)), memory.data());
  return values;
}

Llava::Llava(const std::vector<std::string>& files, const std::vector<TensorEntry>& directory, ModelConfig config,
             const ModelOptions& options, std::shared_ptr<Backend> backend, const OpenProgress& progress)
    : config_(std::move(config)),
      backend_(std::move(backend)),
      plan_(plan_llava(files, directory, config_, options, *backend_)),
      weights_(files, directory, config_, *backend_, progress),
      tower_(*backend_, options.arithmetic),
      prompts_(*backend_, options.arithmetic),
      tokens_(*backend_, options.arithmetic),
      kv_pool_(new KvPool{
          *backend_, {config_.text.kv_heads, config_.text.head_dim, options.kv_cache}, config_.text.layers}) {}

KvCache Llava::new_cache() const { return KvCache(kv_pool_); }

MemoryUse Llava::memory() const {
  return {.weights_mapped = weights_.store.mapped_bytes(),
          .weights_heap = weights_.store.heap_bytes(),
          .kv_cache = kv_pool_->held.load(std::memory_order_relaxed),
          .kv_cache_full = kv_pool_->bytes_for(config_.text.context_length),
          .scratch = scratch_held_.load(std::memory_order_relaxed)};
}

std::vector<std::shared_ptr<ImageFeatures>> Llava::encode_images(std::span<const float> pixel_values, int64_t count,
                                                                 ImageResults results, const std::atomic<bool>& cancel,
                                                                 const std::function<bool()>& between_products) {
  if (!config_.has_vision)
    throw Error(ErrorCode::kModelUnsupported, "this model has no vision tower: it cannot encode pictures");
  const int64_t values = static_cast<int64_t>(pixel_values.size()) / count,
                at_once = pictures_at_once(config_.vision, tower_.tower_rows);
  std::vector<std::shared_ptr<ImageFeatures>> images;
  for (int64_t first = 0; first < count; first += at_once) {
    const int64_t some = std::min(at_once, count - first);
    tower_.begin(Cancellation(cancel), between_products);
    encode_some(
        tower_.taken(pixel_values.subspan(static_cast<size_t>(first * values), static_cast<size_t>(some * values))),
        some, results, images);
    tower_.stop_if_cancelled();
  }
  measure_scratch();
  return images;
}

void Llava::measure_scratch() {
  scratch_held_.store(tower_.activation_bytes() + prompts_.activation_bytes() + tokens_.activation_bytes() +
                          backend_->stream().scratch_bytes(),
                      std::memory_order_relaxed);
}

// One pass; appends its pictures to images.
void Llava::encode_some(Device<const float> pixel_values, int64_t count, ImageResults results,
                        std::vector<std::shared_ptr<ImageFeatures>>& images) {
  const VisionConfig& c = config_.vision;
  const Activations rows = tower_.vision_tower(c, weights_.vision, pixel_values, count);  // [B * Tv, Dv]
  const int64_t P = c.image_rows();
  // vision_feature_select_strategy: "default" drops the first row, "full" keeps it
  Activations features = c.drop_class_row ? rows.slice(1, rows.rows - 1) : rows;  // [P, Dv] of one picture
  if (c.drop_class_row && count > 1) {
    features = tower_.arena.rows(count * P, c.hidden_size);  // [B * P, Dv]
    for (int64_t i = 0; i < count; i++)
      tower_.ops.copy_rows({.x = rows.slice(i * c.rows() + 1, P), .y = features.slice(i * P, P)});
  }
  const auto asked = [&](ImageResult which) { return results.test(static_cast<size_t>(which)); };
  const auto means = [&](ConstActivations x) {
    const Activations y = tower_.arena.rows(count, x.cols);  // [B, D]
    tower_.ops.mean_rows({.x = x, .rows = P, .y = y});
    return y;
  };
  const size_t first = images.size();
  for (int64_t i = 0; i < count; i++)
    images.push_back(std::make_shared<ImageFeatures>(ImageFeatures{.backend = backend_, .rows = P}));
  const auto keep_each = [&](ImageResult which, ConstActivations x, int64_t height) {
    for (int64_t i = 0; i < count; i++)
      keep(*images[first + static_cast<size_t>(i)], which, x.slice(i * height, height));
  };
  if (asked(ImageResult::kImageFeatures)) keep_each(ImageResult::kImageFeatures, features, P);
  if (asked(ImageResult::kPooledFeatures)) keep_each(ImageResult::kPooledFeatures, means(features), 1);
  if (asked(ImageResult::kProjected) || asked(ImageResult::kProjectedMean)) {
    const Activations projected = projector(features);
    if (asked(ImageResult::kProjected)) keep_each(ImageResult::kProjected, projected, P);
    if (asked(ImageResult::kProjectedMean)) keep_each(ImageResult::kProjectedMean, means(projected), 1);
  }
  backend_->synchronize(backend_->stream());
}

// Rows of one picture, without gaps, in memory of their own.
void Llava::keep(ImageFeatures& image, ImageResult which, ConstActivations rows) {
  DeviceMemory memory = backend_->allocate(static_cast<uint64_t>(rows.rows * rows.cols) * sizeof(float));
  tower_.ops.copy_rows({.x = rows, .y = Activations(memory.data().as<float>(), rows.rows, rows.cols)});
  image.results[static_cast<size_t>(which)] = std::move(memory);
}

int64_t Llava::result_size(ImageResult which) const {
  const bool is_text = which == ImageResult::kProjected || which == ImageResult::kProjectedMean;
  const bool is_mean = which == ImageResult::kPooledFeatures || which == ImageResult::kProjectedMean;
  const int64_t width = is_text ? config_.text.hidden_size : config_.vision.hidden_size;
  return (is_mean ? 1 : config_.vision.image_rows()) * width;
}

std::shared_ptr<ImageFeatures> Llava::restore_image(std::span<const StoredResult> results) {
  auto image = std::make_shared<ImageFeatures>(ImageFeatures{.backend = backend_, .rows = config_.vision.image_rows()});
  for (const StoredResult& result : results) {
    DeviceMemory memory = backend_->allocate(result.values.size() * sizeof(float));
    copy_in(*backend_, memory.data().as<float>(), std::span(result.values));
    image->results[static_cast<size_t>(result.which)] = std::move(memory);
  }
  backend_->synchronize(backend_->stream());
  return image;
}

}  // namespace llava
