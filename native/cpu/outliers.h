// Outliers of activations (block_float.h), which stand in no int8 block: y[t, n] += value * weight[n, column], in
// float, after the other products. Many tokens of a prompt have theirs in the same few columns of x, so a column of
// weights is read once for all of them.
#pragma once
#include <algorithm>
#include <atomic>
#include <bit>
#include <iterator>
#include <new>
#include <span>

#include "common/blocks.h"
#include "common/dtype.h"
#include "cpu/block_float.h"

namespace llava::cpu {

// The columns in which outliers of some tokens stand, ascending, and the place of each among them.
class OutlierColumns {
 public:
  static constexpr uint64_t bytes(int64_t columns) {  // of memory
    return static_cast<uint64_t>((8 * (1 + words(columns)) + 4 * 2 * columns + 63) / 64 * 64);
  }

  OutlierColumns(std::byte* memory, int64_t columns)
      : words_(words(columns)),
        number_(reinterpret_cast<int64_t*>(memory)),
        bits_(reinterpret_cast<std::atomic<uint64_t>*>(number_ + 1)),
        columns_(reinterpret_cast<int32_t*>(bits_ + words_)),
        place_(columns_ + columns) {}

  void clear() {
    *number_ = 0;
    for (int64_t i = 0; i < words_; i++) new (bits_ + i) std::atomic<uint64_t>(0);
  }
  // From any thread.
  void add(int64_t column) { bits_[column / 64].fetch_or(uint64_t{1} << column % 64, std::memory_order_relaxed); }
  // Once all are added; returns how many they are.
  int64_t number() {
    for (int64_t i = 0; i < words_; i++) {
      for (uint64_t left = bits_[i].load(std::memory_order_relaxed); left != 0; left &= left - 1) {
        const int64_t column = i * 64 + std::countr_zero(left);
        columns_[*number_] = static_cast<int32_t>(column);
        place_[column] = static_cast<int32_t>((*number_)++);
      }
    }
    return *number_;
  }

  int64_t place(int64_t column) const { return place_[column]; }
  // Those in [first, end).
  std::span<const int32_t> between(int64_t first, int64_t end) const {
    int32_t* const all_end = columns_ + *number_;
    return {std::lower_bound(columns_, all_end, first), std::lower_bound(columns_, all_end, end)};
  }

 private:
  static constexpr int64_t words(int64_t columns) { return (columns + 63) / 64; }

  int64_t words_;
  int64_t* number_;
  std::atomic<uint64_t>* bits_;  // one for each column of x
  int32_t* columns_;             // [number]
  int32_t* place_;               // of each column of x that is among them
};

// A token of zeros but for a one: its product with rows of quantised weights is a column of them, cut out as the CPU
// does it best.
class OneHot {
 public:
  OneHot() { std::fill(std::begin(origin_), std::end(origin_), kOrigin); }
  // out[16] = weight `column` of 16 rows that lie `stride` bytes apart
  void column_of(decltype(KernelTable::gemv_Q4_0) gemv, DType dtype, const std::byte* rows, int64_t stride,
                 int64_t column, float* out) {
    const int64_t at = column % traits(dtype).elements;
    const std::byte* block = rows + row_bytes(dtype, column - at);
    q_[at] = 1;
    sum_[at / 16] = 1;
    gemv({block, stride, traits(dtype).elements / kBlock, block}, q_, origin_, sum_, out);
    q_[at] = 0;
    sum_[at / 16] = 0;
  }

 private:
  alignas(64) int8_t q_[kSuperBlock] = {};
  float origin_[kSuperBlock / kBlock];
  int32_t sum_[kSuperBlock / 16] = {};
};

}  // namespace llava::cpu
