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
  LinearOp(Backend& backend, const OpRequest& r);
  int64_t sets() const override { return static_cast<int64_t>(weights_.size()) / request_.outputs; }
  void run(int64_t set) override;
  std::vector<float> output() override;
  Expected expected() const override;

 private:
  template <class Acc>
  float product(const std::vector<double>& x, const std::vector<float>& w, int64_t row, int64_t column, int64_t output,
                cpu::Factors factors) const;
  Activations y(int64_t output) const { return y_.slice(output * request_.rows, request_.rows); }

  OpRequest request_;
  Operands operands_;
  RandomRows x_;                       // [M, K]
  Activations y_;                      // [outputs * M, N]
  RandomRows bias_;                    // [outputs, N]
  RandomRows residual_;                // [outputs * M, N]
  std::vector<RandomWeight> weights_;  // [sets][outputs], each [N, K]
};

LinearOp::LinearOp(Backend& backend, const OpRequest& r) : request_(r), operands_(backend) {
  x_ = operands_.values(r.rows, r.depth, 1.7f, seed_of(r.seed, 1, 0));
  y_ = operands_.unwritten(r.outputs * r.rows, r.columns);
  bias_ = operands_.values(r.outputs, r.columns, 0.1f, seed_of(r.seed, 2, 0));
  if (r.residual) residual_ = operands_.values(y_.rows, r.columns, 1.7f, seed_of(r.seed, 3, 0));
  const float spread = 1 / std::sqrt(static_cast<float>(r.depth));
  const int64_t sets = sets_of(r, r.outputs * r.columns * row_bytes(r.dtype, r.depth));
  for (int64_t i = 0; i < sets * r.outputs; i++)
    weights_.push_back(operands_.weight(r.dtype, r.columns, r.depth, spread, seed_of(r.seed, 4, i)));
}

void LinearOp::run(int64_t set) {
  LinearArgs args{.x = x_.at, .arithmetic = request_.arithmetic, .outputs = static_cast<int>(request_.outputs)};
  for (int64_t i = 0; i < request_.outputs; i++) {
    LinearOutput& o = args.output[i];
    o.weight = weights_[static_cast<size_t>(set * request_.outputs + i)].at;
    o.y = y(i);
    o.activation = request_.activation;
    if (request_.bias) o.bias = bias_.vector(i);
    if (request_.residual) o.residual = o.y;
  }
  operands_.backend().ops().linear(operands_.backend().stream(), args);
}

std::vector<float> LinearOp::output() {
  if (request_.residual)
    operands_.copy(residual_.at, y_);
  else
    operands_.forget(y_);
  run(0);
  return operands_.values_of(y_);
}

template <class Acc>
float LinearOp::product(const std::vector<double>& x, const std::vector<float>& w, int64_t row, int64_t column,
                        int64_t output, cpu::Factors factors) const {
  const auto n = static_cast<size_t>(column);
  Acc sum = 0;
  for (size_t k = 0; k < w.size(); k++) sum += static_cast<Acc>(cpu::product_of(x[k], w[k], factors));
  if (request_.bias) sum += Acc(bias_.row(output)[n]);
  sum = activated(sum, request_.activation);
  if (request_.residual) sum += Acc(residual_.row(output * request_.rows + row)[n]);
  return static_cast<float>(sum);
}

// A row, as int8 blocks where it is multiplied as such.
std::vector<double> factors_of_row(const std::vector<float>& row, cpu::Factors factors) {
  std::vector<double> x(row.begin(), row.end());
  if (factors == cpu::Factors::kInt8) cpu::round_to_blocks(row.data(), static_cast<int64_t>(row.size()), x.data());
  return x;
}

Expected LinearOp::expected() const {
  Expected out;
  Random random(request_.seed);
  const KernelTable& kernels = select_kernels(operands_.backend().info().isa);
  const cpu::Factors factors = cpu::factors_of(kernels, weights_[0].at, request_.arithmetic, request_.rows);
  const auto expand = cpu::expand_kernel(select_kernels("scalar"), request_.dtype);
  const std::vector<int64_t> columns = sampled(request_.columns, kSampledColumns, random);
  std::vector<float> w(static_cast<size_t>(request_.depth));
  for (const int64_t m : sampled(request_.rows, kSampledRows, random)) {
    const std::vector<double> x = factors_of_row(x_.row(m), factors);
    for (int64_t i = 0; i < request_.outputs; i++) {
      for (const int64_t n : columns) {
        expand(weights_[static_cast<size_t>(i)].row(n).data(), w.data(), request_.depth);
        out.index.push_back((i * request_.rows + m) * request_.columns + n);
        out.reference.push_back(product<float>(x, w, m, n, i, factors));
        out.truth.push_back(product<double>(x, w, m, n, i, factors));
      }
    }
  }
  return out;
}

}  // namespace

std::unique_ptr<MeasuredOp> make_linear_op(Backend& backend, const OpRequest& r) {
  expect(r.rows >= 1 && r.columns >= 1 && r.depth >= 1 && r.outputs >= 1 && r.outputs <= 3,
         "linear: rows, columns and depth of at least 1, and 1 to 3 outputs");
  expect(r.depth % traits(r.dtype).elements == 0, "linear: whole blocks along depth");
  return std::make_unique<LinearOp>(backend, r);
}

}  // namespace llava::bench
