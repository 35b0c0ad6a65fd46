// Rows of f32 to every element type and back, included once per instruction set in a namespace of its own
// (quantise.cc). Plain C++ that a compiler turns into vectors: lanes are trials or values side by side, and are added
// up in one order, so every build gives the same bytes.

// As wide as any of them has; a compiler splits them where registers are narrower.
constexpr int kLanes = 8;
using F = float __attribute__((vector_size(32)));
using I = int32_t __attribute__((vector_size(32)));

[[gnu::always_inline]] inline F splat(float x) { return F{x, x, x, x, x, x, x, x}; }
[[gnu::always_inline]] inline F load(const float* x) {
  F v;
  std::memcpy(&v, x, sizeof v);
  return v;
}
[[gnu::always_inline]] inline float total(const F& v) {
  return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

// --- Q4_0 Q4_1 Q5_0 Q5_1 Q8_0

uint32_t magnitude_bits(float x) { return std::bit_cast<uint32_t>(x) & 0x7FFFFFFFu; }

// Bits of max |x|; a NaN is larger than everything.
uint32_t largest_magnitude(const float* x, int64_t n) noexcept {
  int32_t largest = 0;
  for (int64_t i = 0; i < n; i++) largest = std::max(largest, static_cast<int32_t>(magnitude_bits(x[i])));
  return static_cast<uint32_t>(largest);
}

// The first value of that magnitude, with its sign.
float signed_largest(const float* x) {
  const uint32_t largest = largest_magnitude(x, kBlock);
  int i = 0;
  while (magnitude_bits(x[i]) != largest) i++;
  return x[i];
}

// min and max of a block; NaN when it holds one.
struct Range {
  float min, max;
};
Range range_of(const float* x) {
  Range range{x[0], x[0]};
  for (int i = 1; i < kBlock; i++) {
    range.min = x[i] < range.min ? x[i] : range.min;
    range.max = x[i] > range.max ? x[i] : range.max;
  }
  if (largest_magnitude(x, kBlock) > 0x7F800000u) range.min = range.max = std::bit_cast<float>(0x7FC00000u);
  return range;
}

float inverse_of(float d) { return d == 0 ? 0.0f : 1.0f / d; }

// codes[i] = trunc((x[i] - origin) * inverse + half), at most `most`. A scale whose inverse overflows codes everything
// as 0, as the reference does.
void codes_of(const float* x, float origin, float inverse, float half, int most, uint8_t* codes) {
  if (!std::isfinite(inverse)) return static_cast<void>(std::memset(codes, 0, kBlock));
  for (int i = 0; i < kBlock; i++) {
    const float t = (x[i] - origin) * inverse + half;
    const int code = static_cast<int>(t > 0 ? t : 0.0f);  // NaN (infinity times 0) to 0
    codes[i] = static_cast<uint8_t>(code < most ? code : most);
  }
}

template <class Block>
void pack(const uint8_t* codes, Block& block) {
  for (int i = 0; i < 16; i++) block.qs[i] = static_cast<uint8_t>((codes[i] & 15) | codes[i + 16] << 4);
  if constexpr (requires { block.qh; }) {
    std::memset(block.qh, 0, sizeof block.qh);
    for (int i = 0; i < kBlock; i++) block.qh[i / 8] = static_cast<uint8_t>(block.qh[i / 8] | codes[i] >> 4 << i % 8);
  }
}

// y = d * (code - middle), d = v / -middle for the value v of largest magnitude: it takes the end that has one code
// more.
template <class Block>
void encode_around(const float* x, int middle, Block& block) {
  uint8_t codes[kBlock];
  const auto half = static_cast<float>(middle);
  const float d = signed_largest(x) / -half;
  codes_of(x, 0.0f, inverse_of(d), half + 0.5f, 2 * middle - 1, codes);
  block.d = float_to_half(d);
  pack(codes, block);
}

// y = d * code + m, from the smallest value to the largest.
template <class Block>
void encode_between(const float* x, int most, Block& block) {
  uint8_t codes[kBlock];
  const Range range = range_of(x);
  const float d = (range.max - range.min) / static_cast<float>(most);
  codes_of(x, range.min, inverse_of(d), 0.5f, most, codes);
  block.d = float_to_half(d);
  block.m = float_to_half(range.min);
  pack(codes, block);
}

void encode(const float* x, BlockQ4_0& block) { encode_around(x, 8, block); }
void encode(const float* x, BlockQ5_0& block) { encode_around(x, 16, block); }
void encode(const float* x, BlockQ4_1& block) { encode_between(x, 15, block); }
void encode(const float* x, BlockQ5_1& block) { encode_between(x, 31, block); }

// Halves are rounded away from zero: to the whole part of |x| / d, one is added where what is left is at least 1/2.
void encode(const float* x, BlockQ8_0& block) {
  const float d = std::bit_cast<float>(largest_magnitude(x, kBlock)) / 127.0f, inverse = inverse_of(d);
  block.d = float_to_half(d);
  if (!std::isfinite(inverse)) return static_cast<void>(std::memset(block.qs, 0, kBlock));
  int32_t codes[kBlock];
  for (int i = 0; i < kBlock; i += kLanes) {
    const F v = load(x + i) * splat(inverse);
    const I sign = __builtin_bit_cast(I, v) >> 31;
    F a = __builtin_bit_cast(F, __builtin_bit_cast(I, v) & 0x7FFFFFFF);
    a = a < splat(128) ? a : splat(0);  // infinity times 0 is NaN
    const I whole = __builtin_convertvector(a, I);
    const I code = whole - (a - __builtin_convertvector(whole, F) >= splat(0.5f));  // true is -1
    const I with_sign = (code ^ sign) - sign;
    std::memcpy(codes + i, &with_sign, sizeof with_sign);
  }
  for (int i = 0; i < kBlock; i++) block.qs[i] = static_cast<int8_t>(codes[i]);
}

// --- K blocks
// Codes stay whole-number floats until they are packed.

// Nearest whole number in [lo, hi], NaN to lo: adding 1.5 * 2^23 leaves no room for a fraction.
[[gnu::always_inline]] inline F nearest(const F& v, const F& lo, const F& hi) {
  const F above = v > lo ? v : lo, inside = above < hi ? above : hi;
  return (inside + splat(12582912.0f)) - splat(12582912.0f);
}
float nearest(float v, float lo, float hi) { return nearest(splat(v), splat(lo), splat(hi))[0]; }

float rounded_to_half(float x) { return half_to_float(float_to_half(x)); }

// Below this a group's values are as good as 0: their scale would vanish in binary16.
constexpr float kNothing = 1e-20f;

// How far the searches stray from the plain scale, as codes at the far end. 16 trials side by side; 61 find 1.3 % less
// root mean square error at most (normal and Student-t rows, all K types), at a third of the speed.
const F kTrials[2] = {0.13f * F{0, 1, 2, 3, 4, 5, 6, 7}, 0.13f * F{-1, -2, -3, -4, -5, -6, -7, -8}};

int best_lane(const F& score) {
  int best = 0;
  for (int lane = 1; lane < kLanes; lane++) best = score[lane] > score[best] ? lane : best;
  return best;
}

// x ~ scale * code, code in [lo, hi]: the scale that loses least of sum w x^2.
template <int N>
float search_scale(const float* x, const float* w, float lo, float hi) {
  float v = 0;
  for (int i = 0; i < N; i++) v = std::fabs(x[i]) > std::fabs(v) ? x[i] : v;
  if (!(std::fabs(v) > kNothing)) return 0;
  F best = splat(0), scale = splat(0);
  for (const F& trial : kTrials) {
    const F inverse = (splat(lo) + trial) / splat(v);
    F wxq = splat(0), wqq = splat(0);
    for (int i = 0; i < N; i++) {
      const F q = nearest(splat(x[i]) * inverse, splat(lo), splat(hi)), wq = splat(w[i]) * q;
      wxq += wq * splat(x[i]);
      wqq += wq * q;
    }
    const F fitted = wxq / wqq, explained = wxq * fitted;  // least squares; NaN where every code is 0
    const I better = explained > best;
    best = better ? explained : best;
    scale = better ? fitted : scale;
  }
  return scale[best_lane(best)];
}

struct Affine {
  float scale, min;  // x ~ scale * code - min, min >= 0
};

// The same with an offset, code in [0, hi]: a line through (code, x) by weighted least squares for each trial.
template <int N>
Affine search_affine(const float* x, const float* w, float hi) {
  float least = 0, most = x[0], W = 0, Wx = 0;
  for (int i = 0; i < N; i++) {
    least = x[i] < least ? x[i] : least;
    most = x[i] > most ? x[i] : most;
    W += w[i];
    Wx += w[i] * x[i];
  }
  if (!(most - least > kNothing)) return {0, -least};
  F best = splat(-1), scale = splat(0), offset = splat(least);
  for (const F& trial : kTrials) {
    const F inverse = (splat(hi) + trial) / splat(most - least);
    F wq = splat(0), wqq = splat(0), wxq = splat(0);
    for (int i = 0; i < N; i++) {
      const F q = nearest(splat(x[i] - least) * inverse, splat(0), splat(hi)), weighted = splat(w[i]) * q;
      wq += weighted;
      wqq += weighted * q;
      wxq += weighted * splat(x[i]);
    }
    const F determinant = splat(W) * wqq - wq * wq;
    F slope = (splat(W) * wxq - splat(Wx) * wq) / determinant, start = (wqq * splat(Wx) - wq * wxq) / determinant;
    // one code for all (up to the rounding of the sums), or a negative min, which there is none of: the line goes
    // through the origin
    const I through_origin = (determinant <= splat(1e-5f) * splat(W) * wqq) | (start > splat(0));
    start = through_origin ? splat(0) : start;
    slope = through_origin ? wxq / wqq : slope;
    const F explained = slope * wxq + start * splat(Wx);
    const I better = (slope > splat(0)) & (explained > best);
    best = better ? explained : best;
    scale = better ? slope : scale;
    offset = better ? start : offset;
  }
  const int lane = best_lane(best);
  return {scale[lane], -offset[lane]};
}

// A K block's codes and whole-number scales; d and dmin as binary16 gives them back.
template <int groups>
struct Fit {
  float d = 0, dmin = 0, error = 0;
  float scale[groups] = {}, min[groups] = {};  // whole numbers
  float codes[kSuperBlock] = {};
};

// Weighted squared error of one group coded as x ~ scale * code - min; `codes` may be null.
template <int N>
float code_group(const float* x, const float* w, float scale, float min, float lo, float hi, float* codes) {
  const F inverse = splat(scale == 0 ? 0.0f : 1.0f / scale);
  F error = splat(0);
  for (int i = 0; i < N; i += kLanes) {
    const F target = load(x + i) + splat(min), q = nearest(target * inverse, splat(lo), splat(hi));
    const F missed = target - splat(scale) * q;
    error += load(w + i) * missed * missed;
    if (codes != nullptr) std::memcpy(codes + i, &q, sizeof q);
  }
  return total(error);
}

// Given d and dmin, each group takes the best of its whole-number scales and mins, at most `reach` from those it asks
// for.
template <int groups>
void settle(const float* x, const float* w, const Affine* wanted, float lo, float hi, float scale_lo, float scale_hi,
            bool mins, float reach, Fit<groups>& fit) {
  constexpr int N = kSuperBlock / groups;
  const float inverse_d = inverse_of(fit.d), inverse_dmin = inverse_of(fit.dmin);
  fit.error = 0;
  for (int g = 0; g < groups; g++) {
    const float* gx = x + g * N;
    const float* gw = w + g * N;
    const float near_scale = nearest(wanted[g].scale * inverse_d, scale_lo, scale_hi);
    const float near_min = mins ? nearest(wanted[g].min * inverse_dmin, scale_lo, scale_hi) : 0;
    float best = -1;
    for (float scale = std::max(near_scale - reach, scale_lo); scale <= std::min(near_scale + reach, scale_hi);
         scale++) {
      for (float min = mins ? std::max(near_min - reach, scale_lo) : 0;
           min <= (mins ? std::min(near_min + reach, scale_hi) : 0); min++) {
        const float error = code_group<N>(gx, gw, fit.d * scale, fit.dmin * min, lo, hi, nullptr);
        if (best >= 0 && !(error < best)) continue;
        best = error;
        fit.scale[g] = scale;
        fit.min[g] = min;
      }
    }
    fit.error += code_group<N>(gx, gw, fit.d * fit.scale[g], fit.dmin * fit.min[g], lo, hi, fit.codes + g * N);
  }
}

// d and dmin by least squares for the codes and whole numbers at hand: x ~ d * (scale * code) - dmin * min.
template <int groups>
void refit(const float* x, const float* w, Fit<groups>& fit) {
  constexpr int N = kSuperBlock / groups;
  double uu = 0, uv = 0, vv = 0, xu = 0, xv = 0;
  for (int g = 0; g < groups; g++) {
    F w_all = splat(0), wq = splat(0), wqq = splat(0), wx = splat(0), wxq = splat(0);
    for (int i = g * N; i < (g + 1) * N; i += kLanes) {
      const F weight = load(w + i), q = load(fit.codes + i), value = load(x + i);
      w_all += weight;
      wq += weight * q;
      wqq += weight * q * q;
      wx += weight * value;
      wxq += weight * value * q;
    }
    const double scale = fit.scale[g], min = fit.min[g];
    uu += scale * scale * total(wqq);
    uv += scale * min * total(wq);
    vv += min * min * total(w_all);
    xu += scale * total(wxq);
    xv += min * total(wx);
  }
  const double determinant = uu * vv - uv * uv;
  if (determinant > 0) {
    fit.d = rounded_to_half(static_cast<float>((xu * vv - xv * uv) / determinant));
    fit.dmin = rounded_to_half(static_cast<float>(std::max(0.0, (xu * uv - xv * uu) / determinant)));
  } else if (uu > 0) {
    fit.d = rounded_to_half(static_cast<float>(xu / uu));
  }
}

// Scales and mins wanted by the groups -> d, dmin and whole numbers -> the least-squares d and dmin for those, where
// they lose less.
template <int groups>
Fit<groups> fit_block(const float* x, const float* w, const Affine* wanted, float lo, float hi, float scale_lo,
                      float scale_hi, bool mins) {
  float largest = 0, largest_min = 0;
  for (int g = 0; g < groups; g++) {
    largest = std::fabs(wanted[g].scale) > std::fabs(largest) ? wanted[g].scale : largest;
    largest_min = wanted[g].min > largest_min ? wanted[g].min : largest_min;
  }
  Fit<groups> fit;
  fit.d = rounded_to_half(largest / (scale_lo < 0 ? scale_lo : scale_hi));  // the end with one number more
  fit.dmin = rounded_to_half(largest_min / scale_hi);
  settle<groups>(x, w, wanted, lo, hi, scale_lo, scale_hi, mins, 0, fit);
  Fit<groups> better = fit;
  refit<groups>(x, w, better);
  settle<groups>(x, w, wanted, lo, hi, scale_lo, scale_hi, mins, 1, better);
  return better.error < fit.error ? better : fit;
}

// Large weights of a row matter more in a product than small ones: error counts by x^2.
Fit<16> fit_symmetric(const float* x, float lo, float hi, float scale_lo, float scale_hi) {
  float w[kSuperBlock];
  Affine wanted[16];
  for (int i = 0; i < kSuperBlock; i++) w[i] = x[i] * x[i];
  for (int g = 0; g < 16; g++) wanted[g] = {search_scale<16>(x + 16 * g, w + 16 * g, lo, hi), 0};
  return fit_block<16>(x, w, wanted, lo, hi, scale_lo, scale_hi, false);
}

// With a min, values near 0 are as far from a code as others: the group's root mean square evens the weights out.
template <int groups>
Fit<groups> fit_affine(const float* x, float hi, float scale_hi) {
  constexpr int N = kSuperBlock / groups;
  float w[kSuperBlock];
  Affine wanted[groups];
  for (int g = 0; g < groups; g++) {
    float squares = 0;
    for (int i = g * N; i < (g + 1) * N; i++) squares += x[i] * x[i];
    const float size = std::sqrt(squares / N);
    for (int i = g * N; i < (g + 1) * N; i++) w[i] = size + std::fabs(x[i]);
    wanted[g] = search_affine<N>(x + g * N, w + g * N, hi);
  }
  return fit_block<groups>(x, w, wanted, 0, hi, 0, scale_hi, true);
}

uint8_t byte_of(float whole) { return static_cast<uint8_t>(static_cast<int>(whole)); }

void encode(const float* x, BlockQ2_K& block) {
  const Fit<16> fit = fit_affine<16>(x, 3, 15);
  block = {};
  block.d = float_to_half(fit.d);
  block.dmin = float_to_half(fit.dmin);
  for (int g = 0; g < 16; g++) block.scales[g] = static_cast<uint8_t>(byte_of(fit.scale[g]) | byte_of(fit.min[g]) << 4);
  for (int i = 0; i < kSuperBlock; i++)
    block.qs[32 * (i / 128) + i % 32] |= static_cast<uint8_t>(byte_of(fit.codes[i]) << 2 * (i % 128 / 32));
}

void encode(const float* x, BlockQ3_K& block) {
  const Fit<16> fit = fit_symmetric(x, -4, 3, -32, 31);
  block = {};
  block.d = float_to_half(fit.d);
  for (int g = 0; g < 16; g++) {
    const int six = static_cast<int>(fit.scale[g]) + 32;
    block.scales[g % 8] |= static_cast<uint8_t>((six & 15) << 4 * (g / 8));
    block.scales[8 + g % 4] |= static_cast<uint8_t>(six >> 4 << 2 * (g / 4));
  }
  for (int i = 0; i < kSuperBlock; i++) {
    const int code = static_cast<int>(fit.codes[i]) + 4;
    block.qs[32 * (i / 128) + i % 32] |= static_cast<uint8_t>((code & 3) << 2 * (i % 128 / 32));
    block.hmask[i % 32] |= static_cast<uint8_t>(code >> 2 << i / 32);
  }
}

// Eight 6-bit scales and mins: k_scale and k_min of blocks.h, backwards.
void pack_scales(const Fit<8>& fit, uint8_t* s) {
  for (int j = 0; j < 4; j++) {
    const int scale = byte_of(fit.scale[j]), min = byte_of(fit.min[j]), scale4 = byte_of(fit.scale[j + 4]),
              min4 = byte_of(fit.min[j + 4]);
    s[j] = static_cast<uint8_t>(scale | scale4 >> 4 << 6);
    s[j + 4] = static_cast<uint8_t>(min | min4 >> 4 << 6);
    s[j + 8] = static_cast<uint8_t>((scale4 & 15) | (min4 & 15) << 4);
  }
}

void encode(const float* x, BlockQ4_K& block) {
  const Fit<8> fit = fit_affine<8>(x, 15, 63);
  block = {};
  block.d = float_to_half(fit.d);
  block.dmin = float_to_half(fit.dmin);
  pack_scales(fit, block.scales);
  for (int i = 0; i < kSuperBlock; i++)
    block.qs[32 * (i / 64) + i % 32] |= static_cast<uint8_t>(byte_of(fit.codes[i]) << 4 * (i / 32 % 2));
}

void encode(const float* x, BlockQ5_K& block) {
  const Fit<8> fit = fit_affine<8>(x, 31, 63);
  block = {};
  block.d = float_to_half(fit.d);
  block.dmin = float_to_half(fit.dmin);
  pack_scales(fit, block.scales);
  for (int i = 0; i < kSuperBlock; i++) {
    const int code = byte_of(fit.codes[i]);
    block.qs[32 * (i / 64) + i % 32] |= static_cast<uint8_t>((code & 15) << 4 * (i / 32 % 2));
    block.qh[i % 32] |= static_cast<uint8_t>(code >> 4 << i / 32);
  }
}

void encode(const float* x, BlockQ6_K& block) {
  const Fit<16> fit = fit_symmetric(x, -32, 31, -128, 127);
  block = {};
  block.d = float_to_half(fit.d);
  for (int g = 0; g < 16; g++) block.scales[g] = static_cast<int8_t>(fit.scale[g]);
  for (int i = 0; i < kSuperBlock; i++) {
    const int h = i / 128, r = i % 128, code = static_cast<int>(fit.codes[i]) + 32;
    block.ql[64 * h + r % 64] |= static_cast<uint8_t>((code & 15) << 4 * (r / 64));
    block.qh[32 * h + r % 32] |= static_cast<uint8_t>(code >> 4 << 2 * (r / 32));
  }
}

// --- rows

template <class Block, int values>
void encode_blocks(const float* src, int64_t n, std::byte* dst) {
  for (int64_t at = 0; at < n; at += values, dst += sizeof(Block)) {
    Block block;
    encode(src + at, block);
    std::memcpy(dst, &block, sizeof block);
  }
}

// 16 values share a scale and a min in every type.
template <class Block, int values>
void decode_blocks(const std::byte* src, int64_t n, float* dst) {
  for (int64_t at = 0; at < n; at += values, src += sizeof(Block)) {
    Block block;
    std::memcpy(&block, src, sizeof block);
    for (int first = 0; first < values; first += 16) {
      const float scale = block.scale(first), min = block.min(first);
      for (int i = first; i < first + 16; i++) dst[at + i] = scale * static_cast<float>(block.code(i)) + min;
    }
  }
}

template <class To, To (*convert)(float)>
void narrow(const float* src, int64_t n, std::byte* dst) {
  for (int64_t i = 0; i < n; i++) {
    const To value = convert(src[i]);
    std::memcpy(dst + i * static_cast<int64_t>(sizeof(To)), &value, sizeof(To));
  }
}

template <float (*convert)(uint16_t)>
void widen(const std::byte* src, int64_t n, float* dst) {
  for (int64_t i = 0; i < n; i++) {
    uint16_t bits;
    std::memcpy(&bits, src + 2 * i, sizeof bits);
    dst[i] = convert(bits);
  }
}

void encode_row(DType dtype, const float* src, int64_t n, std::byte* dst) noexcept {
  switch (dtype) {
    case DType::F32: std::memcpy(dst, src, static_cast<size_t>(n) * sizeof(float)); return;
    case DType::F16: return narrow<uint16_t, float_to_half>(src, n, dst);
    case DType::BF16: return narrow<uint16_t, float_to_bfloat>(src, n, dst);
#define LLAVA_ENCODE(T, elements, ...) \
  case DType::T: return encode_blocks<Block##T, elements>(src, n, dst);
      LLAVA_QUANTISED(LLAVA_ENCODE)
#undef LLAVA_ENCODE
  }
}

void decode_row(DType dtype, const std::byte* src, int64_t n, float* dst) noexcept {
  switch (dtype) {
    case DType::F32: std::memcpy(dst, src, static_cast<size_t>(n) * sizeof(float)); return;
    case DType::F16: return widen<half_to_float>(src, n, dst);
    case DType::BF16: return widen<bfloat_to_float>(src, n, dst);
#define LLAVA_DECODE(T, elements, ...) \
  case DType::T: return decode_blocks<Block##T, elements>(src, n, dst);
      LLAVA_QUANTISED(LLAVA_DECODE)
#undef LLAVA_DECODE
  }
}
