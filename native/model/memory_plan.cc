#include "model/memory_plan.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <memory>

#include "common/error.h"
#include "model/clip.h"
#include "model/llava.h"
#include "ops/dry_backend.h"

namespace llava {

namespace {

std::string size_text(uint64_t nbytes) {
  char text[32];
  const double mebibytes = static_cast<double>(nbytes) / (1 << 20);
  if (mebibytes < 1024)
    std::snprintf(text, sizeof text, "%.1f MiB", mebibytes);
  else
    std::snprintf(text, sizeof text, "%.2f GiB", mebibytes / 1024);
  return text;
}

// positions: that there must be room for.
MemoryPlan checked(const MemoryPlan& plan, const Backend& backend, int64_t positions) {
  const uint64_t pages = static_cast<uint64_t>((positions + kPageTokens - 1) / kPageTokens) * plan.page,
                 needed = plan.weights + plan.workspaces + pages;
  if (needed <= plan.space.free) return plan;
  std::string parts = "weights " + size_text(plan.weights) + ", workspaces " + size_text(plan.workspaces);
  if (pages > 0) parts += ", keys and values of " + std::to_string(positions) + " positions " + size_text(pages);
  throw Error(ErrorCode::kOutOfMemory, "out of memory on " + backend.info().device + ": the model takes " +
                                           size_text(needed) + " (" + parts + "), and " + size_text(plan.space.free) +
                                           " of " + size_text(plan.space.total) +
                                           " are free; end what else runs there, take a smaller quantisation, "
                                           "or open with device 'cpu'");
}

const std::atomic<bool> kNever{false};

// What other passes may leave unused at the ends of chunks of six arenas, of a mebibyte at least each (ops/arena.cc).
constexpr uint64_t kLooseEnds = uint64_t{6} << 20;

// Rows whose results nobody reads: they are addresses alone.
std::unique_ptr<float[]> untouched(int64_t rows, int64_t width) {
  return std::unique_ptr<float[]>(new float[static_cast<size_t>(rows * width)]);
}

// A pass of so many tokens of each of so many sequences, all of whose rows are wanted.
void run_pass(Llava& model, int64_t sequences, int64_t tokens) {
  const TextConfig& text = model.config().text;
  std::vector<KvCache> caches;
  for (int64_t i = 0; i < sequences; i++) caches.push_back(model.new_cache());
  std::vector<Step> steps;
  for (KvCache& cache : caches) {
    Step& step = steps.emplace_back(Step{.cache = &cache, .logits = LogitsOf::kAll});
    step.segments.push_back({.tokens = std::vector<int32_t>(static_cast<size_t>(tokens))});
  }
  const int64_t rows = sequences * tokens;
  const std::unique_ptr<float[]> logits = untouched(rows, text.vocab_size), hidden = untouched(rows, text.hidden_size);
  model.forward(steps, {.logits = logits.get(), .hidden = hidden.get()}, kNever);
}

}  // namespace

std::optional<MemoryPlan> plan_llava(const std::vector<std::string>& files, const std::vector<TensorEntry>& directory,
                                     const ModelConfig& config, const ModelOptions& options, const Backend& backend) {
  const std::optional<DeviceSpace> space = backend.space();
  if (!space) return {};
  Llava model(files, directory, config, options, make_dry_backend(backend));
  const int64_t context = config.text.context_length;
  // a pass ends with no slice of few rows, and takes more for it (lib/engine/step-plan.ts)
  const int64_t rows = std::min(backend.info().pass_rows + 2 * (kFewRows + 1), context);
  run_pass(model, 1, rows);
  run_pass(model, backend.info().tiles ? kFewRows : backend.info().pass_rows, 1);
  if (config.has_vision) {
    const VisionConfig& v = config.vision;
    const int64_t pictures = pictures_at_once(v, backend.info().tower_rows);
    const std::vector<float> pixels(static_cast<size_t>(pictures * 3 * v.image_size * v.image_size));
    model.encode_images(pixels, pictures, ImageResults().set(), kNever);
  }
  const MemoryUse use = model.memory();
  const MemoryPlan plan{.space = *space,
                        .weights = use.weights_mapped + use.weights_heap,
                        .workspaces = use.scratch + kLooseEnds + space->own,
                        .page = model.kv_pool()->page_bytes()};
  return checked(plan, backend, std::min(kLeastPositions, context));
}

std::optional<MemoryPlan> plan_clip(const std::vector<std::string>& files, const std::vector<TensorEntry>& directory,
                                    const ClipConfig& config, const ModelOptions& options, const Backend& backend) {
  const std::optional<DeviceSpace> space = backend.space();
  if (!space) return {};
  Clip model(files, directory, config, options, make_dry_backend(backend));
  const VisionConfig& v = config.vision;
  const int64_t pictures = pictures_at_once(v, backend.info().tower_rows);
  const std::vector<float> pixels(static_cast<size_t>(pictures * 3 * v.image_size * v.image_size));
  std::vector<float> vectors(static_cast<size_t>(pictures * config.projection_dim));
  model.encode_images(pixels, pictures, vectors.data(), kNever);
  const int64_t context = config.text.context_length, texts = std::max<int64_t>(1, backend.info().tower_rows / context);
  vectors.resize(static_cast<size_t>(texts * config.projection_dim));
  model.encode_texts(std::vector<int32_t>(static_cast<size_t>(texts * context)),
                     std::vector<int64_t>(static_cast<size_t>(texts), context), vectors.data(), kNever);
  const MemoryPlan plan{.space = *space,
                        .weights = model.weight_bytes(),
                        .workspaces = model.activation_bytes() + kLooseEnds + space->own};
  return checked(plan, backend, 0);
}

}  // namespace llava
