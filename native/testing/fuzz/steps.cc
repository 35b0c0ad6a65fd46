// Steps as JavaScript hands them over, on a small model whose caches live on from one pass to the next: ids, rows of
// pictures and lengths of every kind, passes that are cancelled after any op and that run out of memory at any
// allocation, caches that are forked and cut meanwhile. Whatever happens, a cache holds what its successful steps
// brought, a step that failed says why, and the next pass goes as if nothing had been.
//   Above lie the binding's checks: handles of their own kinds, and arrays for results of the right size.
#include <algorithm>
#include <cmath>

#include "cpu/backend.h"
#include "model/llava.h"
#include "testing/fuzz/inputs.h"

namespace llava::fuzz {

namespace {

// What goes wrong on the way; counted down at every allocation and op. Below 0: never.
struct Trouble {
  int64_t allocations = -1, ops = -1;
  std::vector<std::shared_ptr<std::atomic<bool>>> flags;  // set when `ops` is reached
};
Trouble trouble;

bool comes(int64_t& left) { return left >= 0 && left-- == 0; }

const std::shared_ptr<Backend>& cpu() {
  static const std::shared_ptr<Backend> backend = make_cpu_backend(1, "scalar");
  return backend;
}

template <auto op, class Args>
void troubled(Stream& stream, const Args& args) {
  if (comes(trouble.ops)) {
    for (const auto& flag : trouble.flags) flag->store(true);
  }
  (cpu()->ops().*op)(stream, args);
}

constexpr OpTable kOps = {
#define OP(name, Args) troubled<&OpTable::name, Args>,
#include "ops/ops.def"
#undef OP
};

class TroubledBackend : public Backend {
 public:
  const OpTable& ops() const override { return kOps; }
  Stream& stream() override { return cpu()->stream(); }
  BackendInfo info() const override { return cpu()->info(); }
  Peak measure_peak(PeakKind kind) override { return cpu()->measure_peak(kind); }
  DeviceMemory allocate(uint64_t nbytes, PageSize pages) override {
    if (comes(trouble.allocations)) throw Error(ErrorCode::kOutOfMemory, "out of memory");
    return cpu()->allocate(nbytes, pages);
  }
  DeviceMemory adopt(std::shared_ptr<const MappedFile> file, uint64_t first, uint64_t nbytes,
                     const AdoptProgress& progress) override {
    return cpu()->adopt(std::move(file), first, nbytes, progress);
  }
  void copy_in(Stream& s, DeviceBytes to, std::span<const std::byte> from) override { cpu()->copy_in(s, to, from); }
  void copy_out(Stream& s, std::span<std::byte> to, Device<const std::byte> from) override {
    cpu()->copy_out(s, to, from);
  }
  void copy(Stream& s, DeviceBytes to, Device<const std::byte> from, uint64_t nbytes) override {
    cpu()->copy(s, to, from, nbytes);
  }
  void synchronize(Stream& s) override { cpu()->synchronize(s); }
  void read(std::span<std::byte> to, Device<const std::byte> from) override { cpu()->read(to, from); }
  uint64_t kv_layer_bytes(const KvLayout& layout) const override { return cpu()->kv_layer_bytes(layout); }
};

constexpr int64_t kContext = 200, kVocabulary = 11, kWidth = 8;

// Two layers, two heads that share one of keys, a tower of one layer over four patches. All weights are small floats of
// one file; what they are does not matter.
Llava make_model(const std::shared_ptr<Backend>& backend) {
  ModelConfig config;
  config.text = {.hidden_size = kWidth,
                 .intermediate_size = 12,
                 .layers = 2,
                 .heads = 2,
                 .kv_heads = 1,
                 .head_dim = 6,
                 .vocab_size = kVocabulary,
                 .rms_norm_eps = 1e-5f,
                 .rope_inv_freq = {1, 0.1f, 0.01f},
                 .context_length = kContext};
  config.has_vision = true;
  config.vision = {.hidden_size = 4,
                   .intermediate_size = 4,
                   .layers = 1,
                   .heads = 1,
                   .image_size = 4,
                   .patch_size = 2,
                   .layer_norm_eps = 1e-5f,
                   .projector_layers = 1};
  std::vector<TensorEntry> directory;
  uint64_t at = 0;
  const auto add = [&](const std::string& name, const std::vector<int64_t>& shape) {
    directory.push_back({name, DType::F32, shape, 0, at, bytes_of(DType::F32, shape)});
    at += directory.back().nbytes;
  };
  add("language_model.embed_tokens.weight", {kVocabulary, kWidth});
  add("language_model.norm.weight", {kWidth});
  add("lm_head.weight", {kVocabulary, kWidth});
  for (const char* layer : {"language_model.layers.0.", "language_model.layers.1."}) {
    const std::string in = layer;
    add(in + "input_layernorm.weight", {kWidth});
    add(in + "post_attention_layernorm.weight", {kWidth});
    add(in + "self_attn.q_proj.weight", {12, kWidth});
    add(in + "self_attn.k_proj.weight", {6, kWidth});
    add(in + "self_attn.v_proj.weight", {6, kWidth});
    add(in + "self_attn.o_proj.weight", {kWidth, 12});
    add(in + "mlp.gate_proj.weight", {12, kWidth});
    add(in + "mlp.up_proj.weight", {12, kWidth});
    add(in + "mlp.down_proj.weight", {kWidth, 12});
  }
  add("vision_tower.embeddings.class_embedding", {4});
  add("vision_tower.embeddings.patch_embedding.weight", {4, 3, 2, 2});
  add("vision_tower.embeddings.position_embedding.weight", {5, 4});
  for (const char* norm : {"pre_layrnorm", "encoder.layers.0.layer_norm1", "encoder.layers.0.layer_norm2"}) {
    add("vision_tower." + std::string(norm) + ".weight", {4});
    add("vision_tower." + std::string(norm) + ".bias", {4});
  }
  for (const char* linear :
       {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "mlp.fc1", "mlp.fc2"}) {
    add("vision_tower.encoder.layers.0." + std::string(linear) + ".weight", {4, 4});
    add("vision_tower.encoder.layers.0." + std::string(linear) + ".bias", {4});
  }
  add("multi_modal_projector.linear_1.weight", {kWidth, 4});
  add("multi_modal_projector.linear_1.bias", {kWidth});
  const int fd = memfd_create("llava-fuzz-model", 0);
  std::vector<float> values(at / sizeof(float));
  for (size_t i = 0; i < values.size(); i++) values[i] = std::sin(static_cast<float>(i));
  must(write(fd, values.data(), at) == static_cast<ssize_t>(at), "a file of its own");
  return Llava({"/proc/self/fd/" + std::to_string(fd)}, directory, config, {}, backend);
}

struct World {
  std::shared_ptr<Backend> backend = std::make_shared<TroubledBackend>();
  Llava model = make_model(backend), other = make_model(std::make_shared<TroubledBackend>());
  std::vector<std::shared_ptr<ImageFeatures>> images = encoded(model, 0b1111);
  std::shared_ptr<ImageFeatures> foreign = encoded(other, 0b1111).front(), half = encoded(model, 0b0001).front();
  std::vector<float> expected = logits_of({1, 2, 3});

  static std::vector<std::shared_ptr<ImageFeatures>> encoded(Llava& model, ImageResults results) {
    const std::vector<float> pixels(2 * 3 * 4 * 4, 0.5f);
    return model.encode_images(pixels, 2, results, std::atomic<bool>{false});
  }
  std::vector<float> logits_of(const std::vector<int32_t>& ids) {
    KvCache cache = model.new_cache();
    std::vector<float> logits(kVocabulary);
    model.forward({{&cache, {{.tokens = ids}}, LogitsOf::kLast}}, {.logits = logits.data()}, std::atomic<bool>{false});
    return logits;
  }
};

World& world() {
  static World& only = *new World();
  return only;
}

Segment segment(Bytes& bytes) {
  World& w = world();
  Segment s;
  if (bytes.one_in(3)) {
    s.image = bytes.one_in(20)   ? w.foreign
              : bytes.one_in(20) ? w.half
                                 : w.images[static_cast<size_t>(bytes.between(0, 1))];
    s.start = bytes.mostly(bytes.between(0, 3));
    s.count = bytes.mostly(bytes.between(1, 4 - std::clamp<int64_t>(s.start, 0, 3)));
    return s;
  }
  const int64_t count = bytes.one_in(16) ? bytes.between(60, 70) : bytes.between(0, 5);
  for (int64_t i = 0; i < count; i++) {
    s.tokens.push_back(static_cast<int32_t>(bytes.one_in(60) ? bytes.hostile() : bytes.between(0, kVocabulary - 1)));
  }
  return s;
}

// One pass of some of the caches.
void pass(Bytes& bytes, std::vector<KvCache>& caches) {
  World& w = world();
  std::vector<Step> steps;
  std::vector<int64_t> before;
  for (KvCache& cache : caches) before.push_back(cache.length());
  for (size_t i = 0; i < caches.size(); i++) {
    if (bytes.one_in(4)) continue;
    Step step{&caches[bytes.one_in(30) ? 0 : i], {}, static_cast<LogitsOf>(bytes.between(0, 2))};
    for (int64_t n = bytes.between(1, 3); n > 0; n--) step.segments.push_back(segment(bytes));
    step.form = bytes.one_in(3) ? static_cast<RowForm>(bytes.between(1, 2)) : RowForm::kWhole;
    if (bytes.one_in(3)) step.cancel = std::make_shared<std::atomic<bool>>(bytes.one_in(4));
    steps.push_back(std::move(step));
  }
  // As the binding: rows are counted with what each step claims, however wild. Where that is no size, the array for the
  // results could not have been made.
  int64_t rows = 0, whole = 0, ranked = 0;
  for (const Step& step : steps) {
    if (step.logit_rows() < 0 || step.logit_rows() > 4096 - rows) return;
    rows += step.logit_rows();
    whole += step.whole_rows();
    ranked += step.candidate_rows();
  }
  std::vector<std::vector<float>> attention(steps.size());
  std::vector<float*> attention_at;
  for (size_t i = 0; i < steps.size(); i++) {
    const int64_t end = steps[i].cache->length() + std::clamp<int64_t>(steps[i].tokens(), 0, 4096);
    if (bytes.one_in(3)) steps[i].attention = bytes.one_in(8) ? bytes.between(1, 9) : end;
    attention[i].resize(static_cast<size_t>(4 * steps[i].attention), 2.0f);  // two layers of two heads
    attention_at.push_back(attention[i].data());
  }
  trouble = {};
  if (bytes.one_in(4)) trouble.allocations = bytes.between(0, 6);
  if (bytes.one_in(3)) trouble.ops = bytes.between(0, 30);
  std::atomic<bool> cancel{bytes.one_in(30)};
  for (const Step& step : steps) {
    if (step.cancel && bytes.ConsumeBool())
      trouble.flags.push_back(std::const_pointer_cast<std::atomic<bool>>(step.cancel));
  }
  std::vector<float> logits(static_cast<size_t>(whole * kVocabulary), 0.0f), hidden(static_cast<size_t>(rows * kWidth));
  const int64_t columns = bytes.between(1, kVocabulary), count = bytes.between(1, columns);
  std::vector<int32_t> ids(static_cast<size_t>(ranked * count), kVocabulary);
  std::vector<float> best(ids.size());
  std::vector<double> sums(static_cast<size_t>(ranked));
  std::vector<std::optional<Error>> failures;
  bool threw = false;
  try {
    failures = w.model.forward(steps,
                               {.logits = logits.data(),
                                .hidden = bytes.ConsumeBool() ? hidden.data() : nullptr,
                                .candidates = {count, columns, ids.data(), best.data(), sums.data()},
                                .attention = attention_at},
                               cancel);
  } catch (const Error& error) {
    must(error.code() != ErrorCode::kInternal, error.what());
    threw = true;
  }
  trouble = {};
  must(threw || failures.size() == steps.size(), "a place for each step");
  const float* out = logits.data();
  const int32_t* id = ids.data();
  for (size_t i = 0; i < steps.size() && !threw; i++) {
    const auto which = static_cast<size_t>(steps[i].cache - caches.data());
    must(caches[which].length() == before[which] + (failures[i] ? 0 : steps[i].tokens()), "a cache as its step ended");
    if (failures[i]) {
      const ErrorCode code = failures[i]->code();
      must(code == ErrorCode::kOutOfMemory || code == ErrorCode::kAborted, "a step fails by itself for these only");
      must(code == ErrorCode::kOutOfMemory || (steps[i].cancel && steps[i].cancel->load()),
           "only who cancels is aborted");
    }
    const int64_t values = steps[i].whole_rows() * kVocabulary, places = steps[i].candidate_rows() * count;
    for (int64_t n = 0; n < values; n++) must(std::isnan(out[n]) == failures[i].has_value(), "NaN where a step failed");
    for (int64_t n = 0; n < places; n++)
      must(failures[i] ? id[n] == -1 : id[n] >= 0 && id[n] < columns, "ids of candidates, or none where a step failed");
    for (const float weight : attention[i])
      must(failures[i] ? std::isnan(weight) : weight >= 0 && weight < 1.001f, "weights, or NaN where a step failed");
    out += values;
    id += places;
  }
  for (size_t i = 0; i < caches.size() && threw; i++) must(caches[i].length() == before[i], "a cache as it was");
  for (const KvCache& cache : caches) {
    const int64_t pages = (cache.length() + kPageTokens - 1) / kPageTokens;
    must(static_cast<int64_t>(cache.pages().size()) == pages, "pages for what a cache holds, and no others");
  }
}

}  // namespace

}  // namespace llava::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace llava::fuzz;
  Bytes bytes(data, size);
  World& w = world();
  const uint64_t held = w.model.memory().kv_cache;
  {
    std::vector<llava::KvCache> caches;
    for (int64_t n = bytes.between(1, 4); n > 0; n--) caches.push_back(w.model.new_cache());
    for (int64_t n = bytes.between(1, 4); n > 0; n--) {
      pass(bytes, caches);
      const auto which = static_cast<size_t>(bytes.between(0, static_cast<int64_t>(caches.size()) - 1));
      if (bytes.one_in(4)) caches[which].truncate(bytes.between(0, caches[which].length()));
      if (bytes.one_in(4)) caches[0] = caches[which].fork();
    }
  }
  must(w.model.memory().kv_cache == held, "all pages are given back");
  if (bytes.one_in(16)) must(w.logits_of({1, 2, 3}) == w.expected, "the model goes on as ever");
  return 0;
}
