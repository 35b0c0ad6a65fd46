// Products of rows of float weights, as they lie in the file, with tokens; over Vec, included once per ISA inside its
// target region.
//   Lanes run along a row: nothing is transposed, and rows are read in the file's order. An output has kLanes sums,
//   which come together, in pairs of halves, after each stretch of kGemvStretch columns; the stretches are added in
//   order. So a row's result depends neither on its company nor on how its stretches are shared out over calls.
#pragma once

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

template <int kHeight, int kTokens>
inline void add_products(F (&sum)[kTokens][kHeight], const F (&x)[kTokens], int row, F weights) {
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; t++) sum[t][row] = Vec::fma(x[t], weights, sum[t][row]);
}

// Up to kHeight rows of at most a stretch of columns. As many bytes as are read here are fetched from `fetched` on,
// unless it is null, in the file's order: the rows are as many streams, of which a hardware prefetcher sees little
// before each page ends.
struct Stretch {
  const unsigned char* w;
  int64_t stride;
  int64_t rows;
  int64_t k;
  const unsigned char* fetched;
};

// y[kTokens][rows] (+)= the stretch · kTokens tokens
template <class W, int kHeight, int kTokens>
inline void gemv_tile(const Stretch& w, const float* x, int64_t ldx, const Product& y) {
  const unsigned char* row[kHeight];
#pragma GCC unroll 8
  for (int r = 0; r < kHeight; r++) row[r] = w.w + (r < w.rows ? r : 0) * w.stride;
  F sum[kTokens][kHeight];
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; t++) {
#pragma GCC unroll 8
    for (int r = 0; r < kHeight; r++) sum[t][r] = Vec::zero();
  }
  F values[kTokens];
  int64_t p = 0;
  for (; p + kLanes <= w.k; p += kLanes) {
    if (w.fetched != nullptr && p % (64 / W::kBytes) == 0) {
#pragma GCC unroll 8
      for (int r = 0; r < kHeight; r++) __builtin_prefetch(w.fetched + kHeight * p * W::kBytes + 64 * r, 0, 2);
    }
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; t++) values[t] = Vec::load(x + t * ldx + p);
#pragma GCC unroll 8
    for (int r = 0; r < kHeight; r++) add_products<kHeight, kTokens>(sum, values, r, W::load(row[r] + p * W::kBytes));
  }
  if (p < w.k) {
    const auto rest = static_cast<size_t>((w.k - p) * W::kBytes);
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; t++) values[t] = Vec::load_part(x + t * ldx + p, w.k - p);
#pragma GCC unroll 8
    for (int r = 0; r < kHeight; r++) {
      unsigned char part[kLanes * W::kBytes] = {};
      std::memcpy(part, row[r] + p * W::kBytes, rest);
      add_products<kHeight, kTokens>(sum, values, r, W::load(part));
    }
  }
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; t++) {
#pragma GCC unroll 2
    for (int set = 0; set < kHeight; set += 4) {
      float total[4];
      Vec::sums_4(sum[t] + set, total);
#pragma GCC unroll 4
      for (int r = 0; r < 4; r++) {
        float& out = y.y[t * y.ldy + set + r];
        if (set + r < w.rows) out = y.accumulate ? out + total[r] : total[r];
      }
    }
  }
}

// The last tokens, fewer than there are in a tile, by the tile of exactly that height.
template <class W, int kHeight, int kTokens>
inline void gemv_rest(const Stretch& w, int64_t tokens, const float* x, int64_t ldx, const Product& y) {
  if constexpr (kTokens > 0) {
    if (tokens == kTokens) {
      gemv_tile<W, kHeight, kTokens>(w, x, ldx, y);
    } else {
      gemv_rest<W, kHeight, kTokens - 1>(w, tokens, x, ldx, y);
    }
  }
}

// Up to kHeight rows with all tokens, stretch after stretch.
template <class W, int kHeight, int kTokens>
inline void gemv_stretches(const FloatRows& w, const FloatTokens& x, const Product& y) {
  for (int64_t p = 0; p < w.k; p += kGemvStretch) {
    Stretch stretch = {static_cast<const unsigned char*>(w.w) + p * W::kBytes, w.stride, w.rows,
                       std::min<int64_t>(kGemvStretch, w.k - p),
                       static_cast<const unsigned char*>(w.next) + kHeight * p * W::kBytes};
    const bool accumulate = y.accumulate || p > 0;
    int64_t t = 0;
    for (; t + kTokens <= x.count; t += kTokens, stretch.fetched = nullptr)
      gemv_tile<W, kHeight, kTokens>(stretch, x.x + t * x.ldx + p, x.ldx, {y.y + t * y.ldy, y.ldy, accumulate});
    gemv_rest<W, kHeight, kTokens - 1>(stretch, x.count - t, x.x + t * x.ldx + p, x.ldx,
                                       {y.y + t * y.ldy, y.ldy, accumulate});
  }
}

// kHeight rows at a time; what comes after the last of them begins at w.next.
template <class W, int kHeight, int kTokens>
inline void gemv_sets(const FloatRows& w, const FloatTokens& x, const Product& y) {
  const auto* from = static_cast<const unsigned char*>(w.w);
  for (int64_t r = 0; r < w.rows; r += kHeight, from += kHeight * w.stride) {
    const void* next = r + kHeight < w.rows ? from + kHeight * w.stride : w.next;
    gemv_stretches<W, kHeight, kTokens>({from, w.stride, std::min<int64_t>(kHeight, w.rows - r), w.k, next}, x,
                                        {y.y + r, y.ldy, y.accumulate});
  }
}

// A token alone meets more rows side by side: their lines are on their way together.
template <class W>
inline void gemv(const FloatRows& w, const FloatTokens& x, const Product& y) {
  if (x.count == 1) {
    gemv_sets<W, 8, 1>(w, x, y);
  } else {
    gemv_sets<W, 4, Vec::kGemvTokens>(w, x, y);
  }
}

void gemv_f32(const FloatRows& w, const FloatTokens& x, const Product& y) noexcept { gemv<FloatsF32>(w, x, y); }
void gemv_f16(const FloatRows& w, const FloatTokens& x, const Product& y) noexcept { gemv<FloatsF16>(w, x, y); }
void gemv_bf16(const FloatRows& w, const FloatTokens& x, const Product& y) noexcept { gemv<FloatsBf16>(w, x, y); }
