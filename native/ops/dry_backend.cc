#include "ops/dry_backend.h"

#include "ops/device_address.h"

namespace llava {

namespace {

// Where all of its memory begins, as nobody reads or writes it.
constexpr uintptr_t kNowhere = kCacheLine;

class DryStream : public Stream {
 public:
  uint64_t scratch_bytes() const override { return 0; }
};

#define OP(name, Args) \
  void dry_##name(Stream&, const Args&) {}
#include "ops/ops.def"
#undef OP

constexpr OpTable kDryOps = {
#define OP(name, Args) dry_##name,
#include "ops/ops.def"
#undef OP
};

class DryBackend : public Backend {
 public:
  explicit DryBackend(const Backend& real) : real_(real) {}
  const OpTable& ops() const override { return kDryOps; }
  Stream& stream() override { return stream_; }
  BackendInfo info() const override { return real_.info(); }
  Peak measure_peak(PeakKind) override { return {}; }
  DeviceMemory allocate(uint64_t nbytes, PageSize) override {
    return {nullptr, DeviceAddress::of(reinterpret_cast<std::byte*>(kNowhere)), nbytes};
  }
  DeviceMemory adopt(std::shared_ptr<const MappedFile>, uint64_t, uint64_t nbytes, const AdoptProgress&) override {
    return allocate(nbytes, PageSize::kLarge);
  }
  void copy_in(Stream&, DeviceBytes, std::span<const std::byte>) override {}
  void copy_out(Stream&, std::span<std::byte>, Device<const std::byte>) override {}
  void copy(Stream&, DeviceBytes, Device<const std::byte>, uint64_t) override {}
  void synchronize(Stream&) override {}
  void read(std::span<std::byte>, Device<const std::byte>) override {}
  uint64_t kv_layer_bytes(const KvLayout& layout) const override { return real_.kv_layer_bytes(layout); }

 private:
  const Backend& real_;
  DryStream stream_;
};

}  // namespace

std::shared_ptr<Backend> make_dry_backend(const Backend& real) { return std::make_shared<DryBackend>(real); }

}  // namespace llava
