// Attention by online softmax over KV pages (Milakov & Gimelshein 2018; FlashAttention): no T x T matrix.
//   A task takes one kv head and a block of query rows of all the heads that share it; for each page, in order:
//     scores[m, page] = (q / sqrt(Dh)) · keys[Dh, page];  mask;  p = exp(scores - m);  out[m, Dh] = out * rescale + p · values[page, Dh]
//   The pages are read in the same order with the same sums for 1 row as for 1,000, so prefill and decode agree bit for bit.
#include <cmath>
#include <cstring>
#include <limits>

#include "common/half.h"
#include "cpu/stream.h"

namespace llava::cpu {

namespace {

constexpr int64_t kQueryRows = 60;  // rows of a task: five 12-row tiles of AVX-512, ten 6-row tiles of AVX2

// A worker's scratch, in floats.
struct Scratch {
  float* q;       // [rows, Dh] scaled queries
  float* scores;  // [rows, kPageTokens]
  float* out;     // [rows, padded Dh]
  float* max;     // [rows]
  float* sum;     // [rows]
  float* keys;    // [Dh, kPageTokens]
  float* values;  // [kPageTokens, padded Dh]
};

int64_t scratch_floats(int64_t rows, int64_t dh) { return rows * (dh + kPageTokens + padded_head_dim(dh) + 2) + kPageTokens * (dh + padded_head_dim(dh)) + 7 * 16; }

Scratch scratch_of(std::byte* memory, int64_t rows, int64_t dh) {
  auto next = [at = reinterpret_cast<float*>(memory)](int64_t count) mutable {
    float* here = at;
    at += (count + 15) / 16 * 16;
    return here;
  };
  Scratch s{};
  s.q = next(rows * dh);
  s.scores = next(rows * kPageTokens);
  s.out = next(rows * padded_head_dim(dh));
  s.max = next(rows);
  s.sum = next(rows);
  s.keys = next(dh * kPageTokens);
  s.values = next(kPageTokens * padded_head_dim(dh));
  return s;
}

// Where the parts of one head lie in a page.
struct Head {
  std::byte* keys;         // [Dh, kPageTokens]
  std::byte* values;       // [kPageTokens, padded Dh]
  uint16_t* key_scales;    // [blocks, kPageTokens]; scales of q8_0 only
  uint16_t* value_scales;  // [kPageTokens, blocks]
  Head(const KvPages& cache, std::byte* page, int64_t head) {
    const int64_t dh = cache.head_dim, element = kv_bytes(cache.type), scales = kv_blocks(dh) * kPageTokens;
    const int64_t all_keys = page_keys(cache.kv_heads, dh), all_values = page_values(cache.kv_heads, dh);
    keys = page + head * dh * kPageTokens * element;
    values = page + (all_keys + head * padded_head_dim(dh) * kPageTokens) * element;
    key_scales = reinterpret_cast<uint16_t*>(page + all_keys + all_values) + head * scales;
    value_scales = key_scales + cache.kv_heads * scales;
  }
};

// Keys and values as f32: in place, or converted into scratch.
const float* keys_f32(const KernelTable& k, const KvPages& cache, const Head& head, float* scratch) {
  switch (cache.type) {
    case KvType::kF32: return reinterpret_cast<const float*>(head.keys);
    case KvType::kF16: k.expand_f16(head.keys, scratch, cache.head_dim * kPageTokens); break;
    case KvType::kQ8_0: k.expand_keys_q8(reinterpret_cast<const int8_t*>(head.keys), head.key_scales, cache.head_dim, kPageTokens, scratch); break;
  }
  return scratch;
}

const float* values_f32(const KernelTable& k, const KvPages& cache, const Head& head, int64_t positions, float* scratch) {
  const int64_t width = padded_head_dim(cache.head_dim);
  switch (cache.type) {
    case KvType::kF32: return reinterpret_cast<const float*>(head.values);
    case KvType::kF16: k.expand_f16(head.values, scratch, positions * width); break;
    case KvType::kQ8_0: k.expand_values_q8(reinterpret_cast<const int8_t*>(head.values), head.value_scales, positions, width, scratch); break;
  }
  return scratch;
}

void attend_block(const KernelTable& k, const AttentionArgs& a, int64_t kv_head, int64_t first, int64_t tokens, Scratch s) {
  const int64_t dh = a.cache.head_dim, dhp = padded_head_dim(dh), sharing = a.heads / a.cache.kv_heads, rows = tokens * sharing;
  const int64_t past = a.keys - a.q.rows;
  const float scale = 1.0f / std::sqrt(static_cast<float>(dh));
  for (int64_t r = 0; r < rows; r++) {  // row r: token first + r / sharing, head kv_head * sharing + r % sharing
    k.scale(a.q.row(first + r / sharing) + (kv_head * sharing + r % sharing) * dh, scale, s.q + r * dh, dh);
    s.max[r] = -std::numeric_limits<float>::infinity();
    s.sum[r] = 0;
  }
  std::memset(s.out, 0, static_cast<size_t>(rows * dhp) * sizeof(float));
  const int64_t visible = a.causal ? past + first + tokens : a.keys;  // what the last row of the block sees
  const int64_t oldest = a.window > 0 ? std::max<int64_t>(0, past + first + 1 - a.window) : 0;  // what the first row still sees
  for (int64_t at = oldest / kPageTokens * kPageTokens; at < visible; at += kPageTokens) {
    const Head head(a.cache, a.cache.pages[at / kPageTokens], kv_head);
    const int64_t held = std::min(kPageTokens, visible - at);
    const float* keys = keys_f32(k, a.cache, head, s.keys);
    k.gemm_f32(rows, kPageTokens, dh, s.q, dh, keys, kPageTokens, s.scores, kPageTokens, false);
    const float* values = values_f32(k, a.cache, head, held, s.values);
    for (int64_t r = 0; r < rows; r++) {
      float* scores = s.scores + r * kPageTokens;
      const int64_t position = past + first + r / sharing;
      const int64_t sees = a.causal ? std::min(held, position + 1 - at) : held;
      const int64_t forgotten = a.window > 0 ? std::min(kPageTokens, position + 1 - a.window - at) : 0;
      for (int64_t j = 0; j < forgotten; j++) scores[j] = -std::numeric_limits<float>::infinity();
      for (int64_t j = std::max<int64_t>(sees, 0); j < kPageTokens; j++) scores[j] = -std::numeric_limits<float>::infinity();
      const float rescale = k.online_softmax(scores, kPageTokens, s.max + r, s.sum + r);
      if (rescale != 1.0f) k.scale(s.out + r * dhp, rescale, s.out + r * dhp, dhp);
    }
    k.gemm_f32(rows, dhp, held, s.scores, kPageTokens, values, dhp, s.out, dhp, true);
  }
  for (int64_t r = 0; r < rows; r++) {
    k.scale(s.out + r * dhp, s.sum[r] > 0 ? 1.0f / s.sum[r] : 0.0f, a.y.row(first + r / sharing) + (kv_head * sharing + r % sharing) * dh, dh);
  }
}

// ---- writing ----------------------------------------------------------------------------------------------------------------

// One head's key and value at one position, each padded with zeros to whole blocks, and scratch to convert them; a worker's.
struct NewRow {
  float* key;         // [blocks * 32]
  float* value;       // [blocks * 32]
  float* inverse;     // [blocks] largest magnitudes, then 1 / scale
  int32_t* sum;       // [2 * blocks]
  uint16_t* half;     // [blocks * 32]
  int8_t* codes;      // [blocks * 32]
};

int64_t new_row_floats(int64_t blocks) { return blocks * (2 * kKvBlock + 3 + kKvBlock / 2 + kKvBlock / 4); }

NewRow new_row_of(std::byte* memory, int64_t blocks) {
  NewRow row{};
  row.key = reinterpret_cast<float*>(memory);
  row.value = row.key + blocks * kKvBlock;
  row.inverse = row.value + blocks * kKvBlock;
  row.sum = reinterpret_cast<int32_t*>(row.inverse + blocks);
  row.half = reinterpret_cast<uint16_t*>(row.sum + 2 * blocks);
  row.codes = reinterpret_cast<int8_t*>(row.half + blocks * kKvBlock);
  std::memset(memory, 0, static_cast<size_t>(2 * blocks * kKvBlock) * sizeof(float));
  return row;
}

void store_f32(const Head& head, int64_t slot, int64_t dh, const NewRow& row) {
  auto* keys = reinterpret_cast<float*>(head.keys);
  for (int64_t d = 0; d < dh; d++) keys[d * kPageTokens + slot] = row.key[d];
  std::memcpy(reinterpret_cast<float*>(head.values) + slot * padded_head_dim(dh), row.value, static_cast<size_t>(padded_head_dim(dh)) * sizeof(float));
}

void store_f16(const KernelTable& k, const Head& head, int64_t slot, int64_t dh, const NewRow& row) {
  auto* keys = reinterpret_cast<uint16_t*>(head.keys);
  k.narrow_f16(row.key, row.half, dh);
  for (int64_t d = 0; d < dh; d++) keys[d * kPageTokens + slot] = row.half[d];
  k.narrow_f16(row.value, reinterpret_cast<uint16_t*>(head.values) + slot * padded_head_dim(dh), padded_head_dim(dh));
}

// The nearest half that is not below x >= 0: with it as the scale of a block no code passes 127.
uint16_t half_at_least(float x) {
  const uint16_t nearest = float_to_half(x);
  return half_to_float(nearest) < x ? nearest + 1 : nearest;
}

// Codes of `values` into row.codes; scales `step` apart. A block that is not finite has a scale that is not, and codes 0: it reads as NaN.
void quantise(const KernelTable& k, const float* values, int64_t blocks, const NewRow& row, uint16_t* scales, int64_t step) {
  k.block_largest(values, blocks * kKvBlock, row.inverse);
  for (int64_t b = 0; b < blocks; b++) {
    scales[b * step] = half_at_least(row.inverse[b] / 127);
    const float scale = half_to_float(scales[b * step]);
    row.inverse[b] = scale > 0 ? 1 / scale : 0;
  }
  k.quantize_q8(values, blocks * kKvBlock, row.inverse, 1, row.codes, row.sum);
}

void store_q8(const KernelTable& k, const Head& head, int64_t slot, int64_t dh, const NewRow& row) {
  const int64_t blocks = kv_blocks(dh), dhp = padded_head_dim(dh);
  quantise(k, row.key, blocks, row, head.key_scales + slot, kPageTokens);
  for (int64_t d = 0; d < dh; d++) reinterpret_cast<int8_t*>(head.keys)[d * kPageTokens + slot] = row.codes[d];
  quantise(k, row.value, blocks, row, head.value_scales + slot * blocks, 1);
  std::memcpy(head.values + slot * dhp, row.codes, static_cast<size_t>(dhp));
}

}  // namespace

void attention(Stream& s, const AttentionArgs& a) {
  CpuStream& stream = cpu_stream(s);
  const int64_t sharing = a.heads / a.cache.kv_heads, block = std::max<int64_t>(1, kQueryRows / sharing), blocks = (a.q.rows + block - 1) / block;
  const int64_t rows = block * sharing, dh = a.cache.head_dim;
  stream.reserve_per_worker(static_cast<uint64_t>(scratch_floats(rows, dh)) * sizeof(float));
  stream.parallel(a.cache.kv_heads * blocks, [&](int64_t index, int worker) {
    const int64_t first = index % blocks * block;
    attend_block(stream.kernels, a, index / blocks, first, std::min(block, a.q.rows - first), scratch_of(stream.of_worker(worker), rows, dh));
  });
}

void kv_append(Stream& s, const KvAppendArgs& a) {
  CpuStream& stream = cpu_stream(s);
  const int64_t dh = a.cache.head_dim, blocks = kv_blocks(dh);
  stream.reserve_per_worker(static_cast<uint64_t>(new_row_floats(blocks)) * sizeof(float));
  stream.parallel(a.cache.kv_heads, [&](int64_t index, int worker) {
    const NewRow row = new_row_of(stream.of_worker(worker), blocks);
    for (int64_t t = 0; t < a.k.rows; t++) {
      const int64_t position = a.first + t, slot = position % kPageTokens;
      const Head head(a.cache, a.cache.pages[position / kPageTokens], index);
      std::memcpy(row.key, a.k.row(t) + index * dh, static_cast<size_t>(dh) * sizeof(float));
      std::memcpy(row.value, a.v.row(t) + index * dh, static_cast<size_t>(dh) * sizeof(float));
      switch (a.cache.type) {
        case KvType::kF32: store_f32(head, slot, dh, row); break;
        case KvType::kF16: store_f16(stream.kernels, head, slot, dh, row); break;
        case KvType::kQ8_0: store_q8(stream.kernels, head, slot, dh, row); break;
      }
    }
  });
}

}  // namespace llava::cpu
