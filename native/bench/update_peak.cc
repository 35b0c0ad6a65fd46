#include <chrono>

#include "bench/measured_op.h"
#include "bench/operand_sets.h"

namespace llava::bench {

Peak measure_update_peak(Backend& backend) {
  cpu::CpuStream& stream = cpu::cpu_stream(backend.stream());
  Arena arena;
  const int64_t rows = 4 * stream.pool.threads(), cols = kColdBytes / rows / static_cast<int64_t>(sizeof(float));
  const Activations x(arena.take<float>(rows * cols), rows, cols);
  std::fill_n(x.data, rows * cols, 1.0f);
  double best = 0;
  for (int repetition = 0; repetition < 5; repetition++) {
    const auto start = std::chrono::steady_clock::now();
    stream.pool.run(rows, [&](int64_t row, int) { stream.kernels.scale(x.row(row), -1.0f, x.row(row), cols); });
    const double nanoseconds = std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count();
    best = std::max(best, 2 * static_cast<double>(rows * cols) * sizeof(float) / nanoseconds);
  }
  return {best, "GB/s", "reads and writes"};
}

}  // namespace llava::bench
