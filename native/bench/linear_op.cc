// y[M, N] = activation(x[M, K] · W[N, K]ᵀ + bias) + residual, one to three products that share x.
#include <algorithm>
#include <cmath>

#include "bench/measured_ops.h"
#include "bench/operand_sets.h"
#include "cpu/block_float.h"
#include "common/blocks.h"
#include "common/half.h"
#include "cpu/expand.h"
#include "cpu/factors.h"

namespace llava::bench {

namespace {

constexpr int64_t kSampledRows = 6, kSampledColumns = 96;

template <class Acc>
Acc activated(Acc y, Activation activation) {
  if (activation == Activation::kQuickGelu) return y / (Acc(1) + std::exp(Acc(-1.702f) * y));
  if (activation == Activation::kGelu) return y / Acc(2) * (Acc(1) + std::erf(y / std::sqrt(Acc(2))));
  return y;
}

class LinearOp : public MeasuredOp {
 public:
  LinearOp(cpu::CpuStream& stream, const OpRequest& r);
  int64_t sets() const override { return static_cast<int64_t>(weights_.size()) / request_.outputs; }
  void run(Backend& backend, int64_t set) override;
  std::vector<float> output(Backend& backend) override;
  Expected expected() const override;

 private:
  template <class Acc>
  float product(const std::vector<double>& x, const std::vector<float>& w, int64_t row, int64_t column, int64_t output) const;
  Activations y(int64_t output) const { return y_.slice(output * request_.rows, request_.rows); }

  const KernelTable& kernels_;
  OpRequest request_;
  Arena arena_;
  Arena weights_arena_{PageSize::kUsual};  // as a file is mapped
  Activations x_;         // [M, K]
  Activations y_;         // [outputs * M, N]
  Activations bias_;      // [outputs, N]
  Activations residual_;  // [outputs * M, N]
  std::vector<Weight> weights_;  // [sets][outputs], each [N, K]
};

LinearOp::LinearOp(cpu::CpuStream& stream, const OpRequest& r) : kernels_(stream.kernels), request_(r) {
  x_ = take_values(arena_, stream, r.rows, r.depth, 1.7f, seed_of(r.seed, 1, 0));
  y_ = arena_.rows(r.outputs * r.rows, r.columns);
  bias_ = take_values(arena_, stream, r.outputs, r.columns, 0.1f, seed_of(r.seed, 2, 0));
  if (r.residual) residual_ = take_values(arena_, stream, y_.rows, r.columns, 1.7f, seed_of(r.seed, 3, 0));
  const float spread = 1 / std::sqrt(static_cast<float>(r.depth));
  const int64_t sets = sets_of(r, r.outputs * r.columns * row_bytes(r.dtype, r.depth));
  for (int64_t i = 0; i < sets * r.outputs; i++) {
    weights_.push_back(take_weight(weights_arena_, stream, r.dtype, r.columns, r.depth, spread, seed_of(r.seed, 4, i)));
  }
}

void LinearOp::run(Backend& backend, int64_t set) {
  LinearArgs args{.x = x_, .arithmetic = request_.arithmetic, .outputs = static_cast<int>(request_.outputs)};
  for (int64_t i = 0; i < request_.outputs; i++) {
    LinearOutput& o = args.output[i];
    o.weight = weights_[static_cast<size_t>(set * request_.outputs + i)];
    o.y = y(i);
    o.activation = request_.activation;
    if (request_.bias) o.bias = bias_.row(i);
    if (request_.residual) o.residual = o.y;
  }
  backend.ops().linear(backend.stream(), args);
}

std::vector<float> LinearOp::output(Backend& backend) {
  if (request_.residual) copy(residual_, y_);
  else forget(y_);
  run(backend, 0);
  return values_of(y_);
}

template <class Acc>
float LinearOp::product(const std::vector<double>& x, const std::vector<float>& w, int64_t row, int64_t column, int64_t output) const {
  Acc sum = 0;
  for (size_t k = 0; k < w.size(); k++) sum += static_cast<Acc>(x[k]) * static_cast<Acc>(w[k]);
  if (request_.bias) sum += Acc(bias_.row(output)[column]);
  sum = activated(sum, request_.activation);
  if (request_.residual) sum += Acc(residual_.row(output * request_.rows + row)[column]);
  return static_cast<float>(sum);
}

Expected LinearOp::expected() const {
  Expected out;
  Random random(request_.seed);
  const cpu::Factors factors = cpu::factors_of(kernels_, weights_[0], request_.arithmetic, request_.rows);
  const auto expand = cpu::expand_kernel(select_kernels("scalar"), request_.dtype);
  const std::vector<int64_t> columns = sampled(request_.columns, kSampledColumns, random);
  std::vector<float> w(static_cast<size_t>(request_.depth));
  for (const int64_t m : sampled(request_.rows, kSampledRows, random)) {
    std::vector<double> x(x_.row(m), x_.row(m) + request_.depth);
    if (factors == cpu::Factors::kInt8) cpu::round_to_blocks(x_.row(m), request_.depth, x.data());
    if (factors == cpu::Factors::kBfloat) std::transform(x.begin(), x.end(), x.begin(), [](double value) { return bfloat_to_float(float_to_bfloat(static_cast<float>(value))); });
    for (int64_t i = 0; i < request_.outputs; i++) {
      for (const int64_t n : columns) {
        expand(weights_[static_cast<size_t>(i)].row(n), w.data(), request_.depth);
        out.index.push_back((i * request_.rows + m) * request_.columns + n);
        out.reference.push_back(product<float>(x, w, m, n, i));
        out.truth.push_back(product<double>(x, w, m, n, i));
      }
    }
  }
  return out;
}

}  // namespace

std::unique_ptr<MeasuredOp> make_linear_op(Backend& backend, const OpRequest& r) {
  expect(r.rows >= 1 && r.columns >= 1 && r.depth >= 1 && r.outputs >= 1 && r.outputs <= 3, "linear: rows, columns and depth of at least 1, and 1 to 3 outputs");
  expect(r.depth % traits(r.dtype).elements == 0, "linear: whole blocks along depth");
  return std::make_unique<LinearOp>(cpu::cpu_stream(backend.stream()), r);
}

}  // namespace llava::bench
