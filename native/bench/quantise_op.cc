// Rows of activations as int8 blocks of 32 in block floating point, the step before every product with quantised
// weights; its output is what the blocks mean: D * 2^e * code. A kernel of the CPU: no op of its own.
#include "bench/measured_ops.h"
#include "bench/operand_sets.h"
#include "common/blocks.h"
#include "cpu/block_float.h"
#include "cpu/kernels/reference.h"
#include "cpu/stream.h"

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

void quantise_row(const KernelTable& kernels, const float* x, int64_t columns, const Blocks& row) {
  kernels.block_largest(x, columns, row.inverse);
  *row.scale = cpu::choose_scales(row.inverse, columns / kBlock, row.origin, row.inverse);
  kernels.quantise_q8(x, columns, row.inverse, row.q, row.sum);
}

class QuantizeOp : public MeasuredOp {
 public:
  QuantizeOp(Backend& backend, const OpRequest& r)
      : request_(r), blocks_(r.columns / kBlock), stream_(cpu::cpu_stream(backend.stream())), all_(r.rows, blocks_) {
    const int64_t set_bytes = r.rows * r.columns * static_cast<int64_t>(sizeof(float));
    for (int64_t i = 0; i < sets_of(r, set_bytes); i++) {
      std::vector<float>& x = x_.emplace_back(static_cast<size_t>(r.rows * r.columns));
      for (int64_t t = 0; t < r.rows; t++)
        random_values(r.columns, 1.7f, seed_of(r.seed, i, t), x.data() + t * r.columns);
    }
  }
  int64_t sets() const override { return static_cast<int64_t>(x_.size()); }
  void run(int64_t set) override {
    const float* x = x_[static_cast<size_t>(set)].data();
    stream_.parallel_rows(request_.rows, [&](int64_t first, int64_t count) {
      for (int64_t t = first; t < first + count; t++)
        quantise_row(stream_.kernels, x + t * request_.columns, request_.columns, all_.row(t));
    });
  }
  std::vector<float> output() override {
    std::fill(all_.origin.begin(), all_.origin.end(), std::numeric_limits<float>::quiet_NaN());
    run(0);
    std::vector<float> out;
    for (int64_t t = 0; t < request_.rows; t++) append(all_.row(t), out);
    return out;
  }
  Expected expected() const override {
    Expected out;
    Random random(request_.seed);
    Memory one(1, blocks_);
    for (const int64_t t : sampled(request_.rows, kSampledRows, random)) {
      for (int64_t i = 0; i < request_.columns; i++) out.index.push_back(t * request_.columns + i);
      quantise_row(select_kernels("scalar"), x_[0].data() + t * request_.columns, request_.columns, one.row(0));
      append(one.row(0), out.truth);
    }
    out.reference = out.truth;
    return out;
  }

 private:
  // Blocks of several rows.
  struct Memory {
    int64_t blocks;
    std::vector<float> scale, origin, inverse;
    std::vector<int8_t> q;
    std::vector<int32_t> sum;
    Memory(int64_t rows, int64_t blocks_of_row)
        : blocks(blocks_of_row),
          scale(size(rows)),
          origin(size(rows * blocks)),
          inverse(origin),
          q(size(rows * blocks * kBlock)),
          sum(size(2 * rows * blocks)) {}
    static size_t size(int64_t count) { return static_cast<size_t>(count); }
    Blocks row(int64_t t) {
      return {&scale[size(t)], &origin[size(t * blocks)], &inverse[size(t * blocks)], &q[size(t * blocks * kBlock)],
              &sum[size(2 * t * blocks)]};
    }
  };
  void append(const Blocks& row, std::vector<float>& out) const {
    for (int64_t i = 0; i < request_.columns; i++)
      out.push_back(static_cast<float>(row.q[i]) * (*row.scale * (row.origin[i / kBlock] / kOrigin)));
  }

  OpRequest request_;
  int64_t blocks_;
  cpu::CpuStream& stream_;
  Memory all_;
  std::vector<std::vector<float>> x_;  // [sets], each [T, D]
};

}  // namespace

std::unique_ptr<MeasuredOp> make_quantise_op(Backend& backend, const OpRequest& r) {
  expect(r.rows >= 1 && r.columns >= kBlock && r.columns % kBlock == 0,
         "quantise: rows, and columns in whole blocks of 32");
  return std::make_unique<QuantizeOp>(backend, r);
}

}  // namespace llava::bench
