// y[M, N] = x[M, K] · W[N, K]ᵀ with W in its file's layout.
//   One or two rows (decode), with float weights a few (several sequences): each weight row is read once, straight from
//     the mapping (gemv_*).
//   A few rows with quantised weights: the same, by sets of 32 weight rows (gemm_unpacked_*).
//   More rows: a task computes a few panels, of 32 columns of y each, for a slab of rows. For each chunk of k it packs
//     the weights of its panels into the kernel's form, in L2, and runs the kernel over a few rows of the slab at a
//     time, panel after panel: x is read from memory once for all of them, evenly. What a panel is:
//     - float weights: b[k][32], widened and transposed;
//     - bf16 weights, where the CPU multiplies bf16: b[k / 2][32][2], and x is rounded to bf16;
//     - under exact arithmetic, also of quantised weights: w[32][k], and gemv_* is the kernel;
//     - on a CPU with tiles, of float and quantised weights: bf16 in tiles (kernels.def), as x is; of float ones two
//       terms each;
//     - quantised weights: two strips of 16 rows of codes and their scales; x becomes int8 blocks in groups of 4
//     tokens.
//   Whatever M is, a row of quantised weights without tiles, or under exact arithmetic of any, is summed in one order:
//   its result does not depend on its company.
#include <cstring>

#include "common/aligned.h"
#include "common/blocks.h"
#include "cpu/activation.h"
#include "cpu/block_float.h"
#include "cpu/expand.h"
#include "cpu/factors.h"
#include "cpu/host_view.h"
#include "cpu/outliers.h"
#include "cpu/stream.h"

namespace llava::cpu {

namespace {

// float panel: 512 * 32 * 4 B = 64 KB in L2; a larger one reloads and stores the products of a tile less often
constexpr int64_t kKC = 512;
constexpr int64_t kChunkBlocks = 16;       // quantised panel: 16 KB of codes and 2 KB of scales in L1d; two K blocks
constexpr int64_t kColumns = 32;           // of a panel: two AVX-512 vectors
constexpr int64_t kPanels = 4;             // of a task: 4 * 64 KB of products of a slab in L2, beside a chunk of x
constexpr int64_t kSlabRows = 640;         // at most
constexpr int64_t kSlabStep = 24;          // rows: whole tiles of every ISA without tiles of its own
constexpr int64_t kStepRows = 48;          // that meet all panels before the next ones do
constexpr int64_t kCacheBytes = 4 << 20;   // an output as large is read from memory later, wherever it was written
constexpr int64_t kGemvRows = 128;         // weight rows of a decode task, at most
constexpr int64_t kGemvBytes = 512 << 10;  // of them, about: threads should end at nearly the same time
constexpr int64_t kGemvTokens = 2;         // at most, one after another
constexpr int64_t kUnpackedTokens = 48;    // at most, for which weights are brought into the kernel's form in L1

struct QuantisedKernels {
  decltype(KernelTable::pack_Q4_0) pack;
  decltype(KernelTable::gemm_Q4_0) gemm;
  decltype(KernelTable::gemm_unpacked_Q4_0) gemm_unpacked;
  decltype(KernelTable::gemv_Q4_0) gemv;
};

QuantisedKernels quantised_kernels(const KernelTable& k, DType dtype) {
  switch (dtype) {
#define LLAVA_QUANTISED_CASE(T, elements, ...) \
  case DType::T: return {k.pack_##T, k.tall_tiles ? k.gemm_tall_##T : k.gemm_##T, k.gemm_unpacked_##T, k.gemv_##T};
    LLAVA_QUANTISED(LLAVA_QUANTISED_CASE)
#undef LLAVA_QUANTISED_CASE
    default: return {};
  }
}

auto gemv_kernel(const KernelTable& k, DType dtype) {
  return dtype == DType::F32 ? k.gemv_f32 : dtype == DType::F16 ? k.gemv_f16 : k.gemv_bf16;
}

// y[rows first_row …, columns] from their product c[rows, width], which stands in scratch: y's own rows lie many pages
// apart. row_scale [rows] may be null.
void finish_products(const KernelTable& k, const LinearOutput& o, int64_t first_row, int64_t rows, int64_t column,
                     int64_t columns, float* c, int64_t width, const float* row_scale) {
  float* y = host(o.y.row(first_row)) + column;
  const float* bias = o.bias ? host(o.bias) + column : nullptr;
  const float* residual = o.residual ? host(o.residual.row(first_row)) + column : nullptr;
  const bool past_caches =
      residual == nullptr && o.y.rows * o.y.stride * static_cast<int64_t>(sizeof(float)) >= kCacheBytes;
  const ActivationKernel activation = activation_kernel(k, o.activation);
  FinishedRows out = {.rows = rows,
                      .n = columns,
                      .c = c,
                      .ldc = width,
                      .scale = o.scale,
                      .row_scale = row_scale,
                      .bias = bias,
                      .residual = residual,
                      .ldr = o.residual.stride,
                      .y = y,
                      .ldy = o.y.stride,
                      .past_caches = past_caches};
  if (activation != nullptr) {
    FinishedRows before = out;  // the activation, in place
    before.residual = nullptr;
    before.y = c;
    before.ldy = width;
    before.past_caches = false;
    k.finish_rows(before);
    for (int64_t m = 0; m < rows; m++) activation(c + m * width, c + m * width, columns);
    out.scale = 1;
    out.row_scale = out.bias = nullptr;
  }
  k.finish_rows(out);
}

// Rows of x in slabs of nearly equal height, multiples of `step` but for the last.
struct Slabs {
  int64_t rows;
  int64_t height;
  Slabs(int64_t all, int64_t step) : rows(all) {
    const int64_t count = (all + kSlabRows - 1) / kSlabRows;
    height = round_up((all + count - 1) / count, step);
  }
  int64_t count_at(int64_t first) const { return std::min(height, rows - first); }
};

// Panels of a task: fewer where there would not be a few tasks for each thread.
int64_t panels_per_task(const LinearArgs& a, int threads, int64_t most) {
  int64_t panels = 0;
  for (int i = 0; i < a.outputs; i++) panels += (a.output[i].weight.rows + kColumns - 1) / kColumns;
  return std::clamp<int64_t>(panels / (8 * threads), 1, most);
}

// Weight rows of one output that a thread takes at a time.
struct RowTask {
  const LinearOutput* output = nullptr;
  int64_t first = 0;
  int64_t rows = 0;
  const Weight& weight() const { return output->weight; }
  const std::byte* row(int64_t r) const { return host(weight().row(first + r)); }
};

// Tasks of all outputs in one run, of `height` rows but for an output's last.
class RowTasks {
 public:
  RowTasks(const LinearArgs& a, int threads, int64_t height) : a_(a), height_(height), threads_(threads) {
    for (int i = 0; i < a.outputs; i++) begin_[i + 1] = begin_[i] + (a.output[i].weight.rows + height - 1) / height;
  }
  int64_t total() const { return begin_[a_.outputs]; }
  RowTask at(int64_t index) const {
    int i = 0;
    while (index >= begin_[i + 1]) i++;
    const int64_t first = (index - begin_[i]) * height_;
    return {&a_.output[i], first, std::min(height_, a_.output[i].weight.rows - first)};
  }
  // Tasks take about the same time, so the one that comes next on this thread is as many further on as there are
  // threads; this one where there is none.
  RowTask after(int64_t index) const { return at(index + threads_ < total() ? index + threads_ : index); }

 private:
  const LinearArgs& a_;
  int64_t height_;
  int64_t threads_;
  int64_t begin_[4] = {0, 0, 0, 0};
};

// Rows of a decode task: whole sets of them.
int64_t gemv_height(const LinearArgs& a) {
  int64_t widest = 1;
  for (int i = 0; i < a.outputs; i++) widest = std::max(widest, a.output[i].weight.row_bytes());
  return std::clamp(kGemvBytes / widest / kColumns * kColumns, kColumns, kGemvRows);
}

// ---- float arithmetic

// y[M][kGemvRows] = x · w[first … first + rows - 1, :]ᵀ; quantised rows are expanded some at a time, as
// [kStripRows][K].
void gemv_rows(const KernelTable& kernels, const RowTask& task, const std::byte* next, HostRows<const float> x,
               float* expanded, float* y) {
  const Weight& w = task.weight();
  if (!traits(w.dtype).quantised()) {
    return gemv_kernel(kernels, w.dtype)({task.row(0), w.row_bytes(), task.rows, w.cols, next},
                                         {x.rows, x.data, x.stride}, {y, kGemvRows, false});
  }
  const ExpandKernel expand = expand_kernel(kernels, w.dtype);
  for (int64_t r = 0; r < task.rows; r += kStripRows) {
    const int64_t count = std::min<int64_t>(kStripRows, task.rows - r);
    for (int64_t i = 0; i < count; i++) expand(task.row(r + i), expanded + i * w.cols, w.cols);
    kernels.gemv_f32({expanded, w.cols * static_cast<int64_t>(sizeof(float)), count, w.cols, expanded},
                     {x.rows, x.data, x.stride}, {y + r, kGemvRows, false});
  }
}

void gemv_float(CpuStream& stream, const LinearArgs& a) {
  const RowTasks tasks(a, stream.pool.threads(), gemv_height(a));
  stream.reserve_per_worker(static_cast<uint64_t>(kStripRows * a.x.cols + a.x.rows * kGemvRows) * sizeof(float));
  stream.parallel(tasks.total(), [&](int64_t index, int worker) {
    const RowTask task = tasks.at(index), after = tasks.after(index);
    float* result = reinterpret_cast<float*>(stream.of_worker(worker));
    gemv_rows(stream.kernels, task, after.row(0), host(a.x), result + a.x.rows * kGemvRows, result);
    finish_products(stream.kernels, *task.output, 0, a.x.rows, task.first, task.rows, result, kGemvRows, nullptr);
  });
}

auto transpose_kernel(const KernelTable& k, DType dtype) {
  return dtype == DType::F32 ? k.transpose_f32 : dtype == DType::F16 ? k.transpose_f16 : k.transpose_bf16;
}

// What panels of float weights, which meet rows of x as they lie, have in common. A panel is 32 columns of `height`
// floats.
template <class Value, int64_t columns, int64_t height>
struct PanelsForRows {
  const KernelTable& kernels;
  HostRows<const Value> x;

  int64_t chunk() const { return columns; }
  static constexpr int64_t most_panels() { return kPanels; }
  static constexpr int64_t slab_step() { return kSlabStep; }
  static constexpr int64_t step_rows() { return kStepRows; }
  int64_t length() const { return x.cols; }
  const float* row_scale() const { return nullptr; }
  uint64_t scratch_bytes() const { return 0; }
  uint64_t panel_bytes() const { return static_cast<uint64_t>(height * kColumns) * sizeof(float); }
  // The panel, to be filled with `rows` rows of weights; missing ones are zero.
  float* begin(std::byte* panel, int64_t rows) const {
    if (rows < kColumns) std::memset(panel, 0, panel_bytes());
    return reinterpret_cast<float*>(panel);
  }
  void take_columns(const RowTask&, int64_t, int64_t, int64_t, std::byte*) const {}
  void add_outliers(int64_t, int64_t, std::byte*, float*, int64_t) const {}
};

// Panels b[KC][32] of float weights.
struct FloatPanels : PanelsForRows<float, kKC, kKC> {
  void pack(const Weight& w, int64_t first, int64_t rows, int64_t k, int64_t depth, std::byte*,
            std::byte* panel) const {
    transpose_kernel(kernels, w.dtype)(host(w.row(first)) + row_bytes(w.dtype, k), w.row_bytes(), rows, depth,
                                       begin(panel, rows), kColumns);
  }
  void multiply(const Weight&, const std::byte* panel, int64_t first, int64_t rows, int64_t k, int64_t depth,
                float* product, int64_t width) const {
    kernels.gemm_f32({.m = rows,
                      .n = kColumns,
                      .k = depth,
                      .a = x.row(first) + k,
                      .lda = x.stride,
                      .b = reinterpret_cast<const float*>(panel),
                      .ldb = kColumns,
                      .c = product,
                      .ldc = width,
                      .accumulate = k > 0});
  }
};

// The last rows of a matrix whose height is no multiple of `set`: copied into a full set, the missing ones zero.
const std::byte* whole_rows(const Weight& w, int64_t first, int64_t rows, int64_t set, std::byte* copy) {
  if (rows == set) return host(w.row(first));
  const auto bytes = static_cast<size_t>(w.row_bytes());
  std::memset(copy, 0, static_cast<size_t>(set) * bytes);
  std::memcpy(copy, host(w.row(first)), static_cast<size_t>(rows) * bytes);
  return copy;
}

uint64_t copied_rows_bytes(const LinearArgs& a, int64_t set) {
  int64_t most = 0;
  for (int i = 0; i < a.outputs; i++) {
    if (a.output[i].weight.rows % set != 0) most = std::max(most, a.output[i].weight.row_bytes() * set);
  }
  return static_cast<uint64_t>(round_up(most, 64));
}

auto bfloats_kernel(const KernelTable& k, DType dtype) {
  switch (dtype) {
#define LLAVA_BFLOATS_CASE(T, elements, ...) \
  case DType::T: return k.bfloats_##T;
    LLAVA_QUANTISED(LLAVA_BFLOATS_CASE)
#undef LLAVA_BFLOATS_CASE
    default: return decltype(k.bfloats_Q4_0){};
  }
}

// Panels b[KC / 2][32][2] of bf16 weights, for activations rounded to bf16.
struct BfloatPanels : PanelsForRows<uint16_t, 2 * kKC, kKC> {
  void pack(const Weight& w, int64_t first, int64_t rows, int64_t k, int64_t depth, std::byte*,
            std::byte* panel) const {
    kernels.transpose_f32(host(w.row(first)) + row_bytes(w.dtype, k), w.row_bytes(), rows, depth / 2,
                          begin(panel, rows), kColumns);
  }
  void multiply(const Weight&, const std::byte* panel, int64_t first, int64_t rows, int64_t k, int64_t depth,
                float* product, int64_t width) const {
    kernels.gemm_bf16({.m = rows,
                       .n = kColumns,
                       .k = depth / 2,
                       .a = x.row(first) + k,
                       .lda = x.stride / 2,
                       .b = panel,
                       .ldb = kColumns,
                       .c = product,
                       .ldc = width,
                       .accumulate = k > 0});
  }
};

// Activations as bf16 in tiles (kernels.def): chunk after chunk of columns, in each the sets of 16 rows. Rows and
// columns that fill the last tiles are zero.
struct TiledRows {
  uint16_t* values;
  int64_t rows, columns;  // whole tiles
  int terms;
  int64_t plane() const { return rows * columns; }
  const uint16_t* at(int64_t row, int64_t k, int64_t depth) const { return values + k * rows + row * depth; }
};

// Panels of weights as bf16 in tiles, of as many terms as activations are.
struct TilePanels {
  // Columns: a panel, and what 32 rows of x have of a chunk, are 16 KB each in L1d.
  static int64_t chunk_of(int terms) { return 256 / terms; }
  const KernelTable& kernels;
  TiledRows x;
  uint64_t copied;  // bytes of the last rows, where they are no full set

  static constexpr int64_t most_panels() { return 8; }
  static constexpr int64_t slab_step() { return 2 * kTileRows; }
  static constexpr int64_t step_rows() { return kSlabRows; }
  int64_t chunk() const { return chunk_of(x.terms); }
  int64_t plane() const { return chunk() * kColumns; }  // values of a term
  int64_t length() const { return x.columns; }
  const float* row_scale() const { return nullptr; }
  uint64_t scratch_bytes() const {
    return x.terms == 1 ? copied : static_cast<uint64_t>(chunk() * kTileRows) * sizeof(float);
  }
  uint64_t panel_bytes() const { return static_cast<uint64_t>(x.terms * plane()) * sizeof(uint16_t); }
  int weight_terms(const Weight& w) const { return w.dtype == DType::BF16 ? 1 : x.terms; }
  void take_columns(const RowTask&, int64_t, int64_t, int64_t, std::byte*) const {}
  void add_outliers(int64_t, int64_t, std::byte*, float*, int64_t) const {}

  // The chunk's columns that there are; those that fill the last tile are zero.
  void pack(const Weight& w, int64_t first, int64_t rows, int64_t k, int64_t depth, std::byte* scratch,
            std::byte* panel) const {
    const int64_t columns = std::min(depth, w.cols - k);
    if (rows < kColumns || columns < depth) std::memset(panel, 0, panel_bytes());
    for (int64_t at = 0; at < rows; at += kTileRows) {
      pack_half(w, first + at, std::min(kTileRows, rows - at), k, columns, scratch,
                reinterpret_cast<uint16_t*>(panel) + at * depth);
    }
  }
  void pack_half(const Weight& w, int64_t first, int64_t rows, int64_t k, int64_t columns, std::byte* scratch,
                 uint16_t* to) const {
    const std::byte* from = host(w.row(first)) + row_bytes(w.dtype, k);
    if (x.terms > 1) {
      float* values = reinterpret_cast<float*>(scratch);
      if (rows < kTileRows || columns % 2 != 0) std::memset(scratch, 0, scratch_bytes());
      transpose_kernel(kernels, w.dtype)(from, w.row_bytes(), rows, columns, values, kTileRows);
      kernels.tile_columns(values, kTileRows, round_up(columns, 2), weight_terms(w), to, plane());
    } else if (traits(w.dtype).quantised()) {
      from = whole_rows(w, first, rows, kTileRows, scratch) + row_bytes(w.dtype, k);
      bfloats_kernel(kernels, w.dtype)(from, w.row_bytes(), columns / kBlock, to);
    } else {
      kernels.transpose_f32(from, w.row_bytes(), rows, columns / 2, reinterpret_cast<float*>(to), kTileRows);
    }
  }
  void multiply(const Weight& w, const std::byte* panel, int64_t first, int64_t rows, int64_t k, int64_t depth,
                float* product, int64_t width) const {
    kernels.gemm_tiles(round_up(rows, kTileRows), depth, {x.at(first, k, depth), x.plane(), x.terms},
                       {reinterpret_cast<const uint16_t*>(panel), plane(), weight_terms(w)}, {product, width, k > 0});
  }
};

constexpr auto kFloat = static_cast<int64_t>(sizeof(float));
constexpr int64_t kPanelRow = row_pitch(kGemvStretch * kFloat);  // bytes

// Panels w[32][kGemvStretch] of float weights, multiplied as gemv_* does it: the same bits as of a row alone.
struct RowPanels : PanelsForRows<float, kGemvStretch, kPanelRow / kFloat> {
  void pack(const Weight& w, int64_t first, int64_t rows, int64_t k, int64_t depth, std::byte*,
            std::byte* panel) const {
    const ExpandKernel expand = expand_kernel(kernels, w.dtype);
    float* to = begin(panel, rows);
    for (int64_t r = 0; r < rows; r++)
      expand(host(w.row(first + r)) + row_bytes(w.dtype, k), to + r * (kPanelRow / kFloat), depth);
  }
  void multiply(const Weight&, const std::byte* panel, int64_t first, int64_t rows, int64_t k, int64_t depth,
                float* product, int64_t width) const {
    kernels.gemv_f32({panel, kPanelRow, kColumns, depth, panel}, {rows, x.row(first) + k, x.stride},
                     {product, width, k > 0});
  }
};

// The walk at the head of this file. A kind of panels is cut along k in chunks (of columns, or of blocks); it packs
// weight rows into a panel, and multiplies rows of x by one. Of quantised weights, it takes the columns of outliers in
// a slab while a chunk is in a cache, and adds their products in the end.
template <class Panels>
void gemm_panels(CpuStream& stream, const LinearArgs& a, const Panels& kind) {
  const int64_t M = a.x.rows, panels = panels_per_task(a, stream.pool.threads(), kind.most_panels());
  const Slabs slabs(M, kind.slab_step());
  const RowTasks tasks(a, stream.pool.threads(), panels * kColumns);
  constexpr auto kFloatBytes = static_cast<int64_t>(sizeof(float));
  const int64_t width = row_pitch(panels * kColumns * kFloatBytes) / kFloatBytes;  // of a row of a task
  const uint64_t panels_at = kind.scratch_bytes(),
                 products_at = panels_at + static_cast<uint64_t>(panels) * kind.panel_bytes();
  stream.reserve_per_worker(products_at + static_cast<uint64_t>(slabs.height * width) * sizeof(float));
  stream.parallel(tasks.total(), [&](int64_t index, int worker) {
    const RowTask task = tasks.at(index);
    const int64_t count = (task.rows + kColumns - 1) / kColumns;
    std::byte* scratch = stream.of_worker(worker);
    const auto panel = [&](int64_t p) { return scratch + panels_at + static_cast<uint64_t>(p) * kind.panel_bytes(); };
    float* products = reinterpret_cast<float*>(scratch + products_at);  // [slab][panels * 32]
    for (int64_t m = 0; m < M; m += slabs.height) {
      const int64_t height = slabs.count_at(m);
      for (int64_t k = 0; k < kind.length(); k += kind.chunk()) {
        const int64_t depth = std::min(kind.chunk(), kind.length() - k);
        for (int64_t p = 0; p < count; p++) {
          kind.pack(task.weight(), task.first + p * kColumns, std::min(kColumns, task.rows - p * kColumns), k, depth,
                    scratch, panel(p));
        }
        kind.take_columns(task, m, k, depth, scratch);
        for (int64_t step = 0; step < height; step += kind.step_rows()) {
          const int64_t rows = std::min(kind.step_rows(), height - step);
          float* product = products + step * width;
          for (int64_t p = 0; p < count; p++)
            kind.multiply(task.weight(), panel(p), m + step, rows, k, depth, product + p * kColumns, width);
          if (k + depth < kind.length()) continue;
          kind.add_outliers(m + step, rows, scratch, product, width);
          const float* row_scale = kind.row_scale() == nullptr ? nullptr : kind.row_scale() + m + step;
          finish_products(stream.kernels, *task.output, m + step, rows, task.first, task.rows, product, width,
                          row_scale);
        }
      }
    }
  });
}

TiledRows tile_rows(CpuStream& stream, HostRows<const float> x, int terms) {
  TiledRows out{nullptr, round_up(x.rows, kTileRows), round_up(x.cols, kTileDepth), terms};
  out.values =
      reinterpret_cast<uint16_t*>(stream.shared(static_cast<uint64_t>(terms * out.plane()) * sizeof(uint16_t)));
  stream.parallel(out.rows / kTileRows, [&](int64_t set, int) {
    const int64_t first = set * kTileRows;
    const int64_t chunk = TilePanels::chunk_of(terms);
    for (int64_t k = 0; k < out.columns; k += chunk) {
      const int64_t depth = std::min(chunk, out.columns - k), columns = std::min(depth, x.cols - k);
      uint16_t* tiles = out.values + k * out.rows + first * depth;
      const bool whole_tiles = columns == depth && first + kTileRows <= x.rows;
      for (int t = 0; t < terms && !whole_tiles; t++)
        std::memset(tiles + t * out.plane(), 0, static_cast<size_t>(kTileRows * depth) * sizeof(uint16_t));
      for (int64_t r = 0; r < std::min(kTileRows, x.rows - first); r++)
        stream.kernels.tile_row(x.row(first + r) + k, columns, terms, tiles + r * kTileDepth, out.plane());
    }
  });
  return out;
}

void gemm_tiled(CpuStream& stream, const LinearArgs& a, int terms) {
  const TiledRows x = tile_rows(stream, host(a.x), terms);
  gemm_panels(stream, a, TilePanels{stream.kernels, x, copied_rows_bytes(a, kTileRows)});
}

void gemm_float(CpuStream& stream, const LinearArgs& a) {
  if (a.arithmetic == Arithmetic::kExact) {
    gemm_panels(stream, a, RowPanels{{stream.kernels, host(a.x)}});
  } else {
    gemm_panels(stream, a, FloatPanels{{stream.kernels, host(a.x)}});
  }
}

void gemm_bfloat(CpuStream& stream, const LinearArgs& a) {
  if (stream.kernels.bf16 == Bf16::kTiles) return gemm_tiled(stream, a, 1);
  constexpr auto kValue = static_cast<int64_t>(sizeof(uint16_t));
  const int64_t stride = row_pitch(a.x.cols * kValue) / kValue;
  const HostRows<uint16_t> x(
      reinterpret_cast<uint16_t*>(stream.shared(static_cast<uint64_t>(a.x.rows * stride * kValue))), a.x.rows, a.x.cols,
      stride);
  stream.parallel_rows(x.rows, [&](int64_t first, int64_t count) {
    for (int64_t m = first; m < first + count; m++) stream.kernels.narrow_bf16(host(a.x.row(m)), x.row(m), x.cols);
  });
  gemm_panels(stream, a, BfloatPanels{{stream.kernels, x}});
}

// ---- int8 arithmetic

// Activations as int8 blocks (block_float.h): chunk after chunk of `chunk` blocks (the last one shorter), in each the
// groups of tokens one after another, so that a panel's chunk meets its activations as one stream.
struct Quantised {
  int8_t* q;
  float* origin;
  int32_t* sum;              // two for each origin: the halves of a block
  float* scale;              // [tokens] D
  Outliers* outliers;        // [tokens], in units of D
  std::byte* columns;        // of them: OutlierColumns of each slab
  int64_t most_columns = 0;  // of a slab
  int64_t group;             // tokens whose words stand side by side
  int64_t padded;            // tokens, rounded up to whole groups
  int64_t blocks;
  int64_t chunk;
  int64_t slab;  // tokens

  struct Part {
    int8_t* q;
    float* origin;
    int32_t* sum;
    int64_t depth;     // blocks
    int64_t q_stride;  // bytes of a group
    int64_t o_stride;  // origins of a group
    TokenGroups groups() const { return {q, q_stride, origin, sum, o_stride}; }
  };
  // The chunk that starts at block b.
  Part part(int64_t b) const {
    const int64_t depth = std::min(chunk, blocks - b);
    return {q + b * kBlock * padded, origin + b * padded, sum + 2 * b * padded, depth,
            depth * kBlock * group,  depth * group};
  }
  // Those of the slab that token t is in.
  OutlierColumns columns_of(int64_t t) const {
    const int64_t length = blocks * kBlock;
    return {columns + static_cast<uint64_t>(t / slab) * OutlierColumns::bytes(length), length};
  }
};

// Scratch of quantise_group, in floats for each block of each token.
constexpr int64_t kBlockScratch = 3;

// The scales of token t, and its outliers. whole: the inverse, but 0 where a block has outliers.
void choose_of_token(const KernelTable& k, const float* x, int64_t t, const Quantised& out, float* origin,
                     float* inverse, float* whole) {
  k.block_largest(x, out.blocks * kBlock, inverse);
  Outliers& outliers = out.outliers[t] = take_outliers(x, out.blocks, inverse);
  out.scale[t] = choose_scales(inverse, out.blocks, origin, inverse);
  std::copy_n(inverse, out.blocks, whole);
  for (int i = 0; i < outliers.count; i++) {
    whole[outliers.of[i].column / kBlock] = 0;
    outliers.of[i].value /= out.scale[t];
    out.columns_of(t).add(outliers.of[i].column);
  }
}

// Block b of group g of the rows of x, without its outliers.
void quantise_rest(const KernelTable& k, HostRows<const float> x, int64_t g, int64_t b, const Quantised& out,
                   const float* inverse) {
  const int64_t first = g * out.group, rows = std::min(out.group, x.rows - first), in_chunk = b % out.chunk;
  float rest[kTokenGroup * kBlock], rest_inverse[kTokenGroup];
  for (int64_t t = 0; t < rows; t++) {
    copy_without(out.outliers[first + t], x.row(first + t), b, rest + t * kBlock);
    rest_inverse[t] = inverse[t * out.blocks + b];
  }
  const Quantised::Part part = out.part(b - in_chunk);
  int8_t* q = part.q + g * part.q_stride + in_chunk * kBlock * out.group;
  int32_t* sum = part.sum + 2 * (g * part.o_stride + in_chunk * out.group);
  if (out.group == 1) {
    k.quantise_q8(rest, kBlock, rest_inverse, q, sum);
  } else {
    k.quantise_q8_group(rest, kBlock, rows, kBlock, rest_inverse, 1, q, sum);
  }
}

// Group g of the rows of x; tokens that fill the last group are zero.
void quantise_group(const KernelTable& k, HostRows<const float> x, int64_t g, const Quantised& out, float* scratch) {
  const int64_t first = g * out.group, rows = std::min(out.group, x.rows - first);
  float *inverse = scratch, *origin = scratch + out.group * out.blocks, *whole = origin + out.group * out.blocks;
  std::fill(inverse + rows * out.blocks, inverse + out.group * out.blocks, 0.0f);
  for (int64_t t = 0; t < out.group; t++) {
    const int64_t at = t * out.blocks;
    if (t < rows) {
      choose_of_token(k, x.row(first + t), first + t, out, origin + at, inverse + at, whole + at);
    } else {
      out.scale[first + t] = choose_scales(inverse + at, out.blocks, origin + at, inverse + at);
    }
  }
  for (int64_t b = 0; b < out.blocks; b += out.chunk) {
    const Quantised::Part part = out.part(b);
    float* origin_at = part.origin + g * part.o_stride;
    for (int64_t t = 0; t < out.group; t++) {
      for (int64_t i = 0; i < part.depth; i++) origin_at[i * out.group + t] = origin[t * out.blocks + b + i];
    }
    const float* from = x.row(first) + b * kBlock;
    int8_t* q = part.q + g * part.q_stride;
    int32_t* sum = part.sum + 2 * g * part.o_stride;
    if (out.group == 1) {
      k.quantise_q8(from, part.depth * kBlock, whole + b, q, sum);
    } else {
      k.quantise_q8_group(from, x.stride, rows, part.depth * kBlock, whole + b, out.blocks, q, sum);
    }
  }
  for (int64_t t = first; t < first + rows; t++) {
    const Outliers& outliers = out.outliers[t];
    for (int i = 0; i < outliers.count; i++) quantise_rest(k, x, g, outliers.of[i].column / kBlock, out, inverse);
  }
}

// group: 1, or kTokenGroup. slab: rows that share the columns of their outliers.
Quantised quantise(CpuStream& stream, HostRows<const float> x, int64_t group, int64_t chunk, int64_t slab) {
  const int64_t padded = round_up(x.rows, group), blocks = x.cols / kBlock, scales = round_up(padded, 16);
  const uint64_t columns = static_cast<uint64_t>((x.rows + slab - 1) / slab) * OutlierColumns::bytes(x.cols);
  const uint64_t outliers = static_cast<uint64_t>(scales) * sizeof(Outliers);
  const auto codes = static_cast<uint64_t>(padded * blocks * (kBlock + 12) + scales * 4);
  std::byte* memory = stream.shared(outliers + columns + codes);
  Quantised out{.group = group, .padded = padded, .blocks = blocks, .chunk = chunk, .slab = slab};
  out.outliers = reinterpret_cast<Outliers*>(memory);  // 16 of them are whole cache lines
  out.columns = memory + outliers;
  out.scale = reinterpret_cast<float*>(out.columns + columns);
  out.origin = out.scale + scales;
  out.sum = reinterpret_cast<int32_t*>(out.origin + padded * blocks);
  out.q = reinterpret_cast<int8_t*>(out.sum + 2 * padded * blocks);
  stream.reserve_per_worker(static_cast<uint64_t>(kBlockScratch * group * blocks) * sizeof(float));
  for (int64_t t = 0; t < x.rows; t += slab) out.columns_of(t).clear();
  stream.parallel(padded / group, [&](int64_t g, int worker) {
    quantise_group(stream.kernels, x, g, out, reinterpret_cast<float*>(stream.of_worker(worker)));
  });
  for (int64_t t = 0; t < x.rows; t += slab) out.most_columns = std::max(out.most_columns, out.columns_of(t).number());
  return out;
}

// y[n] of token t += its outliers' products, whose columns of weights stand at `columns`, ld apart.
void add_outliers(const Quantised& x, int64_t t, const float* columns, int64_t ld, int64_t n, float* y) {
  const Outliers& outliers = x.outliers[t];
  for (int i = 0; i < outliers.count; i++) {
    const float value = outliers.of[i].value, *column = columns + x.columns_of(t).place(outliers.of[i].column) * ld;
    for (int64_t r = 0; r < n; r++) y[r] += value * column[r];
  }
}

// Few tokens: weight rows in sets of `set` from their file's place, each set once. product(weight, w, next set,
// y[tokens][kGemvRows]).
template <class Product>
void rows_int8(CpuStream& stream, const LinearArgs& a, const Quantised& x, int64_t set, const Product& product) {
  const RowTasks tasks(a, stream.pool.threads(), gemv_height(a));
  const uint64_t copied = copied_rows_bytes(a, set);
  const std::span<const int32_t> outliers = x.columns_of(0).between(0, a.x.cols);
  const int64_t results = kGemvRows * x.padded + set * x.most_columns;
  stream.reserve_per_worker(copied + static_cast<uint64_t>(results) * sizeof(float));
  stream.parallel(tasks.total(), [&](int64_t index, int worker) {
    const RowTask task = tasks.at(index), after = tasks.after(index);
    const Weight& weight = task.weight();
    const auto gemv = quantised_kernels(stream.kernels, weight.dtype).gemv;
    OneHot one_hot;
    std::byte* copy = stream.of_worker(worker);
    float *result = reinterpret_cast<float*>(copy + copied), *columns = result + kGemvRows * x.padded;
    for (int64_t r = 0; r < task.rows; r += set) {
      const std::byte* next = r + set < task.rows ? task.row(r + set) : after.row(0);
      const std::byte* w = whole_rows(weight, task.first + r, std::min(set, task.rows - r), set, copy);
      product(weight, w, next, result + r);
      if (outliers.empty()) continue;
      for (int64_t i = 0; i < set; i += kStripRows) {
        const std::byte* rows = w + i * weight.row_bytes();
        float* to = columns + i;
        for (const int32_t column : outliers) {
          one_hot.column_of(gemv, weight.dtype, rows, weight.row_bytes(), column, to);
          to += set;
        }
      }
      for (int64_t t = 0; t < a.x.rows; t++) add_outliers(x, t, columns, set, set, result + t * kGemvRows + r);
    }
    finish_products(stream.kernels, *task.output, 0, a.x.rows, task.first, task.rows, result, kGemvRows, x.scale);
  });
}

// One or two tokens, one after another.
void gemv_int8(CpuStream& stream, const LinearArgs& a) {
  const int64_t blocks = a.x.cols / kBlock;
  const Quantised x = quantise(stream, host(a.x), 1, blocks, a.x.rows);
  const Quantised::Part part = x.part(0);
  rows_int8(stream, a, x, kStripRows, [&](const Weight& weight, const std::byte* w, const std::byte* next, float* y) {
    const auto gemv = quantised_kernels(stream.kernels, weight.dtype).gemv;
    for (int64_t m = 0; m < a.x.rows; m++) {
      gemv({w, weight.row_bytes(), blocks, next}, part.q + m * part.q_stride, part.origin + m * part.o_stride,
           part.sum + 2 * m * part.o_stride, y + m * kGemvRows);
    }
  });
}

// A few tokens.
void unpacked_int8(CpuStream& stream, const LinearArgs& a) {
  const Quantised x = quantise(stream, host(a.x), kTokenGroup, kChunkBlocks, a.x.rows);
  rows_int8(stream, a, x, kColumns, [&](const Weight& weight, const std::byte* w, const std::byte* next, float* y) {
    const auto gemm_unpacked = quantised_kernels(stream.kernels, weight.dtype).gemm_unpacked;
    for (int64_t b = 0; b < x.blocks; b += x.chunk) {
      const Quantised::Part part = x.part(b);
      const int64_t at = row_bytes(weight.dtype, b * kBlock);
      gemm_unpacked({w + at, weight.row_bytes(), part.depth, next + kColumns * at}, x.padded / kTokenGroup,
                    part.groups(), {y, kGemvRows, b > 0});
    }
  });
}

// Panels of quantised weights: two strips of 16 rows of codes, and their scales.
struct QuantisedPanels {
  static constexpr int64_t kCodes = kChunkBlocks * kBlock * kStripRows;  // of a strip
  static constexpr int64_t kCodeBytes = kMostCodeBytes * kCodes;         // at most
  static constexpr int64_t kScales = kCodes / kBlock * kMostScales;      // floats of a strip, at most
  static constexpr int64_t kTaskColumns = kPanels * kColumns;            // at most
  const KernelTable& kernels;
  Quantised x;
  uint64_t copied;  // bytes of the last rows, where they are no full set

  int64_t chunk() const { return x.chunk; }  // blocks
  static constexpr int64_t most_panels() { return kPanels; }
  static constexpr int64_t slab_step() { return kSlabStep; }
  static constexpr int64_t step_rows() { return kStepRows; }
  int64_t length() const { return x.blocks; }
  const float* row_scale() const { return x.scale; }
  // After what is copied, the columns of outliers: [most_columns][kTaskColumns].
  uint64_t scratch_bytes() const { return copied + columns_bytes(); }
  uint64_t columns_bytes() const { return static_cast<uint64_t>(x.most_columns * kTaskColumns) * sizeof(float); }
  uint64_t panel_bytes() const { return 2 * kCodeBytes + 2 * kScales * sizeof(float); }
  // [2][kChunkBlocks][n][16], after codes [2][kChunkBlocks][8][16][4]
  static float* scales_of(std::byte* panel) { return reinterpret_cast<float*>(panel + 2 * kCodeBytes); }
  void pack(const Weight& w, int64_t first, int64_t rows, int64_t b, int64_t depth, std::byte* scratch,
            std::byte* panel) const;
  void multiply(const Weight& w, std::byte* panel, int64_t first, int64_t rows, int64_t b, int64_t depth,
                float* product, int64_t width) const;
  float* columns_at(std::byte* scratch) const { return reinterpret_cast<float*>(scratch + copied); }
  void take_columns(const RowTask& task, int64_t slab, int64_t b, int64_t depth, std::byte* scratch) const;
  void add_outliers(int64_t first, int64_t rows, std::byte* scratch, float* product, int64_t width) const;
};

// Weight rows [first, first + rows), `depth` blocks from block b on; missing rows are zero.
void QuantisedPanels::pack(const Weight& w, int64_t first, int64_t rows, int64_t b, int64_t depth, std::byte* scratch,
                           std::byte* panel) const {
  const int64_t scale_count = kCodes / kBlock * traits(w.dtype).factors();
  for (int p = 0; p < 2; p++) {
    auto* codes = reinterpret_cast<uint8_t*>(panel + p * kCodeBytes);
    float* scales = scales_of(panel) + p * scale_count;
    const int64_t at = p * kStripRows, height = std::min<int64_t>(kStripRows, rows - at);
    if (height > 0) {
      const std::byte* from = whole_rows(w, first + at, height, kStripRows, scratch) + row_bytes(w.dtype, b * kBlock);
      quantised_kernels(kernels, w.dtype).pack(from, w.row_bytes(), depth, codes, scales);
    } else {
      std::memset(codes, 0, kCodeBytes);
      std::memset(scales, 0, static_cast<size_t>(scale_count) * sizeof(float));
    }
  }
}

void QuantisedPanels::multiply(const Weight& w, std::byte* panel, int64_t first, int64_t rows, int64_t b, int64_t,
                               float* product, int64_t width) const {
  const Quantised::Part part = x.part(b);
  const PackedPanel packed = {reinterpret_cast<const uint8_t*>(panel), scales_of(panel), kCodes, part.depth};
  quantised_kernels(kernels, w.dtype)
      .gemm(rows, packed, part.groups().from(first / kTokenGroup, 0), {product, width, b > 0});
}

// The weights of the task's rows in the columns of outliers, of the blocks [b, b + depth) of the slab that begins with
// row `slab`; missing rows are zero.
void QuantisedPanels::take_columns(const RowTask& task, int64_t slab, int64_t b, int64_t depth,
                                   std::byte* scratch) const {
  const Weight& w = task.weight();
  const auto gemv = quantised_kernels(kernels, w.dtype).gemv;
  OneHot one_hot;
  const OutlierColumns columns = x.columns_of(slab);
  for (const int32_t column : columns.between(b * kBlock, (b + depth) * kBlock)) {
    float* to = columns_at(scratch) + columns.place(column) * kTaskColumns;
    std::fill(to, to + kTaskColumns, 0.0f);
    for (int64_t r = 0; r < task.rows; r += kStripRows) {
      const int64_t count = std::min<int64_t>(kStripRows, task.rows - r);
      const std::byte* rows = whole_rows(w, task.first + r, count, kStripRows, scratch);
      one_hot.column_of(gemv, w.dtype, rows, w.row_bytes(), column, to + r);
    }
  }
}

void QuantisedPanels::add_outliers(int64_t first, int64_t rows, std::byte* scratch, float* product,
                                   int64_t width) const {
  for (int64_t t = 0; t < rows; t++) {
    cpu::add_outliers(x, first + t, columns_at(scratch), kTaskColumns, width, product + t * width);
  }
}

void gemm_int8(CpuStream& stream, const LinearArgs& a) {
  const Quantised x = quantise(stream, host(a.x), kTokenGroup, kChunkBlocks, Slabs(a.x.rows, kSlabStep).height);
  gemm_panels(stream, a, QuantisedPanels{stream.kernels, x, copied_rows_bytes(a, kStripRows)});
}

}  // namespace

void linear(Stream& s, const LinearArgs& a) {
  CpuStream& stream = cpu_stream(s);
  if (a.x.rows == 0) return;
  // Outputs whose weights want the same arithmetic are computed together.
  LinearArgs integer = a, bfloat = a, terms = a, floating = a;
  integer.outputs = bfloat.outputs = terms.outputs = floating.outputs = 0;
  const int64_t tokens = a.x.rows;
  for (int i = 0; i < a.outputs; i++) {
    const Factors factors = factors_of(stream.kernels, a.output[i].weight, a.arithmetic, tokens);
    LinearArgs& into = factors == Factors::kInt8     ? integer
                       : factors == Factors::kBfloat ? bfloat
                       : factors == Factors::kTerms  ? terms
                                                     : floating;
    into.output[into.outputs++] = a.output[i];
  }
  if (integer.outputs > 0)
    tokens <= kGemvTokens       ? gemv_int8(stream, integer)
    : tokens <= kUnpackedTokens ? unpacked_int8(stream, integer)
                                : gemm_int8(stream, integer);
  if (bfloat.outputs > 0) gemm_bfloat(stream, bfloat);
  if (terms.outputs > 0) gemm_tiled(stream, terms, kBfloatTerms);
  if (floating.outputs > 0) tokens <= kFewRows ? gemv_float(stream, floating) : gemm_float(stream, floating);
}

}  // namespace llava::cpu
