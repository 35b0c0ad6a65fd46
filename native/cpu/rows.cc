// Rows moved or looked up: token embeddings from any weight type, image rows into the spliced sequence.
#include <cstring>

#include "cpu/expand.h"
#include "cpu/stream.h"

namespace llava::cpu {

void embed_rows(Stream& s, const EmbedRowsArgs& a) {
  CpuStream& stream = cpu_stream(s);
  const ExpandKernel expand = expand_kernel(stream.kernels, a.table.dtype);
  stream.parallel_rows(a.y.rows, [&](int64_t first, int64_t count) {
    for (int64_t t = first; t < first + count; t++) expand(a.table.row(a.ids[t]), a.y.row(t), a.y.cols);
  });
}

void copy_rows(Stream& s, const CopyRowsArgs& a) {
  cpu_stream(s).parallel_rows(a.y.rows, [&](int64_t first, int64_t count) {
    for (int64_t t = first; t < first + count; t++) std::memcpy(a.y.row(t), a.x.row(t), static_cast<size_t>(a.x.cols) * sizeof(float));
  });
}

}  // namespace llava::cpu
