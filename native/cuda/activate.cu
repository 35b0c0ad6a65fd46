#include "cuda/activation.cuh"
#include "cuda/elements.cuh"
#include "cuda/stream.h"

namespace llava::cuda {

namespace {

struct Activate {
  Rows<const float> x;
  Activation activation;
  Rows<float> y;
  __device__ void operator()(int64_t row, int64_t column) const {
    st(y.row(row) + column, activated(ld(x.row(row) + column), activation));
  }
};

}  // namespace

void activate(Stream& s, const ActivateArgs& a) {
  for_each_element(cuda_stream(s).handle(), a.y.rows, a.y.cols, Activate{rows_of(a.x), a.activation, rows_of(a.y)});
}

}  // namespace llava::cuda
