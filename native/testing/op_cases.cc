// One case for each line of ops.def (an op without one does not compile), its broken contracts, and properties of the
// ops.
//   Each op runs on back ends of 1 and of 3 threads, whose outputs must be the same bits, against loops written here
//   from args.h alone: in double they are the truth, in float they say what rounding costs.
#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>
#include <string_view>

#include "common/blocks.h"
#include "common/error.h"
#include "common/half.h"
#include "cpu/block_float.h"
#include "cpu/factors.h"
#include "cpu/kv_layout.h"
#include "ops/device_address.h"
#include "testing/conformance.h"
#include "testing/weights.h"

namespace llava::testing {

namespace {

using cpu::kKvBlock, cpu::kv_blocks, cpu::kv_bytes, cpu::padded_head_dim, cpu::page_keys, cpu::page_values;
using Values = std::vector<float>;

Values unwritten(int64_t n) { return Values(static_cast<size_t>(n), std::bit_cast<float>(~0u)); }

size_t at(int64_t index) { return static_cast<size_t>(index); }

// The back ends under test, one of which runs at a time.
class Rig {
 public:
  explicit Rig(Trial& t) : trial_(t), one_(t.target.backend(1)), three_(t.target.backend(3)) {}

  Trial& trial() const { return trial_; }
  Backend& current() const { return *current_; }

  // work(ops, stream) returns what an op wrote; both back ends must write the same.
  template <class Work>
  auto run(const Work& work) {
    const auto single = run_on(*one_, work), shared = run_on(*three_, work);
    trial_.exact("results on 1 and on 3 threads", single, shared);
    return single;
  }

 private:
  template <class Work>
  auto run_on(Backend& backend, const Work& work) {
    current_ = &backend;
    return work(backend.ops(), backend.stream());
  }
  Trial& trial_;
  std::shared_ptr<Backend> one_, three_;
  Backend* current_ = nullptr;
};

// Device memory of one operand: | guard words | values | gap |, at the end of its block. The gap moves the start off
// its natural alignment.
class FencedDevice {
 public:
  FencedDevice(Backend& backend, std::span<const std::byte> values, int64_t gap)
      : backend_(backend), nbytes_(values.size()) {
    const size_t end = (kFenceBytes + nbytes_ + static_cast<size_t>(gap) + kCacheLine - 1) / kCacheLine * kCacheLine;
    begin_ = end - static_cast<size_t>(gap) - nbytes_;
    before_.assign(end, kGuard);
    if (nbytes_ > 0) std::memcpy(before_.data() + begin_, values.data(), nbytes_);
    memory_ = backend.allocate(end);
    copy_in<std::byte>(backend, memory_.data(), before_);
  }
  DeviceBytes at() const { return memory_.data() + static_cast<int64_t>(begin_); }
  std::vector<std::byte> values() const {
    std::vector<std::byte> out(nbytes_);
    if (nbytes_ > 0) backend_.read(out, at());
    return out;
  }
  bool fences_hold() const {
    std::vector<std::byte> now(before_.size());
    backend_.read(now, memory_.data());
    const auto guarded = [&](size_t from, size_t to) {
      return std::all_of(now.begin() + static_cast<long>(from), now.begin() + static_cast<long>(to),
                         [](std::byte b) { return b == kGuard; });
    };
    return guarded(0, begin_) && guarded(begin_ + nbytes_, now.size());
  }

 private:
  Backend& backend_;
  size_t nbytes_, begin_ = 0;
  std::vector<std::byte> before_;
  DeviceMemory memory_;
};

// Values that must be the same after the calls, on whichever back end is under test.
template <class T>
class In {
 public:
  In(Rig& rig, std::vector<T> values)
      : In(rig, std::move(values), random_gap(rig.trial()) * static_cast<int64_t>(sizeof(T))) {}
  In(Rig& rig, std::vector<T> values, int64_t gap) : rig_(rig), values_(std::move(values)), gap_(gap) {}
  ~In() {
    for (const auto& [backend, copy] : copies_) {
      const std::span<const std::byte> before = std::as_bytes(std::span(values_));
      const std::vector<std::byte> after = copy->values();
      rig_.trial().guard(std::equal(before.begin(), before.end(), after.begin(), after.end()) && copy->fences_hold(),
                         "inputs stay as they were");
    }
  }
  Device<const T> at() const {
    auto& copy = copies_[&rig_.current()];
    if (!copy) copy = std::make_unique<FencedDevice>(rig_.current(), std::as_bytes(std::span(values_)), gap_);
    return copy->at().template as<const T>();
  }
  operator Device<const T>() const { return at(); }
  // Absent where there are no values.
  Vector vector() const { return values_.empty() ? Vector{} : Vector{at(), static_cast<int64_t>(values_.size())}; }

 private:
  Rig& rig_;
  std::vector<T> values_;
  int64_t gap_;
  mutable std::map<Backend*, std::unique_ptr<FencedDevice>> copies_;
};

// Values to be written on the back end under test.
template <class T>
class Out {
 public:
  Out(Rig& rig, const std::vector<T>& values)
      : Out(rig, values, random_gap(rig.trial()) * static_cast<int64_t>(sizeof(T))) {}
  Out(Rig& rig, const std::vector<T>& values, int64_t gap)
      : rig_(rig), memory_(rig.current(), std::as_bytes(std::span(values)), gap) {}
  ~Out() { rig_.trial().guard(memory_.fences_hold(), "nothing is written outside of the outputs"); }
  Device<T> at() const { return memory_.at().template as<T>(); }
  std::vector<T> values() const {
    const std::vector<std::byte> bytes = memory_.values();
    std::vector<T> out(bytes.size() / sizeof(T));
    if (!out.empty()) std::memcpy(out.data(), bytes.data(), bytes.size());
    return out;
  }

 private:
  Rig& rig_;
  FencedDevice memory_;
};

// A dense matrix and the same in memory with a row stride.
struct Matrix {
  int64_t rows, cols, stride;
  Values values;
  Values strided() const { return with_stride(values, rows, cols, stride); }
  float operator()(int64_t r, int64_t c) const { return values[at(r * cols + c)]; }
};

Matrix random_matrix(Trial& t, int64_t rows, int64_t cols, float low = 0.01f, float high = 4.0f) {
  return {rows, cols, cols + t.random.below(2) * t.random.below(5), t.random.values(rows * cols, low, high)};
}

Matrix unwritten_matrix(Trial& t, int64_t rows, int64_t cols) {
  return {rows, cols, cols + t.random.below(2) * t.random.below(5), unwritten(rows * cols)};
}

ConstActivations view(const Matrix& m, const In<float>& in) { return {in.at(), m.rows, m.cols, m.stride}; }
Activations view(const Matrix& m, const Out<float>& out) { return {out.at(), m.rows, m.cols, m.stride}; }

// An op y = f(...) that writes one matrix: its values without padding, which must stay as it was.
template <class Call>
Values written(Rig& rig, const Matrix& before, const Call& call) {
  const Out<float> y(rig, before.strided());
  call(view(before, y));
  const Values after = y.values(), dense = rows_of(after, before.rows, before.cols, before.stride);
  rig.trial().exact("padding between rows", after, with_stride(dense, before.rows, before.cols, before.stride));
  return dense;
}

// ---- weights

Weight view(const RandomWeight& w, const In<std::byte>& in) { return {in.at(), w.dtype, w.rows, w.cols}; }

// ---- linear

// Row t, as int8 blocks where it is multiplied as such.
std::vector<double> factors_of_row(const Matrix& x, int64_t row, cpu::Factors factors) {
  const float* values = x.values.data() + row * x.cols;
  std::vector<double> out(values, values + x.cols);
  if (factors == cpu::Factors::kInt8) cpu::round_to_blocks(values, x.cols, out.data());
  return out;
}

struct Product {
  RandomWeight weight;
  Values bias;  // empty: none
  Activation activation = Activation::kNone;
  Values residual{};  // empty: none
  float scale = 1;
};

template <class Acc>
Acc activated(Acc y, Activation activation) {
  if (activation == Activation::kQuickGelu) return y / (Acc(1) + std::exp(Acc(-1.702f) * y));
  if (activation == Activation::kGelu) return y / Acc(2) * (Acc(1) + std::erf(y / std::sqrt(Acc(2))));
  if (activation == Activation::kGeluTanh)
    return y / Acc(2) * (Acc(1) + std::tanh(Acc(0.79788456080286535588) * (y + Acc(0.044715) * y * y * y)));
  return y;
}

template <class Acc>
Values linear_loops(const Matrix& x, const Product& p, cpu::Factors factors) {
  Values out;
  for (int64_t m = 0; m < x.rows; m++) {
    const std::vector<double> row = factors_of_row(x, m, factors);
    for (int64_t n = 0; n < p.weight.rows; n++) {
      Acc sum = 0;
      for (int64_t k = 0; k < x.cols; k++)
        sum += static_cast<Acc>(cpu::product_of(row[at(k)], p.weight.values[at(n * x.cols + k)], factors));
      sum *= Acc(p.scale);
      if (!p.bias.empty()) sum += Acc(p.bias[at(n)]);
      sum = activated(sum, p.activation);
      if (!p.residual.empty()) sum += Acc(p.residual[at(m * p.weight.rows + n)]);
      out.push_back(static_cast<float>(sum));
    }
  }
  return out;
}

// The op with one output; residual_is_y: the residual stands in y and is overwritten.
Values linear(Trial& t, Rig& rig, const Matrix& x, const Product& p, Arithmetic arithmetic,
              bool residual_is_y = false) {
  const In<float> xs(rig, x.strided()), bias(rig, p.bias);
  const In<std::byte> w(rig, p.weight.bytes, t.random.below(4));
  const Matrix residual{x.rows, p.weight.rows, p.weight.rows + t.random.below(3), p.residual};
  const In<float> residuals(rig, p.residual.empty() ? Values{} : residual.strided());
  const Matrix before = residual_is_y ? residual : unwritten_matrix(t, x.rows, p.weight.rows);
  return rig.run([&](const OpTable& ops, Stream& s) {
    return written(rig, before, [&](Activations y) {
      LinearOutput output{
          .weight = view(p.weight, w), .bias = bias.vector(), .scale = p.scale, .activation = p.activation, .y = y};
      if (!p.residual.empty()) output.residual = residual_is_y ? ConstActivations(y) : view(residual, residuals);
      ops.linear(s, {.x = view(x, xs), .arithmetic = arithmetic, .output = {output}});
    });
  });
}

// The magnitude of an output whose products do not happen to cancel: the largest (sum (w x)^2)^(1/2) of the first row,
// with bias and residual.
float linear_scale(const Matrix& x, const Product& p) {
  double largest = 0;
  for (int64_t n = 0; n < p.weight.rows; n++) {
    double squares = 0;
    for (int64_t k = 0; k < x.cols; k++)
      squares += std::pow(static_cast<double>(x(0, k)) * p.weight.values[at(n * x.cols + k)], 2);
    largest = std::fmax(largest, std::sqrt(squares));
  }
  return static_cast<float>(largest) * std::fabs(p.scale) + largest_magnitude(p.bias) + largest_magnitude(p.residual);
}

void compare_linear(Trial& t, Rig& rig, const std::string& label, const Matrix& x, const Product& p,
                    Arithmetic arithmetic, bool residual_is_y = false) {
  const Values fast = linear(t, rig, x, p, arithmetic, residual_is_y);
  const cpu::Factors factors =
      cpu::factors_of(t.kernels, {nullptr, p.weight.dtype, p.weight.rows, p.weight.cols}, arithmetic, x.rows);
  t.near(label, fast, linear_loops<float>(x, p, factors), linear_loops<double>(x, p, factors), linear_scale(x, p));
}

std::string label_of(DType dtype, Arithmetic arithmetic) {
  return std::string(traits(dtype).name) +
         (arithmetic == Arithmetic::kExact ? ", exact arithmetic" : ", fast arithmetic");
}

std::vector<int64_t> quantised_depths(DType dtype) {
  if (traits(dtype).elements == kSuperBlock) return {256, 768};
  return {32, 96, 544};
}

// Every dtype and arithmetic, with K that crosses the chunks of both.
void for_each_linear(const std::function<void(DType, Arithmetic, int64_t K)>& body) {
  for (const DType dtype : kFloatTypes) {
    for (const int64_t K : {1, 33, 389, 525}) body(dtype, Arithmetic::kFast, K);
    for (const int64_t K : {1, 389, 777}) body(dtype, Arithmetic::kExact, K);
    if (dtype == DType::BF16) body(dtype, Arithmetic::kFast, 1090);
  }
  for (const DType dtype : kQuantisedTypes) {
    for (const Arithmetic arithmetic : {Arithmetic::kFast, Arithmetic::kExact}) {
      for (const int64_t K : quantised_depths(dtype)) body(dtype, arithmetic, K);
    }
  }
}

// ---- attention

// A block of a q8_0 cache: codes of at most 32 values and the half that is their scale, the least one with which all
// codes lie in [-127, 127], or the largest finite half, and then codes end there. Of a block that is not finite the
// scale is not, and codes are 0.
struct CachedBlock {
  uint16_t scale;
  std::vector<int8_t> codes;
  explicit CachedBlock(std::span<const float> values) {
    if (!std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); })) {
      const bool is_nan = std::any_of(values.begin(), values.end(), [](float value) { return std::isnan(value); });
      scale = is_nan ? 0x7E00 : 0x7C00;
      codes.assign(values.size(), 0);
      return;
    }
    const float step = largest_magnitude(values) / 127;
    scale = 0;
    // halves from 0 on are in order: the last one below the step, and then the next
    for (uint16_t bit = 0x4000; bit != 0; bit /= 2) {
      if (static_cast<float>(half_value(scale + bit)) < step) scale += bit;
    }
    if (static_cast<float>(half_value(scale)) < step && scale < 0x7BFF) scale++;
    const float inverse = scale == 0 ? 0 : 1 / static_cast<float>(half_value(scale));
    for (const float value : values)
      codes.push_back(static_cast<int8_t>(std::clamp(std::nearbyintf(value * inverse), -127.0f, 127.0f)));
  }
};

// Keys and values [positions, Hk * Dh] of one layer, as they lie in pages by the layout in cpu/kv_layout.h; slots never
// written are NaN.
struct Cache {
  KvType type;
  int64_t kv_heads, head_dim, positions;
  Values k, v;  // random_cache gives values that the type holds exactly

  int64_t pages() const { return (positions + kPageTokens - 1) / kPageTokens; }
  KvLayout layout() const { return {kv_heads, head_dim, type}; }
  int64_t page_bytes() const { return cpu::page_layer_bytes(layout()); }

  std::vector<std::byte> page(int64_t index) const {
    std::vector<std::byte> out(at(page_bytes()), std::byte{0xFF});
    for (int64_t p = index * kPageTokens; p < std::min(positions, (index + 1) * kPageTokens); p++) {
      for (int64_t h = 0; h < kv_heads; h++) {
        const int64_t from = (p * kv_heads + h) * head_dim;
        type == KvType::kQ8_0 ? store_blocks(out, p % kPageTokens, h, from) : store_head(out, p % kPageTokens, h, from);
      }
    }
    return out;
  }

 private:
  int64_t key_at(int64_t h, int64_t d, int64_t slot) const { return (h * head_dim + d) * kPageTokens + slot; }
  int64_t value_at(int64_t h, int64_t d, int64_t slot) const {
    return page_keys(kv_heads, head_dim) + (h * kPageTokens + slot) * padded_head_dim(head_dim) + d;
  }

  void store_head(std::vector<std::byte>& page, int64_t slot, int64_t h, int64_t from) const {
    for (int64_t d = 0; d < padded_head_dim(head_dim); d++) {
      if (d < head_dim) store(page, key_at(h, d, slot), k[at(from + d)]);
      store(page, value_at(h, d, slot), d < head_dim ? v[at(from + d)] : 0.0f);
    }
  }
  void store(std::vector<std::byte>& page, int64_t index, float value) const {
    const uint16_t half = float_to_half(value);
    std::memcpy(&page[at(index * kv_bytes(type))], type == KvType::kF16 ? static_cast<const void*>(&half) : &value,
                at(kv_bytes(type)));
  }

  void store_blocks(std::vector<std::byte>& page, int64_t slot, int64_t h, int64_t from) const {
    const int64_t blocks = kv_blocks(head_dim);
    std::byte* key_scales = &page[at(page_keys(kv_heads, head_dim) + page_values(kv_heads, head_dim))];
    std::byte* value_scales = key_scales + kv_heads * blocks * kPageTokens * 2;
    for (int64_t d = 0; d < padded_head_dim(head_dim); d++) page[at(value_at(h, d, slot))] = std::byte{0};
    for (int64_t b = 0; b < blocks; b++) {
      const int64_t first = b * kKvBlock, count = std::min(kKvBlock, head_dim - first);
      const auto part = [&](const Values& values) {
        return std::span<const float>(values).subspan(at(from + first), at(count));
      };
      const CachedBlock key(part(k)), value(part(v));
      std::memcpy(key_scales + ((h * blocks + b) * kPageTokens + slot) * 2, &key.scale, 2);
      std::memcpy(value_scales + ((h * kPageTokens + slot) * blocks + b) * 2, &value.scale, 2);
      for (int64_t i = 0; i < count; i++) {
        page[at(key_at(h, first + i, slot))] = static_cast<std::byte>(key.codes[at(i)]);
        page[at(value_at(h, first + i, slot))] = static_cast<std::byte>(value.codes[at(i)]);
      }
    }
  }
};

// What a cache of this type gives back for values of whole heads.
Values as_cached(KvType type, int64_t head_dim, const Values& values) {
  Values out;
  for (int64_t head = 0; head < static_cast<int64_t>(values.size()); head += head_dim) {
    for (int64_t first = 0; first < head_dim; first += kKvBlock) {
      const std::span<const float> block =
          std::span<const float>(values).subspan(at(head + first), at(std::min(kKvBlock, head_dim - first)));
      const CachedBlock codes(block);
      for (size_t i = 0; i < block.size(); i++) {
        const double q8 = half_value(codes.scale) * codes.codes[i], f16 = half_value(float_to_half(block[i]));
        out.push_back(type == KvType::kQ8_0  ? static_cast<float>(q8)
                      : type == KvType::kF16 ? static_cast<float>(f16)
                                             : block[i]);
      }
    }
  }
  return out;
}

constexpr KvType kKvTypes[] = {KvType::kF16, KvType::kF32, KvType::kQ8_0};

Cache random_cache(Trial& t, KvType type, int64_t kv_heads, int64_t head_dim, int64_t positions) {
  const int64_t count = positions * kv_heads * head_dim;
  return {type,
          kv_heads,
          head_dim,
          positions,
          as_cached(type, head_dim, t.random.values(count)),
          as_cached(type, head_dim, t.random.values(count))};
}

// Pages of one layer that begins some way into each, in memory.
constexpr int64_t kLayerOffset = 64;

std::vector<std::byte> with_offset(const std::vector<std::byte>& layer) {
  std::vector<std::byte> page(at(kLayerOffset) + layer.size(), std::byte{0xFF});
  std::copy(layer.begin(), layer.end(), page.begin() + kLayerOffset);
  return page;
}

template <class Operand>
struct PagesInMemory {
  std::vector<std::unique_ptr<Operand>> owners;
  std::vector<DeviceBytes> starts;
};

// Of a cache that is only read.
class ReadablePages {
 public:
  ReadablePages(Rig& rig, const Cache& cache) {
    for (int64_t i = 0; i < cache.pages(); i++)
      pages_.push_back(std::make_unique<In<std::byte>>(rig, with_offset(cache.page(i)), 0));
  }
  std::vector<DeviceBytes> starts() const {
    std::vector<DeviceBytes> out;
    for (const auto& page : pages_)
      out.push_back(DeviceAddress::of(const_cast<std::byte*>(DeviceAddress::pointer(page->at()))));
    return out;
  }

 private:
  std::vector<std::unique_ptr<In<std::byte>>> pages_;
};

template <class Acc>
Values attention_loops(const Matrix& q, const Cache& cache, int64_t heads, bool causal, int64_t window = 0) {
  const int64_t dh = cache.head_dim, sharing = heads / cache.kv_heads, width = cache.kv_heads * dh;
  Values out(q.values.size());
  for (int64_t t = 0; t < q.rows; t++) {
    const int64_t sees = causal ? cache.positions - q.rows + t + 1 : cache.positions;
    const int64_t oldest = window > 0 ? std::max<int64_t>(0, sees - window) : 0;
    for (int64_t h = 0; h < heads; h++) {
      const int64_t kv = h / sharing * dh;
      std::vector<Acc> score(at(sees)), y(at(dh), Acc(0));
      Acc largest = -std::numeric_limits<Acc>::infinity(), sum = 0;
      for (int64_t j = oldest; j < sees; j++) {
        for (int64_t d = 0; d < dh; d++) score[at(j)] += Acc(q(t, h * dh + d)) * Acc(cache.k[at(j * width + kv + d)]);
        score[at(j)] /= std::sqrt(Acc(dh));
        largest = std::max(largest, score[at(j)]);
      }
      for (int64_t j = oldest; j < sees; j++) {
        const Acc weight = std::exp(score[at(j)] - largest);
        sum += weight;
        for (int64_t d = 0; d < dh; d++) y[at(d)] += weight * Acc(cache.v[at(j * width + kv + d)]);
      }
      for (int64_t d = 0; d < dh; d++) out[at(t * q.cols + h * dh + d)] = static_cast<float>(y[at(d)] / sum);
    }
  }
  return out;
}

// [T * H, columns]
template <class Acc>
Values attention_weights_loops(const Matrix& q, const Cache& cache, int64_t heads, int64_t window, int64_t columns) {
  const int64_t dh = cache.head_dim, sharing = heads / cache.kv_heads, width = cache.kv_heads * dh;
  Values out(at(q.rows * heads * columns), 0.0f);
  for (int64_t t = 0; t < q.rows; t++) {
    const int64_t sees = cache.positions - q.rows + t + 1;
    const int64_t oldest = window > 0 ? std::max<int64_t>(0, sees - window) : 0;
    for (int64_t h = 0; h < heads; h++) {
      std::vector<Acc> score(at(sees), Acc(0));
      Acc largest = -std::numeric_limits<Acc>::infinity(), sum = 0;
      for (int64_t j = oldest; j < sees; j++) {
        for (int64_t d = 0; d < dh; d++)
          score[at(j)] += Acc(q(t, h * dh + d)) * Acc(cache.k[at(j * width + h / sharing * dh + d)]);
        score[at(j)] /= std::sqrt(Acc(dh));
        largest = std::max(largest, score[at(j)]);
      }
      for (int64_t j = oldest; j < sees; j++) sum += score[at(j)] = std::exp(score[at(j)] - largest);
      for (int64_t j = oldest; j < sees; j++)
        out[at((t * heads + h) * columns + j)] = static_cast<float>(score[at(j)] / sum);
    }
  }
  return out;
}

std::vector<double> widened(const Values& values) { return {values.begin(), values.end()}; }

// Of the float reference's bound too, by what is not asked of it: how far attention with factors in f16 may be from the
// truth. A factor's rounding is 2^-11 of itself, or 2^-25; of float32 sums of n, n / 2^22 of their magnitudes, as
// tensor cores align before they add. Queries are rounded, and what q8_0 stands for; the weights, lifted by 2^10 of the
// largest, too. A score that is off by e changes each weight by e^(2 e) - 1 of itself.
std::vector<double> half_attention_bounds(const Matrix& q, const Cache& cache, int64_t heads, bool causal,
                                          int64_t window) {
  const int64_t dh = cache.head_dim, sharing = heads / cache.kv_heads, width = cache.kv_heads * dh;
  const double stored = cache.type == KvType::kQ8_0 ? 0x1p-11 : 0, root = std::sqrt(static_cast<double>(dh));
  std::vector<double> out(q.values.size());
  for (int64_t t = 0; t < q.rows; t++) {
    const int64_t sees = causal ? cache.positions - q.rows + t + 1 : cache.positions;
    const int64_t oldest = window > 0 ? std::max<int64_t>(0, sees - window) : 0;
    for (int64_t h = 0; h < heads; h++) {
      const int64_t kv = h / sharing * dh;
      std::vector<double> score(at(sees));
      double largest = -std::numeric_limits<double>::infinity(), sum = 0, off = 0;
      for (int64_t j = oldest; j < sees; j++) {
        double magnitude = 0, of_keys = 0;
        for (int64_t d = 0; d < dh; d++) {
          const double key = cache.k[at(j * width + kv + d)],
                       product = static_cast<double>(q(t, h * dh + d)) * key / root;
          score[at(j)] += product;
          magnitude += std::fabs(product);
          of_keys += std::fabs(key);
        }
        off = std::max(off, magnitude * (0x1p-11 + stored + static_cast<double>(dh + 8) * 0x1p-22) + of_keys * 0x1p-25);
        largest = std::max(largest, score[at(j)]);
      }
      std::vector<double> of_weights(at(dh), 0), of_all(at(dh), 0);
      for (int64_t j = oldest; j < sees; j++) {
        const double weight = std::exp(score[at(j)] - largest);
        sum += weight;
        for (int64_t d = 0; d < dh; d++) {
          const double value = std::fabs(static_cast<double>(cache.v[at(j * width + kv + d)]));
          of_weights[at(d)] += weight * value;
          of_all[at(d)] += 0x1p-35 * value;
        }
      }
      for (int64_t d = 0; d < dh; d++) {
        const double relative = std::expm1(2 * off) + 0x1p-11 + stored + static_cast<double>(sees + 64) * 0x1p-22;
        out[at(t * q.cols + h * dh + d)] = (of_weights[at(d)] * relative + of_all[at(d)]) / sum + 0x1p-25;
      }
    }
  }
  return out;
}

bool attends_in_halves(const Trial& t, KvType type, int64_t rows) {
  return t.target.half_attention && type != KvType::kF32 && rows > kFewRows;
}

// How far attention in two terms of bf16 may be from the truth: a product of two terms each errs by less than 3 * 2^-18
// of itself (kernels.def), float32 sums of n of them by n / 2^24 of their magnitudes. A score that is off by e changes
// each weight by 2 e of itself.
std::vector<double> tiled_attention_bounds(const Matrix& q, const Cache& cache, int64_t heads) {
  const int64_t dh = cache.head_dim, sharing = heads / cache.kv_heads, width = cache.kv_heads * dh;
  const auto error = [](int64_t n) { return 3 * 0x1p-18 + static_cast<double>(n) * 0x1p-24; };
  std::vector<double> out(q.values.size());
  for (int64_t t = 0; t < q.rows; t++) {
    for (int64_t h = 0; h < heads; h++) {
      const int64_t kv = h / sharing * dh;
      std::vector<double> score(at(cache.positions)), y(at(dh), 0);
      double largest = -std::numeric_limits<double>::infinity(), sum = 0, off = 0;
      for (int64_t j = 0; j < cache.positions; j++) {
        double magnitude = 0;
        for (int64_t d = 0; d < dh; d++) {
          const double product = static_cast<double>(q(t, h * dh + d)) * cache.k[at(j * width + kv + d)];
          score[at(j)] += product / std::sqrt(static_cast<double>(dh));
          magnitude += std::fabs(product) / std::sqrt(static_cast<double>(dh));
        }
        off = std::max(off, magnitude * error(dh));
        largest = std::max(largest, score[at(j)]);
      }
      for (int64_t j = 0; j < cache.positions; j++) {
        const double weight = std::exp(score[at(j)] - largest);
        sum += weight;
        for (int64_t d = 0; d < dh; d++)
          y[at(d)] += weight * std::fabs(static_cast<double>(cache.v[at(j * width + kv + d)]));
      }
      for (int64_t d = 0; d < dh; d++)
        out[at(t * q.cols + h * dh + d)] = y[at(d)] / sum * (2 * off + error(cache.positions));
    }
  }
  return out;
}

// What an op of rows of q writes, which are the last of each cache's positions, some of one sequence after the other.
// call(ops, stream, q, cache, y)
template <class Call>
Values over_caches(Rig& rig, const Matrix& q, std::span<const Cache> caches, std::span<const int64_t> rows,
                   const Matrix& before, const Call& call) {
  std::vector<std::unique_ptr<ReadablePages>> pages;
  for (const Cache& cache : caches) pages.push_back(std::make_unique<ReadablePages>(rig, cache));
  const In<float> qs(rig, q.strided());
  return rig.run([&](const OpTable& ops, Stream& s) {
    return written(rig, before, [&](Activations y) {
      std::vector<std::vector<DeviceBytes>> starts;
      std::vector<KvSequence> sequences;
      for (size_t i = 0; i < caches.size(); i++) starts.push_back(pages[i]->starts());
      for (size_t i = 0; i < caches.size(); i++) sequences.push_back({starts[i], rows[i], caches[i].positions});
      call(ops, s, view(q, qs), KvPages{caches[0].layout(), kLayerOffset, sequences}, y);
    });
  });
}

Values ragged_attention(Rig& rig, const Matrix& q, std::span<const Cache> caches, std::span<const int64_t> rows,
                        int64_t heads, bool causal, int64_t window) {
  return over_caches(
      rig, q, caches, rows, unwritten_matrix(rig.trial(), q.rows, q.cols),
      [&](const OpTable& ops, Stream& s, const ConstActivations& x, const KvPages& cache, Activations y) {
        ops.attention(s, {.q = x, .cache = cache, .heads = heads, .causal = causal, .y = y, .window = window});
      });
}

Values attention(Rig& rig, const Matrix& q, const Cache& cache, int64_t heads, bool causal, int64_t window = 0) {
  return ragged_attention(rig, q, {&cache, 1}, {&q.rows, 1}, heads, causal, window);
}

// The same rows' weights, [T * H, columns].
Values ragged_weights(Rig& rig, const Matrix& q, std::span<const Cache> caches, std::span<const int64_t> rows,
                      int64_t heads, int64_t window, int64_t columns) {
  return over_caches(
      rig, q, caches, rows, unwritten_matrix(rig.trial(), q.rows * heads, columns),
      [&](const OpTable& ops, Stream& s, const ConstActivations& x, const KvPages& cache, Activations y) {
        ops.attention_weights(s, {.q = x, .cache = cache, .heads = heads, .y = y, .window = window});
      });
}

Values attention_weights(Rig& rig, const Matrix& q, const Cache& cache, int64_t heads, int64_t window,
                         int64_t columns) {
  return ragged_weights(rig, q, {&cache, 1}, {&q.rows, 1}, heads, window, columns);
}

// Pages of all caches, one sequence's after the other, once k and v stand behind what they hold.
std::vector<std::byte> appended(Rig& rig, const Matrix& k, const Matrix& v, std::span<const Cache> caches,
                                std::span<const int64_t> rows) {
  const In<float> ks(rig, k.strided()), vs(rig, v.strided());
  return rig.run([&](const OpTable& ops, Stream& s) {
    std::vector<PagesInMemory<Out<std::byte>>> pages(caches.size());
    std::vector<KvSequence> sequences;
    for (size_t n = 0; n < caches.size(); n++) {
      const int64_t end = caches[n].positions + rows[n];
      for (int64_t i = 0; i * kPageTokens < end; i++) {
        const std::vector<std::byte> unwritten_page(at(caches[n].page_bytes()), std::byte{0xFF});
        pages[n].owners.push_back(std::make_unique<Out<std::byte>>(
            rig, with_offset(i < caches[n].pages() ? caches[n].page(i) : unwritten_page), 0));
        pages[n].starts.push_back(pages[n].owners.back()->at());
      }
      sequences.push_back({pages[n].starts, rows[n], end});
    }
    ops.kv_append(s, {.k = view(k, ks), .v = view(v, vs), .cache = {caches[0].layout(), kLayerOffset, sequences}});
    std::vector<std::byte> out;
    for (const auto& of_sequence : pages) {
      for (const auto& page : of_sequence.owners) {
        const std::vector<std::byte> values = page->values();
        out.insert(out.end(), values.begin() + kLayerOffset, values.end());
      }
    }
    return out;
  });
}

struct LinearShape {
  int64_t rows, columns;
};

struct AttentionShape {
  int64_t tokens, keys, heads, kv_heads, head_dim;
};
// One token and many; keys that end in, at and after a page, and after several spans of pages; heads that share keys;
// head_dim off the vector widths.
constexpr AttentionShape kAttentions[] = {
    {1, 1, 1, 1, 8},     {1, 64, 2, 2, 16},   {1, 65, 4, 2, 20},   {5, 5, 2, 1, 80},    {7, 67, 3, 3, 12},
    {13, 130, 6, 2, 64}, {66, 66, 2, 2, 24},  {61, 190, 4, 4, 36}, {70, 128, 8, 1, 40}, {1, 700, 4, 2, 20},
    {3, 513, 2, 2, 12},  {66, 600, 2, 1, 16}, {270, 270, 1, 1, 8}};

// Of one position, within a page, of a page and beyond; the last but one skips whole spans of the longest shapes.
constexpr int64_t kWindows[] = {1, 5, 63, 64, 65, 100, 300, 1000};

// ---- one-matrix ops

template <class Acc>
Values rope_loops(const Matrix& x, const Values& angles_cos, const Values& angles_sin, int64_t head_dim,
                  RopeLayout layout) {
  const int64_t half = head_dim / 2;
  Values out = x.values;
  for (int64_t t = 0; t < x.rows; t++) {
    for (int64_t head = 0; head < x.cols; head += head_dim) {
      for (int64_t j = 0; j < half; j++) {
        const int64_t first = head + (layout == RopeLayout::kHalf ? j : 2 * j),
                      second = head + (layout == RopeLayout::kHalf ? j + half : 2 * j + 1);
        const Acc c = angles_cos[at(t * half + j)], s = angles_sin[at(t * half + j)], a = x(t, first), b = x(t, second);
        out[at(t * x.cols + first)] = static_cast<float>(a * c - b * s);
        out[at(t * x.cols + second)] = static_cast<float>(a * s + b * c);
      }
    }
  }
  return out;
}

struct Angles {
  Values cos, sin;
};
Angles random_angles(Trial& t, int64_t count) {
  Angles out;
  for (int64_t i = 0; i < count; i++) {
    const double angle = t.random.uniform() * 4096;
    out.cos.push_back(static_cast<float>(std::cos(angle)));
    out.sin.push_back(static_cast<float>(std::sin(angle)));
  }
  return out;
}

Values rope(Rig& rig, const Matrix& x, const Angles& angles, int64_t head_dim, RopeLayout layout) {
  const In<float> c(rig, angles.cos), s(rig, angles.sin);
  return rig.run([&](const OpTable& ops, Stream& stream) {
    return written(rig, x, [&](Activations y) {
      ops.rope(stream, {.x = y,
                        .cos = ConstActivations(c.at(), x.rows, head_dim / 2),
                        .sin = ConstActivations(s.at(), x.rows, head_dim / 2),
                        .head_dim = head_dim,
                        .layout = layout});
    });
  });
}

template <class Acc>
Values norm_loops(const Matrix& x, const Values& weight, const Values& bias, float eps) {  // no bias: RMS norm
  Values out;
  for (int64_t t = 0; t < x.rows; t++) {
    Acc mean = 0, squares = 0;
    if (!bias.empty()) {
      for (int64_t i = 0; i < x.cols; i++) mean += Acc(x(t, i)) / Acc(x.cols);
    }
    for (int64_t i = 0; i < x.cols; i++) squares += (Acc(x(t, i)) - mean) * (Acc(x(t, i)) - mean);
    const Acc root = std::sqrt(squares / Acc(x.cols) + Acc(eps));
    for (int64_t i = 0; i < x.cols; i++)
      out.push_back(static_cast<float>((Acc(x(t, i)) - mean) / root * Acc(weight[at(i)]) +
                                       (bias.empty() ? Acc(0) : Acc(bias[at(i)]))));
  }
  return out;
}

template <class Acc>
Values activate_loops(const Matrix& x, Activation activation) {
  Values out;
  for (const float value : x.values) out.push_back(static_cast<float>(activated(Acc(value), activation)));
  return out;
}

template <class Acc>
Values silu_mul_loops(const Matrix& gate, const Matrix& up) {
  Values out;
  for (size_t i = 0; i < gate.values.size(); i++)
    out.push_back(
        static_cast<float>(Acc(gate.values[i]) / (Acc(1) + std::exp(-Acc(gate.values[i]))) * Acc(up.values[i])));
  return out;
}

template <class Acc>
Values patch_embed_loops(const Values& pixels, int64_t pictures, int64_t size, int64_t patch,
                         const RandomWeight& weight, const Values& bias, const Values& classes, const Values& positions,
                         cpu::Factors factors) {
  const int64_t grid = size / patch, width = weight.rows, class_rows = classes.empty() ? 0 : 1;
  Values out;
  for (int64_t picture = 0; picture < pictures; picture++) {
    for (int64_t d = 0; d < class_rows * width; d++)
      out.push_back(static_cast<float>(Acc(classes[at(d)]) + Acc(positions[at(d)])));
    for (int64_t p = 0; p < grid * grid; p++) {
      for (int64_t d = 0; d < width; d++) {
        Acc sum = 0;
        for (int64_t c = 0; c < 3; c++) {
          for (int64_t i = 0; i < patch; i++) {
            for (int64_t j = 0; j < patch; j++) {
              const int64_t pixel = ((picture * 3 + c) * size + p / grid * patch + i) * size + p % grid * patch + j,
                            tap = ((d * 3 + c) * patch + i) * patch + j;
              sum += static_cast<Acc>(cpu::product_of(pixels[at(pixel)], weight.values[at(tap)], factors));
            }
          }
        }
        if (!bias.empty()) sum += Acc(bias[at(d)]);
        out.push_back(static_cast<float>(sum + Acc(positions[at((class_rows + p) * width + d)])));
      }
    }
  }
  return out;
}

// Rows around the pool's chunks; columns around vectors.
constexpr int64_t kRowCounts[] = {1, 2, 3, 13};
constexpr int64_t kColumnCounts[] = {1, 15, 16, 33, 100};

// ---- the cases of ops.def

namespace op_case {

void embed_rows(Trial& t) {
  Rig rig(t);
  for (int type = 0; type < kDTypeCount; type++) {
    const auto dtype = static_cast<DType>(type);
    for (const int64_t blocks : {1, 3, 7}) {
      const int64_t width = blocks * (traits(dtype).quantised() ? traits(dtype).elements : 11);
      const RandomWeight table = random_weight(t, dtype, 9, width);
      const In<std::byte> bytes(rig, table.bytes, t.random.below(4));
      const std::vector<int32_t> ids = {8, 0, 3, 3, 7};
      const In<int32_t> id(rig, ids);
      Values want;
      for (const int32_t row : ids)
        want.insert(want.end(), table.rounded.begin() + row * width, table.rounded.begin() + (row + 1) * width);
      const Matrix before = unwritten_matrix(t, static_cast<int64_t>(ids.size()), width);
      const Values got = rig.run([&](const OpTable& ops, Stream& s) {
        return written(rig, before,
                       [&](Activations y) { ops.embed_rows(s, {.ids = id, .table = view(table, bytes), .y = y}); });
      });
      t.exact(std::string(traits(dtype).name), unsigned_zeros(got), unsigned_zeros(want));
    }
  }
}

void copy_rows(Trial& t) {
  Rig rig(t);
  for (const int64_t rows : kRowCounts) {
    for (const int64_t cols : kColumnCounts) {
      const Matrix x = random_matrix(t, rows, cols), before = unwritten_matrix(t, rows, cols);
      const In<float> xs(rig, x.strided());
      const Values got = rig.run([&](const OpTable& ops, Stream& s) {
        return written(rig, before, [&](Activations y) { ops.copy_rows(s, {.x = view(x, xs), .y = y}); });
      });
      t.exact("the rows", got, x.values);
    }
  }
}

void patch_embed_as(Trial& t, Rig& rig, int64_t pictures, int64_t size, int64_t patch, DType dtype, bool has_class,
                    bool has_bias) {
  const int64_t width = 17, rows = size / patch * (size / patch) + (has_class ? 1 : 0);
  const RandomWeight weight = random_weight(t, dtype, width, 3 * patch * patch);
  const Values pixels = t.random.values(pictures * 3 * size * size);
  const Matrix positions = random_matrix(t, rows, width);
  const Values classes = has_class ? t.random.values(width) : Values{},
               biases = has_bias ? t.random.values(width) : Values{};
  const In<float> pixel(rig, pixels), class_embedding(rig, classes), bias(rig, biases),
      position(rig, positions.strided());
  const In<std::byte> w(rig, weight.bytes, t.random.below(4));
  const Matrix before = unwritten_matrix(t, pictures * rows, width);
  const Values got = rig.run([&](const OpTable& ops, Stream& s) {
    return written(rig, before, [&](Activations y) {
      ops.patch_embed(s, {.pixel_values = pixel,
                          .pictures = pictures,
                          .image_size = size,
                          .patch_size = patch,
                          .weight = view(weight, w),
                          .bias = bias.vector(),
                          .class_embedding = class_embedding.vector(),
                          .position_embedding = view(positions, position),
                          .y = y});
    });
  });
  const cpu::Factors factors = cpu::factors_of(t.kernels, {nullptr, dtype, width, weight.cols}, Arithmetic::kFast,
                                               pictures * (rows - (has_class ? 1 : 0)));
  t.near(std::string(traits(dtype).name), got,
         patch_embed_loops<float>(pixels, pictures, size, patch, weight, biases, classes, positions.values, factors),
         patch_embed_loops<double>(pixels, pictures, size, patch, weight, biases, classes, positions.values, factors));
}

void patch_embed(Trial& t) {
  Rig rig(t);
  // 29: a margin that no patch covers
  for (const auto& [size, patch] : {std::pair<int64_t, int64_t>{4, 2}, {9, 3}, {14, 14}, {29, 7}}) {
    for (const int64_t pictures : {1, 3}) {
      for (const DType dtype : kFloatTypes) {
        patch_embed_as(t, rig, pictures, size, patch, dtype, true, false);  // CLIP
        patch_embed_as(t, rig, pictures, size, patch, dtype, false, true);  // SigLIP
      }
    }
  }
}

void mean_rows(Trial& t) {
  Rig rig(t);
  for (const int64_t pictures : {1, 3}) {
    for (const int64_t rows : {1, 2, 577}) {
      for (const int64_t cols : {1, 63, 64, 65, 200}) {
        const Matrix x = random_matrix(t, pictures * rows, cols), before = unwritten_matrix(t, pictures, cols);
        const In<float> xs(rig, x.strided());
        Values want;
        for (int64_t b = 0; b < pictures; b++) {
          for (int64_t c = 0; c < cols; c++) {
            double sum = 0;
            for (int64_t r = 0; r < rows; r++) sum += static_cast<double>(x(b * rows + r, c));
            want.push_back(static_cast<float>(sum / static_cast<double>(rows)));
          }
        }
        const Values got = rig.run([&](const OpTable& ops, Stream& s) {
          return written(rig, before,
                         [&](Activations y) { ops.mean_rows(s, {.x = view(x, xs), .rows = rows, .y = y}); });
        });
        t.exact("means of pictures", got, want);
      }
    }
  }
}

// What top_k writes, and whether it was asked for the sum.
struct Ranking {
  std::vector<int32_t> ids;
  Values values;
  std::vector<double> log_sum_exp;
  bool operator==(const Ranking&) const = default;
};

Ranking top_k_loops(const Matrix& x, int64_t columns, int64_t k) {
  Ranking out;
  for (int64_t r = 0; r < x.rows; r++) {
    const auto above = [&](int32_t a, int32_t b) {
      const float value = x(r, a), other = x(r, b);
      if (std::isnan(value) != std::isnan(other)) return std::isnan(value);
      return value > other || (!(value < other) && a < b);
    };
    std::vector<int32_t> order(at(columns));
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), above);
    for (int64_t i = 0; i < k; i++) {
      out.ids.push_back(order[at(i)]);
      out.values.push_back(x(r, order[at(i)]));
    }
    double max = -HUGE_VAL, sum = 0;
    for (int64_t c = 0; c < x.cols; c++) max = std::isnan(x(r, c)) || x(r, c) > max ? x(r, c) : max;
    for (int64_t c = 0; c < x.cols; c++) sum += std::exp(static_cast<double>(x(r, c)) - max);
    out.log_sum_exp.push_back(std::isfinite(max) ? max + std::log(sum) : max);
  }
  return out;
}

Ranking top_k(Rig& rig, const Matrix& x, int64_t columns, int64_t k, bool with_sum) {
  const In<float> xs(rig, x.strided());
  Ranking out;
  std::vector<double> sums;
  const Values values = rig.run([&](const OpTable& ops, Stream& s) {
    const Out<int32_t> ids(rig, std::vector<int32_t>(at(x.rows * k), -1));
    const Out<float> best(rig, unwritten(x.rows * k));
    const Out<double> sum(rig, std::vector<double>(at(with_sum ? x.rows : 0), std::nan("")));
    ops.top_k(s, {.x = view(x, xs),
                  .columns = columns,
                  .k = k,
                  .ids = ids.at(),
                  .values = best.at(),
                  .log_sum_exp = with_sum ? sum.at() : nullptr});
    if (!sums.empty()) rig.trial().exact("sums on 1 and on 3 threads", sum.values(), sums);
    sums = sum.values();
    if (!out.ids.empty()) rig.trial().exact("ids on 1 and on 3 threads", ids.values(), out.ids);
    out.ids = ids.values();
    return best.values();
  });
  out.values = values;
  out.log_sum_exp = sums;
  return out;
}

// Values of a few kinds: random ones, many that are equal, and some that are no numbers.
void top_k(Trial& t) {
  Rig rig(t);
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const float odd[] = {std::numeric_limits<float>::quiet_NaN(), kInfinity, -kInfinity, 0.0f, -0.0f};
  for (const int64_t rows : {1, 3}) {
    for (const int64_t cols : {1, 7, 100, 4096, 9001}) {
      for (const int kind : {0, 1, 2, 3}) {
        Matrix x = random_matrix(t, rows, cols, 0.01f, 30.0f);
        for (float& value : x.values) {
          if (kind == 1) value = static_cast<float>(t.random.below(3)) - 1;
          if (kind == 2 && t.random.below(40) == 0) value = odd[1 + t.random.below(4)];
          if (kind == 3) value = -kInfinity;
        }
        if (kind == 2) x.values[at(t.random.below(cols))] = odd[t.random.below(2)];  // in the first row
        const int64_t columns = cols - (cols > 7 ? t.random.below(7) : 0);
        for (const int64_t k : {int64_t{1}, std::min<int64_t>(7, columns), std::min<int64_t>(100, columns)}) {
          const Ranking want = top_k_loops(x, columns, k);
          for (const bool with_sum : {false, true}) {
            const Ranking got = top_k(rig, x, columns, k, with_sum);
            t.exact("ids", got.ids, want.ids);
            t.exact("values", got.values, want.values);
            for (size_t r = 0; r < got.log_sum_exp.size(); r++) {
              const double sum = got.log_sum_exp[r], truth = want.log_sum_exp[r];
              const double bound = (static_cast<double>(cols) + 16) * 0x1p-52 * std::fmax(1, std::fabs(truth));
              t.require(std::isfinite(truth) ? std::fabs(sum - truth) <= bound
                                             : (std::isnan(truth) ? std::isnan(sum) : sum == truth),
                        "the logarithm of the sum of exponentials");
            }
          }
        }
      }
    }
  }
}

void rope_angles(Trial& t) {
  Rig rig(t);
  for (const int64_t rows : kRowCounts) {
    for (const int64_t half : {1, 8, 33}) {
      std::vector<int32_t> positions;
      for (int64_t i = 0; i < rows; i++) positions.push_back(static_cast<int32_t>(t.random.below(100'000)));
      const Values inv_freq = t.random.values(half, 1e-5f, 1.0f);
      const In<int32_t> position(rig, positions);
      const In<float> frequency(rig, inv_freq);
      const Matrix cos = unwritten_matrix(t, rows, half), sin = unwritten_matrix(t, rows, half);
      Values want_cos, want_sin;
      for (const int32_t p : positions) {
        for (const float f : inv_freq) {
          const float angle = static_cast<float>(p) * f;
          want_cos.push_back(static_cast<float>(std::cos(static_cast<double>(angle))));
          want_sin.push_back(static_cast<float>(std::sin(static_cast<double>(angle))));
        }
      }
      Values got_sin;
      const Values got_cos = rig.run([&](const OpTable& ops, Stream& s) {
        return written(rig, cos, [&](Activations c) {
          got_sin = written(rig, sin, [&](Activations y) {
            ops.rope_angles(s, {.positions = position, .inv_freq = frequency.vector(), .cos = c, .sin = y});
          });
        });
      });
      t.exact("cosines", got_cos, want_cos);
      t.exact("sines", got_sin, want_sin);
    }
  }
}

void layer_norm(Trial& t) {
  Rig rig(t);
  for (const int64_t rows : kRowCounts) {
    for (const int64_t cols : kColumnCounts) {
      const Matrix x = random_matrix(t, rows, cols);
      const Values weights = t.random.values(cols), biases = t.random.values(cols);
      const In<float> xs(rig, x.strided()), weight(rig, weights), bias(rig, biases);
      for (const bool in_place : {false, true}) {
        const Values got = rig.run([&](const OpTable& ops, Stream& s) {
          return written(rig, in_place ? x : unwritten_matrix(t, rows, cols), [&](Activations y) {
            ops.layer_norm(s, {.x = in_place ? ConstActivations(y) : view(x, xs),
                               .weight = weight.vector(),
                               .bias = bias.vector(),
                               .eps = 1e-5f,
                               .y = y});
          });
        });
        t.near(in_place ? "y is x" : "y apart", got, norm_loops<float>(x, weights, biases, 1e-5f),
               norm_loops<double>(x, weights, biases, 1e-5f), largest_magnitude(biases) + 1);
      }
    }
  }
}

void rms_norm(Trial& t) {
  Rig rig(t);
  for (const int64_t rows : kRowCounts) {
    for (const int64_t cols : kColumnCounts) {
      const Matrix x = random_matrix(t, rows, cols);
      const Values weights = t.random.values(cols);
      const In<float> xs(rig, x.strided()), weight(rig, weights);
      for (const bool in_place : {false, true}) {
        const Values got = rig.run([&](const OpTable& ops, Stream& s) {
          return written(rig, in_place ? x : unwritten_matrix(t, rows, cols), [&](Activations y) {
            ops.rms_norm(
                s,
                {.x = in_place ? ConstActivations(y) : view(x, xs), .weight = weight.vector(), .eps = 1e-5f, .y = y});
          });
        });
        t.near(in_place ? "y is x" : "y apart", got, norm_loops<float>(x, weights, {}, 1e-5f),
               norm_loops<double>(x, weights, {}, 1e-5f));
      }
    }
  }
}

void linear(Trial& t) {
  Rig rig(t);
  for_each_linear([&](DType dtype, Arithmetic arithmetic, int64_t K) {
    for (const int64_t M : {1, 2, 3, 5, 13, 64}) {
      for (const int64_t N : {1, 15, 33, 67}) {
        if (M == 64 && N < 67) continue;  // a tall product once: it is most of the time
        compare_linear(t, rig, label_of(dtype, arithmetic), random_matrix(t, M, K), {random_weight(t, dtype, N, K), {}},
                       arithmetic);
      }
    }
  });
}

// Shapes that the roads of a product part at: rows around the limits of the few (32) and of sets in registers (48),
// more than one slab (640), tasks of several panels on one thread and on three, and outputs of 4 MiB and more, which
// are written around the caches.
constexpr LinearShape kParted[] = {{31, 33}, {32, 33}, {33, 33},   {47, 33},   {48, 33},
                                   {49, 33}, {0, 33},  {50, 1057}, {49, 3100}, {650, 67}};
constexpr LinearShape kBeyondCaches = {650, 1633};

void linear_at_limits(Trial& t) {
  Rig rig(t);
  const auto compare = [&](DType dtype, Arithmetic arithmetic, const LinearShape& shape) {
    const int64_t K = traits(dtype).elements == kSuperBlock ? kSuperBlock : 32;
    const std::string label = label_of(dtype, arithmetic) + ", " + std::to_string(shape.rows) + " rows, " +
                              std::to_string(shape.columns) + " columns";
    const Matrix x = random_matrix(t, shape.rows, K);
    if (shape.rows > 0)
      return compare_linear(t, rig, label, x,
                            {random_weight(t, dtype, shape.columns, K), t.random.values(shape.columns)}, arithmetic);
    t.exact(label, linear(t, rig, x, {random_weight(t, dtype, shape.columns, K), {}}, arithmetic), Values{});
  };
  for (const LinearShape& shape : kParted) {
    for (const DType dtype : {DType::F32, DType::F16, DType::BF16, DType::Q4_0, DType::Q8_0, DType::Q6_K}) {
      for (const Arithmetic arithmetic : {Arithmetic::kFast, Arithmetic::kExact}) compare(dtype, arithmetic, shape);
    }
  }
  for (const DType dtype : {DType::F32, DType::BF16, DType::Q4_0}) compare(dtype, Arithmetic::kFast, kBeyondCaches);
}

// Ops of no rows write nothing, and do not fail.
void no_rows(Trial& t) {
  Rig rig(t);
  const Matrix x{0, 16, 16, {}};
  const Values some = t.random.values(16);
  const In<float> xs(rig, {}), weight(rig, some);
  const In<int32_t> ids(rig, {});
  const auto none = [&](const std::string& label,
                        const std::function<void(const OpTable&, Stream&, Activations)>& call) {
    t.exact(label, rig.run([&](const OpTable& ops, Stream& s) {
      return written(rig, x, [&](Activations y) { call(ops, s, y); });
    }),
            Values{});
  };
  const RandomWeight table = random_weight(t, DType::F32, 4, 16);
  const In<std::byte> bytes(rig, table.bytes);
  none("embed_rows", [&](const OpTable& ops, Stream& s, Activations y) {
    ops.embed_rows(s, {.ids = ids, .table = view(table, bytes), .y = y});
  });
  none("copy_rows",
       [&](const OpTable& ops, Stream& s, Activations y) { ops.copy_rows(s, {.x = view(x, xs), .y = y}); });
  none("mean_rows",
       [&](const OpTable& ops, Stream& s, Activations y) { ops.mean_rows(s, {.x = view(x, xs), .rows = 3, .y = y}); });
  none("layer_norm", [&](const OpTable& ops, Stream& s, Activations y) {
    ops.layer_norm(s, {.x = view(x, xs), .weight = weight.vector(), .bias = weight.vector(), .eps = 1e-5f, .y = y});
  });
  none("rms_norm", [&](const OpTable& ops, Stream& s, Activations y) {
    ops.rms_norm(s, {.x = view(x, xs), .weight = weight.vector(), .eps = 1e-5f, .y = y});
  });
  none("activate", [&](const OpTable& ops, Stream& s, Activations y) {
    ops.activate(s, {.x = view(x, xs), .activation = Activation::kGelu, .y = y});
  });
  none("silu_mul", [&](const OpTable& ops, Stream& s, Activations y) {
    ops.silu_mul(s, {.gate = view(x, xs), .up = view(x, xs), .y = y});
  });
  none("add_rows", [&](const OpTable& ops, Stream& s, Activations y) {
    ops.add_rows(s, {.a = view(x, xs), .b = view(x, xs), .y = y});
  });
  none("top_k", [&](const OpTable& ops, Stream& s, Activations y) {
    ops.top_k(s, {.x = view(x, xs), .columns = 16, .k = 3, .ids = nullptr, .values = y.data});
  });
  const Matrix angles{0, 4, 4, {}};
  none("rope", [&](const OpTable& ops, Stream& s, Activations y) {
    ops.rope(s, {.x = y, .cos = view(angles, xs), .sin = view(angles, xs), .head_dim = 8, .layout = RopeLayout::kHalf});
  });
  const KvLayout layout{2, 8, KvType::kF16};
  none("kv_append", [&](const OpTable& ops, Stream& s, Activations) {
    ops.kv_append(s, {.k = view(x, xs), .v = view(x, xs), .cache = {layout, 0, {}}});
  });
  none("attention", [&](const OpTable& ops, Stream& s, Activations y) {
    ops.attention(s, {.q = view(x, xs), .cache = {layout, 0, {}}, .heads = 2, .causal = true, .y = y});
  });
  none("attention_weights", [&](const OpTable& ops, Stream& s, Activations y) {
    ops.attention_weights(s, {.q = view(x, xs), .cache = {layout, 0, {}}, .heads = 2, .y = y});
  });
}

void activate(Trial& t) {
  Rig rig(t);
  for (const int64_t rows : kRowCounts) {
    for (const int64_t cols : kColumnCounts) {
      for (const Activation activation : {Activation::kQuickGelu, Activation::kGelu, Activation::kGeluTanh}) {
        const Matrix x = random_matrix(t, rows, cols);
        const In<float> xs(rig, x.strided());
        for (const bool y_is_x : {false, true}) {
          const Values got = rig.run([&](const OpTable& ops, Stream& s) {
            return written(rig, y_is_x ? x : unwritten_matrix(t, rows, cols), [&](Activations y) {
              ops.activate(s, {.x = y_is_x ? ConstActivations(y) : view(x, xs), .activation = activation, .y = y});
            });
          });
          t.near("activated values", got, activate_loops<float>(x, activation), activate_loops<double>(x, activation),
                 largest_magnitude(x.values));
        }
      }
    }
  }
}

void silu_mul(Trial& t) {
  Rig rig(t);
  for (const int64_t rows : kRowCounts) {
    for (const int64_t cols : {int64_t{1}, int64_t{15}, int64_t{33}, int64_t{2048}, int64_t{4100}}) {
      const Matrix gate = random_matrix(t, rows, cols), up = random_matrix(t, rows, cols);
      const In<float> gates(rig, gate.strided()), ups(rig, up.strided());
      for (const int alias : {0, 1, 2}) {  // y apart, y is gate, y is up
        const Values got = rig.run([&](const OpTable& ops, Stream& s) {
          return written(rig,
                         alias == 0   ? unwritten_matrix(t, rows, cols)
                         : alias == 1 ? gate
                                      : up,
                         [&](Activations y) {
                           ops.silu_mul(s, {.gate = alias == 1 ? ConstActivations(y) : view(gate, gates),
                                            .up = alias == 2 ? ConstActivations(y) : view(up, ups),
                                            .y = y});
                         });
        });
        t.near("gated values", got, silu_mul_loops<float>(gate, up), silu_mul_loops<double>(gate, up),
               largest_magnitude(gate.values) * largest_magnitude(up.values));
      }
    }
  }
}

void add_rows(Trial& t) {
  Rig rig(t);
  for (const int64_t rows : kRowCounts) {
    for (const int64_t cols : kColumnCounts) {
      const Matrix a = random_matrix(t, rows, cols), b = random_matrix(t, rows, cols);
      const In<float> as(rig, a.strided()), bs(rig, b.strided());
      Values want;
      for (size_t i = 0; i < a.values.size(); i++) want.push_back(a.values[i] + b.values[i]);
      for (const int alias : {0, 1, 2}) {  // y apart, y is a, y is b
        const Values got = rig.run([&](const OpTable& ops, Stream& s) {
          return written(rig,
                         alias == 0   ? unwritten_matrix(t, rows, cols)
                         : alias == 1 ? a
                                      : b,
                         [&](Activations y) {
                           ops.add_rows(s, {.a = alias == 1 ? ConstActivations(y) : view(a, as),
                                            .b = alias == 2 ? ConstActivations(y) : view(b, bs),
                                            .y = y});
                         });
        });
        t.exact("sums", got, want);
      }
    }
  }
}

void rope(Trial& t) {
  Rig rig(t);
  for (const int64_t rows : kRowCounts) {
    for (const int64_t head_dim : {2, 6, 16, 34, 64}) {
      for (const RopeLayout layout : {RopeLayout::kHalf, RopeLayout::kInterleaved}) {
        const Matrix x = random_matrix(t, rows, 3 * head_dim);
        const Angles angles = random_angles(t, rows * head_dim / 2);
        t.near(layout == RopeLayout::kHalf ? "half layout" : "interleaved layout",
               testing::rope(rig, x, angles, head_dim, layout),
               rope_loops<float>(x, angles.cos, angles.sin, head_dim, layout),
               rope_loops<double>(x, angles.cos, angles.sin, head_dim, layout));
      }
    }
  }
}

void kv_append(Trial& t) {
  Rig rig(t);
  for (const KvType type : kKvTypes) {
    for (const auto& [start, tokens] :
         {std::pair<int64_t, int64_t>{0, 1}, {0, 64}, {5, 3}, {62, 5}, {63, 1}, {64, 1}, {60, 75}}) {
      for (const int64_t head_dim : {8, 20, 36, 64}) {
        const int64_t first = start, kv_heads = 3, width = kv_heads * head_dim;
        Cache cache = random_cache(t, type, kv_heads, head_dim, first);
        const float top = t.random.below(2) == 0 ? 60000.0f : FLT_MAX;  // from half's subnormals to its top, or beyond
        const Matrix k = random_matrix(t, tokens, width, 1e-7f, top), v = random_matrix(t, tokens, width, 1e-7f, top);
        Cache after = cache;
        after.positions = first + tokens;
        after.k.insert(after.k.end(), k.values.begin(), k.values.end());
        after.v.insert(after.v.end(), v.values.begin(), v.values.end());
        std::vector<std::byte> want;
        for (int64_t i = 0; i < after.pages(); i++) {
          const std::vector<std::byte> page = after.page(i);
          want.insert(want.end(), page.begin(), page.end());
        }
        t.exact("pages of type " + std::to_string(static_cast<int>(type)),
                appended(rig, k, v, {&cache, 1}, {&tokens, 1}), want);
      }
    }
  }
}

void attention(Trial& t) {
  Rig rig(t);
  for (const AttentionShape& shape : kAttentions) {
    for (const KvType type : kKvTypes) {
      const Cache cache = random_cache(t, type, shape.kv_heads, shape.head_dim, shape.keys);
      const Matrix q = random_matrix(t, shape.tokens, shape.heads * shape.head_dim);
      const auto compare = [&](const std::string& label, bool causal, int64_t window) {
        if (!t.target.half_attention && cpu::attends_by_tiles(t.kernels, Arithmetic::kFast, causal) &&
            shape.tokens > kFewRows) {
          t.within(label + " on tiles", testing::attention(rig, q, cache, shape.heads, causal, window),
                   widened(attention_loops<double>(q, cache, shape.heads, causal)),
                   tiled_attention_bounds(q, cache, shape.heads));
          return;
        }
        if (attends_in_halves(t, type, shape.tokens)) {
          t.within(label + " in halves", testing::attention(rig, q, cache, shape.heads, causal, window),
                   widened(attention_loops<double>(q, cache, shape.heads, causal, window)),
                   half_attention_bounds(q, cache, shape.heads, causal, window));
          return;
        }
        t.near(label, testing::attention(rig, q, cache, shape.heads, causal, window),
               attention_loops<float>(q, cache, shape.heads, causal, window),
               attention_loops<double>(q, cache, shape.heads, causal, window));
      };
      compare("full", false, 0);
      compare("causal", true, 0);
      for (const int64_t window : kWindows) compare("causal with a window", true, window);
    }
  }
}

// With columns beyond the last position, and several sequences at once.
void attention_weights(Trial& t) {
  Rig rig(t);
  for (const AttentionShape& shape : kAttentions) {
    for (const KvType type : kKvTypes) {
      const Cache cache = random_cache(t, type, shape.kv_heads, shape.head_dim, shape.keys);
      const Matrix q = random_matrix(t, shape.tokens, shape.heads * shape.head_dim);
      const int64_t columns = shape.keys + t.random.below(3) * t.random.below(80);
      const auto compare = [&](const std::string& label, int64_t window) {
        t.near(label, testing::attention_weights(rig, q, cache, shape.heads, window, columns),
               attention_weights_loops<float>(q, cache, shape.heads, window, columns),
               attention_weights_loops<double>(q, cache, shape.heads, window, columns));
      };
      compare("causal", 0);
      for (const int64_t window : kWindows) compare("window", window);
    }
  }
  const std::vector<Cache> caches = {random_cache(t, KvType::kF16, 2, 20, 66), random_cache(t, KvType::kF16, 2, 20, 5),
                                     random_cache(t, KvType::kF16, 2, 20, 300)};
  const std::vector<int64_t> rows = {1, 0, 3};
  const Matrix q = random_matrix(t, 4, 4 * 20);
  Values alone;
  for (const auto& [n, first] : {std::pair<size_t, int64_t>{0, 0}, {2, 1}}) {
    const Matrix part{rows[n], q.cols, q.cols,
                      Values(q.values.begin() + first * q.cols, q.values.begin() + (first + rows[n]) * q.cols)};
    const Values own = testing::attention_weights(rig, part, caches[n], 4, 40, 301);
    alone.insert(alone.end(), own.begin(), own.end());
  }
  t.exact("sequences of a batch", ragged_weights(rig, q, caches, rows, 4, 40, 301), alone);
}

}  // namespace op_case

// ---- broken contracts

// call() must throw kInternal before it touches anything: all pointers are null.
void refused(Trial& t, const std::string& label, const std::function<void(const OpTable&, Stream&)>& call) {
  const std::shared_ptr<Backend> backend = t.target.backend(1);
  bool thrown = false;
  try {
    call(backend->ops(), backend->stream());
  } catch (const Error& error) {
    thrown = error.code() == ErrorCode::kInternal;
  }
  t.exact(label + " is refused", std::vector<int>{thrown}, {1});
}

Activations shaped(int64_t rows, int64_t cols) { return {nullptr, rows, cols}; }
Weight weighing(int64_t rows, int64_t cols) { return {nullptr, DType::F32, rows, cols}; }
// Not null, and never read.
Vector somewhere(int64_t length) {
  static float values[8];
  return {DeviceAddress::of(values), length};
}

namespace op_contract {

void embed_rows(Trial& t) {
  refused(t, "a width other than the table's",
          [&](const OpTable& ops, Stream& s) { ops.embed_rows(s, {nullptr, weighing(4, 8), shaped(0, 7)}); });
}
void mean_rows(Trial& t) {
  refused(t, "pictures of no rows",
          [](const OpTable& ops, Stream& s) { ops.mean_rows(s, {shaped(0, 3), 0, shaped(2, 3)}); });
  refused(t, "rows that do not divide",
          [](const OpTable& ops, Stream& s) { ops.mean_rows(s, {shaped(5, 3), 2, shaped(2, 3)}); });
  refused(t, "another width", [](const OpTable& ops, Stream& s) { ops.mean_rows(s, {shaped(4, 3), 2, shaped(2, 4)}); });
}
void top_k(Trial& t) {
  const auto call = [&](const std::string& label, int64_t columns, int64_t k) {
    refused(t, label, [&](const OpTable& ops, Stream& s) {
      ops.top_k(s, {.x = shaped(1, 4), .columns = columns, .k = k, .ids = nullptr, .values = nullptr});
    });
  };
  call("none of a row", 4, 0);
  call("more than there are", 3, 4);
  call("columns beyond the row", 5, 1);
}
void copy_rows(Trial& t) {
  refused(t, "another height", [](const OpTable& ops, Stream& s) { ops.copy_rows(s, {shaped(2, 3), shaped(3, 3)}); });
  refused(t, "another width", [](const OpTable& ops, Stream& s) { ops.copy_rows(s, {shaped(2, 3), shaped(2, 4)}); });
}
void patch_embed(Trial& t) {
  const auto call = [&](Weight weight, Vector classes, ConstActivations positions, Activations y, Vector bias = {},
                        int64_t pictures = 1) {
    return [=](const OpTable& ops, Stream& s) {
      ops.patch_embed(s, {nullptr, pictures, 4, 2, weight, bias, classes, positions, Arithmetic::kFast, y});
    };
  };
  const Vector classes = somewhere(8), none{};
  refused(t, "no room for the class row", call(weighing(8, 12), classes, shaped(5, 8), shaped(4, 8)));
  refused(t, "room for a class row that is not there", call(weighing(8, 12), none, shaped(4, 8), shaped(5, 8)));
  refused(t, "room for another number of pictures",
          call(weighing(8, 12), classes, shaped(5, 8), shaped(5, 8), none, 2));
  refused(t, "no picture", call(weighing(8, 12), classes, shaped(5, 8), shaped(0, 8), none, 0));
  refused(t, "positions of another height", call(weighing(8, 12), classes, shaped(4, 8), shaped(5, 8)));
  refused(t, "positions of another width", call(weighing(8, 12), classes, shaped(5, 7), shaped(5, 8)));
  refused(t, "a weight of another patch", call(weighing(8, 27), classes, shaped(5, 8), shaped(5, 8)));
  refused(t, "a weight of another width", call(weighing(7, 12), classes, shaped(5, 8), shaped(5, 8)));
  refused(t, "a bias of another length", call(weighing(8, 12), classes, shaped(5, 8), shaped(5, 8), somewhere(7)));
  refused(t, "a class embedding of another length", call(weighing(8, 12), somewhere(7), shaped(5, 8), shaped(5, 8)));
}
void layer_norm(Trial& t) {
  const auto call = [](Activations y, int64_t weight, int64_t bias) {
    return [=](const OpTable& ops, Stream& s) {
      ops.layer_norm(s, {shaped(2, 3), {nullptr, weight}, {nullptr, bias}, 0, y});
    };
  };
  refused(t, "another height", call(shaped(3, 3), 3, 3));
  refused(t, "another width", call(shaped(2, 4), 3, 3));
  refused(t, "a weight of another length", call(shaped(2, 3), 4, 3));
  refused(t, "a bias of another length", call(shaped(2, 3), 3, 4));
}
void rms_norm(Trial& t) {
  const auto call = [](Activations y, int64_t weight) {
    return [=](const OpTable& ops, Stream& s) { ops.rms_norm(s, {shaped(2, 3), {nullptr, weight}, 0, y}); };
  };
  refused(t, "another height", call(shaped(3, 3), 3));
  refused(t, "another width", call(shaped(2, 4), 3));
  refused(t, "a weight of another length", call(shaped(2, 3), 4));
}
void linear(Trial& t) {
  const Device<const float> x = somewhere(8).data;
  const auto call = [&](int outputs, Weight weight, ConstActivations residual, Activations y, Vector bias = {}) {
    return [=](const OpTable& ops, Stream& s) {
      ops.linear(s, {.x = ConstActivations(x, 2, 4),
                     .outputs = outputs,
                     .output = {{.weight = weight, .bias = bias, .residual = residual, .y = y}}});
    };
  };
  refused(t, "no output", call(0, weighing(3, 4), {}, shaped(2, 3)));
  refused(t, "a fourth output", call(4, weighing(3, 4), {}, shaped(2, 3)));
  refused(t, "a weight of another depth", call(1, weighing(3, 5), {}, shaped(2, 3)));
  refused(t, "an output of another height", call(1, weighing(3, 4), {}, shaped(1, 3)));
  refused(t, "an output of another width", call(1, weighing(3, 4), {}, shaped(2, 4)));
  refused(t, "a bias of another length", call(1, weighing(3, 4), {}, shaped(2, 3), somewhere(4)));
  refused(t, "a residual of another shape", call(1, weighing(3, 4), ConstActivations(x, 2, 2), shaped(2, 3)));
  refused(
      t, "y in place of x",
      call(1, weighing(4, 4), {}, Activations(DeviceAddress::of(const_cast<float*>(DeviceAddress::pointer(x))), 2, 4)));
}
void activate(Trial& t) {
  refused(t, "another height",
          [](const OpTable& ops, Stream& s) { ops.activate(s, {shaped(2, 3), Activation::kGelu, shaped(3, 3)}); });
  refused(t, "another width",
          [](const OpTable& ops, Stream& s) { ops.activate(s, {shaped(2, 3), Activation::kGelu, shaped(2, 4)}); });
  refused(t, "no activation",
          [](const OpTable& ops, Stream& s) { ops.activate(s, {shaped(2, 3), Activation::kNone, shaped(2, 3)}); });
}
void silu_mul(Trial& t) {
  refused(t, "a gate of another height",
          [](const OpTable& ops, Stream& s) { ops.silu_mul(s, {shaped(3, 3), shaped(2, 3), shaped(2, 3)}); });
  refused(t, "a gate of another width",
          [](const OpTable& ops, Stream& s) { ops.silu_mul(s, {shaped(2, 4), shaped(2, 3), shaped(2, 3)}); });
  refused(t, "an up of another height",
          [](const OpTable& ops, Stream& s) { ops.silu_mul(s, {shaped(2, 3), shaped(3, 3), shaped(2, 3)}); });
  refused(t, "an up of another width",
          [](const OpTable& ops, Stream& s) { ops.silu_mul(s, {shaped(2, 3), shaped(2, 4), shaped(2, 3)}); });
}
void add_rows(Trial& t) {
  refused(t, "a of another height",
          [](const OpTable& ops, Stream& s) { ops.add_rows(s, {shaped(3, 3), shaped(2, 3), shaped(2, 3)}); });
  refused(t, "a of another width",
          [](const OpTable& ops, Stream& s) { ops.add_rows(s, {shaped(2, 4), shaped(2, 3), shaped(2, 3)}); });
  refused(t, "b of another height",
          [](const OpTable& ops, Stream& s) { ops.add_rows(s, {shaped(2, 3), shaped(3, 3), shaped(2, 3)}); });
  refused(t, "b of another width",
          [](const OpTable& ops, Stream& s) { ops.add_rows(s, {shaped(2, 3), shaped(2, 4), shaped(2, 3)}); });
}
void rope(Trial& t) {
  const auto call = [](int64_t head_dim, Activations cos, Activations sin) {
    return [=](const OpTable& ops, Stream& s) { ops.rope(s, {shaped(2, 8), cos, sin, head_dim, RopeLayout::kHalf}); };
  };
  refused(t, "an odd head", call(1, shaped(2, 0), shaped(2, 0)));
  refused(t, "part of a head", call(6, shaped(2, 3), shaped(2, 3)));
  refused(t, "cosines of another height", call(4, shaped(3, 2), shaped(2, 2)));
  refused(t, "cosines of another width", call(4, shaped(2, 4), shaped(2, 2)));
  refused(t, "sines of another height", call(4, shaped(2, 2), shaped(3, 2)));
  refused(t, "sines of another width", call(4, shaped(2, 2), shaped(2, 4)));
}
void rope_angles(Trial& t) {
  const auto call = [](int64_t frequencies, Activations cos, Activations sin) {
    return [=](const OpTable& ops, Stream& s) { ops.rope_angles(s, {nullptr, {nullptr, frequencies}, cos, sin}); };
  };
  refused(t, "another number of frequencies", call(3, shaped(2, 4), shaped(2, 4)));
  refused(t, "sines of another height", call(4, shaped(2, 4), shaped(3, 4)));
  refused(t, "sines of another width", call(4, shaped(2, 4), shaped(2, 3)));
}
const DeviceBytes kNoPages[2] = {};
void kv_append(Trial& t) {
  const auto call = [](Activations k, Activations v, int64_t rows, int64_t end, size_t pages = 1) {
    return [=](const OpTable& ops, Stream& s) {
      const KvSequence sequence{std::span(kNoPages).first(pages), rows, end};
      ops.kv_append(s, {k, v, {{2, 4, KvType::kF16}, 0, {&sequence, 1}}});
    };
  };
  refused(t, "keys of another width", call(shaped(2, 4), shaped(2, 4), 2, 2));
  refused(t, "values of another width", call(shaped(2, 8), shaped(2, 4), 2, 2));
  refused(t, "values of another height", call(shaped(2, 8), shaped(3, 8), 2, 2));
  refused(t, "rows that belong to no sequence", call(shaped(2, 8), shaped(2, 8), 1, 2));
  refused(t, "rows before the first position", call(shaped(2, 8), shaped(2, 8), 2, 1));
  refused(t, "positions without a page", call(shaped(2, 8), shaped(2, 8), 2, 65));
}
void attention(Trial& t) {
  const auto call = [&](Activations q, int64_t heads, int64_t rows, int64_t end, bool causal, Activations y,
                        int64_t window = 0, size_t pages = 1) {
    return [=](const OpTable& ops, Stream& s) {
      const KvSequence sequence{std::span(kNoPages).first(pages), rows, end};
      ops.attention(s, {q, {{2, 4, KvType::kF16}, 0, {&sequence, 1}}, heads, causal, y, window});
    };
  };
  refused(t, "heads that do not share evenly", call(shaped(2, 12), 3, 2, 2, true, shaped(2, 12)));
  refused(t, "queries of another width", call(shaped(2, 12), 4, 2, 2, true, shaped(2, 12)));
  refused(t, "an output of another height", call(shaped(2, 16), 4, 2, 2, true, shaped(3, 16)));
  refused(t, "no key", call(shaped(0, 16), 4, 0, 0, false, shaped(0, 16)));
  refused(t, "fewer keys than causal rows", call(shaped(2, 16), 4, 2, 1, true, shaped(2, 16)));
  refused(t, "rows that belong to no sequence", call(shaped(2, 16), 4, 1, 2, true, shaped(2, 16)));
  refused(t, "keys without a page", call(shaped(2, 16), 4, 2, 65, true, shaped(2, 16)));
  refused(t, "a window without causality", call(shaped(2, 16), 4, 2, 2, false, shaped(2, 16), 1));
  refused(t, "a negative window", call(shaped(2, 16), 4, 2, 2, true, shaped(2, 16), -1));
}
void attention_weights(Trial& t) {
  const auto call = [&](Activations q, int64_t heads, int64_t rows, int64_t end, Activations y, int64_t window = 0) {
    return [=](const OpTable& ops, Stream& s) {
      const KvSequence sequence{std::span(kNoPages).first(1), rows, end};
      ops.attention_weights(s, {q, {{2, 4, KvType::kF16}, 0, {&sequence, 1}}, heads, y, window});
    };
  };
  refused(t, "heads that do not share evenly", call(shaped(2, 12), 3, 2, 2, shaped(6, 2)));
  refused(t, "queries of another width", call(shaped(2, 12), 4, 2, 2, shaped(8, 2)));
  refused(t, "an output without a row for each head", call(shaped(2, 16), 4, 2, 2, shaped(2, 2)));
  refused(t, "an output without a column for each position", call(shaped(2, 16), 4, 2, 3, shaped(8, 2)));
  refused(t, "fewer keys than rows", call(shaped(2, 16), 4, 2, 1, shaped(8, 2)));
  refused(t, "rows that belong to no sequence", call(shaped(2, 16), 4, 1, 2, shaped(8, 2)));
  refused(t, "keys without a page", call(shaped(2, 16), 4, 2, 65, shaped(8, 65)));
  refused(t, "a negative window", call(shaped(2, 16), 4, 2, 2, shaped(8, 2), -1));
}

}  // namespace op_contract

// ---- properties

void linear_epilogue(Trial& t) {
  constexpr LinearShape kShapes[] = {{1, 64}, {5, 31}, {13, 64}};
  Rig rig(t);
  for_each_linear([&](DType dtype, Arithmetic arithmetic, int64_t K) {
    for (const auto& [M, N] : kShapes) {
      const auto activation = static_cast<Activation>(t.random.below(4));
      Product p{random_weight(t, dtype, N, K), t.random.values(N), activation};
      compare_linear(t, rig, "bias and activation", random_matrix(t, M, K), p, arithmetic);
      p.residual = t.random.values(M * N);
      compare_linear(t, rig, "bias, activation and residual", random_matrix(t, M, K), p, arithmetic);
      compare_linear(t, rig, "bias, activation and the residual in y", random_matrix(t, M, K), p, arithmetic, true);
      p.bias.clear();
      compare_linear(t, rig, "activation and the residual in y", random_matrix(t, M, K), p, arithmetic, true);
      p.scale = -0.3f;
      compare_linear(t, rig, "scale, activation and the residual in y", random_matrix(t, M, K), p, arithmetic, true);
      p.bias = t.random.values(N);
      compare_linear(t, rig, "scale, bias, activation and residual", random_matrix(t, M, K), p, arithmetic);
    }
  });
}

void linear_outputs(Trial& t) {
  Rig rig(t);
  constexpr int64_t K = kSuperBlock;
  for (const int outputs : {2, 3}) {
    for (const int64_t M : {1, 2, 5, 13}) {
      for (int rotation = 0; rotation < kDTypeCount; rotation++) {
        const Matrix x = random_matrix(t, M, K);
        const In<float> xs(rig, x.strided());
        std::vector<Product> products;
        std::vector<std::unique_ptr<In<std::byte>>> weights;
        std::vector<Matrix> shapes;
        Values apart;
        for (int i = 0; i < outputs; i++) {
          const int64_t N = 17 + 31 * i;
          products.push_back({random_weight(t, static_cast<DType>((rotation + 4 * i) % kDTypeCount), N, K), {}});
          weights.push_back(std::make_unique<In<std::byte>>(rig, products.back().weight.bytes, t.random.below(4)));
          shapes.push_back(unwritten_matrix(t, M, N));
          const Values single = linear(t, rig, x, products.back(), Arithmetic::kFast);
          apart.insert(apart.end(), single.begin(), single.end());
        }
        const Values together = rig.run([&](const OpTable& ops, Stream& s) {
          LinearArgs args{.x = view(x, xs), .outputs = outputs};
          std::vector<std::unique_ptr<Out<float>>> y;
          for (int i = 0; i < outputs; i++) {
            y.push_back(std::make_unique<Out<float>>(rig, shapes[at(i)].strided()));
            args.output[i].weight = view(products[at(i)].weight, *weights[at(i)]);
            args.output[i].y = view(shapes[at(i)], *y.back());
          }
          ops.linear(s, args);
          Values out;
          for (int i = 0; i < outputs; i++) {
            const Values dense = rows_of(y[at(i)]->values(), M, shapes[at(i)].cols, shapes[at(i)].stride);
            out.insert(out.end(), dense.begin(), dense.end());
          }
          return out;
        });
        t.exact("outputs computed together", together, apart);
      }
    }
  }
}

// Rows [first, first + count) of the product, computed without the others.
Values linear_rows(Trial& t, Rig& rig, const Matrix& x, const Product& p, Arithmetic arithmetic, int64_t first,
                   int64_t count) {
  const Matrix part{count, x.cols, x.cols,
                    Values(x.values.begin() + first * x.cols, x.values.begin() + (first + count) * x.cols)};
  return linear(t, rig, part, p, arithmetic);
}

// Values far above all others: `count(row)` of each row, the first two in one block and in the same columns of every
// row, the others anywhere. All are outliers, up to kMostOutliers of a row, as each is twice the one before it.
template <class Count>
std::vector<bool> plant_outliers(Trial& t, Matrix& x, const Count& count) {
  std::vector<bool> planted(x.values.size());
  for (int64_t m = 0; m < x.rows; m++) {
    float value = 64;
    for (int64_t i = 0; i < count(m); i++, value *= -2) {
      const int64_t k = i < 2 ? x.cols / 2 + 3 * i : t.random.below(x.cols / kBlock) * kBlock + i;
      x.values[at(m * x.cols + k)] = value;
      planted[at(m * x.cols + k)] = true;
    }
  }
  return planted;
}

// parts: how many rows are computed at a time.
void row_split(Trial& t, std::span<const DType> dtypes, Arithmetic arithmetic, int64_t M,
               std::span<const int64_t> parts) {
  Rig rig(t);
  constexpr int64_t N = 49;
  for (const DType dtype : dtypes) {
    // more than the ops take at once, and no whole vectors
    const int64_t K = 3 * kSuperBlock + (traits(dtype).quantised() ? 0 : 13);
    Matrix x = random_matrix(t, M, K);
    if (traits(dtype).quantised()) plant_outliers(t, x, [](int64_t m) { return m % (cpu::kMostOutliers + 2); });
    const Product p{random_weight(t, dtype, N, K), t.random.values(N), Activation::kQuickGelu};
    const Values together = linear(t, rig, x, p, arithmetic);
    for (const int64_t part : parts) {
      Values split;
      for (int64_t first = 0; first < M; first += part) {
        const Values rows = linear_rows(t, rig, x, p, arithmetic, first, std::min(part, M - first));
        split.insert(split.end(), rows.begin(), rows.end());
      }
      t.exact(label_of(dtype, arithmetic) + ", " + std::to_string(part) + " rows at a time", split, together);
    }
  }
}

void quantised_rows_alone(Trial& t) {
  const bool counts = t.kernels.bf16 == Bf16::kTiles;  // few and many rows are multiplied differently
  row_split(t, kQuantisedTypes, Arithmetic::kFast, counts ? kFewRows : 60, std::vector<int64_t>{1, 2, 3, 5, 20});
}
void many_rows_apart(Trial& t) {
  row_split(t, kFloatTypes, Arithmetic::kFast, 3 * (kFewRows + 1), std::vector<int64_t>{kFewRows + 1});
  row_split(t, kQuantisedTypes, Arithmetic::kFast, 3 * (kFewRows + 1), std::vector<int64_t>{kFewRows + 1});
}
void float_rows_alone(Trial& t) {
  row_split(t, kFloatTypes, Arithmetic::kExact, 60, std::vector<int64_t>{1, 2, 3, 4, 5, 20});
  row_split(t, kQuantisedTypes, Arithmetic::kExact, 60, std::vector<int64_t>{1, 2, 3, 5, 20});
}
// As many as args.h promises.
void float_few_rows_alone(Trial& t) {
  row_split(t, kFloatTypes, Arithmetic::kFast, kFewRows, std::vector<int64_t>{1, 2, 3, 4, 5, 20});
}

// More slabs than one, more outliers in some rows than are taken out.
void linear_outliers(Trial& t) {
  Rig rig(t);
  for (const DType dtype : kQuantisedTypes) {
    for (const int64_t M : {1, 2, 5, 64, 700}) {
      if (M == 700 && dtype != DType::Q4_1 && dtype != DType::Q6_K) continue;  // tall products take most of the time
      Matrix x = random_matrix(t, M, 768);
      plant_outliers(t, x, [](int64_t m) { return (m + cpu::kMostOutliers + 1) % (cpu::kMostOutliers + 2); });
      const Product p{random_weight(t, dtype, M == 700 ? 33 : 67, 768), {}};
      compare_linear(t, rig, label_of(dtype, Arithmetic::kFast), x, p, Arithmetic::kFast);
    }
  }
}

// Each activation is off by at most half a step of its block (and the three roundings of the quantisation: 127 * 3 *
// 2^-24 steps), and a step is below 2 max|block| / 127, the outliers not counted, so
//   |y - x Wᵀ| <= sum |w| step (1/2 + 127 * 3 * 2^-24) + the float sum of K / 32 blocks and of the outliers, whose
//   values and weights are rounded too.
void quantised_linear_error(Trial& t, bool outliers) {
  Rig rig(t);
  for (const DType dtype : kQuantisedTypes) {
    for (const int64_t M : {1, 13}) {
      constexpr int64_t K = 768, N = 33;
      Matrix x = random_matrix(t, M, K);
      const auto count = [&](int64_t m) { return outliers ? cpu::kMostOutliers - m % 2 : 0; };
      const std::vector<bool> planted = plant_outliers(t, x, count);
      const Product p{random_weight(t, dtype, N, K), {}};
      std::vector<double> truth, bound;
      for (int64_t m = 0; m < M; m++) {
        for (int64_t n = 0; n < N; n++) {
          double sum = 0, allowed = 0;
          for (int64_t b = 0; b < K; b += kBlock) {
            double largest = 0, rest = 0, weights = 0;
            for (int64_t k = b; k < b + kBlock; k++) {
              const double magnitude = std::fabs(static_cast<double>(x(m, k)));
              sum += p.weight.values[at(n * K + k)] * static_cast<double>(x(m, k));
              weights += std::fabs(p.weight.values[at(n * K + k)]);
              largest = std::fmax(largest, magnitude);
              if (!planted[at(m * K + k)]) rest = std::fmax(rest, magnitude);
            }
            constexpr double kSums = K / kBlock + 2 + 3 * cpu::kMostOutliers;
            allowed += weights * (rest * (0.5 + 127 * 3 * 0x1p-24) * 2 / 127 + largest * kSums * 0x1p-24);
          }
          truth.push_back(sum);
          bound.push_back(allowed);
        }
      }
      t.within(std::string(traits(dtype).name), linear(t, rig, x, p, Arithmetic::kFast), truth, bound);
    }
  }
}

void attention_rows_alone(Trial& t) {
  Rig rig(t);
  for (const AttentionShape& shape : kAttentions) {
    for (const KvType type : kKvTypes) {
      const Cache cache = random_cache(t, type, shape.kv_heads, shape.head_dim, shape.keys);
      const Matrix q = random_matrix(t, shape.tokens, shape.heads * shape.head_dim);
      for (const int64_t window : {0, 5, 64}) {
        const Values together = attention(rig, q, cache, shape.heads, true, window);
        const auto alone = [&](const std::string& label, int64_t first, int64_t rows) {
          Cache seen = cache;  // as it was when these tokens were the last
          seen.positions = shape.keys - shape.tokens + first + rows;
          const Matrix some{rows, q.cols, q.cols,
                            Values(q.values.begin() + first * q.cols, q.values.begin() + (first + rows) * q.cols)};
          t.exact(label, attention(rig, some, seen, shape.heads, true, window),
                  Values(together.begin() + first * q.cols, together.begin() + (first + rows) * q.cols));
        };
        if (attends_in_halves(t, type, shape.tokens)) {
          for (const int64_t first : {int64_t{0}, int64_t{5}, shape.tokens - kFewRows - 1})
            alone("many of the rows of the block", first, std::min(kFewRows + 1, shape.tokens - first));
        } else {  // each of few, a sample of many
          const int64_t step = shape.tokens <= kFewRows ? 1 : window == 0 ? 3 : 7;
          for (int64_t row = shape.tokens - 1; row >= 0; row -= step) alone("a row of the block", row, 1);
        }
      }
    }
  }
}

// Sequences of all shapes in one batch, one of them without rows of its own.
void ragged_batches(Trial& t) {
  Rig rig(t);
  constexpr int64_t kHeads = 6, kKvHeads = 2, kDim = 20, kWidth = kKvHeads * kDim;
  const std::vector<int64_t> past = {0, 63, 130, 5, 64}, rows = {70, 1, 3, 0, 66};
  const int64_t total = 140;
  for (const KvType type : kKvTypes) {
    const Matrix q = random_matrix(t, total, kHeads * kDim), k = random_matrix(t, total, kWidth),
                 v = random_matrix(t, total, kWidth);
    std::vector<Cache> before, after;
    for (size_t n = 0; n < past.size(); n++) {
      before.push_back(random_cache(t, type, kKvHeads, kDim, past[n]));
      after.push_back(random_cache(t, type, kKvHeads, kDim, past[n] + rows[n]));
    }
    const auto part = [&](const Matrix& m, int64_t first, int64_t count) {
      return Matrix{count, m.cols, m.cols,
                    Values(m.values.begin() + first * m.cols, m.values.begin() + (first + count) * m.cols)};
    };
    std::vector<std::byte> pages;
    std::map<int64_t, Values> attended;  // by window
    for (size_t n = 0, first = 0; n < past.size(); first += at(rows[n++])) {
      const auto begin = static_cast<int64_t>(first);
      const std::vector<std::byte> own =
          appended(rig, part(k, begin, rows[n]), part(v, begin, rows[n]), {&before[n], 1}, {&rows[n], 1});
      pages.insert(pages.end(), own.begin(), own.end());
      for (const int64_t window : {0, 40}) {
        const Values alone = attention(rig, part(q, begin, rows[n]), after[n], kHeads, true, window);
        attended[window].insert(attended[window].end(), alone.begin(), alone.end());
      }
    }
    t.exact("pages", appended(rig, k, v, before, rows), pages);
    for (const auto& [window, alone] : attended)
      t.exact("rows of attention", ragged_attention(rig, q, after, rows, kHeads, true, window), alone);
  }
}

// The largest step between two codes of a cached block, and what a value can be off by: half a step, and the roundings
// of the quotient.
double cached_error(std::span<const float> values) {
  double largest = 0;
  for (size_t first = 0; first < values.size(); first += kKvBlock) {
    const float top = largest_magnitude(values.subspan(first, std::min<size_t>(kKvBlock, values.size() - first)));
    largest = std::fmax(largest, half_value(CachedBlock(std::span(&top, 1)).scale));
  }
  return largest * (0.5 + 127 * 3 * 0x1p-24);
}

// ---- NaN, infinities, and values that overflow on their way (args.h)

// None of them fits f16, the last one is a number for all else.
constexpr float kOdd[] = {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity(), FLT_MAX, -70000.0f};

std::string odd_label(const std::string& what, float odd) { return what + " with " + std::to_string(odd); }

bool all_not_finite(std::span<const float> values) {
  return std::none_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
}

// What a value that is not finite makes so, in its row of y.
enum class Spread : uint8_t { kValue, kRow, kSomewhere };

// One value of x is odd: no other row of y changes, and of its own what `spread` says. rows: of x that make one of y.
void stays_in_its_row(Trial& t, const std::string& label, const Matrix& x, Spread spread,
                      const std::function<Values(const Matrix&)>& run, int64_t rows = 1) {
  const Values plain = run(x);
  const int64_t width = static_cast<int64_t>(plain.size()) * rows / x.rows;
  for (const float odd : kOdd) {
    const int64_t row = t.random.below(x.rows), column = t.random.below(x.cols), own = row / rows * width;
    Matrix changed = x;
    changed.values[at(row * x.cols + column)] = odd;
    Values got = run(changed);
    const std::span<const float> of_row = std::span<const float>(got).subspan(at(own), at(width));
    const std::string name = odd_label(label, odd);
    if (!std::isfinite(odd)) {
      const bool somewhere = std::any_of(of_row.begin(), of_row.end(), [](float v) { return !std::isfinite(v); });
      t.require(spread == Spread::kRow     ? all_not_finite(of_row)
                : spread == Spread::kValue ? !std::isfinite(of_row[at(column)])
                                           : somewhere,
                name + ": its own row is not finite");
    }
    if (spread == Spread::kValue) {
      got[at(own + column)] = plain[at(own + column)];
    } else {
      std::copy_n(plain.begin() + own, width, got.begin() + own);
    }
    t.exact(name + ": all else", got, plain);
  }
}

// The same of an op y = f(x) with one matrix.
void one_matrix_stays(Trial& t, Rig& rig, const std::string& label, const Matrix& x, Spread spread,
                      const std::function<void(const OpTable&, Stream&, ConstActivations, Activations)>& call) {
  stays_in_its_row(t, label, x, spread, [&](const Matrix& changed) {
    const In<float> xs(rig, changed.strided());
    const Matrix before = unwritten_matrix(t, x.rows, x.cols);
    return rig.run([&](const OpTable& ops, Stream& s) {
      return written(rig, before, [&](Activations y) { call(ops, s, view(changed, xs), y); });
    });
  });
}

void rows_with_nan(Trial& t) {
  Rig rig(t);
  for (const int64_t rows : {2, 13}) {
    for (const int64_t cols : {15, 64, 100}) {
      const Matrix x = random_matrix(t, rows, cols), other = random_matrix(t, rows, cols);
      const In<float> others(rig, other.strided()), weight(rig, t.random.values(cols)),
          bias(rig, t.random.values(cols));
      one_matrix_stays(t, rig, "copy_rows", x, Spread::kValue,
                       [](const OpTable& ops, Stream& s, ConstActivations from, Activations y) {
                         ops.copy_rows(s, {.x = from, .y = y});
                       });
      one_matrix_stays(t, rig, "add_rows", x, Spread::kValue,
                       [&](const OpTable& ops, Stream& s, ConstActivations from, Activations y) {
                         ops.add_rows(s, {.a = view(other, others), .b = from, .y = y});
                       });
      one_matrix_stays(t, rig, "silu_mul of a gate", x, Spread::kValue,
                       [&](const OpTable& ops, Stream& s, ConstActivations from, Activations y) {
                         ops.silu_mul(s, {.gate = from, .up = view(other, others), .y = y});
                       });
      one_matrix_stays(t, rig, "silu_mul of an up", x, Spread::kValue,
                       [&](const OpTable& ops, Stream& s, ConstActivations from, Activations y) {
                         ops.silu_mul(s, {.gate = view(other, others), .up = from, .y = y});
                       });
      for (const Activation activation : {Activation::kQuickGelu, Activation::kGelu, Activation::kGeluTanh}) {
        one_matrix_stays(t, rig, "activate", x, Spread::kValue,
                         [&](const OpTable& ops, Stream& s, ConstActivations from, Activations y) {
                           ops.activate(s, {.x = from, .activation = activation, .y = y});
                         });
      }
      one_matrix_stays(t, rig, "rms_norm", x, Spread::kSomewhere,
                       [&](const OpTable& ops, Stream& s, ConstActivations from, Activations y) {
                         ops.rms_norm(s, {.x = from, .weight = weight.vector(), .eps = 1e-5f, .y = y});
                       });
      one_matrix_stays(t, rig, "layer_norm", x, Spread::kRow,
                       [&](const OpTable& ops, Stream& s, ConstActivations from, Activations y) {
                         ops.layer_norm(
                             s, {.x = from, .weight = weight.vector(), .bias = bias.vector(), .eps = 1e-5f, .y = y});
                       });
      stays_in_its_row(
          t, "mean_rows", random_matrix(t, 3 * rows, cols), Spread::kValue,
          [&](const Matrix& changed) {
            const In<float> xs(rig, changed.strided());
            const Matrix before = unwritten_matrix(t, 3, cols);
            return rig.run([&](const OpTable& ops, Stream& s) {
              return written(rig, before,
                             [&](Activations y) { ops.mean_rows(s, {.x = view(changed, xs), .rows = rows, .y = y}); });
            });
          },
          rows);
    }
    for (const RopeLayout layout : {RopeLayout::kHalf, RopeLayout::kInterleaved}) {
      const Angles angles = random_angles(t, rows * 17);
      stays_in_its_row(t, "rope", random_matrix(t, rows, 3 * 34), Spread::kSomewhere,
                       [&](const Matrix& changed) { return rope(rig, changed, angles, 34, layout); });
    }
  }
}

// NaN makes a row NaN; an infinity, or squares that overflow, leave zeros.
void norms_that_overflow(Trial& t) {
  Rig rig(t);
  for (const int64_t cols : {15, 64, 100}) {
    const Values weights = t.random.values(cols, 1.0f, 2.0f), biases = t.random.values(cols);
    const In<float> weight(rig, weights), bias(rig, biases);
    for (const float odd : {kOdd[0], kOdd[1], kOdd[2], 1e30f}) {
      Matrix x = random_matrix(t, 1, cols);
      const int64_t column = t.random.below(cols);
      x.values[at(column)] = odd;
      const In<float> xs(rig, x.strided());
      const auto run = [&](bool rms) {
        const Matrix before = unwritten_matrix(t, 1, cols);
        return rig.run([&](const OpTable& ops, Stream& s) {
          return written(rig, before, [&](Activations y) {
            if (rms)
              ops.rms_norm(s, {.x = view(x, xs), .weight = weight.vector(), .eps = 1e-5f, .y = y});
            else
              ops.layer_norm(s, {view(x, xs), weight.vector(), bias.vector(), 1e-5f, y});
          });
        });
      };
      Values rms = run(true);
      const Values layer = run(false);
      if (std::isnan(odd)) {
        t.require(all_not_finite(rms), odd_label("rms_norm", odd));
      } else {
        t.require(std::isfinite(odd) || std::isnan(rms[at(column)]), odd_label("rms_norm, the value", odd));
        if (!std::isfinite(odd)) rms[at(column)] = 0;
        t.exact(odd_label("rms_norm, the others", odd), unsigned_zeros(rms), Values(at(cols), 0.0f));
      }
      if (std::isfinite(odd)) t.exact(odd_label("layer_norm", odd), unsigned_zeros(layer), unsigned_zeros(biases));
    }
  }
}

void linear_with_nan(Trial& t) {
  Rig rig(t);
  constexpr int64_t K = kSuperBlock, N = 33;
  std::vector<DType> dtypes(std::begin(kFloatTypes), std::end(kFloatTypes));
  dtypes.insert(dtypes.end(), std::begin(kQuantisedTypes), std::end(kQuantisedTypes));
  for (const DType dtype : dtypes) {
    for (const Arithmetic arithmetic : {Arithmetic::kFast, Arithmetic::kExact}) {
      for (const int64_t M : {2, 5, 50}) {
        const Product p{random_weight(t, dtype, N, K), t.random.values(N), static_cast<Activation>(t.random.below(4))};
        const std::string label = label_of(dtype, arithmetic) + ", " + std::to_string(M) + " rows";
        stays_in_its_row(t, label, random_matrix(t, M, K), Spread::kRow,
                         [&](const Matrix& x) { return linear(t, rig, x, p, arithmetic); });
      }
    }
  }
}

// A factor of one row of weights is NaN: its column of y is, and no other.
void linear_with_nan_weights(Trial& t) {
  Rig rig(t);
  constexpr int64_t K = kSuperBlock, N = 67;
  for (int type = 0; type < kDTypeCount; type++) {
    const auto dtype = static_cast<DType>(type);
    for (const Arithmetic arithmetic : {Arithmetic::kFast, Arithmetic::kExact}) {
      for (const int64_t M : {1, 5, 50}) {
        Matrix x = random_matrix(t, M, K);
        if (traits(dtype).quantised()) plant_outliers(t, x, [](int64_t m) { return m % (cpu::kMostOutliers + 2); });
        Product p{random_weight(t, dtype, N, K), {}};
        const Values plain = linear(t, rig, x, p, arithmetic);
        const int64_t column = t.random.below(N), row = p.weight.bytes.size() / at(N) * at(column);
        std::fill_n(p.weight.bytes.begin() + row, static_cast<int64_t>(p.weight.bytes.size()) / N, std::byte{0xFF});
        Values got = linear(t, rig, x, p, arithmetic);
        for (int64_t m = 0; m < M; m++) {
          t.require(!std::isfinite(got[at(m * N + column)]), label_of(dtype, arithmetic) + ": the column of the row");
          got[at(m * N + column)] = plain[at(m * N + column)];
        }
        t.exact(label_of(dtype, arithmetic) + ": all other columns", got, plain);
      }
    }
  }
}

void patches_with_nan(Trial& t) {
  Rig rig(t);
  constexpr int64_t kSize = 29, kPatch = 7, kGrid = kSize / kPatch, kWidth = 17, kRows = 1 + kGrid * kGrid;
  for (const DType dtype : kFloatTypes) {
    const RandomWeight weight = random_weight(t, dtype, kWidth, 3 * kPatch * kPatch);
    const In<std::byte> w(rig, weight.bytes, 0);
    const Matrix positions = random_matrix(t, kRows, kWidth);
    const In<float> position(rig, positions.strided()), classes(rig, t.random.values(kWidth));
    const auto run = [&](const Values& pixels) {
      const In<float> pixel(rig, pixels);
      const Matrix before = unwritten_matrix(t, 3 * kRows, kWidth);
      return rig.run([&](const OpTable& ops, Stream& s) {
        return written(rig, before, [&](Activations y) {
          ops.patch_embed(s, {.pixel_values = pixel,
                              .pictures = 3,
                              .image_size = kSize,
                              .patch_size = kPatch,
                              .weight = view(weight, w),
                              .class_embedding = classes.vector(),
                              .position_embedding = view(positions, position),
                              .y = y});
        });
      });
    };
    const Values pixels = t.random.values(3 * 3 * kSize * kSize), plain = run(pixels);
    for (const float odd : kOdd) {
      const int64_t picture = t.random.below(3), channel = t.random.below(3), y = t.random.below(kSize),
                    x = t.random.below(kSize);
      Values changed = pixels;
      changed[at(((picture * 3 + channel) * kSize + y) * kSize + x)] = odd;
      Values got = run(changed);
      if (y < kGrid * kPatch && x < kGrid * kPatch) {
        const int64_t own = (picture * kRows + 1 + y / kPatch * kGrid + x / kPatch) * kWidth;
        const auto of_patch = std::span<const float>(got).subspan(at(own), kWidth);
        t.require(std::isfinite(odd) || all_not_finite(of_patch), odd_label("the row of the patch", odd));
        std::copy_n(plain.begin() + own, kWidth, got.begin() + own);
      }
      t.exact(odd_label("all other rows", odd), got, plain);
    }
  }
}

// New rows with odd values among them: their blocks are as CachedBlock has it, all others as ever.
void pages_with_nan(Trial& t) {
  Rig rig(t);
  for (const KvType type : kKvTypes) {
    for (const float odd : kOdd) {
      constexpr int64_t kHeads = 3, kDim = 36, kWidth = kHeads * kDim, kPast = 60, kTokens = 75;
      const Cache before = random_cache(t, type, kHeads, kDim, kPast);
      Matrix k = random_matrix(t, kTokens, kWidth), v = random_matrix(t, kTokens, kWidth);
      k.values[at(t.random.below(kTokens * kWidth))] = odd;
      v.values[at(t.random.below(kTokens * kWidth))] = odd;
      Cache after = before;
      after.positions = kPast + kTokens;
      after.k.insert(after.k.end(), k.values.begin(), k.values.end());
      after.v.insert(after.v.end(), v.values.begin(), v.values.end());
      std::vector<std::byte> want;
      for (int64_t i = 0; i < after.pages(); i++) {
        const std::vector<std::byte> page = after.page(i);
        want.insert(want.end(), page.begin(), page.end());
      }
      constexpr int64_t tokens = kTokens;
      t.exact(odd_label("pages of type " + std::to_string(static_cast<int>(type)), odd),
              appended(rig, k, v, {&before, 1}, {&tokens, 1}), want);
    }
  }
}

struct Sight {
  const AttentionShape& shape;
  bool causal;
  int64_t window;
  bool sees(int64_t row, int64_t position) const {
    if (!causal) return true;
    const int64_t own = shape.keys - shape.tokens + row;
    return position <= own && (window == 0 || position > own - window);
  }
};

// Heads of rows that may change by their own bits from before; all the others must not.
void unseen_stays(Trial& t, const std::string& label, Values got, const Values& plain, const AttentionShape& shape,
                  const std::function<bool(int64_t row, int64_t head)>& may_change) {
  for (int64_t row = 0; row < shape.tokens; row++) {
    for (int64_t head = 0; head < shape.heads; head++) {
      const int64_t from = (row * shape.heads + head) * shape.head_dim;
      if (may_change(row, head)) std::copy_n(plain.begin() + from, shape.head_dim, got.begin() + from);
    }
  }
  t.exact(label, got, plain);
}

// An odd query is seen by its row and head; an odd key or value by the rows that see its position, in the heads that
// read it: by none before, by none whose window has left it behind.
void attention_with_nan(Trial& t) {
  Rig rig(t);
  for (const AttentionShape& shape : kAttentions) {
    const int64_t dh = shape.head_dim, sharing = shape.heads / shape.kv_heads, width = shape.kv_heads * dh;
    for (const KvType type : kKvTypes) {
      const Cache cache = random_cache(t, type, shape.kv_heads, dh, shape.keys);
      const Matrix q = random_matrix(t, shape.tokens, shape.heads * dh);
      for (const Sight sight : {Sight{shape, false, 0}, {shape, true, 0}, {shape, true, 5}, {shape, true, 70}}) {
        const auto run = [&](const Matrix& queries, const Cache& keys) {
          return attention(rig, queries, keys, shape.heads, sight.causal, sight.window);
        };
        const Values plain = run(q, cache);
        const float odd = kOdd[t.random.below(std::size(kOdd))];
        const int64_t row = t.random.below(shape.tokens), head = t.random.below(shape.heads),
                      kv_head = t.random.below(shape.kv_heads), d = t.random.below(dh),
                      position = std::max<int64_t>(0, shape.keys - 1 - t.random.below(shape.tokens + 3));
        Matrix queries = q;
        queries.values[at(row * q.cols + head * dh + d)] = odd;
        unseen_stays(t, odd_label("a query", odd), run(queries, cache), plain, shape,
                     [&](int64_t r, int64_t h) { return r == row && h == head; });
        const auto reads = [&](int64_t r, int64_t h) { return h / sharing == kv_head && sight.sees(r, position); };
        Cache keys = cache, values = cache;
        keys.k[at(position * width + kv_head * dh + d)] = odd;
        values.v[at(position * width + kv_head * dh + d)] = odd;
        const Values of_keys = run(q, keys), of_values = run(q, values);
        unseen_stays(t, odd_label("a key", odd), of_keys, plain, shape, reads);
        unseen_stays(t, odd_label("a value", odd), of_values, plain, shape, reads);
        for (int64_t r = 0; r < shape.tokens; r++) {
          for (int64_t h = 0; h < shape.heads; h++) {
            if (!reads(r, h)) continue;
            const int64_t from = (r * shape.heads + h) * dh;
            t.require(!std::isnan(odd) || all_not_finite(std::span(of_keys).subspan(at(from), at(dh))),
                      "what sees a key of NaN is NaN");
            t.require(std::isfinite(odd) || !std::isfinite(of_values[at(from + d)]),
                      odd_label("what sees a value is not finite", odd));
          }
        }
      }
    }
  }
}

// An odd query or key is seen by the weights of its head in the rows that see it: NaN makes all of them NaN, and where
// a row does not see, its weight stays 0.
void attention_weights_with_nan(Trial& t) {
  Rig rig(t);
  for (const AttentionShape& shape : kAttentions) {
    const int64_t dh = shape.head_dim, sharing = shape.heads / shape.kv_heads, width = shape.kv_heads * dh;
    for (const KvType type : kKvTypes) {
      const Cache cache = random_cache(t, type, shape.kv_heads, dh, shape.keys);
      const Matrix q = random_matrix(t, shape.tokens, shape.heads * dh);
      for (const Sight sight : {Sight{shape, true, 0}, {shape, true, 5}, {shape, true, 70}}) {
        const auto run = [&](const Matrix& queries, const Cache& keys) {
          return attention_weights(rig, queries, keys, shape.heads, sight.window, shape.keys);
        };
        const Values plain = run(q, cache);
        const float odd = kOdd[t.random.below(std::size(kOdd))];
        const int64_t row = t.random.below(shape.tokens), head = t.random.below(shape.heads),
                      kv_head = t.random.below(shape.kv_heads), d = t.random.below(dh),
                      position = std::max<int64_t>(0, shape.keys - 1 - t.random.below(shape.tokens + 3));
        Matrix queries = q;
        queries.values[at(row * q.cols + head * dh + d)] = odd;
        Cache keys = cache;
        keys.k[at(position * width + kv_head * dh + d)] = odd;
        const auto hold = [&](const std::string& label, const Values& got, const auto& may_change) {
          for (int64_t r = 0; r < shape.tokens; r++) {
            for (int64_t h = 0; h < shape.heads; h++) {
              const int64_t from = (r * shape.heads + h) * shape.keys;
              for (int64_t p = 0; p < shape.keys; p++) {
                const float weight = got[at(from + p)];
                if (!sight.sees(r, p))
                  t.require(weight == 0, label + ": what is not seen has no weight");
                else if (may_change(r, h))
                  t.require(!std::isnan(odd) || std::isnan(weight), label + ": NaN makes all weights NaN");
                else
                  t.require(weight == plain[at(from + p)], label + ": other rows and heads stay as they are");
              }
            }
          }
        };
        hold(odd_label("a query", odd), run(queries, cache),
             [&](int64_t r, int64_t h) { return r == row && h == head; });
        hold(odd_label("a key", odd), run(q, keys),
             [&](int64_t r, int64_t h) { return h / sharing == kv_head && sight.sees(r, position); });
      }
    }
  }
}

// Of several sequences, one has odd keys, values and queries.
void batches_with_nan(Trial& t) {
  Rig rig(t);
  constexpr int64_t kHeads = 4, kKvHeads = 2, kDim = 20, kWidth = kKvHeads * kDim, kTotal = 48;
  const std::vector<int64_t> rows = {1, 40, 7}, positions = {66, 104, 7};
  for (const KvType type : kKvTypes) {
    for (const bool causal : {true, false}) {
      std::vector<Cache> caches;
      for (const int64_t length : positions) caches.push_back(random_cache(t, type, kKvHeads, kDim, length));
      Matrix q = random_matrix(t, kTotal, kHeads * kDim);
      const Values plain = ragged_attention(rig, q, caches, rows, kHeads, causal, 0);
      for (const float odd : kOdd) {
        std::vector<Cache> changed = caches;
        Matrix queries = q;
        std::fill_n(queries.values.begin() + q.cols, 40 * q.cols, odd);
        for (Values* of : {&changed[1].k, &changed[1].v}) std::fill_n(of->begin() + 30 * kWidth, 40 * kWidth, odd);
        Values got = ragged_attention(rig, queries, changed, rows, kHeads, causal, 0);
        std::copy_n(plain.begin() + q.cols, 40 * q.cols, got.begin() + q.cols);
        t.exact(odd_label("the other sequences", odd), got, plain);
      }
    }
  }
}

// A value that overflowed is seen from its own position on, and by no row before.
void attention_overflow(Trial& t) {
  Rig rig(t);
  for (const AttentionShape& shape : kAttentions) {
    for (const KvType type : {KvType::kF16, KvType::kF32}) {
      const Cache cache = random_cache(t, type, shape.kv_heads, shape.head_dim, shape.keys);
      const Matrix q = random_matrix(t, shape.tokens, shape.heads * shape.head_dim);
      Cache overflown = cache;
      const int64_t row = shape.tokens / 2, width = shape.kv_heads * shape.head_dim;
      const auto from = overflown.v.begin() + (shape.keys - shape.tokens + row) * width;
      std::fill_n(from, width, std::numeric_limits<float>::infinity());
      const Values got = attention(rig, q, overflown, shape.heads, true);
      const Values want = attention(rig, q, cache, shape.heads, true);
      const int64_t before = row * q.cols;
      t.exact("rows before", Values(got.begin(), got.begin() + before), Values(want.begin(), want.begin() + before));
    }
  }
}

// With keys off by dk and values by dv at most, a score is off by s <= |q|_1 dk / sqrt(Dh); a weight p, by the factor
// e^(+-2 s); so
//   |y' - y| <= (e^(2 s) - 1) max|v| + dv,  and the float sums over Dh and over the keys add their own rounding.
void cached_attention_error(Trial& t) {
  Rig rig(t);
  for (const AttentionShape& shape : kAttentions) {
    const int64_t dh = shape.head_dim, width = shape.kv_heads * dh, sharing = shape.heads / shape.kv_heads;
    Cache cache{KvType::kF32,
                shape.kv_heads,
                dh,
                shape.keys,
                t.random.values(shape.keys * width),
                t.random.values(shape.keys * width)};
    const Matrix q = random_matrix(t, shape.tokens, shape.heads * dh);
    const Values exact = attention_loops<double>(q, cache, shape.heads, true);
    struct Largest {
      double key = 0, value = 0, key_error = 0, value_error = 0;
    };
    std::vector<Largest> of_head(at(shape.kv_heads));
    for (int64_t head = 0; head < shape.keys * shape.kv_heads; head++) {
      const auto key = std::span<const float>(cache.k).subspan(at(head * dh), at(dh)),
                 value = std::span<const float>(cache.v).subspan(at(head * dh), at(dh));
      Largest& l = of_head[at(head % shape.kv_heads)];
      l = {std::fmax(l.key, static_cast<double>(largest_magnitude(key))),
           std::fmax(l.value, static_cast<double>(largest_magnitude(value))), std::fmax(l.key_error, cached_error(key)),
           std::fmax(l.value_error, cached_error(value))};
    }
    std::vector<double> truth(exact.begin(), exact.end()), bound;
    for (int64_t row = 0; row < shape.tokens; row++) {
      for (int64_t h = 0; h < shape.heads; h++) {
        const Largest& l = of_head[at(h / sharing)];
        double norm = 0;
        for (int64_t d = 0; d < dh; d++)
          norm += std::fabs(static_cast<double>(q(row, h * dh + d))) / std::sqrt(static_cast<double>(dh));
        const double factor = attends_in_halves(t, KvType::kQ8_0, shape.tokens) ? 2.125 * 0x1p-11 : 0;  // two roundings
        const double rounding = (static_cast<double>(dh + 8) * 0x1p-24 + factor) * norm * l.key,
                     sums = (static_cast<double>(shape.keys + 16) * 0x1p-24 + factor) * l.value;
        bound.insert(bound.end(), at(dh),
                     std::expm1(2 * (norm * l.key_error + rounding)) * l.value + l.value_error + sums);
      }
    }
    cache.type = KvType::kQ8_0;
    t.within("rows of attention", attention(rig, q, cache, shape.heads, true), truth, bound);
  }
}

// Scores far apart: all weight on one key, or spread over a range where e^x leaves float.
void attention_extremes(Trial& t) {
  Rig rig(t);
  for (const AttentionShape& shape : kAttentions) {
    const Cache cache = random_cache(t, KvType::kF32, shape.kv_heads, shape.head_dim, shape.keys);
    const Matrix q = random_matrix(t, shape.tokens, shape.heads * shape.head_dim, 10.0f, 1000.0f);
    t.near("peaked rows", attention(rig, q, cache, shape.heads, true),
           attention_loops<float>(q, cache, shape.heads, true), attention_loops<double>(q, cache, shape.heads, true),
           largest_magnitude(cache.v));
  }
}

void rope_layouts(Trial& t) {
  Rig rig(t);
  for (const int64_t head_dim : {2, 6, 16, 34, 64}) {
    const int64_t rows = 5, cols = 3 * head_dim, half = head_dim / 2;
    const Matrix x = random_matrix(t, rows, cols);
    const Angles angles = random_angles(t, rows * half);
    // value j of the first half goes to 2j, of the second to 2j + 1
    const auto interleaved = [&](const Values& values) {
      Values out(values.size());
      for (int64_t i = 0; i < rows * cols; i++)
        out[at(i - i % head_dim + i % head_dim % half * 2 + i % head_dim / half)] = values[at(i)];
      return out;
    };
    const Matrix permuted{rows, cols, x.stride, interleaved(x.values)};
    t.near("permuted heads", rope(rig, permuted, angles, head_dim, RopeLayout::kInterleaved),
           interleaved(rope_loops<float>(x, angles.cos, angles.sin, head_dim, RopeLayout::kHalf)),
           interleaved(rope_loops<double>(x, angles.cos, angles.sin, head_dim, RopeLayout::kHalf)));
    t.near("heads as they are", rope(rig, x, angles, head_dim, RopeLayout::kHalf),
           rope_loops<float>(x, angles.cos, angles.sin, head_dim, RopeLayout::kHalf),
           rope_loops<double>(x, angles.cos, angles.sin, head_dim, RopeLayout::kHalf));
  }
}

constexpr bool kFloats = true;

constexpr bool meets_floats_alone(std::string_view op) { return op != "linear"; }

}  // namespace

std::vector<Case> op_cases() {
  return {
#define OP(name, Args) \
  {"op " #name " does what plain loops do, on any number of threads", op_case::name, meets_floats_alone(#name)},
#include "ops/ops.def"
#undef OP
#define OP(name, Args) \
  {"op " #name " refuses arguments that break its contract", op_contract::name, meets_floats_alone(#name)},
#include "ops/ops.def"
#undef OP
      {"linear applies scale, bias, activation and residual in this order; the residual may stand in y",
       linear_epilogue},
      {"linear holds on both sides of every limit between its roads", op_case::linear_at_limits},
      {"ops of no rows write nothing", op_case::no_rows},
      {"linear computes two or three outputs together to the same bits as apart", linear_outputs},
      {"quantised linear gives a row the same bits alone and in any batch", quantised_rows_alone},
      {"linear of many rows gives each the same bits beside any others", many_rows_apart},
      {"float linear under exact arithmetic gives a row the same bits alone and in any batch", float_rows_alone,
       kFloats},
      {"float linear gives a row the same bits alone and beside a few others", float_few_rows_alone, kFloats},
      {"quantised linear multiplies values far above all others in float, each by its column of weights",
       linear_outliers},
      {"int8 arithmetic strays from the exact product by no more than half a step of each activation",
       [](Trial& t) { quantised_linear_error(t, false); }},
      {"a few values far above all others make no step coarser", [](Trial& t) { quantised_linear_error(t, true); }},
      {"attention gives a row the same bits alone and in a block, so decode equals prefill", attention_rows_alone,
       kFloats},
      {"kv_append and attention give each sequence of a batch the bits it has alone", ragged_batches, kFloats},
      {"attention lets no row see that a later position's values overflowed", attention_overflow, kFloats},
      {"NaN, infinities and overflow stay in their row: ops of one matrix", rows_with_nan, kFloats},
      {"NaN, infinities and overflow in a norm are what args.h says", norms_that_overflow, kFloats},
      {"NaN, infinities and overflow stay in their row: linear", linear_with_nan},
      {"NaN in a row of weights stays in its column: linear", linear_with_nan_weights},
      {"NaN, infinities and overflow stay in their patch: patch_embed", patches_with_nan, kFloats},
      {"NaN, infinities and overflow stay in their block: kv_append", pages_with_nan, kFloats},
      {"NaN, infinities and overflow are seen only by rows that see their position: attention", attention_with_nan,
       kFloats},
      {"NaN and infinities are seen only by rows that see their position: attention_weights",
       attention_weights_with_nan, kFloats},
      {"NaN, infinities and overflow stay in their sequence: attention of a batch", batches_with_nan, kFloats},
      {"attention over q8_0 keys and values strays from float32's by no more than half a step of each",
       cached_attention_error, kFloats},
      {"attention holds for scores far apart", attention_extremes, kFloats},
      {"rope of permuted heads in the interleaved layout equals rope in the half layout", rope_layouts, kFloats},
  };
}

}  // namespace llava::testing
