// Products of few rows with quantised weights: a warp takes a row of weights, a lane every 32nd group of it, as int8
// dot products with the activations' blocks. Weights are read once for up to 16 rows of x.
#include "cuda/products.h"

namespace llava::cuda {

namespace {

// Threads of a block: as many rows of weights as there is room for share one reading of x.
constexpr int threads_for(int tokens) { return tokens == 1 ? 512 : tokens == 4 ? 256 : 128; }

// One of the products of a launch, whose blocks begin at first_block.
struct Output {
  const uint8_t* weight;
  int64_t row_bytes, N;
  int64_t first_block;
  Epilogue epilogue;
};
struct Outputs {
  Output of[3];
  int count;
};

constexpr bool has_halves(DType type) { return kDTypes[static_cast<int>(type)].halves == 2; }
constexpr bool has_mins(DType type) { return kDTypes[static_cast<int>(type)].mins; }

// A group of weights times a block of x, in units of D.
template <DType type>
__device__ __forceinline__ float dot(const Group& g, const uint32_t (&x)[kGroup / 4], const BlockFactor& factor) {
  int halves[2] = {};
#pragma unroll
  for (int i = 0; i < 8; i++) {
    halves[i / 4] = __dp4a(static_cast<int>(g.codes[i]), static_cast<int>(x[i]), halves[i / 4]);
  }
  float sum;
  if constexpr (has_halves(type)) {
    sum = static_cast<float>(halves[0]) * g.scale[0] + static_cast<float>(halves[1]) * g.scale[1];
    if constexpr (has_mins(type))
      sum += static_cast<float>(factor.sums[0]) * g.min[0] + static_cast<float>(factor.sums[1]) * g.min[1];
  } else {
    sum = static_cast<float>(halves[0] + halves[1]) * g.scale[0];
    if constexpr (has_mins(type)) sum += static_cast<float>(factor.sums[0] + factor.sums[1]) * g.min[0];
  }
  return sum * factor.power;
}

// Value `column` of a row of weights.
template <DType type>
__device__ float weight_at(const uint8_t* row, int column) {
  Group g;
  unpack_group<type>(row, column / kGroup, g);
  float out = 0;
#pragma unroll
  for (int i = 0; i < kGroup; i++) out = i == column % kGroup ? value_of(g, i) : out;
  return out;
}

// A warp takes `rows` rows of weights, so that a block of x is read once for them.
template <DType type, int tokens, int rows>
__global__ void __launch_bounds__(threads_for(tokens))
    blocks_kernel(QuantisedRows x, int64_t M, int64_t K, const __grid_constant__ Outputs outputs) {
  constexpr int kWarps = threads_for(tokens) / kWarp;
  const int which = outputs.count > 2 && blockIdx.x >= outputs.of[2].first_block   ? 2
                    : outputs.count > 1 && blockIdx.x >= outputs.of[1].first_block ? 1
                                                                                   : 0;
  const Output& output = outputs.of[which];
  const uint8_t* const weight = output.weight;
  const int64_t row_bytes = output.row_bytes, N = output.N;
  const int lane = threadIdx.x % kWarp;
  const int64_t n = ((blockIdx.x - output.first_block) * kWarps + threadIdx.x / kWarp) * rows,
                first = int64_t{blockIdx.y} * tokens;
  if (n >= N) return;  // a whole warp
  const int64_t groups = K / kGroup;
  float sum[rows][tokens] = {};
  for (int64_t b = lane; b < groups; b += kWarp) {
    Group g[rows];
#pragma unroll
    for (int r = 0; r < rows; r++) unpack_group<type>(weight + (n + r < N ? n + r : n) * row_bytes, b, g[r]);
#pragma unroll
    for (int t = 0; t < tokens; t++) {
      const int64_t m = first + t;
      if (m >= M) continue;
      const BlockFactor factor = ld(x.factors + m * groups + b);
      const auto* const words = reinterpret_cast<const uint4*>(x.codes + m * K + b * kGroup);
      const uint4 low = ld(words), high = ld(words + 1);
      const uint32_t codes[kGroup / 4] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
      for (int r = 0; r < rows; r++) sum[r][t] += dot<type>(g[r], codes, factor);
    }
  }
  float mine[rows] = {};  // lane t finishes token t
#pragma unroll
  for (int r = 0; r < rows; r++) {
#pragma unroll
    for (int t = 0; t < tokens; t++) {
      const float total = warp_sum(sum[r][t]);
      mine[r] = lane == t ? total : mine[r];
    }
  }
  if (lane >= tokens || first + lane >= M) return;
  const Token token = ld(x.tokens + first + lane);
#pragma unroll
  for (int r = 0; r < rows; r++) {
    if (n + r >= N) continue;
    float total = mine[r] * token.scale;
#pragma unroll
    for (int i = 0; i < kMostOutliers; i++) {
      if (i < token.outliers)
        total = fmaf(token.value[i], weight_at<type>(weight + (n + r) * row_bytes, token.column[i]), total);
    }
    output.epilogue.store(first + lane, n + r, total);
  }
}

template <DType type, int tokens, int rows>
void launch_blocks(CudaStream& stream, const QuantisedRows& x, std::span<const Product> products) {
  constexpr int kThreads = threads_for(tokens);
  Outputs outputs{};
  int64_t blocks = 0;
  for (const Product& p : products) {
    outputs.of[outputs.count++] = {bytes_of(p.weight), p.weight.row_bytes(), p.weight.rows, blocks, p.epilogue};
    blocks += divided_up(p.weight.rows, kThreads / kWarp * rows);
  }
  const Product& first = products[0];
  launch(blocks_kernel<type, tokens, rows>, dim3(grid_size(blocks), grid_size(divided_up(first.M, tokens))), kThreads,
         0, stream.handle(), x, first.M, first.K, outputs);
}

}  // namespace

void multiply_blocks(CudaStream& stream, const QuantisedRows& x, std::span<const Product> products) {
  for_dtype(products[0].weight.dtype, [&]<DType type>() {
    if constexpr (is_quantised(type)) {
      if (products[0].M == 1) return launch_blocks<type, 1, 2>(stream, x, products);
      if (products[0].M <= 4) return launch_blocks<type, 4, 2>(stream, x, products);
      launch_blocks<type, 16, 4>(stream, x, products);
    }
  });
}

}  // namespace llava::cuda
