// Rows moved, looked up or averaged: token embeddings from any weight type, image rows into the spliced sequence, means
// of pictures.
#include <cstring>

#include "cpu/expand.h"
#include "cpu/host_view.h"
#include "cpu/stream.h"

namespace llava::cpu {

void embed_rows(Stream& s, const EmbedRowsArgs& a) {
  CpuStream& stream = cpu_stream(s);
  const ExpandKernel expand = expand_kernel(stream.kernels, a.table.dtype);
  stream.parallel_rows(a.y.rows, [&](int64_t first, int64_t count) {
    for (int64_t t = first; t < first + count; t++)
      expand(host(a.table.row(host(a.ids)[t])), host(a.y.row(t)), a.y.cols);
  });
}

void copy_rows(Stream& s, const CopyRowsArgs& a) {
  cpu_stream(s).parallel_rows(a.y.rows, [&](int64_t first, int64_t count) {
    for (int64_t t = first; t < first + count; t++)
      std::memcpy(host(a.y.row(t)), host(a.x.row(t)), static_cast<size_t>(a.x.cols) * sizeof(float));
  });
}

namespace {

constexpr int64_t kMeanColumns = 64;  // of a task: whole cache lines, and sums that stay in L1

void mean_of_columns(HostRows<const float> x, int64_t column, int64_t columns, float* y) {
  double sum[kMeanColumns] = {};
  for (int64_t r = 0; r < x.rows; r++) {
    for (int64_t i = 0; i < columns; i++) sum[i] += static_cast<double>(x.row(r)[column + i]);
  }
  for (int64_t i = 0; i < columns; i++) y[column + i] = static_cast<float>(sum[i] / static_cast<double>(x.rows));
}

}  // namespace

void mean_rows(Stream& s, const MeanRowsArgs& a) {
  const int64_t strips = (a.y.cols + kMeanColumns - 1) / kMeanColumns;
  cpu_stream(s).parallel(a.y.rows * strips, [&](int64_t index, int) {
    const int64_t picture = index / strips, column = index % strips * kMeanColumns;
    mean_of_columns(host(a.x).slice(picture * a.rows, a.rows), column, std::min(kMeanColumns, a.y.cols - column),
                    host(a.y.row(picture)));
  });
}

}  // namespace llava::cpu
