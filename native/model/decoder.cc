// The LLaMA decoder over a ragged batch (LlamaModel, LlamaForCausalLM): each step's new positions follow its sequence's
// cached ones.
//   x[T, D] holds the rows of all steps one after another; products see all rows at once, attention sees one sequence
//   at a time. Rows whose logits or hidden state somebody wants are the last R of their step. Of the others the last
//   layer makes keys and values, and nothing else.
#include <algorithm>
#include <limits>
#include <new>

#include "model/llava.h"

namespace llava {

namespace {

// Rows of logits that stand on the device at a time: as many as a product takes at once.
constexpr int64_t kHeadRows = 512;

}  // namespace

int64_t Step::tokens() const {
  int64_t total = 0;
  for (const Segment& segment : segments) total += segment.length();
  return total;
}

int64_t Step::logit_rows() const { return logits == LogitsOf::kNone ? 0 : logits == LogitsOf::kLast ? 1 : tokens(); }
int64_t Step::whole_rows() const { return form == RowForm::kCandidates ? 0 : logit_rows(); }
int64_t Step::candidate_rows() const { return form == RowForm::kWhole ? 0 : logit_rows(); }

bool of_few_rows(const std::vector<Step>& steps) {
  return std::all_of(steps.begin(), steps.end(), [](const Step& step) { return step.tokens() <= kFewRows; });
}

namespace {

// Rows of each kind of output: a step's own, or those of the steps before it.
struct OutputRows {
  int64_t all = 0;
  int64_t whole = 0;
  int64_t candidates = 0;

  void add(const Step& step) {
    all += step.logit_rows();
    whole += step.whole_rows();
    candidates += step.candidate_rows();
  }
};

}  // namespace

// The steps under way: what each brings, and where its rows lie among those of the batch.
struct Llava::Batch {
  Passes& passes;
  struct Part {
    const Step* step;
    size_t index;        // among all steps
    int64_t rows;        // T of this step
    int64_t logit_rows;  // R
    OutputRows first;    // its first row of each output
    std::vector<DeviceBytes> pages;
    float* attention;  // [L, H, end]; null: not wanted
  };
  std::vector<Part> parts{};
  int64_t rows = 0;
  int64_t logit_rows = 0;
  std::vector<KvSequence> all{}, wanted{};  // with all of their rows, and with those wanted
  Activations cos{}, sin{};                 // [T, Dh / 2] each

  // Counts anew, after parts came or went.
  void measure() {
    rows = logit_rows = 0;
    all.clear();
    wanted.clear();
    for (const Part& part : parts) {
      const int64_t end = part.step->cache->length() + part.rows;
      all.push_back({.pages = part.pages, .rows = part.rows, .end = end});
      wanted.push_back({.pages = part.pages, .rows = part.logit_rows, .end = end});
      rows += part.rows;
      logit_rows += part.logit_rows;
    }
  }
};

namespace {

bool is_cancelled(const Step& step) { return step.cancel && step.cancel->load(std::memory_order_relaxed); }

Error cancelled() { return Error(ErrorCode::kAborted, "the work was cancelled"); }

// Puts every cache that was not committed back to what it held.
class Rollback {
 public:
  explicit Rollback(const std::vector<Step>& steps) : steps_(steps) {}
  Rollback(const Rollback&) = delete;
  Rollback& operator=(const Rollback&) = delete;
  ~Rollback() {
    for (const Step& step : steps_) step.cache->truncate(step.cache->length());
  }

 private:
  const std::vector<Step>& steps_;
};

// The stream looks at the flags of a batch, which end with it.
class Watched {
 public:
  Watched(Passes& passes, const std::atomic<bool>& whole, const std::vector<Step>& steps,
          const std::function<bool()>& between_products)
      : passes_(passes) {
    for (const Step& step : steps) flags_.push_back(step.cancel ? step.cancel.get() : &kNever);
    passes.begin(Cancellation(whole, flags_), between_products);
  }
  Watched(const Watched&) = delete;
  Watched& operator=(const Watched&) = delete;
  ~Watched() { passes_.backend.stream().cancel = {}; }

 private:
  static constexpr std::atomic<bool> kNever{false};
  Passes& passes_;
  std::vector<const std::atomic<bool>*> flags_;
};

void check_steps(const std::vector<Step>& steps, const TextConfig& c, const Backend& backend) {
  for (const Step& step : steps) {
    const int64_t tokens = step.tokens(), end = step.cache->length() + tokens;
    if (tokens == 0) throw Error(ErrorCode::kInvalidArgument, "a step without tokens or image rows");
    if (step.attention != 0 && (step.attention != end || step.logits == LogitsOf::kNone))
      throw Error(ErrorCode::kInvalidArgument, "attention weights are those of a row with logits, over all positions");
    if (end > c.context_length) {
      throw Error(ErrorCode::kContextOverflow, "the text would be " + std::to_string(end) + " positions long, " +
                                                   std::to_string(end - c.context_length) +
                                                   " more than the model's context of " +
                                                   std::to_string(c.context_length));
    }
    for (const Segment& segment : step.segments) {
      for (const int32_t id : segment.tokens) {
        if (id < 0 || id >= c.vocab_size)
          throw Error(ErrorCode::kInvalidArgument,
                      "token id " + std::to_string(id) + " is not in [0, " + std::to_string(c.vocab_size) + ")");
      }
      if (!segment.image) continue;
      if (segment.start < 0 || segment.count < 1 || segment.count > segment.image->rows - segment.start)
        throw Error(ErrorCode::kInvalidArgument, "image rows out of range");
      if (segment.image->backend.get() != &backend)
        throw Error(ErrorCode::kInvalidArgument, "the picture was encoded by another model");
      if (!segment.image->result(ImageResult::kProjected))
        throw Error(ErrorCode::kInvalidArgument, "the picture was encoded without its projected rows");
    }
    for (const Step& other : steps) {
      if (&other != &step && other.cache == step.cache)
        throw Error(ErrorCode::kInvalidArgument, "a sequence may stand in a batch only once");
    }
  }
}

}  // namespace

// Ids and positions go down; an image row's id is never looked up.
void Llava::begin(Batch& batch) {
  std::vector<int32_t> positions;
  for (const Batch::Part& part : batch.parts) {
    for (int64_t t = 0; t < part.rows; t++) positions.push_back(static_cast<int32_t>(part.step->cache->length() + t));
  }
  const int64_t half = config_.text.head_dim / 2;
  batch.cos = batch.passes.arena.rows(batch.rows, half);
  batch.sin = batch.passes.arena.rows(batch.rows, half);
  batch.passes.ops.rope_angles({.positions = batch.passes.taken<int32_t>(positions),
                                .inv_freq = weights_.text.rope_inv_freq,
                                .cos = batch.cos,
                                .sin = batch.sin});
}

// Token embeddings, and image rows where the pictures stand.
Activations Llava::embed(const Batch& batch) {
  const Activations x = batch.passes.arena.rows(batch.rows, config_.text.hidden_size);  // [T, D]
  std::vector<int32_t> ids;  // a run of tokens that ends at row `at`
  int64_t at = 0;
  const auto look_up = [&] {
    const auto count = static_cast<int64_t>(ids.size());
    if (count > 0)
      batch.passes.ops.embed_rows({.ids = batch.passes.taken<int32_t>(ids),
                                   .table = weights_.text.embed_tokens,
                                   .y = x.slice(at - count, count)});
    ids.clear();
  };
  for (const Batch::Part& part : batch.parts) {
    for (const Segment& segment : part.step->segments) {
      if (segment.image) {
        look_up();
        batch.passes.ops.copy_rows({.x = segment.image->projected(x.cols).slice(segment.start, segment.count),
                                    .y = x.slice(at, segment.count)});
      } else {
        ids.insert(ids.end(), segment.tokens.begin(), segment.tokens.end());
      }
      at += segment.length();
    }
  }
  look_up();
  return x;
}

// The wanted rows of x, one step's after the other: [R, D].
Activations Llava::wanted(const Batch& batch, ConstActivations x, Arena& arena) {
  const Activations y = arena.rows(batch.logit_rows, x.cols);
  int64_t from = 0, to = 0;
  for (const Batch::Part& part : batch.parts) {
    const int64_t T = part.rows, R = part.logit_rows;
    if (R > 0) batch.passes.ops.copy_rows({.x = x.slice(from + T - R, R), .y = y.slice(to, R)});
    from += T;
    to += R;
  }
  return y;
}

// The rows of x without those of the parts that do not live on.
Activations Llava::live_rows(const Batch& batch, const std::vector<bool>& lives, ConstActivations x) {
  int64_t rows = 0, from = 0, to = 0;
  for (size_t i = 0; i < lives.size(); i++) rows += lives[i] ? batch.parts[i].rows : 0;
  const Activations y = batch.passes.arena.rows(rows, x.cols);
  for (size_t i = 0; i < lives.size(); from += batch.parts[i++].rows) {
    if (!lives[i]) continue;
    batch.passes.ops.copy_rows({.x = x.slice(from, batch.parts[i].rows), .y = y.slice(to, batch.parts[i].rows)});
    to += batch.parts[i].rows;
  }
  return y;
}

// Takes the steps that have been cancelled out of the batch, and their rows out of x, so that the others no longer wait
// for them.
void Llava::drop_cancelled(Batch& batch, Activations& x) {
  std::vector<bool> lives;
  for (const Batch::Part& part : batch.parts) lives.push_back(!is_cancelled(*part.step));
  if (std::find(lives.begin(), lives.end(), false) == lives.end()) return;
  x = live_rows(batch, lives, x);
  batch.cos = live_rows(batch, lives, batch.cos);
  batch.sin = live_rows(batch, lives, batch.sin);
  std::vector<Batch::Part> parts;
  for (size_t i = 0; i < lives.size(); i++) {
    if (lives[i]) parts.push_back(std::move(batch.parts[i]));
  }
  batch.parts = std::move(parts);
  batch.measure();
}

// attentions[layer] of the last row of each step that wants them: [H, end]. q: the rows of `cache`.
void Llava::attention_out(const Batch& batch, int64_t layer, ConstActivations q, const KvPages& cache) {
  Passes& passes = batch.passes;
  const int64_t heads = config_.text.heads;
  int64_t row = 0;
  for (size_t n = 0; n < batch.parts.size(); n++) {
    const KvSequence& sequence = cache.sequences[n];
    row += sequence.rows;
    if (batch.parts[n].attention == nullptr) continue;
    const KvSequence last{.pages = sequence.pages, .rows = 1, .end = sequence.end};
    const Activations weights = passes.layer_arena.dense(heads, last.end);  // [H, end]
    passes.ops.attention_weights(
        {.q = q.slice(row - 1, 1),
         .cache = {.layout = cache.layout, .layer_offset = cache.layer_offset, .sequences = {&last, 1}},
         .heads = heads,
         .y = weights,
         .window = config_.text.sliding_window});
    const int64_t count = heads * last.end;
    copy_out<float>(*backend_, std::span(batch.parts[n].attention + layer * count, static_cast<size_t>(count)),
                    weights.data);
  }
}

// hidden_states[l + 1] = layer_l(hidden_states[l]), in place; the last layer's are the wanted rows, [R, D].
Activations Llava::decoder_layer(const Batch& batch, int64_t index, Activations x) {
  const TextConfig& c = config_.text;
  const DecoderLayer& layer = weights_.text.layers[static_cast<size_t>(index)];
  Passes& passes = batch.passes;
  const Ops& ops = passes.ops;
  const bool last = index + 1 == c.layers;
  const int64_t T = x.rows, R = last ? batch.logit_rows : T;
  const int64_t D = c.hidden_size, Q = c.heads * c.head_dim, KV = c.kv_heads * c.head_dim, F = c.intermediate_size;
  const KvPages cache{.layout = kv_pool_->layout,
                      .layer_offset = static_cast<uint64_t>(index) * kv_pool_->layer_bytes(),
                      .sequences = batch.all};
  Arena& arena = passes.layer_arena;
  arena.reset();
  Activations h = arena.rows(T, D);  // [T, D]
  // [R, H * Dh], [T, Hk * Dh] twice
  const Activations q = arena.rows(R, Q), k = arena.rows(T, KV), v = arena.rows(T, KV);
  const Activations attended = arena.rows(R, Q);                     // [R, H * Dh]
  const Activations gate = arena.rows(R, F), up = arena.rows(R, F);  // [R, F] each
  Activations cos = batch.cos, sin = batch.sin;                      // [T, Dh / 2] each

  // x = x + o_proj(attention(rope(q_proj(h)), rope(k_proj(h)), v_proj(h))),  h = input_layernorm(x)
  ops.rms_norm({.x = x, .weight = layer.input_layernorm.weight, .eps = c.rms_norm_eps, .y = h});
  if (R == T) {
    passes.project(h, {{layer.q_proj, q}, {layer.k_proj, k}, {layer.v_proj, v}});
  } else {
    passes.project(h, {{layer.k_proj, k}, {layer.v_proj, v}});
  }
  ops.rope({.x = k, .cos = cos, .sin = sin, .head_dim = c.head_dim, .layout = c.rope_layout});
  ops.kv_append({.k = k, .v = v, .cache = cache});
  if (R == 0) return {};
  if (R < T) {
    x = wanted(batch, x, passes.arena);  // [R, D]
    h = wanted(batch, h, arena);         // [R, D]
    cos = wanted(batch, cos, arena);     // [R, Dh / 2]
    sin = wanted(batch, sin, arena);     // [R, Dh / 2]
    passes.project(h, {{layer.q_proj, q}});
  }
  ops.rope({.x = q, .cos = cos, .sin = sin, .head_dim = c.head_dim, .layout = c.rope_layout});
  const KvPages read{
      .layout = cache.layout, .layer_offset = cache.layer_offset, .sequences = last ? batch.wanted : batch.all};
  ops.attention({.q = q,
                 .cache = read,
                 .heads = c.heads,
                 .causal = true,
                 .y = attended,
                 .window = c.sliding_window,
                 .arithmetic = passes.arithmetic()});
  attention_out(batch, index, q, read);
  passes.project(attended, {{layer.o_proj, x, Activation::kNone, x}});

  // x = x + down_proj(silu(gate_proj(h)) * up_proj(h)),  h = post_attention_layernorm(x)
  ops.rms_norm({.x = x, .weight = layer.post_attention_layernorm.weight, .eps = c.rms_norm_eps, .y = h});
  passes.project(h, {{layer.gate_proj, gate}, {layer.up_proj, up}});
  ops.silu_mul({.gate = gate, .up = up, .y = gate});
  passes.project(gate, {{layer.down_proj, x, Activation::kNone, x}});
  return x;
}

namespace {

// Of the wanted rows [first, first + rows): those of each part, as visit(part, row, count, at), `row` among the part's
// own, `at` among these.
template <class Parts, class Visit>
void each_part(const Parts& parts, int64_t first, int64_t rows, const Visit& visit) {
  int64_t begin = 0;  // of a part, among the wanted rows
  for (const auto& part : parts) {
    const int64_t from = std::max(begin, first), to = std::min(begin + part.logit_rows, first + rows);
    if (from < to) visit(part, from - begin, to - from, from - first);
    begin += part.logit_rows;
  }
}

// `count` dense rows from row `at` on of x [rows, width], to row `to` on of out.
template <class T>
void rows_out(Backend& backend, Device<const T> x, int64_t at, int64_t count, int64_t width, T* out, int64_t to) {
  copy_out(backend, std::span(out + to * width, static_cast<size_t>(count * width)), x + at * width);
}

}  // namespace

// Of the wanted rows x[R, D]: logits = lm_head(norm(x)), hidden = norm(x)
void Llava::head(const Batch& batch, Activations x, const Outputs& outputs) {
  const TextConfig& c = config_.text;
  Passes& passes = batch.passes;
  passes.ops.rms_norm({.x = x, .weight = weights_.text.norm.weight, .eps = c.rms_norm_eps, .y = x});
  if (outputs.hidden != nullptr) {
    const Activations dense = passes.arena.dense(x.rows, x.cols);
    passes.ops.copy_rows({.x = x, .y = dense});
    each_part(batch.parts, 0, x.rows, [&](const Batch::Part& part, int64_t row, int64_t count, int64_t at) {
      rows_out<float>(*backend_, dense.data, at, count, x.cols, outputs.hidden, part.first.all + row);
    });
  }
  const Candidates& candidates = outputs.candidates;
  if (outputs.logits == nullptr && candidates.count == 0) return;
  const int64_t slices = (x.rows + kHeadRows - 1) / kHeadRows, height = (x.rows + slices - 1) / slices;
  const Activations y = passes.arena.dense(height, c.vocab_size);  // [slice, V]
  for (int64_t first = 0; first < x.rows; first += height) {
    const int64_t rows = std::min(height, x.rows - first);
    passes.project(x.slice(first, rows), {{weights_.text.lm_head, y.slice(0, rows)}});
    if (candidates.count > 0) candidates_out(batch, y.slice(0, rows), first, candidates);
    if (outputs.logits == nullptr) continue;
    each_part(batch.parts, first, rows, [&](const Batch::Part& part, int64_t row, int64_t count, int64_t at) {
      if (part.step->form == RowForm::kCandidates) return;
      rows_out<float>(*backend_, y.data, at, count, y.cols, outputs.logits, part.first.whole + row);
    });
  }
}

// The largest of the wanted rows from `first` on, which these logits are; only they leave the device.
void Llava::candidates_out(const Batch& batch, ConstActivations logits, int64_t first, const Candidates& out) {
  Arena& arena = batch.passes.arena;
  const int64_t K = out.count;
  const auto ids = arena.take<int32_t>(logits.rows * K);
  const auto values = arena.take<float>(logits.rows * K);
  const auto sums = out.log_sum_exp == nullptr ? Device<double>() : arena.take<double>(logits.rows);
  batch.passes.ops.top_k(
      {.x = logits, .columns = out.columns, .k = K, .ids = ids, .values = values, .log_sum_exp = sums});
  each_part(batch.parts, first, logits.rows, [&](const Batch::Part& part, int64_t row, int64_t count, int64_t at) {
    if (part.step->form == RowForm::kWhole) return;
    const int64_t to = part.first.candidates + row;
    rows_out<int32_t>(*backend_, ids, at, count, K, out.ids, to);
    rows_out<float>(*backend_, values, at, count, K, out.logits, to);
    if (sums) rows_out<double>(*backend_, sums, at, count, 1, out.log_sum_exp, to);
  });
}

namespace {

// Pages for a step's new positions, or why it cannot take part.
std::optional<Error> reserve(const Step& step) {
  if (is_cancelled(step)) return Error(ErrorCode::kAborted, "the work was cancelled before it began");
  try {
    step.cache->reserve(step.tokens());
    return {};
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::kOutOfMemory, "out of memory: there is no page for keys and values");
  }
}

template <class T>
void fill_rows(T* out, int64_t first, int64_t rows, int64_t width, T value) {
  if (out != nullptr) std::fill_n(out + first * width, rows * width, value);
}

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// A step's rows, which nobody computed.
void forget_rows(const Outputs& out, const OutputRows& first, const Step& step, const TextConfig& c) {
  const int64_t ranked = step.candidate_rows(), K = out.candidates.count;
  fill_rows(out.logits, first.whole, step.whole_rows(), c.vocab_size, kNaN);
  fill_rows(out.hidden, first.all, step.logit_rows(), c.hidden_size, kNaN);
  fill_rows(out.candidates.ids, first.candidates, ranked, K, -1);
  fill_rows(out.candidates.logits, first.candidates, ranked, K, kNaN);
  fill_rows(out.candidates.log_sum_exp, first.candidates, ranked, 1, static_cast<double>(kNaN));
}

}  // namespace

std::vector<std::optional<Error>> Llava::forward(const std::vector<Step>& steps, const Outputs& outputs,
                                                 const std::atomic<bool>& cancel,
                                                 const std::function<bool()>& between_products) {
  const TextConfig& c = config_.text;
  check_steps(steps, c, *backend_);
  std::vector<std::optional<Error>> failures(steps.size());
  const bool few = of_few_rows(steps);
  Batch batch{.passes = few ? tokens_ : prompts_};
  const Watched watched(batch.passes, cancel, steps, few ? std::function<bool()>() : between_products);
  const Rollback rollback(steps);
  OutputRows first;
  for (size_t i = 0; i < steps.size(); i++) {
    const Step& step = steps[i];
    failures[i] = reserve(step);
    if (!failures[i])
      batch.parts.push_back({&step, i, step.tokens(), step.logit_rows(), first, step.cache->pages(),
                             step.attention > 0 ? outputs.attention[i] : nullptr});
    first.add(step);
  }
  batch.measure();
  if (!batch.parts.empty()) run(batch, outputs);
  if (cancel.load(std::memory_order_relaxed)) throw cancelled();

  std::vector<bool> done(steps.size(), false);
  for (const Batch::Part& part : batch.parts) done[part.index] = !is_cancelled(*part.step);
  first = {};
  for (size_t i = 0; i < steps.size(); i++) {
    if (done[i]) {
      steps[i].cache->commit(steps[i].tokens());
    } else {
      if (!failures[i]) failures[i] = cancelled();
      forget_rows(outputs, first, steps[i], c);
      if (steps[i].attention > 0) fill_rows(outputs.attention[i], 0, c.layers * c.heads, steps[i].attention, kNaN);
    }
    first.add(steps[i]);
  }
  measure_scratch();
  return failures;
}

// Down, compute, up; stops early once nobody wants the results.
void Llava::run(Batch& batch, const Outputs& outputs) {
  begin(batch);
  Activations x = embed(batch);  // [T, D]
  for (int64_t layer = 0; layer < config_.text.layers; layer++) {
    if (backend_->stream().cancel.requested()) return;
    drop_cancelled(batch, x);
    if (batch.parts.empty()) return;  // the others found no page: their flags are not set
    x = decoder_layer(batch, layer, x);
  }
  if (batch.logit_rows > 0) head(batch, x, outputs);
  backend_->synchronize(backend_->stream());
}

}  // namespace llava
