// f32 times binary16 for a few rows, over Vec, included once per ISA inside its target region. The same sums as
// gemm_f32's (gemm-inl.h), bit for bit.
#pragma once

// Row i, NV vectors from column j on: as many chains of fma, each in order of k. b is short and what comes next lies
// elsewhere: no hardware prefetcher is fast enough.
template <int NV>
inline void gemm_f16_tile(const Gemm<float, uint16_t>& g, int64_t i, int64_t j, const unsigned char* next) {
  const float* a = g.a + i * g.lda;
  const uint16_t* b = g.b + j;
  float* c = g.c + i * g.ldc + j;
  next += j * sizeof(uint16_t);
  F sum[NV];
#pragma GCC unroll 8
  for (int v = 0; v < NV; v++) sum[v] = g.accumulate ? Vec::load(c + v * kLanes) : Vec::zero();
  for (int64_t p = 0; p < g.k; p++, b += g.ldb, next += g.ldb * sizeof(uint16_t)) {
#pragma GCC unroll 4
    for (int line = 0; line < NV * kLanes * 2; line += 64) __builtin_prefetch(next + line, 0, 2);
    const F x = Vec::set1(a[p]);
#pragma GCC unroll 8
    for (int v = 0; v < NV; v++)
      sum[v] = Vec::fma(x, Vec::load_f16(reinterpret_cast<const unsigned char*>(b + v * kLanes)), sum[v]);
  }
#pragma GCC unroll 8
  for (int v = 0; v < NV; v++) Vec::store(c + v * kLanes, sum[v]);
}

// As many tiles as fit from column j on; returns the column behind them.
template <int NV>
inline int64_t gemm_f16_columns(const Gemm<float, uint16_t>& g, int64_t i, int64_t j, const unsigned char* next) {
  for (; j + NV * kLanes <= g.n; j += NV * kLanes) gemm_f16_tile<NV>(g, i, j, next);
  return j;
}

void gemm_f16(const Gemm<float, uint16_t>& g, const void* next) noexcept {
  const auto* ahead = static_cast<const unsigned char*>(next);
  for (int64_t i = 0; i < g.m; i++) {
    int64_t j = gemm_f16_columns<8>(g, i, 0, ahead);
    j = gemm_f16_columns<4>(g, i, j, ahead);
    gemm_f16_columns<1>(g, i, j, ahead);
  }
}
