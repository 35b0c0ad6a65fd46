// The softmax weights of causal attention themselves, of the few rows that somebody asks about: a block a row and head.
//   Scores of every position that the row sees go to y, a thread for each of a page's, then the weights in their place.
//   A thread reads again only what it wrote.
#include <algorithm>

#include "cuda/kv_layout.cuh"
#include "cuda/smem.cuh"
#include "cuda/stream.h"

namespace llava::cuda {

namespace {

constexpr int kThreads = 128, kWarps = kThreads / kWarp, kPage = static_cast<int>(kPageTokens);
constexpr float kNothing = -INFINITY;

// A row of the batch sees the positions [from, to) of its sequence, whose pages begin at first_page of the table.
struct SeeingRow {
  int64_t first_page;
  int64_t from, to;
};

struct Weights {
  Rows<const float> q;
  Rows<float> y;
  int64_t columns;  // K
  PageLayout layout;
  uint64_t layer_offset;
  int64_t sharing;  // heads that share a kv head
  const SeeingRow* rows;
  std::byte* const* pages;
};

// q · the key of one head at a slot of a page, in the order of its dimensions.
template <KvType type>
__device__ __forceinline__ float score_of(const PageLayout& p, const float* q, const std::byte* layer, int64_t head,
                                          int64_t slot) {
  const auto* scales = reinterpret_cast<const uint16_t*>(layer + p.key_scales_at) + head * p.blocks * kPage;
  float score = 0;
  for (int64_t d = 0; d < p.dim; d++) {
    float key = stored_value<type>(layer, (head * p.dim + d) * kPage + slot);
    if constexpr (type == KvType::kQ8_0) key *= half_bits_to_float(ld(scales + d / kKvBlock * kPage + slot));
    score = fmaf(q[d], key, score);
  }
  return score;
}

template <KvType type>
__global__ void __launch_bounds__(kThreads) weights_kernel(Weights a) {
  const PageLayout& p = a.layout;
  const int64_t head = blockIdx.y, kv_head = head / a.sharing;
  const SeeingRow row = a.rows[blockIdx.x];
  float* const y = a.y.row(int64_t{blockIdx.x} * gridDim.y + head);
  const int thread = static_cast<int>(threadIdx.x);

  SharedMemory memory;
  float* const q = memory.take<float>(static_cast<int>(p.dim));  // scaled
  float* const largest_of = memory.take<float>(kWarps);
  float* const sum_of = memory.take<float>(kWarps);
  const float scale = 1.0f / sqrtf(static_cast<float>(p.dim));
  for (int64_t d = thread; d < p.dim; d += kThreads) q[d] = ld(a.q.row(blockIdx.x) + head * p.dim + d) * scale;
  __syncthreads();

  float largest = kNothing;
  for (int64_t at = thread; at < a.columns; at += kThreads) {
    float score = kNothing;
    if (at >= row.from && at < row.to) {
      const std::byte* const layer = a.pages[row.first_page + at / kPage] + a.layer_offset;
      score = score_of<type>(p, q, layer, kv_head, at % kPage);
      largest = score > largest ? score : largest;
    }
    st(y + at, score);
  }
  largest = warp_max(largest);
  if (thread % kWarp == 0) largest_of[thread / kWarp] = largest;
  __syncthreads();
  for (int w = 0; w < kWarps; w++) largest = largest_of[w] > largest ? largest_of[w] : largest;

  const float shift = largest == kNothing ? 0.0f : largest;
  float sum = 0;
  for (int64_t at = thread; at < a.columns; at += kThreads) {
    const float weight = expf(ld(y + at) - shift);
    st(y + at, weight);
    sum += weight;
  }
  sum = warp_sum(sum);
  if (thread % kWarp == 0) sum_of[thread / kWarp] = sum;
  __syncthreads();
  sum = 0;
  for (int w = 0; w < kWarps; w++) sum += sum_of[w];

  const float factor = sum == 0 ? 0.0f : 1.0f / sum;
  for (int64_t at = thread; at < a.columns; at += kThreads) {
    const bool seen = at >= row.from && at < row.to;
    st(y + at, seen ? ld(y + at) * factor : 0.0f);  // of NaN, 0 would be NaN
  }
}

size_t shared_bytes(int64_t dim) {
  return shared_bytes_of(static_cast<size_t>(dim) * sizeof(float)) + 2 * shared_bytes_of(kWarps * sizeof(float));
}

// The rows, then the pages of their sequences.
void put_rows_on_device(CudaStream& stream, const AttentionWeightsArgs& args, Weights& a) {
  std::vector<SeeingRow> rows;
  std::vector<std::byte*> pages;
  for (const KvSequence& sequence : args.cache.sequences) {
    if (sequence.rows == 0) continue;
    const auto first_page = static_cast<int64_t>(pages.size());
    for (const DeviceBytes page : sequence.pages) pages.push_back(pointer(page));
    for (int64_t r = 0; r < sequence.rows; r++) {
      const int64_t to = sequence.end - sequence.rows + r + 1;
      rows.push_back({first_page, args.window > 0 ? std::max<int64_t>(0, to - args.window) : 0, to});
    }
  }
  std::vector<std::byte> list(rows.size() * sizeof(SeeingRow) + pages.size() * sizeof(std::byte*));
  std::memcpy(list.data(), rows.data(), rows.size() * sizeof(SeeingRow));
  std::memcpy(list.data() + rows.size() * sizeof(SeeingRow), pages.data(), pages.size() * sizeof(std::byte*));
  a.rows = static_cast<const SeeingRow*>(stream.weights_tables.upload(list));
  a.pages = reinterpret_cast<std::byte* const*>(a.rows + rows.size());
}

}  // namespace

void attention_weights(Stream& s, const AttentionWeightsArgs& args) {
  if (args.q.rows == 0) return;
  CudaStream& stream = cuda_stream(s);
  Weights a{};
  a.q = rows_of(args.q);
  a.y = rows_of(args.y);
  a.columns = args.y.cols;
  a.layout = page_layout(args.cache.layout);
  a.layer_offset = args.cache.layer_offset;
  a.sharing = args.heads / args.cache.layout.kv_heads;
  put_rows_on_device(stream, args, a);
  const auto kernel = args.cache.layout.type == KvType::kQ8_0  ? weights_kernel<KvType::kQ8_0>
                      : args.cache.layout.type == KvType::kF16 ? weights_kernel<KvType::kF16>
                                                               : weights_kernel<KvType::kF32>;
  launch(kernel, dim3(grid_size(args.q.rows), grid_size(args.heads)), kThreads, shared_bytes(a.layout.dim),
         stream.handle(), a);
}

}  // namespace llava::cuda
