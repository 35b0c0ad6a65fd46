// f32 times binary16 for a few rows, over Vec, included once per ISA inside its target region. The same sums as
// gemm_f32's (gemm-inl.h), bit for bit.

// One row, NV vectors of c: as many chains of fma, each in order of k. b is short and what comes next lies elsewhere:
// no hardware prefetcher is fast enough.
template <int NV>
inline void gemm_f16_row(int64_t k, const float* a, const uint16_t* b, int64_t ldb, const unsigned char* next, float* c,
                         bool accumulate) {
  F sum[NV];
#pragma GCC unroll 8
  for (int j = 0; j < NV; j++) sum[j] = accumulate ? Vec::load(c + j * kLanes) : Vec::zero();
  for (int64_t p = 0; p < k; p++, b += ldb, next += ldb * sizeof(uint16_t)) {
#pragma GCC unroll 4
    for (int line = 0; line < NV * kLanes * 2; line += 64) __builtin_prefetch(next + line, 0, 2);
    const F x = Vec::set1(a[p]);
#pragma GCC unroll 8
    for (int j = 0; j < NV; j++)
      sum[j] = Vec::fma(x, Vec::load_f16(reinterpret_cast<const unsigned char*>(b + j * kLanes)), sum[j]);
  }
#pragma GCC unroll 8
  for (int j = 0; j < NV; j++) Vec::store(c + j * kLanes, sum[j]);
}

template <int NV>
inline int64_t gemm_f16_columns(int64_t j, int64_t n, int64_t k, const float* a, const uint16_t* b, int64_t ldb,
                                const unsigned char* next, float* c, bool accumulate) {
  for (; j + NV * kLanes <= n; j += NV * kLanes)
    gemm_f16_row<NV>(k, a, b + j, ldb, next + j * sizeof(uint16_t), c + j, accumulate);
  return j;
}

void gemm_f16(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const uint16_t* b, int64_t ldb,
              const void* next, float* c, int64_t ldc, bool accumulate) noexcept {
  for (int64_t i = 0; i < m; i++, a += lda, c += ldc) {
    const auto* ahead = static_cast<const unsigned char*>(next);
    int64_t j = gemm_f16_columns<8>(0, n, k, a, b, ldb, ahead, c, accumulate);
    j = gemm_f16_columns<4>(j, n, k, a, b, ldb, ahead, c, accumulate);
    gemm_f16_columns<1>(j, n, k, a, b, ldb, ahead, c, accumulate);
  }
}
