// LLaVA: pixel values -> image rows (vision_tower, projector); tokens and image rows -> logits (decoder).
//   Used by one runner thread at a time, except where a member says otherwise.
#pragma once
#include <atomic>
#include <bitset>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/error.h"
#include "model/kv_cache.h"
#include "model/memory_plan.h"
#include "model/passes.h"

namespace llava {

// What a picture may be encoded to. P image rows, Dv and D the hidden sizes of vision and text.
enum class ImageResult : uint8_t {
  kImageFeatures,   // [P, Dv] the tower's output
  kPooledFeatures,  // [Dv] its mean over the rows
  kProjected,       // [P, D] the projector's output, which the decoder reads
  kProjectedMean,   // [D] its mean over the rows
};
constexpr size_t kImageResults = 4;
using ImageResults = std::bitset<kImageResults>;

// One encoded picture in its model's device memory. Immutable once made.
struct ImageFeatures {
  std::shared_ptr<Backend> backend;
  int64_t rows = 0;                     // P
  DeviceMemory results[kImageResults];  // those asked for

  const DeviceMemory& result(ImageResult which) const { return results[static_cast<size_t>(which)]; }
  ConstActivations projected(int64_t text_width) const {
    return {result(ImageResult::kProjected).data().as<const float>(), rows, text_width};
  }
  uint64_t nbytes() const;
  // From any thread. Throws kInvalidArgument for a result that was not asked for.
  std::vector<float> read(ImageResult which) const;
};

// A result as it was read.
struct StoredResult {
  ImageResult which;
  std::vector<float> values;
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

// How rows of logits are given: as they are, as the largest of each, or both.
enum class RowForm : uint8_t { kWhole, kCandidates, kBoth };

// Appends segments to one sequence's cache.
struct Step {
  KvCache* cache = nullptr;
  std::vector<Segment> segments;
  LogitsOf logits = LogitsOf::kLast;
  std::shared_ptr<const std::atomic<bool>> cancel{};  // of this step alone; may be null
  RowForm form = RowForm::kWhole;
  // The attention weights of the last new row are wanted, over so many positions: all there are then. 0: they are not.
  // They take a step with logits.
  int64_t attention = 0;
  int64_t tokens() const;
  int64_t logit_rows() const;      // R
  int64_t whole_rows() const;      // of these, those wanted as they are
  int64_t candidate_rows() const;  // and those whose largest are
};

// Of each row the largest `count` logits among the first `columns` ids, best first (top_k in ops/args.h).
struct Candidates {
  int64_t count = 0;
  int64_t columns = 0;
  int32_t* ids = nullptr;         // [rows, count]
  float* logits = nullptr;        // [rows, count]
  double* log_sum_exp = nullptr;  // [rows]; null: not wanted
};

// Where a pass's results go on the host, each step's rows after those of the steps before; null for what is not wanted.
struct Outputs {
  float* logits = nullptr;  // [whole rows, V]
  float* hidden = nullptr;  // [R of all steps, D], after the final norm
  Candidates candidates{};  // of candidate rows
  // One for each step, [L, H, positions] of those that want attention weights; may be empty where none does
  std::vector<float*> attention{};
};

// Whether each of the steps is of few rows: a token and its draft, a short question.
bool of_few_rows(const std::vector<Step>& steps);

struct MemoryUse {
  uint64_t weights_mapped, weights_heap;
  uint64_t kv_cache;       // of all sequences there are
  uint64_t kv_cache_full;  // of one sequence that fills the context
  uint64_t scratch;
};

class Llava {
 public:
  Llava(const std::vector<std::string>& files, const std::vector<TensorEntry>& directory, ModelConfig config,
        const ModelOptions& options, std::shared_ptr<Backend> backend, const OpenProgress& progress = {});

  const ModelConfig& config() const { return config_; }
  KvCache new_cache() const;
  std::shared_ptr<const KvPool> kv_pool() const { return kv_pool_; }
  BackendInfo info() const { return backend_->info(); }
  MemoryUse memory() const;  // from any thread
  // As it was before the model was loaded; absent where the device's memory is the host's.
  const std::optional<MemoryPlan>& plan() const { return plan_; }

  // pixel_values [count, 3, S, S] -> encoded pictures, several in a pass. Throws kAborted when cancel is set meanwhile.
  // between_products may call forward() with steps of few rows: answers go on while pictures are encoded.
  std::vector<std::shared_ptr<ImageFeatures>> encode_images(std::span<const float> pixel_values, int64_t count,
                                                            ImageResults results, const std::atomic<bool>& cancel,
                                                            const std::function<bool()>& between_products = {});

  // Values of a result, in floats.
  int64_t result_size(ImageResult which) const;
  // A picture that was encoded before, from what ImageFeatures::read gave; each of result_size values.
  std::shared_ptr<ImageFeatures> restore_image(std::span<const StoredResult> results);

  // Runs all steps as one ragged batch. A step that is cancelled, or for which there is no page, fails by itself: its
  // error is in its place, its cache as it was, its rows are NaN, its ids -1. When the call throws, every cache is as
  // it was. Of steps of many rows between_products may call forward() with others of few.
  std::vector<std::optional<Error>> forward(const std::vector<Step>& steps, const Outputs& outputs,
                                            const std::atomic<bool>& cancel,
                                            const std::function<bool()>& between_products = {});

  Peak measure_peak(PeakKind kind) { return backend_->measure_peak(kind); }

 private:
  struct Batch;
  void encode_some(Device<const float> pixel_values, int64_t count, ImageResults results,
                   std::vector<std::shared_ptr<ImageFeatures>>& images);
  void keep(ImageFeatures& image, ImageResult which, ConstActivations rows);
  Activations projector(ConstActivations features);
  void run(Batch& batch, const Outputs& outputs);
  void begin(Batch& batch);
  Activations embed(const Batch& batch);
  Activations wanted(const Batch& batch, ConstActivations x, Arena& arena);
  Activations live_rows(const Batch& batch, const std::vector<bool>& lives, ConstActivations x);
  void drop_cancelled(Batch& batch, Activations& x);
  void measure_scratch();
  Activations decoder_layer(const Batch& batch, int64_t index, Activations x);
  void attention_out(const Batch& batch, int64_t layer, ConstActivations q, const KvPages& cache);
  void head(const Batch& batch, Activations x, const Outputs& outputs);
  void candidates_out(const Batch& batch, ConstActivations logits, int64_t first, const Candidates& out);

  ModelConfig config_;
  std::shared_ptr<Backend> backend_;
  std::optional<MemoryPlan> plan_;
  LlavaWeights weights_;
  Passes tower_;    // of pictures: tower and projector
  Passes prompts_;  // of the decoder: steps of many rows
  Passes tokens_;   // and of few, which may run between two products of the others
  std::shared_ptr<KvPool> kv_pool_;
  std::atomic<uint64_t> scratch_held_{0};
};

}  // namespace llava
