#include "cpu/activation.h"
#include "cpu/host_view.h"
#include "cpu/stream.h"

namespace llava::cpu {

void activate(Stream& s, const ActivateArgs& a) {
  CpuStream& stream = cpu_stream(s);
  const ActivationKernel kernel = activation_kernel(stream.kernels, a.activation);
  stream.parallel_rows(a.y.rows, [&](int64_t first, int64_t count) {
    for (int64_t t = first; t < first + count; t++) kernel(host(a.x.row(t)), host(a.y.row(t)), a.y.cols);
  });
}

void silu_mul(Stream& s, const SiluMulArgs& a) {
  CpuStream& stream = cpu_stream(s);
  if (a.y.rows == 1) {  // decode: split the row
    constexpr int64_t kSlice = 2048;
    stream.parallel((a.y.cols + kSlice - 1) / kSlice, [&](int64_t index, int) {
      const int64_t from = index * kSlice;
      stream.kernels.silu_mul(host(a.gate.data) + from, host(a.up.data) + from, host(a.y.data) + from,
                              std::min(kSlice, a.y.cols - from));
    });
    return;
  }
  stream.parallel_rows(a.y.rows, [&](int64_t first, int64_t count) {
    for (int64_t t = first; t < first + count; t++)
      stream.kernels.silu_mul(host(a.gate.row(t)), host(a.up.row(t)), host(a.y.row(t)), a.y.cols);
  });
}

void add_rows(Stream& s, const AddRowsArgs& a) {
  CpuStream& stream = cpu_stream(s);
  stream.parallel_rows(a.y.rows, [&](int64_t first, int64_t count) {
    for (int64_t t = first; t < first + count; t++)
      stream.kernels.add(host(a.a.row(t)), host(a.b.row(t)), host(a.y.row(t)), a.y.cols);
  });
}

}  // namespace llava::cpu
