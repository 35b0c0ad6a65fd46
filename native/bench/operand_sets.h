// Operands in device memory, random and the same on every machine; in as many sets as it takes to leave every cache
// between two uses of the same one.
//   Each row is made from its own seed, on the host, and can be made again there: for who computes what an output
//   should be.
#pragma once
#include <algorithm>
#include <limits>
#include <span>
#include <vector>

#include "bench/measured_op.h"
#include "bench/random_operands.h"
#include "common/cpu_features.h"
#include "common/thread_pool.h"
#include "ops/arena.h"

namespace llava::bench {

constexpr int64_t kColdBytes = int64_t{256} << 20;  // what measure_peak reads: well beyond any last-level cache share

inline int64_t sets_of(const OpRequest& request, int64_t set_bytes) {
  return request.cold ? std::max<int64_t>(1, (kColdBytes + set_bytes - 1) / set_bytes) : 1;
}

// A seed of its own for every part of every operand.
constexpr uint64_t seed_of(uint64_t seed, int64_t operand, int64_t part) {
  return seed * 0xD1342543DE82EF95u + static_cast<uint64_t>(operand) * 0x2545F4914F6CDD1Du +
         static_cast<uint64_t>(part);
}

// Uniform values [rows, cols].
struct RandomRows {
  Activations at;
  float magnitude = 0;
  uint64_t seed = 0;
  std::vector<float> row(int64_t r) const {
    std::vector<float> values(static_cast<size_t>(at.cols));
    random_values(at.cols, magnitude, seed_of(seed, 0, r), values.data());
    return values;
  }
  Vector vector(int64_t r) const { return {at.row(r), at.cols}; }
};

struct RandomWeight {
  Weight at;
  float spread = 0;
  uint64_t seed = 0;
  std::vector<std::byte> row(int64_t r) const {
    std::vector<std::byte> bytes(static_cast<size_t>(at.row_bytes()));
    random_weights(at.dtype, at.cols, spread, seed_of(seed, 0, r), bytes.data());
    return bytes;
  }
};

class Operands {
 public:
  explicit Operands(Backend& backend)
      : backend_(backend), arena_(backend), weights_(backend, PageSize::kUsual), pool_(usable_cpus()) {}

  Backend& backend() const { return backend_; }

  Activations unwritten(int64_t rows, int64_t cols) { return arena_.rows(rows, cols); }

  RandomRows values(int64_t rows, int64_t cols, float magnitude, uint64_t seed) {
    const RandomRows made{arena_.rows(rows, cols), magnitude, seed};
    const int64_t row_bytes = made.at.stride * static_cast<int64_t>(sizeof(float));
    copy_rows_in(made.at.data.as<std::byte>(), rows, row_bytes, [&](int64_t r, std::byte* row) {
      random_values(cols, magnitude, seed_of(seed, 0, r), reinterpret_cast<float*>(row));
    });
    return made;
  }

  // On pages of the usual size, as a file is mapped.
  RandomWeight weight(DType dtype, int64_t rows, int64_t cols, float spread, uint64_t seed) {
    const int64_t row_bytes = llava::row_bytes(dtype, cols);
    const DeviceBytes data = weights_.take<std::byte>(rows * row_bytes);
    copy_rows_in(data, rows, row_bytes,
                 [&](int64_t r, std::byte* row) { random_weights(dtype, cols, spread, seed_of(seed, 0, r), row); });
    return {{data, dtype, rows, cols}, spread, seed};
  }

  template <class T>
  Device<T> taken(const std::vector<T>& values) {
    const Device<T> place = arena_.take<T>(static_cast<int64_t>(values.size()));
    copy_in<T>(backend_, place, values);
    return place;
  }

  // Pages for so many positions of one layer.
  std::vector<DeviceBytes> pages(const KvLayout& layout, int64_t positions) {
    std::vector<DeviceBytes> pages;
    for (int64_t at = 0; at < positions; at += kPageTokens) {
      pages.push_back(arena_.take<std::byte>(static_cast<int64_t>(backend_.kv_layer_bytes(layout))));
    }
    return pages;
  }

  void forget(Activations y) {
    const std::vector<float> nothing(static_cast<size_t>(y.cols), std::numeric_limits<float>::quiet_NaN());
    for (int64_t r = 0; r < y.rows; r++) copy_in<float>(backend_, y.row(r), nothing);
  }
  void copy(ConstActivations x, Activations y) { backend_.ops().copy_rows(backend_.stream(), {.x = x, .y = y}); }

  // Without gaps between the rows.
  std::vector<float> values_of(ConstActivations y) {
    std::vector<float> values(static_cast<size_t>(y.rows * y.cols));
    const std::span<float> all(values);
    for (int64_t r = 0; r < y.rows; r++)
      copy_out(backend_, all.subspan(static_cast<size_t>(r * y.cols), static_cast<size_t>(y.cols)), y.row(r));
    backend_.synchronize(backend_.stream());
    return values;
  }

 private:
  // make(row, where) on all threads, some megabytes of rows at a time.
  template <class Make>
  void copy_rows_in(DeviceBytes to, int64_t rows, int64_t row_bytes, const Make& make) {
    constexpr int64_t kSome = int64_t{4} << 20;
    const int64_t at_once = std::clamp<int64_t>(kSome / std::max<int64_t>(1, row_bytes), 1, std::max<int64_t>(1, rows));
    std::vector<std::byte> some(static_cast<size_t>(at_once * row_bytes));
    for (int64_t first = 0; first < rows; first += at_once) {
      const int64_t count = std::min(at_once, rows - first);
      pool_.run(count, [&](int64_t r, int) { make(first + r, some.data() + r * row_bytes); });
      copy_in<std::byte>(backend_, to + first * row_bytes,
                         std::span<const std::byte>(some).first(static_cast<size_t>(count * row_bytes)));
    }
  }

  Backend& backend_;
  Arena arena_, weights_;
  ThreadPool pool_;
};

// `count` places of [0, size): both ends, and others at random.
inline std::vector<int64_t> sampled(int64_t size, int64_t count, Random& random) {
  std::vector<int64_t> places = {0, size - 1};
  while (static_cast<int64_t>(places.size()) < std::min(count, size)) places.push_back(random.below(size));
  return places;
}

}  // namespace llava::bench
