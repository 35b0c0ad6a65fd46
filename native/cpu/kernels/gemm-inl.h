// f32 GEMM over Vec, included once per ISA inside its target region, after the ISA's gemm_tile<MR, NV>: MR rows x NV
// vectors of c.
//   An output's products are added by fma in order of k.

// The last m < kTileRows rows, by the tile of exactly that height.
template <int MR, int NV>
inline void gemm_rest(int64_t m, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
                      int64_t ldc, bool accumulate) {
  if constexpr (MR > 0) {
    if (m == MR) {
      gemm_tile<MR, NV>(k, a, lda, b, ldb, c, ldc, accumulate);
    } else {
      gemm_rest<MR - 1, NV>(m, k, a, lda, b, ldb, c, ldc, accumulate);
    }
  }
}

template <int NV>
inline void gemm_columns(int64_t m, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
                         int64_t ldc, bool accumulate) {
  constexpr int kMR = Vec::kTileRows;
  int64_t i = 0;
  for (; i + kMR <= m; i += kMR) gemm_tile<kMR, NV>(k, a + i * lda, lda, b, ldb, c + i * ldc, ldc, accumulate);
  gemm_rest<kMR - 1, NV>(m - i, k, a + i * lda, lda, b, ldb, c + i * ldc, ldc, accumulate);
}

void gemm_f32(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
              int64_t ldc, bool accumulate) noexcept {
  int64_t j = 0;
  for (; j + 2 * kLanes <= n; j += 2 * kLanes) gemm_columns<2>(m, k, a, lda, b + j, ldb, c + j, ldc, accumulate);
  // n is a multiple of 16: never a part of a vector
  if (j < n) gemm_columns<1>(m, k, a, lda, b + j, ldb, c + j, ldc, accumulate);
}
