// Attention by online softmax over KV pages (Milakov & Gimelshein 2018; FlashAttention): no T x T matrix.
//   A task takes one kv head of one sequence and a block of query rows of all the heads that share it; for each span of
//   four pages, in order:
//     scores[m, span] = (q / sqrt(Dh)) · keys[Dh, span];  mask;  p = exp(scores - m);  out[m, Dh] = out * rescale + p ·
//     values[span, Dh]
//   Spans begin at multiples of their length and are read in the same order with the same sums for 1 row as for 1,000,
//   so prefill and decode agree bit for bit.
#include <cmath>
#include <cstring>
#include <limits>
#include <span>

#include "common/aligned.h"
#include "common/half.h"
#include "cpu/attention_block.h"
#include "cpu/attention_tiles.h"
#include "cpu/factors.h"
#include "cpu/stream.h"

namespace llava::cpu {

namespace {

constexpr int64_t kQueryRows = 60;  // rows of a task: five 12-row tiles of AVX-512, ten 6-row tiles of AVX2

// A worker's scratch, in floats.
struct Scratch {
  float* q;       // [rows, Dh] scaled queries
  float* scores;  // [rows, kSpan]
  float* out;     // [rows, padded Dh]
  float* max;     // [rows]
  float* sum;     // [rows]
  float* keys;    // [Dh, kPageTokens]
  float* values;  // [kPageTokens, padded Dh]
};

int64_t scratch_floats(int64_t rows, int64_t dh) {
  return rows * (dh + kSpan + padded_head_dim(dh) + 2) + kPageTokens * (dh + padded_head_dim(dh)) + 7 * 16;
}

Scratch scratch_of(std::byte* memory, int64_t rows, int64_t dh) {
  auto next = [at = reinterpret_cast<float*>(memory)](int64_t count) mutable {
    float* here = at;
    at += round_up(count, 16);
    return here;
  };
  Scratch s{};
  s.q = next(rows * dh);
  s.scores = next(rows * kSpan);
  s.out = next(rows * padded_head_dim(dh));
  s.max = next(rows);
  s.sum = next(rows);
  s.keys = next(dh * kPageTokens);
  s.values = next(kPageTokens * padded_head_dim(dh));
  return s;
}

// scores[rows, width] of the positions from `at` on, which are whole pages.
void score_span(const KernelTable& k, const Block& block, int64_t at, int64_t width, const Scratch& s) {
  const int64_t dh = block.layout().head_dim;
  for (int64_t page = 0; page < width; page += kPageTokens) {
    const Head head = block.page(at + page);
    if (block.reads_halves()) {
      const int64_t columns = round_up(block.held(0, at + page), 16);
      k.gemm_f16({.m = block.rows(),
                  .n = columns,
                  .k = dh,
                  .a = s.q,
                  .lda = dh,
                  .b = reinterpret_cast<const uint16_t*>(head.keys),
                  .ldb = kPageTokens,
                  .c = s.scores + page,
                  .ldc = kSpan,
                  .accumulate = false},
                 block.after_keys(at + page));
      continue;
    }
    const float* keys = f32_keys(k, block.layout(), head, s.keys);
    for (int64_t r = 0; r < block.rows(); r += kDiagonalRows) {
      const int64_t columns = round_up(block.held(r, at + page), 16), rows = std::min(kDiagonalRows, block.rows() - r);
      if (columns <= 0) continue;
      k.gemm_f32({.m = rows,
                  .n = columns,
                  .k = dh,
                  .a = s.q + r * dh,
                  .lda = dh,
                  .b = keys,
                  .ldb = kPageTokens,
                  .c = s.scores + r * kSpan + page,
                  .ldc = kSpan,
                  .accumulate = false});
    }
  }
}

// scores -> weights of the online softmax; what was gathered in out before is rescaled to the new maximum.
void weigh_span(const KernelTable& k, const Block& block, int64_t at, int64_t width, const Scratch& s) {
  constexpr float kNothing = -std::numeric_limits<float>::infinity();
  const int64_t dhp = padded_head_dim(block.layout().head_dim), held = std::min(width, block.visible() - at);
  for (int64_t r = 0; r < block.rows(); r++) {
    float* scores = s.scores + r * kSpan;
    const int64_t position = block.position(r);
    const int64_t sees = std::max<int64_t>(0, block.a.causal ? std::min(held, position + 1 - at) : held);
    const int64_t forgotten = block.a.window > 0 ? std::clamp<int64_t>(position + 1 - block.a.window - at, 0, sees) : 0;
    std::fill(scores, scores + forgotten, kNothing);
    std::fill(scores + sees, scores + width, kNothing);
    const float rescale = k.online_softmax(scores, width, s.max + r, s.sum + r);
    if (rescale != 1.0f) k.scale(s.out + r * dhp, rescale, s.out + r * dhp, dhp);
  }
}

// product(row, rows, from, to): rows [row, row + rows) times positions [from, to) of the page at `at`. Together they
// are what each of the rows from r on sees, in order: what all see at once, what only some see row by row. A weight of
// 0 would not do, as 0 times a value that overflowed is NaN.
template <class Product>
void for_positions_seen(const Block& block, int64_t r, int64_t rows, int64_t at, const Product& product) {
  const int64_t end = r + rows, from = block.forgotten_by(end - 1, at), to = std::max(from, block.held_by(r, at));
  const auto alone = [&](int64_t row, int64_t first, int64_t last) {
    first = std::max(first, block.forgotten_by(row, at));
    last = std::min(last, block.held_by(row, at));
    if (first < last) product(row, 1, first, last);
  };
  for (int64_t row = r; row < end; row++) alone(row, 0, from);
  if (from < to) product(r, rows, from, to);
  for (int64_t row = r; row < end; row++) alone(row, to, kPageTokens);
}

// out += weights · values
void gather_span(const KernelTable& k, const Block& block, int64_t at, int64_t width, const Scratch& s) {
  const int64_t dhp = padded_head_dim(block.layout().head_dim);
  for (int64_t page = 0; page < width; page += kPageTokens) {
    const Head head = block.page(at + page);
    if (block.reads_halves()) {
      for_positions_seen(block, 0, block.rows(), at + page, [&](int64_t row, int64_t rows, int64_t from, int64_t to) {
        const auto* values = reinterpret_cast<const uint16_t*>(head.values) + from * dhp;
        k.gemm_f16({.m = rows,
                    .n = dhp,
                    .k = to - from,
                    .a = s.scores + row * kSpan + page + from,
                    .lda = kSpan,
                    .b = values,
                    .ldb = dhp,
                    .c = s.out + row * dhp,
                    .ldc = dhp,
                    .accumulate = true},
                   block.after_values(at + page));
      });
      continue;
    }
    const float* values =
        f32_values(k, block.layout(), head, std::min(kPageTokens, block.visible() - at - page), s.values);
    for (int64_t r = 0; r < block.rows(); r += kDiagonalRows) {
      const int64_t tile = std::min(kDiagonalRows, block.rows() - r);
      for_positions_seen(block, r, tile, at + page, [&](int64_t row, int64_t rows, int64_t from, int64_t to) {
        k.gemm_f32({.m = rows,
                    .n = dhp,
                    .k = to - from,
                    .a = s.scores + row * kSpan + page + from,
                    .lda = kSpan,
                    .b = values + from * dhp,
                    .ldb = dhp,
                    .c = s.out + row * dhp,
                    .ldc = dhp,
                    .accumulate = true});
      });
    }
  }
}

void attend_block(const KernelTable& k, const Block& block, const Scratch& s) {
  const HostRows<const float> q = host(block.a.q);
  const HostRows<float> y = host(block.a.y);
  const int64_t dh = block.layout().head_dim, dhp = padded_head_dim(dh);
  const float scale = 1.0f / std::sqrt(static_cast<float>(dh));
  for (int64_t r = 0; r < block.rows(); r++) {
    k.scale(q.row(block.batch_row(r)) + block.column(r), scale, s.q + r * dh, dh);
    s.max[r] = -std::numeric_limits<float>::infinity();
    s.sum[r] = 0;
  }
  std::memset(s.out, 0, static_cast<size_t>(block.rows() * dhp) * sizeof(float));
  for (int64_t at = block.oldest() / kSpan * kSpan; at < block.visible(); at += kSpan) {
    const int64_t width = std::min(kSpan, round_up(block.visible() - at, kPageTokens));
    score_span(k, block, at, width, s);
    weigh_span(k, block, at, width, s);
    gather_span(k, block, at, width, s);
  }
  for (int64_t r = 0; r < block.rows(); r++) {
    k.scale(s.out + r * dhp, s.sum[r] > 0 ? 1.0f / s.sum[r] : 0.0f, y.row(block.batch_row(r)) + block.column(r), dh);
  }
}

// The tasks of a batch: sequence after sequence, of each its kv heads, of each its blocks of rows.
class AttentionTasks {
 public:
  // query_rows: of a task, at most; even: those of a sequence have nearly as many each
  AttentionTasks(const AttentionArgs& a, int64_t query_rows, bool even)
      : a_(a),
        sharing_(a.heads / a.cache.layout.kv_heads),
        most_(std::max<int64_t>(1, query_rows / sharing_)),
        even_(even) {
    const size_t count = a.cache.sequences.size();
    first_task_.reserve(count + 1);
    first_row_.reserve(count + 1);
    first_task_.push_back(0);
    first_row_.push_back(0);
    for (const KvSequence& sequence : a.cache.sequences) {
      first_task_.push_back(first_task_.back() + blocks(sequence) * a.cache.layout.kv_heads);
      first_row_.push_back(first_row_.back() + sequence.rows);
    }
  }
  int64_t total() const { return first_task_.back(); }
  int64_t rows() const { return most_ * sharing_; }  // of a task, at most
  Block at(int64_t index) const {
    const auto n =
        static_cast<size_t>(std::upper_bound(first_task_.begin(), first_task_.end(), index) - first_task_.begin() - 1);
    const KvSequence& sequence = a_.cache.sequences[n];
    const int64_t task = index - first_task_[n], height = height_of(sequence), first = task % blocks(sequence) * height;
    return {a_,       sequence, first_row_[n], task / blocks(sequence), first, std::min(height, sequence.rows - first),
            sharing_, nullptr};
  }

 private:
  int64_t blocks(const KvSequence& sequence) const { return (sequence.rows + most_ - 1) / most_; }
  int64_t height_of(const KvSequence& sequence) const {
    return even_ ? (sequence.rows + blocks(sequence) - 1) / blocks(sequence) : most_;
  }
  const AttentionArgs& a_;
  int64_t sharing_;
  int64_t most_;  // tokens of a block
  bool even_;
  std::vector<int64_t> first_task_, first_row_;
};

}  // namespace

void attention(Stream& s, const AttentionArgs& a) {
  CpuStream& stream = cpu_stream(s);
  const bool tiled = attends_by_tiles(stream.kernels, a.arithmetic, a.causal);
  const AttentionTasks tasks(a, tiled ? kTiledQueryRows : kQueryRows, tiled);
  const int64_t dh = a.cache.layout.head_dim;
  const auto plain_bytes = static_cast<uint64_t>(scratch_floats(tasks.rows(), dh)) * sizeof(float);
  stream.reserve_per_worker(tiled ? std::max(plain_bytes, tile_scratch_bytes(tasks.rows(), dh)) : plain_bytes);
  stream.parallel(tasks.total(), [&](int64_t index, int worker) {
    Block block = tasks.at(index);
    if (tiled && block.sequence.rows > kFewRows)
      return attend_by_tiles(stream.kernels, block, tasks.rows(), stream.of_worker(worker));
    const int64_t next = index + stream.pool.threads();
    if (next < tasks.total()) block.next = tasks.at(next).first_keys();
    attend_block(stream.kernels, block, scratch_of(stream.of_worker(worker), tasks.rows(), dh));
  });
}

namespace {

// Scratch of a worker that writes a head: its new keys on their side, and one row padded with zeros to whole blocks.
struct Append {
  float* keys;     // [Dh, kPageTokens]
  float* row;      // [blocks * 32]
  float* inverse;  // [blocks] largest magnitudes, then 1 / scale
  int32_t* sum;    // [2 * blocks]
  int8_t* codes;   // [blocks * 32]
};

int64_t append_floats(int64_t dh) { return dh * kPageTokens + kv_blocks(dh) * (kKvBlock + 3 + kKvBlock / 4); }

Append append_of(std::byte* memory, int64_t dh) {
  const int64_t blocks = kv_blocks(dh);
  Append s{};
  s.keys = reinterpret_cast<float*>(memory);
  s.row = s.keys + dh * kPageTokens;
  s.inverse = s.row + blocks * kKvBlock;
  s.sum = reinterpret_cast<int32_t*>(s.inverse + blocks);
  s.codes = reinterpret_cast<int8_t*>(s.sum + 2 * blocks);
  std::fill(s.row, s.inverse, 0.0f);
  return s;
}

// New keys and values of one head that fall into one page.
struct NewRows {
  HostRows<const float> k, v;  // [tokens, Dh]
  int64_t slot;                // of the first in its page
};

// In f16 or f32: keys are turned to [Dh, tokens] on the way.
void append_plain(const KernelTable& k, const KvLayout& layout, const Head& head, const NewRows& rows,
                  const Append& s) {
  const int64_t dh = layout.head_dim, dhp = padded_head_dim(dh), tokens = rows.k.rows;
  const auto store = [&](const float* from, std::byte* to, int64_t at, int64_t count) {
    if (layout.type == KvType::kF16) {
      k.narrow_f16(from, reinterpret_cast<uint16_t*>(to) + at, count);
    } else {
      std::memcpy(reinterpret_cast<float*>(to) + at, from, static_cast<size_t>(count) * sizeof(float));
    }
  };
  k.transpose_f32(rows.k.data, rows.k.stride * static_cast<int64_t>(sizeof(float)), tokens, dh, s.keys, kPageTokens);
  for (int64_t d = 0; d < dh; d++) store(s.keys + d * kPageTokens, head.keys, d * kPageTokens + rows.slot, tokens);
  for (int64_t t = 0; t < tokens; t++) {
    std::memcpy(s.row, rows.v.row(t), static_cast<size_t>(dh) * sizeof(float));
    store(s.row, head.values, (rows.slot + t) * dhp, dhp);
  }
}

constexpr uint16_t kLargestHalf = 0x7BFF;  // 65504

// The nearest half that is not below x >= 0: with it as the scale of a block no code passes 127. Finite where x is.
uint16_t half_at_least(float x) {
  const uint16_t nearest = float_to_half(x);
  if (!std::isfinite(x)) return nearest;
  return std::min<uint16_t>(half_to_float(nearest) < x ? nearest + 1 : nearest, kLargestHalf);
}

// s.codes of values[Dh]; scales `step` apart. Values beyond 127 times the largest half become that. A block that is not
// finite has a scale that is not, and codes 0: it reads as NaN.
void quantise_row(const KernelTable& k, const float* values, int64_t dh, uint16_t* scales, int64_t step,
                  const Append& s) {
  const int64_t blocks = kv_blocks(dh);
  std::memcpy(s.row, values, static_cast<size_t>(dh) * sizeof(float));
  k.block_largest(s.row, blocks * kKvBlock, s.inverse);
  for (int64_t b = 0; b < blocks; b++) {
    scales[b * step] = half_at_least(s.inverse[b] / 127);
    const float scale = half_to_float(scales[b * step]), most = 127 * scale;
    if (scales[b * step] == kLargestHalf) {
      for (float& value : std::span(s.row + b * kKvBlock, kKvBlock)) value = std::clamp(value, -most, most);
    }
    s.inverse[b] = scale > 0 ? 1 / scale : 0;
  }
  k.quantise_q8(s.row, blocks * kKvBlock, s.inverse, s.codes, s.sum);
}

void append_q8(const KernelTable& k, const KvLayout& layout, const Head& head, const NewRows& rows, const Append& s) {
  const int64_t dh = layout.head_dim, dhp = padded_head_dim(dh), blocks = kv_blocks(dh);
  for (int64_t t = 0; t < rows.k.rows; t++) {
    const int64_t slot = rows.slot + t;
    quantise_row(k, rows.k.row(t), dh, head.key_scales + slot, kPageTokens, s);
    for (int64_t d = 0; d < dh; d++) reinterpret_cast<int8_t*>(head.keys)[d * kPageTokens + slot] = s.codes[d];
    quantise_row(k, rows.v.row(t), dh, head.value_scales + slot * blocks, 1, s);
    std::memcpy(head.values + slot * dhp, s.codes, static_cast<size_t>(dhp));
  }
}

// Rows [begin, begin + sequence.rows) of one head, page by page.
template <class AppendRows>
void append_head(const KvAppendArgs& a, const KvSequence& sequence, int64_t begin, int64_t head,
                 const AppendRows& append) {
  const int64_t dh = a.cache.layout.head_dim, past = sequence.end - sequence.rows;
  const auto part = [&](ConstActivations x, int64_t first, int64_t tokens) {
    return HostRows<const float>(host(x.row(begin + first)) + head * dh, tokens, dh, x.stride);
  };
  for (int64_t first = 0; first < sequence.rows;) {
    const int64_t position = past + first, slot = position % kPageTokens,
                  tokens = std::min(sequence.rows - first, kPageTokens - slot);
    append(Head(a.cache.layout, layer_of(a.cache, sequence, position / kPageTokens), head),
           NewRows{part(a.k, first, tokens), part(a.v, first, tokens), slot});
    first += tokens;
  }
}

}  // namespace

void kv_append(Stream& s, const KvAppendArgs& a) {
  CpuStream& stream = cpu_stream(s);
  const KvLayout& layout = a.cache.layout;
  const auto append = layout.type == KvType::kQ8_0 ? append_q8 : append_plain;
  std::vector<int64_t> begin = {0};  // of each sequence, in the batch
  for (const KvSequence& sequence : a.cache.sequences) begin.push_back(begin.back() + sequence.rows);
  stream.reserve_per_worker(static_cast<uint64_t>(append_floats(layout.head_dim)) * sizeof(float));
  stream.parallel(static_cast<int64_t>(a.cache.sequences.size()) * layout.kv_heads, [&](int64_t index, int worker) {
    const int64_t n = index / layout.kv_heads, head = index % layout.kv_heads;
    const Append scratch = append_of(stream.of_worker(worker), layout.head_dim);
    append_head(a, a.cache.sequences[static_cast<size_t>(n)], begin[static_cast<size_t>(n)], head,
                [&](const Head& to, const NewRows& rows) { append(stream.kernels, layout, to, rows, scratch); });
  });
}

}  // namespace llava::cpu
