// One op of the model on random operands: run through the back end's op table, timed barrier to barrier, and judged
// against the plainest loops.
//   Operands stand in several sets that together exceed any cache, and every call takes the next one: weights come from
//   memory, as in a model. A verdict compares outputs at sampled places with the same loops in double (the truth) and
//   in float (what rounding costs):
//     err(output) <= 2 err(float) + 4, in ulps of the largest true value, written so that NaN fails; every other output
//     must be finite.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ops/backend.h"

namespace llava::bench {

// What to run; an op reads the sizes that it has.
struct OpRequest {
  std::string op;
  DType dtype = DType::F32;  // of the weights, or of the cache
  Arithmetic arithmetic = Arithmetic::kFast;
  int64_t rows = 1;     // T, M
  int64_t columns = 0;  // D, N
  int64_t depth = 0;    // K
  int64_t outputs = 1;  // products that share x
  bool bias = false;
  bool residual = false;  // y is the residual, as in the model
  Activation activation = Activation::kNone;
  int64_t heads = 0;
  int64_t head_dim = 0;
  int64_t keys = 0;
  bool causal = true;
  int64_t image_size = 0;
  int64_t patch_size = 0;
  uint64_t seed = 1;
  bool cold = true;  // false: one set of operands only
};

// Outputs at sampled places: where, and what they should be.
struct Expected {
  std::vector<int64_t> index;
  std::vector<float> reference;
  std::vector<float> truth;
};

struct Verdict {
  bool ok;
  double error;  // in ulps of the largest true value
  double bound;
  uint64_t hash;  // of all of the output, after FNV-1a
};

class MeasuredOp {
 public:
  virtual ~MeasuredOp() = default;
  virtual int64_t sets() const = 0;
  virtual void run(int64_t set) = 0;
  // Outputs of one run on the first set, from outputs that hold NaN (or the residual) before it.
  virtual std::vector<float> output() = 0;
  virtual Expected expected() const = 0;
};

// Runs on the back end, which outlives it. Throws kInvalidArgument for an op that is not measured or a shape that it
// does not take.
std::unique_ptr<MeasuredOp> make_measured_op(Backend& backend, const OpRequest& request);

Verdict judge(const MeasuredOp& op, std::span<const float> output);

}  // namespace llava::bench
