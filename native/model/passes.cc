#include "model/passes.h"

#include <chrono>
#include <cmath>
#include <utility>

#include "common/error.h"

namespace llava {

void Passes::begin(const Cancellation& cancel, std::function<bool()> between_products) {
  between_products_ = std::move(between_products);
  backend.stream().cancel = cancel;
  arena.reset();
  layer_arena.reset();
}

void Passes::stop_if_cancelled() const {
  if (backend.stream().cancel.requested()) throw Error(ErrorCode::kAborted, "the work was cancelled");
}

bool Passes::let_others_run() {
  if (!between_products_) return false;
  const Cancellation own = backend.stream().cancel;
  const bool others = between_products_();
  backend.stream().cancel = own;
  return others;
}

// Rows of a product between two turns of others: so many that it takes about kLongest, and many rows in any case, as
// they would have other bits among few.
int64_t Passes::rows_of_run(int64_t rows, int64_t multiplications) const {
  constexpr double kLongest = .06;  // seconds
  constexpr int64_t kLeast = 128;
  static_assert(kLeast > 2 * kFewRows);
  const double seconds = static_cast<double>(multiplications) * seconds_per_multiplication_;
  const int64_t runs = std::clamp<int64_t>(std::lround(seconds / kLongest), 1, std::max<int64_t>(1, rows / kLeast));
  return (rows + runs - 1) / runs;
}

void Passes::multiply(const LinearArgs& product, int64_t multiplications) {
  const auto start = std::chrono::steady_clock::now();
  ops.linear(product);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  seconds_per_multiplication_ = took.count() / static_cast<double>(multiplications);
}

void Passes::project(ConstActivations x, std::initializer_list<Projection> projections) {
  const bool others = let_others_run();
  LinearArgs product{.x = x, .arithmetic = arithmetic_, .outputs = 0};
  int64_t of_a_row = 0;  // multiplications
  for (const Projection& p : projections) {
    const Activation activation = p.linear.lora_a ? Activation::kNone : p.activation;
    product.output[product.outputs++] = {
        .weight = p.linear.weight, .bias = p.linear.bias, .activation = activation, .residual = p.residual, .y = p.y};
    of_a_row += p.linear.weight.rows * p.linear.weight.cols;
  }
  const int64_t run = others ? rows_of_run(x.rows, x.rows * of_a_row) : x.rows;
  for (int64_t first = 0; first < x.rows; first += run) {
    if (first > 0) let_others_run();
    const int64_t rows = std::min(run, x.rows - first);
    LinearArgs part = product;
    part.x = x.slice(first, rows);
    for (LinearOutput& output : std::span(part.output, static_cast<size_t>(part.outputs))) {
      output.y = output.y.slice(first, rows);
      if (output.residual) output.residual = output.residual.slice(first, rows);
    }
    multiply(part, rows * of_a_row);
  }
  // y = activation(y + lora_scale * (x Aᵀ) Bᵀ) (Hu et al. 2021)
  for (const Projection& p : projections) {
    if (!p.linear.lora_a) continue;
    const Activations low_rank = layer_arena.rows(x.rows, p.linear.lora_a.rows);  // [T, r]
    ops.linear({.x = x, .arithmetic = arithmetic_, .output = {{.weight = p.linear.lora_a, .y = low_rank}}});
    ops.linear({.x = low_rank,
                .arithmetic = arithmetic_,
                .output = {{.weight = p.linear.lora_b, .scale = p.linear.lora_scale, .residual = p.y, .y = p.y}}});
    if (p.activation != Activation::kNone) ops.activate({.x = p.y, .activation = p.activation, .y = p.y});
  }
}

}  // namespace llava
