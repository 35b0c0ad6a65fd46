#include "cuda/norm.cuh"
#include "cuda/quantise.cuh"

namespace llava::cuda {

namespace {

static_assert(kNormThreads == kQuantiseThreads);

// y = weight * (x / sqrt(mean(x^2) + eps)), and its blocks where they are asked for
template <bool kept, bool quantised>
__global__ void __launch_bounds__(kNormThreads) rms_norm_kernel(Rows<const float> x, const float* weight, float eps,
                                                                Rows<float> y, int64_t columns, QuantisedRows blocks) {
  SharedMemory memory;
  float* const sums = memory.take<float>(kNormWarps);
  const NormRow<kept> row(x.row(blockIdx.x), columns, memory.take<float>(kept ? static_cast<int>(columns) : 0));
  float squares = 0;
  for (int64_t i = threadIdx.x; i < columns; i += kNormThreads) squares += row[i] * row[i];
  const float factor = 1.0f / sqrtf(block_sum(squares, sums) / static_cast<float>(columns) + eps);
  for (int64_t i = threadIdx.x; i < columns; i += kNormThreads)
    st(y.row(blockIdx.x) + i, ld(weight + i) * (row[i] * factor));
  if constexpr (quantised) {
    __syncthreads();
    quantise_row(y.row(blockIdx.x), columns, blockIdx.x, blocks, memory);
  }
}

}  // namespace

void rms_norm(Stream& s, const RmsNormArgs& a) {
  if (a.x.rows == 0) return;
  CudaStream& stream = cuda_stream(s);
  const bool kept = a.x.cols <= kKeptColumns;
  const std::optional<QuantisedRows> blocks = room_beside(stream, a.y);
  const auto kernel = blocks ? (kept ? rms_norm_kernel<true, true> : rms_norm_kernel<false, true>)
                             : (kept ? rms_norm_kernel<true, false> : rms_norm_kernel<false, false>);
  launch(kernel, grid_size(a.x.rows), kNormThreads,
         norm_shared_bytes(a.x.cols, kept) + (blocks ? quantise_shared_bytes(a.x.cols) : 0), stream.handle(),
         rows_of(a.x), pointer(a.weight), a.eps, rows_of(a.y), a.x.cols, blocks.value_or(QuantisedRows{}));
}

}  // namespace llava::cuda
