// LLaVA-1.5's layers as the ops that the model puts on a stream (vision_tower.cc, decoder.cc), on operands of
// somebody's making: for the time of a whole pass on a card, and for its counts on the emulator.
//   Maker: rows(count, columns), vector(length), weight(dtype, count, columns), room(nbytes), page_bytes(layout)
#pragma once
#include <initializer_list>
#include <string>
#include <vector>

#include "ops/backend.h"

namespace llava::testing {

struct Shape {
  const char* name;
  int64_t layers, width, heads, kv_heads, head_dim, intermediate, vocabulary;
};
constexpr Shape k7B = {"7B", 32, 4096, 32, 32, 128, 11008, 32064};
constexpr Shape k13B = {"13B", 40, 5120, 40, 40, 128, 13824, 32064};
// CLIP ViT-L/14-336, of which LLaVA takes the rows of the last layer but one
constexpr Shape kTower = {"tower", 23, 1024, 16, 16, 64, 4096, 0};
constexpr int64_t kPictureRows = 577;

// Sequences of one length, of which each brings its last `rows`.
struct Batch {
  int64_t sequences, rows, keys;
  int64_t total() const { return sequences * rows; }
};

template <class Maker>
class Layer {
 public:
  Layer(Maker& maker, const Shape& shape, DType dtype, KvType kv, const Batch& batch)
      : shape_(shape),
        layout_{shape.kv_heads, shape.head_dim, kv},
        T_(batch.total()),
        kv_width_(shape.kv_heads * shape.head_dim),
        x_(maker.rows(T_, shape.width)),
        h_(maker.rows(T_, shape.width)),
        q_(maker.rows(T_, shape.width)),
        k_(maker.rows(T_, kv_width_)),
        v_(maker.rows(T_, kv_width_)),
        gate_(maker.rows(T_, shape.intermediate)),
        up_(maker.rows(T_, shape.intermediate)),
        cos_(maker.rows(T_, shape.head_dim / 2)),
        sin_(maker.rows(T_, shape.head_dim / 2)),
        norm_(maker.vector(shape.width)),
        wide_bias_(maker.vector(shape.intermediate)),
        q_proj_(maker.weight(dtype, shape.width, shape.width)),
        k_proj_(maker.weight(dtype, kv_width_, shape.width)),
        v_proj_(maker.weight(dtype, kv_width_, shape.width)),
        o_proj_(maker.weight(dtype, shape.width, shape.width)),
        gate_proj_(maker.weight(dtype, shape.intermediate, shape.width)),
        up_proj_(maker.weight(dtype, shape.intermediate, shape.width)),
        down_proj_(maker.weight(dtype, shape.width, shape.intermediate)) {
    const int64_t page = maker.page_bytes(layout_), pages = (batch.keys + kPageTokens - 1) / kPageTokens;
    const DeviceBytes cache = maker.room(batch.sequences * pages * page);
    tables_.resize(static_cast<size_t>(batch.sequences));
    for (size_t i = 0; i < tables_.size(); i++) {
      for (int64_t p = 0; p < pages; p++) tables_[i].push_back(cache + (static_cast<int64_t>(i) * pages + p) * page);
      sequences_.push_back({tables_[i], batch.rows, batch.keys});
    }
  }
  Layer(const Layer&) = delete;
  Layer& operator=(const Layer&) = delete;

  // around(name, work): each op of a layer, in order
  template <class Around>
  void decoder(const OpTable& ops, Stream& s, const Around& around) {
    const KvPages cache{layout_, 0, sequences_};
    const auto norm = [&] { ops.rms_norm(s, {.x = x_, .weight = norm_, .eps = 1e-5f, .y = h_}); };
    const auto turn = [&](Activations x) {
      ops.rope(s, {.x = x, .cos = cos_, .sin = sin_, .head_dim = shape_.head_dim, .layout = RopeLayout::kHalf});
    };
    around("rms_norm", norm);
    around("q, k and v", [&] {
      ops.linear(
          s, {.x = h_,
              .outputs = 3,
              .output = {{.weight = q_proj_, .y = q_}, {.weight = k_proj_, .y = k_}, {.weight = v_proj_, .y = v_}}});
    });
    around("rope", [&] { turn(k_); });
    around("kv_append", [&] { ops.kv_append(s, {.k = k_, .v = v_, .cache = cache}); });
    around("rope", [&] { turn(q_); });
    around("attention",
           [&] { ops.attention(s, {.q = q_, .cache = cache, .heads = shape_.heads, .causal = true, .y = h_}); });
    around("o", [&] { ops.linear(s, {.x = h_, .output = {{.weight = o_proj_, .residual = x_, .y = x_}}}); });
    around("rms_norm", norm);
    around("gate and up", [&] {
      ops.linear(
          s, {.x = h_, .outputs = 2, .output = {{.weight = gate_proj_, .y = gate_}, {.weight = up_proj_, .y = up_}}});
    });
    around("silu_mul", [&] { ops.silu_mul(s, {.gate = gate_, .up = up_, .y = gate_}); });
    around("down", [&] { ops.linear(s, {.x = gate_, .output = {{.weight = down_proj_, .residual = x_, .y = x_}}}); });
  }

  template <class Around>
  void tower(const OpTable& ops, Stream& s, const Around& around) {
    const KvPages cache{layout_, 0, sequences_};
    const auto norm = [&] { ops.layer_norm(s, {.x = x_, .weight = norm_, .bias = norm_, .eps = 1e-5f, .y = h_}); };
    around("layer_norm", norm);
    around("q, k and v", [&] {
      ops.linear(s, {.x = h_,
                     .outputs = 3,
                     .output = {{.weight = q_proj_, .bias = norm_, .y = q_},
                                {.weight = k_proj_, .bias = norm_, .y = k_},
                                {.weight = v_proj_, .bias = norm_, .y = v_}}});
    });
    around("kv_append", [&] { ops.kv_append(s, {.k = k_, .v = v_, .cache = cache}); });
    around("attention",
           [&] { ops.attention(s, {.q = q_, .cache = cache, .heads = shape_.heads, .causal = false, .y = h_}); });
    around("out",
           [&] { ops.linear(s, {.x = h_, .output = {{.weight = o_proj_, .bias = norm_, .residual = x_, .y = x_}}}); });
    around("layer_norm", norm);
    around("fc1", [&] {
      ops.linear(
          s,
          {.x = h_,
           .output = {{.weight = gate_proj_, .bias = wide_bias_, .activation = Activation::kQuickGelu, .y = gate_}}});
    });
    around("fc2", [&] {
      ops.linear(s, {.x = gate_, .output = {{.weight = down_proj_, .bias = norm_, .residual = x_, .y = x_}}});
    });
  }

  // Of an op of that name: its operands and results, each once.
  int64_t least_bytes(const std::string& op) const {
    const auto floats = [](std::initializer_list<Activations> all) {
      int64_t bytes = 0;
      for (const Activations& a : all) bytes += 4 * a.rows * a.cols;
      return bytes;
    };
    const auto weights = [](std::initializer_list<Weight> all) {
      int64_t bytes = 0;
      for (const Weight& w : all) bytes += w.rows * w.row_bytes();
      return bytes;
    };
    const int64_t kv = 2 * kv_width_ * (layout_.type == KvType::kF32 ? 4 : layout_.type == KvType::kF16 ? 2 : 1);
    int64_t cached = 0;
    for (const KvSequence& sequence : sequences_) cached += sequence.end * kv;
    if (op == "rms_norm" || op == "layer_norm") return floats({x_, h_});
    if (op == "q, k and v") return floats({h_, q_, k_, v_}) + weights({q_proj_, k_proj_, v_proj_});
    if (op == "rope") return floats({q_, q_, cos_, sin_});
    if (op == "kv_append") return floats({k_, v_}) + T_ * kv;
    if (op == "attention") return floats({q_, h_}) + cached;
    if (op == "o" || op == "out") return floats({h_, x_, x_}) + weights({o_proj_});
    if (op == "gate and up") return floats({h_, gate_, up_}) + weights({gate_proj_, up_proj_});
    if (op == "fc1") return floats({h_, gate_}) + weights({gate_proj_});
    if (op == "silu_mul") return floats({gate_, up_, gate_});
    return floats({gate_, x_, x_}) + weights({down_proj_});
  }

 private:
  const Shape shape_;
  const KvLayout layout_;
  const int64_t T_, kv_width_;
  const Activations x_, h_, q_, k_, v_, gate_, up_, cos_, sin_;
  const Vector norm_, wide_bias_;
  const Weight q_proj_, k_proj_, v_proj_, o_proj_, gate_proj_, up_proj_, down_proj_;
  std::vector<std::vector<DeviceBytes>> tables_;
  std::vector<KvSequence> sequences_;
};

}  // namespace llava::testing
