// Attention of many rows on tensor cores (FlashAttention-2, Dao 2023): factors in f16, sums in float32.
//   A block of four warps takes 128 query rows of one kv head and walks over the pages that they see, 64 positions
//   each:
//     S[128, 64] = (q · log2(e) / sqrt(Dh)) · keys[Dh, 64];  mask;  P = 2^(S - m);  out = out * rescale + P · values
//   A warp takes 32 rows, whose S, P and out stay in its registers: what mma.sync leaves of a product of 16 × 8 outputs
//   is what it takes as 16 × 8 of its first factor (mma.cuh). The keys of the next page are on their way while the
//   softmax and P · values run, its values while S does.
//   Weights P are lifted by 2^10, so that f16 holds those down to 2^-24 of the largest with all its bits.
//   A row's numbers depend on no other row: those that it does not see weigh exactly 0.
//   0 times a value that overflowed is NaN, also in a row that does not see it. So a block whose result holds what is
//   not finite is computed once more, with such values as zeros, and what sees them is set to NaN in the end.
#include <algorithm>

#include "cuda/attention.h"
#include "cuda/mma.cuh"
#include "cuda/smem.cuh"

namespace llava::cuda {

namespace {

constexpr int kThreads = 128, kWarps = kThreads / kWarp;
constexpr int kTilesDown = kHalfRows / kWarps / 16;  // tiles of mma that a warp's rows take
constexpr int kScoreTiles = kPage / 8;               // tiles of mma across a page
constexpr int kBlocksOfMultiprocessor = 2;
constexpr float kLift = 10;  // log2
constexpr float kLog2E = 1.44269504088896340736f;

// A matrix of halves in shared memory, whose 16-byte chunks are swizzled: eight rows of one chunk lie in eight banks of
// 16 bytes.
template <int columns>
struct HalfTile {
  static constexpr int kChunks = columns / 8, kSwizzled = kChunks < 8 ? kChunks : 8, kRowsOfLine = 8 / kSwizzled;
  uint16_t* data;
  __device__ __forceinline__ uint16_t* chunk(int row, int chunk) const {
    return data + row * columns + (chunk ^ row / kRowsOfLine % kSwizzled) * 8;
  }
};

template <int width>
struct Tiles {
  HalfTile<width> q;       // [128, Dh], scaled
  HalfTile<kPage> keys;    // [Dh, 64]
  HalfTile<width> values;  // [64, Dh]
};

__device__ __forceinline__ bool is_odd(uint16_t half) { return (half & 0x7C00) == 0x7C00; }  // not finite

// Eight codes of q8_0 times scales of their own, or all times one, as halves.
__device__ __forceinline__ uint4 halves_of(uint2 codes, const float (&scale)[8]) {
  float value[8];
#pragma unroll
  for (int i = 0; i < 8; i++)
    value[i] = static_cast<float>(static_cast<int8_t>((i < 4 ? codes.x : codes.y) >> 8 * (i % 4))) * scale[i];
  return {pair_of_halves(value[0], value[1]), pair_of_halves(value[2], value[3]), pair_of_halves(value[4], value[5]),
          pair_of_halves(value[6], value[7])};
}

// What of a page's head goes to shared memory: rows of keys [Dh, 64] or of values [64, padded Dh].
template <KvType type, int width>
struct PageHead {
  const PageLayout& layout;
  const std::byte* layer;
  int64_t head;

  // Rows behind Dh are zeros.
  __device__ __forceinline__ void keys_to(const HalfTile<kPage>& to) const {
    const int64_t first = head * layout.dim * kPage;
    const auto* const scales =
        reinterpret_cast<const uint16_t*>(layer + layout.key_scales_at) + head * layout.blocks * kPage;
#pragma unroll 1
    for (int i = threadIdx.x; i < width * (kPage / 8); i += kThreads) {
      const int d = i / (kPage / 8), chunk = i % (kPage / 8);
      const int64_t at = first + (d < layout.dim ? d * kPage + chunk * 8 : 0);
      if constexpr (type == KvType::kF16) {
        copy_16_async(to.chunk(d, chunk), layer + at * 2, d < layout.dim ? 16 : 0);
      } else {
        uint4 halves{};
        if (d < layout.dim) {
          const uint4 packed = ld(reinterpret_cast<const uint4*>(scales + d / kKvBlock * kPage + chunk * 8));
          const uint32_t pairs[4] = {packed.x, packed.y, packed.z, packed.w};
          float scale[8];
#pragma unroll
          for (int j = 0; j < 8; j++)
            scale[j] = half_bits_to_float(static_cast<uint16_t>(pairs[j / 2] >> 16 * (j % 2)));
          halves = halves_of(ld(reinterpret_cast<const uint2*>(layer + at)), scale);
        }
        *reinterpret_cast<uint4*>(to.chunk(d, chunk)) = halves;
      }
    }
  }
  // Rows from `held` on, which nobody may have written, are zeros, as are columns behind Dh.
  __device__ __forceinline__ void values_to(const HalfTile<width>& to, int held) const {
    const int64_t first = head * kPage * layout.padded;
    const auto* const scales =
        reinterpret_cast<const uint16_t*>(layer + layout.value_scales_at) + head * kPage * layout.blocks;
#pragma unroll 1
    for (int i = threadIdx.x; i < kPage * (width / 8); i += kThreads) {
      const int slot = i / (width / 8), chunk = i % (width / 8);
      const bool there = slot < held && chunk * 8 < layout.padded;
      const int64_t at = first + (there ? slot * layout.padded + chunk * 8 : 0);
      if constexpr (type == KvType::kF16) {
        copy_16_async(to.chunk(slot, chunk), layer + layout.values_at + at * 2, there ? 16 : 0);
      } else {
        uint4 halves{};
        if (there) {
          const float of_block = half_bits_to_float(ld(scales + slot * layout.blocks + chunk * 8 / kKvBlock));
          float scale[8];
#pragma unroll
          for (float& s : scale) s = of_block;
          halves = halves_of(ld(reinterpret_cast<const uint2*>(layer + layout.values_at + at)), scale);
        }
        *reinterpret_cast<uint4*>(to.chunk(slot, chunk)) = halves;
      }
    }
  }
  // Value d of a slot as values_to has it.
  __device__ __forceinline__ uint16_t value(int slot, int64_t d) const {
    float value = stored_value<type>(layer + layout.values_at, (head * kPage + slot) * layout.padded + d);
    if constexpr (type == KvType::kQ8_0) {
      const auto* const scales = reinterpret_cast<const uint16_t*>(layer + layout.value_scales_at);
      value *= half_bits_to_float(ld(scales + (head * kPage + slot) * layout.blocks + d / kKvBlock));
    }
    return float_to_half_bits(value);
  }
};

// Of a warp's 32 rows: lane l has of tile i the rows i * 16 + l / 4 and the one 8 below, of a product's tile the
// columns l % 4 * 2 and the next.
template <int width>
struct Rows32 {
  float out[kTilesDown][width / 8][4] = {};
  float max[kTilesDown][2], sum[kTilesDown][2];  // sums are of this lane's columns
};
using Scores = float[kTilesDown][kScoreTiles][4];
using Weights = uint32_t[kTilesDown][kScoreTiles][2];  // pairs of halves

// S = q · keys
template <int width>
__device__ __forceinline__ void score(const Tiles<width>& tiles, int first_row, Scores& s) {
  const int lane = threadIdx.x % kWarp;
#pragma unroll
  for (int i = 0; i < kTilesDown; i++) {
#pragma unroll
    for (int j = 0; j < kScoreTiles; j++) s[i][j][0] = s[i][j][1] = s[i][j][2] = s[i][j][3] = 0;
  }
#pragma unroll
  for (int k = 0; k < width / 16; k++) {
    uint32_t q[kTilesDown][4];
#pragma unroll
    for (int i = 0; i < kTilesDown; i++)
      load_matrices(q[i], tiles.q.chunk(first_row + i * 16 + lane % 16, 2 * k + lane / 16));
#pragma unroll
    for (int j = 0; j < kScoreTiles; j += 2) {
      uint32_t keys[4];
      load_matrices_transposed(keys, tiles.keys.chunk(k * 16 + lane % 16, j + lane / 16));
#pragma unroll
      for (int i = 0; i < kTilesDown; i++) {
        multiply_halves(s[i][j], q[i], keys[0], keys[1]);
        multiply_halves(s[i][j + 1], q[i], keys[2], keys[3]);
      }
    }
  }
}

// S becomes the weights of the online softmax; sums and outputs so far are rescaled to the new largest scores.
template <int width>
__device__ __forceinline__ void weigh(const Scores& s, Rows32<width>& rows, Weights& weights) {
#pragma unroll
  for (int i = 0; i < kTilesDown; i++) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const float before = rows.max[i][half];
      float largest = before;
#pragma unroll
      for (int j = 0; j < kScoreTiles; j++) {
        largest = s[i][j][2 * half] > largest ? s[i][j][2 * half] : largest;
        largest = s[i][j][2 * half + 1] > largest ? s[i][j][2 * half + 1] : largest;
      }
#pragma unroll
      for (int distance = 1; distance <= 2; distance *= 2) {
        const float other = __shfl_xor_sync(~0u, largest, distance);
        largest = other > largest ? other : largest;
      }
      const float shift = largest == kNothing ? 0.0f : largest, rescale = two_to_the(before - shift),
                  lifted = shift - kLift;
      float sum = 0;
#pragma unroll
      for (int j = 0; j < kScoreTiles; j++) {
        const float a = two_to_the(s[i][j][2 * half] - lifted), b = two_to_the(s[i][j][2 * half + 1] - lifted);
        sum += a + b;
        weights[i][j][half] = pair_of_halves(a, b);
      }
      rows.max[i][half] = largest;
      rows.sum[i][half] = rows.sum[i][half] * rescale + sum;
#pragma unroll
      for (int n = 0; n < width / 8; n++) {
        rows.out[i][n][2 * half] *= rescale;
        rows.out[i][n][2 * half + 1] *= rescale;
      }
    }
  }
}

// out += P · values
template <int width>
__device__ __forceinline__ void gather(const Tiles<width>& tiles, const Weights& weights, Rows32<width>& rows) {
  const int lane = threadIdx.x % kWarp;
#pragma unroll
  for (int k = 0; k < kPage / 16; k++) {
    uint32_t p[kTilesDown][4];
#pragma unroll
    for (int i = 0; i < kTilesDown; i++) {
#pragma unroll
      for (int r = 0; r < 4; r++) p[i][r] = weights[i][2 * k + r / 2][r % 2];
    }
#pragma unroll
    for (int n = 0; n < width / 8; n += 2) {
      uint32_t values[4];
      load_matrices_transposed(values, tiles.values.chunk(k * 16 + lane % 16, n + lane / 16));
#pragma unroll
      for (int i = 0; i < kTilesDown; i++) {
        multiply_halves(rows.out[i][n], p[i], values[0], values[1]);
        multiply_halves(rows.out[i][n + 1], p[i], values[2], values[3]);
      }
    }
  }
}

template <KvType type, int width>
__global__ void __launch_bounds__(kThreads, kBlocksOfMultiprocessor) halves_kernel(Attention a) {
  const PageLayout& p = a.layout;
  const RowBlock& block = a.blocks[blockIdx.x];  // not in registers, of which none are left
  const int64_t head = blockIdx.y / a.parts, part = blockIdx.y % a.parts;
  SharedMemory memory;
  const Tiles<width> tiles{{memory.take<uint16_t>(kHalfRows * width)},
                           {memory.take<uint16_t>(width * kPage)},
                           {memory.take<uint16_t>(kPage * width)}};
  int* const odd = memory.take<int>(1);  // whether the block's result holds what is not finite

  const int lane = threadIdx.x % kWarp, first_row = threadIdx.x / kWarp * kTilesDown * 16;
  const auto row_of = [&](int i, int half) { return first_row + i * 16 + half * 8 + lane / 4; };
  const auto head_of = [&](int r) { return part * a.heads_of_block + r % a.heads_of_block; };
  const auto is_row = [&](int r) { return r < block.tokens * a.heads_of_block && head_of(r) < a.sharing; };
  const auto x_row = [&](int r) { return block.first_row + r / a.heads_of_block; };
  const auto x_column = [&](int r) { return (head * a.sharing + head_of(r)) * p.dim; };

  if (threadIdx.x == 0) *odd = 0;
  const float scale = kLog2E / sqrtf(static_cast<float>(p.dim));
  for (int i = threadIdx.x; i < kHalfRows * width / 2; i += kThreads) {
    const int r = i / (width / 2), d = i % (width / 2) * 2;
    const float* const from = is_row(r) ? a.q.row(x_row(r)) + x_column(r) : nullptr;
    const float low = from != nullptr && d < p.dim ? ld(from + d) * scale : 0.0f;
    const float high = from != nullptr && d + 1 < p.dim ? ld(from + d + 1) * scale : 0.0f;
    *reinterpret_cast<uint32_t*>(tiles.q.chunk(r, d / 8) + d % 8) = pair_of_halves(low, high);
  }

  const Sight oldest = sight_of(a, block, 0), newest = sight_of(a, block, block.tokens - 1);
  const int first_page = oldest.from / kPage, last_page = (newest.to - 1) / kPage;
  const auto page_head = [&](int page) {
    return PageHead<type, width>{p, a.pages[block.first_page + page] + a.layer_offset, head};
  };

  for (int careful = 0; careful < 2; careful++) {
    Rows32<width> rows;
#pragma unroll
    for (int i = 0; i < kTilesDown; i++) {
      rows.max[i][0] = rows.max[i][1] = kNothing;
      rows.sum[i][0] = rows.sum[i][1] = 0;
    }
    page_head(first_page).keys_to(tiles.keys);
    commit_group();
    for (int page = first_page; page <= last_page; page++) {
      const int at = page * kPage;
      wait_for_groups<0>();
      __syncthreads();  // the page's keys are there, and no warp reads the values of the page before
      page_head(page).values_to(tiles.values, block.end - at < kPage ? block.end - at : kPage);
      commit_group();
      Scores s;
      score(tiles, first_row, s);
      wait_for_groups<0>();
      __syncthreads();  // the page's values are there, and no warp reads its keys
      if (page < last_page) page_head(page + 1).keys_to(tiles.keys);
      commit_group();

      if (at + kPage > oldest.to || at < newest.from) {  // not all rows see all of the page
#pragma unroll
        for (int i = 0; i < kTilesDown; i++) {
#pragma unroll
          for (int half = 0; half < 2; half++) {
            const Sight sight = sight_of(a, block, row_of(i, half) / a.heads_of_block);
#pragma unroll
            for (int j = 0; j < kScoreTiles; j++) {
#pragma unroll
              for (int c = 0; c < 2; c++) {
                const int position = at + j * 8 + lane % 4 * 2 + c;
                if (position < sight.from || position >= sight.to) s[i][j][2 * half + c] = kNothing;
              }
            }
          }
        }
      }
      Weights weights;
      weigh(s, rows, weights);
      if (careful) {
        for (int i = threadIdx.x; i < kPage * width; i += kThreads) {
          if (is_odd(tiles.values.data[i])) tiles.values.data[i] = 0;
        }
        __syncthreads();
      }
      gather(tiles, weights, rows);
    }

    bool finite = true;
#pragma unroll
    for (int i = 0; i < kTilesDown; i++) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int r = row_of(i, half);
        float sum = rows.sum[i][half];
        sum += __shfl_xor_sync(~0u, sum, 1);
        sum += __shfl_xor_sync(~0u, sum, 2);
        const float factor = sum > 0 ? 1.0f / sum : 0.0f;
        if (!is_row(r)) continue;
        float* const y = a.y.row(x_row(r)) + x_column(r);
#pragma unroll
        for (int n = 0; n < width / 8; n++) {
#pragma unroll
          for (int c = 0; c < 2; c++) {
            const int d = n * 8 + lane % 4 * 2 + c;
            const float value = rows.out[i][n][2 * half + c] * factor;
            finite = finite && value - value == 0;
            if (d < p.dim) st(y + d, value);
          }
        }
      }
    }
    if (!finite) *odd = 1;
    __syncthreads();
    if (*odd == 0) return;
  }
  // A value that is not finite makes its column of the heads that see it so.
  for (int position = oldest.from; position < newest.to; position++) {
    const PageHead<type, width> values = page_head(position / kPage);
    for (int d = threadIdx.x; d < p.dim; d += kThreads) {
      const uint16_t value = values.value(position % kPage, d);
      if (!is_odd(value)) continue;
      for (int r = 0; r < kHalfRows; r++) {
        const Sight sight = sight_of(a, block, r / a.heads_of_block);
        if (is_row(r) && position >= sight.from && position < sight.to) st(a.y.row(x_row(r)) + x_column(r) + d, NAN);
      }
    }
  }
}

template <KvType type>
auto kernel_of(int64_t dim) {
  if (dim <= 16) return halves_kernel<type, 16>;
  if (dim <= 32) return halves_kernel<type, 32>;
  if (dim <= 64) return halves_kernel<type, 64>;
  return halves_kernel<type, 128>;
}

}  // namespace

void attend_in_halves(CudaStream& stream, const Attention& a, KvType type, int64_t blocks) {
  int width = 16;
  while (width < a.layout.dim) width *= 2;
  const size_t shared = shared_bytes_of(static_cast<size_t>(kHalfRows * width) * 2) +
                        2 * shared_bytes_of(static_cast<size_t>(kPage * width) * 2) + shared_bytes_of(sizeof(int));
  launch(type == KvType::kF16 ? kernel_of<KvType::kF16>(a.layout.dim) : kernel_of<KvType::kQ8_0>(a.layout.dim),
         dim3(grid_size(blocks), grid_size(a.layout.heads * a.parts)), kThreads, shared, stream.handle(), a);
}

}  // namespace llava::cuda
