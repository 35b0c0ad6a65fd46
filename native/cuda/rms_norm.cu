#include "cuda/norm.cuh"
#include "cuda/stream.h"

namespace llava::cuda {

namespace {

// y = weight * (x / sqrt(mean(x^2) + eps))
template <bool kept>
__global__ void __launch_bounds__(kNormThreads)
    rms_norm_kernel(Rows<const float> x, const float* weight, float eps, Rows<float> y, int64_t columns) {
  SharedMemory memory;
  float* const sums = memory.take<float>(kNormWarps);
  memory.take<float>(kNormWarps);
  const NormRow<kept> row(x.row(blockIdx.x), columns, memory.take<float>(0));
  float squares = 0;
  for (int64_t i = threadIdx.x; i < columns; i += kNormThreads) squares += row[i] * row[i];
  const float factor = 1.0f / sqrtf(block_sum(squares, sums) / static_cast<float>(columns) + eps);
  for (int64_t i = threadIdx.x; i < columns; i += kNormThreads)
    st(y.row(blockIdx.x) + i, ld(weight + i) * (row[i] * factor));
}

}  // namespace

void rms_norm(Stream& s, const RmsNormArgs& a) {
  if (a.x.rows == 0) return;
  const bool kept = a.x.cols <= kKeptColumns;
  launch(kept ? rms_norm_kernel<true> : rms_norm_kernel<false>, grid_size(a.x.rows), kNormThreads,
         norm_shared_bytes(a.x.cols, kept), cuda_stream(s).handle(), rows_of(a.x), pointer(a.weight), a.eps,
         rows_of(a.y), a.x.cols);
}

}  // namespace llava::cuda
