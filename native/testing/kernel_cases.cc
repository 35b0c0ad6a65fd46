// One case for each line of kernels.def (a kernel without one does not compile), and properties that tie kernels to
// each other.
#include <algorithm>
#include <bit>
#include <cfloat>
#include <chrono>
#include <cmath>
#include <limits>

#include "common/blocks.h"
#include "common/half.h"
#include "cpu/block_float.h"
#include "cpu/kernels/reference.h"
#include "testing/conformance.h"
#include "testing/weights.h"

namespace llava::testing {

namespace {

template <class Acc>
const KernelTable& reference_table() {
  static const KernelTable table = [] {
    KernelTable t{};
    reference::fill<Acc>(t);
    return t;
  }();
  return table;
}

// Magnitudes of the inputs.
struct Spread {
  std::string name;
  float low, high;
};

// The usual families, and a huge one just below where the reference itself overflows.
std::vector<Spread> spreads(float top) {
  return {{"ordinary values", 0.01f, 4.0f},
          {"wide values", 1e-6f, 1e6f},
          {"denormals", 1e-44f, FLT_MIN},
          {"huge values", top * 1e-3f, top}};
}

constexpr int64_t kWidest = 16;  // lanes of the widest table; unrolled loops take four vectors

// Every tail of one and of two vectors, and around four and eight.
std::vector<int64_t> lengths() {
  std::vector<int64_t> out;
  for (int64_t n = 1; n <= 2 * kWidest + 1; n++) out.push_back(n);
  for (const int64_t whole : {4 * kWidest, 8 * kWidest}) {
    for (const int64_t n : {whole - 1, whole, whole + 1, whole + kWidest + 3}) out.push_back(n);
  }
  return out;
}

std::vector<float> unwritten(int64_t n) {
  return std::vector<float>(static_cast<size_t>(n), std::bit_cast<float>(0xFFFFFFFFu));
}

// The largest x whose square may be added up n times.
float square_top(int64_t n) { return std::sqrt(FLT_MAX / static_cast<float>(n)) / 2; }

// call(table, y) on the table under test and on both references, each with its own fenced y that starts as `before`.
template <class Call>
void agree(Trial& t, const std::string& label, const std::vector<float>& before, const Call& call, float scale = 0) {
  const auto run = [&](const KernelTable& table) {
    const Output<float> y(t, before);
    call(table, y.data());
    return y.values();
  };
  t.near(label, run(t.kernels), run(reference_table<float>()), run(reference_table<double>()), scale);
}

// The same for results that have one right answer.
template <class T, class Call>
void agree_exactly(Trial& t, const std::string& label, int64_t count, const Call& call) {
  const auto run = [&](const KernelTable& table) {
    const Output<T> y(t, count);
    call(table, y.data());
    return y.values();
  };
  t.exact(label, run(t.kernels), run(reference_table<float>()));
}

// ---- weights

void expand(Trial& t, decltype(KernelTable::expand_f32) KernelTable::* kernel, DType dtype) {
  for (const int64_t n : lengths()) {
    const int64_t count = n * traits(dtype).elements;
    const RandomWeight weight = random_weight(t, dtype, 1, count);
    const Input<std::byte> src(t, weight.bytes, t.random.below(4));
    const Output<float> y(t, count);
    (t.kernels.*kernel)(src.data(), y, count);
    t.exact("the values of the weights", unsigned_zeros(y.values()), unsigned_zeros(weight.rounded));
  }
}

// The magnitude that a sum of these products has when it does not happen to cancel: the largest over rows of w and x of
// (sum (w x)^2)^(1/2).
float largest_dot_norm(const std::vector<double>& w, const std::vector<float>& x, int64_t k) {
  double largest = 0;
  const auto length = static_cast<size_t>(k);
  for (size_t row = 0; row < w.size(); row += length) {
    for (size_t token = 0; token < x.size(); token += length) {
      double squares = 0;
      for (size_t p = 0; p < length; p++) squares += std::pow(w[row + p] * static_cast<double>(x[token + p]), 2);
      largest = std::fmax(largest, std::sqrt(squares));
    }
  }
  return static_cast<float>(largest);
}

// Rows around the end of a stretch as well.
std::vector<int64_t> gemv_lengths() {
  std::vector<int64_t> out = lengths();
  for (const int64_t k : {kGemvStretch - 1, kGemvStretch, kGemvStretch + 1, 2 * kGemvStretch + 19}) out.push_back(k);
  return out;
}

void gemv_float(Trial& t, decltype(KernelTable::gemv_f32) KernelTable::* kernel, DType dtype) {
  for (const int64_t k : gemv_lengths()) {
    for (const int64_t rows : {1, 2, 5}) {
      for (const Spread& spread : spreads(FLT_MAX / static_cast<float>(8 * k))) {
        const bool accumulate = t.random.below(2) == 1;
        const int64_t stride = k * traits(dtype).bytes + t.random.below(3), tokens = 1 + t.random.below(13),
                      ldx = k + t.random.below(3), ldy = rows + t.random.below(3);
        const RandomWeight weight = random_weight(t, dtype, rows, k);
        const std::vector<float> values = t.random.values(tokens * k, spread.low, spread.high);
        const Input<std::byte> w(t, strided_bytes(weight, stride), t.random.below(4));
        const Input<float> x(t, with_stride(values, tokens, k, ldx));
        const std::vector<float> before =
            with_stride(accumulate ? t.random.values(tokens * rows, spread.low, spread.high) : unwritten(tokens * rows),
                        tokens, rows, ldy);
        const auto call = [&](const KernelTable& table, float* y) {
          (table.*kernel)({w.data(), stride, rows, k, w.data()}, {tokens, x, ldx}, {y, ldy, accumulate});
        };
        agree(t, spread.name, before, call, largest_dot_norm(weight.values, values, k));
      }
    }
  }
}

// ---- int8 products

// Activations of `tokens` tokens as gemm_q* reads them; the lanes that fill the last group hold numbers too.
struct Tokens {
  int64_t blocks, groups, q_stride, o_stride;
  std::vector<int8_t> q;
  std::vector<float> origin;
  std::vector<int32_t> sum;
  size_t q_at(int64_t token, int64_t k) const {
    return static_cast<size_t>(token / kTokenGroup * q_stride + (k / 4 * kTokenGroup + token % kTokenGroup) * 4 +
                               k % 4);
  }
  size_t origin_at(int64_t token, int64_t block) const {
    return static_cast<size_t>(token / kTokenGroup * o_stride + block * kTokenGroup + token % kTokenGroup);
  }
  size_t sum_at(int64_t token, int64_t half) const {
    return static_cast<size_t>(token / kTokenGroup * 2 * o_stride + half * kTokenGroup + token % kTokenGroup);
  }
};

Tokens random_tokens(Trial& t, int64_t tokens, int64_t blocks, bool extreme) {
  Tokens out;
  out.blocks = blocks;
  out.groups = (tokens + kTokenGroup - 1) / kTokenGroup;
  out.q_stride = blocks * kBlock * kTokenGroup + 16 * t.random.below(3);
  out.o_stride = blocks * kTokenGroup + t.random.below(3);
  out.q.resize(static_cast<size_t>((out.groups - 1) * out.q_stride + blocks * kBlock * kTokenGroup));
  for (int8_t& code : out.q)
    code = static_cast<int8_t>(extreme ? (t.random.below(2) == 0 ? -127 : 127) : t.random.below(255) - 127);
  if (extreme && t.random.below(2) == 0) std::fill(out.q.begin(), out.q.end(), int8_t{127});
  const int64_t scales = (out.groups - 1) * out.o_stride + blocks * kTokenGroup;
  for (int64_t i = 0; i < scales; i++) out.origin.push_back(std::ldexp(kOrigin, -static_cast<int>(t.random.below(8))));
  out.sum.resize(static_cast<size_t>((out.groups - 1) * 2 * out.o_stride + 2 * blocks * kTokenGroup));
  for (int64_t token = 0; token < out.groups * kTokenGroup; token++) {
    for (int64_t half = 0; half < 2 * blocks; half++) {
      int32_t sum = 0;
      for (int64_t k = 16 * half; k < 16 * (half + 1); k++) sum += out.q[out.q_at(token, k)];
      out.sum[out.sum_at(token, half)] = sum;
    }
  }
  return out;
}

// Token `token` alone, as gemv_q* reads it.
Tokens alone(const Tokens& all, int64_t token) {
  Tokens out{all.blocks, 1, 0, 0, {}, {}, {}};
  for (int64_t k = 0; k < all.blocks * kBlock; k++) out.q.push_back(all.q[all.q_at(token, k)]);
  for (int64_t b = 0; b < all.blocks; b++) out.origin.push_back(all.origin[all.origin_at(token, b)]);
  for (int64_t half = 0; half < 2 * all.blocks; half++) out.sum.push_back(all.sum[all.sum_at(token, half)]);
  return out;
}

struct Quantised {
  DType dtype;
  decltype(KernelTable::pack_Q4_0) KernelTable::* pack;
  decltype(KernelTable::gemm_Q4_0) KernelTable::* gemm;
  decltype(KernelTable::gemm_tall_Q4_0) KernelTable::* gemm_tall;
  decltype(KernelTable::gemm_unpacked_Q4_0) KernelTable::* gemm_unpacked;
  decltype(KernelTable::bfloats_Q4_0) KernelTable::* bfloats;
  decltype(KernelTable::gemv_Q4_0) KernelTable::* gemv;
  int64_t disk_blocks() const { return traits(dtype).elements / kBlock; }  // blocks of 32 in one on disk
  int64_t scales() const { return traits(dtype).factors() * kStripRows; }  // of a block in a strip
};
#define LLAVA_TYPE(T, elements, ...)                           \
  constexpr Quantised k##T = {DType::T,                        \
                              &KernelTable::pack_##T,          \
                              &KernelTable::gemm_##T,          \
                              &KernelTable::gemm_tall_##T,     \
                              &KernelTable::gemm_unpacked_##T, \
                              &KernelTable::bfloats_##T,       \
                              &KernelTable::gemv_##T};
LLAVA_QUANTISED(LLAVA_TYPE)
#undef LLAVA_TYPE

// Blocks of 32 in a row: one block on disk and several, an odd number too.
std::vector<int64_t> block_counts(const Quantised& type) {
  if (type.disk_blocks() > 1) return {type.disk_blocks(), 3 * type.disk_blocks()};
  return {1, 2, 17};
}

constexpr int64_t kPanelColumns = 2 * kStripRows;     // of y
constexpr int64_t kStripBlock = kBlock * kStripRows;  // codes of one block

using GemmKernel = decltype(KernelTable::gemm_Q4_0) KernelTable::*;

// Weight rows as they lie in a file.
struct Rows {
  const std::byte* w;
  int64_t stride;
};

// Rows of outputs as they were before, ldy apart.
struct Before {
  std::vector<float> y;
  int64_t ldy;
  bool accumulate;
};

// Packs 32 weight rows by `table` and multiplies them by the same table: the codes in between are its own affair.
// strip: codes that a strip has room for.
std::vector<float> packed_product(Trial& t, const KernelTable& table, const Quantised& type, GemmKernel gemm,
                                  const Rows& w, const Tokens& x, int64_t tokens, int64_t strip, const Before& before) {
  const Output<uint8_t> codes(t, kMostCodeBytes * (strip + x.blocks * kStripBlock));
  const int64_t strip_floats = strip / kStripBlock * type.scales();
  const Output<float> scales(t, strip_floats + x.blocks * type.scales());
  for (int64_t p = 0; p < 2; p++)
    (table.*type.pack)(w.w + p * kStripRows * w.stride, w.stride, x.blocks, codes + p * kMostCodeBytes * strip,
                       scales + p * strip_floats);
  const Input<uint8_t> packed(t, codes.values());
  const Input<float> packed_scales(t, scales.values()), origin(t, x.origin);
  const Input<int8_t> q(t, x.q);
  const Input<int32_t> sum(t, x.sum);
  const Output<float> y(t, before.y);
  (table.*gemm)(tokens, {packed, packed_scales, strip, x.blocks}, {q, x.q_stride, origin, sum, x.o_stride},
                {y, before.ldy, before.accumulate});
  return y.values();
}

void gemm_quantised(Trial& t, const Quantised& type, GemmKernel gemm) {
  for (int64_t tokens = 1; tokens <= 2 * 2 * kTokenGroup + 1; tokens++) {
    for (const int64_t blocks : block_counts(type)) {
      for (const bool extreme : {false, true}) {
        const bool accumulate = t.random.below(2) == 0;
        const int64_t stride = row_bytes(type.dtype, blocks * kBlock) + t.random.below(3),
                      ldy = kPanelColumns + t.random.below(5);
        const int64_t strip = (blocks + t.random.below(2)) * kStripBlock;
        const Input<std::byte> w(
            t, strided_bytes(random_weight(t, type.dtype, kPanelColumns, blocks * kBlock, extreme), stride),
            t.random.below(4));
        const Tokens x = random_tokens(t, tokens, blocks, extreme);
        const std::vector<float> y =
            accumulate ? t.random.values(tokens * kPanelColumns) : unwritten(tokens * kPanelColumns);
        const Before before = {with_stride(y, tokens, kPanelColumns, ldy), ldy, accumulate};
        const auto run = [&](const KernelTable& table) {
          return packed_product(t, table, type, gemm, {w, stride}, x, tokens, strip, before);
        };
        t.near(extreme ? "extreme codes" : "random codes", run(t.kernels), run(reference_table<float>()),
               run(reference_table<double>()));
      }
    }
  }
}

void pack_quantised(Trial& t, const Quantised& type) {
  for (const int64_t blocks : block_counts(type)) {
    const int64_t stride = row_bytes(type.dtype, blocks * kBlock) + t.random.below(3);
    const Input<std::byte> w(t, strided_bytes(random_weight(t, type.dtype, kPanelColumns, blocks * kBlock), stride),
                             t.random.below(4));
    const auto scales_of = [&](const KernelTable& table) {
      const Output<uint8_t> codes(t, kMostCodeBytes * blocks * kStripBlock);
      const Output<float> scales(t, blocks * type.scales());
      (table.*type.pack)(w, stride, blocks, codes, scales);
      return unsigned_zeros(scales.values());
    };
    t.exact("the scales of a strip", scales_of(t.kernels), scales_of(reference_table<float>()));
    // one value of 1 a token, the others 0: the product reads the packed codes back one by one
    for (int64_t k = 0; k < blocks * kBlock; k += kTokenGroup) {
      Tokens x = random_tokens(t, kTokenGroup, blocks, false);
      std::fill(x.q.begin(), x.q.end(), int8_t{0});
      std::fill(x.sum.begin(), x.sum.end(), 0);
      std::fill(x.origin.begin(), x.origin.end(), kOrigin);
      for (int64_t lane = 0; lane < kTokenGroup; lane++) {
        x.q[x.q_at(lane, k + lane)] = 1;
        x.sum[x.sum_at(lane, k / 16)] = 1;
      }
      const auto run = [&](const KernelTable& table) {
        return packed_product(t, table, type, type.gemm, {w, stride}, x, kTokenGroup, blocks * kStripBlock,
                              {unwritten(kTokenGroup * kPanelColumns), kPanelColumns, false});
      };
      t.exact("the codes of a panel", run(t.kernels), run(reference_table<float>()));
    }
  }
}

// Of normal values: the instructions make others zero.
void bfloats_quantised(Trial& t, const Quantised& type) {
  for (const int64_t blocks : block_counts(type)) {
    const int64_t stride = row_bytes(type.dtype, blocks * kBlock) + t.random.below(3);
    const Input<std::byte> w(t, strided_bytes(random_weight(t, type.dtype, kPanelColumns, blocks * kBlock), stride),
                             t.random.below(4));
    const auto run = [&](const KernelTable& table) {
      const Output<uint16_t> out(t, blocks * kBlock * kStripRows);
      (table.*type.bfloats)(w, stride, blocks, out);
      std::vector<uint16_t> bits = out.values();
      for (uint16_t& value : bits) {
        if ((value & 0x7F80) == 0) value = 0;
      }
      return bits;
    };
    t.exact("the weights, rounded", run(t.kernels), run(reference_table<float>()));
  }
}

std::vector<float> gemv_product(Trial& t, const KernelTable& table, const Quantised& type, const std::byte* w,
                                int64_t stride, const Tokens& x) {
  const Input<int8_t> q(t, x.q);
  const Input<float> origin(t, x.origin);
  const Input<int32_t> sum(t, x.sum);
  const Output<float> y(t, kStripRows);
  (table.*type.gemv)({w, stride, x.blocks, w}, q, origin, sum, y);
  return y.values();
}

void gemv_quantised(Trial& t, const Quantised& type) {
  std::vector<int64_t> counts = block_counts(type);
  counts.push_back(type.disk_blocks() > 1 ? 136 : 145);  // more than what is kept of a token at a time
  for (const int64_t blocks : counts) {
    for (const bool extreme : {false, true}) {
      const int64_t stride = row_bytes(type.dtype, blocks * kBlock) + t.random.below(3);
      const Input<std::byte> w(
          t, strided_bytes(random_weight(t, type.dtype, kStripRows, blocks * kBlock, extreme), stride),
          t.random.below(4));
      const Tokens x = alone(random_tokens(t, 1, blocks, extreme), 0);
      const auto run = [&](const KernelTable& table) { return gemv_product(t, table, type, w, stride, x); };
      t.near(extreme ? "extreme codes" : "random codes", run(t.kernels), run(reference_table<float>()),
             run(reference_table<double>()));
    }
  }
}

std::vector<float> unpacked_product(Trial& t, const KernelTable& table, const Quantised& type, const Rows& w,
                                    const Tokens& x, const Before& before) {
  const Input<int8_t> q(t, x.q);
  const Input<float> origin(t, x.origin);
  const Input<int32_t> sum(t, x.sum);
  const Output<float> y(t, before.y);
  (table.*type.gemm_unpacked)({w.w, w.stride, x.blocks, w.w}, x.groups, {q, x.q_stride, origin, sum, x.o_stride},
                              {y, before.ldy, before.accumulate});
  return y.values();
}

void unpacked_quantised(Trial& t, const Quantised& type) {
  for (int64_t groups = 1; groups <= 5; groups++) {
    for (const int64_t blocks : block_counts(type)) {
      for (const bool extreme : {false, true}) {
        const bool accumulate = t.random.below(2) == 0;
        const int64_t stride = row_bytes(type.dtype, blocks * kBlock) + t.random.below(3),
                      ldy = kPanelColumns + t.random.below(5), tokens = groups * kTokenGroup;
        const Input<std::byte> w(
            t, strided_bytes(random_weight(t, type.dtype, kPanelColumns, blocks * kBlock, extreme), stride),
            t.random.below(4));
        const Tokens x = random_tokens(t, tokens, blocks, extreme);
        const std::vector<float> y =
            accumulate ? t.random.values(tokens * kPanelColumns) : unwritten(tokens * kPanelColumns);
        const Before before = {with_stride(y, tokens, kPanelColumns, ldy), ldy, accumulate};
        const auto run = [&](const KernelTable& table) {
          return unpacked_product(t, table, type, {w, stride}, x, before);
        };
        t.near(extreme ? "extreme codes" : "random codes", run(t.kernels), run(reference_table<float>()),
               run(reference_table<double>()));
      }
    }
  }
}

void unpacked_equals_gemm(Trial& t, const Quantised& type) {
  constexpr int64_t kTokens = 5 * kTokenGroup;
  for (const int64_t blocks : block_counts(type)) {
    const int64_t stride = row_bytes(type.dtype, blocks * kBlock);
    const Input<std::byte> w(t, random_weight(t, type.dtype, kPanelColumns, blocks * kBlock).bytes, t.random.below(4));
    const Tokens x = random_tokens(t, kTokens, blocks, false);
    for (const bool accumulate : {false, true}) {
      const std::vector<float> y =
          accumulate ? t.random.values(kTokens * kPanelColumns) : unwritten(kTokens * kPanelColumns);
      const Before before = {y, kPanelColumns, accumulate};
      t.exact("the outputs of 32 rows", unpacked_product(t, t.kernels, type, {w, stride}, x, before),
              packed_product(t, t.kernels, type, type.gemm, {w, stride}, x, kTokens, blocks * kStripBlock, before));
    }
  }
}

// Tokens that fill the last tile of two groups, and that do not.
void tall_equals_gemm(Trial& t, const Quantised& type) {
  for (int64_t tokens = 1; tokens <= 2 * 2 * kTokenGroup + 1; tokens++) {
    for (const int64_t blocks : block_counts(type)) {
      const int64_t stride = row_bytes(type.dtype, blocks * kBlock);
      const Input<std::byte> w(t, random_weight(t, type.dtype, kPanelColumns, blocks * kBlock).bytes,
                               t.random.below(4));
      const Tokens x = random_tokens(t, tokens, blocks, false);
      const Before before = {t.random.values(tokens * kPanelColumns), kPanelColumns, true};
      const auto run = [&](GemmKernel gemm) {
        return packed_product(t, t.kernels, type, gemm, {w, stride}, x, tokens, blocks * kStripBlock, before);
      };
      t.exact("the outputs of 32 rows", run(type.gemm_tall), run(type.gemm));
    }
  }
}

void gemv_equals_gemm(Trial& t, const Quantised& type) {
  constexpr int64_t kTokens = 2 * kTokenGroup + 1;
  for (const int64_t blocks : block_counts(type)) {
    const int64_t stride = row_bytes(type.dtype, blocks * kBlock);
    const Input<std::byte> w(t, random_weight(t, type.dtype, kPanelColumns, blocks * kBlock).bytes, t.random.below(4));
    const Tokens x = random_tokens(t, kTokens, blocks, false);
    for (int64_t tokens = 1; tokens <= kTokens; tokens++) {
      const Before before = {unwritten(tokens * kPanelColumns), kPanelColumns, false};
      const std::vector<float> together =
          packed_product(t, t.kernels, type, type.gemm, {w, stride}, x, tokens, blocks * kStripBlock, before);
      for (int64_t token = 0; token < tokens; token++) {
        for (int64_t p = 0; p < 2; p++) {
          const std::vector<float> single =
              gemv_product(t, t.kernels, type, w + p * kStripRows * stride, stride, alone(x, token));
          t.exact("a token's outputs", std::span<const float>(single),
                  std::span<const float>(together).subspan(static_cast<size_t>(token * kPanelColumns + p * kStripRows),
                                                           static_cast<size_t>(kStripRows)));
        }
      }
    }
  }
}

// ---- row-wise

// Element-wise kernels of one input. The scale is the input's: far out on the left these functions are 0 for every
// practical purpose.
void unary(Trial& t, decltype(KernelTable::gelu) KernelTable::* kernel) {
  for (const int64_t n : lengths()) {
    for (const Spread& spread : spreads(FLT_MAX)) {
      const std::vector<float> values = t.random.values(n, spread.low, spread.high);
      const Input<float> x(t, values);
      agree(
          t, spread.name, unwritten(n), [&](const KernelTable& table, float* y) { (table.*kernel)(x, y, n); },
          largest_magnitude(values));
      agree(
          t, "y is x", values, [&](const KernelTable& table, float* y) { (table.*kernel)(y, y, n); },
          largest_magnitude(values));
    }
  }
}

void rope(Trial& t, decltype(KernelTable::rope_half) KernelTable::* kernel) {
  for (const int64_t half : lengths()) {
    for (const Spread& spread : spreads(FLT_MAX / 4)) {
      std::vector<float> c, s;
      for (int64_t j = 0; j < half; j++) {
        const double angle = t.random.uniform() * 2000 - 1000;
        c.push_back(static_cast<float>(std::cos(angle)));
        s.push_back(static_cast<float>(std::sin(angle)));
      }
      const Input<float> cosines(t, c), sines(t, s);
      agree(t, spread.name, t.random.values(2 * half, spread.low, spread.high),
            [&](const KernelTable& table, float* x) { (table.*kernel)(x, cosines, sines, half); });
    }
  }
}

// Scores of one step of online softmax: ordinary, all masked, masked in front or behind, and far apart.
std::vector<float> random_scores(Trial& t, int64_t n) {
  constexpr float kMasked = -std::numeric_limits<float>::infinity();
  const int64_t kind = t.random.below(6);
  std::vector<float> scores = kind == 4   ? t.random.values(n, 1e30f, FLT_MAX)
                              : kind == 5 ? t.random.values(n, 1e-44f, FLT_MIN)
                                          : t.random.values(n, 0.1f, 30.0f);
  const int64_t cut = t.random.below(n + 1);
  if (kind == 1) std::fill(scores.begin(), scores.end(), kMasked);
  if (kind == 2) std::fill(scores.begin(), scores.begin() + cut, kMasked);
  if (kind == 3) std::fill(scores.begin() + cut, scores.end(), kMasked);
  return scores;
}

template <class Work>
void peak(Trial& t, const Work& work) {
  const std::vector<double> once = {work(1000)}, twice = {work(2000)};
  t.exact("operations are counted by iterations", twice, {2 * once[0]});
  t.require(once[0] > 0, "operations are done");
}

// ---- the cases of kernels.def

namespace kernel_case {

void expand_f32(Trial& t) { expand(t, &KernelTable::expand_f32, DType::F32); }
void expand_f16(Trial& t) { expand(t, &KernelTable::expand_f16, DType::F16); }
void expand_bf16(Trial& t) { expand(t, &KernelTable::expand_bf16, DType::BF16); }

void narrow_f16(Trial& t) {
  for (const int64_t n : lengths()) {
    for (const Spread& spread : spreads(FLT_MAX)) {
      const Input<float> x(t, t.random.values(n, spread.low, spread.high));
      agree_exactly<uint16_t>(t, spread.name, n,
                              [&](const KernelTable& table, uint16_t* y) { table.narrow_f16(x, y, n); });
    }
  }
}

void narrow_bf16(Trial& t) {
  for (const int64_t n : lengths()) {
    for (const Spread& spread : spreads(FLT_MAX)) {
      std::vector<float> values = t.random.values(n, spread.low, spread.high);
      // as it happens to lie: ties, infinities and NaN
      for (float& value : values) {
        if (t.random.below(4) == 0)
          value = std::bit_cast<float>((std::bit_cast<uint32_t>(value) & 0xFFFF0000u) | 0x8000u);
        if (t.random.below(16) == 0) value = std::bit_cast<float>(t.random.below(2) == 0 ? 0xFF800000u : 0x7F800001u);
      }
      const Input<float> x(t, values);
      agree_exactly<uint16_t>(t, spread.name, n,
                              [&](const KernelTable& table, uint16_t* y) { table.narrow_bf16(x, y, n); });
    }
  }
}

// Values whose terms are normal numbers, or zeros; among them infinities and NaN.
std::vector<float> values_of_terms(Trial& t, int64_t n, const Spread& spread) {
  std::vector<float> values = t.random.values(n, std::fmax(spread.low, 1e-30f), spread.high);
  for (float& value : values) {
    if (t.random.below(16) == 0) value = 0;
    if (t.random.below(16) == 0) value = std::bit_cast<float>(t.random.below(2) == 0 ? 0xFF800000u : 0x7F800001u);
  }
  return values;
}

std::vector<Spread> normal_spreads() {
  std::vector<Spread> out = spreads(FLT_MAX);
  std::erase_if(out, [](const Spread& spread) { return spread.high <= FLT_MIN; });
  return out;
}

void tile_row(Trial& t) {
  for (const int terms : {1, kBfloatTerms}) {
    for (const int64_t n : lengths()) {
      for (const Spread& spread : normal_spreads()) {
        const Input<float> x(t, values_of_terms(t, n, spread));
        const int64_t size = (n + kTileDepth - 1) / kTileDepth * kTileRows * kTileDepth;
        const int64_t plane = size + t.random.below(3);
        agree_exactly<uint16_t>(t, spread.name, terms * plane,
                                [&](const KernelTable& table, uint16_t* y) { table.tile_row(x, n, terms, y, plane); });
      }
    }
  }
}

void tile_columns(Trial& t) {
  for (int terms = 1; terms <= kBfloatTerms; terms++) {
    for (const int64_t k : {2, 4, 10, 32}) {
      for (const Spread& spread : normal_spreads()) {
        const int64_t ldb = kTileRows + t.random.below(3);
        const Input<float> b(t, values_of_terms(t, k * ldb, spread));
        const int64_t plane = k * kTileRows + t.random.below(3);
        agree_exactly<uint16_t>(t, spread.name, terms * plane, [&](const KernelTable& table, uint16_t* y) {
          table.tile_columns(b, ldb, k, terms, y, plane);
        });
      }
    }
  }
}

// Factors made by tile_row and tile_columns of the reference.
void gemm_tiles(Trial& t) {
  for (const int a_terms : {1, kBfloatTerms}) {
    for (int b_terms = 1; b_terms <= a_terms; b_terms++) {
      for (int64_t m = kTileRows; m <= 5 * kTileRows; m += kTileRows) {
        for (const int64_t k : {kTileDepth, 3 * kTileDepth}) {
          for (const Spread& spread : spreads(square_top(k))) {
            if (spread.high <= FLT_MIN) continue;
            const bool accumulate = t.random.below(2) == 1;
            constexpr int64_t n = 2 * kTileRows;
            const int64_t ldc = n + t.random.below(4), a_plane = m * k + t.random.below(3), b_plane = n * k;
            std::vector<uint16_t> of_a(static_cast<size_t>(a_terms * a_plane)),
                of_b(static_cast<size_t>(b_terms * b_plane));
            const float low = std::fmax(spread.low, 1e-30f);
            const std::vector<float> x = t.random.values(m * k, low, spread.high),
                                     w = t.random.values(n * k, low, spread.high);
            for (int64_t r = 0; r < m; r++) {
              reference::tile_row(x.data() + r * k, k, a_terms,
                                  of_a.data() + r / kTileRows * kTileRows * k + r % kTileRows * kTileDepth, a_plane);
            }
            for (int64_t half = 0; half < 2; half++) {
              reference::tile_columns(w.data() + half * kTileRows * k, kTileRows, k, b_terms,
                                      of_b.data() + half * kTileRows * k, b_plane);
            }
            const Input<uint16_t> a(t, of_a), b(t, of_b);
            const std::vector<float> c =
                with_stride(accumulate ? t.random.values(m * n, spread.low, spread.high) : unwritten(m * n), m, n, ldc);
            agree(t, spread.name, c, [&](const KernelTable& table, float* y) {
              table.gemm_tiles(m, k, {a, a_plane, a_terms}, {b, b_plane, b_terms}, {y, ldc, accumulate});
            });
          }
        }
      }
    }
  }
}

void expand_cached(Trial& t, decltype(KernelTable::expand_keys_q8) KernelTable::* kernel,
                   int64_t scales_of_rows(int64_t rows, int64_t columns)) {
  for (const int64_t rows : {1, 2, 31, 32, 33, 64, 80}) {
    for (const int64_t columns : {kWidest, 2 * kWidest, 3 * kWidest, 4 * kWidest, 5 * kWidest}) {
      std::vector<int8_t> codes;
      for (int64_t i = 0; i < rows * columns; i++) codes.push_back(static_cast<int8_t>(t.random.below(255) - 127));
      std::vector<uint16_t> scales;
      for (int64_t i = 0; i < scales_of_rows(rows, columns); i++)
        scales.push_back(static_cast<uint16_t>(t.random.below(0x7C00)));
      const Input<int8_t> code(t, codes);
      const Input<uint16_t> scale(t, scales);
      agree_exactly<float>(t, "the values", rows * columns,
                           [&](const KernelTable& table, float* y) { (table.*kernel)(code, scale, rows, columns, y); });
    }
  }
}

int64_t blocks_of(int64_t values) { return (values + kBlock - 1) / kBlock; }
void expand_keys_q8(Trial& t) {
  expand_cached(t, &KernelTable::expand_keys_q8,
                [](int64_t rows, int64_t columns) { return blocks_of(rows) * columns; });
}
void expand_values_q8(Trial& t) {
  expand_cached(t, &KernelTable::expand_values_q8,
                [](int64_t rows, int64_t columns) { return rows * blocks_of(columns); });
}

void transpose(Trial& t, decltype(KernelTable::transpose_f32) KernelTable::* kernel, DType dtype) {
  for (const int64_t rows : {1, 2, 7, 8, 9, 15, 16, 17, 32, 33}) {
    for (const int64_t columns : {1, 2, 7, 8, 9, 15, 16, 17, 32, 33}) {
      const int64_t stride = columns * traits(dtype).bytes + t.random.below(3), ld = rows + t.random.below(3);
      const Input<std::byte> src(t, strided_bytes(random_weight(t, dtype, rows, columns), stride), t.random.below(4));
      const auto call = [&](const KernelTable& table, float* y) {
        (table.*kernel)(src.data(), stride, rows, columns, y, ld);
      };
      agree_exactly<float>(t, "the transposed matrix", (columns - 1) * ld + rows, call);
    }
  }
}

void transpose_f32(Trial& t) { transpose(t, &KernelTable::transpose_f32, DType::F32); }
void transpose_f16(Trial& t) { transpose(t, &KernelTable::transpose_f16, DType::F16); }
void transpose_bf16(Trial& t) { transpose(t, &KernelTable::transpose_bf16, DType::BF16); }

void gemm_f32(Trial& t) {
  for (int64_t m = 1; m <= 2 * 12 + 1; m++) {  // 12: the tallest tile
    for (const int64_t n : {kWidest, 2 * kWidest, 3 * kWidest}) {
      for (const bool accumulate : {false, true}) {
        const int64_t k = 1 + t.random.below(2 * kWidest + 1), lda = k + t.random.below(4), ldb = n + t.random.below(4),
                      ldc = n + t.random.below(4);
        for (const Spread& spread : spreads(square_top(k))) {
          const Input<float> a(t, with_stride(t.random.values(m * k, spread.low, spread.high), m, k, lda));
          const Input<float> b(t, with_stride(t.random.values(k * n, spread.low, spread.high), k, n, ldb));
          const std::vector<float> c =
              with_stride(accumulate ? t.random.values(m * n, spread.low, spread.high) : unwritten(m * n), m, n, ldc);
          agree(t, spread.name, c, [&](const KernelTable& table, float* y) {
            table.gemm_f32({m, n, k, a, lda, b, ldb, y, ldc, accumulate});
          });
        }
      }
    }
  }
}

// A panel made by transpose_f32 of rows of weights, as linear makes it. Subnormals count as zero where the CPU has the
// product.
void gemm_bf16(Trial& t) {
  for (int64_t m = 1; m <= 2 * 12 + 1; m++) {  // 12: the tallest tile
    for (const int64_t n : {kWidest, 2 * kWidest, 3 * kWidest}) {
      for (const bool accumulate : {false, true}) {
        const int64_t k = 1 + t.random.below(kWidest + 1), lda = k + t.random.below(4), ldb = n + t.random.below(4),
                      ldc = n + t.random.below(4);
        for (const Spread& spread : spreads(square_top(2 * k))) {
          if (spread.high <= FLT_MIN) continue;
          const auto bfloats = [&](int64_t count) {
            std::vector<uint16_t> out;
            for (const float value : t.random.values(count, spread.low, spread.high))
              out.push_back(static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16));
            return out;
          };
          const Input<uint16_t> a(t, bfloats(m * lda * 2)), w(t, bfloats(n * k * 2));
          const Output<float> b(t, k * ldb);
          t.kernels.transpose_f32(w, k * 4, n, k, b, ldb);
          const std::vector<float> c =
              with_stride(accumulate ? t.random.values(m * n, spread.low, spread.high) : unwritten(m * n), m, n, ldc);
          agree(t, spread.name, c, [&](const KernelTable& table, float* y) {
            table.gemm_bf16({m, n, k, a, lda, b.data(), ldb, y, ldc, accumulate});
          });
        }
      }
    }
  }
}

void gemm_f16(Trial& t) {
  for (int64_t m = 1; m <= 3; m++) {
    for (const int64_t n : {kWidest, 4 * kWidest, 5 * kWidest, 13 * kWidest}) {
      for (const bool accumulate : {false, true}) {
        const int64_t k = 1 + t.random.below(2 * kWidest + 1), lda = k + t.random.below(4), ldb = n + t.random.below(4),
                      ldc = n + t.random.below(4);
        const Input<float> a(t, with_stride(t.random.values(m * k), m, k, lda));
        std::vector<uint16_t> halves;
        std::vector<float> floats;
        for (const float value : t.random.values(k * ldb)) {
          halves.push_back(float_to_half(value));
          floats.push_back(half_to_float(halves.back()));
        }
        const Input<uint16_t> b(t, halves);
        const Input<float> b_f32(t, floats);
        const std::vector<float> c = with_stride(accumulate ? t.random.values(m * n) : unwritten(m * n), m, n, ldc);
        const auto call = [&](const KernelTable& table, float* y) {
          table.gemm_f16({m, n, k, a, lda, b, ldb, y, ldc, accumulate}, b);
        };
        agree(t, "values in binary16", c, call);
        const Output<float> from_halves(t, c), from_floats(t, c);
        call(t.kernels, from_halves.data());
        t.kernels.gemm_f32({m, n, k, a, lda, b_f32, ldb, from_floats, ldc, accumulate});
        t.exact("the bits of the same values in f32", from_halves.values(), from_floats.values());
      }
    }
  }
}

void gemv_f32(Trial& t) { gemv_float(t, &KernelTable::gemv_f32, DType::F32); }
void gemv_f16(Trial& t) { gemv_float(t, &KernelTable::gemv_f16, DType::F16); }
void gemv_bf16(Trial& t) { gemv_float(t, &KernelTable::gemv_bf16, DType::BF16); }

// Rows of activations: every magnitude, nothing, one value throughout.
std::vector<std::vector<float>> activation_rows(Trial& t, int64_t blocks) {
  std::vector<std::vector<float>> rows;
  for (const Spread& spread : spreads(FLT_MAX))
    rows.push_back(t.random.values(blocks * kBlock, spread.low, spread.high));
  rows.emplace_back(static_cast<size_t>(blocks * kBlock), 0.0f);
  rows.emplace_back(static_cast<size_t>(blocks * kBlock), -3.0f);
  return rows;
}

void block_largest(Trial& t) {
  for (const int64_t blocks : {1, 2, 3, 5}) {
    std::vector<std::vector<float>> rows = activation_rows(t, blocks);
    for (const float odd : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::quiet_NaN()}) {
      rows.push_back(t.random.values(blocks * kBlock));
      rows.back()[static_cast<size_t>(t.random.below(blocks * kBlock))] = odd;
    }
    for (const std::vector<float>& row : rows) {
      const Input<float> x(t, row);
      const auto run = [&](const KernelTable& table) {
        const Output<float> largest(t, blocks);
        table.block_largest(x, blocks * kBlock, largest);
        std::vector<int32_t> bits;
        for (const float value : largest.values()) bits.push_back(std::bit_cast<int32_t>(value));
        return bits;
      };
      t.exact("magnitudes, by their bits", run(t.kernels), run(reference_table<float>()));
    }
  }
}

// Rows to quantise, ties and what a factor of 0 must not meet among them.
std::vector<std::vector<float>> rows_to_quantise(Trial& t, int64_t blocks) {
  std::vector<std::vector<float>> rows = activation_rows(t, blocks);
  std::vector<float> ties;  // factor 1: every other value lies between two codes
  for (int64_t i = 0; i < blocks * kBlock; i++)
    ties.push_back(i % kBlock == 0 ? -127.0f : static_cast<float>(t.random.below(506) - 253) / 2);
  rows.push_back(ties);
  std::vector<float> infinite = ties;  // factor 0
  infinite[0] = std::numeric_limits<float>::infinity();
  infinite[1] = std::numeric_limits<float>::quiet_NaN();
  rows.push_back(infinite);
  return rows;
}

std::vector<float> inverse_steps(const std::vector<float>& row) {
  std::vector<float> factors;
  for (size_t first = 0; first < row.size(); first += kBlock) {
    float largest = 0;
    for (size_t i = first; i < first + kBlock; i++) largest = std::fmax(largest, std::fabs(row[i]));
    factors.push_back(largest > 4e-37f ? 127.0f / largest : 0.0f);
  }
  return factors;
}

void quantise_q8(Trial& t) {
  for (const int64_t blocks : {1, 2, 3, 5}) {
    for (const std::vector<float>& row : rows_to_quantise(t, blocks)) {
      const Input<float> x(t, row), inverse(t, inverse_steps(row));
      const auto run = [&](const KernelTable& table) {
        const Output<int8_t> q(t, blocks * kBlock);
        const Output<int32_t> sum(t, 2 * blocks);
        table.quantise_q8(x, blocks * kBlock, inverse, q, sum);
        return std::tuple(q.values(), sum.values());
      };
      const auto [q, sum] = run(t.kernels);
      const auto [want_q, want_sum] = run(reference_table<float>());
      t.exact("codes", q, want_q);
      t.exact("sums of codes", sum, want_sum);
    }
  }
}

void quantise_q8_group(Trial& t) {
  for (const int64_t blocks : {1, 2, 3, 5}) {
    const std::vector<std::vector<float>> all = rows_to_quantise(t, blocks);
    for (int64_t rows = 1; rows <= kTokenGroup; rows++) {
      for (size_t first = 0; first < all.size(); first++) {
        const int64_t n = blocks * kBlock, ldx = n + t.random.below(5), ldi = blocks + t.random.below(3);
        std::vector<float> values, factors;
        for (int64_t r = 0; r < rows; r++) {
          const std::vector<float>& row = all[(first + static_cast<size_t>(r)) % all.size()];
          values.insert(values.end(), row.begin(), row.end());
          const std::vector<float> of_row = inverse_steps(row);
          factors.insert(factors.end(), of_row.begin(), of_row.end());
        }
        const Input<float> x(t, with_stride(values, rows, n, ldx)), inverse(t, with_stride(factors, rows, blocks, ldi));
        const auto run = [&](const KernelTable& table) {
          const Output<int8_t> q(t, kTokenGroup * n);
          const Output<int32_t> sum(t, kTokenGroup * 2 * blocks);
          table.quantise_q8_group(x, ldx, rows, n, inverse, ldi, q, sum);
          return std::tuple(q.values(), sum.values());
        };
        const auto [q, sum] = run(t.kernels);
        const auto [want_q, want_sum] = run(reference_table<float>());
        t.exact("codes", q, want_q);
        t.exact("sums of codes", sum, want_sum);
      }
    }
  }
}

#define LLAVA_CASES(T, elements, ...)                                          \
  void expand_##T(Trial& t) { expand(t, &KernelTable::expand_##T, DType::T); } \
  void pack_##T(Trial& t) { pack_quantised(t, k##T); }                         \
  void gemm_##T(Trial& t) { gemm_quantised(t, k##T, k##T.gemm); }              \
  void gemm_tall_##T(Trial& t) { gemm_quantised(t, k##T, k##T.gemm_tall); }    \
  void gemm_unpacked_##T(Trial& t) { unpacked_quantised(t, k##T); }            \
  void bfloats_##T(Trial& t) { bfloats_quantised(t, k##T); }                   \
  void gemv_##T(Trial& t) { gemv_quantised(t, k##T); }
LLAVA_QUANTISED(LLAVA_CASES)
#undef LLAVA_CASES

void rms_norm(Trial& t) {
  for (const int64_t n : lengths()) {
    for (const Spread& spread : spreads(square_top(n))) {
      const std::vector<float> values = t.random.values(n, spread.low, spread.high);
      const Input<float> x(t, values), weight(t, t.random.values(n));
      agree(t, spread.name, unwritten(n),
            [&](const KernelTable& table, float* y) { table.rms_norm(x, weight, 1e-5f, y, n); });
      agree(t, "y is x", values, [&](const KernelTable& table, float* y) { table.rms_norm(y, weight, 1e-5f, y, n); });
    }
  }
}

void layer_norm(Trial& t) {
  for (const int64_t n : lengths()) {
    for (const Spread& spread : spreads(square_top(4 * n))) {
      const std::vector<float> values = t.random.values(n, spread.low, spread.high), shift = t.random.values(n);
      const Input<float> x(t, values), weight(t, t.random.values(n)), bias(t, shift);
      const float scale = std::fmax(1.0f, largest_magnitude(shift));
      agree(
          t, spread.name, unwritten(n),
          [&](const KernelTable& table, float* y) { table.layer_norm(x, weight, bias, 1e-5f, y, n); }, scale);
      agree(
          t, "y is x, " + spread.name, values,
          [&](const KernelTable& table, float* y) { table.layer_norm(y, weight, bias, 1e-5f, y, n); }, scale);
    }
  }
}

void add(Trial& t) {
  for (const int64_t n : lengths()) {
    for (const Spread& spread : spreads(FLT_MAX / 2)) {
      const std::vector<float> values = t.random.values(n, spread.low, spread.high);
      const Input<float> a(t, values), b(t, t.random.values(n, spread.low, spread.high));
      agree_exactly<float>(t, spread.name, n, [&](const KernelTable& table, float* y) { table.add(a, b, y, n); });
      agree(t, "y is a", values, [&](const KernelTable& table, float* y) { table.add(y, b, y, n); });
    }
  }
}

void scale(Trial& t) {
  for (const int64_t n : lengths()) {
    for (const Spread& spread : spreads(FLT_MAX / 4)) {
      const std::vector<float> values = t.random.values(n, spread.low, spread.high);
      const Input<float> x(t, values);
      const float factor = t.random.values(1)[0];
      agree_exactly<float>(t, spread.name, n,
                           [&](const KernelTable& table, float* y) { table.scale(x, factor, y, n); });
      agree(t, "y is x", values, [&](const KernelTable& table, float* y) { table.scale(y, factor, y, n); });
    }
  }
}

void finish_rows(Trial& t) {
  for (const int64_t n : lengths()) {
    for (const int64_t rows : {1, 3}) {
      for (int without = 0; without < 8; without++) {  // a bit each: row_scale, bias, residual are null
        const int64_t ld = t.random.below(2) == 0 ? n + t.random.below(3) : (n + 15) / 16 * 16;
        const bool past_caches = t.random.below(2) == 0;
        const std::vector<float> product = with_stride(t.random.values(rows * n), rows, n, ld);
        const Input<float> c(t, product), row_scale(t, t.random.values(rows)), bias(t, t.random.values(n)),
            residual(t, with_stride(t.random.values(rows * n), rows, n, ld));
        const float scale = t.random.values(1)[0];
        const auto finish = [&](const KernelTable& table, const float* from, float* y) {
          table.finish_rows({.rows = rows,
                             .n = n,
                             .c = from,
                             .ldc = ld,
                             .scale = scale,
                             .row_scale = without & 1 ? nullptr : row_scale.data(),
                             .bias = without & 2 ? nullptr : bias.data(),
                             .residual = without & 4 ? nullptr : residual.data(),
                             .ldr = ld,
                             .y = y,
                             .ldy = ld,
                             .past_caches = past_caches});
        };
        // the largest product of a scale, a row's scale and a value; what it is added to may cancel it
        const float magnitude = 4.0f * 4.0f * 4.0f;
        agree(
            t, "y apart", with_stride(unwritten(rows * n), rows, n, ld),
            [&](const KernelTable& table, float* y) { finish(table, c, y); }, magnitude);
        agree(t, "y is c", product, [&](const KernelTable& table, float* y) { finish(table, y, y); }, magnitude);
      }
    }
  }
}

void quick_gelu(Trial& t) { unary(t, &KernelTable::quick_gelu); }
void gelu(Trial& t) { unary(t, &KernelTable::gelu); }
void gelu_tanh(Trial& t) { unary(t, &KernelTable::gelu_tanh); }

void silu_mul(Trial& t) {
  for (const int64_t n : lengths()) {
    for (const Spread& spread : spreads(square_top(1))) {
      const std::vector<float> g = t.random.values(n, spread.low, spread.high),
                               u = t.random.values(n, spread.low, spread.high);
      const Input<float> gate(t, g), up(t, u);
      const float scale = largest_magnitude(g) * largest_magnitude(u);
      agree(
          t, spread.name, unwritten(n), [&](const KernelTable& table, float* y) { table.silu_mul(gate, up, y, n); },
          scale);
      agree(t, "y is gate", g, [&](const KernelTable& table, float* y) { table.silu_mul(y, up, y, n); }, scale);
      agree(t, "y is up", u, [&](const KernelTable& table, float* y) { table.silu_mul(gate, y, y, n); }, scale);
    }
  }
}

void online_softmax(Trial& t) {
  for (const int64_t n : lengths()) {
    for (int repetition = 0; repetition < 12; repetition++) {
      std::vector<std::vector<float>> steps;
      for (int step = 0; step < 4; step++) steps.push_back(random_scores(t, n));
      struct States {
        std::vector<float> weights, largest, sums, rescales;
      };
      const auto run = [&](const KernelTable& table) {
        States out;
        const Output<float> m(t, std::vector<float>{-std::numeric_limits<float>::infinity()}),
            l(t, std::vector<float>{0});
        for (const std::vector<float>& step : steps) {
          const Output<float> s(t, step);
          out.rescales.push_back(table.online_softmax(s, n, m, l));
          const std::vector<float> weights = s.values();
          out.weights.insert(out.weights.end(), weights.begin(), weights.end());
          out.largest.push_back(*m.data());
          out.sums.push_back(*l.data());
        }
        return out;
      };
      const States fast = run(t.kernels), reference = run(reference_table<float>()),
                   truth = run(reference_table<double>());
      t.exact("the running maximum", fast.largest, truth.largest);
      t.near("weights", fast.weights, reference.weights, truth.weights, 1.0f);
      t.near("rescale factors", fast.rescales, reference.rescales, truth.rescales, 1.0f);
      t.near("the running sum", fast.sums, reference.sums, truth.sums, std::fmax(1.0f, largest_magnitude(truth.sums)));
    }
  }
}

void rope_half(Trial& t) { rope(t, &KernelTable::rope_half); }
void rope_interleaved(Trial& t) { rope(t, &KernelTable::rope_interleaved); }

void peak_fma(Trial& t) {
  peak(t, [&](int64_t iterations) { return t.kernels.peak_fma(iterations); });
}
void peak_int8(Trial& t) {
  peak(t, [&](int64_t iterations) { return t.kernels.peak_int8(iterations); });
}
void peak_bf16(Trial& t) {
  peak(t, [&](int64_t iterations) { return t.kernels.peak_bf16(iterations); });
}
void peak_read(Trial& t) {
  for (const int64_t bytes : {0, 128, 1000, 65536}) {
    const Input<std::byte> memory(t, t.random.bytes(bytes), t.random.below(4));
    t.exact("bytes read", std::vector<double>{t.kernels.peak_read(memory.data(), bytes)}, {static_cast<double>(bytes)});
  }
}

}  // namespace kernel_case

// ---- properties

// Calls the kernel on everything at once and on every value alone, so that vectors and tails both see each value.
template <class From, class To, class Call>
std::vector<std::vector<To>> whole_and_single(Trial& t, const std::vector<From>& values, const Call& call) {
  const Input<From> src(t, values);
  const Output<To> whole(t, static_cast<int64_t>(values.size())), single(t, static_cast<int64_t>(values.size()));
  call(src.data(), whole.data(), static_cast<int64_t>(values.size()));
  for (size_t i = 0; i < values.size(); i++) call(src.data() + i, single.data() + i, int64_t{1});
  return {whole.values(), single.values()};
}

std::vector<uint16_t> all_16_bits() {
  std::vector<uint16_t> out;
  for (uint32_t bits = 0; bits < 65536; bits++) out.push_back(static_cast<uint16_t>(bits));
  return out;
}

std::vector<float> one_nan(std::vector<float> values) {
  for (float& value : values) value = std::isnan(value) ? std::numeric_limits<float>::quiet_NaN() : value;
  return values;
}

void expand_every_half(Trial& t) {
  std::vector<float> want;
  for (const uint16_t bits : all_16_bits()) want.push_back(static_cast<float>(half_value(bits)));
  for (const auto& got : whole_and_single<uint16_t, float>(
           t, all_16_bits(), [&](const uint16_t* src, float* dst, int64_t n) { t.kernels.expand_f16(src, dst, n); })) {
    t.exact("float values of the halves", one_nan(got), one_nan(want));
  }
}

// Rates are halves and doubles of each other where they differ.
void chosen_table(Trial& t) {
  const KernelTable& chosen = select_kernels("auto");
  const auto nanoseconds = [](const auto& work) {
    const auto start = std::chrono::steady_clock::now();
    const double operations = work();
    return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count() / operations;
  };
  double of_bf16 = 1e9, of_fma = 1e9;
  for (int i = 0; i < 5; i++) {
    of_bf16 = std::min(of_bf16, nanoseconds([&] { return chosen.peak_bf16(20'000); }));
    of_fma = std::min(of_fma, nanoseconds([&] { return chosen.peak_fma(20'000); }));
  }
  const bool emulated = of_fma < 1e-5;  // the peaks are nothing there
  t.require(emulated || chosen.bf16 == Bf16::kNone || of_bf16 < 1.5 * of_fma, "bf16 is no slower");
}

void expand_every_bfloat(Trial& t) {
  std::vector<float> want;
  for (const uint16_t bits : all_16_bits()) want.push_back(std::bit_cast<float>(static_cast<uint32_t>(bits) << 16));
  for (const auto& got : whole_and_single<uint16_t, float>(
           t, all_16_bits(), [&](const uint16_t* src, float* dst, int64_t n) { t.kernels.expand_bf16(src, dst, n); })) {
    t.exact("float values of the bfloats", one_nan(got), one_nan(want));
  }
}

// Every half itself, the midpoint to its neighbour (a tie: to the even one) and the floats beside the midpoint.
void narrow_every_half(Trial& t) {
  std::vector<float> values;
  std::vector<uint16_t> want;
  const auto expect = [&](float value, uint32_t half) {
    values.push_back(value);
    want.push_back(static_cast<uint16_t>(half));
  };
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const uint32_t sign : {0u, 0x8000u}) {
    for (uint32_t half = sign; half < sign + 0x7C00u; half++) {
      const double value = half_value(static_cast<uint16_t>(half));
      const double next =
          half + 1 == sign + 0x7C00u ? (sign != 0 ? -65536.0 : 65536.0) : half_value(static_cast<uint16_t>(half + 1));
      const float midpoint = static_cast<float>((value + next) / 2);  // exact: one bit more than a half has
      expect(static_cast<float>(value), half);
      expect(midpoint, half + (half & 1));
      expect(std::nextafter(midpoint, static_cast<float>(value)), half);
      expect(std::nextafter(midpoint, static_cast<float>(next)), half + 1);
    }
    const float signed_one = sign != 0 ? -1.0f : 1.0f;
    for (const float value : {kInfinity, FLT_MAX, 65536.0f}) expect(signed_one * value, sign + 0x7C00u);
    for (const float value : {FLT_MIN, std::numeric_limits<float>::denorm_min()}) expect(signed_one * value, sign);
  }
  for (const auto& got : whole_and_single<float, uint16_t>(
           t, values, [&](const float* src, uint16_t* dst, int64_t n) { t.kernels.narrow_f16(src, dst, n); })) {
    t.exact("halves of the floats", got, want);
  }
  const std::vector<float> nans(3 * kWidest + 1, std::bit_cast<float>(0x7F800001u));
  for (const auto& got : whole_and_single<float, uint16_t>(
           t, nans, [&](const float* src, uint16_t* dst, int64_t n) { t.kernels.narrow_f16(src, dst, n); })) {
    for (const uint16_t half : got)
      t.require((half & 0x7C00u) == 0x7C00u && (half & 0x3FFu) != 0 && half != 0xFFFFu, "a NaN stays a NaN");
  }
}

uint32_t crc32(const std::vector<float>& values) {
  uint32_t crc = 0xFFFFFFFFu;
  for (const float value : values) {
    const uint32_t bits = std::bit_cast<uint32_t>(value + 0.0f);  // -0 counts as +0
    for (int i = 0; i < 4; i++) {
      crc ^= bits >> (8 * i) & 255u;
      for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
  }
  return ~crc;
}

// Block bytes (37 k + 11) mod 256 with d = 1/16, m or dmin = 1/32, and the CRC-32 of its values as the gguf Python
// package decodes them.
template <class Block>
void golden(Trial& t, decltype(KernelTable::expand_f32) expand_kernel, int64_t elements, uint32_t crc) {
  uint8_t bytes[sizeof(Block)];
  for (size_t k = 0; k < sizeof(Block); k++) bytes[k] = static_cast<uint8_t>(37 * k + 11);
  auto block = std::bit_cast<Block>(bytes);
  block.d = 0x2C00;
  if constexpr (requires { block.m; }) block.m = 0x2800;
  if constexpr (requires { block.dmin; }) block.dmin = 0x2800;
  std::vector<std::byte> source(sizeof block);
  std::memcpy(source.data(), &block, sizeof block);
  const Input<std::byte> src(t, source, 1);
  const Output<float> y(t, elements);
  expand_kernel(src.data(), y, elements);
  t.exact("CRC-32 of the decoded block", std::vector<uint32_t>{crc32(y.values())}, {crc});
}

// A type without its line here does not compile.
constexpr uint32_t golden_Q4_0 = 0x57E11811u, golden_Q4_1 = 0x28641F21u, golden_Q5_0 = 0xF46CF463u,
                   golden_Q5_1 = 0x551B0150u, golden_Q8_0 = 0x01E30CD8u, golden_Q2_K = 0x50A7F8A7u,
                   golden_Q3_K = 0xB8CF6441u, golden_Q4_K = 0xBCE984F1u, golden_Q5_K = 0xA805B13Fu,
                   golden_Q6_K = 0x68B250B6u;

void gemm_row_alone(Trial& t) {
  for (const int64_t n : {kWidest, 2 * kWidest, 3 * kWidest}) {
    for (const int64_t k : {1, 5, 64}) {
      constexpr int64_t kRows = 2 * 12 + 1;
      const Input<float> a(t, t.random.values(kRows * k)), b(t, t.random.values(k * n));
      const std::vector<float> before = t.random.values(kRows * n);
      for (const bool accumulate : {false, true}) {
        const auto run = [&](int64_t first, int64_t rows) {
          const Output<float> c(t, std::vector<float>(before.begin() + first * n, before.begin() + (first + rows) * n));
          t.kernels.gemm_f32({rows, n, k, a.data() + first * k, k, b, n, c, n, accumulate});
          return c.values();
        };
        std::vector<float> one_by_one;
        for (int64_t row = 0; row < kRows; row++) {
          const std::vector<float> single = run(row, 1);
          one_by_one.insert(one_by_one.end(), single.begin(), single.end());
        }
        for (int64_t m = 1; m <= kRows; m++)
          t.exact("rows of a product", run(0, m), std::vector<float>(one_by_one.begin(), one_by_one.begin() + m * n));
      }
    }
  }
}

// All at once; and each output by itself, of the weights' values in f32, a stretch at a time.
void gemv_alone(Trial& t, decltype(KernelTable::gemv_f32) KernelTable::* gemv,
                decltype(KernelTable::expand_f32) KernelTable::* expand, DType dtype) {
  for (const int64_t k : gemv_lengths()) {
    const int64_t rows = 1 + t.random.below(11), tokens = 1 + t.random.below(15), stride = k * traits(dtype).bytes;
    const Input<std::byte> w(t, random_weight(t, dtype, rows, k).bytes, t.random.below(4));
    const Input<float> x(t, t.random.values(tokens * k));
    const Output<float> y(t, tokens * rows), alone(t, tokens * rows);
    (t.kernels.*gemv)({w.data(), stride, rows, k, w.data()}, {tokens, x, k}, {y, rows, false});
    std::vector<float> row(static_cast<size_t>(k));
    for (int64_t r = 0; r < rows; r++) {
      (t.kernels.*expand)(w.data() + r * stride, row.data(), k);
      for (int64_t token = 0; token < tokens; token++) {
        for (int64_t p = 0; p < k; p += kGemvStretch) {
          t.kernels.gemv_f32({row.data() + p, 0, 1, std::min<int64_t>(kGemvStretch, k - p), row.data()},
                             {1, x.data() + token * k + p, 0}, {alone.data() + token * rows + r, 0, p > 0});
        }
      }
    }
    t.exact("outputs one by one", alone.values(), y.values());
  }
}

// A step is the smallest power of two times D that holds its block, and x inverse is rounded twice: a code lies within
// half a step and 127 * 3 * 2^-24 of one of its activation, and a step is below twice the finest one, largest / 127
// (but for blocks that count as nothing).
void quantisation_error(Trial& t) {
  constexpr int64_t kBlocks = 3;
  for (const Spread& spread : spreads(FLT_MAX)) {
    for (int repetition = 0; repetition < 64; repetition++) {
      const std::vector<float> values = t.random.values(kBlocks * kBlock, spread.low, spread.high);
      const Input<float> x(t, values);
      const Output<float> largest(t, kBlocks), origin(t, kBlocks), inverse(t, kBlocks);
      t.kernels.block_largest(x, kBlocks * kBlock, largest);
      const double scale = static_cast<double>(cpu::choose_scales(largest, kBlocks, origin, inverse));
      const Output<int8_t> q(t, kBlocks * kBlock);
      const Output<int32_t> sum(t, 2 * kBlocks);
      t.kernels.quantise_q8(x, kBlocks * kBlock, inverse, q, sum);
      std::vector<double> decoded, bound;
      for (const int8_t code : q.values()) {
        const auto b = decoded.size() / kBlock;
        const double step = scale * static_cast<double>(origin.values()[b] / kOrigin);
        t.require(code >= -127, "codes lie in [-127, 127]");
        t.require(
            step == 0 || inverse.values()[b] == 0 || step * 127 < 2.000001 * static_cast<double>(largest.values()[b]),
            "a step is below twice the finest");
        decoded.push_back(step * code);
        bound.push_back(inverse.values()[b] == 0 ? 1e-30 : step * (0.5 + 127 * 3 * 0x1p-24));
      }
      t.within("half a step", values, decoded, bound);
    }
  }
}

// The columns of the outliers of a token of two blocks, with `value` in column 40 and `rest` in all others.
std::vector<int32_t> outlier_columns(float value, float rest) {
  std::vector<float> x(2 * kBlock, rest);
  x[40] = value;
  float largest[2] = {std::fabs(rest), std::fabs(value)};
  const cpu::Outliers outliers = cpu::take_outliers(x.data(), 2, largest);
  std::vector<int32_t> columns;
  for (int i = 0; i < outliers.count; i++) columns.push_back(outliers.of[i].column);
  return columns;
}

void outlier_choice(Trial& t) {
  const std::vector<int32_t> none;
  t.exact("a value far above the rest", outlier_columns(-100, 1), {40});
  t.exact("a value a little above the rest", outlier_columns(1.05f, 1), none);
  t.exact("a value alone, by which its block loses nothing", outlier_columns(1, 0), none);
  t.exact("a value beside which the rest counts as zero", outlier_columns(1, 0x1p-70f), none);
  t.exact("an infinity", outlier_columns(std::numeric_limits<float>::infinity(), 1), none);
  t.exact("a NaN", outlier_columns(std::numeric_limits<float>::quiet_NaN(), 1), none);
}

}  // namespace

std::vector<Case> kernel_cases() {
  return {
#define KERNEL(name, result, parameters) \
  {"kernel " #name " does what its reference does, for every length, offset and magnitude", kernel_case::name},
#include "cpu/kernels/kernels.def"
#undef KERNEL
      {"each of the 65,536 halves expands to its exact value", expand_every_half},
      {"the table that is chosen by itself multiplies bf16, if at all, no slower than float32", chosen_table},
      {"each of the 65,536 bfloats expands to its exact value", expand_every_bfloat},
      {"floats narrow to the nearest half, ties to even, subnormals, infinities and NaN included", narrow_every_half},
#define LLAVA_GOLDEN(T, elements, ...)               \
  {"a block of " #T " decodes to its golden vector", \
   [](Trial& t) { golden<Block##T>(t, t.kernels.expand_##T, elements, golden_##T); }},
      LLAVA_QUANTISED(LLAVA_GOLDEN)
#undef LLAVA_GOLDEN
          {"int8 codes lie within half a step of the activations", quantisation_error},
      {"outliers are values far above the rest of their token, which is more than nothing", outlier_choice},
      {"gemm_f32 gives a row the same bits in any company", gemm_row_alone},
#define LLAVA_EQUAL(T, dtype)                                                         \
  {"gemv_" #T " gives an output the same bits in any company, and those of gemv_f32", \
   [](Trial& t) { gemv_alone(t, &KernelTable::gemv_##T, &KernelTable::expand_##T, DType::dtype); }},
      LLAVA_EQUAL(f32, F32) LLAVA_EQUAL(f16, F16) LLAVA_EQUAL(bf16, BF16)
#undef LLAVA_EQUAL
#define LLAVA_EQUAL(T, elements, ...)                                                                           \
  {"gemv_" #T " equals gemm_" #T " bit for bit, for every token of any batch",                                  \
   [](Trial& t) { gemv_equals_gemm(t, k##T); }},                                                                \
      {"gemm_unpacked_" #T " equals gemm_" #T " bit for bit", [](Trial& t) { unpacked_equals_gemm(t, k##T); }}, \
      {"gemm_tall_" #T " equals gemm_" #T " bit for bit", [](Trial& t) { tall_equals_gemm(t, k##T); }},
          LLAVA_QUANTISED(LLAVA_EQUAL)
#undef LLAVA_EQUAL
  };
}

}  // namespace llava::testing
