#include "model/clip.h"

#include <algorithm>

#include "common/error.h"

namespace llava {

namespace {

void check_texts(std::span<const int32_t> ids, std::span<const int64_t> lengths, const ClipTextConfig& c) {
  for (const int64_t length : lengths) {
    if (length < 1 || length > c.context_length) {
      throw Error(ErrorCode::kContextOverflow, "a text of " + std::to_string(length) +
                                                   " tokens where CLIP reads 1 to " + std::to_string(c.context_length));
    }
  }
  for (const int32_t id : ids) {
    if (id < 0 || id >= c.vocab_size) {
      throw Error(ErrorCode::kInvalidArgument,
                  "token id " + std::to_string(id) + " is not in [0, " + std::to_string(c.vocab_size) + ")");
    }
  }
}

}  // namespace

Clip::Clip(const std::vector<std::string>& files, const std::vector<TensorEntry>& directory, ClipConfig config,
           const ModelOptions& options, std::shared_ptr<Backend> backend, const OpenProgress& progress)
    : config_(std::move(config)),
      backend_(std::move(backend)),
      plan_(plan_clip(files, directory, config_, options, *backend_)),
      weights_(files, directory, config_, *backend_, progress),
      passes_(*backend_, options.arithmetic) {}

void Clip::project_rows(ConstActivations rows, const Linear& projection, float* out) {
  const Activations projected = passes_.arena.dense(rows.rows, config_.projection_dim);  // [B, C]
  passes_.project(rows, {{projection, projected}});
  copy_result(projected, out);
}

void Clip::copy_result(Activations dense, float* out) {
  copy_out<float>(*backend_, {out, static_cast<size_t>(dense.rows * dense.cols)}, dense.data);
  backend_->synchronize(backend_->stream());
  passes_.stop_if_cancelled();
}

void Clip::encode_images(std::span<const float> pixel_values, int64_t count, float* out,
                         const std::atomic<bool>& cancel) {
  const VisionConfig& c = config_.vision;
  const int64_t values = static_cast<int64_t>(pixel_values.size()) / count,
                at_once = pictures_at_once(c, passes_.tower_rows);
  for (int64_t first = 0; first < count; first += at_once) {
    const int64_t some = std::min(at_once, count - first);
    passes_.begin(Cancellation(cancel));
    const Device<const float> pixels =
        passes_.taken(pixel_values.subspan(static_cast<size_t>(first * values), static_cast<size_t>(some * values)));
    const Activations rows = passes_.vision_tower(c, weights_.vision, pixels, some);  // [B * Tv, Dv]
    if (c.tower == VisionTower::kSiglip)
      pool_rows(rows, some, out + first * config_.projection_dim);
    else
      project_class_rows(rows, some, out + first * config_.projection_dim);
  }
}

// visual_projection(post_layernorm(class row))
void Clip::project_class_rows(ConstActivations rows, int64_t pictures, float* out) {
  const VisionConfig& c = config_.vision;
  const ConstActivations class_rows(rows.data, pictures, rows.cols, rows.stride * c.rows());  // [B, Dv]
  const Activations pooled = passes_.arena.rows(pictures, rows.cols);                         // [B, Dv]
  const Norm& norm = weights_.post_layernorm;
  passes_.ops.layer_norm(
      {.x = class_rows, .weight = norm.weight, .bias = norm.bias, .eps = c.layer_norm_eps, .y = pooled});
  project_rows(pooled, weights_.visual_projection, out);
}

// head(post_layernorm(rows))
void Clip::pool_rows(Activations rows, int64_t pictures, float* out) {
  const VisionConfig& c = config_.vision;
  const Norm& norm = weights_.post_layernorm;
  passes_.ops.layer_norm({.x = rows, .weight = norm.weight, .bias = norm.bias, .eps = c.layer_norm_eps, .y = rows});
  const Activations pooled = passes_.pooling_head(c, weights_.head, rows, pictures);  // [B, Dv]
  const Activations dense = passes_.arena.dense(pictures, rows.cols);                 // [B, Dv]
  passes_.ops.copy_rows({.x = pooled, .y = dense});
  copy_result(dense, out);
}

void Clip::encode_texts(std::span<const int32_t> ids, std::span<const int64_t> lengths, float* out,
                        const std::atomic<bool>& cancel) {
  check_texts(ids, lengths, config_.text);
  while (!lengths.empty()) {
    size_t texts = 0;
    int64_t rows = 0;
    while (texts < lengths.size() && (texts == 0 || rows + lengths[texts] <= passes_.tower_rows))
      rows += lengths[texts++];
    passes_.begin(Cancellation(cancel));
    encode_some_texts(ids.first(static_cast<size_t>(rows)), lengths.first(texts), out);
    ids = ids.subspan(static_cast<size_t>(rows));
    lengths = lengths.subspan(texts);
    out += static_cast<int64_t>(texts) * config_.projection_dim;
  }
}

void Clip::encode_some_texts(std::span<const int32_t> ids, std::span<const int64_t> lengths, float* out) {
  const bool causal = config_.vision.tower == VisionTower::kClip;
  const Activations rows = passes_.text_tower(config_.text, weights_.text, ids, lengths, causal);  // [T, D]
  const Activations last = passes_.arena.rows(static_cast<int64_t>(lengths.size()), rows.cols);    // [texts, D]
  int64_t end = 0;
  for (size_t i = 0; i < lengths.size(); i++) {
    end += lengths[i];
    passes_.ops.copy_rows({.x = rows.slice(end - 1, 1), .y = last.slice(static_cast<int64_t>(i), 1)});
  }
  project_rows(last, weights_.text_projection, out);
}

}  // namespace llava
