// The softmax weights of causal attention themselves, of the few rows that somebody asks about.
//   A task takes one row and one kv head: scores of all the heads that share it, page by page, over every position that
//   the row sees; one softmax over each head's, and zeros where the row does not see.
#include <cmath>
#include <limits>

#include "cpu/attention_block.h"
#include "cpu/stream.h"

namespace llava::cpu {

namespace {

// A row of the batch in its sequence. It sees the positions [from, to).
struct SeeingRow {
  const KvSequence* sequence;
  int64_t from, to;
  int64_t first_page() const { return from / kPageTokens; }
  int64_t pages() const { return (to + kPageTokens - 1) / kPageTokens - first_page(); }
};

std::vector<SeeingRow> seeing_rows(const AttentionWeightsArgs& a) {
  std::vector<SeeingRow> rows;
  for (const KvSequence& sequence : a.cache.sequences) {
    for (int64_t r = 0; r < sequence.rows; r++) {
      const int64_t to = sequence.end - sequence.rows + r + 1;
      rows.push_back({&sequence, a.window > 0 ? std::max<int64_t>(0, to - a.window) : 0, to});
    }
  }
  return rows;
}

// A worker's scratch, in floats.
struct Scratch {
  float* q;       // [sharing, Dh] scaled queries
  float* keys;    // [Dh, kPageTokens]
  float* scores;  // [sharing, positions of the pages]
};

int64_t scratch_floats(int64_t sharing, int64_t dh, int64_t width) {
  return round_up(sharing * dh, 16) + dh * kPageTokens + sharing * width;
}

Scratch scratch_of(std::byte* memory, int64_t sharing, int64_t dh) {
  float* const q = reinterpret_cast<float*>(memory);
  float* const keys = q + round_up(sharing * dh, 16);
  return {q, keys, keys + dh * kPageTokens};
}

// y[K] = softmax(scores), where the row sees; `skipped` positions of the first page lie before its window.
void weigh(const KernelTable& k, float* scores, int64_t width, int64_t skipped, const SeeingRow& row, float* y,
           int64_t columns) {
  constexpr float kNothing = -std::numeric_limits<float>::infinity();
  const int64_t seen = row.to - row.from;
  std::fill(scores, scores + skipped, kNothing);
  std::fill(scores + skipped + seen, scores + width, kNothing);
  float max = kNothing, sum = 0;
  k.online_softmax(scores, width, &max, &sum);
  std::fill(y, y + row.from, 0.0f);
  k.scale(scores + skipped, sum == 0 ? 0.0f : 1.0f / sum, y + row.from, seen);
  std::fill(y + row.to, y + columns, 0.0f);
}

}  // namespace

void attention_weights(Stream& s, const AttentionWeightsArgs& a) {
  CpuStream& stream = cpu_stream(s);
  const KernelTable& k = stream.kernels;
  const HostRows<const float> q = host(a.q);
  const HostRows<float> y = host(a.y);
  const KvLayout& layout = a.cache.layout;
  const int64_t dh = layout.head_dim, sharing = a.heads / layout.kv_heads;
  const float scale = 1.0f / std::sqrt(static_cast<float>(dh));
  const std::vector<SeeingRow> rows = seeing_rows(a);
  int64_t pages = 0;
  for (const SeeingRow& row : rows) pages = std::max(pages, row.pages());
  stream.reserve_per_worker(static_cast<uint64_t>(scratch_floats(sharing, dh, pages * kPageTokens)) * sizeof(float));
  stream.parallel(static_cast<int64_t>(rows.size()) * layout.kv_heads, [&](int64_t index, int worker) {
    const int64_t t = index / layout.kv_heads, kv_head = index % layout.kv_heads;
    const SeeingRow& row = rows[static_cast<size_t>(t)];
    const int64_t width = row.pages() * kPageTokens, first = row.first_page();
    const Scratch scratch = scratch_of(stream.of_worker(worker), sharing, dh);
    k.scale(q.row(t) + kv_head * sharing * dh, scale, scratch.q, sharing * dh);
    for (int64_t page = 0; page < row.pages(); page++) {
      const Head head(layout, layer_of(a.cache, *row.sequence, first + page), kv_head);
      const int64_t held = std::min(kPageTokens, row.to - (first + page) * kPageTokens);
      k.gemm_f32({.m = sharing,
                  .n = round_up(held, 16),
                  .k = dh,
                  .a = scratch.q,
                  .lda = dh,
                  .b = f32_keys(k, layout, head, scratch.keys),
                  .ldb = kPageTokens,
                  .c = scratch.scores + page * kPageTokens,
                  .ldc = width,
                  .accumulate = false});
    }
    for (int64_t h = 0; h < sharing; h++)
      weigh(k, scratch.scores + h * width, width, row.from - first * kPageTokens, row,
            y.row(t * a.heads + kv_head * sharing + h), y.cols);
  });
}

}  // namespace llava::cpu
