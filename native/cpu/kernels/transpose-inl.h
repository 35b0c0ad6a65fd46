// Weights on their side, as f32, over Vec and Int; included once per ISA inside its target region.
#pragma once

// kLanes rows of weights, kColumns of each, on their side: column(k) is weight k of every row.
struct WeightF32 {
  static constexpr int kBytes = 4, kColumns = kLanes;
  static float one(const void* p, int64_t i) { return reference::weight_f32(p, i); }
  F weight[kLanes];
  void load(const unsigned char* w, int64_t stride) {
#pragma GCC unroll 16
    for (int r = 0; r < kLanes; r++) weight[r] = Vec::load(reinterpret_cast<const float*>(w + r * stride));
    Vec::transpose(weight);
  }
  F column(int k) const { return weight[k]; }
};

// Words are transposed before they are widened: half the shuffles. A step takes whole cache lines, because many rows
// may compete for the same sets.
struct WeightWords {
  static constexpr int kBytes = 2, kColumns = 32, kWords = 2 * kLanes;  // of a vector
  static constexpr int kApart = kLanes < 8 ? kLanes : 8;                // columns that share a vector
  I word[kColumns / 2];
  void load(const unsigned char* w, int64_t stride) {
#pragma GCC unroll 16
    for (int r = 0; r < kLanes; r++) {
#pragma GCC unroll 4
      for (int v = 0; v < kColumns / kWords; v++)
        word[v * kLanes + r] = Int::load(w + r * stride + v * kWords * kBytes);
    }
#pragma GCC unroll 4
    for (int v = 0; v < kColumns / kWords; v++) Int::transpose_16(word + v * kLanes);
  }
  auto column_words(int k) const { return Int::half(word[k / (2 * kApart) * kApart + k % kApart], k / kApart % 2); }
};
struct WeightF16 : WeightWords {
  static float one(const void* p, int64_t i) { return reference::weight_f16(p, i); }
  F column(int k) const { return Vec::from_f16(column_words(k)); }
};
struct WeightBf16 : WeightWords {
  static float one(const void* p, int64_t i) { return reference::weight_bf16(p, i); }
  F column(int k) const { return Vec::from_bf16(column_words(k)); }
};

// Whole squares, and what is left one by one.
template <class W>
inline void transpose(const void* src, int64_t stride, int64_t rows, int64_t columns, float* dst, int64_t ld) {
  const auto* from = static_cast<const unsigned char*>(src);
  const int64_t whole_rows = rows / kLanes * kLanes, whole_columns = columns / W::kColumns * W::kColumns;
  for (int64_t r = 0; r < whole_rows; r += kLanes) {
    for (int64_t k = 0; k < whole_columns; k += W::kColumns) {
      const unsigned char* corner = from + r * stride + k * W::kBytes;
      // The same stretch of each row that follows this one is transposed a few panels later: too many streams for a
      // hardware prefetcher.
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; i++) __builtin_prefetch(corner + i * stride + columns * W::kBytes, 0, 2);
      W square;
      square.load(corner, stride);
#pragma GCC unroll 32
      for (int i = 0; i < W::kColumns; i++) Vec::store(dst + (k + i) * ld + r, square.column(i));
    }
  }
  for (int64_t k = 0; k < columns; k++) {
    for (int64_t r = k < whole_columns ? whole_rows : 0; r < rows; r++) dst[k * ld + r] = W::one(from + r * stride, k);
  }
}

void transpose_f32(const void* src, int64_t stride, int64_t rows, int64_t columns, float* dst, int64_t ld) noexcept {
  transpose<WeightF32>(src, stride, rows, columns, dst, ld);
}
void transpose_f16(const void* src, int64_t stride, int64_t rows, int64_t columns, float* dst, int64_t ld) noexcept {
  transpose<WeightF16>(src, stride, rows, columns, dst, ld);
}
void transpose_bf16(const void* src, int64_t stride, int64_t rows, int64_t columns, float* dst, int64_t ld) noexcept {
  transpose<WeightBf16>(src, stride, rows, columns, dst, ld);
}
