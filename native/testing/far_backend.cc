#include "testing/far_backend.h"

#include <algorithm>

#include "common/cpu_features.h"
#include "cpu/backend.h"
#include "cpu/host_view.h"
#include "cpu/kv_layout.h"
#include "cpu/stream.h"
#include "ops/check.h"
#include "testing/far_memory.h"

namespace llava::testing {

namespace {

class FarStream : public cpu::CpuStream {
 public:
  using CpuStream::CpuStream;
  std::shared_ptr<FarMemory> memory = std::make_shared<FarMemory>();
};

#define OP(name, Args)                                       \
  void far_##name(Stream& s, const Args& a) {                \
    check(a);                                                \
    const Opened opened(*static_cast<FarStream&>(s).memory); \
    cpu::name(s, a);                                         \
  }
#include "ops/ops.def"
#undef OP

constexpr OpTable kFarOps = {
#define OP(name, Args) far_##name,
#include "ops/ops.def"
#undef OP
};

class FarBackend : public Backend {
 public:
  FarBackend(int threads, const KernelTable& kernels) : stream_(threads, kernels) {}
  const OpTable& ops() const override { return kFarOps; }
  Stream& stream() override { return stream_; }
  BackendInfo info() const override {
    return {"far memory", stream_.kernels.isa, stream_.pool.threads(), stream_.kernels.bf16 == Bf16::kTiles};
  }
  Peak measure_peak(PeakKind kind) override {
    return make_cpu_backend(stream_.pool.threads(), stream_.kernels.isa)->measure_peak(kind);
  }

  DeviceMemory allocate(uint64_t nbytes, PageSize) override {
    std::byte* data = stream_.memory->allocate(nbytes);
    return {std::shared_ptr<const void>(data, [memory = stream_.memory](std::byte* p) { memory->free(p); }),
            DeviceAddress::of(data), nbytes};
  }
  DeviceMemory adopt(std::shared_ptr<const MappedFile> file, uint64_t first, uint64_t nbytes,
                     const AdoptProgress& progress) override {
    DeviceMemory memory = allocate(nbytes, PageSize::kUsual);
    copy_in(stream_, memory.data(), {file->data() + first, nbytes});
    progress(nbytes);
    return memory;
  }
  void copy_in(Stream&, DeviceBytes to, std::span<const std::byte> from) override {
    stream_.memory->with_block(cpu::host(to), from.size(), [&] { std::ranges::copy(from, cpu::host(to)); });
  }
  void copy_out(Stream&, std::span<std::byte> to, Device<const std::byte> from) override { read(to, from); }
  void copy(Stream&, DeviceBytes to, Device<const std::byte> from, uint64_t nbytes) override {
    const Opened opened(*stream_.memory);
    std::copy_n(cpu::host(from), nbytes, cpu::host(to));
  }
  void synchronize(Stream&) override {}
  void read(std::span<std::byte> to, Device<const std::byte> from) override {
    stream_.memory->with_block(cpu::host(from), to.size(), [&] { std::copy_n(cpu::host(from), to.size(), to.data()); });
  }
  uint64_t kv_layer_bytes(const KvLayout& layout) const override {
    return static_cast<uint64_t>(cpu::page_layer_bytes(layout));
  }

 private:
  FarStream stream_;
};

}  // namespace

std::shared_ptr<Backend> make_far_backend(int threads, const KernelTable& kernels) {
  return std::make_shared<FarBackend>(threads > 0 ? threads : usable_cpus(), kernels);
}

}  // namespace llava::testing
