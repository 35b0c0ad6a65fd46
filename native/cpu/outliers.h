// Outliers of activations (block_float.h), which stand in no int8 block: y[t, n] += value * weight[n, column], in
// float, after the other products.
//   Many tokens of a prompt have theirs in the same few columns of x, so a column of weights is read once for all of
//   them.
#pragma once
#include <algorithm>
#include <atomic>
#include <bit>
#include <iterator>
#include <new>

#include "common/blocks.h"
#include "common/dtype.h"
#include "cpu/block_float.h"

namespace llava::cpu {

// The columns in which outliers of some tokens stand, and the place of each among them: a bit for each column of x, and
// for each word the bits before it.
class OutlierColumns {
 public:
  static constexpr int64_t kWordColumns = 64;
  static constexpr int64_t words(int64_t columns) { return (columns + kWordColumns - 1) / kWordColumns; }
  // of memory
  static constexpr uint64_t bytes(int64_t columns) {
    return static_cast<uint64_t>((words(columns) * 16 + 63) / 64 * 64);
  }

  OutlierColumns(std::byte* memory, int64_t columns)
      : words_(words(columns)),
        bits_(reinterpret_cast<std::atomic<uint64_t>*>(memory)),
        before_(reinterpret_cast<int64_t*>(bits_ + words_)) {}

  void clear() {
    for (int64_t i = 0; i < words_; i++) new (bits_ + i) std::atomic<uint64_t>(0);
  }
  // From any thread.
  void add(int64_t column) { bits_[column / kWordColumns].fetch_or(bit(column), std::memory_order_relaxed); }
  // Once all are added; returns how many there are.
  int64_t number() {
    int64_t total = 0;
    for (int64_t i = 0; i < words_; total += std::popcount(word(i)), i++) before_[i] = total;
    return total;
  }
  int64_t place(int64_t column) const {
    return before_[column / kWordColumns] + std::popcount(word(column / kWordColumns) & (bit(column) - 1));
  }

  // Those in [first, end), which begins with a word: visit(column, place).
  template <class Visit>
  void for_each(int64_t first, int64_t end, const Visit& visit) const {
    for (int64_t i = first / kWordColumns; i < words(end); i++) {
      int64_t place = before_[i];
      for (uint64_t left = word(i); left != 0; left &= left - 1)
        visit(i * kWordColumns + std::countr_zero(left), place++);
    }
  }

 private:
  static uint64_t bit(int64_t column) { return uint64_t{1} << column % kWordColumns; }
  uint64_t word(int64_t i) const { return bits_[i].load(std::memory_order_relaxed); }

  int64_t words_;
  std::atomic<uint64_t>* bits_;
  int64_t* before_;
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
    gemv(block, stride, traits(dtype).elements / kBlock, block, q_, origin_, sum_, out);
    q_[at] = 0;
    sum_[at / 16] = 0;
  }

 private:
  alignas(64) int8_t q_[kSuperBlock] = {};
  float origin_[kSuperBlock / kBlock];
  int32_t sum_[kSuperBlock / 16] = {};
};

}  // namespace llava::cpu
