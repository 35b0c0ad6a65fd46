#include "model/passes.h"

#include <utility>

#include "common/error.h"

namespace llava {

void Passes::begin(const Cancellation& cancel, std::function<void()> between_products) {
  between_products_ = std::move(between_products);
  backend.stream().cancel = cancel;
  arena.reset();
  layer_arena.reset();
}

void Passes::stop_if_cancelled() const {
  if (backend.stream().cancel.requested()) throw Error(ErrorCode::kAborted, "the work was cancelled");
}

void Passes::let_others_run() {
  if (!between_products_) return;
  const Cancellation own = backend.stream().cancel;
  between_products_();
  backend.stream().cancel = own;
}

void Passes::project(ConstActivations x, std::initializer_list<Projection> projections) {
  let_others_run();
  LinearArgs product{.x = x, .arithmetic = arithmetic_, .outputs = 0};
  for (const Projection& p : projections) {
    const Activation activation = p.linear.lora_a ? Activation::kNone : p.activation;
    product.output[product.outputs++] = {
        .weight = p.linear.weight, .bias = p.linear.bias, .activation = activation, .residual = p.residual, .y = p.y};
  }
  ops.linear(product);
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
