// Rotary position embedding (Su et al. 2021): each pair of a head turns by position * inverse frequency.
#include <cmath>

#include "cpu/host_view.h"
#include "cpu/stream.h"

namespace llava::cpu {

void rope_angles(Stream& s, const RopeAnglesArgs& a) {
  const HostRows<float> cos = host(a.cos), sin = host(a.sin);
  const float* inv_freq = host(a.inv_freq);
  cpu_stream(s).parallel_rows(cos.rows, [&](int64_t first, int64_t count) {
    for (int64_t t = first; t < first + count; t++) {
      const auto position = static_cast<float>(host(a.positions)[t]);
      for (int64_t j = 0; j < cos.cols; j++) {
        const double angle = static_cast<double>(position * inv_freq[j]);
        cos.row(t)[j] = static_cast<float>(std::cos(angle));
        sin.row(t)[j] = static_cast<float>(std::sin(angle));
      }
    }
  });
}

void rope(Stream& s, const RopeArgs& a) {
  CpuStream& stream = cpu_stream(s);
  const HostRows<float> x = host(a.x);
  const HostRows<const float> cos = host(a.cos), sin = host(a.sin);
  const auto rotate = a.layout == RopeLayout::kHalf ? stream.kernels.rope_half : stream.kernels.rope_interleaved;
  stream.parallel_rows(x.rows, [&](int64_t first, int64_t count) {
    for (int64_t t = first; t < first + count; t++) {
      for (int64_t at = 0; at < x.cols; at += a.head_dim) rotate(x.row(t) + at, cos.row(t), sin.row(t), cos.cols);
    }
  });
}

}  // namespace llava::cpu
