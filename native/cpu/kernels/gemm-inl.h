// f32 GEMM and GEMV over Vec, included once per ISA inside its target region, after the ISA's gemm_tile<MR, NV>: MR rows x NV vectors of c.

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

// One row, NV vectors of c: as many chains of fma, each in order of k.
template <int NV>
inline void gemm_f16_row(int64_t k, const float* a, const uint16_t* b, int64_t ldb, float* c, bool accumulate) {
  F sum[NV];
#pragma GCC unroll 8
  for (int j = 0; j < NV; j++) sum[j] = accumulate ? Vec::load(c + j * kLanes) : Vec::zero();
  for (int64_t p = 0; p < k; p++, b += ldb) {
    const F x = Vec::set1(a[p]);
#pragma GCC unroll 8
    for (int j = 0; j < NV; j++) sum[j] = Vec::fma(x, Vec::load_f16(reinterpret_cast<const unsigned char*>(b + j * kLanes)), sum[j]);
  }
#pragma GCC unroll 8
  for (int j = 0; j < NV; j++) Vec::store(c + j * kLanes, sum[j]);
}

void gemm_f16(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const uint16_t* b, int64_t ldb, float* c, int64_t ldc, bool accumulate) noexcept {
  for (int64_t i = 0; i < m; i++) {
    int64_t j = 0;
    for (; j + 4 * kLanes <= n; j += 4 * kLanes) gemm_f16_row<4>(k, a + i * lda, b + j, ldb, c + i * ldc + j, accumulate);
    for (; j < n; j += kLanes) gemm_f16_row<1>(k, a + i * lda, b + j, ldb, c + i * ldc + j, accumulate);
  }
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

// Rows follow each other in memory. Of 0, 4, 16 and 32 KB, 16 read fastest on Zen 4 with two threads: 0.82 -> 0.93 of the peak of plain reads in F16.
constexpr int64_t kGemvAhead = 16 << 10;

template <class W>
inline void gemv(const void* w, int64_t stride, int64_t rows, int64_t k, const float* x, float* y) {
  for (int64_t r = 0; r < rows; r++) {
    const unsigned char* row = static_cast<const unsigned char*>(w) + r * stride;
    F sum[4] = {Vec::zero(), Vec::zero(), Vec::zero(), Vec::zero()};  // four chains hide the latency of fma
    int64_t p = 0;
    for (; p + 4 * kLanes <= k; p += 4 * kLanes) {
      for (int line = 0; line < 4 * kLanes * W::kBytes; line += 64) __builtin_prefetch(row + p * W::kBytes + kGemvAhead + line, 0, 2);
#pragma GCC unroll 4
      for (int j = 0; j < 4; j++) sum[j] = Vec::fma(W::load(row + (p + j * kLanes) * W::kBytes), Vec::load(x + p + j * kLanes), sum[j]);
    }
    for (; p + kLanes <= k; p += kLanes) sum[0] = Vec::fma(W::load(row + p * W::kBytes), Vec::load(x + p), sum[0]);
    float total = Vec::sum(Vec::add(Vec::add(sum[0], sum[1]), Vec::add(sum[2], sum[3])));
    for (; p < k; p++) total += W::one(row, p) * x[p];
    y[r] = total;
  }
}

// Squares of kLanes rows and columns, and what is left one by one.
template <class W>
inline void transpose(const void* src, int64_t stride, int64_t rows, int64_t columns, float* dst, int64_t ld) {
  const auto* from = static_cast<const unsigned char*>(src);
  const int64_t whole_rows = rows / kLanes * kLanes, whole_columns = columns / kLanes * kLanes;
  for (int64_t r = 0; r < whole_rows; r += kLanes) {
    for (int64_t k = 0; k < whole_columns; k += kLanes) {
      F row[kLanes];
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; i++) row[i] = W::load(from + (r + i) * stride + k * W::kBytes);
      Vec::transpose(row);
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; i++) Vec::store(dst + (k + i) * ld + r, row[i]);
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

void gemv_f32(const void* w, int64_t stride, int64_t rows, int64_t k, const float* x, float* y) noexcept { gemv<WeightF32>(w, stride, rows, k, x, y); }
void gemv_f16(const void* w, int64_t stride, int64_t rows, int64_t k, const float* x, float* y) noexcept { gemv<WeightF16>(w, stride, rows, k, x, y); }
void gemv_bf16(const void* w, int64_t stride, int64_t rows, int64_t k, const float* x, float* y) noexcept { gemv<WeightBf16>(w, stride, rows, k, x, y); }

// Slots whose bodies every ISA takes from the -inl.h files.
void fill_shared(KernelTable& t) {
  t.expand_f16 = expand_f16;
  t.expand_bf16 = expand_bf16;
  t.expand_Q4_0 = expand_Q4_0;
  t.expand_Q8_0 = expand_Q8_0;
  t.narrow_f16 = narrow_f16;
  t.transpose_f32 = transpose_f32;
  t.transpose_f16 = transpose_f16;
  t.transpose_bf16 = transpose_bf16;
  t.gemm_f32 = gemm_f32;
  t.gemm_f16 = gemm_f16;
  t.gemv_f32 = gemv_f32;
  t.gemv_f16 = gemv_f16;
  t.gemv_bf16 = gemv_bf16;
  t.rms_norm = rms_norm;
  t.layer_norm = layer_norm;
  t.add = add;
  t.scale = scale;
  t.finish_rows = finish_rows;
  t.quick_gelu = quick_gelu;
  t.gelu = gelu;
  t.gelu_tanh = gelu_tanh;
  t.silu_mul = silu_mul;
  t.online_softmax = online_softmax;
  t.rope_half = rope_half;
  t.rope_interleaved = rope_interleaved;
}
