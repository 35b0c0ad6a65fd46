// f32 GEMM over Vec, included once per ISA inside its target region, after the ISA's gemm_tile<MR, NV>: MR rows x NV
// vectors of c.
//   An output's products are added by fma in order of k.
#pragma once

// MR rows from row i on, NV vectors from column j on.
template <int MR, int NV>
inline void gemm_tile_at(const Gemm<float>& g, int64_t i, int64_t j) {
  gemm_tile<MR, NV>(g.k, g.a + i * g.lda, g.lda, g.b + j, g.ldb, g.c + i * g.ldc + j, g.ldc, g.accumulate);
}

// The last rows, fewer than kTileRows, by the tile of exactly that height.
template <int MR, int NV>
inline void gemm_rest(const Gemm<float>& g, int64_t i, int64_t j) {
  if constexpr (MR > 0) {
    if (g.m - i == MR) {
      gemm_tile_at<MR, NV>(g, i, j);
    } else {
      gemm_rest<MR - 1, NV>(g, i, j);
    }
  }
}

template <int NV>
inline void gemm_columns(const Gemm<float>& g, int64_t j) {
  constexpr int kMR = Vec::kTileRows;
  int64_t i = 0;
  for (; i + kMR <= g.m; i += kMR) gemm_tile_at<kMR, NV>(g, i, j);
  gemm_rest<kMR - 1, NV>(g, i, j);
}

void gemm_f32(const Gemm<float>& g) noexcept {
  int64_t j = 0;
  for (; j + 2 * kLanes <= g.n; j += 2 * kLanes) gemm_columns<2>(g, j);
  // n is a multiple of 16: never a part of a vector
  if (j < g.n) gemm_columns<1>(g, j);
}
