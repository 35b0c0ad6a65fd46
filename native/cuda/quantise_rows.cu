#include "cuda/quantise.cuh"

namespace llava::cuda {

namespace {

__global__ void __launch_bounds__(kQuantiseThreads) quantise_kernel(Rows<const float> x, int64_t K, QuantisedRows to) {
  SharedMemory memory;
  quantise_row(x.row(blockIdx.x), K, blockIdx.x, to, memory);
}

}  // namespace

QuantisedRows room_for_blocks(CudaStream& stream, int64_t M, int64_t K) {
  const int64_t blocks = K / kGroup, codes_bytes = divided_up(M * K, 256) * 256,
                factors_bytes = divided_up(M * blocks * static_cast<int64_t>(sizeof(BlockFactor)), 256) * 256;
  std::byte* const memory =
      stream.activations.reserve<std::byte>(codes_bytes + factors_bytes + M * static_cast<int64_t>(sizeof(Token)));
  return {reinterpret_cast<int8_t*>(memory), reinterpret_cast<BlockFactor*>(memory + codes_bytes),
          reinterpret_cast<Token*>(memory + codes_bytes + factors_bytes)};
}

QuantisedRows quantise_rows(CudaStream& stream, Rows<const float> x, int64_t M, int64_t K) {
  const QuantisedRows to = room_for_blocks(stream, M, K);
  launch(quantise_kernel, grid_size(M), kQuantiseThreads, quantise_shared_bytes(K), stream.handle(), x, K, to);
  return to;
}

std::optional<QuantisedRows> room_beside(CudaStream& stream, const Activations& y) {
  if (!stream.beside.wanted || y.rows > kFewRows || y.cols % kGroup != 0) return {};
  stream.beside = {true, stream.ops, pointer(y.data), y.stride, y.rows, y.cols};
  return room_for_blocks(stream, y.rows, y.cols);
}

QuantisedRows blocks_of(CudaStream& stream, Rows<const float> x, int64_t M, int64_t K) {
  stream.beside.wanted = true;
  const CudaStream::Beside& left = stream.beside;
  const bool there =
      left.op == stream.ops - 1 && left.x == x.data && left.stride == x.stride && left.rows == M && left.columns == K;
  return there ? room_for_blocks(stream, M, K) : quantise_rows(stream, x, M, K);
}

}  // namespace llava::cuda
