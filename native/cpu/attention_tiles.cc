#include "cpu/attention_tiles.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "common/aligned.h"

namespace llava::cpu {

namespace {

constexpr int64_t kWidth = 2 * kTileRows;  // columns of a product
constexpr auto kFloat = static_cast<int64_t>(sizeof(float));
constexpr int64_t kScoreStride = row_pitch(kSpan * kFloat) / kFloat;

// A worker's scratch. Depths are whole tiles.
struct TileScratch {
  int64_t depth;       // of a head
  int64_t rows;        // at most
  int64_t out_stride;  // floats
  uint16_t* q;         // terms of [rows, depth]: scaled queries
  uint16_t* weights;   // terms of [rows, kSpan]
  uint16_t* panels;    // terms of [kSpan / 32][32, depth] of keys, or of [depth / 32][32, kSpan] of values
  float* scores;       // [rows, kSpan]
  float* out;          // [rows, depth]
  float *max, *sum;    // [rows]
  float* page;         // [Dh, kPageTokens] of keys, or [kPageTokens, padded Dh] of values, in f32
  float* row;          // [depth]

  int64_t q_plane() const { return rows * depth; }
  int64_t weights_plane() const { return rows * kSpan; }
  int64_t panel_plane() const { return kSpan * depth; }
};

// With memory = nullptr: the bytes it takes.
uint64_t lay_out(std::byte* memory, int64_t most_rows, int64_t head_dim, TileScratch& s) {
  uint64_t at = 0;
  const auto take = [&]<class T>(T*& place, int64_t count) {
    if (memory != nullptr) place = reinterpret_cast<T*>(memory + at);
    at += (static_cast<uint64_t>(count) * sizeof(T) + kCacheLine - 1) / kCacheLine * kCacheLine;
  };
  s.rows = round_up(most_rows, kTileRows);
  s.depth = round_up(head_dim, kTileDepth);
  s.out_stride = row_pitch(s.depth * kFloat) / kFloat;
  take(s.q, kBfloatTerms * s.q_plane());
  take(s.weights, kBfloatTerms * s.weights_plane());
  take(s.panels, kBfloatTerms * s.panel_plane());
  take(s.scores, s.rows * kScoreStride);
  take(s.out, s.rows * s.out_stride);
  take(s.max, s.rows);
  take(s.sum, s.rows);
  take(s.page, kPageTokens * round_up(head_dim, kTileDepth));
  take(s.row, s.depth);
  return at;
}

// Row r of an operand [rows, depth] in tiles.
uint16_t* tile_of(uint16_t* operand, int64_t r, int64_t depth) {
  return operand + r / kTileRows * kTileRows * depth + r % kTileRows * kTileDepth;
}

void take_queries(const KernelTable& k, const Block& block, const TileScratch& s) {
  const HostRows<const float> q = host(block.a.q);
  const int64_t dh = block.layout().head_dim;
  const float scale = 1.0f / std::sqrt(static_cast<float>(dh));
  std::memset(s.q, 0, static_cast<size_t>(kBfloatTerms * s.q_plane()) * sizeof(uint16_t));
  for (int64_t r = 0; r < block.rows(); r++) {
    k.scale(q.row(block.batch_row(r)) + block.column(r), scale, s.row, dh);
    k.tile_row(s.row, dh, kBfloatTerms, tile_of(s.q, r, s.depth), s.q_plane());
    s.max[r] = -std::numeric_limits<float>::infinity();
    s.sum[r] = 0;
  }
}

// b[depth, 16] of a panel from rows ld floats apart, of which an odd last one has zeros beside it.
void take_columns(const KernelTable& k, const float* b, int64_t ld, int64_t depth, uint16_t* to, int64_t plane) {
  const int64_t pairs = depth / 2 * 2;
  k.tile_columns(b, ld, pairs, kBfloatTerms, to, plane);
  if (depth == pairs) return;
  float last[2 * kTileRows] = {};
  std::memcpy(last, b + pairs * ld, kTileRows * sizeof(float));
  k.tile_columns(last, kTileRows, 2, kBfloatTerms, to + pairs * kTileRows, plane);
}

void clear_panels(const TileScratch& s) {
  std::memset(s.panels, 0, static_cast<size_t>(kBfloatTerms * s.panel_plane()) * sizeof(uint16_t));
}

// scores[rows, width] of the positions from `at` on. Those beyond `held` are of keys that nobody wrote.
void score_span(const KernelTable& k, const Block& block, int64_t at, int64_t held, const TileScratch& s) {
  const int64_t dh = block.layout().head_dim, m = round_up(block.rows(), kTileRows), width = round_up(held, kWidth);
  if (dh < s.depth) clear_panels(s);
  for (int64_t page = 0; page < held; page += kPageTokens) {
    const float* keys = f32_keys(k, block.layout(), block.page(at + page), s.page);
    for (int64_t c = 0; c < kPageTokens; c += kTileRows)
      take_columns(k, keys + c, kPageTokens, dh, s.panels + (page + c) * s.depth, s.panel_plane());
  }
  for (int64_t c = 0; c < width; c += kWidth) {
    k.gemm_tiles(m, s.depth, {s.q, s.q_plane(), kBfloatTerms}, {s.panels + c * s.depth, s.panel_plane(), kBfloatTerms},
                 {s.scores + c, kScoreStride, false});
  }
}

// scores -> weights of the online softmax in tiles, zero beyond `held`; what was gathered in out before is rescaled.
void weigh_span(const KernelTable& k, const Block& block, int64_t held, const TileScratch& s) {
  const int64_t depth = round_up(held, kTileDepth);
  for (int64_t r = 0; r < round_up(block.rows(), kTileRows); r++) {
    float* scores = s.scores + r * kScoreStride;
    float rescale = 1;
    if (r < block.rows()) {
      rescale = k.online_softmax(scores, held, s.max + r, s.sum + r);
      std::fill(scores + held, scores + depth, 0.0f);
    } else {
      std::fill(scores, scores + depth, 0.0f);
    }
    float* out = s.out + r * s.out_stride;
    if (rescale != 1.0f) k.scale(out, rescale, out, s.depth);
    k.tile_row(scores, depth, kBfloatTerms, tile_of(s.weights, r, depth), s.weights_plane());
  }
}

// out += weights · values
void gather_span(const KernelTable& k, const Block& block, int64_t at, int64_t held, const TileScratch& s) {
  const int64_t dhp = padded_head_dim(block.layout().head_dim), m = round_up(block.rows(), kTileRows),
                depth = round_up(held, kTileDepth);
  if (dhp < s.depth || held < depth) clear_panels(s);
  for (int64_t page = 0; page < held; page += kPageTokens) {
    const int64_t positions = std::min(kPageTokens, held - page);
    const float* values = f32_values(k, block.layout(), block.page(at + page), positions, s.page);
    for (int64_t c = 0; c < dhp; c += kTileRows)
      take_columns(k, values + c, dhp, positions, s.panels + c * depth + page * kTileRows, s.panel_plane());
  }
  for (int64_t c = 0; c < s.depth; c += kWidth) {
    k.gemm_tiles(m, depth, {s.weights, s.weights_plane(), kBfloatTerms},
                 {s.panels + c * depth, s.panel_plane(), kBfloatTerms}, {s.out + c, s.out_stride, at > 0});
  }
}

}  // namespace

uint64_t tile_scratch_bytes(int64_t rows, int64_t head_dim) {
  TileScratch s{};
  return lay_out(nullptr, rows, head_dim, s);
}

void attend_by_tiles(const KernelTable& kernels, const Block& block, int64_t most_rows, std::byte* scratch) {
  TileScratch s{};
  lay_out(scratch, most_rows, block.layout().head_dim, s);
  take_queries(kernels, block, s);
  for (int64_t at = 0; at < block.visible(); at += kSpan) {
    const int64_t held = std::min(kSpan, block.visible() - at);
    score_span(kernels, block, at, held, s);
    weigh_span(kernels, block, held, s);
    gather_span(kernels, block, at, held, s);
  }
  const HostRows<float> y = host(block.a.y);
  for (int64_t r = 0; r < block.rows(); r++) {
    kernels.scale(s.out + r * s.out_stride, s.sum[r] > 0 ? 1.0f / s.sum[r] : 0.0f,
                  y.row(block.batch_row(r)) + block.column(r), block.layout().head_dim);
  }
}

}  // namespace llava::cpu
