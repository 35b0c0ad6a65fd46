// Operands in as many sets as it takes to leave every cache between two uses of the same one.
#pragma once
#include <algorithm>
#include <limits>
#include <vector>

#include "bench/measured_op.h"
#include "bench/random_operands.h"
#include "common/arena.h"
#include "common/thread_pool.h"
#include "cpu/stream.h"

namespace llava::bench {

constexpr int64_t kColdBytes = int64_t{256} << 20;  // what measure_peak reads: well beyond any last-level cache share

inline int64_t sets_of(const OpRequest& request, int64_t set_bytes) { return request.cold ? std::max<int64_t>(1, (kColdBytes + set_bytes - 1) / set_bytes) : 1; }

// A seed of its own for every part of every operand.
constexpr uint64_t seed_of(uint64_t seed, int64_t operand, int64_t part) {
  return seed * 0xD1342543DE82EF95u + static_cast<uint64_t>(operand) * 0x2545F4914F6CDD1Du + static_cast<uint64_t>(part);
}

// Filled row by row on the threads of the back end, each row from its own seed.
inline Weight take_weight(Arena& arena, cpu::CpuStream& stream, DType dtype, int64_t rows, int64_t cols, float spread, uint64_t seed) {
  const int64_t bytes = row_bytes(dtype, cols);
  auto* data = arena.take<std::byte>(rows * bytes);
  stream.parallel_rows(rows, [&](int64_t first, int64_t count) {
    for (int64_t r = first; r < first + count; r++) random_weights(dtype, cols, spread, seed_of(seed, 0, r), data + r * bytes);
  });
  return {data, dtype, rows, cols};
}

inline Activations filled(Activations x, cpu::CpuStream& stream, float magnitude, uint64_t seed) {
  stream.parallel_rows(x.rows, [&](int64_t first, int64_t count) {
    for (int64_t r = first; r < first + count; r++) random_values(x.cols, magnitude, seed_of(seed, 0, r), x.row(r));
  });
  return x;
}

inline Activations take_values(Arena& arena, cpu::CpuStream& stream, int64_t rows, int64_t cols, float magnitude, uint64_t seed) {
  return filled(arena.rows(rows, cols), stream, magnitude, seed);
}

// The same without gaps between the rows.
inline Activations take_dense(Arena& arena, cpu::CpuStream& stream, int64_t rows, int64_t cols, float magnitude, uint64_t seed) {
  return filled(Activations(arena.take<float>(rows * cols), rows, cols), stream, magnitude, seed);
}

inline void forget(Activations y) {
  for (int64_t r = 0; r < y.rows; r++) std::fill_n(y.row(r), y.cols, std::numeric_limits<float>::quiet_NaN());
}

inline void copy(ConstActivations x, Activations y) {
  for (int64_t r = 0; r < x.rows; r++) std::copy_n(x.row(r), x.cols, y.row(r));
}

inline std::vector<float> values_of(ConstActivations y) {
  std::vector<float> values;
  values.reserve(static_cast<size_t>(y.rows * y.cols));
  for (int64_t r = 0; r < y.rows; r++) values.insert(values.end(), y.row(r), y.row(r) + y.cols);
  return values;
}

// `count` places of [0, size): both ends, and others at random.
inline std::vector<int64_t> sampled(int64_t size, int64_t count, Random& random) {
  std::vector<int64_t> places = {0, size - 1};
  while (static_cast<int64_t>(places.size()) < std::min(count, size)) places.push_back(random.below(size));
  return places;
}

}  // namespace llava::bench
