#include "cpu/outliers.h"

#include "common/blocks.h"
#include "cpu/kernels/reference.h"

namespace llava::cpu {

namespace {

template <class Block>
void column_of_blocks(const std::byte* rows, int64_t stride, int64_t count, int64_t column, float* out) {
  const int64_t block_at = column / reference::kValues<Block>;
  const int i = static_cast<int>(column % reference::kValues<Block>);
  for (int64_t r = 0; r < count; r++) {
    const auto block = reference::load<Block>(rows + r * stride, block_at);
    out[r] = block.scale(i) * static_cast<float>(block.code(i)) + block.min(i);
  }
}

}  // namespace

void weight_column(DType dtype, const std::byte* rows, int64_t stride, int64_t count, int64_t column, float* out) {
  switch (dtype) {
#define LLAVA_COLUMN_CASE(T, elements, ...) \
  case DType::T: return column_of_blocks<Block##T>(rows, stride, count, column, out);
    LLAVA_QUANTISED(LLAVA_COLUMN_CASE)
#undef LLAVA_COLUMN_CASE
    default: return;
  }
}

}  // namespace llava::cpu
