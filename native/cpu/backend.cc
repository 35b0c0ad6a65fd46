// The CPU back end: the op table, and this machine's peaks on the pool the model itself uses.
#include "cpu/backend.h"

#include <chrono>

#include "common/cpu_features.h"
#include "cpu/stream.h"
#include "ops/check.h"

namespace llava {

namespace {

// Every entry checks its contract, then computes.
#define OP(name, Args)                           \
  void checked_##name(Stream& s, const Args& a) { \
    check(a);                                    \
    cpu::name(s, a);                             \
  }
#include "ops/ops.def"
#undef OP

constexpr OpTable kOps = {
#define OP(name, Args) checked_##name,
#include "ops/ops.def"
#undef OP
};

class CpuBackend : public Backend {
 public:
  CpuBackend(int threads, const KernelTable& table) : stream_(threads, table) {}
  const OpTable& ops() const override { return kOps; }
  Stream& stream() override { return stream_; }
  BackendInfo info() const override { return {cpu_features().model, stream_.kernels.isa, stream_.pool.threads()}; }
  Peak measure_peak(PeakKind kind) override;

 private:
  double best_rate(double (*work)(const CpuBackend&, int worker));
  cpu::CpuStream stream_;
  std::vector<std::byte> memory_;
};

constexpr int64_t kPeakIterations = 4'000'000;   // tens of milliseconds per try
constexpr int64_t kReadBytes = int64_t{256} << 20;  // well beyond any last-level cache share

// Best of five: work done by all threads over the wall time from the first start to the last end.
double CpuBackend::best_rate(double (*work)(const CpuBackend&, int worker)) {
  double best = 0;
  for (int repetition = 0; repetition < 5; repetition++) {
    std::vector<double> done(static_cast<size_t>(stream_.pool.threads()));
    const auto start = std::chrono::steady_clock::now();
    stream_.pool.run(stream_.pool.threads(), [&](int64_t index, int) { done[static_cast<size_t>(index)] = work(*this, static_cast<int>(index)); });
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    double total = 0;
    for (const double part : done) total += part;
    best = std::max(best, total / seconds / 1e9);
  }
  return best;
}

Peak CpuBackend::measure_peak(PeakKind kind) {
  const bool scalar = std::string_view(stream_.kernels.isa) == "scalar";
  if (kind == PeakKind::kFma) {
    return {best_rate([](const CpuBackend& self, int) { return self.stream_.kernels.peak_fma(kPeakIterations); }), "GFLOP/s", scalar ? "scalar multiply, add" : "f32 FMA"};
  }
  if (kind == PeakKind::kBf16) {
    if (!stream_.kernels.multiplies_bf16) return measure_peak(PeakKind::kFma);
    return {best_rate([](const CpuBackend& self, int) { return self.stream_.kernels.peak_bf16(kPeakIterations); }), "GFLOP/s", "vdpbf16ps"};
  }
  if (kind == PeakKind::kInt8) {
    return {best_rate([](const CpuBackend& self, int) { return self.stream_.kernels.peak_int8(kPeakIterations); }), "GOP/s", stream_.kernels.int8_mix};
  }
  try {
    memory_.assign(static_cast<size_t>(kReadBytes), std::byte{1});
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::kOutOfMemory, "out of memory: measuring read bandwidth needs 256 MiB");
  }
  const double rate = best_rate([](const CpuBackend& self, int worker) {
    const int64_t part = kReadBytes / self.stream_.pool.threads() / 128 * 128;
    return self.stream_.kernels.peak_read(self.memory_.data() + worker * part, part);
  });
  memory_ = {};
  return {rate, "GB/s", "reads"};
}

}  // namespace

std::vector<std::string> cpu_isas() { return available_isas(); }

std::unique_ptr<Backend> make_cpu_backend(int threads, const std::string& isa) {
  const KernelTable& table = select_kernels(isa);
  return std::make_unique<CpuBackend>(threads > 0 ? threads : usable_cpus(), table);
}

}  // namespace llava
