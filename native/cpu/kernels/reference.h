// Every kernel as the plainest loop, templated on the accumulator: double is the truth that conformance measures
// against, float is the scalar table, shipped for CPUs without AVX2. Order and names as in kernels.def.
#pragma once
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "common/blocks.h"
#include "common/half.h"
#include "cpu/kernels/table.h"

namespace llava::reference {

template <class T>
T load(const void* src, int64_t i) {  // weights may lie unaligned in a file
  T value;
  std::memcpy(&value, static_cast<const std::byte*>(src) + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

inline float weight_f32(const void* w, int64_t i) { return load<float>(w, i); }
inline float weight_f16(const void* w, int64_t i) { return half_to_float(load<uint16_t>(w, i)); }
inline float weight_bf16(const void* w, int64_t i) { return bfloat_to_float(load<uint16_t>(w, i)); }

// Values in a block on disk.
template <class Block>
inline constexpr int kValues = static_cast<int>(kTraits<Block>.elements);

template <class Block>
void expand_blocks(const void* src, float* dst, int64_t n) noexcept {
  for (int64_t at = 0; at < n; at += kValues<Block>) {
    const auto block = load<Block>(src, at / kValues<Block>);
    for (int i = 0; i < kValues<Block> && at + i < n; i++)
      dst[at + i] = block.scale(i) * static_cast<float>(block.code(i)) + block.min(i);
  }
}

template <class Block>
void bfloats(const void* w, int64_t stride, int64_t blocks, uint16_t* dst) noexcept {
  for (int64_t r = 0; r < kStripRows; r++) {
    const void* row = static_cast<const std::byte*>(w) + r * stride;
    for (int64_t k = 0; k < blocks * kBlock; k++) {
      const auto block = load<Block>(row, k / kValues<Block>);
      const int i = static_cast<int>(k % kValues<Block>);
      const float value = std::fma(block.scale(i), static_cast<float>(block.code(i)), block.min(i));
      dst[(k / 2 * kStripRows + r) * 2 + k % 2] = float_to_bfloat(value);
    }
  }
}

template <float (*weight)(const void*, int64_t)>
void expand(const void* src, float* dst, int64_t n) noexcept {
  for (int64_t i = 0; i < n; i++) dst[i] = weight(src, i);
}

inline void narrow_f16(const float* src, uint16_t* dst, int64_t n) noexcept {
  for (int64_t i = 0; i < n; i++) dst[i] = float_to_half(src[i]);
}

inline void narrow_bf16(const float* src, uint16_t* dst, int64_t n) noexcept {
  for (int64_t i = 0; i < n; i++) dst[i] = float_to_bfloat(src[i]);
}

inline void expand_keys_q8(const int8_t* codes, const uint16_t* scales, int64_t rows, int64_t columns,
                           float* dst) noexcept {
  for (int64_t r = 0; r < rows; r++) {
    for (int64_t c = 0; c < columns; c++)
      dst[r * columns + c] =
          static_cast<float>(codes[r * columns + c]) * half_to_float(scales[r / kBlock * columns + c]);
  }
}

inline void expand_values_q8(const int8_t* codes, const uint16_t* scales, int64_t rows, int64_t columns,
                             float* dst) noexcept {
  const int64_t blocks = (columns + kBlock - 1) / kBlock;
  for (int64_t r = 0; r < rows; r++) {
    for (int64_t c = 0; c < columns; c++)
      dst[r * columns + c] =
          static_cast<float>(codes[r * columns + c]) * half_to_float(scales[r * blocks + c / kBlock]);
  }
}

template <float (*weight)(const void*, int64_t)>
void transpose(const void* src, int64_t stride, int64_t rows, int64_t columns, float* dst, int64_t ld) noexcept {
  for (int64_t k = 0; k < columns; k++) {
    for (int64_t r = 0; r < rows; r++) dst[k * ld + r] = weight(static_cast<const std::byte*>(src) + r * stride, k);
  }
}

template <class Acc, class B, float (*value)(const void*, int64_t)>
void multiply(const Gemm<float, B>& g) noexcept {
  for (int64_t i = 0; i < g.m; i++) {
    for (int64_t j = 0; j < g.n; j++) {
      float& out = g.c[i * g.ldc + j];
      Acc sum = g.accumulate ? Acc(out) : Acc(0);
      for (int64_t p = 0; p < g.k; p++) sum += Acc(g.a[i * g.lda + p]) * Acc(value(g.b, p * g.ldb + j));
      out = static_cast<float>(sum);
    }
  }
}

template <class Acc>
void gemm_f32(const Gemm<float>& g) noexcept {
  multiply<Acc, float, weight_f32>(g);
}

template <class Acc>
void gemm_f16(const Gemm<float, uint16_t>& g, const void*) noexcept {
  multiply<Acc, uint16_t, weight_f16>(g);
}

// The terms of a value, `plane` apart.
inline void split(float value, int terms, uint16_t* dst, int64_t plane) {
  for (int t = 0; t < terms; t++) {
    const uint16_t term = float_to_bfloat(value);
    dst[t * plane] = term;
    value = std::isfinite(bfloat_to_float(term)) ? value - bfloat_to_float(term) : 0;
  }
}

inline void tile_row(const float* x, int64_t n, int terms, uint16_t* dst, int64_t plane) noexcept {
  for (int64_t i = 0; i < n; i++)
    split(x[i], terms, dst + i / kTileDepth * kTileRows * kTileDepth + i % kTileDepth, plane);
}

inline void tile_columns(const float* b, int64_t ldb, int64_t k, int terms, uint16_t* dst, int64_t plane) noexcept {
  for (int64_t p = 0; p < k; p++) {
    for (int64_t n = 0; n < kTileRows; n++)
      split(b[p * ldb + n], terms, dst + (p / 2 * kTileRows + n) * 2 + p % 2, plane);
  }
}

template <class Acc>
void gemm_tiles(int64_t m, int64_t k, const BfloatTerms& a, const BfloatTerms& b, const Product& c) noexcept {
  for (int64_t i = 0; i < m; i++) {
    for (int64_t n = 0; n < 2 * kTileRows; n++) {
      float& out = c.y[i * c.ldy + n];
      Acc sum = c.accumulate ? static_cast<Acc>(out) : Acc(0);
      for (int64_t p = 0; p < k; p++) {
        const uint16_t* of_a = a.values + i / kTileRows * kTileRows * k + p / kTileDepth * kTileRows * kTileDepth +
                               i % kTileRows * kTileDepth + p % kTileDepth;
        const uint16_t* of_b =
            b.values + n / kTileRows * kTileRows * k + (p / 2 * kTileRows + n % kTileRows) * 2 + p % 2;
        for (int t = 0; t < a.count; t++) {
          for (int u = 0; u < b.count && t + u < a.count; u++)
            sum += static_cast<Acc>(bfloat_to_float(of_a[t * a.plane])) *
                   static_cast<Acc>(bfloat_to_float(of_b[u * b.plane]));
        }
      }
      out = static_cast<float>(sum);
    }
  }
}

template <class Acc>
void gemm_bf16(const Gemm<void>& g) noexcept {
  for (int64_t i = 0; i < g.m; i++) {
    for (int64_t j = 0; j < g.n; j++) {
      float& out = g.c[i * g.ldc + j];
      Acc sum = g.accumulate ? Acc(out) : Acc(0);
      for (int64_t p = 0; p < 2 * g.k; p++)
        sum += Acc(weight_bf16(g.a, i * 2 * g.lda + p)) * Acc(weight_bf16(g.b, (p / 2 * g.ldb + j) * 2 + p % 2));
      out = static_cast<float>(sum);
    }
  }
}

template <class Acc, float (*weight)(const void*, int64_t)>
void gemv(const FloatRows& w, const FloatTokens& x, const Product& y) noexcept {
  for (int64_t t = 0; t < x.count; t++) {
    for (int64_t r = 0; r < w.rows; r++) {
      const void* row = static_cast<const std::byte*>(w.w) + r * w.stride;
      float& out = y.y[t * y.ldy + r];
      Acc sum = y.accumulate ? Acc(out) : Acc(0);
      for (int64_t p = 0; p < w.k; p++) sum += Acc(weight(row, p)) * Acc(x.x[t * x.ldx + p]);
      out = static_cast<float>(sum);
    }
  }
}

inline void block_largest(const float* x, int64_t n, float* largest) noexcept {
  for (int64_t b = 0; b < n / kBlock; b++) {
    int32_t top = 0;  // magnitudes compare as their bits do
    for (int i = 0; i < kBlock; i++) top = std::max(top, std::bit_cast<int32_t>(x[b * kBlock + i]) & 0x7FFFFFFF);
    largest[b] = std::bit_cast<float>(top);
  }
}

inline int8_t code_of(float x, float inverse) {
  return inverse == 0 ? int8_t{0} : static_cast<int8_t>(std::nearbyintf(x * inverse));
}

inline void quantise_q8(const float* x, int64_t n, const float* inverse, int8_t* q, int32_t* sum) noexcept {
  std::fill(sum, sum + n / 16, 0);
  for (int64_t i = 0; i < n; i++) {
    q[i] = code_of(x[i], inverse[i / kBlock]);
    sum[i / 16] += q[i];
  }
}

inline void quantise_q8_group(const float* x, int64_t ldx, int64_t rows, int64_t n, const float* inverse, int64_t ldi,
                              int8_t* q, int32_t* sum) noexcept {
  std::fill(sum, sum + n / 16 * kTokenGroup, 0);
  for (int64_t t = 0; t < kTokenGroup; t++) {
    for (int64_t i = 0; i < n; i++) {
      int8_t& code = q[(i / 4 * kTokenGroup + t) * 4 + i % 4];
      code = t < rows ? code_of(x[t * ldx + i], inverse[t * ldi + i / kBlock]) : int8_t{0};
      sum[i / 16 * kTokenGroup + t] += code;
    }
  }
}

// The scales of block b in a strip: [n][16 rows], the halves' scales first, then their mins.
template <class Block>
void pack(const void* w, int64_t stride, int64_t blocks, uint8_t* codes, float* scales) noexcept {
  constexpr int kHalves = kTraits<Block>.halves, kScales = kTraits<Block>.factors();
  for (int64_t b = 0; b < blocks; b++) {
    for (int r = 0; r < kStripRows; r++) {
      const auto block = load<Block>(static_cast<const std::byte*>(w) + r * stride, b * kBlock / kValues<Block>);
      const int first = static_cast<int>(b * kBlock % kValues<Block>);
      for (int h = 0; h < kHalves; h++) {
        scales[(b * kScales + h) * kStripRows + r] = block.scale(first + 16 * h);
        if (kTraits<Block>.mins) scales[(b * kScales + kHalves + h) * kStripRows + r] = block.min(first + 16 * h);
      }
      for (int i = 0; i < kBlock; i++)
        codes[((b * 8 + i / 4) * kStripRows + r) * 4 + i % 4] = static_cast<uint8_t>(block.code(first + i));
    }
  }
}

template <class Acc, class Block>
void gemm_q(int64_t tokens, const PackedPanel& w, const TokenGroups& x, const Product& y) noexcept {
  constexpr int kHalves = kTraits<Block>.halves, kScales = kTraits<Block>.factors(), kSpan = kBlock / kHalves;
  for (int64_t t = 0; t < tokens; t++) {
    const int64_t lane = t % kTokenGroup;
    for (int r = 0; r < 2 * kStripRows; r++) {
      const uint8_t* codes = w.codes + r / kStripRows * kMostCodeBytes * w.strip;
      const float* scales = w.scales + r / kStripRows * (w.strip / kBlock * kScales) + r % kStripRows;
      float& out = y.y[t * y.ldy + r];
      Acc total = y.accumulate ? Acc(out) : Acc(0);
      for (int64_t b = 0; b < w.blocks; b++) {
        const TokenGroups block = x.from(t / kTokenGroup, b);
        const Acc power = Acc(block.origin[lane] / kOrigin);
        for (int h = 0; h < kHalves; h++) {
          int32_t products = 0;
          for (int i = h * kSpan; i < (h + 1) * kSpan; i++) {
            const auto weight = static_cast<int8_t>(codes[((b * 8 + i / 4) * kStripRows + r % kStripRows) * 4 + i % 4]);
            products += weight * block.q[(i / 4 * kTokenGroup + lane) * 4 + i % 4];
          }
          total += Acc(products) * power * Acc(scales[(b * kScales + h) * kStripRows]);
        }
        for (int h = 0; kTraits<Block>.mins && h < kHalves; h++) {
          const int32_t* half = block.sum + lane;
          const int32_t values = kHalves == 2 ? half[h * kTokenGroup] : half[0] + half[kTokenGroup];
          total += Acc(values) * power * Acc(scales[(b * kScales + kHalves + h) * kStripRows]);
        }
      }
      out = static_cast<float>(total);
    }
  }
}

// total + one row of weights · one token, whose words, origins and sums lie `step` apart.
template <class Acc, class Block>
Acc row_product(const std::byte* row, int64_t blocks, int64_t step, const int8_t* q, const float* origin,
                const int32_t* sum, Acc total) noexcept {
  constexpr int kHalves = kTraits<Block>.halves, kSpan = kBlock / kHalves;
  for (int64_t b = 0; b < blocks; b++) {
    const auto block = load<Block>(row, b * kBlock / kValues<Block>);
    const int first = static_cast<int>(b * kBlock % kValues<Block>);
    const Acc power = Acc(origin[b * step] / kOrigin);
    for (int h = 0; h < kHalves; h++) {
      int32_t products = 0;
      for (int i = h * kSpan; i < (h + 1) * kSpan; i++)
        products += block.code(first + i) * q[(b * 8 + i / 4) * 4 * step + i % 4];
      total += Acc(products) * power * Acc(block.scale(first + 16 * h));
    }
    for (int h = 0; kTraits<Block>.mins && h < kHalves; h++) {
      const int32_t* half = sum + 2 * b * step;
      const int32_t values = kHalves == 2 ? half[h * step] : half[0] + half[step];
      total += Acc(values) * power * Acc(block.min(first + 16 * h));
    }
  }
  return total;
}

template <class Acc, class Block>
void gemv_q(const QuantisedRows& w, const int8_t* q, const float* origin, const int32_t* sum, float* y) noexcept {
  for (int r = 0; r < kStripRows; r++) {
    const std::byte* row = static_cast<const std::byte*>(w.w) + r * w.stride;
    y[r] = static_cast<float>(row_product<Acc, Block>(row, w.blocks, 1, q, origin, sum, Acc(0)));
  }
}

template <class Acc, class Block>
void gemm_unpacked(const QuantisedRows& w, int64_t groups, const TokenGroups& x, const Product& y) noexcept {
  for (int64_t t = 0; t < groups * kTokenGroup; t++) {
    const TokenGroups group = x.from(t / kTokenGroup, 0);
    const int64_t lane = t % kTokenGroup;
    for (int r = 0; r < 2 * kStripRows; r++) {
      const std::byte* row = static_cast<const std::byte*>(w.w) + r * w.stride;
      float& out = y.y[t * y.ldy + r];
      out = static_cast<float>(row_product<Acc, Block>(row, w.blocks, kTokenGroup, group.q + 4 * lane,
                                                       group.origin + lane, group.sum + lane,
                                                       y.accumulate ? Acc(out) : Acc(0)));
    }
  }
}

template <class Acc>
void rms_norm(const float* x, const float* weight, float eps, float* y, int64_t n) noexcept {
  Acc squares = 0;
  for (int64_t i = 0; i < n; i++) squares += Acc(x[i]) * Acc(x[i]);
  const Acc factor = Acc(1) / std::sqrt(squares / Acc(n) + Acc(eps));
  for (int64_t i = 0; i < n; i++) y[i] = static_cast<float>(Acc(weight[i]) * (Acc(x[i]) * factor));
}

template <class Acc>
void layer_norm(const float* x, const float* weight, const float* bias, float eps, float* y, int64_t n) noexcept {
  Acc mean = 0, variance = 0;
  for (int64_t i = 0; i < n; i++) mean += Acc(x[i]);
  mean /= Acc(n);
  for (int64_t i = 0; i < n; i++) variance += (Acc(x[i]) - mean) * (Acc(x[i]) - mean);
  const Acc factor = Acc(1) / std::sqrt(variance / Acc(n) + Acc(eps));
  for (int64_t i = 0; i < n; i++)
    y[i] = static_cast<float>((Acc(x[i]) - mean) * factor * Acc(weight[i]) + Acc(bias[i]));
}

template <class Acc>
void add(const float* a, const float* b, float* y, int64_t n) noexcept {
  for (int64_t i = 0; i < n; i++) y[i] = static_cast<float>(Acc(a[i]) + Acc(b[i]));
}

template <class Acc>
void scale(const float* x, float factor, float* y, int64_t n) noexcept {
  for (int64_t i = 0; i < n; i++) y[i] = static_cast<float>(Acc(x[i]) * Acc(factor));
}

template <class Acc>
void finish_rows(const FinishedRows& r) noexcept {
  for (int64_t m = 0; m < r.rows; m++) {
    const Acc factor = Acc(r.scale) * Acc(r.row_scale != nullptr ? r.row_scale[m] : 1.0f);
    for (int64_t i = 0; i < r.n; i++) {
      Acc value = factor * Acc(r.c[m * r.ldc + i]);
      if (r.bias != nullptr) value += Acc(r.bias[i]);
      if (r.residual != nullptr) value += Acc(r.residual[m * r.ldr + i]);
      r.y[m * r.ldy + i] = static_cast<float>(value);
    }
  }
}

template <class Acc>
void quick_gelu(const float* x, float* y, int64_t n) noexcept {
  for (int64_t i = 0; i < n; i++) y[i] = static_cast<float>(Acc(x[i]) / (Acc(1) + std::exp(Acc(-1.702f) * Acc(x[i]))));
}

template <class Acc>
void gelu(const float* x, float* y, int64_t n) noexcept {
  for (int64_t i = 0; i < n; i++)
    y[i] = static_cast<float>(Acc(0.5) * Acc(x[i]) * (Acc(1) + std::erf(Acc(x[i]) * Acc(0.70710678118654752440))));
}

template <class Acc>
void gelu_tanh(const float* x, float* y, int64_t n) noexcept {
  for (int64_t i = 0; i < n; i++) {
    const Acc cubic = Acc(x[i]) + Acc(0.044715) * Acc(x[i]) * Acc(x[i]) * Acc(x[i]);
    // sqrt(2 / pi)
    y[i] = static_cast<float>(Acc(0.5) * Acc(x[i]) * (Acc(1) + std::tanh(Acc(0.79788456080286535588) * cubic)));
  }
}

template <class Acc>
void silu_mul(const float* gate, const float* up, float* y, int64_t n) noexcept {
  for (int64_t i = 0; i < n; i++)
    y[i] = static_cast<float>(Acc(gate[i]) / (Acc(1) + std::exp(-Acc(gate[i]))) * Acc(up[i]));
}

template <class Acc>
float online_softmax(float* s, int64_t n, float* m, float* l) noexcept {
  constexpr float kNothing = -std::numeric_limits<float>::infinity();
  float largest = *m;
  for (int64_t i = 0; i < n; i++) largest = s[i] > largest ? s[i] : largest;
  const Acc shift = largest == kNothing ? Acc(0) : Acc(largest);
  Acc sum = 0;
  for (int64_t i = 0; i < n; i++) {
    const Acc weight = std::exp(Acc(s[i]) - shift);
    s[i] = static_cast<float>(weight);
    sum += weight;
  }
  const Acc rescale = std::exp(Acc(*m) - shift);
  *l = static_cast<float>(Acc(*l) * rescale + sum);
  *m = largest;
  return static_cast<float>(rescale);
}

template <class Acc>
void rope_half(float* x, const float* cos, const float* sin, int64_t half) noexcept {
  for (int64_t j = 0; j < half; j++) {
    const Acc a = x[j], b = x[j + half];
    x[j] = static_cast<float>(a * Acc(cos[j]) - b * Acc(sin[j]));
    x[j + half] = static_cast<float>(b * Acc(cos[j]) + a * Acc(sin[j]));
  }
}

template <class Acc>
void rope_interleaved(float* x, const float* cos, const float* sin, int64_t half) noexcept {
  for (int64_t j = 0; j < half; j++) {
    const Acc a = x[2 * j], b = x[2 * j + 1];
    x[2 * j] = static_cast<float>(a * Acc(cos[j]) - b * Acc(sin[j]));
    x[2 * j + 1] = static_cast<float>(b * Acc(cos[j]) + a * Acc(sin[j]));
  }
}

// The peaks of plain scalar code, four independent chains.
inline double peak_fma(int64_t iterations) noexcept {
  volatile float keep;
  float a[4] = {0, 0, 0, 0}, x = 0.5f, y = 0.25f;
  for (int64_t i = 0; i < iterations; i++) {
    asm volatile("" : "+m"(x), "+m"(y));
    for (float& lane : a) lane = lane * x + y;
  }
  keep = a[0] + a[1] + a[2] + a[3];
  (void)keep;
  return static_cast<double>(iterations) * 8;
}

inline double peak_int8(int64_t iterations) noexcept {
  volatile int32_t keep;
  int32_t a[4] = {0, 0, 0, 0};
  int8_t x = 3, y = 5;
  for (int64_t i = 0; i < iterations; i++) {
    asm volatile("" : "+m"(x), "+m"(y));
    for (int32_t& lane : a) lane += x * y;
  }
  keep = a[0] + a[1] + a[2] + a[3];
  (void)keep;
  return static_cast<double>(iterations) * 8;
}

inline double peak_read(const void* memory, int64_t bytes) noexcept {
  volatile uint64_t keep;
  uint64_t sum = 0;
  for (int64_t i = 0; i < bytes / 8; i++) sum ^= load<uint64_t>(memory, i);
  keep = sum;
  (void)keep;
  return static_cast<double>(bytes);
}

// The whole table with one accumulator type.
template <class Acc>
void fill(KernelTable& t) {
  t.expand_f32 = expand<weight_f32>;
  t.expand_f16 = expand<weight_f16>;
  t.expand_bf16 = expand<weight_bf16>;
  t.narrow_f16 = narrow_f16;
  t.narrow_bf16 = narrow_bf16;
  t.expand_keys_q8 = expand_keys_q8;
  t.expand_values_q8 = expand_values_q8;
  t.transpose_f32 = transpose<weight_f32>;
  t.transpose_f16 = transpose<weight_f16>;
  t.transpose_bf16 = transpose<weight_bf16>;
  t.gemm_f32 = gemm_f32<Acc>;
  t.gemm_bf16 = gemm_bf16<Acc>;
  t.gemm_tiles = gemm_tiles<Acc>;
  t.tile_row = tile_row;
  t.tile_columns = tile_columns;
  t.gemm_f16 = gemm_f16<Acc>;
  t.gemv_f32 = gemv<Acc, weight_f32>;
  t.gemv_f16 = gemv<Acc, weight_f16>;
  t.gemv_bf16 = gemv<Acc, weight_bf16>;
  t.block_largest = block_largest;
  t.quantise_q8 = quantise_q8;
  t.quantise_q8_group = quantise_q8_group;
#define LLAVA_REFERENCE_SLOTS(T, elements, ...)       \
  t.expand_##T = expand_blocks<Block##T>;             \
  t.pack_##T = pack<Block##T>;                        \
  t.gemm_##T = gemm_q<Acc, Block##T>;                 \
  t.gemm_tall_##T = gemm_q<Acc, Block##T>;            \
  t.gemm_unpacked_##T = gemm_unpacked<Acc, Block##T>; \
  t.bfloats_##T = bfloats<Block##T>;                  \
  t.gemv_##T = gemv_q<Acc, Block##T>;
  LLAVA_QUANTISED(LLAVA_REFERENCE_SLOTS)
#undef LLAVA_REFERENCE_SLOTS
  t.rms_norm = rms_norm<Acc>;
  t.layer_norm = layer_norm<Acc>;
  t.add = add<Acc>;
  t.scale = scale<Acc>;
  t.finish_rows = finish_rows<Acc>;
  t.quick_gelu = quick_gelu<Acc>;
  t.gelu = gelu<Acc>;
  t.gelu_tanh = gelu_tanh<Acc>;
  t.silu_mul = silu_mul<Acc>;
  t.online_softmax = online_softmax<Acc>;
  t.rope_half = rope_half<Acc>;
  t.rope_interleaved = rope_interleaved<Acc>;
  t.peak_fma = peak_fma;
  t.peak_int8 = peak_int8;
  t.peak_bf16 = peak_fma;
  t.peak_read = peak_read;
}

}  // namespace llava::reference
