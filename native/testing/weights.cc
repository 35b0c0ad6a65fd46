#include "testing/weights.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "common/blocks.h"

namespace llava::testing {

namespace {

template <class T>
void append(std::vector<std::byte>& bytes, const T& value) {
  const auto* from = reinterpret_cast<const std::byte*>(&value);
  bytes.insert(bytes.end(), from, from + sizeof value);
}

// Random bytes with factors of both signs around 1/100, so that no type's values leave the range of the others.
template <class Block>
Block random_block(Random& random, bool extreme, bool lowest) {
  const auto factor = [&] { return float_to_half(random.values(1, 0.001f, 0.1f)[0]); };
  const std::vector<std::byte> noise = random.bytes(sizeof(Block));
  Block block;
  std::memcpy(&block, noise.data(), sizeof block);
  if (extreme) {
    const bool is_signed = sizeof(Block) == sizeof(BlockQ8_0);
    std::memset(&block, is_signed ? (lowest ? 0x80 : 0x7F) : (lowest ? 0x00 : 0xFF), sizeof block);
    if constexpr (requires { block.scales; }) std::memcpy(block.scales, noise.data(), sizeof block.scales);
  }
  block.d = factor();
  if constexpr (requires { block.m; }) block.m = factor();
  if constexpr (requires { block.dmin; }) block.dmin = factor();
  return block;
}

template <class Block>
void add_blocks(RandomWeight& out, Random& random, int64_t elements, bool extreme) {
  for (int64_t b = 0; b < out.rows * out.cols / elements; b++) {
    const auto block = random_block<Block>(random, extreme, random.below(2) == 0);
    append(out.bytes, block);
    for (int i = 0; i < elements; i++) {
      out.values.push_back(static_cast<double>(block.scale(i)) * block.code(i) + static_cast<double>(block.min(i)));
      out.rounded.push_back(block.scale(i) * static_cast<float>(block.code(i)) + block.min(i));
    }
  }
}

void add_floats(RandomWeight& out, Random& random) {
  for (const float value : random.values(out.rows * out.cols, 1e-7f, 1.0f)) {  // down to half's subnormals
    const uint16_t half = float_to_half(value), bfloat = static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
    if (out.dtype == DType::F32) append(out.bytes, value);
    if (out.dtype == DType::F16) append(out.bytes, half);
    if (out.dtype == DType::BF16) append(out.bytes, bfloat);
    const float widened = std::bit_cast<float>(static_cast<uint32_t>(bfloat) << 16);
    out.values.push_back(out.dtype == DType::F32   ? static_cast<double>(value)
                         : out.dtype == DType::F16 ? half_value(half)
                                                   : static_cast<double>(widened));
    out.rounded.push_back(static_cast<float>(out.values.back()));
  }
}

}  // namespace

RandomWeight random_weight(Trial& trial, DType dtype, int64_t rows, int64_t cols, bool extreme) {
  RandomWeight out{dtype, rows, cols, {}, {}, {}};
  switch (dtype) {
#define LLAVA_BLOCKS(T, elements, ...) \
  case DType::T: add_blocks<Block##T>(out, trial.random, elements, extreme); break;
    LLAVA_QUANTISED(LLAVA_BLOCKS)
#undef LLAVA_BLOCKS
    default: add_floats(out, trial.random);
  }
  return out;
}

std::vector<std::byte> strided_bytes(const RandomWeight& weight, int64_t stride) {
  const int64_t row = row_bytes(weight.dtype, weight.cols);
  std::vector<std::byte> out(static_cast<size_t>((weight.rows - 1) * stride + row), std::byte{0xFF});
  for (int64_t r = 0; r < weight.rows; r++) std::copy_n(weight.bytes.begin() + r * row, row, out.begin() + r * stride);
  return out;
}

}  // namespace llava::testing
