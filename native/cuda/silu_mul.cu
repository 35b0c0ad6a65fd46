#include "cuda/activation.cuh"
#include "cuda/elements.cuh"
#include "cuda/quantise.cuh"

namespace llava::cuda {

namespace {

struct SiluMul {
  Rows<const float> gate, up;
  Rows<float> y;
  __device__ void operator()(int64_t row, int64_t column) const {
    st(y.row(row) + column, silu(ld(gate.row(row) + column)) * ld(up.row(row) + column));
  }
};

// The same of a row a block, and its blocks.
__global__ void __launch_bounds__(kQuantiseThreads)
    quantised_silu_mul_kernel(SiluMul value, int64_t columns, QuantisedRows blocks) {
  SharedMemory memory;
  for (int64_t i = threadIdx.x; i < columns; i += kQuantiseThreads) value(blockIdx.x, i);
  __syncthreads();
  quantise_row(value.y.row(blockIdx.x), columns, blockIdx.x, blocks, memory);
}

}  // namespace

void silu_mul(Stream& s, const SiluMulArgs& a) {
  if (a.y.rows == 0) return;
  CudaStream& stream = cuda_stream(s);
  const SiluMul value{rows_of(a.gate), rows_of(a.up), rows_of(a.y)};
  if (const std::optional<QuantisedRows> blocks = room_beside(stream, a.y)) {
    launch(quantised_silu_mul_kernel, grid_size(a.y.rows), kQuantiseThreads, quantise_shared_bytes(a.y.cols),
           stream.handle(), value, a.y.cols, *blocks);
  } else {
    for_each_element(stream.handle(), a.y.rows, a.y.cols, value);
  }
}

}  // namespace llava::cuda
