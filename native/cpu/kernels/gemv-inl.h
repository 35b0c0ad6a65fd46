// Products of rows of float weights, as they lie in the file, with tokens; over Vec, included once per ISA inside its target region, the last of those that fill_shared lists.
//   Lanes run along a row: nothing is transposed, and rows are read in the file's order. An output has kLanes sums, which come together, in pairs of halves,
//   after each stretch of kGemvStretch columns; the stretches are added in order. So a row's result depends neither on its company nor on how its stretches
//   are shared out over calls.

struct FloatsF32 {
  static constexpr int kBytes = 4;
  static F load(const void* p) { return Vec::load(static_cast<const float*>(p)); }
};
struct FloatsF16 {
  static constexpr int kBytes = 2;
  static F load(const void* p) { return Vec::load_f16(p); }
};
struct FloatsBf16 {
  static constexpr int kBytes = 2;
  static F load(const void* p) { return Vec::load_bf16(p); }
};

constexpr int kGemvRows = 4;  // side by side: with fewer, the sums of a token alone would wait for each other

template <int kTokens>
inline void add_products(F (&sum)[kTokens][kGemvRows], const F (&x)[kTokens], int row, F weights) {
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; t++) sum[t][row] = Vec::fma(x[t], weights, sum[t][row]);
}

// y[kTokens][rows] (+)= up to four rows · kTokens tokens, over at most a stretch of columns. What will be read
// later begins at `fetched`, unless it is null.
template <class W, int kTokens>
inline void gemv_tile(const unsigned char* w, int64_t stride, int64_t rows, int64_t k, const unsigned char* fetched, const float* x, int64_t ldx, float* y, int64_t ldy,
                      bool accumulate) {
  const unsigned char* row[kGemvRows];
#pragma GCC unroll 4
  for (int r = 0; r < kGemvRows; r++) row[r] = w + (r < rows ? r : 0) * stride;
  F sum[kTokens][kGemvRows];
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; t++) {
#pragma GCC unroll 4
    for (int r = 0; r < kGemvRows; r++) sum[t][r] = Vec::zero();
  }
  F values[kTokens];
  int64_t p = 0;
  for (; p + kLanes <= k; p += kLanes) {
    if (fetched != nullptr && p % (64 / W::kBytes) == 0) {
#pragma GCC unroll 4
      for (int r = 0; r < kGemvRows; r++) __builtin_prefetch(fetched + kGemvRows * p * W::kBytes + 64 * r, 0, 2);
    }
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; t++) values[t] = Vec::load(x + t * ldx + p);
#pragma GCC unroll 4
    for (int r = 0; r < kGemvRows; r++) add_products<kTokens>(sum, values, r, W::load(row[r] + p * W::kBytes));
  }
  if (p < k) {
    const auto rest = static_cast<size_t>((k - p) * W::kBytes);
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; t++) values[t] = Vec::load_part(x + t * ldx + p, k - p);
#pragma GCC unroll 4
    for (int r = 0; r < kGemvRows; r++) {
      unsigned char part[kLanes * W::kBytes] = {};
      std::memcpy(part, row[r] + p * W::kBytes, rest);
      add_products<kTokens>(sum, values, r, W::load(part));
    }
  }
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; t++) {
    float total[kGemvRows];
    Vec::sums_4(sum[t], total);
#pragma GCC unroll 4
    for (int r = 0; r < kGemvRows; r++) {
      if (r < rows) y[t * ldy + r] = accumulate ? y[t * ldy + r] + total[r] : total[r];
    }
  }
}

// The last tokens < kTokens, by the tile of exactly that height.
template <class W, int kTokens>
inline void gemv_rest(int64_t tokens, const unsigned char* w, int64_t stride, int64_t rows, int64_t k, const unsigned char* fetched, const float* x, int64_t ldx, float* y,
                      int64_t ldy, bool accumulate) {
  if constexpr (kTokens > 0) {
    if (tokens == kTokens) {
      gemv_tile<W, kTokens>(w, stride, rows, k, fetched, x, ldx, y, ldy, accumulate);
    } else {
      gemv_rest<W, kTokens - 1>(tokens, w, stride, rows, k, fetched, x, ldx, y, ldy, accumulate);
    }
  }
}

template <class W>
inline void gemv(const void* w, int64_t stride, int64_t rows, int64_t k, const void* next, int64_t tokens, const float* x, int64_t ldx, float* y, int64_t ldy, bool accumulate) {
  constexpr int kTokens = Vec::kGemvTokens;
  const auto* from = static_cast<const unsigned char*>(w);
  for (int64_t r = 0; r < rows; r += kGemvRows, from += kGemvRows * stride) {
    const int64_t height = std::min<int64_t>(kGemvRows, rows - r);
    const auto* next_rows = r + kGemvRows < rows ? from + kGemvRows * stride : static_cast<const unsigned char*>(next);
    for (int64_t p = 0; p < k; p += kGemvStretch) {
      const int64_t width = std::min<int64_t>(kGemvStretch, k - p);
      const unsigned char* stretch = from + p * W::kBytes;
      const unsigned char* fetched = next_rows == nullptr ? nullptr : next_rows + kGemvRows * p * W::kBytes;
      int64_t t = 0;
      for (; t + kTokens <= tokens; t += kTokens, fetched = nullptr) {
        gemv_tile<W, kTokens>(stretch, stride, height, width, fetched, x + t * ldx + p, ldx, y + t * ldy + r, ldy, accumulate || p > 0);
      }
      gemv_rest<W, kTokens - 1>(tokens - t, stretch, stride, height, width, fetched, x + t * ldx + p, ldx, y + t * ldy + r, ldy, accumulate || p > 0);
    }
  }
}

void gemv_f32(const void* w, int64_t stride, int64_t rows, int64_t k, const void* next, int64_t tokens, const float* x, int64_t ldx, float* y, int64_t ldy,
              bool accumulate) noexcept {
  gemv<FloatsF32>(w, stride, rows, k, next, tokens, x, ldx, y, ldy, accumulate);
}
void gemv_f16(const void* w, int64_t stride, int64_t rows, int64_t k, const void* next, int64_t tokens, const float* x, int64_t ldx, float* y, int64_t ldy,
              bool accumulate) noexcept {
  gemv<FloatsF16>(w, stride, rows, k, next, tokens, x, ldx, y, ldy, accumulate);
}
void gemv_bf16(const void* w, int64_t stride, int64_t rows, int64_t k, const void* next, int64_t tokens, const float* x, int64_t ldx, float* y, int64_t ldy,
              bool accumulate) noexcept {
  gemv<FloatsBf16>(w, stride, rows, k, next, tokens, x, ldx, y, ldy, accumulate);
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
