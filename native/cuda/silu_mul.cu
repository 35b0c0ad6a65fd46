#include "cuda/activation.cuh"
#include "cuda/elements.cuh"
#include "cuda/stream.h"

namespace llava::cuda {

namespace {

struct SiluMul {
  Rows<const float> gate, up;
  Rows<float> y;
  __device__ void operator()(int64_t row, int64_t column) const {
    st(y.row(row) + column, silu(ld(gate.row(row) + column)) * ld(up.row(row) + column));
  }
};

}  // namespace

void silu_mul(Stream& s, const SiluMulArgs& a) {
  for_each_element(cuda_stream(s).handle(), a.y.rows, a.y.cols, SiluMul{rows_of(a.gate), rows_of(a.up), rows_of(a.y)});
}

}  // namespace llava::cuda
