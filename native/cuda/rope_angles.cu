#include "cuda/elements.cuh"
#include "cuda/stream.h"

namespace llava::cuda {

namespace {

// Cosine and sine in double of an angle rounded to float: the same bits as the CPU's.
struct RopeAngles {
  const int32_t* positions;
  const float* inv_freq;
  Rows<float> cosines, sines;
  __device__ void operator()(int64_t row, int64_t column) const {
    const double angle = static_cast<double>(static_cast<float>(ld(positions + row)) * ld(inv_freq + column));
    st(cosines.row(row) + column, static_cast<float>(cos(angle)));
    st(sines.row(row) + column, static_cast<float>(sin(angle)));
  }
};

}  // namespace

void rope_angles(Stream& s, const RopeAnglesArgs& a) {
  for_each_element(cuda_stream(s).handle(), a.cos.rows, a.cos.cols,
                   RopeAngles{pointer(a.positions), pointer(a.inv_freq), rows_of(a.cos), rows_of(a.sin)});
}

}  // namespace llava::cuda
