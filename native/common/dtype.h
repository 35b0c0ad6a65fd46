// Element types of weights on disk. A type is blocks of `elements` values in `bytes` bytes, along a row.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace llava {

//        name   elements  bytes  of one block
#define LLAVA_DTYPES(X) \
  X(F32, 1, 4)          \
  X(F16, 1, 2)          \
  X(BF16, 1, 2)         \
  LLAVA_QUANTISED(X)

#define LLAVA_QUANTISED(X) \
  X(Q4_0, 32, 18)          \
  X(Q4_1, 32, 20)          \
  X(Q5_0, 32, 22)          \
  X(Q5_1, 32, 24)          \
  X(Q8_0, 32, 34)          \
  X(Q2_K, 256, 84)         \
  X(Q3_K, 256, 110)        \
  X(Q4_K, 256, 144)        \
  X(Q5_K, 256, 176)        \
  X(Q6_K, 256, 210)

enum class DType : uint8_t {
#define LLAVA_DTYPE_ENUM(name, elements, bytes) name,
  LLAVA_DTYPES(LLAVA_DTYPE_ENUM)
#undef LLAVA_DTYPE_ENUM
};

struct DTypeTraits {
  std::string_view name;
  int64_t elements;
  int64_t bytes;
  constexpr bool quantised() const { return elements > 1; }
};

inline constexpr DTypeTraits kDTypes[] = {
#define LLAVA_DTYPE_TRAITS(name, elements, bytes) {#name, elements, bytes},
    LLAVA_DTYPES(LLAVA_DTYPE_TRAITS)
#undef LLAVA_DTYPE_TRAITS
};
inline constexpr int kDTypeCount = sizeof(kDTypes) / sizeof(kDTypes[0]);

constexpr const DTypeTraits& traits(DType dtype) { return kDTypes[static_cast<int>(dtype)]; }

// Bytes of one row of `columns` values; columns must divide into blocks.
constexpr int64_t row_bytes(DType dtype, int64_t columns) { return columns / traits(dtype).elements * traits(dtype).bytes; }

}  // namespace llava
