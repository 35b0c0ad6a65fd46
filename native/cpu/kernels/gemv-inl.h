// Products of rows of float weights, as they lie in the file, with tokens; over Vec, included once per ISA inside its
// target region.
//   Lanes run along a row: nothing is transposed, and rows are read in the file's order. An output has kLanes sums,
//   which come together, in pairs of halves, after each stretch of kGemvStretch columns; the stretches are added in
//   order. So a row's result depends neither on its company nor on how its stretches are shared out over calls.

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

template <int kRows, int kTokens>
inline void add_products(F (&sum)[kTokens][kRows], const F (&x)[kTokens], int row, F weights) {
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; t++) sum[t][row] = Vec::fma(x[t], weights, sum[t][row]);
}

// y[kTokens][rows] (+)= up to kRows rows · kTokens tokens, over at most a stretch of columns. As many bytes as are read
// here are fetched from `fetched` on, unless it is null, in the file's order: the rows are as many streams, of which a
// hardware prefetcher sees little before each page ends.
template <class W, int kRows, int kTokens>
inline void gemv_tile(const unsigned char* w, int64_t stride, int64_t rows, int64_t k, const unsigned char* fetched,
                      const float* x, int64_t ldx, float* y, int64_t ldy, bool accumulate) {
  const unsigned char* row[kRows];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; r++) row[r] = w + (r < rows ? r : 0) * stride;
  F sum[kTokens][kRows];
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; t++) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; r++) sum[t][r] = Vec::zero();
  }
  F values[kTokens];
  int64_t p = 0;
  for (; p + kLanes <= k; p += kLanes) {
    if (fetched != nullptr && p % (64 / W::kBytes) == 0) {
#pragma GCC unroll 8
      for (int r = 0; r < kRows; r++) __builtin_prefetch(fetched + kRows * p * W::kBytes + 64 * r, 0, 2);
    }
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; t++) values[t] = Vec::load(x + t * ldx + p);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; r++) add_products<kRows, kTokens>(sum, values, r, W::load(row[r] + p * W::kBytes));
  }
  if (p < k) {
    const auto rest = static_cast<size_t>((k - p) * W::kBytes);
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; t++) values[t] = Vec::load_part(x + t * ldx + p, k - p);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; r++) {
      unsigned char part[kLanes * W::kBytes] = {};
      std::memcpy(part, row[r] + p * W::kBytes, rest);
      add_products<kRows, kTokens>(sum, values, r, W::load(part));
    }
  }
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; t++) {
#pragma GCC unroll 2
    for (int set = 0; set < kRows; set += 4) {
      float total[4];
      Vec::sums_4(sum[t] + set, total);
#pragma GCC unroll 4
      for (int r = 0; r < 4; r++) {
        float& out = y[t * ldy + set + r];
        if (set + r < rows) out = accumulate ? out + total[r] : total[r];
      }
    }
  }
}

// Of up to kRows rows all tokens, stretch after stretch: the last tokens < kTokens by the tile of exactly that height.
template <class W, int kRows, int kTokens>
inline void gemv_rest(int64_t tokens, const unsigned char* w, int64_t stride, int64_t rows, int64_t k,
                      const unsigned char* fetched, const float* x, int64_t ldx, float* y, int64_t ldy,
                      bool accumulate) {
  if constexpr (kTokens > 0) {
    if (tokens == kTokens) {
      gemv_tile<W, kRows, kTokens>(w, stride, rows, k, fetched, x, ldx, y, ldy, accumulate);
    } else {
      gemv_rest<W, kRows, kTokens - 1>(tokens, w, stride, rows, k, fetched, x, ldx, y, ldy, accumulate);
    }
  }
}
template <class W, int kRows, int kTokens>
inline void gemv_stretches(const unsigned char* w, int64_t stride, int64_t rows, int64_t k, const unsigned char* next,
                           int64_t tokens, const float* x, int64_t ldx, float* y, int64_t ldy, bool accumulate) {
  for (int64_t p = 0; p < k; p += kGemvStretch) {
    const int64_t width = std::min<int64_t>(kGemvStretch, k - p);
    const unsigned char* stretch = w + p * W::kBytes;
    const unsigned char* fetched = next + kRows * p * W::kBytes;
    int64_t t = 0;
    for (; t + kTokens <= tokens; t += kTokens, fetched = nullptr) {
      gemv_tile<W, kRows, kTokens>(stretch, stride, rows, width, fetched, x + t * ldx + p, ldx, y + t * ldy, ldy,
                                   accumulate || p > 0);
    }
    gemv_rest<W, kRows, kTokens - 1>(tokens - t, stretch, stride, rows, width, fetched, x + t * ldx + p, ldx,
                                     y + t * ldy, ldy, accumulate || p > 0);
  }
}

// kRows rows at a time, what comes after the last of which begins at `next`.
template <class W, int kRows, int kTokens>
inline void gemv_sets(const void* w, int64_t stride, int64_t rows, int64_t k, const void* next, int64_t tokens,
                      const float* x, int64_t ldx, float* y, int64_t ldy, bool accumulate) {
  const auto* from = static_cast<const unsigned char*>(w);
  for (int64_t r = 0; r < rows; r += kRows, from += kRows * stride) {
    const auto* next_rows = r + kRows < rows ? from + kRows * stride : static_cast<const unsigned char*>(next);
    gemv_stretches<W, kRows, kTokens>(from, stride, std::min<int64_t>(kRows, rows - r), k, next_rows, tokens, x, ldx,
                                      y + r, ldy, accumulate);
  }
}

// A token alone meets more rows side by side: their lines are on their way together.
template <class W>
inline void gemv(const void* w, int64_t stride, int64_t rows, int64_t k, const void* next, int64_t tokens,
                 const float* x, int64_t ldx, float* y, int64_t ldy, bool accumulate) {
  if (tokens == 1) {
    gemv_sets<W, 8, 1>(w, stride, rows, k, next, 1, x, ldx, y, ldy, accumulate);
  } else {
    gemv_sets<W, 4, Vec::kGemvTokens>(w, stride, rows, k, next, tokens, x, ldx, y, ldy, accumulate);
  }
}

void gemv_f32(const void* w, int64_t stride, int64_t rows, int64_t k, const void* next, int64_t tokens, const float* x,
              int64_t ldx, float* y, int64_t ldy, bool accumulate) noexcept {
  gemv<FloatsF32>(w, stride, rows, k, next, tokens, x, ldx, y, ldy, accumulate);
}
void gemv_f16(const void* w, int64_t stride, int64_t rows, int64_t k, const void* next, int64_t tokens, const float* x,
              int64_t ldx, float* y, int64_t ldy, bool accumulate) noexcept {
  gemv<FloatsF16>(w, stride, rows, k, next, tokens, x, ldx, y, ldy, accumulate);
}
void gemv_bf16(const void* w, int64_t stride, int64_t rows, int64_t k, const void* next, int64_t tokens, const float* x,
               int64_t ldx, float* y, int64_t ldy, bool accumulate) noexcept {
  gemv<FloatsBf16>(w, stride, rows, k, next, tokens, x, ldx, y, ldy, accumulate);
}
