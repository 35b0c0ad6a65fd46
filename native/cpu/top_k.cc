// The largest values of a row: one walk along it with a sorted list of the k best so far, which few of the values reach
// (of V in random order about k ln(V / k)).
//   The sum of exponentials goes by blocks of columns, whose sums are added in order: the same bits on any number of
//   threads.
#include <cmath>
#include <limits>

#include "cpu/host_view.h"
#include "cpu/stream.h"

namespace llava::cpu {

namespace {

constexpr int64_t kBlock = 4096;  // columns of a task of the sum: some tens of microseconds

bool is_above(float a, float b) { return a > b || (std::isnan(a) && !std::isnan(b)); }

void largest(const float* x, int64_t columns, int64_t k, int32_t* ids, float* values) {
  int64_t count = 0;
  for (int64_t column = 0; column < columns; column++) {
    const float value = x[column];
    if (count == k) {
      if (value <= values[k - 1] || !is_above(value, values[k - 1])) continue;
      count--;
    }
    int64_t place = count++;
    for (; place > 0 && is_above(value, values[place - 1]); place--) {
      values[place] = values[place - 1];
      ids[place] = ids[place - 1];
    }
    values[place] = value;
    ids[place] = static_cast<int32_t>(column);
  }
}

// NaN where there is one.
float maximum(const float* x, int64_t count) {
  float max = -std::numeric_limits<float>::infinity();
  bool all_numbers = true;
  for (int64_t i = 0; i < count; i++) {
    max = x[i] > max ? x[i] : max;
    all_numbers &= x[i] == x[i];
  }
  return all_numbers ? max : std::numeric_limits<float>::quiet_NaN();
}

// ln sum exp(x) = max + ln sum exp(x - max)
void log_sum_exp(CpuStream& stream, HostRows<const float> x, double* y) {
  const int64_t blocks = (x.cols + kBlock - 1) / kBlock;
  stream.parallel(x.rows, [&](int64_t row, int) { y[row] = static_cast<double>(maximum(x.row(row), x.cols)); });
  auto* sums = reinterpret_cast<double*>(stream.shared(static_cast<uint64_t>(x.rows * blocks) * sizeof(double)));
  stream.parallel(x.rows * blocks, [&](int64_t index, int) {
    const int64_t row = index / blocks, first = index % blocks * kBlock, end = std::min(first + kBlock, x.cols);
    double sum = 0;
    for (int64_t i = first; i < end; i++) sum += std::exp(static_cast<double>(x.row(row)[i]) - y[row]);
    sums[index] = sum;
  });
  for (int64_t row = 0; row < x.rows; row++) {
    if (!std::isfinite(y[row])) continue;
    double sum = 0;
    for (int64_t b = 0; b < blocks; b++) sum += sums[row * blocks + b];
    y[row] += std::log(sum);
  }
}

}  // namespace

void top_k(Stream& s, const TopKArgs& a) {
  CpuStream& stream = cpu_stream(s);
  const HostRows<const float> x = host(a.x);
  if (a.log_sum_exp) log_sum_exp(stream, x, host(a.log_sum_exp));
  stream.parallel(x.rows, [&](int64_t row, int) {
    largest(x.row(row), a.columns, a.k, host(a.ids) + row * a.k, host(a.values) + row * a.k);
  });
}

}  // namespace llava::cpu
