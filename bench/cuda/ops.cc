// Each op of the CUDA back end at LLaVA-1.5-7B's shapes, timed on the card that is there, on random data: a line of
// JSON each, beside the card's own peaks.
//   {"op": …, "shape": …, "microseconds": …, "rate": …, "unit": …, "roof": …, "share": …}
// The roof is the product peak (mma) or the read peak measured in the same run, whichever the op needs longer at.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "common/error.h"
#include "cuda/backend.h"
#include "cuda/device.h"
#include "testing/cuda_layers.h"

namespace {

using namespace llava;
using namespace llava::testing;

// Random numbers without a pattern in their bits (SplitMix64): a card's clock falls with the bits that change.
class Random {
 public:
  uint64_t next() {
    uint64_t z = state_ += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }

 private:
  uint64_t state_ = 1;
};

class Bench {
 public:
  explicit Bench(std::shared_ptr<Backend> backend)
      : backend_(std::move(backend)),
        ops_(backend_->ops()),
        stream_(backend_->stream()),
        product_peak_(backend_->measure_peak(PeakKind::kBf16).value * 1e9),
        read_peak_(backend_->measure_peak(PeakKind::kRead).value * 1e9) {
    std::printf("{\"card\": \"%s\", \"mma_tflops\": %.1f, \"read_gbps\": %.0f}\n", backend_->info().device.c_str(),
                product_peak_ / 1e12, read_peak_ / 1e9);
  }

  Activations rows(int64_t count, int64_t columns) {
    std::vector<float> values(static_cast<size_t>(count * columns));
    for (float& value : values)
      value = static_cast<float>(static_cast<int64_t>(random_.next() >> 40) - (1 << 23)) * 0x1p-23f;
    return {upload(values).template as<float>(), count, columns};
  }
  Vector vector(int64_t length) { return {rows(1, length).data, length}; }
  // Random bits are weights of every type; the scales of blocks, and floats' exponents, are made small numbers.
  Weight weight(DType dtype, int64_t count, int64_t columns) {
    std::vector<uint8_t> bytes(static_cast<size_t>(count * row_bytes(dtype, columns)));
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random_.next() >> 56);
    if (dtype == DType::BF16) {
      for (size_t i = 1; i < bytes.size(); i += 2) bytes[i] = static_cast<uint8_t>((bytes[i] & 0x81) | 0x3C);
    } else if (dtype == DType::F16) {
      for (size_t i = 1; i < bytes.size(); i += 2) bytes[i] = static_cast<uint8_t>((bytes[i] & 0x87) | 0x20);
    } else {
      const auto block = static_cast<size_t>(traits(dtype).bytes);
      for (size_t i = 0; i < bytes.size(); i += block) bytes[i + 1] = 0x20;
    }
    return {upload(bytes).template as<const std::byte>(), dtype, count, columns};
  }
  template <class T>
  DeviceBytes upload(const std::vector<T>& values) {
    memory_.push_back(backend_->allocate(values.size() * sizeof(T)));
    copy_in<std::byte>(*backend_, memory_.back().data(), std::as_bytes(std::span(values)));
    backend_->synchronize(stream_);
    return memory_.back().data();
  }
  DeviceBytes room(uint64_t nbytes) {
    memory_.push_back(backend_->allocate(nbytes));
    return memory_.back().data();
  }

  // Runs `work` for a tenth of a second at least, twice; the better mean counts. Ops and bytes of one run.
  template <class Work>
  void time(const std::string& op, const std::string& shape, double ops, double bytes, const Work& work) {
    work();
    backend_->synchronize(stream_);
    double best = 1e9;
    for (int repetition = 0; repetition < 2; repetition++) {
      int runs = 0;
      const auto start = std::chrono::steady_clock::now();
      double seconds = 0;
      while (seconds < 0.1) {
        for (int i = 0; i < 10; i++, runs++) work();
        backend_->synchronize(stream_);
        seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      }
      best = std::min(best, seconds / runs);
    }
    const double at_products = ops / product_peak_, at_memory = bytes / read_peak_;
    const bool products = at_products > at_memory;
    std::printf(
        "{\"op\": \"%s\", \"shape\": \"%s\", \"microseconds\": %.2f, \"rate\": %.1f, \"unit\": \"%s\", \"roof\": "
        "\"%s\", \"share\": %.3f}\n",
        op.c_str(), shape.c_str(), best * 1e6, (products ? ops / 1e12 : bytes / 1e9) / best,
        products ? "TFLOP/s" : "GB/s", products ? "mma" : "reads", std::max(at_products, at_memory) / best);
    std::fflush(stdout);
  }
  void forget() { memory_.clear(); }

  void linear(DType dtype, int64_t M, int64_t N, int64_t K) {
    const Activations x = rows(M, K), y = rows(M, N);
    // As many sets as make 512 MiB, so that weights come from memory and not from L2.
    std::vector<Weight> weights;
    const int64_t bytes = N * row_bytes(dtype, K);
    for (int64_t i = 0; i < std::max<int64_t>(1, (int64_t{512} << 20) / bytes) && i < 32; i++)
      weights.push_back(weight(dtype, N, K));
    size_t next = 0;
    time("linear " + std::string(traits(dtype).name),
         std::to_string(M) + " x " + std::to_string(N) + " x " + std::to_string(K), 2.0 * M * N * K,
         static_cast<double>(bytes) + 4.0 * M * (N + K),
         [&] { ops_.linear(stream_, {.x = x, .output = {{.weight = weights[next++ % weights.size()], .y = y}}}); });
    forget();
  }

  void attention(const std::string& label, KvType type, int64_t sequences, int64_t rows_of, int64_t keys, int64_t heads,
                 int64_t kv_heads, int64_t dim, bool causal) {
    const KvLayout layout{kv_heads, dim, type};
    const uint64_t page_bytes = backend_->kv_layer_bytes(layout);
    const int64_t pages = (keys + kPageTokens - 1) / kPageTokens, total = sequences * rows_of;
    const DeviceBytes cache = room(static_cast<uint64_t>(sequences * pages) * page_bytes);
    std::vector<std::vector<DeviceBytes>> tables;
    for (int64_t i = 0; i < sequences; i++) {
      std::vector<DeviceBytes> table;
      for (int64_t p = 0; p < pages; p++) table.push_back(cache + (i * pages + p) * static_cast<int64_t>(page_bytes));
      tables.push_back(table);
    }
    std::vector<KvSequence> all, read;
    for (const auto& table : tables) {
      all.push_back({table, keys, keys});
      read.push_back({table, rows_of, keys});
    }
    const Activations k = rows(sequences * keys, kv_heads * dim);
    ops_.kv_append(stream_, {.k = k, .v = k, .cache = {layout, 0, all}});
    const Activations q = rows(total, heads * dim), y = rows(total, heads * dim);
    const double seen =
        causal ? static_cast<double>(keys) - (static_cast<double>(rows_of) - 1) / 2 : static_cast<double>(keys);
    time(label,
         std::to_string(sequences) + " x " + std::to_string(rows_of) + " rows, " + std::to_string(keys) + " keys",
         4.0 * static_cast<double>(total * heads * dim) * seen,
         static_cast<double>(sequences * pages) * static_cast<double>(page_bytes) + 8.0 * total * heads * dim, [&] {
           ops_.attention(stream_, {.q = q, .cache = {layout, 0, read}, .heads = heads, .causal = causal, .y = y});
         });
    forget();
  }

  int64_t page_bytes(const KvLayout& layout) const { return static_cast<int64_t>(backend_->kv_layer_bytes(layout)); }

  // All layers of a pass, each on weights of its own where `copies` of one fit beside it: the whole of a decoded token's
  // time but its head, and submissions included.
  void pass(const std::string& label, const Shape& shape, DType dtype, KvType kv, const Batch& batch, int64_t layers) {
    std::vector<std::unique_ptr<Layer<Bench>>> all;
    for (int64_t i = 0; i < layers; i++)
      all.push_back(std::make_unique<Layer<Bench>>(*this, shape, dtype, kv, batch));
    const double D = shape.width, F = shape.intermediate, T = static_cast<double>(batch.total());
    const double values = (4 * D + (shape.vocabulary > 0 ? 3 : 2) * F) * D;
    const auto plain = [](const char*, const auto& work) { work(); };
    time(label, std::string(shape.name) + " " + std::string(traits(dtype).name) + ", " + std::to_string(batch.sequences) + " x " +
                    std::to_string(batch.rows) + " rows, " + std::to_string(layers) + " layers",
         2 * values * T * layers,
         layers * values / static_cast<double>(traits(dtype).elements) * static_cast<double>(traits(dtype).bytes), [&] {
           for (const auto& layer : all) {
             shape.vocabulary > 0 ? layer->decoder(ops_, stream_, plain) : layer->tower(ops_, stream_, plain);
           }
         });
    all.clear();
    forget();
  }

  void rowwise(int64_t T, int64_t D) {
    const Activations x = rows(T, D), y = rows(T, D);
    const Vector w = vector(D);
    const std::string shape = std::to_string(T) + " x " + std::to_string(D);
    time("rms_norm", shape, 0, 8.0 * T * D,
         [&] { ops_.rms_norm(stream_, {.x = x, .weight = w, .eps = 1e-5f, .y = y}); });
    time("layer_norm", shape, 0, 8.0 * T * D,
         [&] { ops_.layer_norm(stream_, {.x = x, .weight = w, .bias = w, .eps = 1e-5f, .y = y}); });
    time("silu_mul", shape, 0, 12.0 * T * D, [&] { ops_.silu_mul(stream_, {.gate = x, .up = y, .y = y}); });
    time("add_rows", shape, 0, 12.0 * T * D, [&] { ops_.add_rows(stream_, {.a = x, .b = y, .y = y}); });
    time("copy_rows", shape, 0, 8.0 * T * D, [&] { ops_.copy_rows(stream_, {.x = x, .y = y}); });
    forget();
  }

 private:
  std::shared_ptr<Backend> backend_;
  const OpTable& ops_;
  Stream& stream_;
  double product_peak_, read_peak_;
  Random random_;
  std::vector<DeviceMemory> memory_;
};

void run() {
  Bench bench(make_cuda_backend(0));
  for (const auto& [N, K] : {std::pair<int64_t, int64_t>{4096, 4096}, {11008, 4096}, {4096, 11008}}) {
    for (const DType dtype : {DType::BF16, DType::Q4_0, DType::F16}) bench.linear(dtype, 2496, N, K);
    for (const DType dtype : {DType::Q4_0, DType::F16, DType::Q8_0, DType::Q4_K, DType::Q6_K}) {
      for (const int64_t M : {1, 4, 16}) bench.linear(dtype, M, N, K);
    }
  }
  bench.attention("attention of pictures", KvType::kF16, 64, 577, 577, 16, 16, 64, false);
  for (const KvType type : {KvType::kF16, KvType::kQ8_0}) {
    bench.attention("attention of a prompt", type, 1, 2048, 2048, 32, 32, 128, true);
    bench.attention("attention of a token", type, 1, 1, 2048, 32, 32, 128, true);
    bench.attention("attention of 16 tokens", type, 16, 1, 2048, 32, 32, 128, true);
  }
  bench.pass("layers of a token", k7B, DType::Q4_0, KvType::kF16, {1, 1, 1024}, 8);
  bench.pass("layers of 16 tokens", k7B, DType::Q4_0, KvType::kF16, {16, 1, 1024}, 8);
  bench.pass("layers of a prompt", k7B, DType::BF16, KvType::kF16, {1, 624, 624}, 2);
  bench.pass("layers of pictures", kTower, DType::BF16, KvType::kF16, {16, kPictureRows, kPictureRows}, 4);
  bench.rowwise(2496, 4096);
  bench.rowwise(1, 4096);
}

}  // namespace

int main() {
  try {
    if (cuda::cards().count == 0) {
      std::fprintf(stderr, "no card: %s\n", cuda::cards().detail.c_str());
      return 2;
    }
    run();
    return 0;
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
