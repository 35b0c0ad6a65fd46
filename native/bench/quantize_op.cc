// Rows of activations as int8 blocks of 32 in block floating point, the step before every product with quantised weights;
// its output is what the blocks mean: D * 2^e * code.
#include "bench/measured_ops.h"
#include "bench/operand_sets.h"
#include "common/blocks.h"
#include "cpu/block_float.h"
#include "cpu/kernels/reference.h"

namespace llava::bench {

namespace {

constexpr int64_t kSampledRows = 8;

// One row's blocks.
struct Blocks {
  float* scale;    // [1] D
  float* origin;   // [D / 32]
  float* inverse;  // [D / 32]
  int8_t* q;       // [D]
  int32_t* sum;    // [D / 32, 2]
};

void quantize_row(const KernelTable& kernels, const float* x, int64_t columns, const Blocks& row) {
  kernels.block_largest(x, columns, row.inverse);
  *row.scale = cpu::choose_scales(row.inverse, columns / kBlock, row.origin, row.inverse);
  kernels.quantize_q8(x, columns, row.inverse, row.q, row.sum);
}

class QuantizeOp : public MeasuredOp {
 public:
  QuantizeOp(cpu::CpuStream& stream, const OpRequest& r) : request_(r), blocks_(r.columns / kBlock), all_(take_blocks(r.rows)), expected_(take_blocks(1)) {
    const int64_t set_bytes = r.rows * r.columns * static_cast<int64_t>(sizeof(float));
    for (int64_t i = 0; i < sets_of(r, set_bytes); i++) x_.push_back(take_values(arena_, stream, r.rows, r.columns, 1.7f, seed_of(r.seed, 1, i)));
  }
  int64_t sets() const override { return static_cast<int64_t>(x_.size()); }
  void run(Backend& backend, int64_t set) override {
    cpu::CpuStream& stream = cpu::cpu_stream(backend.stream());
    const Activations& x = x_[static_cast<size_t>(set)];
    stream.parallel_rows(x.rows, [&](int64_t first, int64_t count) {
      for (int64_t t = first; t < first + count; t++) quantize_row(stream.kernels, x.row(t), x.cols, blocks_of(t));
    });
  }
  std::vector<float> output(Backend& backend) override {
    std::fill_n(all_.origin, request_.rows * blocks_, std::numeric_limits<float>::quiet_NaN());
    run(backend, 0);
    std::vector<float> out;
    for (int64_t t = 0; t < request_.rows; t++) append(blocks_of(t), out);
    return out;
  }
  Expected expected() const override {
    Expected out;
    Random random(request_.seed);
    for (const int64_t t : sampled(request_.rows, kSampledRows, random)) {
      for (int64_t i = 0; i < request_.columns; i++) out.index.push_back(t * request_.columns + i);
      quantize_row(select_kernels("scalar"), x_[0].row(t), request_.columns, expected_);
      append(expected_, out.truth);
    }
    out.reference = out.truth;
    return out;
  }

 private:
  Blocks take_blocks(int64_t rows) {
    return {arena_.take<float>(rows), arena_.take<float>(rows * blocks_), arena_.take<float>(rows * blocks_), arena_.take<int8_t>(rows * request_.columns),
            arena_.take<int32_t>(2 * rows * blocks_)};
  }
  Blocks blocks_of(int64_t row) const {
    return {all_.scale + row, all_.origin + row * blocks_, all_.inverse + row * blocks_, all_.q + row * request_.columns, all_.sum + 2 * row * blocks_};
  }
  void append(const Blocks& row, std::vector<float>& out) const {
    for (int64_t i = 0; i < request_.columns; i++) out.push_back(static_cast<float>(row.q[i]) * (*row.scale * (row.origin[i / kBlock] / kOrigin)));
  }

  OpRequest request_;
  int64_t blocks_;
  Arena arena_;
  Blocks all_;
  Blocks expected_;
  std::vector<Activations> x_;
};

}  // namespace

std::unique_ptr<MeasuredOp> make_quantize_op(Backend& backend, const OpRequest& r) {
  expect(r.rows >= 1 && r.columns >= kBlock && r.columns % kBlock == 0, "quantize: rows, and columns in whole blocks of 32");
  return std::make_unique<QuantizeOp>(cpu::cpu_stream(backend.stream()), r);
}

}  // namespace llava::bench
