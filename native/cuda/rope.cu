// Rotary position embedding (Su et al. 2021): a thread turns one pair of a head.
#include "cuda/elements.cuh"
#include "cuda/stream.h"

namespace llava::cuda {

namespace {

template <RopeLayout layout>
struct Rope {
  Rows<float> x;
  Rows<const float> cosines, sines;
  int64_t half;  // Dh / 2
  __device__ void operator()(int64_t row, int64_t pair) const {
    const int64_t head = pair / half, j = pair % half;
    float* const first = x.row(row) + head * 2 * half + (layout == RopeLayout::kHalf ? j : 2 * j);
    float* const second = first + (layout == RopeLayout::kHalf ? half : 1);
    const float c = ld(cosines.row(row) + j), s = ld(sines.row(row) + j), a = ld(first), b = ld(second);
    st(first, a * c - b * s);
    st(second, b * c + a * s);
  }
};

}  // namespace

void rope(Stream& s, const RopeArgs& a) {
  const auto rotate = [&](auto rotation) {
    for_each_element(cuda_stream(s).handle(), a.x.rows, a.x.cols / 2, rotation);
  };
  if (a.layout == RopeLayout::kHalf)
    rotate(Rope<RopeLayout::kHalf>{rows_of(a.x), rows_of(a.cos), rows_of(a.sin), a.head_dim / 2});
  else
    rotate(Rope<RopeLayout::kInterleaved>{rows_of(a.x), rows_of(a.cos), rows_of(a.sin), a.head_dim / 2});
}

}  // namespace llava::cuda
