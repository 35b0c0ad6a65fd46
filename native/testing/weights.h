// Random weights of every dtype, in their file's bytes and as the numbers these bytes mean.
#pragma once
#include <cstddef>
#include <vector>

#include "common/dtype.h"
#include "testing/conformance.h"

namespace llava::testing {

struct RandomWeight {
  DType dtype;
  int64_t rows, cols;
  std::vector<std::byte> bytes;
  std::vector<double> values;  // exact
  std::vector<float> rounded;  // as f32 arithmetic decodes them: one multiplication, one addition
};

// extreme: quantised codes all lowest or all highest within a block, the hardest on integer sums.
RandomWeight random_weight(Trial& trial, DType dtype, int64_t rows, int64_t cols, bool extreme = false);

// The rows `stride` bytes apart; what lies between them is 0xFF.
std::vector<std::byte> strided_bytes(const RandomWeight& weight, int64_t stride);

inline constexpr DType kFloatTypes[] = {DType::F32, DType::F16, DType::BF16};
inline constexpr DType kQuantisedTypes[] = {
#define LLAVA_TYPE(T, elements, ...) DType::T,
    LLAVA_QUANTISED(LLAVA_TYPE)
#undef LLAVA_TYPE
};

}  // namespace llava::testing
