// What both norms share: a block a row, which is read once and kept in shared memory where it fits.
#pragma once
#include "cuda/smem.cuh"

namespace llava::cuda {

constexpr int kNormThreads = 256, kNormWarps = kNormThreads / kWarp;
constexpr int64_t kKeptColumns = 8192;  // 32 KB: seven blocks a multiprocessor of 228 KB

// All threads get the sum over the block. `sums` is [kNormWarps], and free again after the next barrier.
__device__ __forceinline__ float block_sum(float value, float* sums) {
  value = warp_sum(value);
  if (threadIdx.x % kWarp == 0) sums[threadIdx.x / kWarp] = value;
  __syncthreads();
  float total = 0;
  for (int w = 0; w < kNormWarps; w++) total += sums[w];
  return total;
}

// The row's values: in shared memory, or read again.
template <bool kept>
class NormRow {
 public:
  __device__ NormRow(const float* row, int64_t columns, float* values) : row_(row), values_(values) {
    if constexpr (kept) {
      for (int64_t i = threadIdx.x; i < columns; i += kNormThreads) values[i] = ld(row + i);
    }
  }
  // By the thread that reads column i of the row in all its passes.
  __device__ __forceinline__ float operator[](int64_t i) const {
    if constexpr (kept) return values_[i];
    return ld(row_ + i);
  }

 private:
  const float* row_;
  const float* values_;
};

constexpr size_t norm_shared_bytes(int64_t columns, bool kept) {
  return 2 * shared_bytes_of(kNormWarps * sizeof(float)) +
         shared_bytes_of(kept ? static_cast<size_t>(columns) * sizeof(float) : 0);
}

}  // namespace llava::cuda
