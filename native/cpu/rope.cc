// Rotary position embedding (Su et al. 2021): each pair of a head turns by position * inverse frequency.
#include "cpu/stream.h"

namespace llava::cpu {

void rope(Stream& s, const RopeArgs& a) {
  CpuStream& stream = cpu_stream(s);
  const auto rotate = a.layout == RopeLayout::kHalf ? stream.kernels.rope_half : stream.kernels.rope_interleaved;
  stream.parallel_rows(a.x.rows, [&](int64_t first, int64_t count) {
    for (int64_t t = first; t < first + count; t++) {
      for (int64_t at = 0; at < a.x.cols; at += a.head_dim) rotate(a.x.row(t) + at, a.cos.row(t), a.sin.row(t), a.cos.cols);
    }
  });
}

}  // namespace llava::cpu
