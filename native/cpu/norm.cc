#include "cpu/stream.h"

namespace llava::cpu {

void layer_norm(Stream& s, const LayerNormArgs& a) {
  CpuStream& stream = cpu_stream(s);
  stream.parallel_rows(a.x.rows, [&](int64_t first, int64_t count) {
    for (int64_t t = first; t < first + count; t++) stream.kernels.layer_norm(a.x.row(t), a.weight, a.bias, a.eps, a.y.row(t), a.x.cols);
  });
}

void rms_norm(Stream& s, const RmsNormArgs& a) {
  CpuStream& stream = cpu_stream(s);
  stream.parallel_rows(a.x.rows, [&](int64_t first, int64_t count) {
    for (int64_t t = first; t < first + count; t++) stream.kernels.rms_norm(a.x.row(t), a.weight, a.eps, a.y.row(t), a.x.cols);
  });
}

}  // namespace llava::cpu
