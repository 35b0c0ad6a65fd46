// What the factors of a product are, decided once per output of linear.
#pragma once
#include "cpu/kernels/table.h"
#include "ops/args.h"

namespace llava::cpu {

enum class Factors : uint8_t { kFloat, kBfloat, kInt8 };

inline Factors factors_of(const KernelTable& kernels, const Weight& w, Arithmetic arithmetic, int64_t rows) {
  if (arithmetic == Arithmetic::kExact) return Factors::kFloat;
  if (traits(w.dtype).quantised()) return Factors::kInt8;
  return kernels.multiplies_bf16 && w.dtype == DType::BF16 && w.cols % 2 == 0 && rows > kFewRows ? Factors::kBfloat
                                                                                                 : Factors::kFloat;
}

}  // namespace llava::cpu
