#include "cuda/elements.cuh"
#include "cuda/stream.h"

namespace llava::cuda {

namespace {

// As bits: a NaN keeps its payload.
struct CopyRows {
  Rows<const float> x;
  Rows<float> y;
  __device__ void operator()(int64_t row, int64_t column) const {
    st(reinterpret_cast<uint32_t*>(y.row(row)) + column, ld(reinterpret_cast<const uint32_t*>(x.row(row)) + column));
  }
};

}  // namespace

void copy_rows(Stream& s, const CopyRowsArgs& a) {
  for_each_element(cuda_stream(s).handle(), a.y.rows, a.y.cols, CopyRows{rows_of(a.x), rows_of(a.y)});
}

}  // namespace llava::cuda
