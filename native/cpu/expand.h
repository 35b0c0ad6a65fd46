// The kernel that turns weights of a type into f32, decided once per op.
#pragma once
#include "common/dtype.h"
#include "cpu/kernels/table.h"

namespace llava::cpu {

using ExpandKernel = void (*)(const void* src, float* dst, int64_t n) noexcept;

inline ExpandKernel expand_kernel(const KernelTable& kernels, DType dtype) {
  switch (dtype) {
    case DType::F32: return kernels.expand_f32;
    case DType::F16: return kernels.expand_f16;
    case DType::BF16: return kernels.expand_bf16;
#define LLAVA_EXPAND(T, elements, ...) \
  case DType::T: return kernels.expand_##T;
      LLAVA_QUANTISED(LLAVA_EXPAND)
#undef LLAVA_EXPAND
  }
  return nullptr;
}

}  // namespace llava::cpu
