#include "model/weights.h"

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <span>
#include <unordered_map>

#include "common/blocks.h"
#include "common/error.h"
#include "common/half.h"

namespace llava {

namespace {

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); i++) text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

[[noreturn]] void corrupt(const std::string& what) { throw Error(ErrorCode::kModelCorrupt, what); }

// Bytes of a tensor, or corrupt() when its shape cannot be stored in its type.
uint64_t bytes_of(const TensorEntry& entry) {
  uint64_t rows = 1;
  for (size_t i = 0; i + 1 < entry.shape.size(); i++) {
    if (__builtin_mul_overflow(rows, static_cast<uint64_t>(entry.shape[i]), &rows))
      corrupt(entry.name + ": shape " + shape_text(entry.shape) + " overflows");
  }
  const int64_t columns = entry.shape.empty() ? 1 : entry.shape.back();
  if (columns % traits(entry.dtype).elements != 0)
    corrupt(entry.name + ": rows of " + std::to_string(columns) + " values do not divide into blocks");
  uint64_t bytes = 0;
  if (__builtin_mul_overflow(rows, static_cast<uint64_t>(row_bytes(entry.dtype, columns)), &bytes))
    corrupt(entry.name + ": size overflows");
  return bytes;
}

}  // namespace

// Looks tensors up by canonical name and re-checks everything the directory claims.
class WeightBinder {
 public:
  WeightBinder(WeightStore& store, const std::vector<TensorEntry>& directory, const OpenProgress& progress)
      : store_(store) {
    for (const TensorEntry& entry : directory) {
      for (const int64_t size : entry.shape) {
        if (size <= 0) corrupt(entry.name + ": shape " + shape_text(entry.shape) + " has a size below 1");
      }
      if (entry.file < 0 || entry.file >= static_cast<int64_t>(store.files_.size()))
        corrupt(entry.name + ": no such file");
      if (entry.nbytes != bytes_of(entry))
        corrupt(entry.name + ": " + std::to_string(entry.nbytes) + " bytes do not hold shape " +
                shape_text(entry.shape));
      const uint64_t size = store.files_[static_cast<size_t>(entry.file)]->size();
      if (entry.offset > size || entry.nbytes > size - entry.offset)
        corrupt(entry.name + ": reaches beyond the end of its file (truncated download?)");
      if (!by_name_.emplace(entry.name, &entry).second) corrupt(entry.name + ": listed twice");
      store.mapped_bytes_ += entry.nbytes;
    }
    adopt(directory, progress);
  }

  Weight matrix(const std::string& name, int64_t rows, int64_t cols) {
    const TensorEntry& entry = find(name);
    int64_t inner = 1;
    for (size_t i = 1; i < entry.shape.size(); i++) inner *= entry.shape[i];
    if (entry.shape.size() < 2 || entry.shape[0] != rows || inner != cols) mismatch(entry, {rows, cols});
    if (traits(entry.dtype).quantised() && entry.shape.size() != 2)
      corrupt(name + ": a quantised tensor must have two dimensions");
    if (entry.transposed) return untransposed(entry, rows, cols);
    return {device_data(entry), entry.dtype, rows, cols};
  }

  Vector vector(const std::string& name, int64_t length) { return stored(widened(name, {length})); }

  // [rows, cols] as f32.
  ConstActivations rows(const std::string& name, int64_t rows, int64_t cols) {
    return {stored(widened(name, {rows, cols})).data, rows, cols};
  }

  // Values that no file holds.
  Vector stored(const std::vector<float>& values) {
    return {held(std::as_bytes(std::span(values))).as<const float>(), static_cast<int64_t>(values.size())};
  }

  Linear linear(const std::string& name, int64_t out, int64_t in, bool bias) {
    Linear linear{matrix(name + ".weight", out, in), bias ? vector(name + ".bias", out) : Vector{}};
    const auto adapter = by_name_.find(name + ".lora_A.weight");
    if (adapter == by_name_.end()) return linear;
    const TensorEntry& a = *adapter->second;
    if (a.shape.size() != 2) corrupt(a.name + ": expected two dimensions");
    linear.lora_a = matrix(a.name, a.shape[0], in);
    linear.lora_b = lora_b(name + ".lora_B.weight", out, a.shape[0]);
    linear.lora_scale = find(name + ".lora_B.weight").lora_scale;
    return linear;
  }
  Norm norm(const std::string& name, int64_t size, bool bias) {
    return {vector(name + ".weight", size), bias ? vector(name + ".bias", size) : Vector{}};
  }

 private:
  const TensorEntry& find(const std::string& name) const {
    const auto found = by_name_.find(name);
    if (found == by_name_.end()) corrupt("tensor " + name + " is missing");
    return *found->second;
  }
  [[noreturn]] void mismatch(const TensorEntry& entry, const std::vector<int64_t>& expected) const {
    corrupt(entry.name + ": shape " + shape_text(entry.shape) + " where the config asks for " + shape_text(expected));
  }
  // Bytes in memory of their own.
  Device<const std::byte> held(std::span<const std::byte> bytes) {
    DeviceMemory memory = store_.backend_.allocate(bytes.size());
    const DeviceBytes place = memory.data();
    copy_in<std::byte>(store_.backend_, place, bytes);
    store_.heap_bytes_ += memory.nbytes();
    store_.vectors_.push_back(std::move(memory));
    return place;
  }
  // The same values in the order in which products read them, in their own type: w[out][in] = file[in][out].
  Weight untransposed(const TensorEntry& entry, int64_t rows, int64_t cols) {
    if (traits(entry.dtype).quantised() || entry.shape.size() != 2)
      corrupt(entry.name + ": only a float matrix may be stored transposed");
    const auto size = static_cast<size_t>(traits(entry.dtype).bytes);
    const std::byte* file = data(entry);
    std::vector<std::byte> values(entry.nbytes);
    for (int64_t row = 0; row < rows; row++) {
      for (int64_t col = 0; col < cols; col++)
        std::copy_n(file + static_cast<size_t>(col * rows + row) * size, size,
                    values.data() + static_cast<size_t>(row * cols + col) * size);
    }
    store_.mapped_bytes_ -= entry.nbytes;
    return {held(values), entry.dtype, rows, cols};
  }
  // The stretch of a file that holds tensors.
  struct Stretch {
    uint64_t first, end;
    uint64_t nbytes() const { return end - first; }
  };
  Stretch stretch_of(const std::vector<TensorEntry>& directory, size_t file) const {
    Stretch stretch{store_.files_[file]->size(), 0};
    for (const TensorEntry& entry : directory) {
      if (static_cast<size_t>(entry.file) != file) continue;
      stretch = {std::min(stretch.first, entry.offset), std::max(stretch.end, entry.offset + entry.nbytes)};
    }
    return {std::min(stretch.first, stretch.end), stretch.end};
  }
  // Puts what the files hold where the device reads it.
  void adopt(const std::vector<TensorEntry>& directory, const OpenProgress& progress) {
    uint64_t total = 0, before = 0;
    for (size_t i = 0; i < store_.files_.size(); i++) stretches_.push_back(stretch_of(directory, i));
    for (const Stretch& stretch : stretches_) total += stretch.nbytes();
    if (progress) progress(0, total);
    for (size_t i = 0; i < stretches_.size(); i++) {
      const auto [first, end] = stretches_[i];
      const AdoptProgress so_far = [&](uint64_t nbytes) {
        if (progress) progress(before + nbytes, total);
      };
      store_.adopted_.push_back(end > first ? store_.backend_.adopt(store_.files_[i], first, end - first, so_far)
                                            : DeviceMemory());
      before += end - first;
    }
  }
  Device<const std::byte> device_data(const TensorEntry& entry) const {
    const auto file = static_cast<size_t>(entry.file);
    return store_.adopted_[file].data() + static_cast<int64_t>(entry.offset - stretches_[file].first);
  }

  std::vector<float> widened(const std::string& name, const std::vector<int64_t>& shape) {
    const TensorEntry& entry = find(name);
    int64_t expected = 1, count = 1;
    for (const int64_t size : shape) expected *= size;
    for (const int64_t size : entry.shape) count *= size;
    if (count != expected) mismatch(entry, shape);
    std::vector<float> values(static_cast<size_t>(count));
    widen(entry, values.data(), count);
    store_.mapped_bytes_ -= entry.nbytes;
    return values;
  }

  // Its rows in the order of the module's.
  Weight lora_b(const std::string& name, int64_t out, int64_t rank) {
    const Weight weight = matrix(name, out, rank);
    const int64_t heads = find(name).interleaved_heads;
    if (heads == 0) return weight;
    if (heads < 0 || out % heads != 0 || out / heads % 2 != 0)
      corrupt(name + ": its rows do not divide into heads of pairs");
    const std::vector<float> in_file = widened(name, {out, rank});
    std::vector<float> rows(in_file.size());
    for (int64_t row = 0; row < out; row++)
      std::copy_n(in_file.data() + half_row(row, out / heads) * rank, rank, rows.data() + row * rank);
    return {stored(rows).data.as<const std::byte>(), DType::F32, out, rank};
  }
  const std::byte* data(const TensorEntry& entry) const {
    return store_.files_[static_cast<size_t>(entry.file)]->data() + entry.offset;
  }

  template <class Block, int values>
  static void widen_blocks(const std::byte* from, float* out, int64_t count) {
    for (int64_t at = 0; at < count; at += values) {
      Block block;
      std::memcpy(&block, from + at / values * static_cast<int64_t>(sizeof(Block)), sizeof(Block));
      for (int i = 0; i < values; i++) out[at + i] = block.scale(i) * static_cast<float>(block.code(i)) + block.min(i);
    }
  }

  void widen(const TensorEntry& entry, float* out, int64_t count) const {
    const std::byte* from = data(entry);
    switch (entry.dtype) {
      case DType::F32: std::memcpy(out, from, static_cast<size_t>(count) * sizeof(float)); return;
      case DType::F16:
      case DType::BF16:
        for (int64_t i = 0; i < count; i++) {
          uint16_t bits;
          std::memcpy(&bits, from + 2 * i, 2);
          out[i] = entry.dtype == DType::F16 ? half_to_float(bits) : bfloat_to_float(bits);
        }
        return;
#define LLAVA_WIDEN(T, elements, ...) \
  case DType::T: return widen_blocks<Block##T, elements>(from, out, count);
        LLAVA_QUANTISED(LLAVA_WIDEN)
#undef LLAVA_WIDEN
    }
  }

  WeightStore& store_;
  std::unordered_map<std::string, const TensorEntry*> by_name_;
  std::vector<Stretch> stretches_;  // of each file, what was adopted
};

namespace {

TextWeights bind_text(WeightBinder& bind, const TextConfig& c) {
  TextWeights w;
  const int64_t D = c.hidden_size, F = c.intermediate_size, Q = c.heads * c.head_dim, KV = c.kv_heads * c.head_dim;
  w.rope_inv_freq = bind.stored(c.rope_inv_freq);
  w.embed_tokens = bind.matrix("language_model.embed_tokens.weight", c.vocab_size, D);
  w.norm = bind.norm("language_model.norm", D, false);
  w.lm_head = bind.linear("lm_head", c.vocab_size, D, false);
  for (int64_t i = 0; i < c.layers; i++) {
    const std::string at = "language_model.layers." + std::to_string(i);
    w.layers.push_back({
        .input_layernorm = bind.norm(at + ".input_layernorm", D, false),
        .post_attention_layernorm = bind.norm(at + ".post_attention_layernorm", D, false),
        .q_proj = bind.linear(at + ".self_attn.q_proj", Q, D, false),
        .k_proj = bind.linear(at + ".self_attn.k_proj", KV, D, false),
        .v_proj = bind.linear(at + ".self_attn.v_proj", KV, D, false),
        .o_proj = bind.linear(at + ".self_attn.o_proj", D, Q, false),
        .gate_proj = bind.linear(at + ".mlp.gate_proj", F, D, false),
        .up_proj = bind.linear(at + ".mlp.up_proj", F, D, false),
        .down_proj = bind.linear(at + ".mlp.down_proj", D, F, false),
    });
  }
  return w;
}

// Blocks of a CLIP tower; `encoder` is its path.
std::vector<ClipLayer> bind_clip_layers(WeightBinder& bind, const std::string& encoder, int64_t layers, int64_t D,
                                        int64_t F) {
  std::vector<ClipLayer> bound;
  for (int64_t i = 0; i < layers; i++) {
    const std::string at = encoder + ".layers." + std::to_string(i);
    bound.push_back({
        .layer_norm1 = bind.norm(at + ".layer_norm1", D, true),
        .layer_norm2 = bind.norm(at + ".layer_norm2", D, true),
        .q_proj = bind.linear(at + ".self_attn.q_proj", D, D, true),
        .k_proj = bind.linear(at + ".self_attn.k_proj", D, D, true),
        .v_proj = bind.linear(at + ".self_attn.v_proj", D, D, true),
        .out_proj = bind.linear(at + ".self_attn.out_proj", D, D, true),
        .fc1 = bind.linear(at + ".mlp.fc1", F, D, true),
        .fc2 = bind.linear(at + ".mlp.fc2", D, F, true),
    });
  }
  return bound;
}

VisionWeights bind_vision(WeightBinder& bind, const VisionConfig& c) {
  VisionWeights w;
  const int64_t D = c.hidden_size;
  const bool clip = c.tower == VisionTower::kClip;
  if (clip) w.class_embedding = bind.vector("vision_tower.embeddings.class_embedding", D);
  w.patch_embedding = bind.matrix("vision_tower.embeddings.patch_embedding.weight", D, 3 * c.patch_size * c.patch_size);
  if (!clip) w.patch_embedding_bias = bind.vector("vision_tower.embeddings.patch_embedding.bias", D);
  w.position_embedding = bind.rows("vision_tower.embeddings.position_embedding.weight", c.rows(), D);
  if (clip) w.pre_layrnorm = bind.norm("vision_tower.pre_layrnorm", D, true);
  w.layers = bind_clip_layers(bind, "vision_tower.encoder", c.layers, D, c.intermediate_size);
  return w;
}

PoolingHead bind_pooling_head(WeightBinder& bind, const VisionConfig& c) {
  const int64_t D = c.hidden_size, F = c.intermediate_size;
  const std::string at = "vision_tower.head";
  return {
      .probe = bind.rows(at + ".probe", 1, D),
      .q_proj = bind.linear(at + ".attention.q_proj", D, D, true),
      .k_proj = bind.linear(at + ".attention.k_proj", D, D, true),
      .v_proj = bind.linear(at + ".attention.v_proj", D, D, true),
      .out_proj = bind.linear(at + ".attention.out_proj", D, D, true),
      .layernorm = bind.norm(at + ".layernorm", D, true),
      .fc1 = bind.linear(at + ".mlp.fc1", F, D, true),
      .fc2 = bind.linear(at + ".mlp.fc2", D, F, true),
  };
}

std::vector<Linear> bind_projector(WeightBinder& bind, const VisionConfig& c, int64_t text_width) {
  std::vector<Linear> layers;
  for (int64_t i = 0; i < c.projector_layers; i++) {
    const std::string name = "multi_modal_projector.linear_" + std::to_string(i + 1);
    layers.push_back(bind.linear(name, text_width, i == 0 ? c.hidden_size : text_width, true));
  }
  return layers;
}

ClipTextWeights bind_clip_text(WeightBinder& bind, const ClipTextConfig& c) {
  ClipTextWeights w;
  w.token_embedding = bind.matrix("text_model.embeddings.token_embedding.weight", c.vocab_size, c.hidden_size);
  w.position_embedding =
      bind.matrix("text_model.embeddings.position_embedding.weight", c.context_length, c.hidden_size);
  w.layers = bind_clip_layers(bind, "text_model.encoder", c.layers, c.hidden_size, c.intermediate_size);
  w.final_layer_norm = bind.norm("text_model.final_layer_norm", c.hidden_size, true);
  return w;
}

// Products of two or three sizes cannot overflow, whatever the config claims; the largest size in use is a vocabulary
// of 2^18.
constexpr int64_t kLargestSize = int64_t{1} << 20;

bool sizes_ok(std::initializer_list<int64_t> sizes) {
  return std::all_of(sizes.begin(), sizes.end(), [](int64_t size) { return size > 0 && size <= kLargestSize; });
}

void check_vision(const VisionConfig& v) {
  if (!sizes_ok({v.hidden_size, v.intermediate_size, v.layers + 1, v.heads, v.patch_size, v.image_size}))
    corrupt("the vision tower's config is inconsistent");
  const bool ok = v.hidden_size > 0 && v.intermediate_size > 0 && v.layers >= 0 && v.heads > 0 &&
                  v.hidden_size % v.heads == 0 && v.patch_size > 0 && v.image_size >= v.patch_size &&
                  v.image_rows() >= 1 && v.projector_layers >= 1 && v.projector_layers <= 16;
  if (!ok) corrupt("the vision tower's config is inconsistent");
}

void check_config(const ModelConfig& config) {
  const TextConfig& t = config.text;
  if (!sizes_ok({t.hidden_size, t.intermediate_size, t.layers, t.heads, t.kv_heads, t.head_dim, t.vocab_size}))
    corrupt("the decoder's config is inconsistent");
  const bool ok = t.hidden_size > 0 && t.intermediate_size > 0 && t.layers > 0 && t.heads > 0 && t.kv_heads > 0 &&
                  t.head_dim > 0 && t.head_dim % 2 == 0 && t.heads % t.kv_heads == 0 && t.vocab_size > 0 &&
                  t.context_length > 0 && t.sliding_window >= 0 &&
                  static_cast<int64_t>(t.rope_inv_freq.size()) == t.head_dim / 2;
  if (!ok) corrupt("the decoder's config is inconsistent");
  if (config.has_vision) check_vision(config.vision);
}

void check_config(const ClipConfig& config) {
  const ClipTextConfig& t = config.text;
  const bool ok = t.hidden_size > 0 && t.intermediate_size > 0 && t.layers >= 0 && t.heads > 0 &&
                  t.hidden_size % t.heads == 0 && t.vocab_size > 0 && t.context_length > 0 && config.projection_dim > 0;
  if (!ok) corrupt("the text tower's config is inconsistent");
  check_vision(config.vision);
  if (config.vision.tower == VisionTower::kSiglip && config.projection_dim != config.vision.hidden_size)
    corrupt("SigLIP's vectors are as wide as its vision tower");
}

}  // namespace

WeightStore::WeightStore(const std::vector<std::string>& files, Backend& backend) : backend_(backend) {
  for (const std::string& path : files) files_.push_back(std::make_shared<const MappedFile>(path));
}

void WeightStore::release_files() {
  for (size_t i = 0; i < files_.size(); i++) {
    if (files_[i].use_count() > 1) continue;
    heap_bytes_ += adopted_[i].nbytes();
    mapped_bytes_ = 0;
  }
  files_.clear();
}

LlavaWeights::LlavaWeights(const std::vector<std::string>& files, const std::vector<TensorEntry>& directory,
                           const ModelConfig& config, Backend& backend, const OpenProgress& progress)
    : store(files, backend) {
  check_config(config);
  WeightBinder bind(store, directory, progress);
  text = bind_text(bind, config.text);
  if (config.has_vision) {
    vision = bind_vision(bind, config.vision);
    projector = bind_projector(bind, config.vision, config.text.hidden_size);
  }
  store.release_files();
}

ClipWeights::ClipWeights(const std::vector<std::string>& files, const std::vector<TensorEntry>& directory,
                         const ClipConfig& config, Backend& backend, const OpenProgress& progress)
    : store(files, backend) {
  check_config(config);
  WeightBinder bind(store, directory, progress);
  vision = bind_vision(bind, config.vision);
  post_layernorm = bind.norm("vision_tower.post_layernorm", config.vision.hidden_size, true);
  const bool siglip = config.vision.tower == VisionTower::kSiglip;
  if (siglip)
    head = bind_pooling_head(bind, config.vision);
  else
    visual_projection = bind.linear("visual_projection", config.projection_dim, config.vision.hidden_size, false);
  text = bind_clip_text(bind, config.text);
  text_projection = bind.linear("text_projection", config.projection_dim, config.text.hidden_size, siglip);
  store.release_files();
}

}  // namespace llava
