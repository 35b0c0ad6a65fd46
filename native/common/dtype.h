// Element types of weights on disk, and all that code decides by type: a type is blocks of `elements` values in `bytes`
// bytes, along a row.
//   Of quantised types (blocks.h):  value = scale * (code - offset) + min  with codes in [0, largest code] once the
//   offset is added; `halves` scales for 32 values (one for each 16, or one for all), and as many mins where there are
//   any.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace llava {

//  name  elements  bytes  halves  mins  offset  largest code
#define LLAVA_DTYPES(X)     \
  X(F32, 1, 4, 0, 0, 0, 0)  \
  X(F16, 1, 2, 0, 0, 0, 0)  \
  X(BF16, 1, 2, 0, 0, 0, 0) \
  LLAVA_QUANTISED(X)

#define LLAVA_QUANTISED(X)        \
  X(Q4_0, 32, 18, 1, 0, 8, 15)    \
  X(Q4_1, 32, 20, 1, 1, 0, 15)    \
  X(Q5_0, 32, 22, 1, 0, 16, 31)   \
  X(Q5_1, 32, 24, 1, 1, 0, 31)    \
  X(Q8_0, 32, 34, 1, 0, 128, 255) \
  X(Q2_K, 256, 84, 2, 1, 0, 3)    \
  X(Q3_K, 256, 110, 2, 0, 4, 7)   \
  X(Q4_K, 256, 144, 1, 1, 0, 15)  \
  X(Q5_K, 256, 176, 1, 1, 0, 31)  \
  X(Q6_K, 256, 210, 2, 0, 32, 63)

enum class DType : uint8_t {
#define LLAVA_DTYPE_ENUM(name, ...) name,
  LLAVA_DTYPES(LLAVA_DTYPE_ENUM)
#undef LLAVA_DTYPE_ENUM
};

struct DTypeTraits {
  std::string_view name;
  int64_t elements;
  int64_t bytes;
  int halves;
  bool mins;
  int offset;
  int largest_code;
  constexpr bool quantised() const { return elements > 1; }
  // Factors of 32 values: scales, then mins.
  constexpr int factors() const { return halves * (mins ? 2 : 1); }
};

inline constexpr DTypeTraits kDTypes[] = {
#define LLAVA_DTYPE_TRAITS(name, elements, bytes, halves, mins, offset, largest_code) \
  {#name, elements, bytes, halves, mins != 0, offset, largest_code},
    LLAVA_DTYPES(LLAVA_DTYPE_TRAITS)
#undef LLAVA_DTYPE_TRAITS
};
inline constexpr int kDTypeCount = sizeof(kDTypes) / sizeof(kDTypes[0]);

constexpr const DTypeTraits& traits(DType dtype) { return kDTypes[static_cast<int>(dtype)]; }

// Bytes of one row of `columns` values; columns must divide into blocks.
constexpr int64_t row_bytes(DType dtype, int64_t columns) {
  return columns / traits(dtype).elements * traits(dtype).bytes;
}

}  // namespace llava
