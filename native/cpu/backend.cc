// The CPU back end: the op table, and this machine's peaks on the pool the model itself uses.
#include "cpu/backend.h"

#include <chrono>
#include <cstring>

#include "common/cpu_features.h"
#include "cpu/host_view.h"
#include "cpu/kv_layout.h"
#include "cpu/stream.h"
#include "ops/check.h"

namespace llava {

namespace {

// Every entry checks its contract, then computes.
#define OP(name, Args)                            \
  void checked_##name(Stream& s, const Args& a) { \
    check(a);                                     \
    cpu::name(s, a);                              \
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
  CpuBackend(int threads, const KernelTable& table, bool copies_weights)
      : stream_(threads, table), copies_weights_(copies_weights) {}
  const OpTable& ops() const override { return kOps; }
  Stream& stream() override { return stream_; }
  BackendInfo info() const override {
    return {cpu_features().model, stream_.kernels.isa, stream_.pool.threads(), stream_.kernels.bf16 == Bf16::kTiles};
  }
  Peak measure_peak(PeakKind kind) override;

  DeviceMemory allocate(uint64_t nbytes, PageSize pages) override {
    std::byte* data = static_cast<std::byte*>(allocate_aligned(nbytes, pages));
    if (data == nullptr)
      throw Error(ErrorCode::kOutOfMemory, "out of memory: could not allocate " + std::to_string(nbytes) + " bytes");
    return {std::shared_ptr<const void>(data, [](std::byte* p) { free_aligned(p); }), DeviceAddress::of(data), nbytes};
  }
  DeviceMemory adopt(std::shared_ptr<const MappedFile> file, uint64_t first, uint64_t nbytes,
                     const AdoptProgress& progress) override {
    if (copies_weights_) return copied(file->data() + first, nbytes, progress);
    // mapped read-only: a write to it faults
    const DeviceBytes data = DeviceAddress::of(const_cast<std::byte*>(file->data() + first));
    progress(nbytes);
    return {std::move(file), data, nbytes};
  }
  void copy_in(Stream&, DeviceBytes to, std::span<const std::byte> from) override {
    std::ranges::copy(from, cpu::host(to));
  }
  void copy_out(Stream&, std::span<std::byte> to, Device<const std::byte> from) override { read(to, from); }
  void copy(Stream&, DeviceBytes to, Device<const std::byte> from, uint64_t nbytes) override {
    std::copy_n(cpu::host(from), nbytes, cpu::host(to));
  }
  void synchronize(Stream&) override {}
  void read(std::span<std::byte> to, Device<const std::byte> from) override {
    std::copy_n(cpu::host(from), to.size(), to.data());
  }
  uint64_t kv_layer_bytes(const KvLayout& layout) const override {
    return static_cast<uint64_t>(cpu::page_layer_bytes(layout));
  }

 private:
  double best_rate(double (*work)(const CpuBackend&, int worker));
  DeviceMemory copied(const std::byte* from, uint64_t nbytes, const AdoptProgress& progress);
  int64_t part_bytes() const;
  static double read_part(const CpuBackend& self, int worker);
  static double update_part(const CpuBackend& self, int worker);
  cpu::CpuStream stream_;
  bool copies_weights_;
  DeviceMemory memory_;
};

constexpr int64_t kPeakIterations = 4'000'000;  // tens of milliseconds per try
// between two reports of progress: about a tenth of a second from a disk
constexpr uint64_t kCopyBytes = uint64_t{64} << 20;
constexpr uint64_t kMemoryBytes = uint64_t{256} << 20;  // well beyond any last-level cache share

// On large pages, which a mapping of a file does not have: a token reads all weights, and looks each page up.
DeviceMemory CpuBackend::copied(const std::byte* from, uint64_t nbytes, const AdoptProgress& progress) {
  DeviceMemory memory = allocate(nbytes, PageSize::kLarge);
  std::byte* to = cpu::host(memory.data());
  const uint64_t part = kCopyBytes / 16;
  for (uint64_t first = 0; first < nbytes; first += kCopyBytes) {
    const uint64_t some = std::min(kCopyBytes, nbytes - first);
    stream_.pool.run(static_cast<int64_t>((some + part - 1) / part), [&](int64_t index, int) {
      const uint64_t at = first + static_cast<uint64_t>(index) * part;
      std::memcpy(to + at, from + at, std::min(part, first + some - at));
    });
    progress(first + some);
  }
  return memory;
}

// Best of five: work done by all threads over the wall time from the first start to the last end.
double CpuBackend::best_rate(double (*work)(const CpuBackend&, int worker)) {
  double best = 0;
  for (int repetition = 0; repetition < 5; repetition++) {
    std::vector<double> done(static_cast<size_t>(stream_.pool.threads()));
    const auto start = std::chrono::steady_clock::now();
    stream_.pool.run(stream_.pool.threads(), [&](int64_t index, int) {
      done[static_cast<size_t>(index)] = work(*this, static_cast<int>(index));
    });
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
    return {best_rate([](const CpuBackend& self, int) { return self.stream_.kernels.peak_fma(kPeakIterations); }),
            "GFLOP/s", scalar ? "scalar multiply, add" : "f32 FMA"};
  }
  if (kind == PeakKind::kBf16) {
    if (stream_.kernels.bf16 == Bf16::kNone) return measure_peak(PeakKind::kFma);
    return {best_rate([](const CpuBackend& self, int) { return self.stream_.kernels.peak_bf16(kPeakIterations); }),
            "GFLOP/s", stream_.kernels.bf16_mix};
  }
  if (kind == PeakKind::kInt8) {
    return {best_rate([](const CpuBackend& self, int) { return self.stream_.kernels.peak_int8(kPeakIterations); }),
            "GOP/s", stream_.kernels.int8_mix};
  }
  memory_ = allocate(kMemoryBytes, PageSize::kLarge);
  std::memset(cpu::host(memory_.data()), 0, kMemoryBytes);
  const bool update = kind == PeakKind::kUpdate;
  const double rate = best_rate(update ? &CpuBackend::update_part : &CpuBackend::read_part);
  memory_ = {};
  return {rate, "GB/s", update ? "reads and writes" : "reads"};
}

// Bytes of each thread's part of the memory.
int64_t CpuBackend::part_bytes() const {
  return static_cast<int64_t>(kMemoryBytes) / stream_.pool.threads() / 128 * 128;
}

double CpuBackend::read_part(const CpuBackend& self, int worker) {
  return self.stream_.kernels.peak_read(cpu::host(self.memory_.data()) + worker * self.part_bytes(), self.part_bytes());
}

double CpuBackend::update_part(const CpuBackend& self, int worker) {
  float* values = reinterpret_cast<float*>(cpu::host(self.memory_.data()) + worker * self.part_bytes());
  self.stream_.kernels.scale(values, -1.0f, values, self.part_bytes() / static_cast<int64_t>(sizeof(float)));
  return 2 * static_cast<double>(self.part_bytes());
}

}  // namespace

std::vector<std::string> cpu_isas() { return available_isas(); }

std::shared_ptr<Backend> make_cpu_backend(int threads, const std::string& isa, bool copies_weights) {
  const KernelTable& table = select_kernels(isa);
  return std::make_shared<CpuBackend>(threads > 0 ? threads : usable_cpus(), table, copies_weights);
}

}  // namespace llava
