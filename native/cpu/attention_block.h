// What attention walks over: query rows of a kv head of one sequence, and where their keys and values lie.
#pragma once
#include <algorithm>

#include "cpu/host_view.h"
#include "cpu/kernels/table.h"
#include "cpu/kv_layout.h"

namespace llava::cpu {

constexpr int64_t kDiagonalRows = 12;  // rows that end at a diagonal of their own
constexpr int64_t kHalfRows = 2;       // that read a cache of halves as it is: more are worth a copy in f32
// keys of one step of the online softmax: long enough for its horizontal sums not to count
constexpr int64_t kSpan = 4 * kPageTokens;

// Where the parts of one head lie in a page.
struct Head {
  std::byte* keys;         // [Dh, kPageTokens]
  std::byte* values;       // [kPageTokens, padded Dh]
  uint16_t* key_scales;    // [blocks, kPageTokens]; scales of q8_0 only
  uint16_t* value_scales;  // [kPageTokens, blocks]
  Head(const KvLayout& layout, std::byte* page, int64_t head) {
    const int64_t dh = layout.head_dim, element = kv_bytes(layout.type), scales = kv_blocks(dh) * kPageTokens;
    const int64_t all_keys = page_keys(layout.kv_heads, dh), all_values = page_values(layout.kv_heads, dh);
    keys = page + head * dh * kPageTokens * element;
    values = page + (all_keys + head * padded_head_dim(dh) * kPageTokens) * element;
    key_scales = reinterpret_cast<uint16_t*>(page + all_keys + all_values) + head * scales;
    value_scales = key_scales + layout.kv_heads * scales;
  }
};

// One layer's part of a page of a sequence.
inline std::byte* layer_of(const KvPages& cache, const KvSequence& sequence, int64_t page) {
  return host(sequence.pages[static_cast<size_t>(page)]) + cache.layer_offset;
}

// Keys and values as f32: in place, or converted into scratch.
inline const float* f32_keys(const KernelTable& k, const KvLayout& layout, const Head& head, float* scratch) {
  switch (layout.type) {
    case KvType::kF32: return reinterpret_cast<const float*>(head.keys);
    case KvType::kF16: k.expand_f16(head.keys, scratch, layout.head_dim * kPageTokens); break;
    case KvType::kQ8_0:
      k.expand_keys_q8(reinterpret_cast<const int8_t*>(head.keys), head.key_scales, layout.head_dim, kPageTokens,
                       scratch);
      break;
  }
  return scratch;
}

inline const float* f32_values(const KernelTable& k, const KvLayout& layout, const Head& head, int64_t positions,
                               float* scratch) {
  const int64_t width = padded_head_dim(layout.head_dim);
  switch (layout.type) {
    case KvType::kF32: return reinterpret_cast<const float*>(head.values);
    case KvType::kF16: k.expand_f16(head.values, scratch, positions * width); break;
    case KvType::kQ8_0:
      k.expand_values_q8(reinterpret_cast<const int8_t*>(head.values), head.value_scales, positions, width, scratch);
      break;
  }
  return scratch;
}

// What attend_block walks over: query rows of a kv head of one sequence, and where their keys lie.
struct Block {
  const AttentionArgs& a;
  const KvSequence& sequence;
  int64_t begin;  // row of the batch where the sequence begins
  int64_t kv_head;
  int64_t first;  // row of the sequence
  int64_t tokens;
  int64_t sharing;   // heads that read this kv head
  const void* next;  // what this thread reads after this block, or null
  // row r: token first + r / sharing, head kv_head * sharing + r % sharing
  int64_t rows() const { return tokens * sharing; }
  int64_t batch_row(int64_t row) const { return begin + first + row / sharing; }
  int64_t position(int64_t row) const { return sequence.end - sequence.rows + first + row / sharing; }
  int64_t column(int64_t row) const { return (kv_head * sharing + row % sharing) * layout().head_dim; }
  const KvLayout& layout() const { return a.cache.layout; }
  // Positions [oldest, visible) are seen by some row.
  int64_t oldest() const { return a.window > 0 ? std::max<int64_t>(0, position(0) + 1 - a.window) : 0; }
  int64_t visible() const { return visible_to(rows() - 1); }
  int64_t visible_to(int64_t row) const { return a.causal ? position(row) + 1 : sequence.end; }
  Head page(int64_t at) const { return {layout(), layer_of(a.cache, sequence, at / kPageTokens), kv_head}; }
  int64_t span_end(int64_t at) const { return std::min(at / kSpan * kSpan + kSpan, visible()); }
  const void* first_keys() const { return page(oldest() / kSpan * kSpan).keys; }
  // What is read after the keys of the page at `at`: those of the next page of the span, or the span's first values.
  const void* after_keys(int64_t at) const {
    return at + kPageTokens < span_end(at) ? page(at + kPageTokens).keys : page(at / kSpan * kSpan).values;
  }
  const void* after_values(int64_t at) const {
    if (at + kPageTokens < span_end(at)) return page(at + kPageTokens).values;
    if (span_end(at) < visible()) return page(span_end(at)).keys;
    return next != nullptr ? next : page(at).values;
  }
  bool reads_halves() const { return layout().type == KvType::kF16 && rows() <= kHalfRows; }
  // Of the page at `at`: positions that some row of the tile that begins at `row` sees.
  int64_t held(int64_t row, int64_t at) const { return held_by(std::min(row + kDiagonalRows, rows()) - 1, at); }
  int64_t held_by(int64_t row, int64_t at) const { return std::clamp<int64_t>(visible_to(row) - at, 0, kPageTokens); }
  // Positions of it that lie before the row's window.
  int64_t forgotten_by(int64_t row, int64_t at) const {
    return a.window > 0 ? std::clamp<int64_t>(position(row) + 1 - a.window - at, 0, kPageTokens) : 0;
  }
};

}  // namespace llava::cpu
