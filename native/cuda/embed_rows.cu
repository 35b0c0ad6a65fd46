#include "cuda/blocks.cuh"
#include "cuda/elements.cuh"
#include "cuda/stream.h"

namespace llava::cuda {

namespace {

// Of float types a thread takes a value, of quantised ones a group of 32.
template <DType type>
struct EmbedRows {
  const int32_t* ids;
  const uint8_t* table;
  int64_t row_bytes;
  Rows<float> y;
  __device__ void operator()(int64_t row, int64_t index) const {
    const uint8_t* const from = table + ld(ids + row) * row_bytes;
    if constexpr (!is_quantised(type)) {
      st(y.row(row) + index, load_float<type>(from, index));
    } else {
      Group g;
      unpack_group<type>(from, index, g);
#pragma unroll
      for (int i = 0; i < kGroup; i++) st(y.row(row) + index * kGroup + i, value_of(g, i));
    }
  }
};

}  // namespace

void embed_rows(Stream& s, const EmbedRowsArgs& a) {
  for_dtype(a.table.dtype, [&]<DType type>() {
    for_each_element(cuda_stream(s).handle(), a.y.rows, a.y.cols / (is_quantised(type) ? kGroup : 1),
                     EmbedRows<type>{pointer(a.ids), bytes_of(a.table), a.table.row_bytes(), rows_of(a.y)});
  });
}

}  // namespace llava::cuda
