#include "cpu/host_view.h"
#include "cpu/stream.h"

namespace llava::cpu {

void layer_norm(Stream& s, const LayerNormArgs& a) {
  CpuStream& stream = cpu_stream(s);
  const HostRows<const float> x = host(a.x);
  const HostRows<float> y = host(a.y);
  stream.parallel_rows(x.rows, [&](int64_t first, int64_t count) {
    for (int64_t t = first; t < first + count; t++)
      stream.kernels.layer_norm(x.row(t), host(a.weight), host(a.bias), a.eps, y.row(t), x.cols);
  });
}

void rms_norm(Stream& s, const RmsNormArgs& a) {
  CpuStream& stream = cpu_stream(s);
  const HostRows<const float> x = host(a.x);
  const HostRows<float> y = host(a.y);
  stream.parallel_rows(x.rows, [&](int64_t first, int64_t count) {
    for (int64_t t = first; t < first + count; t++)
      stream.kernels.rms_norm(x.row(t), host(a.weight), a.eps, y.row(t), x.cols);
  });
}

}  // namespace llava::cpu
