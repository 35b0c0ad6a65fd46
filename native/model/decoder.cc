// The LLaMA decoder over a ragged batch (LlamaModel, LlamaForCausalLM): each step's new positions follow its sequence's cached ones.
//   x[T, D] holds the rows of all steps one after another; products see all rows at once, attention sees one sequence at a time.
//   Rows whose logits or hidden state somebody wants are the last R of their step. Of the others the last layer makes keys and values, and nothing else.
#include <cmath>
#include <cstring>

#include "common/error.h"
#include "model/llava.h"

namespace llava {

int64_t Step::tokens() const {
  int64_t total = 0;
  for (const Segment& segment : segments) total += segment.length();
  return total;
}

int64_t Step::logit_rows() const { return logits == LogitsOf::kNone ? 0 : logits == LogitsOf::kLast ? 1 : tokens(); }

// Where each step's rows lie, and the rotation angles of their positions.
struct Llava::Batch {
  const std::vector<Step>& steps;
  int64_t rows = 0;
  int64_t logit_rows = 0;
  Activations cos{}, sin{};  // [T, Dh / 2] each
};

namespace {

// Puts every cache back to what it held unless the pass came through.
class Rollback {
 public:
  explicit Rollback(const std::vector<Step>& steps) : steps_(steps) {}
  ~Rollback() {
    if (done_) return;
    for (const Step& step : steps_) step.cache->truncate(step.cache->length());
  }
  void commit() {
    for (const Step& step : steps_) step.cache->commit(step.tokens());
    done_ = true;
  }

 private:
  const std::vector<Step>& steps_;
  bool done_ = false;
};

void check_steps(const std::vector<Step>& steps, const TextConfig& c) {
  for (const Step& step : steps) {
    const int64_t tokens = step.tokens(), end = step.cache->length() + tokens;
    if (tokens == 0) throw Error(ErrorCode::kInvalidArgument, "a step without tokens or image rows");
    if (end > c.context_length) {
      throw Error(ErrorCode::kContextOverflow, "the text would be " + std::to_string(end) + " positions long, " + std::to_string(end - c.context_length) +
                                                   " more than the model's context of " + std::to_string(c.context_length));
    }
    for (const Segment& segment : step.segments) {
      for (const int32_t id : segment.tokens) {
        if (id < 0 || id >= c.vocab_size) throw Error(ErrorCode::kInvalidArgument, "token id " + std::to_string(id) + " is not in [0, " + std::to_string(c.vocab_size) + ")");
      }
      if (!segment.image) continue;
      if (segment.start < 0 || segment.count < 1 || segment.count > segment.image->rows - segment.start) throw Error(ErrorCode::kInvalidArgument, "image rows out of range");
      if (segment.image->text_width != c.hidden_size) throw Error(ErrorCode::kInvalidArgument, "the picture was encoded by a model of another width");
    }
    for (const Step& other : steps) {
      if (&other != &step && other.cache == step.cache) throw Error(ErrorCode::kInvalidArgument, "a sequence may stand in a batch only once");
    }
  }
}

}  // namespace

// Token embeddings, and image rows where the pictures stand.
Activations Llava::embed(const Batch& batch) {
  const int64_t D = config_.text.hidden_size;
  const Activations x = passes_.stream.arena.rows(batch.rows, D);  // [T, D]
  int64_t at = 0;
  for (const Step& step : batch.steps) {
    for (const Segment& segment : step.segments) {
      const Activations rows = x.slice(at, segment.length());
      if (segment.image) {
        passes_.ops.copy_rows(passes_.stream, {.x = ConstActivations(segment.image->projected.data() + segment.start * D, segment.count, D), .y = rows});
      } else if (segment.length() > 0) {
        passes_.ops.embed_rows(passes_.stream, {.ids = segment.tokens.data(), .table = weights_.text.embed_tokens, .y = rows});
      }
      at += segment.length();
    }
  }
  return x;
}

// The wanted rows of x, one step's after the other: [R, D].
Activations Llava::wanted(const Batch& batch, ConstActivations x, Arena& arena) {
  const Activations y = arena.rows(batch.logit_rows, x.cols);
  int64_t from = 0, to = 0;
  for (const Step& step : batch.steps) {
    const int64_t T = step.tokens(), R = step.logit_rows();
    if (R > 0) passes_.ops.copy_rows(passes_.stream, {.x = x.slice(from + T - R, R), .y = y.slice(to, R)});
    from += T;
    to += R;
  }
  return y;
}

void Llava::append_keys(const Batch& batch, int64_t layer, Activations k, Activations v) {
  int64_t at = 0;
  for (const Step& step : batch.steps) {
    const int64_t T = step.tokens();
    const std::vector<std::byte*> pages = step.cache->layer_pages(layer);
    passes_.ops.kv_append(passes_.stream, {.k = k.slice(at, T), .v = v.slice(at, T), .cache = step.cache->view(pages), .first = step.cache->length()});
    at += T;
  }
}

// q and y hold all rows of the batch, or the wanted ones.
void Llava::attend(const Batch& batch, int64_t layer, Activations q, Activations y) {
  int64_t at = 0;
  for (const Step& step : batch.steps) {
    const int64_t T = step.tokens(), rows = q.rows == batch.rows ? T : step.logit_rows();
    if (rows == 0) continue;
    const std::vector<std::byte*> pages = step.cache->layer_pages(layer);
    passes_.ops.attention(passes_.stream, {.q = q.slice(at, rows), .cache = step.cache->view(pages), .heads = config_.text.heads, .keys = step.cache->length() + T,
                                           .causal = true, .y = y.slice(at, rows), .window = config_.text.sliding_window});
    at += rows;
  }
}

// hidden_states[l + 1] = layer_l(hidden_states[l]), in place; the last layer's are the wanted rows, [R, D].
Activations Llava::decoder_layer(const Batch& batch, int64_t index, Activations x) {
  const TextConfig& c = config_.text;
  const DecoderLayer& layer = weights_.text.layers[static_cast<size_t>(index)];
  const int64_t T = x.rows, R = index + 1 < c.layers ? T : batch.logit_rows;
  const int64_t D = c.hidden_size, Q = c.heads * c.head_dim, KV = c.kv_heads * c.head_dim, F = c.intermediate_size;
  Arena& arena = passes_.layer_arena;
  arena.reset();
  Activations h = arena.rows(T, D);                                                              // [T, D]
  const Activations q = arena.rows(R, Q), k = arena.rows(T, KV), v = arena.rows(T, KV);          // [R, H * Dh], [T, Hk * Dh] twice
  const Activations attended = arena.rows(R, Q);                                                 // [R, H * Dh]
  const Activations gate = arena.rows(R, F), up = arena.rows(R, F);                              // [R, F] each
  Activations cos = batch.cos, sin = batch.sin;                                                  // [T, Dh / 2] each

  // x = x + o_proj(attention(rope(q_proj(h)), rope(k_proj(h)), v_proj(h))),  h = input_layernorm(x)
  passes_.ops.rms_norm(passes_.stream, {.x = x, .weight = layer.input_layernorm.weight, .eps = c.rms_norm_eps, .y = h});
  if (R == T) {
    passes_.project(h, {{layer.q_proj, q}, {layer.k_proj, k}, {layer.v_proj, v}});
  } else {
    passes_.project(h, {{layer.k_proj, k}, {layer.v_proj, v}});
  }
  passes_.ops.rope(passes_.stream, {.x = k, .cos = cos, .sin = sin, .head_dim = c.head_dim, .layout = c.rope_layout});
  append_keys(batch, index, k, v);
  if (R == 0) return {};
  if (R < T) {
    x = wanted(batch, x, passes_.stream.arena);  // [R, D]
    h = wanted(batch, h, arena);                 // [R, D]
    cos = wanted(batch, cos, arena);             // [R, Dh / 2]
    sin = wanted(batch, sin, arena);             // [R, Dh / 2]
    passes_.project(h, {{layer.q_proj, q}});
  }
  passes_.ops.rope(passes_.stream, {.x = q, .cos = cos, .sin = sin, .head_dim = c.head_dim, .layout = c.rope_layout});
  attend(batch, index, q, attended);
  passes_.project(attended, {{layer.o_proj, x, Activation::kNone, x}});

  // x = x + down_proj(silu(gate_proj(h)) * up_proj(h)),  h = post_attention_layernorm(x)
  passes_.ops.rms_norm(passes_.stream, {.x = x, .weight = layer.post_attention_layernorm.weight, .eps = c.rms_norm_eps, .y = h});
  passes_.project(h, {{layer.gate_proj, gate}, {layer.up_proj, up}});
  passes_.ops.silu_mul(passes_.stream, {.gate = gate, .up = up, .y = gate});
  passes_.project(gate, {{layer.down_proj, x, Activation::kNone, x}});
  return x;
}

// cos and sin of position * inv_freq; the angle is rounded to f32 first, as LlamaRotaryEmbedding computes it.
void Llava::rotation_angles(Batch& batch) {
  const TextConfig& c = config_.text;
  const int64_t half = c.head_dim / 2;
  batch.cos = passes_.stream.arena.rows(batch.rows, half);
  batch.sin = passes_.stream.arena.rows(batch.rows, half);
  int64_t row = 0;
  for (const Step& step : batch.steps) {
    const int64_t past = step.cache->length();
    for (int64_t t = 0; t < step.tokens(); t++, row++) {
      for (int64_t j = 0; j < half; j++) {
        const double angle = static_cast<double>(static_cast<float>(past + t) * c.rope_inv_freq[static_cast<size_t>(j)]);
        batch.cos.row(row)[j] = static_cast<float>(std::cos(angle));
        batch.sin.row(row)[j] = static_cast<float>(std::sin(angle));
      }
    }
  }
}

// Of the wanted rows x[R, D]: logits = lm_head(norm(x)), hidden = norm(x)
void Llava::head(Activations x, float* logits, float* hidden) {
  const TextConfig& c = config_.text;
  passes_.ops.rms_norm(passes_.stream, {.x = x, .weight = weights_.text.norm.weight, .eps = c.rms_norm_eps, .y = x});
  if (logits != nullptr) passes_.project(x, {{weights_.text.lm_head, Activations(logits, x.rows, c.vocab_size)}});
  if (hidden != nullptr) passes_.ops.copy_rows(passes_.stream, {.x = x, .y = Activations(hidden, x.rows, c.hidden_size)});
}

void Llava::forward(const std::vector<Step>& steps, float* logits, float* hidden, const std::atomic<bool>& cancel) {
  check_steps(steps, config_.text);
  if (steps.empty()) return;
  passes_.begin(cancel);
  Batch batch{.steps = steps};
  Rollback rollback(steps);
  for (const Step& step : steps) {
    step.cache->reserve(step.tokens());
    batch.rows += step.tokens();
    batch.logit_rows += step.logit_rows();
  }
  rotation_angles(batch);
  Activations x = embed(batch);  // [T, D]
  for (int64_t layer = 0; layer < config_.text.layers; layer++) {
    passes_.stop_if_cancelled();
    x = decoder_layer(batch, layer, x);
  }
  if (batch.logit_rows > 0) head(x, logits, hidden);
  passes_.stop_if_cancelled();
  rollback.commit();
  scratch_held_.store(passes_.scratch_bytes(), std::memory_order_relaxed);
}

}  // namespace llava
