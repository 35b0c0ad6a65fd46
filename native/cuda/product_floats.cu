// Products in float32: a warp takes a row of weights, times up to 8 rows of x, which lie in shared memory a stretch at
// a time. Lanes run along the row and come together in the end, so that a row of y is summed in one order in any
// company.
#include <algorithm>

#include "cuda/products.h"
#include "cuda/smem.cuh"

namespace llava::cuda {

namespace {

constexpr int kThreads = 128, kWarps = kThreads / kWarp;
constexpr int kStretch = 1024;  // columns of x in shared memory
// Every 32 values are followed by a gap, so that lanes that are 4, 8 or 32 values apart read other banks.
constexpr int kSkewed = kStretch + kStretch / kGroup;
__device__ __forceinline__ int skewed(int i) { return i + i / kGroup; }

template <DType type, int tokens>
__global__ void __launch_bounds__(kThreads)
    floats_kernel(Rows<const float> x, int64_t M, int64_t K, const uint8_t* weight, int64_t row_bytes, int64_t N,
                  Epilogue epilogue) {
  SharedMemory memory;
  float* const xs = memory.take<float>(tokens * kSkewed);
  const int lane = threadIdx.x % kWarp;
  const int64_t n = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp, first = int64_t{blockIdx.y} * tokens;
  const uint8_t* const row = weight + (n < N ? n : N - 1) * row_bytes;
  float sum[tokens] = {};
  for (int64_t at = 0; at < K; at += kStretch) {
    const int width = static_cast<int>(K - at < kStretch ? K - at : kStretch);
    __syncthreads();
#pragma unroll
    for (int t = 0; t < tokens; t++) {
      for (int i = threadIdx.x; i < kStretch; i += kThreads)
        xs[t * kSkewed + skewed(i)] = i < width && first + t < M ? ld(x.row(first + t) + at + i) : 0.0f;
    }
    __syncthreads();
    if constexpr (is_quantised(type)) {
      if (lane * kGroup < width) {
        Group g;
        unpack_group<type>(row, at / kGroup + lane, g);
#pragma unroll
        for (int i = 0; i < kGroup; i++) {
          const float w = value_of(g, i);
#pragma unroll
          for (int t = 0; t < tokens; t++) sum[t] = fmaf(w, xs[t * kSkewed + skewed(lane * kGroup + i)], sum[t]);
        }
      }
    } else {
      for (int k = lane * kRun; k < width; k += kWarp * kRun) {
        float w[kRun];
        load_run<type>(row, at + k, K, w);
#pragma unroll
        for (int i = 0; i < kRun; i++) {
#pragma unroll
          for (int t = 0; t < tokens; t++) sum[t] = fmaf(w[i], xs[t * kSkewed + skewed(k + i)], sum[t]);
        }
      }
    }
  }
#pragma unroll
  for (int t = 0; t < tokens; t++) {
    const float total = warp_sum(sum[t]);
    if (lane == t && n < N && first + t < M) epilogue.store(first + t, n, total);
  }
}

template <DType type, int tokens>
void launch_floats(CudaStream& stream, const Product& p) {
  launch(floats_kernel<type, tokens>,
         dim3(grid_size(divided_up(p.weight.rows, kWarps)), grid_size(divided_up(p.M, tokens))), kThreads,
         shared_bytes_of(tokens * kSkewed * sizeof(float)), stream.handle(), p.x, p.M, p.K, bytes_of(p.weight),
         p.weight.row_bytes(), p.weight.rows, p.epilogue);
}

}  // namespace

void multiply_floats(CudaStream& stream, const Product& p) {
  for_dtype(p.weight.dtype, [&]<DType type>() {
    if (p.M == 1) return launch_floats<type, 1>(stream, p);
    if (p.M <= 4) return launch_floats<type, 4>(stream, p);
    launch_floats<type, 8>(stream, p);
  });
}

}  // namespace llava::cuda
