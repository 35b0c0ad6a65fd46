#include "cuda/elements.cuh"
#include "cuda/stream.h"

namespace llava::cuda {

namespace {

// A thread sums a column of a picture, in order, as the CPU does.
struct MeanRows {
  Rows<const float> x;
  int64_t rows;
  Rows<float> y;
  __device__ void operator()(int64_t picture, int64_t column) const {
    double sum = 0;
    for (int64_t r = 0; r < rows; r++) sum += static_cast<double>(ld(x.row(picture * rows + r) + column));
    st(y.row(picture) + column, static_cast<float>(sum / static_cast<double>(rows)));
  }
};

}  // namespace

void mean_rows(Stream& s, const MeanRowsArgs& a) {
  for_each_element(cuda_stream(s).handle(), a.y.rows, a.y.cols, MeanRows{rows_of(a.x), a.rows, rows_of(a.y)});
}

}  // namespace llava::cuda
