// y[M, N] = activation(x[M, K] · W[N, K]ᵀ + bias) + residual, one to three products that share x.
#pragma once
#include "bench/measured_op.h"

namespace llava::bench {

std::unique_ptr<MeasuredOp> make_linear_op(Backend& backend, const OpRequest& request);

}  // namespace llava::bench
