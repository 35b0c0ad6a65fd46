// Attention over cached pages, and writing rows into them.
//   attention  y[T, H * Dh] = softmax(q kᵀ / sqrt(Dh)) v, the T last of `keys` positions; a set is one layer's pages
//   kv_append  k, v [T, H * Dh] at positions 0 … T - 1; its output is read back from the pages: keys, then values
#include <cmath>

#include "bench/measured_ops.h"
#include "bench/operand_sets.h"
#include "common/half.h"

namespace llava::bench {

namespace {

constexpr int64_t kSampledRows = 4, kSampledHeads = 4;

// Pages of one layer of one sequence, layout as in ops/args.h.
class Pages {
 public:
  Pages(Arena& arena, cpu::CpuStream& stream, const OpRequest& r, int64_t positions, uint64_t seed)
      : heads_(r.heads), head_dim_(r.head_dim), type_(r.dtype == DType::F16 ? KvType::kF16 : KvType::kF32) {
    for (int64_t i = 0; i * kPageTokens < positions; i++) {
      const Weight page = take_weight(arena, stream, r.dtype, 2 * heads_, head_dim_ * kPageTokens, 1, seed_of(seed, 0, i));
      pages_.push_back(const_cast<std::byte*>(page.data));  // in the arena, ours to write
    }
  }
  static int64_t bytes(const OpRequest& r, int64_t positions) {
    return (positions + kPageTokens - 1) / kPageTokens * 2 * r.heads * row_bytes(r.dtype, r.head_dim * kPageTokens);
  }
  KvPages view() const { return {pages_.data(), heads_, head_dim_, type_}; }
  float key(int64_t position, int64_t head, int64_t d) const { return value_at(position, (head * head_dim_ + d) * kPageTokens + position % kPageTokens); }
  float value(int64_t position, int64_t head, int64_t d) const {
    return value_at(position, page_keys(heads_, head_dim_) + (head * kPageTokens + position % kPageTokens) * head_dim_ + d);
  }

 private:
  float value_at(int64_t position, int64_t index) const {
    const std::byte* page = pages_[static_cast<size_t>(position / kPageTokens)];
    if (type_ == KvType::kF16) return half_to_float(reinterpret_cast<const uint16_t*>(page)[index]);
    return reinterpret_cast<const float*>(page)[index];
  }
  std::vector<std::byte*> pages_;
  int64_t heads_, head_dim_;
  KvType type_;
};

class AttentionOp : public MeasuredOp {
 public:
  AttentionOp(cpu::CpuStream& stream, const OpRequest& r) : request_(r) {
    q_ = take_values(arena_, stream, r.rows, r.heads * r.head_dim, 1.7f, seed_of(r.seed, 1, 0));
    y_ = arena_.rows(r.rows, r.heads * r.head_dim);
    for (int64_t i = 0; i < sets_of(r, Pages::bytes(r, r.keys)); i++) sets_.emplace_back(arena_, stream, r, r.keys, seed_of(r.seed, 2, i));
  }
  int64_t sets() const override { return static_cast<int64_t>(sets_.size()); }
  void run(Backend& backend, int64_t set) override {
    backend.ops().attention(backend.stream(), {.q = q_, .cache = sets_[static_cast<size_t>(set)].view(), .heads = request_.heads, .keys = request_.keys, .causal = request_.causal, .y = y_});
  }
  std::vector<float> output(Backend& backend) override {
    forget(y_);
    run(backend, 0);
    return values_of(y_);
  }
  Expected expected() const override {
    Expected out;
    Random random(request_.seed);
    const int64_t dh = request_.head_dim;
    for (const int64_t t : sampled(request_.rows, kSampledRows, random)) {
      for (const int64_t head : sampled(request_.heads, kSampledHeads, random)) {
        for (int64_t d = 0; d < dh; d++) out.index.push_back((t * request_.heads + head) * dh + d);
        attend<float>(t, head, out.reference);
        attend<double>(t, head, out.truth);
      }
    }
    return out;
  }

 private:
  template <class Acc>
  void attend(int64_t t, int64_t head, std::vector<float>& y) const {
    const int64_t dh = request_.head_dim, sees = request_.causal ? request_.keys - request_.rows + t + 1 : request_.keys;
    std::vector<Acc> weight(static_cast<size_t>(sees));
    Acc largest = -std::numeric_limits<Acc>::infinity(), total = 0;
    for (int64_t p = 0; p < sees; p++) {
      Acc score = 0;
      for (int64_t d = 0; d < dh; d++) score += Acc(q_.row(t)[head * dh + d]) * Acc(sets_[0].key(p, head, d));
      weight[static_cast<size_t>(p)] = score / std::sqrt(Acc(dh));
      largest = std::max(largest, weight[static_cast<size_t>(p)]);
    }
    for (Acc& w : weight) total += w = std::exp(w - largest);
    for (int64_t d = 0; d < dh; d++) {
      Acc sum = 0;
      for (int64_t p = 0; p < sees; p++) sum += weight[static_cast<size_t>(p)] * Acc(sets_[0].value(p, head, d));
      y.push_back(static_cast<float>(sum / total));
    }
  }

  OpRequest request_;
  Arena arena_;
  Activations q_, y_;  // [T, H * Dh]
  std::vector<Pages> sets_;
};

class KvAppendOp : public MeasuredOp {
 public:
  KvAppendOp(cpu::CpuStream& stream, const OpRequest& r) : request_(r) {
    k_ = take_values(arena_, stream, r.rows, r.heads * r.head_dim, 1.7f, seed_of(r.seed, 1, 0));
    v_ = take_values(arena_, stream, r.rows, r.heads * r.head_dim, 1.7f, seed_of(r.seed, 2, 0));
    for (int64_t i = 0; i < sets_of(r, Pages::bytes(r, r.rows)); i++) sets_.emplace_back(arena_, stream, r, r.rows, seed_of(r.seed, 3, i));
  }
  int64_t sets() const override { return static_cast<int64_t>(sets_.size()); }
  void run(Backend& backend, int64_t set) override {
    backend.ops().kv_append(backend.stream(), {.k = k_, .v = v_, .cache = sets_[static_cast<size_t>(set)].view(), .first = 0});
  }
  std::vector<float> output(Backend& backend) override {
    run(backend, 0);
    std::vector<float> out;
    for_each([&](int64_t t, int64_t head, int64_t d) { out.push_back(sets_[0].key(t, head, d)); });
    for_each([&](int64_t t, int64_t head, int64_t d) { out.push_back(sets_[0].value(t, head, d)); });
    return out;
  }
  Expected expected() const override {
    Expected out;
    const bool half = request_.dtype == DType::F16;
    for (const Activations& x : {k_, v_}) {
      for_each([&](int64_t t, int64_t head, int64_t d) {
        const float value = x.row(t)[head * request_.head_dim + d];
        out.index.push_back(static_cast<int64_t>(out.index.size()));
        out.truth.push_back(half ? half_to_float(float_to_half(value)) : value);
      });
    }
    out.reference = out.truth;
    return out;
  }

 private:
  template <class Body>
  void for_each(const Body& body) const {
    for (int64_t t = 0; t < request_.rows; t++) {
      for (int64_t head = 0; head < request_.heads; head++) {
        for (int64_t d = 0; d < request_.head_dim; d++) body(t, head, d);
      }
    }
  }

  OpRequest request_;
  Arena arena_;
  Activations k_, v_;  // [T, H * Dh]
  std::vector<Pages> sets_;
};

void expect_heads(const OpRequest& r) {
  expect(r.rows >= 1 && r.heads >= 1 && r.heads <= 1024, "rows of at least 1, and 1 to 1024 heads");
  expect(r.head_dim >= 16 && r.head_dim <= 1024 && r.head_dim % 16 == 0, "heads of a multiple of 16 values, 1024 at most");
  expect(r.dtype == DType::F16 || r.dtype == DType::F32, "keys and values of F16 or F32");
}

}  // namespace

std::unique_ptr<MeasuredOp> make_attention_op(Backend& backend, const OpRequest& r) {
  expect_heads(r);
  expect(r.keys >= r.rows, "attention: at least as many keys as rows");
  return std::make_unique<AttentionOp>(cpu::cpu_stream(backend.stream()), r);
}

std::unique_ptr<MeasuredOp> make_kv_append_op(Backend& backend, const OpRequest& r) {
  expect_heads(r);
  return std::make_unique<KvAppendOp>(cpu::cpu_stream(backend.stream()), r);
}

}  // namespace llava::bench
