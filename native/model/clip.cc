#include "model/clip.h"

#include "common/error.h"

namespace llava {

Clip::Clip(const std::vector<std::string>& files, const std::vector<TensorEntry>& directory, ClipConfig config, const ModelOptions& options,
           std::unique_ptr<Backend> backend)
    : config_(std::move(config)), weights_(files, directory, config_), backend_(std::move(backend)), passes_(*backend_, options.arithmetic) {}

void Clip::project_row(ConstActivations row, const Linear& projection, float* out) {
  passes_.project(row, {{projection, Activations(out, 1, config_.projection_dim)}});
  passes_.stop_if_cancelled();
}

void Clip::encode_image(const float* pixel_values, float* out, const std::atomic<bool>& cancel) {
  passes_.begin(cancel);
  const Activations rows = passes_.vision_tower(config_.vision, weights_.vision, pixel_values);  // [1 + P, Dv]
  // pooled = post_layernorm(class row)
  const Activations pooled = rows.slice(0, 1);
  passes_.ops.layer_norm(passes_.stream, {.x = pooled, .weight = weights_.post_layernorm.weight, .bias = weights_.post_layernorm.bias, .eps = config_.vision.layer_norm_eps, .y = pooled});
  project_row(pooled, weights_.visual_projection, out);
}

void Clip::encode_text(const std::vector<int32_t>& ids, float* out, const std::atomic<bool>& cancel) {
  const auto T = static_cast<int64_t>(ids.size());
  if (T < 1 || T > config_.text.context_length) {
    throw Error(ErrorCode::kContextOverflow, "a text of " + std::to_string(T) + " tokens where CLIP reads 1 to " + std::to_string(config_.text.context_length));
  }
  for (const int32_t id : ids) {
    if (id < 0 || id >= config_.text.vocab_size) throw Error(ErrorCode::kInvalidArgument, "token id " + std::to_string(id) + " is not in [0, " + std::to_string(config_.text.vocab_size) + ")");
  }
  passes_.begin(cancel);
  const Activations rows = passes_.text_tower(config_.text, weights_.text, ids);  // [T, D]
  project_row(rows.slice(T - 1, 1), weights_.text_projection, out);
}

}  // namespace llava
