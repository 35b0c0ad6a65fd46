// y = epilogue(x · weightᵀ): what the roads of a product share, and their entries. linear.cu chooses among them.
#pragma once
#include <optional>
#include <span>

#include "cuda/activation.cuh"
#include "cuda/blocks.cuh"
#include "cuda/stream.h"

namespace llava::cuda {

// Where row m of a product goes, and which row of the residual is added: m itself, or patch m % patches of picture
// m / patches, whose rows stand behind `before` others.
struct RowMap {
  int64_t patches = 0, before = 0;
  __device__ __forceinline__ int64_t to(int64_t m) const {
    return patches == 0 ? m : m / patches * (patches + before) + before + m % patches;
  }
  __device__ __forceinline__ int64_t of_residual(int64_t m) const { return patches == 0 ? m : before + m % patches; }
};

// y[m, n] = activation(scale * sum + bias[n]) + residual[m, n]
struct Epilogue {
  const float* bias;  // may be null
  float scale;
  Activation activation;
  Rows<const float> residual;  // may be null; may be y
  Rows<float> y;
  RowMap map;
  __device__ __forceinline__ void store(int64_t m, int64_t n, float sum) const {
    float value = sum * scale;
    if (bias != nullptr) value += ld(bias + n);
    value = activated(value, activation);
    if (residual.data != nullptr) value += ld(residual.row(map.of_residual(m)) + n);
    st(y.row(map.to(m)) + n, value);
  }
};

struct Product {
  Rows<const float> x;  // [M, K]
  int64_t M, K;
  Weight weight;  // [N, K]
  Epilogue epilogue;
};

// x in float32 times weights in float32: sums in one order, whatever M is.
void multiply_floats(CudaStream& stream, const Product& p);

// Activations as int8 blocks of 32 with a power of two each, and a scale and outliers for each token: the same numbers
// as the CPU's (cpu/block_float.h).
constexpr int kMostOutliers = 2;
struct Token {
  float scale;
  int32_t outliers;
  int32_t column[kMostOutliers];
  float value[kMostOutliers];
};
struct alignas(8) BlockFactor {
  float power;      // 2^e
  int16_t sums[2];  // of the codes of each half
};
struct QuantisedRows {
  int8_t* codes;         // [M, K]
  BlockFactor* factors;  // [M, K / 32]
  Token* tokens;         // [M]
};
QuantisedRows room_for_blocks(CudaStream& stream, int64_t M, int64_t K);
QuantisedRows quantise_rows(CudaStream& stream, Rows<const float> x, int64_t M, int64_t K);
// For few rows: up to three products of one x and one type of weights in one launch. Weights are read once for 16 rows.
void multiply_blocks(CudaStream& stream, const QuantisedRows& x, std::span<const Product> products);

// An op that writes few rows which a product is likely to take next quantises them too. The op after it finds them
// here. Room for them where they are asked for, which is where the last product of few rows took blocks: then the op
// calls quantise_row.
std::optional<QuantisedRows> room_beside(CudaStream& stream, const Activations& y);
// What the op before left for x; else quantises it.
QuantisedRows blocks_of(CudaStream& stream, Rows<const float> x, int64_t M, int64_t K);

// Activations in bfloat16, or in two terms of it: the nearest one, and the one nearest to what that leaves.
struct NarrowRows {
  const uint16_t* values;  // [terms, M, padded K], zeros behind K
  int64_t padded;
};
NarrowRows narrow_rows(CudaStream& stream, Rows<const float> x, int64_t M, int64_t K, int terms);
// For many rows, on tensor cores. terms 1: bfloat16 on both sides. terms 2: two of each side, of whose four products
// the smallest is left out.
void multiply_bfloats(CudaStream& stream, const NarrowRows& x, int terms, const Product& p);

// What a product is made of (args.h, Arithmetic).
enum class Factors : uint8_t { kFloat, kInt8, kBfloat, kTerms };
Factors factors_of(const Weight& weight, Arithmetic arithmetic, int64_t rows);

// Products of one x, whose activations are brought into their forms once.
void multiply(CudaStream& stream, Arithmetic arithmetic, const Product* products, int count);

}  // namespace llava::cuda
