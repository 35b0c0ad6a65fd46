// Attention by online softmax over KV pages (Milakov & Gimelshein 2018; FlashAttention), in float32, split over the
// context (Flash-Decoding, Dao et al. 2023).
//   A block takes up to 16 query rows that share a kv head, and a span of four pages:
//     scores[16, 64] = (q / sqrt(Dh)) · keys[Dh, 64];  mask;  p = exp(scores - m);  out = out * rescale + p · values
//   and writes its largest score m, its sum l and out. A second kernel joins the spans of a row in order. Spans begin
//   at multiples of their length and no row's numbers depend on another's, so that a row has the same bits in a block
//   of a few rows and as the one token of a step.
//   Sequences of many rows go over tensor cores instead (attends_in_halves).
#include <algorithm>

#include "cuda/attention.h"
#include "cuda/smem.cuh"

namespace llava::cuda {

namespace {

constexpr int kThreads = 128, kRows = 16;
constexpr int kSpanPages = 4;
constexpr int kBlocksOfMultiprocessor = 4;  // 128 registers: no kernel spills
constexpr int kMostColumns = 128;           // of a head that a block computes
constexpr uint64_t kPartialBytes = uint64_t{256} << 20;

// One launch of an attention that is split over spans.
struct SplitAttention : Attention {
  const int32_t* block_of_task;
  int32_t first_task, first_block;
  float* partials;  // of each task and part: m[16], l[16], out[16, padded]
};

__device__ __forceinline__ float* partial_of(const SplitAttention& a, int64_t task, int64_t part) {
  return a.partials + (task * gridDim.y + part) * kRows * (a.layout.padded + 2);
}

// keys[Dh, 64] of a page to shared memory, as floats.
template <KvType type>
__device__ __forceinline__ void load_keys(const PageLayout& p, const std::byte* layer, int64_t head, float* keys) {
  const int64_t first = head * p.dim * kPage;
  const auto* scales = reinterpret_cast<const uint16_t*>(layer + p.key_scales_at) + head * p.blocks * kPage;
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x); i < p.dim * kPage; i += kThreads) {
    float key = stored_value<type>(layer, first + i);
    if constexpr (type == KvType::kQ8_0)
      key *= half_bits_to_float(ld(scales + i / kPage / kKvBlock * kPage + i % kPage));
    keys[i] = key;
  }
}

// values[64, columns] of a page, from column `column` of the head on; what lies beyond it is 0.
template <KvType type, int columns>
__device__ __forceinline__ void load_values(const PageLayout& p, const std::byte* layer, int64_t head, int64_t column,
                                            float* values) {
  const int64_t first = head * kPage * p.padded;
  const auto* scales = reinterpret_cast<const uint16_t*>(layer + p.value_scales_at) + head * kPage * p.blocks;
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x); i < kPage * columns; i += kThreads) {
    const int64_t slot = i / columns, d = column + i % columns;
    float value = 0;
    if (d < p.padded) {
      value = stored_value<type>(layer + p.values_at, first + slot * p.padded + d);
      if constexpr (type == KvType::kQ8_0) value *= half_bits_to_float(ld(scales + slot * p.blocks + d / kKvBlock));
    }
    values[i] = value;
  }
}

struct Softmax {
  float* max;  // [16] each
  float* sum;
  float* rescale;
};

// scores[16, 64] become weights of the online softmax: a warp takes four rows.
__device__ __forceinline__ void weigh(float* scores, const Softmax& s) {
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  for (int r = warp * kRows / (kThreads / kWarp); r < (warp + 1) * kRows / (kThreads / kWarp); r++) {
    float* const row = scores + r * kPage;
    const float before = s.max[r], a = row[lane], b = row[lane + kWarp];
    float largest = before;
    largest = a > largest ? a : largest;
    largest = warp_max(b > largest ? b : largest);
    const float shift = largest == kNothing ? 0.0f : largest;
    const float weight_a = expf(a - shift), weight_b = expf(b - shift);
    row[lane] = weight_a;
    row[lane + kWarp] = weight_b;
    const float sum = warp_sum(weight_a + weight_b);
    if (lane == 0) {
      const float rescale = expf(before - shift);
      s.rescale[r] = rescale;
      s.sum[r] = s.sum[r] * rescale + sum;
      s.max[r] = largest;
    }
  }
}

// columns: of the head's values that a block computes, a thread each for kRows * columns / kThreads rows
template <KvType type, int columns>
__global__ void __launch_bounds__(kThreads, kBlocksOfMultiprocessor) attention_kernel(SplitAttention a) {
  constexpr int kGroups = kThreads / columns, kRowsOfThread = kRows / kGroups,
                kScoresOfThread = kRows * kPage / kThreads;
  const PageLayout& p = a.layout;
  const int dim = static_cast<int>(p.dim);
  const int64_t task = int64_t{blockIdx.x}, head = blockIdx.y / a.parts, part = blockIdx.y % a.parts;
  const int64_t first_column = int64_t{blockIdx.z} * columns;
  const RowBlock block = a.blocks[a.block_of_task[a.first_task + task]];
  const int64_t span = block.first_span + (a.first_task + task - block.first_task);

  SharedMemory memory;
  float* const q = memory.take<float>(dim * kRows);  // [Dh, 16], scaled
  float* const scores = memory.take<float>(kRows * kPage);
  const Softmax softmax{memory.take<float>(kRows), memory.take<float>(kRows), memory.take<float>(kRows)};
  int* const sees_from = memory.take<int>(kRows);  // slots of the page
  int* const sees_to = memory.take<int>(kRows);
  float* const tile = memory.take<float>(kPage * (dim > columns ? dim : columns));  // keys, then values

  const int thread = static_cast<int>(threadIdx.x);
  const auto token_of = [&](int r) { return r / a.heads_of_block; };
  const auto head_of = [&](int r) { return part * a.heads_of_block + r % a.heads_of_block; };
  const auto is_row = [&](int r) { return r < block.tokens * a.heads_of_block && head_of(r) < a.sharing; };
  const float scale = 1.0f / sqrtf(static_cast<float>(dim));
  for (int i = thread; i < dim * kRows; i += kThreads) {
    const int r = i / dim, d = i % dim;
    q[d * kRows + r] =
        is_row(r) ? ld(a.q.row(block.first_row + token_of(r)) + (head * a.sharing + head_of(r)) * dim + d) * scale
                  : 0.0f;
  }
  if (thread < kRows) {
    softmax.max[thread] = kNothing;
    softmax.sum[thread] = 0;
  }
  float out[kRowsOfThread] = {};
  const int column = thread % columns, first_row = thread / columns * kRowsOfThread;
  const int slot = thread % kPage, first_score = thread / kPage * kScoresOfThread;

  const Sight oldest = sight_of(a, block, 0), newest = sight_of(a, block, block.tokens - 1);
  for (int64_t page = span * kSpanPages; page < (span + 1) * kSpanPages; page++) {
    const int64_t at = page * kPage;
    if (at >= newest.to || at + kPage <= oldest.from) continue;  // the same for all threads
    const std::byte* const layer = a.pages[block.first_page + page] + a.layer_offset;
    __syncthreads();  // the values of the page before are no longer read
    load_keys<type>(p, layer, head, tile);
    if (thread < kRows) {
      const Sight sight = sight_of(a, block, token_of(thread));
      const int64_t from = sight.from - at, to = sight.to - at;
      sees_from[thread] = static_cast<int>(from < 0 ? 0 : from > kPage ? kPage : from);
      sees_to[thread] = static_cast<int>(!is_row(thread) || to < 0 ? 0 : to > kPage ? kPage : to);
    }
    __syncthreads();
    float score[kScoresOfThread] = {};
    for (int d = 0; d < dim; d++) {
      const float key = tile[d * kPage + slot];
#pragma unroll
      for (int i = 0; i < kScoresOfThread; i++) score[i] = fmaf(q[d * kRows + first_score + i], key, score[i]);
    }
#pragma unroll
    for (int i = 0; i < kScoresOfThread; i++) {
      const int r = first_score + i;
      scores[r * kPage + slot] = slot >= sees_from[r] && slot < sees_to[r] ? score[i] : kNothing;
    }
    __syncthreads();
    load_values<type, columns>(p, layer, head, first_column, tile);
    weigh(scores, softmax);
    __syncthreads();
    bool all_seen = true;  // by all rows of this thread
#pragma unroll
    for (int i = 0; i < kRowsOfThread; i++) {
      out[i] *= softmax.rescale[first_row + i];
      all_seen = all_seen && sees_from[first_row + i] == 0 && sees_to[first_row + i] == kPage;
    }
    if (all_seen) {
      for (int j = 0; j < kPage; j++) {
        const float value = tile[j * columns + column];
#pragma unroll
        for (int i = 0; i < kRowsOfThread; i++) out[i] = fmaf(scores[(first_row + i) * kPage + j], value, out[i]);
      }
    } else {  // a weight of 0 would not do: 0 times a value that overflowed is NaN
      for (int j = 0; j < kPage; j++) {
        const float value = tile[j * columns + column];
#pragma unroll
        for (int i = 0; i < kRowsOfThread; i++) {
          const int r = first_row + i;
          if (j >= sees_from[r] && j < sees_to[r]) out[i] = fmaf(scores[r * kPage + j], value, out[i]);
        }
      }
    }
  }

  __syncthreads();
  float* const partial = partial_of(a, task, blockIdx.y);
  if (blockIdx.z == 0 && thread < kRows) {
    st(partial + thread, softmax.max[thread]);
    st(partial + kRows + thread, softmax.sum[thread]);
  }
  if (first_column + column < p.padded) {
#pragma unroll
    for (int i = 0; i < kRowsOfThread; i++)
      st(partial + 2 * kRows + (first_row + i) * p.padded + first_column + column, out[i]);
  }
}

// y of a block's rows from its spans, in order.
__global__ void __launch_bounds__(kThreads) join_kernel(SplitAttention a) {
  const RowBlock block = a.blocks[a.first_block + blockIdx.x];
  const int64_t head = blockIdx.y / a.parts, part = blockIdx.y % a.parts, dim = a.layout.dim;
  for (int64_t i = threadIdx.x; i < kRows * dim; i += kThreads) {
    const int r = static_cast<int>(i / dim);
    const int64_t d = i % dim, of_kv_head = part * a.heads_of_block + r % a.heads_of_block;
    if (r >= block.tokens * a.heads_of_block || of_kv_head >= a.sharing) continue;
    float max = kNothing, sum = 0, out = 0;
    for (int32_t s = 0; s < block.spans; s++) {
      const float* const partial = partial_of(a, block.first_task + s - a.first_task, blockIdx.y);
      const float of_span = ld(partial + r), larger = of_span > max ? of_span : max;
      const float shift = larger == kNothing ? 0.0f : larger;
      const float before = expf(max - shift), now = expf(of_span - shift);
      sum = sum * before + ld(partial + kRows + r) * now;
      out = out * before + ld(partial + 2 * kRows + r * a.layout.padded + d) * now;
      max = larger;
    }
    st(a.y.row(block.first_row + r / a.heads_of_block) + (head * a.sharing + of_kv_head) * dim + d,
       out * (sum > 0 ? 1.0f / sum : 0.0f));
  }
}

size_t shared_bytes(int64_t dim, int columns) {
  return shared_bytes_of(static_cast<size_t>(dim) * kRows * sizeof(float)) +
         shared_bytes_of(kRows * kPage * sizeof(float)) + 5 * shared_bytes_of(kRows * sizeof(float)) +
         shared_bytes_of(static_cast<size_t>(kPage * std::max<int64_t>(dim, columns)) * sizeof(float));
}

// What the launches of a batch look up.
struct Plan {
  std::vector<RowBlock> of_spans, of_halves;
  std::vector<std::byte*> pages;
  std::vector<int32_t> block_of_task;  // of of_spans

  // Sets a.blocks to of_spans, which of_halves follow.
  void put_on_device(CudaStream& stream, SplitAttention& a) const {
    std::vector<std::byte> list;
    const auto add = [&](const auto& values) {
      const auto* const bytes = reinterpret_cast<const std::byte*>(values.data());
      list.insert(list.end(), bytes, bytes + values.size() * sizeof(values[0]));
    };
    add(of_spans);
    add(of_halves);
    add(pages);
    add(block_of_task);
    const auto* const at = static_cast<const std::byte*>(stream.attention_tables.upload(list));
    a.blocks = reinterpret_cast<const RowBlock*>(at);
    a.pages = reinterpret_cast<std::byte* const*>(a.blocks + of_spans.size() + of_halves.size());
    a.block_of_task = reinterpret_cast<const int32_t*>(a.pages + pages.size());
  }
};

// How a kv head's heads are dealt to blocks of so many rows.
struct Dealing {
  int32_t heads_of_block, parts;
  int64_t tokens_of_block;
  Dealing(int32_t sharing, int rows)
      : heads_of_block(std::min(sharing, rows)),
        parts(static_cast<int32_t>(divided_up(sharing, rows))),
        tokens_of_block(rows / heads_of_block) {}
  void put_into(Attention& a) const {
    a.heads_of_block = heads_of_block;
    a.parts = parts;
  }
};

Plan plan_of(const AttentionArgs& args, const Dealing& spans, const Dealing& halves) {
  Plan plan;
  int64_t first_row = 0;
  constexpr int64_t kSpan = kSpanPages * kPageTokens;
  for (const KvSequence& sequence : args.cache.sequences) {
    const auto first_page = static_cast<int32_t>(plan.pages.size());
    if (sequence.rows > 0) {
      for (const DeviceBytes page : sequence.pages) plan.pages.push_back(pointer(page));
    }
    const bool in_halves = attends_in_halves(args, sequence);
    const int64_t tokens_of_block = (in_halves ? halves : spans).tokens_of_block;
    for (int64_t first = 0; first < sequence.rows; first += tokens_of_block) {
      const int64_t tokens = std::min(tokens_of_block, sequence.rows - first);
      const int64_t position = sequence.end - sequence.rows + first;
      RowBlock block{.first_row = static_cast<int32_t>(first_row + first),
                     .position = static_cast<int32_t>(position),
                     .end = static_cast<int32_t>(sequence.end),
                     .first_page = first_page,
                     .tokens = static_cast<int32_t>(tokens)};
      if (in_halves) {
        plan.of_halves.push_back(block);
        continue;
      }
      const int64_t to = args.causal ? position + tokens : sequence.end;
      const int64_t from = args.window > 0 ? std::max<int64_t>(0, position + 1 - args.window) : 0;
      block.first_span = static_cast<int32_t>(from / kSpan);
      block.spans = static_cast<int32_t>(divided_up(to, kSpan)) - block.first_span;
      block.first_task = static_cast<int32_t>(plan.block_of_task.size());
      plan.block_of_task.insert(plan.block_of_task.end(), static_cast<size_t>(block.spans),
                                static_cast<int32_t>(plan.of_spans.size()));
      plan.of_spans.push_back(block);
    }
    first_row += sequence.rows;
  }
  // Those with the most to see begin first, so that the last ones to end are short.
  if (args.causal) std::reverse(plan.of_halves.begin(), plan.of_halves.end());
  return plan;
}

template <KvType type>
auto kernel_of(int64_t columns) {
  if (columns <= 16) return attention_kernel<type, 16>;
  if (columns <= 32) return attention_kernel<type, 32>;
  if (columns <= 64) return attention_kernel<type, 64>;
  return attention_kernel<type, kMostColumns>;
}

}  // namespace

void attention(Stream& s, const AttentionArgs& args) {
  if (args.q.rows == 0) return;
  CudaStream& stream = cuda_stream(s);
  SplitAttention a{};
  a.q = rows_of(args.q);
  a.y = rows_of(args.y);
  a.layout = page_layout(args.cache.layout);
  a.layer_offset = args.cache.layer_offset;
  a.sharing = static_cast<int32_t>(args.heads / args.cache.layout.kv_heads);
  a.causal = args.causal;
  a.window = static_cast<int32_t>(std::min<int64_t>(args.window, INT32_MAX));  // no context is longer
  const Dealing spans(a.sharing, kRows), halves(a.sharing, kHalfRows);
  const Plan plan = plan_of(args, spans, halves);
  plan.put_on_device(stream, a);
  if (!plan.of_halves.empty()) {
    Attention whole = a;
    halves.put_into(whole);
    whole.blocks += plan.of_spans.size();
    attend_in_halves(stream, whole, args.cache.layout.type, static_cast<int64_t>(plan.of_halves.size()));
  }

  spans.put_into(a);
  int columns = 16;
  while (columns < kMostColumns && columns < a.layout.padded) columns *= 2;
  const auto kernel = args.cache.layout.type == KvType::kQ8_0  ? kernel_of<KvType::kQ8_0>(columns)
                      : args.cache.layout.type == KvType::kF16 ? kernel_of<KvType::kF16>(columns)
                                                               : kernel_of<KvType::kF32>(columns);
  const auto heads = static_cast<unsigned>(args.cache.layout.kv_heads * a.parts);
  const int64_t partial = heads * kRows * (a.layout.padded + 2);  // floats of a task
  const int64_t most_tasks = std::max<int64_t>(1, static_cast<int64_t>(kPartialBytes / sizeof(float)) / partial);
  const auto end_of = [&](size_t block) { return plan.of_spans[block].first_task + plan.of_spans[block].spans; };
  for (size_t block = 0; block < plan.of_spans.size();) {
    size_t after = block + 1;
    while (after < plan.of_spans.size() && end_of(after) - plan.of_spans[block].first_task <= most_tasks) after++;
    a.first_block = static_cast<int32_t>(block);
    a.first_task = plan.of_spans[block].first_task;
    const int32_t tasks = end_of(after - 1) - a.first_task;
    a.partials = stream.partials.reserve<float>(tasks * partial);
    launch(kernel, dim3(grid_size(tasks), heads, grid_size(divided_up(a.layout.padded, columns))), kThreads,
           shared_bytes(a.layout.dim, columns), stream.handle(), a);
    launch(join_kernel, dim3(grid_size(static_cast<int64_t>(after - block)), heads), kThreads, 0, stream.handle(), a);
    block = after;
  }
}

}  // namespace llava::cuda
