// quantise-inl.h, once for the instruction set that everything is compiled for and once for AVX2, where there is one.
#include "common/quantise.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "common/blocks.h"
#include "common/cpu_features.h"
#include "common/half.h"
#include "common/target_region.h"

#pragma GCC diagnostic ignored "-Wpsabi"  // no vector crosses a binary interface here: all that take one are inlined

namespace llava {

namespace {

namespace plain {
#include "common/quantise-inl.h"
constexpr RowCodec kCodec = {"plain", encode_row, decode_row, largest_magnitude};
}  // namespace plain

#if defined(__x86_64__)
LLAVA_TARGET_BEGIN("avx2")
namespace avx2 {
#include "common/quantise-inl.h"
constexpr RowCodec kCodec = {"avx2", encode_row, decode_row, largest_magnitude};
}  // namespace avx2
LLAVA_TARGET_END
#endif

}  // namespace

std::vector<RowCodec> row_codecs() {
  std::vector<RowCodec> all = {plain::kCodec};
#if defined(__x86_64__)
  if (cpu_features().avx2) all.push_back(avx2::kCodec);
#endif
  return all;
}

}  // namespace llava
