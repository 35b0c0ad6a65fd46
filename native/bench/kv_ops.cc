// Attention over cached pages, and writing rows into them.
//   attention  y[T, H * Dh] = softmax(q kᵀ / sqrt(Dh)) v, the T last of `keys` positions; a set is one layer's pages,
//   filled by kv_append kv_append  k, v [T, H * Dh] at positions 0 … T - 1; its output is read back from the pages:
//   keys, then values
#include <cmath>

#include "bench/measured_ops.h"
#include "bench/operand_sets.h"
#include "common/half.h"
#include "cpu/factors.h"
#include "cpu/kv_layout.h"

namespace llava::bench {

namespace {

constexpr int64_t kSampledRows = 4, kSampledHeads = 4;

// Keys and values of one layer of one sequence, and the pages that hold them.
struct Cached {
  RandomRows k, v;  // [positions, H * Dh]
  std::vector<DeviceBytes> pages;
};

KvLayout layout_of(const OpRequest& r) {
  return {r.heads, r.head_dim, r.dtype == DType::F16 ? KvType::kF16 : KvType::kF32};
}

int64_t cached_bytes(const OpRequest& r, int64_t positions) {
  return 2 * positions * row_bytes(r.dtype, r.heads * r.head_dim);
}

// What the cache gives back for a value.
float as_cached(const OpRequest& r, float value) {
  return r.dtype == DType::F16 ? half_to_float(float_to_half(value)) : value;
}

std::vector<float> as_cached(const OpRequest& r, std::vector<float> values) {
  for (float& value : values) value = as_cached(r, value);
  return values;
}

void append(Operands& operands, const OpRequest& r, const Cached& cached) {
  const KvSequence sequence{.pages = cached.pages, .rows = cached.k.at.rows, .end = cached.k.at.rows};
  Backend& backend = operands.backend();
  backend.ops().kv_append(backend.stream(),
                          {.k = cached.k.at, .v = cached.v.at, .cache = {layout_of(r), 0, {&sequence, 1}}});
}

Cached make_cached(Operands& operands, const OpRequest& r, int64_t positions, uint64_t seed) {
  const int64_t width = r.heads * r.head_dim;
  return {operands.values(positions, width, 1.7f, seed_of(seed, 0, 0)),
          operands.values(positions, width, 1.7f, seed_of(seed, 1, 0)), operands.pages(layout_of(r), positions)};
}

class AttentionOp : public MeasuredOp {
 public:
  AttentionOp(Backend& backend, const OpRequest& r) : request_(r), operands_(backend) {
    q_ = operands_.values(r.rows, r.heads * r.head_dim, 1.7f, seed_of(r.seed, 1, 0));
    y_ = operands_.unwritten(r.rows, r.heads * r.head_dim);
    for (int64_t i = 0; i < sets_of(r, cached_bytes(r, r.keys)); i++) {
      sets_.push_back(make_cached(operands_, r, r.keys, seed_of(r.seed, 2, i)));
      append(operands_, r, sets_.back());
    }
  }
  int64_t sets() const override { return static_cast<int64_t>(sets_.size()); }
  void run(int64_t set) override {
    const KvSequence sequence{
        .pages = sets_[static_cast<size_t>(set)].pages, .rows = request_.rows, .end = request_.keys};
    Backend& backend = operands_.backend();
    backend.ops().attention(backend.stream(), {.q = q_.at,
                                               .cache = {layout_of(request_), 0, {&sequence, 1}},
                                               .heads = request_.heads,
                                               .causal = request_.causal,
                                               .y = y_});
  }
  std::vector<float> output() override {
    operands_.forget(y_);
    run(0);
    return operands_.values_of(y_);
  }
  Expected expected() const override {
    Expected out;
    Random random(request_.seed);
    const int64_t dh = request_.head_dim;
    std::vector<std::vector<float>> keys, values;
    for (int64_t p = 0; p < request_.keys; p++) {
      keys.push_back(as_cached(request_, sets_[0].k.row(p)));
      values.push_back(as_cached(request_, sets_[0].v.row(p)));
    }
    for (const int64_t t : sampled(request_.rows, kSampledRows, random)) {
      for (const int64_t head : sampled(request_.heads, kSampledHeads, random)) {
        for (int64_t d = 0; d < dh; d++) out.index.push_back((t * request_.heads + head) * dh + d);
        attend<float>(t, head, keys, values, factors(), out.reference);
        attend<double>(t, head, keys, values, cpu::Factors::kFloat, out.truth);
      }
    }
    return out;
  }

 private:
  // What the reference is made of, so that it errs as the table does.
  cpu::Factors factors() const {
    const KernelTable& kernels = select_kernels(operands_.backend().info().isa);
    const bool tiled = cpu::attends_by_tiles(kernels, Arithmetic::kFast, request_.causal) && request_.rows > kFewRows;
    return tiled ? cpu::Factors::kTerms : cpu::Factors::kFloat;
  }
  template <class Acc>
  void attend(int64_t t, int64_t head, const std::vector<std::vector<float>>& keys,
              const std::vector<std::vector<float>>& values, cpu::Factors factors, std::vector<float>& y) const {
    const int64_t dh = request_.head_dim,
                  sees = request_.causal ? request_.keys - request_.rows + t + 1 : request_.keys;
    const std::vector<float> q = q_.row(t);
    const auto at = [&](const std::vector<std::vector<float>>& rows, int64_t p, int64_t d) {
      return static_cast<double>(rows[static_cast<size_t>(p)][static_cast<size_t>(head * dh + d)]);
    };
    std::vector<Acc> weight(static_cast<size_t>(sees));
    Acc largest = -std::numeric_limits<Acc>::infinity(), total = 0;
    for (int64_t p = 0; p < sees; p++) {
      Acc score = 0;
      for (int64_t d = 0; d < dh; d++)
        score += static_cast<Acc>(cpu::product_of(q[static_cast<size_t>(head * dh + d)], at(keys, p, d), factors));
      weight[static_cast<size_t>(p)] = score / std::sqrt(Acc(dh));
      largest = std::max(largest, weight[static_cast<size_t>(p)]);
    }
    for (Acc& w : weight) total += w = std::exp(w - largest);
    for (int64_t d = 0; d < dh; d++) {
      Acc sum = 0;
      for (int64_t p = 0; p < sees; p++)
        sum += static_cast<Acc>(
            cpu::product_of(static_cast<double>(weight[static_cast<size_t>(p)]), at(values, p, d), factors));
      y.push_back(static_cast<float>(sum / total));
    }
  }

  OpRequest request_;
  Operands operands_;
  RandomRows q_;  // [T, H * Dh]
  Activations y_;
  std::vector<Cached> sets_;
};

// Its output is read back from pages that lie as the CPU's do (cpu/kv_layout.h).
class KvAppendOp : public MeasuredOp {
 public:
  KvAppendOp(Backend& backend, const OpRequest& r) : request_(r), operands_(backend) {
    for (int64_t i = 0; i < sets_of(r, cached_bytes(r, r.rows)); i++)
      sets_.push_back(make_cached(operands_, r, r.rows, seed_of(r.seed, 3, i)));
  }
  int64_t sets() const override { return static_cast<int64_t>(sets_.size()); }
  void run(int64_t set) override { append(operands_, request_, sets_[static_cast<size_t>(set)]); }
  std::vector<float> output() override {
    run(0);
    std::vector<std::vector<std::byte>> pages;
    for (const DeviceBytes page : sets_[0].pages) {
      pages.emplace_back(operands_.backend().kv_layer_bytes(layout_of(request_)));
      operands_.backend().read(pages.back(), page);
    }
    const int64_t heads = request_.heads, dh = request_.head_dim, dhp = cpu::padded_head_dim(dh);
    std::vector<float> out;
    for_each([&](int64_t t, int64_t head, int64_t d) {
      out.push_back(value_at(pages, t, (head * dh + d) * kPageTokens + t % kPageTokens));
    });
    for_each([&](int64_t t, int64_t head, int64_t d) {
      out.push_back(value_at(pages, t, cpu::page_keys(heads, dh) + (head * kPageTokens + t % kPageTokens) * dhp + d));
    });
    return out;
  }
  Expected expected() const override {
    Expected out;
    for (const RandomRows& x : {sets_[0].k, sets_[0].v}) {
      for (int64_t t = 0; t < request_.rows; t++) {
        for (const float value : as_cached(request_, x.row(t))) {
          out.index.push_back(static_cast<int64_t>(out.index.size()));
          out.truth.push_back(value);
        }
      }
    }
    out.reference = out.truth;
    return out;
  }

 private:
  float value_at(const std::vector<std::vector<std::byte>>& pages, int64_t position, int64_t index) const {
    const std::byte* page = pages[static_cast<size_t>(position / kPageTokens)].data();
    if (request_.dtype == DType::F16) return half_to_float(reinterpret_cast<const uint16_t*>(page)[index]);
    return reinterpret_cast<const float*>(page)[index];
  }
  template <class Body>
  void for_each(const Body& body) const {
    for (int64_t t = 0; t < request_.rows; t++) {
      for (int64_t head = 0; head < request_.heads; head++) {
        for (int64_t d = 0; d < request_.head_dim; d++) body(t, head, d);
      }
    }
  }

  OpRequest request_;
  Operands operands_;
  std::vector<Cached> sets_;
};

void expect_heads(const OpRequest& r) {
  expect(r.rows >= 1 && r.heads >= 1 && r.heads <= 1024, "rows of at least 1, and 1 to 1024 heads");
  expect(r.head_dim >= 1 && r.head_dim <= 1024, "heads of 1 to 1024 values");
  expect(r.dtype == DType::F16 || r.dtype == DType::F32, "keys and values of F16 or F32");
}

}  // namespace

std::unique_ptr<MeasuredOp> make_attention_op(Backend& backend, const OpRequest& r) {
  expect_heads(r);
  expect(r.keys >= r.rows, "attention: at least as many keys as rows");
  return std::make_unique<AttentionOp>(backend, r);
}

std::unique_ptr<MeasuredOp> make_kv_append_op(Backend& backend, const OpRequest& r) {
  expect_heads(r);
  return std::make_unique<KvAppendOp>(backend, r);
}

}  // namespace llava::bench
