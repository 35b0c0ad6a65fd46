// Row-wise kernels over Vec, included once per ISA inside its target region.
//   exp:  x = n ln2 + r, |r| <= ln2 / 2;  e^x = 2^n P(r), P the degree-6 polynomial of Cephes' expf (within 1 ulp of
//   exp on its range);
//         below -87.33 (results under 2^-126) it is 0, above 88 it stays at e^88.
//   erf:  x P(x^2) / Q(x^2) on [-4, 4], the rational minimax form XLA and Eigen use for float.
#pragma once

inline F exp(F x) {
  const F lowest = Vec::set1(-87.33654f);
  // the second operand is returned for NaN, so NaN stays NaN
  const F clamped = Vec::min(Vec::set1(88.0f), Vec::max(lowest, x));
  const F n = Vec::round(Vec::mul(clamped, Vec::set1(1.44269504f)));
  F r = Vec::fma(n, Vec::set1(-0.693359375f), clamped);  // ln2 in two parts, the first exact in 10 bits
  r = Vec::fma(n, Vec::set1(2.12194440e-4f), r);
  F p = Vec::set1(1.9875691500e-4f);
  p = Vec::fma(p, r, Vec::set1(1.3981999507e-3f));
  p = Vec::fma(p, r, Vec::set1(8.3334519073e-3f));
  p = Vec::fma(p, r, Vec::set1(4.1665795894e-2f));
  p = Vec::fma(p, r, Vec::set1(1.6666665459e-1f));
  p = Vec::fma(p, r, Vec::set1(5.0000001201e-1f));
  p = Vec::fma(p, Vec::mul(r, r), Vec::add(r, Vec::set1(1.0f)));
  return Vec::where_at_least(x, lowest, Vec::mul(p, Vec::pow2(n)));
}

inline F erf(F x) {
  const F t = Vec::min(Vec::max(x, Vec::set1(-4.0f)), Vec::set1(4.0f)), s = Vec::mul(t, t);
  F p = Vec::set1(-2.72614225801306e-10f);
  p = Vec::fma(p, s, Vec::set1(2.77068142495902e-08f));
  p = Vec::fma(p, s, Vec::set1(-2.10102402082508e-06f));
  p = Vec::fma(p, s, Vec::set1(-5.69250639462346e-05f));
  p = Vec::fma(p, s, Vec::set1(-7.34990630326855e-04f));
  p = Vec::fma(p, s, Vec::set1(-2.95459980854025e-03f));
  p = Vec::fma(p, s, Vec::set1(-1.60960333262415e-02f));
  F q = Vec::set1(-1.45660718464996e-05f);
  q = Vec::fma(q, s, Vec::set1(-2.13374055278905e-04f));
  q = Vec::fma(q, s, Vec::set1(-1.68282697438203e-03f));
  q = Vec::fma(q, s, Vec::set1(-7.37332916720468e-03f));
  q = Vec::fma(q, s, Vec::set1(-1.42647390514189e-02f));
  return Vec::div(Vec::mul(t, p), q);
}

// Element-wise functions as types, so that map() can take them without a lambda.
struct QuickGelu {
  static F apply(F x, F) { return Vec::div(x, Vec::add(Vec::set1(1.0f), exp(Vec::mul(Vec::set1(-1.702f), x)))); }
};
struct Gelu {
  static F apply(F x, F) {
    return Vec::mul(Vec::mul(Vec::set1(0.5f), x), Vec::add(Vec::set1(1.0f), erf(Vec::mul(x, Vec::set1(0.70710678f)))));
  }
};
// x / 2 (1 + tanh(u)) = x / (1 + e^-2u),  u = sqrt(2 / pi) (x + 0.044715 x^3)
struct GeluTanh {
  static F apply(F x, F) {
    const F cubic = Vec::mul(x, Vec::fma(Vec::set1(0.044715f), Vec::mul(x, x), Vec::set1(1.0f)));
    return Vec::div(x, Vec::add(Vec::set1(1.0f), exp(Vec::mul(Vec::set1(-1.5957691f), cubic))));
  }
};
struct SiluMul {
  static F apply(F gate, F up) {
    return Vec::mul(Vec::div(gate, Vec::add(Vec::set1(1.0f), exp(Vec::sub(Vec::zero(), gate)))), up);
  }
};
struct Add {
  static F apply(F a, F b) { return Vec::add(a, b); }
};
struct Mul {
  static F apply(F a, F b) { return Vec::mul(a, b); }
};

template <class Function>
inline void map(const float* a, const float* b, float* y, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) Vec::store(y + i, Function::apply(Vec::load(a + i), Vec::load(b + i)));
  if (i < n) Vec::store_part(y + i, Function::apply(Vec::load_part(a + i, n - i), Vec::load_part(b + i, n - i)), n - i);
}

void add(const float* a, const float* b, float* y, int64_t n) noexcept { map<Add>(a, b, y, n); }
void quick_gelu(const float* x, float* y, int64_t n) noexcept { map<QuickGelu>(x, x, y, n); }
void gelu(const float* x, float* y, int64_t n) noexcept { map<Gelu>(x, x, y, n); }
void gelu_tanh(const float* x, float* y, int64_t n) noexcept { map<GeluTanh>(x, x, y, n); }
void silu_mul(const float* gate, const float* up, float* y, int64_t n) noexcept { map<SiluMul>(gate, up, y, n); }

void scale(const float* x, float factor, float* y, int64_t n) noexcept {
  const F f = Vec::set1(factor);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) Vec::store(y + i, Vec::mul(Vec::load(x + i), f));
  if (i < n) Vec::store_part(y + i, Vec::mul(Vec::load_part(x + i, n - i), f), n - i);
}

void finish_rows(const FinishedRows& r) noexcept {
  const bool streams = r.past_caches && Vec::streams_to(r.y, r.ldy);
  for (int64_t m = 0; m < r.rows; m++) {
    const float* c = r.c + m * r.ldc;
    const float* added = r.residual != nullptr ? r.residual + m * r.ldr : nullptr;
    float* y = r.y + m * r.ldy;
    const F factor = Vec::set1(r.row_scale != nullptr ? r.scale * r.row_scale[m] : r.scale);
    int64_t i = 0;
    for (; i + kLanes <= r.n; i += kLanes) {
      F value = Vec::mul(Vec::load(c + i), factor);
      if (r.bias != nullptr) value = Vec::add(value, Vec::load(r.bias + i));
      if (added != nullptr) value = Vec::add(value, Vec::load(added + i));
      if (streams)
        Vec::stream(y + i, value);
      else
        Vec::store(y + i, value);
    }
    if (i == r.n) continue;
    const int64_t left = r.n - i;
    F value = Vec::mul(Vec::load_part(c + i, left), factor);
    if (r.bias != nullptr) value = Vec::add(value, Vec::load_part(r.bias + i, left));
    if (added != nullptr) value = Vec::add(value, Vec::load_part(added + i, left));
    Vec::store_part(y + i, value, left);
  }
  if (streams) Vec::end_stream();
}

void rms_norm(const float* x, const float* weight, float eps, float* y, int64_t n) noexcept {
  F squares = Vec::zero();
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const F v = Vec::load(x + i);
    squares = Vec::fma(v, v, squares);
  }
  if (i < n) {
    const F v = Vec::load_part(x + i, n - i);
    squares = Vec::fma(v, v, squares);
  }
  const F factor = Vec::set1(1.0f / __builtin_sqrtf(Vec::sum(squares) / static_cast<float>(n) + eps));
  for (i = 0; i + kLanes <= n; i += kLanes)
    Vec::store(y + i, Vec::mul(Vec::load(weight + i), Vec::mul(Vec::load(x + i), factor)));
  if (i < n)
    Vec::store_part(y + i, Vec::mul(Vec::load_part(weight + i, n - i), Vec::mul(Vec::load_part(x + i, n - i), factor)),
                    n - i);
}

void layer_norm(const float* x, const float* weight, const float* bias, float eps, float* y, int64_t n) noexcept {
  F total = Vec::zero();
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) total = Vec::add(total, Vec::load(x + i));
  if (i < n) total = Vec::add(total, Vec::load_part(x + i, n - i));
  const float mean = Vec::sum(total) / static_cast<float>(n);
  const F centre = Vec::set1(mean);
  F squares = Vec::zero();
  for (i = 0; i + kLanes <= n; i += kLanes) {
    const F v = Vec::sub(Vec::load(x + i), centre);
    squares = Vec::fma(v, v, squares);
  }
  float tail_squares = 0;  // masked lanes would count mean^2
  for (; i < n; i++) tail_squares += (x[i] - mean) * (x[i] - mean);
  const F factor = Vec::set1(1.0f / __builtin_sqrtf((Vec::sum(squares) + tail_squares) / static_cast<float>(n) + eps));
  for (i = 0; i + kLanes <= n; i += kLanes) {
    Vec::store(y + i, Vec::fma(Vec::mul(Vec::sub(Vec::load(x + i), centre), factor), Vec::load(weight + i),
                               Vec::load(bias + i)));
  }
  if (i < n) {
    const int64_t left = n - i;
    const F v = Vec::mul(Vec::sub(Vec::load_part(x + i, left), centre), factor);
    Vec::store_part(y + i, Vec::fma(v, Vec::load_part(weight + i, left), Vec::load_part(bias + i, left)), left);
  }
}

float online_softmax(float* s, int64_t n, float* m, float* l) noexcept {
  constexpr float kNothing = -__builtin_inff();
  F largest = Vec::set1(*m);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) largest = Vec::max(largest, Vec::load(s + i));
  float top = Vec::largest(largest);
  for (; i < n; i++) top = s[i] > top ? s[i] : top;
  const F shift = Vec::set1(top == kNothing ? 0.0f : top);
  F total = Vec::zero();
  for (i = 0; i + kLanes <= n; i += kLanes) {
    const F weight = exp(Vec::sub(Vec::load(s + i), shift));
    Vec::store(s + i, weight);
    total = Vec::add(total, weight);
  }
  float sum = Vec::sum(total);
  if (i < n) {
    Vec::store_part(s + i, exp(Vec::sub(Vec::load_part(s + i, n - i), shift)), n - i);
    for (; i < n; i++) sum += s[i];
  }
  float rescale[kLanes];
  Vec::store(rescale, exp(Vec::sub(Vec::set1(*m), shift)));
  *l = *l * rescale[0] + sum;
  *m = top;
  return rescale[0];
}

void rope_half(float* x, const float* cos, const float* sin, int64_t half) noexcept {
  int64_t j = 0;
  for (; j + kLanes <= half; j += kLanes) {
    const F a = Vec::load(x + j), b = Vec::load(x + half + j), c = Vec::load(cos + j), s = Vec::load(sin + j);
    Vec::store(x + j, Vec::sub(Vec::mul(a, c), Vec::mul(b, s)));
    Vec::store(x + half + j, Vec::add(Vec::mul(b, c), Vec::mul(a, s)));
  }
  for (; j < half; j++) {
    const float a = x[j], b = x[j + half];
    x[j] = a * cos[j] - b * sin[j];
    x[j + half] = b * cos[j] + a * sin[j];
  }
}

void rope_interleaved(float* x, const float* cos, const float* sin, int64_t half) noexcept {
  int64_t j = 0;
  for (; j + kLanes / 2 <= half; j += kLanes / 2) {
    const F v = Vec::load(x + 2 * j);
    Vec::store(x + 2 * j,
               Vec::fmaddsub(v, Vec::load_twice(cos + j), Vec::mul(Vec::swap_pairs(v), Vec::load_twice(sin + j))));
  }
  for (; j < half; j++) {
    const float a = x[2 * j], b = x[2 * j + 1];
    x[2 * j] = a * cos[j] - b * sin[j];
    x[2 * j + 1] = b * cos[j] + a * sin[j];
  }
}

void expand_f16(const void* src, float* dst, int64_t n) noexcept {
  const auto* half = static_cast<const unsigned char*>(src);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) Vec::store(dst + i, Vec::load_f16(half + 2 * i));
  for (; i < n; i++) dst[i] = reference::weight_f16(src, i);
}

void expand_bf16(const void* src, float* dst, int64_t n) noexcept {
  const auto* half = static_cast<const unsigned char*>(src);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) Vec::store(dst + i, Vec::load_bf16(half + 2 * i));
  for (; i < n; i++) dst[i] = reference::weight_bf16(src, i);
}

void expand_Q8_0(const void* src, float* dst, int64_t n) noexcept {
  const auto* blocks = static_cast<const BlockQ8_0*>(src);
  for (int64_t b = 0; b < n / kBlock; b++) {
    const F d = Vec::set1(half_to_float(blocks[b].d));
    for (int i = 0; i < kBlock; i += kLanes)
      Vec::store(dst + b * kBlock + i, Vec::mul(Vec::load_i8(blocks[b].qs + i), d));
  }
}

void expand_Q4_0(const void* src, float* dst, int64_t n) noexcept {
  const auto* blocks = static_cast<const BlockQ4_0*>(src);
  for (int64_t b = 0; b < n / kBlock; b++) {
    const F d = Vec::set1(half_to_float(blocks[b].d));
    alignas(16) int8_t codes[kBlock];
    for (int i = 0; i < 16; i++) {
      codes[i] = static_cast<int8_t>((blocks[b].qs[i] & 15) - 8);
      codes[i + 16] = static_cast<int8_t>((blocks[b].qs[i] >> 4) - 8);
    }
    for (int i = 0; i < kBlock; i += kLanes) Vec::store(dst + b * kBlock + i, Vec::mul(Vec::load_i8(codes + i), d));
  }
}

void narrow_f16(const float* src, uint16_t* dst, int64_t n) noexcept {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) Vec::store_f16(dst + i, Vec::load(src + i));
  for (; i < n; i++) dst[i] = float_to_half(src[i]);
}

void expand_keys_q8(const int8_t* codes, const uint16_t* scales, int64_t rows, int64_t columns, float* dst) noexcept {
  for (int64_t r = 0; r < rows; r++) {
    const uint16_t* scale = scales + r / kBlock * columns;
    for (int64_t c = 0; c < columns; c += kLanes)
      Vec::store(dst + r * columns + c, Vec::mul(Vec::load_i8(codes + r * columns + c), Vec::load_f16(scale + c)));
  }
}

void expand_values_q8(const int8_t* codes, const uint16_t* scales, int64_t rows, int64_t columns, float* dst) noexcept {
  const int64_t blocks = (columns + kBlock - 1) / kBlock;
  for (int64_t r = 0; r < rows; r++) {
    for (int64_t b = 0; b < blocks; b++) {
      const F scale = Vec::set1(half_to_float(scales[r * blocks + b]));
      const int64_t end = std::min(columns, (b + 1) * kBlock);
      for (int64_t c = b * kBlock; c < end; c += kLanes)
        Vec::store(dst + r * columns + c, Vec::mul(Vec::load_i8(codes + r * columns + c), scale));
    }
  }
}
