// Tensor tables and configs as JavaScript hands them over: a LLaVA's or a CLIP's list of tensors, most often as the
// config asks for, with lies in some places. What is opened is run, so that every address it was given is read.
//   The checks of the binding that lie above (whole numbers within +-2^53) are taken as done.
#include <algorithm>

#include "cpu/backend.h"
#include "model/clip.h"
#include "model/llava.h"
#include "testing/fuzz/inputs.h"

namespace llava::fuzz {

namespace {

constexpr int64_t kFileBytes[] = {1 << 16, 1 << 12};

const std::vector<std::string>& files() {
  static const std::vector<std::string> paths = {file_of(kFileBytes[0], 1), file_of(kFileBytes[1], 2)};
  return paths;
}

// Copies the files, so that a read beyond one is seen.
const std::shared_ptr<Backend>& backend() {
  static const std::shared_ptr<Backend> cpu = make_cpu_backend(1, "scalar", true);
  return cpu;
}

// The tensors of a model, one behind the other.
class Directory {
 public:
  explicit Directory(Bytes& bytes) : bytes_(bytes), dtype_(bytes.dtype()) {}

  void add(const std::string& name, std::vector<int64_t> shape) {
    const bool matrix = shape.size() == 2;
    const bool fits = !shape.empty() && shape.back() % traits(dtype_).elements == 0;
    place({name, matrix && fits ? dtype_ : DType::F32, std::move(shape), 0, 0, 0});
  }
  void linear(const std::string& name, int64_t out, int64_t in, bool bias) {
    add(name + ".weight", {out, in});
    if (bias) add(name + ".bias", {out});
    if (!bytes_.one_in(16)) return;
    const int64_t rank = bytes_.between(1, 4);
    add(name + ".lora_A.weight", {rank, in});
    add(name + ".lora_B.weight", {out, rank});
    entries.back().lora_scale = bytes_.ConsumeFloatingPoint<float>();
    entries.back().interleaved_heads = bytes_.mostly(bytes_.between(0, 2), 4);
  }
  void norm(const std::string& name, int64_t size, bool bias) {
    add(name + ".weight", {size});
    if (bias) add(name + ".bias", {size});
  }
  void clip_layers(const std::string& encoder, int64_t layers, int64_t D, int64_t F) {
    for (int64_t i = 0; i < std::min<int64_t>(layers, 3); i++) {
      const std::string at = encoder + ".layers." + std::to_string(i);
      norm(at + ".layer_norm1", D, true);
      norm(at + ".layer_norm2", D, true);
      for (const char* name : {"q_proj", "k_proj", "v_proj", "out_proj"}) linear(at + ".self_attn." + name, D, D, true);
      linear(at + ".mlp.fc1", F, D, true);
      linear(at + ".mlp.fc2", D, F, true);
    }
  }
  void vision(const VisionConfig& c) {
    const int64_t D = c.hidden_size;
    const bool clip = c.tower == VisionTower::kClip;
    if (clip) add("vision_tower.embeddings.class_embedding", {D});
    add("vision_tower.embeddings.patch_embedding.weight", {D, 3, c.patch_size, c.patch_size});
    if (!clip) add("vision_tower.embeddings.patch_embedding.bias", {D});
    add("vision_tower.embeddings.position_embedding.weight", {rows_of(c), D});
    if (clip) norm("vision_tower.pre_layrnorm", D, true);
    clip_layers("vision_tower.encoder", c.layers, D, c.intermediate_size);
  }
  static int64_t rows_of(const VisionConfig& c) {  // of a config that may be anything
    const int64_t grid = c.patch_size > 0 ? std::clamp<int64_t>(c.image_size / c.patch_size, 0, 1 << 20) : 0;
    return grid * grid + (c.tower == VisionTower::kClip ? 1 : 0);
  }

  std::vector<TensorEntry> entries;

 private:
  void place(TensorEntry entry) {
    entry.nbytes = bytes_of(entry.dtype, entry.shape);
    // in the small file now and then; tensors may share bytes
    entry.file = bytes_.one_in(8) ? 1 : 0;
    const int64_t size = kFileBytes[entry.file];
    const auto room = static_cast<int64_t>(std::min<uint64_t>(entry.nbytes, static_cast<uint64_t>(size)));
    entry.offset = static_cast<uint64_t>(bytes_.one_in(8) ? size - room : next_ % (size - room + 1));
    next_ += room + bytes_.between(0, 3);
    entries.push_back(std::move(entry));
  }
  Bytes& bytes_;
  DType dtype_;
  int64_t next_ = 0;
};

TextConfig text_config(Bytes& bytes) {
  TextConfig c;
  const int64_t kv_heads = bytes.between(1, 2);
  c.hidden_size = bytes.mostly(bytes.PickValueInArray<int64_t>({8, 32, 12}));
  c.intermediate_size = bytes.mostly(bytes.PickValueInArray<int64_t>({8, 32, 20}));
  c.layers = bytes.mostly(bytes.between(1, 2));
  c.heads = bytes.mostly(kv_heads * bytes.between(1, 2));
  c.kv_heads = bytes.mostly(kv_heads);
  c.head_dim = bytes.mostly(2 * bytes.between(1, 8));
  c.vocab_size = bytes.mostly(bytes.between(1, 20));
  c.rms_norm_eps = bytes.one_in(8) ? bytes.ConsumeFloatingPoint<float>() : 1e-5f;
  c.rope_layout = bytes.ConsumeBool() ? RopeLayout::kHalf : RopeLayout::kInterleaved;
  c.context_length = bytes.mostly(bytes.between(1, 100));
  c.sliding_window = bytes.mostly(bytes.between(0, 20));
  const int64_t frequencies = bytes.mostly(c.head_dim / 2);
  c.rope_inv_freq.assign(static_cast<size_t>(std::clamp<int64_t>(frequencies, 0, 64)),
                         bytes.one_in(8) ? bytes.ConsumeFloatingPoint<float>() : 0.5f);
  return c;
}

Activation activation(Bytes& bytes) { return static_cast<Activation>(bytes.between(1, 3)); }

VisionConfig vision_config(Bytes& bytes) {
  VisionConfig c;
  const int64_t heads = bytes.between(1, 2);
  c.tower = bytes.ConsumeBool() ? VisionTower::kClip : VisionTower::kSiglip;
  c.hidden_size = bytes.mostly(heads * bytes.PickValueInArray<int64_t>({4, 16, 5}));
  c.intermediate_size = bytes.mostly(bytes.between(1, 40));
  c.layers = bytes.mostly(bytes.between(0, 2));
  c.heads = bytes.mostly(heads);
  c.patch_size = bytes.mostly(bytes.between(1, 4));
  c.image_size = bytes.mostly(bytes.between(4, 13));
  c.layer_norm_eps = bytes.one_in(8) ? bytes.ConsumeFloatingPoint<float>() : 1e-5f;
  c.activation = activation(bytes);
  c.drop_class_row = bytes.ConsumeBool();
  c.projector_layers = bytes.mostly(bytes.between(1, 3));
  return c;
}

void lies(Bytes& bytes, std::vector<TensorEntry>& entries) {
  for (int64_t count = bytes.between(0, 3) - 1; count > 0 && !entries.empty(); count--) {
    const auto which = static_cast<size_t>(bytes.between(0, static_cast<int64_t>(entries.size()) - 1));
    if (bytes.one_in(8)) {
      entries.push_back(entries[which]);
    } else if (bytes.one_in(8)) {
      entries.erase(entries.begin() + static_cast<long>(which));
    } else {
      lie(bytes, entries[which]);
    }
  }
}

ModelOptions options(Bytes& bytes) {
  ModelOptions o;
  o.kv_cache = static_cast<KvType>(bytes.between(0, 2));
  o.arithmetic = bytes.ConsumeBool() ? Arithmetic::kFast : Arithmetic::kExact;
  return o;
}

const std::atomic<bool> kNever{false};
constexpr int64_t kMostRows = 40;  // of a picture: attention of more takes long, and reads no other weights

std::vector<float> pixels_of(const VisionConfig& c, int64_t count) {
  return std::vector<float>(static_cast<size_t>(count * 3 * c.image_size * c.image_size), 0.5f);
}

void open_llava(Bytes& bytes) {
  ModelConfig config;
  config.text = text_config(bytes);
  config.has_vision = bytes.ConsumeBool();
  if (config.has_vision) config.vision = vision_config(bytes);
  const TextConfig& t = config.text;
  Directory directory(bytes);
  directory.add("language_model.embed_tokens.weight", {t.vocab_size, t.hidden_size});
  directory.norm("language_model.norm", t.hidden_size, false);
  directory.linear("lm_head", t.vocab_size, t.hidden_size, false);
  const auto product = [](int64_t a, int64_t b) {
    return static_cast<int64_t>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
  };
  const int64_t Q = product(t.heads, t.head_dim), KV = product(t.kv_heads, t.head_dim), D = t.hidden_size,
                F = t.intermediate_size;
  for (int64_t i = 0; i < std::min<int64_t>(t.layers, 3); i++) {
    const std::string at = "language_model.layers." + std::to_string(i);
    directory.norm(at + ".input_layernorm", D, false);
    directory.norm(at + ".post_attention_layernorm", D, false);
    directory.linear(at + ".self_attn.q_proj", Q, D, false);
    directory.linear(at + ".self_attn.k_proj", KV, D, false);
    directory.linear(at + ".self_attn.v_proj", KV, D, false);
    directory.linear(at + ".self_attn.o_proj", D, Q, false);
    directory.linear(at + ".mlp.gate_proj", F, D, false);
    directory.linear(at + ".mlp.up_proj", F, D, false);
    directory.linear(at + ".mlp.down_proj", D, F, false);
  }
  if (config.has_vision) {
    directory.vision(config.vision);
    for (int64_t i = 0; i < std::min<int64_t>(config.vision.projector_layers, 4); i++)
      directory.linear("multi_modal_projector.linear_" + std::to_string(i + 1), D,
                       i == 0 ? config.vision.hidden_size : D, true);
  }
  lies(bytes, directory.entries);
  Llava model(files(), directory.entries, config, options(bytes), backend());

  // Opened: nothing that it holds lies outside of the files.
  if (config.has_vision && config.vision.rows() > kMostRows) return;
  KvCache cache = model.new_cache();
  std::vector<Segment> segments{{.tokens = {0, static_cast<int32_t>(t.vocab_size - 1)}}};
  if (config.has_vision) {
    const int64_t count = bytes.between(1, 2);
    const auto images = model.encode_images(pixels_of(config.vision, count), count, 0b1111, kNever);
    must(static_cast<int64_t>(images.size()) == count, "a picture for each");
    segments.push_back({.image = images.back(), .start = 0, .count = images.back()->rows});
  }
  std::vector<Step> steps{{&cache, segments, LogitsOf::kLast}};
  std::vector<float> logits(static_cast<size_t>(t.vocab_size)), hidden(static_cast<size_t>(t.hidden_size));
  model.forward(steps, {.logits = logits.data(), .hidden = hidden.data()}, kNever);
  must(cache.length() == steps[0].tokens(), "a cache of so many positions");
}

void open_clip(Bytes& bytes) {
  ClipConfig config;
  config.vision = vision_config(bytes);
  const int64_t heads = bytes.between(1, 2);
  ClipTextConfig& t = config.text;
  t.hidden_size = bytes.mostly(heads * bytes.PickValueInArray<int64_t>({4, 16, 5}));
  t.intermediate_size = bytes.mostly(bytes.between(1, 40));
  t.layers = bytes.mostly(bytes.between(0, 2));
  t.heads = bytes.mostly(heads);
  t.vocab_size = bytes.mostly(bytes.between(1, 20));
  t.context_length = bytes.mostly(bytes.between(1, 20));
  t.layer_norm_eps = 1e-5f;
  t.activation = activation(bytes);
  config.projection_dim = bytes.mostly(bytes.between(1, 20));
  Directory directory(bytes);
  directory.vision(config.vision);
  directory.norm("vision_tower.post_layernorm", config.vision.hidden_size, true);
  directory.linear("visual_projection", config.projection_dim, config.vision.hidden_size, false);
  directory.add("text_model.embeddings.token_embedding.weight", {t.vocab_size, t.hidden_size});
  directory.add("text_model.embeddings.position_embedding.weight", {t.context_length, t.hidden_size});
  directory.clip_layers("text_model.encoder", t.layers, t.hidden_size, t.intermediate_size);
  directory.norm("text_model.final_layer_norm", t.hidden_size, true);
  directory.linear("text_projection", config.projection_dim, t.hidden_size, false);
  lies(bytes, directory.entries);
  Clip model(files(), directory.entries, config, options(bytes), backend());

  if (config.vision.rows() > kMostRows) return;
  std::vector<float> out(static_cast<size_t>(2 * config.projection_dim));
  model.encode_images(pixels_of(config.vision, 2), 2, out.data(), kNever);
  std::vector<int32_t> ids;
  std::vector<int64_t> lengths;
  for (int i = 0; i < 2; i++) {
    lengths.push_back(bytes.between(0, 3));
    for (int64_t n = 0; n < lengths.back(); n++)
      ids.push_back(static_cast<int32_t>(bytes.one_in(8) ? bytes.hostile() : bytes.between(0, t.vocab_size - 1)));
  }
  model.encode_texts(ids, lengths, out.data(), kNever);
}

}  // namespace

}  // namespace llava::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  llava::fuzz::Bytes bytes(data, size);
  try {
    bytes.one_in(3) ? llava::fuzz::open_clip(bytes) : llava::fuzz::open_llava(bytes);
  } catch (const llava::Error& error) {
    llava::fuzz::must(error.code() != llava::ErrorCode::kInternal, error.what());
  }
  return 0;
}
