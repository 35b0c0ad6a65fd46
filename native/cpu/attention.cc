// Attention by online softmax over KV pages (Milakov & Gimelshein 2018; FlashAttention): no T x T matrix.
//   A task takes one kv head and a block of query rows of all the heads that share it; for each page, in order:
//     scores[m, page] = (q / sqrt(Dh)) · keys[Dh, page];  mask;  p = exp(scores - m);  out[m, Dh] = out * rescale + p · values[page, Dh]
//   The pages are read in the same order with the same sums for 1 row as for 1,000, so prefill and decode agree bit for bit.
#include <cmath>
#include <cstring>
#include <limits>

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

// `count` cached values as f32: in place, or converted into scratch.
const float* as_f32(const KernelTable& k, KvType type, const std::byte* from, int64_t count, float* scratch) {
  if (type == KvType::kF32) return reinterpret_cast<const float*>(from);
  k.expand_f16(from, scratch, count);
  return scratch;
}

void attend_block(const KernelTable& k, const AttentionArgs& a, int64_t kv_head, int64_t first, int64_t tokens, Scratch s) {
  const int64_t dh = a.cache.head_dim, dhp = padded_head_dim(dh), sharing = a.heads / a.cache.kv_heads, rows = tokens * sharing;
  const int64_t element = kv_bytes(a.cache.type), past = a.keys - a.q.rows;
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
    const std::byte* page = a.cache.pages[at / kPageTokens];
    const int64_t held = std::min(kPageTokens, visible - at);
    const float* keys = as_f32(k, a.cache.type, page + kv_head * dh * kPageTokens * element, dh * kPageTokens, s.keys);
    k.gemm_f32(rows, kPageTokens, dh, s.q, dh, keys, kPageTokens, s.scores, kPageTokens, false);
    const std::byte* page_v = page + (page_keys(a.cache.kv_heads, dh) + kv_head * dhp * kPageTokens) * element;
    const float* values = as_f32(k, a.cache.type, page_v, held * dhp, s.values);
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
  const int64_t dh = a.cache.head_dim, dhp = padded_head_dim(dh), heads = a.cache.kv_heads;
  const bool f16 = a.cache.type == KvType::kF16;
  stream.reserve_per_worker(static_cast<uint64_t>(2 * dhp) * sizeof(float));
  stream.parallel(heads, [&](int64_t head, int worker) {
    float* value_row = reinterpret_cast<float*>(stream.of_worker(worker));
    auto* key_row = reinterpret_cast<uint16_t*>(value_row + dhp);
    std::memset(value_row, 0, static_cast<size_t>(dhp) * sizeof(float));
    for (int64_t t = 0; t < a.k.rows; t++) {
      const int64_t position = a.first + t, slot = position % kPageTokens;
      std::byte* page = a.cache.pages[position / kPageTokens];
      const int64_t key_at = head * dh * kPageTokens + slot, value_at = page_keys(heads, dh) + (head * kPageTokens + slot) * dhp;
      const float* key = a.k.row(t) + head * dh;
      std::memcpy(value_row, a.v.row(t) + head * dh, static_cast<size_t>(dh) * sizeof(float));
      if (f16) {
        auto* out = reinterpret_cast<uint16_t*>(page);
        stream.kernels.narrow_f16(key, key_row, dh);
        for (int64_t d = 0; d < dh; d++) out[key_at + d * kPageTokens] = key_row[d];
        stream.kernels.narrow_f16(value_row, out + value_at, dhp);
      } else {
        auto* out = reinterpret_cast<float*>(page);
        for (int64_t d = 0; d < dh; d++) out[key_at + d * kPageTokens] = key[d];
        std::memcpy(out + value_at, value_row, static_cast<size_t>(dhp) * sizeof(float));
      }
    }
  });
}

}  // namespace llava::cpu
