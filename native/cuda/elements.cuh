// Ops whose values depend on nothing but their own row and column: a thread a value, a warp 32 neighbours.
#pragma once
#include "cuda/platform.cuh"

namespace llava::cuda {

constexpr int kElementThreads = 256, kElementsOfBlock = 1024;  // four values a thread keep loads under way

// value(row, column) for every column of a row.
template <class Value>
__global__ void __launch_bounds__(kElementThreads) elements_kernel(Value value, int64_t columns) {
  const int64_t row = blockIdx.x, first = int64_t{blockIdx.y} * kElementsOfBlock + threadIdx.x;
#pragma unroll
  for (int i = 0; i < kElementsOfBlock; i += kElementThreads) {
    if (first + i < columns) value(row, first + i);
  }
}

template <class Value>
void for_each_element(StreamHandle stream, int64_t rows, int64_t columns, Value value) {
  if (rows == 0 || columns == 0) return;
  launch(elements_kernel<Value>, dim3(grid_size(rows), grid_size(divided_up(columns, kElementsOfBlock))),
         kElementThreads, 0, stream, value, columns);
}

}  // namespace llava::cuda
