// f32 GEMM and GEMV over Vec, included once per ISA inside its target region.
//   Tile: MR rows x NV vectors of c stay in registers; for each k: NV vectors of b, MR broadcasts of a, MR * NV fused multiply-adds.
//   Rows of a are addressed from every third row (base, base + lda, base + 2 lda), so that 12 rows need 4 pointers.
//   Where products take one element of a vector (Vec::kByElement), the including file brings a gemm_tile of its own, before this one.

template <int MR, int NV, class V = Vec>
  requires(!V::kByElement)
inline void gemm_tile(int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc, bool accumulate) {
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
  for (int64_t p = 0; p < k; p++, b += ldb) {
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

// How a weight row is read, as types.
struct WeightF32 {
  static constexpr int kBytes = 4;
  static F load(const unsigned char* p) { return Vec::load(reinterpret_cast<const float*>(p)); }
  static float one(const void* p, int64_t i) { return reference::weight_f32(p, i); }
};
struct WeightF16 {
  static constexpr int kBytes = 2;
  static F load(const unsigned char* p) { return Vec::load_f16(p); }
  static float one(const void* p, int64_t i) { return reference::weight_f16(p, i); }
};
struct WeightBf16 {
  static constexpr int kBytes = 2;
  static F load(const unsigned char* p) { return Vec::load_bf16(p); }
  static float one(const void* p, int64_t i) { return reference::weight_bf16(p, i); }
};

template <class W>
inline void gemv(const void* w, int64_t stride, int64_t rows, int64_t k, const float* x, float* y) {
  for (int64_t r = 0; r < rows; r++) {
    const unsigned char* row = static_cast<const unsigned char*>(w) + r * stride;
    F sum[4] = {Vec::zero(), Vec::zero(), Vec::zero(), Vec::zero()};  // four chains hide the latency of fma
    int64_t p = 0;
    for (; p + 4 * kLanes <= k; p += 4 * kLanes) {
      __builtin_prefetch(row + (p + 256) * W::kBytes);
#pragma GCC unroll 4
      for (int j = 0; j < 4; j++) sum[j] = Vec::fma(W::load(row + (p + j * kLanes) * W::kBytes), Vec::load(x + p + j * kLanes), sum[j]);
    }
    for (; p + kLanes <= k; p += kLanes) sum[0] = Vec::fma(W::load(row + p * W::kBytes), Vec::load(x + p), sum[0]);
    float total = Vec::sum(Vec::add(Vec::add(sum[0], sum[1]), Vec::add(sum[2], sum[3])));
    for (; p < k; p++) total += W::one(row, p) * x[p];
    y[r] = total;
  }
}

void gemv_f32(const void* w, int64_t stride, int64_t rows, int64_t k, const float* x, float* y) noexcept { gemv<WeightF32>(w, stride, rows, k, x, y); }
void gemv_f16(const void* w, int64_t stride, int64_t rows, int64_t k, const float* x, float* y) noexcept { gemv<WeightF16>(w, stride, rows, k, x, y); }
void gemv_bf16(const void* w, int64_t stride, int64_t rows, int64_t k, const float* x, float* y) noexcept { gemv<WeightBf16>(w, stride, rows, k, x, y); }

// Slots whose bodies both ISAs take from the -inl.h files.
void fill_shared(KernelTable& t) {
  t.expand_f16 = expand_f16;
  t.expand_bf16 = expand_bf16;
  t.expand_Q4_0 = expand_Q4_0;
  t.expand_Q8_0 = expand_Q8_0;
  t.narrow_f16 = narrow_f16;
  t.gemm_f32 = gemm_f32;
  t.gemv_f32 = gemv_f32;
  t.gemv_f16 = gemv_f16;
  t.gemv_bf16 = gemv_bf16;
  t.rms_norm = rms_norm;
  t.layer_norm = layer_norm;
  t.add = add;
  t.scale = scale;
  t.quick_gelu = quick_gelu;
  t.gelu = gelu;
  t.silu_mul = silu_mul;
  t.online_softmax = online_softmax;
  t.rope_half = rope_half;
  t.rope_interleaved = rope_interleaved;
}
