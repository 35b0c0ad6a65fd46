// Rows of activations as int8 blocks of 32, the step before every product with quantised weights; its output is what the blocks mean: code * scale.
#include "bench/measured_ops.h"
#include "bench/operand_sets.h"
#include "common/blocks.h"
#include "cpu/kernels/reference.h"

namespace llava::bench {

namespace {

constexpr int64_t kSampledRows = 8;

// One row's blocks.
struct Blocks {
  int8_t* q;
  float* d;
  int32_t* sum;
};

class QuantizeOp : public MeasuredOp {
 public:
  QuantizeOp(cpu::CpuStream& stream, const OpRequest& r) : request_(r), blocks_(r.columns / kBlock) {
    q_ = arena_.take<int8_t>(r.rows * r.columns);
    d_ = arena_.take<float>(r.rows * blocks_);
    sum_ = arena_.take<int32_t>(2 * r.rows * blocks_);
    const int64_t set_bytes = r.rows * r.columns * static_cast<int64_t>(sizeof(float));
    for (int64_t i = 0; i < sets_of(r, set_bytes); i++) x_.push_back(take_values(arena_, stream, r.rows, r.columns, 1.7f, seed_of(r.seed, 1, i)));
  }
  int64_t sets() const override { return static_cast<int64_t>(x_.size()); }
  void run(Backend& backend, int64_t set) override {
    cpu::CpuStream& stream = cpu::cpu_stream(backend.stream());
    const Activations& x = x_[static_cast<size_t>(set)];
    stream.parallel_rows(x.rows, [&](int64_t first, int64_t count) {
      for (int64_t t = first; t < first + count; t++) {
        const Blocks row = blocks_of(t);
        stream.kernels.quantize_q8(x.row(t), x.cols, 1, row.q, row.d, row.sum);
      }
    });
  }
  std::vector<float> output(Backend& backend) override {
    std::fill_n(d_, request_.rows * blocks_, std::numeric_limits<float>::quiet_NaN());
    run(backend, 0);
    std::vector<float> out;
    for (int64_t t = 0; t < request_.rows; t++) append(blocks_of(t), out);
    return out;
  }
  Expected expected() const override {
    Expected out;
    Random random(request_.seed);
    std::vector<int8_t> q(static_cast<size_t>(request_.columns));
    std::vector<float> d(static_cast<size_t>(blocks_));
    std::vector<int32_t> sum(static_cast<size_t>(2 * blocks_));
    for (const int64_t t : sampled(request_.rows, kSampledRows, random)) {
      for (int64_t i = 0; i < request_.columns; i++) out.index.push_back(t * request_.columns + i);
      reference::quantize_q8(x_[0].row(t), request_.columns, 1, q.data(), d.data(), sum.data());
      append({q.data(), d.data(), sum.data()}, out.truth);
    }
    out.reference = out.truth;
    return out;
  }

 private:
  Blocks blocks_of(int64_t row) const { return {q_ + row * request_.columns, d_ + row * blocks_, sum_ + 2 * row * blocks_}; }
  void append(const Blocks& row, std::vector<float>& out) const {
    for (int64_t i = 0; i < request_.columns; i++) out.push_back(static_cast<float>(row.q[i]) * row.d[i / kBlock]);
  }

  OpRequest request_;
  int64_t blocks_;
  Arena arena_;
  int8_t* q_;     // [T, D]
  float* d_;      // [T, D / 32]
  int32_t* sum_;  // [T, D / 32, 2]
  std::vector<Activations> x_;
};

}  // namespace

std::unique_ptr<MeasuredOp> make_quantize_op(Backend& backend, const OpRequest& r) {
  expect(r.rows >= 1 && r.columns >= kBlock && r.columns % kBlock == 0, "quantize: rows, and columns in whole blocks of 32");
  return std::make_unique<QuantizeOp>(cpu::cpu_stream(backend.stream()), r);
}

}  // namespace llava::bench
