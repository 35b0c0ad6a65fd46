// Products of many rows on tensor cores: tiles of 128 × 128 outputs, 64 columns of x and of the weights at a time,
// which cp.async brings to shared memory three stages ahead of their use. Other weights than aligned bfloat16 are
// expanded on the way: unpacked to registers before a stage is computed, stored as bfloats after it.
//   With two terms of each factor the depth is walked three times, x0·w0, x0·w1, x1·w0, into the same sums.
//   The depth is cut into segments of 1,024 columns, each summed by itself, then added in order: so few tiles can be
//   spread over blocks a segment each (split-K), and give the same bits as one block that takes all of them.
//   Rows of 128 bytes in shared memory are swizzled: 16-byte chunk c of row r lies at c ^ (r % 8), so that neither
//   ldmatrix nor the stores meet a bank twice.
#include <algorithm>

#include "cuda/elements.cuh"
#include "cuda/mma.cuh"
#include "cuda/products.h"
#include "cuda/smem.cuh"

namespace llava::cuda {

namespace {

constexpr int kThreads = 256, kWarpsDown = 2, kWarpsAcross = 4;
constexpr int kTileRows = 128, kTileColumns = 128, kDepth = 64;
constexpr int kStages = 3;
constexpr int kWarpRows = kTileRows / kWarpsDown / 16, kWarpColumns = kTileColumns / kWarpsAcross / 8;  // tiles of mma
constexpr int kSegmentSteps = 16;         // of kDepth columns
constexpr int kChunks = kDepth * 2 / 16;  // of 16 bytes in a row of a stage
constexpr size_t kStageBytes = (kTileRows + kTileColumns) * kDepth * sizeof(uint16_t);

struct Tiles {
  NarrowRows x;
  int64_t M, N, K;
  const uint8_t* weight;
  int64_t row_bytes;
  int terms;
  int32_t steps;  // of kDepth columns, of all walks
  int32_t steps_of_walk;
  float* segments;  // [segments, M, N] where blocks take a segment each, else null
  Epilogue epilogue;
};

// 16-byte chunk `chunk` of row `row` of a stage's half.
__device__ __forceinline__ uint16_t* chunk_of(uint16_t* rows, int row, int chunk) {
  return rows + row * kDepth + (chunk ^ (row % 8)) * 8;
}

struct Step {
  int64_t first;  // column
  int x_term, w_term;
};
__device__ __forceinline__ Step step_of(const Tiles& a, int step) {
  const int walk = step / a.steps_of_walk;
  return {int64_t{step % a.steps_of_walk} * kDepth, walk == 2 ? 1 : 0, walk == 1 ? 1 : 0};
}

__device__ __forceinline__ void copy_activations(const Tiles& a, int64_t first_row, int step, uint16_t* rows) {
  const Step s = step_of(a, step);
#pragma unroll
  for (int i = threadIdx.x; i < kTileRows * kChunks; i += kThreads) {
    const int row = i / kChunks, chunk = i % kChunks;
    const bool there = first_row + row < a.M;
    const int64_t m = there ? first_row + row : 0;
    copy_16_async(chunk_of(rows, row, chunk), a.x.values + (s.x_term * a.M + m) * a.x.padded + s.first + chunk * 8,
                  there ? 16 : 0);
  }
}

// Weights that are bfloats and lie on 16 bytes: copied as they are.
__device__ __forceinline__ void copy_weights(const Tiles& a, int64_t first_row, int step, uint16_t* rows) {
  const Step s = step_of(a, step);
#pragma unroll
  for (int i = threadIdx.x; i < kTileColumns * kChunks; i += kThreads) {
    const int row = i / kChunks, chunk = i % kChunks;
    const int64_t n = first_row + row, k = s.first + chunk * 8, left = a.K - k;
    const int bytes = n < a.N && left > 0 ? (left < 8 ? static_cast<int>(left) * 2 : 16) : 0;
    copy_16_async(chunk_of(rows, row, chunk), a.weight + (bytes > 0 ? n * a.row_bytes + k * 2 : 0), bytes);
  }
}

// A thread's 32 weights of a step, on their way: row thread / 2, half thread % 2 of its columns.
template <DType type>
class Weights {
 public:
  __device__ __forceinline__ void load(const Tiles& a, int64_t first_row, int step) {
    const Step s = step_of(a, step);
    const int64_t n = first_row + threadIdx.x / 2, k = s.first + threadIdx.x % 2 * kGroup;
    there_ = n < a.N && k < a.K;
    if (!there_) return;
    const uint8_t* const row = a.weight + n * a.row_bytes;
    if constexpr (is_quantised(type)) {
      unpack_group<type>(row, k / kGroup, group_);
    } else {
#pragma unroll
      for (int i = 0; i < kGroup / kRun; i++) load_run<type>(row, k + i * kRun, a.K, values_[i]);
    }
  }
  __device__ __forceinline__ void store(const Tiles& a, int step, uint16_t* rows) const {
    const int term = step_of(a, step).w_term, row = threadIdx.x / 2;
#pragma unroll
    for (int chunk = 0; chunk < kGroup / 8; chunk++) {
      uint32_t pairs[4];
#pragma unroll
      for (int i = 0; i < 4; i++) pairs[i] = pair(chunk * 8 + 2 * i, term);
      *reinterpret_cast<uint4*>(chunk_of(rows, row, threadIdx.x % 2 * (kGroup / 8) + chunk)) =
          uint4{pairs[0], pairs[1], pairs[2], pairs[3]};
    }
  }

 private:
  __device__ __forceinline__ float value(int i) const {
    if constexpr (is_quantised(type)) return value_of(group_, i);
    return values_[i / kRun][i % kRun];
  }
  __device__ __forceinline__ uint32_t pair(int i, int term) const {
    if (!there_) return 0;
    const float low = value(i), high = value(i + 1);
    const uint32_t nearest = pair_of_bfloats(low, high);
    if (is_quantised(type) || term == 0) return nearest;
    return pair_of_bfloats(low - bfloat_bits_to_float(static_cast<uint16_t>(nearest)),
                           high - bfloat_bits_to_float(static_cast<uint16_t>(nearest >> 16)));
  }
  struct Nothing {};
  std::conditional_t<is_quantised(type), Group, Nothing> group_;
  float values_[is_quantised(type) ? 1 : kGroup / kRun][kRun];
  bool there_ = false;
};

using Sums = float[kWarpRows][kWarpColumns][4];

// sums += the stage's x · its weights, of this warp's part of the tile.
__device__ __forceinline__ void multiply_stage(uint16_t* x, uint16_t* w, Sums& sums) {
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const int first_row = warp / kWarpsAcross * kWarpRows * 16, first_column = warp % kWarpsAcross * kWarpColumns * 8;
#pragma unroll
  for (int k = 0; k < kDepth / 16; k++) {
    uint32_t a[kWarpRows][4], b[kWarpColumns / 2][4];
#pragma unroll
    for (int i = 0; i < kWarpRows; i++)
      load_matrices(a[i], chunk_of(x, first_row + i * 16 + lane % 16, 2 * k + lane / 16));
#pragma unroll
    for (int j = 0; j < kWarpColumns / 2; j++)
      load_matrices(b[j], chunk_of(w, first_column + j * 16 + lane / 16 * 8 + lane % 8, 2 * k + lane / 8 % 2));
#pragma unroll
    for (int i = 0; i < kWarpRows; i++) {
#pragma unroll
      for (int j = 0; j < kWarpColumns; j++)
        multiply_bfloats(sums[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
    }
  }
}

// direct: weights are copied, not expanded
template <DType type, bool direct>
__global__ void __launch_bounds__(kThreads) bfloats_kernel(Tiles a) {
  SharedMemory memory;
  uint16_t* const stages = memory.take<uint16_t>(kStages * (kTileRows + kTileColumns) * kDepth);
  const auto x_of = [&](int step) { return stages + step % kStages * (kTileRows + kTileColumns) * kDepth; };
  const auto w_of = [&](int step) { return x_of(step) + kTileRows * kDepth; };
  const int64_t first_row = int64_t{blockIdx.x} * kTileRows, first_column = int64_t{blockIdx.y} * kTileColumns;
  const int begin = a.segments != nullptr ? static_cast<int>(blockIdx.z) * kSegmentSteps : 0;
  const int end = a.segments == nullptr || begin + kSegmentSteps > a.steps ? a.steps : begin + kSegmentSteps;

  Weights<type> weights;
  // What of a stage does not pass through registers; a group in any case, so that groups count steps.
  const auto begin_copies = [&](int step) {
    if (step < end) {
      copy_activations(a, first_row, step, x_of(step));
      if constexpr (direct) copy_weights(a, first_column, step, w_of(step));
    }
    commit_group();
  };
  for (int step = begin; step < begin + kStages - 1; step++) {
    begin_copies(step);
    if constexpr (!direct) {
      if (step < end) {
        weights.load(a, first_column, step);
        weights.store(a, step, w_of(step));
      }
    }
  }

  Sums total = {}, sums = {};
  const auto end_segment = [&] {
#pragma unroll
    for (int i = 0; i < kWarpRows; i++) {
#pragma unroll
      for (int j = 0; j < kWarpColumns; j++) {
#pragma unroll
        for (int r = 0; r < 4; r++) {
          total[i][j][r] += sums[i][j][r];
          sums[i][j][r] = 0;
        }
      }
    }
  };
  for (int step = begin; step < end; step++) {
    if (step > begin && step % kSegmentSteps == 0) end_segment();
    wait_for_groups<kStages - 2>();
    __syncthreads();  // this step's stage is there for all, and all are done with the stage before
    const int next = step + kStages - 1;
    begin_copies(next);
    if constexpr (!direct) {
      if (next < end) weights.load(a, first_column, next);
    }
    multiply_stage(x_of(step), w_of(step), sums);
    if constexpr (!direct) {
      if (next < end) weights.store(a, next, w_of(next));
    }
  }
  end_segment();

  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  float* const segment = a.segments == nullptr ? nullptr : a.segments + blockIdx.z * a.M * a.N;
#pragma unroll
  for (int i = 0; i < kWarpRows; i++) {
#pragma unroll
    for (int j = 0; j < kWarpColumns; j++) {
#pragma unroll
      for (int r = 0; r < 4; r++) {
        const int64_t m = first_row + (warp / kWarpsAcross * kWarpRows + i) * 16 + lane / 4 + r / 2 * 8;
        const int64_t n = first_column + (warp % kWarpsAcross * kWarpColumns + j) * 8 + lane % 4 * 2 + r % 2;
        if (m >= a.M || n >= a.N) continue;
        if (segment != nullptr) {
          st(segment + m * a.N + n, total[i][j][r]);
        } else {
          a.epilogue.store(m, n, total[i][j][r]);
        }
      }
    }
  }
}

// y of the segments' sums, added in order.
struct JoinSegments {
  const float* segments;
  int64_t count, M, N;
  Epilogue epilogue;
  __device__ void operator()(int64_t m, int64_t n) const {
    float total = 0;
    for (int64_t s = 0; s < count; s++) total += ld(segments + (s * M + m) * N + n);
    epilogue.store(m, n, total);
  }
};

struct Narrow {
  Rows<const float> x;
  int64_t M, K, padded;
  int terms;
  uint16_t* values;
  __device__ void operator()(int64_t row, int64_t column) const {
    const float value = column < K ? ld(x.row(row) + column) : 0.0f;
    const uint16_t nearest = float_to_bfloat_bits(value);
    st(values + row * padded + column, nearest);
    if (terms == 2)
      st(values + (M + row) * padded + column, float_to_bfloat_bits(value - bfloat_bits_to_float(nearest)));
  }
};

template <DType type, bool direct>
void launch_tiles(CudaStream& stream, const Tiles& tiles, int64_t segments) {
  launch(bfloats_kernel<type, direct>,
         dim3(grid_size(divided_up(tiles.M, kTileRows)), grid_size(divided_up(tiles.N, kTileColumns)),
              grid_size(tiles.segments == nullptr ? 1 : segments)),
         kThreads, shared_bytes_of(kStages * kStageBytes), stream.handle(), tiles);
}

}  // namespace

NarrowRows narrow_rows(CudaStream& stream, Rows<const float> x, int64_t M, int64_t K, int terms) {
  const int64_t padded = divided_up(K, kDepth) * kDepth;
  uint16_t* const values = stream.activations.reserve<uint16_t>(terms * M * padded);
  for_each_element(stream.handle(), M, padded, Narrow{x, M, K, padded, terms, values});
  return {values, padded};
}

void multiply_bfloats(CudaStream& stream, const NarrowRows& x, int terms, const Product& p) {
  const int64_t N = p.weight.rows, steps_of_walk = x.padded / kDepth, steps = steps_of_walk * (terms == 2 ? 3 : 1),
                segments = divided_up(steps, kSegmentSteps);
  Tiles tiles{x,
              p.M,
              N,
              p.K,
              bytes_of(p.weight),
              p.weight.row_bytes(),
              terms,
              static_cast<int32_t>(steps),
              static_cast<int32_t>(steps_of_walk),
              nullptr,
              p.epilogue};
  const int64_t blocks = divided_up(p.M, kTileRows) * divided_up(N, kTileColumns);
  const bool split = segments > 1 && blocks < stream.card.properties().multiprocessors;
  if (split) tiles.segments = stream.partials.reserve<float>(segments * p.M * N);
  for_dtype(p.weight.dtype, [&]<DType type>() {
    if constexpr (type == DType::BF16) {
      const bool aligned = reinterpret_cast<uintptr_t>(tiles.weight) % 16 == 0 && tiles.row_bytes % 16 == 0;
      if (terms == 1 && aligned) return launch_tiles<type, true>(stream, tiles, segments);
    }
    launch_tiles<type, false>(stream, tiles, segments);
  });
  if (split) for_each_element(stream.handle(), p.M, N, JoinSegments{tiles.segments, segments, p.M, N, p.epilogue});
}

}  // namespace llava::cuda
