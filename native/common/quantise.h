// Rows of f32 to every element type and back: blocks.h read, and written.
//   Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 follow the reference's rules to the bit (one division, one rounding per value), that is
//   ggml's quantize_row_*_ref. K types have no such rule: any codes that decode by blocks.h are valid, so scales and
//   mins are searched for least weighted error.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/dtype.h"

namespace llava {

struct RowCodec {
  const char* isa;
  // dst[row_bytes(dtype, n)]; n divides into blocks. Values that are not finite give some block, not necessarily one
  // that shows it.
  void (*encode)(DType dtype, const float* src, int64_t n, std::byte* dst) noexcept;
  // dst[n]; src may be unaligned.
  void (*decode)(DType dtype, const std::byte* src, int64_t n, float* dst) noexcept;
  // Bits of max |x| over n values; a NaN is larger than everything.
  uint32_t (*largest_magnitude)(const float* x, int64_t n) noexcept;
};

// Those this CPU can execute, fastest last. All give the same bytes.
std::vector<RowCodec> row_codecs();

}  // namespace llava
