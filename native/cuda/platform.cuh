// What kernels are written in: CUDA C++ under nvcc, the emulator's twin of it under any other compiler.
//   Kernels reach global memory by ld and st, so that the emulator can count what they move; on a device both are
//   plain.
#pragma once
#include <cstddef>
#include <cstdint>

#include "cuda/launch_queue.h"

namespace llava::cuda {

constexpr int kWarp = 32;  // lanes

using StreamHandle = LaunchQueue*;

// kernel<<<grid, block, shared bytes, stream>>>(arguments)
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, StreamHandle stream,
            const Arguments&... arguments) {
  KernelLaunch put;
  put.kernel = reinterpret_cast<const void*>(kernel);
  put.grid = grid;
  put.block = block;
  put.shared_bytes = shared_bytes;
  static_assert(sizeof...(Parameters) <= KernelLaunch::kMostParameters &&
                (0 + ... + (sizeof(Parameters) + 16)) <= KernelLaunch::kMostBytes);
  (put.add<Parameters>(static_cast<Parameters>(arguments)), ...);
#ifndef __CUDACC__
  put.call = [](const KernelLaunch& launch) {
    const auto run = reinterpret_cast<void (*)(Parameters...)>(const_cast<void*>(launch.kernel));
    [&]<size_t... i>(std::index_sequence<i...>) {
      run(launch.parameter<Parameters>(i)...);
    }(std::index_sequence_for<Parameters...>());
  };
#endif
  stream->put(put);
}

#ifdef __CUDACC__
template <class T>
__device__ __forceinline__ T ld(const T* from) {
  return *from;
}
template <class T>
__device__ __forceinline__ void st(T* to, T value) {
  *to = value;
}
__device__ __forceinline__ float half_bits_to_float(uint16_t half) {
  float out;
  asm("cvt.f32.f16 %0, %1;" : "=f"(out) : "h"(half));
  return out;
}
__device__ __forceinline__ uint16_t float_to_half_bits(float value) {
  uint16_t out;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(out) : "f"(value));
  return out;
}
__device__ __forceinline__ uint16_t float_to_bfloat_bits(float value) {
  uint16_t out;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(out) : "f"(value));
  return out;
}
#else
template <class T>
T ld(const T* from, const char* file = __builtin_FILE(), unsigned line = __builtin_LINE()) {
  cuda_emu::note_access(from, sizeof(T), file, line);
  return *from;
}
template <class T>
void st(T* to, T value, const char* file = __builtin_FILE(), unsigned line = __builtin_LINE()) {
  cuda_emu::note_access(to, sizeof(T), file, line);
  *to = value;
}
float half_bits_to_float(uint16_t half);  // emulated_device.cc
uint16_t float_to_half_bits(float value);
uint16_t float_to_bfloat_bits(float value);
#endif

__device__ __forceinline__ float bfloat_bits_to_float(uint16_t bits) {
  return __int_as_float(static_cast<int>(static_cast<uint32_t>(bits) << 16));
}

// Rows of a matrix in device memory, `stride` values apart.
template <class T>
struct Rows {
  T* data = nullptr;
  int64_t stride = 0;
  __device__ __forceinline__ T* row(int64_t r) const { return data + r * stride; }
};

constexpr int64_t divided_up(int64_t value, int64_t by) { return (value + by - 1) / by; }
// As a dimension of a grid; shapes are far below.
constexpr unsigned grid_size(int64_t blocks) { return static_cast<unsigned>(blocks); }

// All lanes get the sum, the same bits in each.
__device__ __forceinline__ float warp_sum(float value) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) value += __shfl_xor_sync(~0u, value, distance);
  return value;
}
__device__ __forceinline__ float warp_max(float value) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    const float other = __shfl_xor_sync(~0u, value, distance);
    value = other > value ? other : value;
  }
  return value;
}

}  // namespace llava::cuda
