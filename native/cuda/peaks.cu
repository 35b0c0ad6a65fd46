#include "cuda/peaks.h"

#include <algorithm>

#include "cuda/elements.cuh"
#include "cuda/mma.cuh"

namespace llava::cuda {

namespace {

constexpr int kThreads = 256, kBlocksOfMultiprocessor = 4, kRepetitions = 5;
constexpr int kIterations = 4096, kChains = 8;
constexpr int64_t kMemoryWords = int64_t{256} << 20 >> 2;  // well beyond any L2 cache

// Eight independent chains; the result is stored where it can never be, so that nothing is left out.
__global__ void __launch_bounds__(kThreads) fma_kernel(float* out, float factor, int iterations) {
  float chain[kChains];
#pragma unroll
  for (int c = 0; c < kChains; c++) chain[c] = static_cast<float>(threadIdx.x + c);
  for (int i = 0; i < iterations; i++) {
#pragma unroll
    for (int c = 0; c < kChains; c++) chain[c] = fmaf(chain[c], factor, 1.0f);
  }
  float sum = 0;
#pragma unroll
  for (int c = 0; c < kChains; c++) sum += chain[c];
  if (sum == -1.0f) st(out, sum);
}

__global__ void __launch_bounds__(kThreads) dp4a_kernel(float* out, int factor, int iterations) {
  int chain[kChains];
#pragma unroll
  for (int c = 0; c < kChains; c++) chain[c] = static_cast<int>(threadIdx.x) + c;
  for (int i = 0; i < iterations; i++) {
#pragma unroll
    for (int c = 0; c < kChains; c++) chain[c] = __dp4a(chain[c], factor, chain[c]);
  }
  int sum = 0;
#pragma unroll
  for (int c = 0; c < kChains; c++) sum += chain[c];
  if (sum == -1) st(out, 1.0f);
}

__global__ void __launch_bounds__(kThreads) mma_kernel(float* out, uint32_t operand, int iterations) {
  float chain[kChains][4] = {};
  const uint32_t a[4] = {operand, operand + threadIdx.x, operand, operand};
  for (int i = 0; i < iterations; i++) {
#pragma unroll
    for (int c = 0; c < kChains; c++) multiply_bfloats(chain[c], a, operand, operand);
  }
  float sum = 0;
#pragma unroll
  for (int c = 0; c < kChains; c++) sum += chain[c][0] + chain[c][1] + chain[c][2] + chain[c][3];
  if (sum == -1.0f) st(out, sum);
}

__global__ void __launch_bounds__(kThreads) read_kernel(const uint4* words, int64_t count, float* out) {
  uint32_t sum = 0;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count; i += int64_t{gridDim.x} * kThreads) {
    const uint4 four = ld(words + i);
    sum ^= four.x ^ four.y ^ four.z ^ four.w;
  }
  if (sum == 0x12345678u) st(out, 1.0f);
}

__global__ void __launch_bounds__(kThreads) update_kernel(uint4* words, int64_t count) {
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count; i += int64_t{gridDim.x} * kThreads) {
    uint4 four = ld(words + i);
    four.x ^= 1;
    st(words + i, four);
  }
}

// The rate of the best of some runs of `run`, of which each does `work`.
template <class Run>
double best_rate(CudaStream& stream, double work, Run run) {
  double best = 0;
  run();
  for (int i = 0; i < kRepetitions; i++) {
    const double seconds = stream.card.seconds_of([](void* context) { (*static_cast<Run*>(context))(); }, &run);
    best = std::max(best, work / seconds / 1e9);
  }
  return best;
}

}  // namespace

Peak measure_peak(CudaStream& stream, PeakKind kind) {
  const auto blocks = static_cast<unsigned>(stream.card.properties().multiprocessors * kBlocksOfMultiprocessor);
  const double threads = static_cast<double>(blocks) * kThreads;
  if (kind == PeakKind::kRead || kind == PeakKind::kUpdate) {
    auto* const words = reinterpret_cast<uint4*>(stream.partials.reserve<uint32_t>(kMemoryWords + 4));
    auto* const out = reinterpret_cast<float*>(words + kMemoryWords / 4);
    const bool reads = kind == PeakKind::kRead;
    const double rate = best_rate(stream, static_cast<double>(kMemoryWords) * (reads ? 4 : 8), [&] {
      if (reads)
        launch(read_kernel, blocks, kThreads, 0, stream.handle(), words, kMemoryWords / 4, out);
      else
        launch(update_kernel, blocks, kThreads, 0, stream.handle(), words, kMemoryWords / 4);
    });
    return {rate, "GB/s", reads ? "reads" : "reads and writes"};
  }
  float* const out = stream.partials.reserve<float>(1);
  if (kind == PeakKind::kBf16)
    return {best_rate(stream, threads / kWarp * kIterations * kChains * 2 * 16 * 8 * 16,
                      [&] { launch(mma_kernel, blocks, kThreads, 0, stream.handle(), out, 0x3F803F80u, kIterations); }),
            "GFLOP/s", "mma.m16n8k16 of bf16"};
  if (kind == PeakKind::kInt8)
    return {best_rate(stream, threads * kIterations * kChains * 8,
                      [&] { launch(dp4a_kernel, blocks, kThreads, 0, stream.handle(), out, 0x01020304, kIterations); }),
            "GOP/s", "dp4a"};
  return {best_rate(stream, threads * kIterations * kChains * 2,
                    [&] { launch(fma_kernel, blocks, kThreads, 0, stream.handle(), out, 0.5f, kIterations); }),
          "GFLOP/s", "f32 FMA"};
}

}  // namespace llava::cuda
