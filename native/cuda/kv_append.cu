// New keys and values to their pages: a warp takes 32 values of one head of one row.
#include "cuda/kv_layout.cuh"
#include "cuda/stream.h"

namespace llava::cuda {

namespace {

constexpr int kThreads = 128, kWarps = kThreads / kWarp;

struct Append {
  Rows<const float> k, v;
  PageLayout layout;
  uint64_t layer_offset;
  const RowPlace* places;  // [rows]
  int64_t rows;
};

constexpr uint16_t kLargestHalf = 0x7BFF;  // 65504

// The nearest half that is not below x >= 0, with which as a scale no code passes 127. Of what is not finite, itself.
__device__ __forceinline__ uint16_t half_at_least(float x) {
  if (x != x) return 0x7E00;
  if (x > 3.402823466e38f) return 0x7C00;
  const uint16_t nearest = float_to_half_bits(x);
  const uint16_t above = half_bits_to_float(nearest) < x ? nearest + 1 : nearest;
  return above < kLargestHalf ? above : kLargestHalf;
}

// One of 32 lanes' code, with the block's scale. Magnitudes compare as their bits do, NaN above all.
__device__ __forceinline__ int8_t quantise(float value, uint16_t& scale) {
  int largest = __float_as_int(value) & 0x7FFFFFFF;
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    const int other = __shfl_xor_sync(~0u, largest, distance);
    largest = other > largest ? other : largest;
  }
  scale = half_at_least(__int_as_float(largest) / 127.0f);
  const float step = half_bits_to_float(scale);
  if (scale == kLargestHalf) value = fminf(fmaxf(value, -127.0f * step), 127.0f * step);
  const float inverse = step > 0 ? 1.0f / step : 0.0f;
  return inverse == 0 ? int8_t{0} : static_cast<int8_t>(nearbyintf(value * inverse));
}

template <KvType type>
struct Stored {
  using Value = float;
  __device__ static float of(float value) { return value; }
};
template <>
struct Stored<KvType::kF16> {
  using Value = uint16_t;
  __device__ static uint16_t of(float value) { return float_to_half_bits(value); }
};
template <>
struct Stored<KvType::kQ8_0> {
  using Value = int8_t;
};

template <KvType type>
__global__ void __launch_bounds__(kThreads) kv_append_kernel(Append a) {
  using Value = typename Stored<type>::Value;
  const PageLayout& p = a.layout;
  const int64_t unit = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int64_t block = unit % p.blocks, head = unit / p.blocks % p.heads, row = unit / p.blocks / p.heads;
  if (row >= a.rows) return;  // a whole warp
  const RowPlace place = ld(a.places + row);
  uint8_t* const page = reinterpret_cast<uint8_t*>(place.page) + a.layer_offset;
  Value* const keys = reinterpret_cast<Value*>(page) + head * p.dim * kPageTokens + place.slot;
  Value* const values = reinterpret_cast<Value*>(page + p.values_at) + (head * kPageTokens + place.slot) * p.padded;
  const int64_t d = block * kKvBlock + lane;
  const float k = d < p.dim ? ld(a.k.row(row) + head * p.dim + d) : 0.0f;
  const float v = d < p.dim ? ld(a.v.row(row) + head * p.dim + d) : 0.0f;
  if constexpr (type == KvType::kQ8_0) {
    uint16_t key_scale, value_scale;
    const int8_t key = quantise(k, key_scale), value = quantise(v, value_scale);
    if (d < p.dim) st(keys + d * kPageTokens, key);
    if (d < p.padded) st(values + d, value);
    if (lane == 0) {
      auto* const key_scales = reinterpret_cast<uint16_t*>(page + p.key_scales_at);
      auto* const value_scales = reinterpret_cast<uint16_t*>(page + p.value_scales_at);
      st(key_scales + (head * p.blocks + block) * kPageTokens + place.slot, key_scale);
      st(value_scales + (head * kPageTokens + place.slot) * p.blocks + block, value_scale);
    }
  } else {
    if (d < p.dim) st(keys + d * kPageTokens, Stored<type>::of(k));
    if (d < p.padded) st(values + d, Stored<type>::of(v));
  }
}

}  // namespace

namespace {

// Of every row of the batch: one upload for all layers.
const RowPlace* row_places(CudaStream& stream, const KvPages& cache) {
  std::vector<std::byte> list;
  for (const KvSequence& sequence : cache.sequences) {
    for (int64_t position = sequence.end - sequence.rows; position < sequence.end; position++) {
      const RowPlace place{pointer(sequence.pages[static_cast<size_t>(position / kPageTokens)]),
                           position % kPageTokens};
      const auto* const bytes = reinterpret_cast<const std::byte*>(&place);
      list.insert(list.end(), bytes, bytes + sizeof place);
    }
  }
  return static_cast<const RowPlace*>(stream.append_tables.upload(list));
}

}  // namespace

void kv_append(Stream& s, const KvAppendArgs& a) {
  if (a.k.rows == 0) return;
  CudaStream& stream = cuda_stream(s);
  const PageLayout layout = page_layout(a.cache.layout);
  const Append append{rows_of(a.k), rows_of(a.v), layout, a.cache.layer_offset, row_places(stream, a.cache), a.k.rows};
  const int64_t units = a.k.rows * layout.heads * layout.blocks;
  const auto kernel = a.cache.layout.type == KvType::kQ8_0  ? kv_append_kernel<KvType::kQ8_0>
                      : a.cache.layout.type == KvType::kF16 ? kv_append_kernel<KvType::kF16>
                                                            : kv_append_kernel<KvType::kF32>;
  launch(kernel, grid_size(divided_up(units, kWarps)), kThreads, 0, stream.handle(), append);
}

}  // namespace llava::cuda
