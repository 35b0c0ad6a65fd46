// What the factors of a product are: decided once per output of linear, and once per batch of attention.
#pragma once
#include "common/half.h"
#include "cpu/kernels/table.h"
#include "ops/args.h"

namespace llava::cpu {

// kTerms: floats as two bfloats each, without the product of the second ones (gemm_tiles, kernels.def).
enum class Factors : uint8_t { kFloat, kBfloat, kTerms, kInt8 };

inline Factors factors_of(const KernelTable& kernels, const Weight& w, Arithmetic arithmetic, int64_t rows) {
  if (arithmetic == Arithmetic::kExact) return Factors::kFloat;
  const bool quantised = traits(w.dtype).quantised(), many = rows > kFewRows;
  if (many && kernels.bf16 == Bf16::kTiles && quantised) return Factors::kBfloat;
  if (many && kernels.bf16 != Bf16::kNone && w.dtype == DType::BF16 && w.cols % 2 == 0) return Factors::kBfloat;
  if (quantised) return Factors::kInt8;
  return many && kernels.bf16 == Bf16::kTiles ? Factors::kTerms : Factors::kFloat;
}

// Whether attention of more than kFewRows rows goes over tiles (attention_tiles.h).
inline bool attends_by_tiles(const KernelTable& kernels, Arithmetic arithmetic, bool causal) {
  return kernels.bf16 == Bf16::kTiles && arithmetic == Arithmetic::kFast && !causal;
}

// x * w as the CPU takes them apart, in double. Blocks of x are rounded before (block_float.h). For those who hold the
// products against a reference.
inline double product_of(double x, double w, Factors factors) {
  const auto rounded = [](double value) {
    return static_cast<double>(bfloat_to_float(float_to_bfloat(static_cast<float>(value))));
  };
  if (factors == Factors::kBfloat) return rounded(x) * rounded(w);
  if (factors != Factors::kTerms) return x * w;
  const double x0 = rounded(x), w0 = rounded(w);
  return x0 * w0 + x0 * rounded(w - w0) + rounded(x - x0) * w0;
}

}  // namespace llava::cpu
