// Products in float32: a warp takes some rows of weights, times up to 8 rows of x, which lie in shared memory a stretch
// at a time. Lanes run along the row and come together in the end, so that a row of y is summed in one order in any
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

// A warp takes `rows` rows of weights, so that a value of x is read once for them.
template <DType type, int tokens, int rows>
__global__ void __launch_bounds__(kThreads)
    floats_kernel(Rows<const float> x, int64_t M, int64_t K, const uint8_t* weight, int64_t row_bytes, int64_t N,
                  Epilogue epilogue) {
  SharedMemory memory;
  float* const xs = memory.take<float>(tokens * kSkewed);
  const int lane = threadIdx.x % kWarp;
  const int64_t n = (int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp) * rows, first = int64_t{blockIdx.y} * tokens;
  const uint8_t* row[rows];
#pragma unroll
  for (int r = 0; r < rows; r++) row[r] = weight + (n + r < N ? n + r : N - 1) * row_bytes;
  float sum[rows][tokens] = {};
  const auto add = [&](const float (&w)[rows], int k) {
#pragma unroll
    for (int t = 0; t < tokens; t++) {
      const float value = xs[t * kSkewed + skewed(k)];
#pragma unroll
      for (int r = 0; r < rows; r++) sum[r][t] = fmaf(w[r], value, sum[r][t]);
    }
  };
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
        Group g[rows];
#pragma unroll
        for (int r = 0; r < rows; r++) unpack_group<type>(row[r], at / kGroup + lane, g[r]);
#pragma unroll
        for (int i = 0; i < kGroup; i++) {
          float w[rows];
#pragma unroll
          for (int r = 0; r < rows; r++) w[r] = value_of(g[r], i);
          add(w, lane * kGroup + i);
        }
      }
    } else {
      for (int k = lane * kRun; k < width; k += kWarp * kRun) {
        float run[rows][kRun];
#pragma unroll
        for (int r = 0; r < rows; r++) load_run<type>(row[r], at + k, K, run[r]);
#pragma unroll
        for (int i = 0; i < kRun; i++) {
          float w[rows];
#pragma unroll
          for (int r = 0; r < rows; r++) w[r] = run[r][i];
          add(w, k + i);
        }
      }
    }
  }
#pragma unroll
  for (int r = 0; r < rows; r++) {
#pragma unroll
    for (int t = 0; t < tokens; t++) {
      const float total = warp_sum(sum[r][t]);
      if (lane == t && n + r < N && first + t < M) epilogue.store(first + t, n + r, total);
    }
  }
}

template <DType type, int tokens, int rows>
void launch_floats(CudaStream& stream, const Product& p) {
  launch(floats_kernel<type, tokens, rows>,
         dim3(grid_size(divided_up(p.weight.rows, kWarps * rows)), grid_size(divided_up(p.M, tokens))), kThreads,
         shared_bytes_of(tokens * kSkewed * sizeof(float)), stream.handle(), p.x, p.M, p.K, bytes_of(p.weight),
         p.weight.row_bytes(), p.weight.rows, p.epilogue);
}

}  // namespace

void multiply_floats(CudaStream& stream, const Product& p) {
  for_dtype(p.weight.dtype, [&]<DType type>() {
    if (p.M == 1) return launch_floats<type, 1, 2>(stream, p);
    if (p.M <= 4) return launch_floats<type, 4, 2>(stream, p);
    launch_floats<type, 8, is_quantised(type) ? 1 : 4>(stream, p);  // ptxas takes minutes for more groups
  });
}

}  // namespace llava::cuda
