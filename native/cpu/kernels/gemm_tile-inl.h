// The register tile of f32 GEMM for ISAs that broadcast from memory.
//   MR rows x NV vectors of c stay in registers; for each k: NV vectors of b, MR broadcasts of a, MR * NV fused
//   multiply-adds. Rows of a are addressed from every third row (base, base + lda, base + 2 lda), so that 12 rows need
//   4 pointers.
#pragma once

template <int MR, int NV>
inline void gemm_tile(int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc,
                      bool accumulate) {
  constexpr int kBases = (MR + 2) / 3;
  F sum[MR][NV];
#pragma GCC unroll 12
  for (int i = 0; i < MR; i++) {
#pragma GCC unroll 4
    for (int j = 0; j < NV; j++) sum[i][j] = accumulate ? Vec::load(c + i * ldc + j * kLanes) : Vec::zero();
  }
  const float* base[kBases];
#pragma GCC unroll 4
  for (int i = 0; i < kBases; i++) base[i] = a + 3 * i * lda;
  // of the next tile, a line at a time: MR short streams are beyond the hardware's prefetcher
  const float* next_rows = a + MR * lda;
  for (int64_t p = 0; p < k; p++, b += ldb) {
    __builtin_prefetch(next_rows + p % 16 * lda + p / 16 * 16, 0, 3);
    F weight[NV];
#pragma GCC unroll 4
    for (int j = 0; j < NV; j++) weight[j] = Vec::load(b + j * kLanes);
#pragma GCC unroll 12
    for (int i = 0; i < MR; i++) {
      const F x = Vec::set1(base[i / 3][i % 3 * lda]);
#pragma GCC unroll 4
      for (int j = 0; j < NV; j++) sum[i][j] = Vec::fma(x, weight[j], sum[i][j]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < kBases; i++) base[i]++;
  }
#pragma GCC unroll 12
  for (int i = 0; i < MR; i++) {
#pragma GCC unroll 4
    for (int j = 0; j < NV; j++) Vec::store(c + i * ldc + j * kLanes, sum[i][j]);
  }
}
