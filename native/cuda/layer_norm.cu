#include "cuda/norm.cuh"
#include "cuda/stream.h"

namespace llava::cuda {

namespace {

// y = (x - mean) / sqrt(var + eps) * weight + bias, the variance of what is left after the mean is taken away
template <bool kept>
__global__ void __launch_bounds__(kNormThreads)
    layer_norm_kernel(Rows<const float> x, const float* weight, const float* bias, float eps, Rows<float> y,
                      int64_t columns) {
  SharedMemory memory;
  float* const sums = memory.take<float>(kNormWarps);
  float* const squares_of = memory.take<float>(kNormWarps);
  const NormRow<kept> row(x.row(blockIdx.x), columns, memory.take<float>(0));
  float sum = 0, squares = 0;
  for (int64_t i = threadIdx.x; i < columns; i += kNormThreads) sum += row[i];
  const float mean = block_sum(sum, sums) / static_cast<float>(columns);
  for (int64_t i = threadIdx.x; i < columns; i += kNormThreads) squares += (row[i] - mean) * (row[i] - mean);
  const float variance = block_sum(squares, squares_of) / static_cast<float>(columns);
  const float factor = 1.0f / sqrtf(variance + eps);
  for (int64_t i = threadIdx.x; i < columns; i += kNormThreads)
    st(y.row(blockIdx.x) + i, (row[i] - mean) * factor * ld(weight + i) + ld(bias + i));
}

}  // namespace

void layer_norm(Stream& s, const LayerNormArgs& a) {
  if (a.x.rows == 0) return;
  const bool kept = a.x.cols <= kKeptColumns;
  launch(kept ? layer_norm_kernel<true> : layer_norm_kernel<false>, grid_size(a.x.rows), kNormThreads,
         norm_shared_bytes(a.x.cols, kept), cuda_stream(s).handle(), rows_of(a.x), pointer(a.weight), pointer(a.bias),
         a.eps, rows_of(a.y), a.x.cols);
}

}  // namespace llava::cuda
