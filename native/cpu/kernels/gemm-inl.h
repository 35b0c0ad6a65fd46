// f32 GEMM and GEMV over Vec, included once per ISA inside its target region, after the ISA's gemm_tile<MR, NV>: MR rows x NV vectors of c.
//   Both add an output's products by fma in order of k: the same bits.

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

// Rows lie one after another: memory is fetched line by line in their order, well before the step that reads it across as many rows as there are lanes,
// which are more streams than a hardware prefetcher follows. 16 to 256 KB ahead measured on Zen 4: from 128 KB on lines are lost again before they are read.
constexpr int64_t kGemvAhead = 32 << 10;

// y[t][rows] = w[rows, k] · x[t] for up to kGroups * kLanes rows and kTokens tokens, of which the last ones may be one. A lane for each row, which so adds its
// products in order; groups, or tokens, hide the latency of fma. A square of weights is turned once for all tokens.
template <class W, int kGroups, int kTokens>
inline void gemv_lanes(const unsigned char* w, int64_t stride, int64_t rows, int64_t k, int64_t tokens, const float* x, int64_t ldx, float* y, int64_t ldy) {
  F sum[kGroups][kTokens];
  const float* values[kTokens];
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; t++) {
    values[t] = x + std::min<int64_t>(t, tokens - 1) * ldx;
#pragma GCC unroll 2
    for (int g = 0; g < kGroups; g++) sum[g][t] = Vec::zero();
  }
  int64_t p = 0;
  for (; p + W::kColumns <= k; p += W::kColumns) {
    constexpr int64_t kStepBytes = kGroups * kLanes * W::kColumns * W::kBytes;
#pragma GCC unroll 32
    for (int64_t line = 0; line < kStepBytes; line += 64) __builtin_prefetch(w + kGemvAhead + p / W::kColumns * kStepBytes + line, 0, 2);
    W square[kGroups];
#pragma GCC unroll 2
    for (int g = 0; g < kGroups; g++) square[g].load(w + g * kLanes * stride + p * W::kBytes, stride, rows - g * kLanes);
#pragma GCC unroll 32
    for (int i = 0; i < W::kColumns; i++) {
#pragma GCC unroll 2
      for (int g = 0; g < kGroups; g++) {
        const F column = square[g].column(i);
#pragma GCC unroll 8
        for (int t = 0; t < kTokens; t++) sum[g][t] = Vec::fma(Vec::set1(values[t][p + i]), column, sum[g][t]);
      }
    }
  }
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; t++) {
    if (t >= tokens) break;
#pragma GCC unroll 2
    for (int g = 0; g < kGroups; g++) {
      if (rows >= (g + 1) * kLanes) {
        Vec::store(y + t * ldy + g * kLanes, sum[g][t]);
      } else {
        Vec::store_part(y + t * ldy + g * kLanes, sum[g][t], rows - g * kLanes);
      }
    }
    for (int64_t rest = p; rest < k; rest++) {
      for (int64_t r = 0; r < rows; r++) y[t * ldy + r] = __builtin_fmaf(values[t][rest], W::one(w + r * stride, rest), y[t * ldy + r]);
    }
  }
}

template <class W>
inline void gemv(const void* w, int64_t stride, int64_t rows, int64_t k, int64_t tokens, const float* x, int64_t ldx, float* y, int64_t ldy) {
  constexpr int64_t kRows = Vec::kGemvGroups * kLanes;
  const auto* from = static_cast<const unsigned char*>(w);
  int64_t r = 0;
  for (; tokens == 1 && r + kRows <= rows; r += kRows) gemv_lanes<W, Vec::kGemvGroups, 1>(from + r * stride, stride, kRows, k, 1, x, ldx, y + r, ldy);
  for (; r < rows; r += kLanes) {
    const unsigned char* set = from + r * stride;
    const int64_t height = std::min<int64_t>(kLanes, rows - r);
    int64_t t = 0;
    for (; t + 4 < tokens; t += 8) gemv_lanes<W, 1, 8>(set, stride, height, k, std::min<int64_t>(8, tokens - t), x + t * ldx, ldx, y + t * ldy + r, ldy);
    for (; t + 1 < tokens; t += 4) gemv_lanes<W, 1, 4>(set, stride, height, k, std::min<int64_t>(4, tokens - t), x + t * ldx, ldx, y + t * ldy + r, ldy);
    if (t < tokens) gemv_lanes<W, 1, 1>(set, stride, height, k, 1, x + t * ldx, ldx, y + t * ldy + r, ldy);
  }
}

// Whole squares, and what is left one by one.
template <class W>
inline void transpose(const void* src, int64_t stride, int64_t rows, int64_t columns, float* dst, int64_t ld) {
  const auto* from = static_cast<const unsigned char*>(src);
  const int64_t whole_rows = rows / kLanes * kLanes, whole_columns = columns / W::kColumns * W::kColumns;
  for (int64_t r = 0; r < whole_rows; r += kLanes) {
    for (int64_t k = 0; k < whole_columns; k += W::kColumns) {
      W square;
      square.load(from + r * stride + k * W::kBytes, stride, kLanes);
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

void gemv_f32(const void* w, int64_t stride, int64_t rows, int64_t k, int64_t tokens, const float* x, int64_t ldx, float* y, int64_t ldy) noexcept {
  gemv<WeightF32>(w, stride, rows, k, tokens, x, ldx, y, ldy);
}
void gemv_f16(const void* w, int64_t stride, int64_t rows, int64_t k, int64_t tokens, const float* x, int64_t ldx, float* y, int64_t ldy) noexcept {
  gemv<WeightF16>(w, stride, rows, k, tokens, x, ldx, y, ldy);
}
void gemv_bf16(const void* w, int64_t stride, int64_t rows, int64_t k, int64_t tokens, const float* x, int64_t ldx, float* y, int64_t ldy) noexcept {
  gemv<WeightBf16>(w, stride, rows, k, tokens, x, ldx, y, ldy);
}

// Slots whose bodies every ISA takes from the -inl.h files.
void fill_shared(KernelTable& t) {
  t.expand_f16 = expand_f16;
  t.expand_bf16 = expand_bf16;
  t.expand_Q4_0 = expand_Q4_0;
  t.expand_Q8_0 = expand_Q8_0;
  t.narrow_f16 = narrow_f16;
  t.expand_keys_q8 = expand_keys_q8;
  t.expand_values_q8 = expand_values_q8;
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
