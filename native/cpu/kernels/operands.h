// The operands of kernels that take many, by name. Leading dimensions are in elements, strides in bytes.
#pragma once
#include <cstdint>

#include "common/blocks.h"

namespace llava {

constexpr int kTokenGroup = 4;  // tokens whose int8 words stand side by side

// c[m, n] = (accumulate ? c : 0) + a[m, k] · b[k, n]
template <class A, class B = A>
struct Gemm {
  int64_t m, n, k;
  const A* a;
  int64_t lda;
  const B* b;
  int64_t ldb;
  float* c;
  int64_t ldc;
  bool accumulate;
};

// Where a product goes: y[t * ldy + r] is output r of token t. accumulate: y is added to instead of written anew.
struct Product {
  float* y;
  int64_t ldy;
  bool accumulate;
};

// A factor of gemm_tiles: the sum of `count` planes of bfloats, `plane` values apart.
struct BfloatTerms {
  const uint16_t* values;
  int64_t plane;
  int count;
};

// Rows of float weights as they lie in the file: k weights each. What will be read after them begins at `next`.
struct FloatRows {
  const void* w;
  int64_t stride;
  int64_t rows;
  int64_t k;
  const void* next;
};

// x[count, k]
struct FloatTokens {
  int64_t count;
  const float* x;
  int64_t ldx;
};

// Rows of quantised weights as they lie in the file: `blocks` blocks of 32 each. What will be read after them begins at
// `next`.
struct QuantisedRows {
  const void* w;
  int64_t stride;
  int64_t blocks;
  const void* next;
};

// A panel of quantised weights, packed: two strips of 16 rows. Each has codes [block][k / 4][16 rows][4] and scales
// [block][n][16 rows]; the second strip's codes lie kMostCodeBytes * strip bytes behind the first's, its scales
// n * strip / 512 floats.
struct PackedPanel {
  const uint8_t* codes;
  const float* scales;
  int64_t strip;   // codes that a strip has room for: 512 for each block
  int64_t blocks;  // that are multiplied
};

// Quantised activations of groups of 4 tokens: q[group][k / 4][4 tokens][4], origin[group][block][4 tokens],
// sum[group][block][2 halves][4 tokens].
struct TokenGroups {
  const int8_t* q;
  int64_t q_stride;  // bytes of a group
  const float* origin;
  const int32_t* sum;
  int64_t o_stride;  // origins of a group; it has twice as many sums

  TokenGroups from(int64_t group, int64_t block) const {
    const int64_t first = group * o_stride + block * kTokenGroup;
    return {q + group * q_stride + block * kTokenGroup * kBlock, q_stride, origin + first, sum + 2 * first, o_stride};
  }
};

// y[m, n] = scale * row_scale[m] * c[m, n] + bias[n] + residual[m, n]; row_scale, bias and residual may be null.
struct FinishedRows {
  int64_t rows, n;
  const float* c;
  int64_t ldc;
  float scale;
  const float* row_scale;
  const float* bias;
  const float* residual;
  int64_t ldr;
  float* y;
  int64_t ldy;
  bool past_caches;  // y is not in a cache, and will be read too late to still be in one
};

}  // namespace llava
