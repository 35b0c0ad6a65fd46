// f32 GEMM over Vec, included once per ISA inside its target region, after the ISA's gemm_tile<MR, NV>: MR rows x NV vectors of c.
//   An output's products are added by fma in order of k.

// The last m < kTileRows rows, by the tile of exactly that height.
template <int MR, int NV>
inline void gemm_rest(int64_t m, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc, bool accumulate) {
  if constexpr (MR > 0) {
    if (m == MR) {
      gemm_tile<MR, NV>(k, a, lda, b, ldb, c, ldc, accumulate);
    } else {
      gemm_rest<MR - 1, NV>(m, k, a, lda, b, ldb, c, ldc, accumulate);
    }
  }
}

template <int NV>
inline void gemm_columns(int64_t m, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc, bool accumulate) {
  constexpr int kMR = Vec::kTileRows;
  int64_t i = 0;
  for (; i + kMR <= m; i += kMR) gemm_tile<kMR, NV>(k, a + i * lda, lda, b, ldb, c + i * ldc, ldc, accumulate);
  gemm_rest<kMR - 1, NV>(m - i, k, a + i * lda, lda, b, ldb, c + i * ldc, ldc, accumulate);
}

void gemm_f32(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc, bool accumulate) noexcept {
  int64_t j = 0;
  for (; j + 2 * kLanes <= n; j += 2 * kLanes) gemm_columns<2>(m, k, a, lda, b + j, ldb, c + j, ldc, accumulate);
  if (j < n) gemm_columns<1>(m, k, a, lda, b + j, ldb, c + j, ldc, accumulate);  // n is a multiple of 16: never a part of a vector
}

// One row, NV vectors of c: as many chains of fma, each in order of k. b is short and what comes next lies elsewhere: no hardware prefetcher is fast enough.
template <int NV>
inline void gemm_f16_row(int64_t k, const float* a, const uint16_t* b, int64_t ldb, const unsigned char* next, float* c, bool accumulate) {
  F sum[NV];
#pragma GCC unroll 8
  for (int j = 0; j < NV; j++) sum[j] = accumulate ? Vec::load(c + j * kLanes) : Vec::zero();
  for (int64_t p = 0; p < k; p++, b += ldb, next += ldb * sizeof(uint16_t)) {
#pragma GCC unroll 4
    for (int line = 0; line < NV * kLanes * 2; line += 64) __builtin_prefetch(next + line, 0, 2);
    const F x = Vec::set1(a[p]);
#pragma GCC unroll 8
    for (int j = 0; j < NV; j++) sum[j] = Vec::fma(x, Vec::load_f16(reinterpret_cast<const unsigned char*>(b + j * kLanes)), sum[j]);
  }
#pragma GCC unroll 8
  for (int j = 0; j < NV; j++) Vec::store(c + j * kLanes, sum[j]);
}

template <int NV>
inline int64_t gemm_f16_columns(int64_t j, int64_t n, int64_t k, const float* a, const uint16_t* b, int64_t ldb, const unsigned char* next, float* c,
                                bool accumulate) {
  for (; j + NV * kLanes <= n; j += NV * kLanes) gemm_f16_row<NV>(k, a, b + j, ldb, next + j * sizeof(uint16_t), c + j, accumulate);
  return j;
}

void gemm_f16(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const uint16_t* b, int64_t ldb, const void* next, float* c, int64_t ldc,
              bool accumulate) noexcept {
  for (int64_t i = 0; i < m; i++, a += lda, c += ldc) {
    const auto* ahead = static_cast<const unsigned char*>(next);
    int64_t j = gemm_f16_columns<8>(0, n, k, a, b, ldb, ahead, c, accumulate);
    j = gemm_f16_columns<4>(j, n, k, a, b, ldb, ahead, c, accumulate);
    gemm_f16_columns<1>(j, n, k, a, b, ldb, ahead, c, accumulate);
  }
}

// kLanes rows of weights, kColumns of each, on their side: column(k) is weight k of every row. Rows from `rows` on repeat the first.
struct WeightF32 {
  static constexpr int kBytes = 4, kColumns = kLanes;
  static float one(const void* p, int64_t i) { return reference::weight_f32(p, i); }
  F weight[kLanes];
  void load(const unsigned char* w, int64_t stride, int64_t rows) {
#pragma GCC unroll 16
    for (int r = 0; r < kLanes; r++) weight[r] = Vec::load(reinterpret_cast<const float*>(w + (r < rows ? r : 0) * stride));
    Vec::transpose(weight);
  }
  F column(int k) const { return weight[k]; }
};

// Words are transposed before they are widened: half the shuffles. A step takes whole cache lines, because many rows may compete for the same sets.
struct WeightWords {
  static constexpr int kBytes = 2, kColumns = 32, kWords = 2 * kLanes;  // of a vector
  static constexpr int kApart = kLanes < 8 ? kLanes : 8;                // columns that share a vector
  Int::I word[kColumns / 2];
  void load(const unsigned char* w, int64_t stride, int64_t rows) {
#pragma GCC unroll 16
    for (int r = 0; r < kLanes; r++) {
#pragma GCC unroll 4
      for (int v = 0; v < kColumns / kWords; v++) word[v * kLanes + r] = Int::load(w + (r < rows ? r : 0) * stride + v * kWords * kBytes);
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
      // The same stretch of each row that follows this one is transposed a few panels later: too many streams for a hardware prefetcher.
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; i++) __builtin_prefetch(corner + i * stride + columns * W::kBytes, 0, 2);
      W square;
      square.load(corner, stride, kLanes);
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
