// What the two kinds of attention share: attention.cu in float32, attention_halves.cu on tensor cores.
#pragma once
#include "cuda/kv_layout.cuh"
#include "cuda/stream.h"

namespace llava::cuda {

constexpr int kPage = static_cast<int>(kPageTokens);
constexpr float kNothing = -INFINITY;  // the largest of no scores

// Query rows of one sequence that a block of threads takes: some tokens, of each the heads that share a kv head, or as
// many of them as there is room for.
struct RowBlock {
  int32_t first_row;   // of the batch
  int32_t position;    // of its first token
  int32_t end;         // of its sequence
  int32_t first_page;  // of its sequence, in the table
  int32_t tokens;
  int32_t first_span, spans;  // that its rows see, where attention is split
  int32_t first_task;         // task first_task + i is span first_span + i
};

struct Attention {
  Rows<const float> q;
  Rows<float> y;
  PageLayout layout;
  uint64_t layer_offset;
  int32_t sharing;         // heads that share a kv head
  int32_t heads_of_block;  // of these
  int32_t parts;           // blocks that a kv head's heads take
  bool causal;
  int32_t window;
  const RowBlock* blocks;
  std::byte* const* pages;
};

// The positions that a token sees: [from, to).
struct Sight {
  int32_t from, to;
};
__device__ __forceinline__ Sight sight_of(const Attention& a, const RowBlock& block, int32_t token) {
  if (!a.causal) return {0, block.end};
  const int32_t to = block.position + token + 1;
  return {a.window > 0 && to > a.window ? to - a.window : 0, to};
}

// Of sequences of more than kFewRows rows, over keys and values in f16 or q8_0, with heads of up to 128: factors in
// f16, whose products tensor cores sum in float32.
constexpr int64_t kMostHalfColumns = 128;
inline bool attends_in_halves(const AttentionArgs& args, const KvSequence& sequence) {
  return args.arithmetic == Arithmetic::kFast && sequence.rows > kFewRows && args.cache.layout.type != KvType::kF32 &&
         args.cache.layout.head_dim <= kMostHalfColumns;
}

constexpr int kHalfRows = 128;  // of a block
// blocks and pages are set; `blocks` of them.
void attend_in_halves(CudaStream& stream, const Attention& a, KvType type, int64_t blocks);

}  // namespace llava::cuda
