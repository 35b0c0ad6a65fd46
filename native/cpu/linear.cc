// y[M, N] = x[M, K] · W[N, K]ᵀ with W in its file's layout.
//   One or two rows (decode): each weight row is read once, straight from the mapping (gemv_*).
//   More rows, float weights: x is copied into chunks of kKC columns; each task expands and transposes kNC weight rows, chunk by chunk,
//     into a panel b[k][kNC] that stays in L1, and runs gemm_f32 over all rows of x. Weights are touched once a pass.
//   More rows, quantised weights: x becomes int8 blocks in groups of 4 tokens; each task unpacks two panels of 16 weight rows,
//     a chunk of blocks at a time, and runs gemm_q* over all groups.
//   Either way an output adds its products in order of k, whatever M is; for quantised weights gemv_* does the same sums.
#include <cstring>

#include "common/blocks.h"
#include "cpu/activation.h"
#include "cpu/expand.h"
#include "cpu/stream.h"

namespace llava::cpu {

namespace {

constexpr int64_t kKC = 192;         // float panel: 192 * 32 * 4 B = 24 KB of a 32 KB L1d; K blocks need a multiple of 256
constexpr int64_t kNC = 32;          // columns of a panel: two AVX-512 vectors
constexpr int64_t kChunkBlocks = 16; // quantised panel pair: 16 * 1 KB of codes and 2 KB of scales in L1d; two K blocks
constexpr int64_t kGemvRows = 64;    // weight rows of a decode task

struct QuantisedKernels {
  decltype(KernelTable::pack_Q4_0) pack;
  decltype(KernelTable::gemm_Q4_0) gemm;
  decltype(KernelTable::gemv_Q4_0) gemv;
};

QuantisedKernels quantised_kernels(const KernelTable& k, DType dtype) {
  switch (dtype) {
#define LLAVA_QUANTISED_CASE(T, elements, bytes) \
  case DType::T: return {k.pack_##T, k.gemm_##T, k.gemv_##T};
    LLAVA_QUANTISED(LLAVA_QUANTISED_CASE)
#undef LLAVA_QUANTISED_CASE
    default: return {};
  }
}

auto gemv_kernel(const KernelTable& k, DType dtype) {
  return dtype == DType::F32 ? k.gemv_f32 : dtype == DType::F16 ? k.gemv_f16 : k.gemv_bf16;
}

// Where a task puts its columns of the product: into y, or into scratch where y cannot be written directly
// (y holds the residual, or the panel is wider than the columns that are left).
struct Panel {
  float* c;
  int64_t ldc;
  bool direct;
};

Panel panel_target(const LinearOutput& o, int64_t column, int64_t columns, int64_t width, float* scratch) {
  const bool direct = columns == width && o.residual.data != o.y.data;
  return direct ? Panel{o.y.data + column, o.y.stride, true} : Panel{scratch, width, false};
}

// scale, bias, activation and residual over y[rows first_row …, columns] while the product is still in cache.
void finish_panel(const KernelTable& k, const LinearOutput& o, int64_t first_row, int64_t rows, int64_t column, int64_t columns, const Panel& panel) {
  const ActivationKernel activation = activation_kernel(k, o.activation);
  for (int64_t m = 0; m < rows; m++) {
    float* c = panel.c + m * panel.ldc;
    if (o.scale != 1.0f) k.scale(c, o.scale, c, columns);
    if (o.bias != nullptr) k.add(c, o.bias + column, c, columns);
    if (activation != nullptr) activation(c, c, columns);
    if (o.residual.data != nullptr) k.add(c, o.residual.row(first_row + m) + column, c, columns);
    if (!panel.direct) std::memcpy(o.y.row(first_row + m) + column, c, static_cast<size_t>(columns) * sizeof(float));
  }
}

// Tasks of all outputs in one run: which output, and which of its tasks.
struct TaskList {
  int64_t first[4] = {0, 0, 0, 0};
  int count = 0;
  TaskList(const LinearArgs& a, int64_t rows_per_task) : count(a.outputs) {
    for (int i = 0; i < count; i++) first[i + 1] = first[i] + (a.output[i].weight.rows + rows_per_task - 1) / rows_per_task;
  }
  int64_t total() const { return first[count]; }
  int output_of(int64_t index) const {
    int i = 0;
    while (index >= first[i + 1]) i++;
    return i;
  }
};

// ---- float arithmetic -------------------------------------------------------------------------------------------------------

void gemv_float(CpuStream& stream, const LinearArgs& a) {
  const TaskList tasks(a, kGemvRows);
  stream.reserve_per_worker(static_cast<uint64_t>(a.x.cols + kGemvRows) * sizeof(float));
  stream.parallel(tasks.total(), [&](int64_t index, int worker) {
    const int i = tasks.output_of(index);
    const LinearOutput& o = a.output[i];
    const int64_t first = (index - tasks.first[i]) * kGemvRows, rows = std::min(kGemvRows, o.weight.rows - first);
    float* result = reinterpret_cast<float*>(stream.of_worker(worker));
    float* expanded = result + kGemvRows;
    for (int64_t m = 0; m < a.x.rows; m++) {
      if (traits(o.weight.dtype).quantised()) {
        for (int64_t r = 0; r < rows; r++) {
          expand_kernel(stream.kernels, o.weight.dtype)(o.weight.row(first + r), expanded, a.x.cols);
          stream.kernels.gemv_f32(expanded, 0, 1, a.x.cols, a.x.row(m), result + r);
        }
      } else {
        gemv_kernel(stream.kernels, o.weight.dtype)(o.weight.row(first), o.weight.row_bytes(), rows, a.x.cols, a.x.row(m), result);
      }
      finish_panel(stream.kernels, o, m, 1, first, rows, {result, kGemvRows, false});
    }
  });
}

int64_t chunk_columns(const LinearArgs& a) {
  for (int i = 0; i < a.outputs; i++) {
    if (traits(a.output[i].weight.dtype).elements == kSuperBlock) return kSuperBlock;
  }
  return kKC;
}

// x[M, K] -> chunks [K / width][M][width]: rows of a chunk lie close together, so a tile's rows do not compete for the same cache sets.
const float* chunk_rows(CpuStream& stream, ConstActivations x, int64_t width) {
  float* chunks = reinterpret_cast<float*>(stream.shared(static_cast<uint64_t>(x.rows * ((x.cols + width - 1) / width) * width) * sizeof(float)));
  stream.parallel_rows(x.rows, [&](int64_t first, int64_t count) {
    for (int64_t m = first; m < first + count; m++) {
      for (int64_t k = 0; k < x.cols; k += width) {
        std::memcpy(chunks + k * x.rows + m * width, x.row(m) + k, static_cast<size_t>(std::min(width, x.cols - k)) * sizeof(float));
      }
    }
  });
  return chunks;
}

void gemm_float(CpuStream& stream, const LinearArgs& a) {
  const int64_t M = a.x.rows, K = a.x.cols, KC = chunk_columns(a);
  const float* chunks = chunk_rows(stream, a.x, KC);
  const TaskList tasks(a, kNC);
  stream.reserve_per_worker(static_cast<uint64_t>(2 * KC * kNC + M * kNC) * sizeof(float));
  stream.parallel(tasks.total(), [&](int64_t index, int worker) {
    const int i = tasks.output_of(index);
    const LinearOutput& o = a.output[i];
    const int64_t first = (index - tasks.first[i]) * kNC, rows = std::min(kNC, o.weight.rows - first);
    float* b = reinterpret_cast<float*>(stream.of_worker(worker));  // [KC][kNC]
    float* expanded = b + KC * kNC;                                 // [kNC][KC]
    const Panel panel = panel_target(o, first, rows, kNC, expanded + KC * kNC);
    const ExpandKernel expand = expand_kernel(stream.kernels, o.weight.dtype);
    if (rows < kNC) std::memset(b, 0, static_cast<size_t>(KC * kNC) * sizeof(float));
    for (int64_t k = 0; k < K; k += KC) {
      const int64_t depth = std::min(KC, K - k);
      for (int64_t r = 0; r < rows; r++) expand(o.weight.row(first + r) + row_bytes(o.weight.dtype, k), expanded + r * KC, depth);
      stream.kernels.transpose(expanded, KC, rows, depth, b, kNC);
      stream.kernels.gemm_f32(M, kNC, depth, chunks + k * M, KC, b, kNC, panel.c, panel.ldc, k > 0);
    }
    finish_panel(stream.kernels, o, 0, M, first, rows, panel);
  });
}

// ---- int8 arithmetic --------------------------------------------------------------------------------------------------------

// Activations as int8 blocks, in groups of `group` tokens.
struct Quantised {
  int8_t* q;
  float* d;
  int32_t* sum;      // two for each d: the halves of a block
  int64_t q_stride;  // bytes of a group
  int64_t d_stride;  // d values of a group
};

Quantised quantise(CpuStream& stream, ConstActivations x, int64_t group) {
  const int64_t groups = (x.rows + group - 1) / group, blocks = x.cols / kBlock;
  Quantised out;
  out.q_stride = x.cols * group;
  out.d_stride = blocks * group;
  std::byte* memory = stream.shared(static_cast<uint64_t>(groups * (out.q_stride + 12 * out.d_stride)));
  out.d = reinterpret_cast<float*>(memory);
  out.sum = reinterpret_cast<int32_t*>(out.d + groups * out.d_stride);
  out.q = reinterpret_cast<int8_t*>(out.sum + groups * 2 * out.d_stride);
  const int64_t padded = groups * group;
  stream.parallel_rows(padded, [&](int64_t first, int64_t count) {
    for (int64_t t = first; t < first + count; t++) {
      const int64_t g = t / group, lane = t % group;
      int8_t* q = out.q + g * out.q_stride + 4 * lane;
      float* d = out.d + g * out.d_stride + lane;
      int32_t* sum = out.sum + g * 2 * out.d_stride + lane;
      if (t < x.rows) {
        stream.kernels.quantize_q8(x.row(t), x.cols, group, q, d, sum);
      } else {  // tokens that fill the last group
        for (int64_t w = 0; w < x.cols / 4; w++) std::memset(q + 4 * w * group, 0, 4);
        for (int64_t b = 0; b < blocks; b++) d[b * group] = 0;
        for (int64_t h = 0; h < 2 * blocks; h++) sum[h * group] = 0;
      }
    }
  });
  return out;
}

// The last rows of a matrix whose height is no multiple of 16: copied into a full set of 16, the missing ones zero.
const std::byte* whole_rows(const Weight& w, int64_t first, int64_t rows, std::byte* copy) {
  if (rows == kPanelRows) return w.row(first);
  const auto bytes = static_cast<size_t>(w.row_bytes());
  std::memset(copy, 0, kPanelRows * bytes);
  std::memcpy(copy, w.row(first), static_cast<size_t>(rows) * bytes);
  return copy;
}

uint64_t copied_rows_bytes(const LinearArgs& a) {
  int64_t most = 0;
  for (int i = 0; i < a.outputs; i++) {
    if (a.output[i].weight.rows % kPanelRows != 0) most = std::max(most, a.output[i].weight.row_bytes() * kPanelRows);
  }
  return static_cast<uint64_t>((most + 63) / 64 * 64);
}

void gemv_int8(CpuStream& stream, const LinearArgs& a) {
  const int64_t blocks = a.x.cols / kBlock;
  const Quantised x = quantise(stream, a.x, 1);
  const TaskList tasks(a, kGemvRows);
  const uint64_t copied = copied_rows_bytes(a);
  stream.reserve_per_worker(copied + kGemvRows * sizeof(float));
  stream.parallel(tasks.total(), [&](int64_t index, int worker) {
    const int i = tasks.output_of(index);
    const LinearOutput& o = a.output[i];
    const QuantisedKernels kernels = quantised_kernels(stream.kernels, o.weight.dtype);
    const int64_t first = (index - tasks.first[i]) * kGemvRows, rows = std::min(kGemvRows, o.weight.rows - first);
    std::byte* copy = stream.of_worker(worker);
    float* result = reinterpret_cast<float*>(copy + copied);
    for (int64_t m = 0; m < a.x.rows; m++) {
      for (int64_t r = 0; r < rows; r += kPanelRows) {
        const std::byte* w = whole_rows(o.weight, first + r, std::min<int64_t>(kPanelRows, rows - r), copy);
        kernels.gemv(w, o.weight.row_bytes(), blocks, x.q + m * x.q_stride, x.d + m * x.d_stride, x.sum + 2 * m * x.d_stride, result + r);
      }
      finish_panel(stream.kernels, o, m, 1, first, rows, {result, kGemvRows, false});
    }
  });
}

void gemm_int8(CpuStream& stream, const LinearArgs& a) {
  constexpr int64_t kRows = 2 * kPanelRows, kPanelBytes = kChunkBlocks * kBlock * kPanelRows;
  const int64_t M = a.x.rows, blocks = a.x.cols / kBlock;
  const Quantised x = quantise(stream, a.x, kTokenGroup);
  const TaskList tasks(a, kRows);
  const uint64_t copied = copied_rows_bytes(a);
  const uint64_t panels = 2 * kPanelBytes + 2 * kPanelBytes / kBlock * kMostPanelScales * sizeof(float);
  stream.reserve_per_worker(copied + panels + static_cast<uint64_t>(M * kRows) * sizeof(float));
  stream.parallel(tasks.total(), [&](int64_t index, int worker) {
    const int i = tasks.output_of(index);
    const LinearOutput& o = a.output[i];
    const QuantisedKernels kernels = quantised_kernels(stream.kernels, o.weight.dtype);
    const int64_t first = (index - tasks.first[i]) * kRows, rows = std::min(kRows, o.weight.rows - first);
    std::byte* copy = stream.of_worker(worker);
    auto* codes = reinterpret_cast<uint8_t*>(copy + copied);                        // [2][kChunkBlocks][8][16][4]
    float* scales = reinterpret_cast<float*>(codes + 2 * kPanelBytes);              // [2][kChunkBlocks][n][16]
    const int64_t panel_floats = kPanelBytes / kBlock * panel_scales(o.weight.dtype);
    const Panel panel = panel_target(o, first, rows, kRows, scales + 2 * kPanelBytes / kBlock * kMostPanelScales);
    for (int64_t b = 0; b < blocks; b += kChunkBlocks) {
      const int64_t depth = std::min(kChunkBlocks, blocks - b);
      for (int p = 0; p < 2; p++) {
        const int64_t at = p * kPanelRows, height = std::min<int64_t>(kPanelRows, rows - at);
        if (height <= 0) {
          std::memset(codes + p * kPanelBytes, 0, kPanelBytes);
          std::memset(scales + p * panel_floats, 0, static_cast<size_t>(panel_floats) * sizeof(float));
          continue;
        }
        const std::byte* w = whole_rows(o.weight, first + at, height, copy) + row_bytes(o.weight.dtype, b * kBlock);
        kernels.pack(w, o.weight.row_bytes(), depth, codes + p * kPanelBytes, scales + p * panel_floats);
      }
      kernels.gemm(M, depth, codes, scales, kPanelBytes, x.q + b * kBlock * kTokenGroup, x.q_stride, x.d + b * kTokenGroup, x.sum + 2 * b * kTokenGroup, x.d_stride,
                   panel.c, panel.ldc, b > 0);
    }
    finish_panel(stream.kernels, o, 0, M, first, rows, panel);
  });
}

}  // namespace

void linear(Stream& s, const LinearArgs& a) {
  CpuStream& stream = cpu_stream(s);
  if (a.x.rows == 0) return;
  const bool few = a.x.rows <= 2;
  // Outputs whose weights want the same arithmetic are computed together.
  LinearArgs integer = a, floating = a;
  integer.outputs = floating.outputs = 0;
  for (int i = 0; i < a.outputs; i++) {
    const bool int8 = traits(a.output[i].weight.dtype).quantised() && a.arithmetic == Arithmetic::kFast;
    LinearArgs& into = int8 ? integer : floating;
    into.output[into.outputs++] = a.output[i];
  }
  if (integer.outputs > 0) few ? gemv_int8(stream, integer) : gemm_int8(stream, integer);
  if (floating.outputs > 0) few ? gemv_float(stream, floating) : gemm_float(stream, floating);
}

}  // namespace llava::cpu
