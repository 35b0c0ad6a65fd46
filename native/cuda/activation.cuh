// Activation functions of one value, in float32.
#pragma once
#include "cuda/platform.cuh"
#include "ops/args.h"

namespace llava::cuda {

__device__ __forceinline__ float quick_gelu(float x) { return x / (1.0f + expf(-1.702f * x)); }
// 1 / sqrt(2)
__device__ __forceinline__ float gelu(float x) { return 0.5f * x * (1.0f + erff(x * 0.70710678118654752440f)); }
// sqrt(2 / pi)
__device__ __forceinline__ float gelu_tanh(float x) {
  return 0.5f * x * (1.0f + tanhf(0.79788456080286535588f * (x + 0.044715f * x * x * x)));
}
__device__ __forceinline__ float silu(float x) { return x / (1.0f + expf(-x)); }

// The branch is the same for all threads of a launch.
__device__ __forceinline__ float activated(float x, Activation activation) {
  switch (activation) {
    case Activation::kQuickGelu: return quick_gelu(x);
    case Activation::kGelu: return gelu(x);
    case Activation::kGeluTanh: return gelu_tanh(x);
    case Activation::kNone: break;
  }
  return x;
}

}  // namespace llava::cuda
