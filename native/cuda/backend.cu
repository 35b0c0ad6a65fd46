// The CUDA back end: the op table, memory and copies.
#include "cuda/backend.h"

#include <algorithm>

#include "cuda/kv_layout.cuh"
#include "cuda/peaks.h"
#include "cuda/stream.h"
#include "ops/check.h"

namespace llava::cuda {

namespace {

// Every entry checks its contract, then puts its kernels on the stream.
#define OP(name, Args)                            \
  void checked_##name(Stream& s, const Args& a) { \
    check(a);                                     \
    if (s.cancel.requested()) return;             \
    cuda_stream(s).card.make_current();           \
    cuda_stream(s).ops++;                         \
    cuda::name(s, a);                             \
  }
#include "ops/ops.def"
#undef OP

constexpr OpTable kOps = {
#define OP(name, Args) checked_##name,
#include "ops/ops.def"
#undef OP
};

class CudaBackend : public Backend {
 public:
  explicit CudaBackend(int device) : stream_(std::make_shared<CudaStream>(device)) {}
  const OpTable& ops() const override { return kOps; }
  Stream& stream() override { return *stream_; }
  BackendInfo info() const override {
    const DeviceProperties& card = stream_->card.properties();
    return {card.name, card.capability, card.multiprocessors, true, kTowerRows, kPassRows, KvType::kF16};
  }
  Peak measure_peak(PeakKind kind) override {
    stream_->card.make_current();
    return cuda::measure_peak(*stream_, kind);
  }

  DeviceMemory allocate(uint64_t nbytes, PageSize) override {
    void* const data = stream_->card.allocate(nbytes);
    return {std::shared_ptr<const void>(data, [stream = stream_](void* memory) { stream->card.free(memory); }),
            DeviceAddress::of(static_cast<std::byte*>(data)), nbytes};
  }
  // A part at a time, so that progress is heard.
  DeviceMemory adopt(std::shared_ptr<const MappedFile> file, uint64_t first, uint64_t nbytes,
                     const AdoptProgress& progress) override {
    constexpr uint64_t kPart = uint64_t{64} << 20;
    DeviceMemory memory = allocate(nbytes, PageSize::kLarge);
    for (uint64_t at = 0; at < nbytes; at += kPart) {
      const uint64_t some = std::min(kPart, nbytes - at);
      stream_->card.copy_in(pointer(memory.data()) + at, file->data() + first + at, some);
      progress(at + some);
    }
    synchronize(*stream_);
    return memory;
  }
  void copy_in(Stream&, DeviceBytes to, std::span<const std::byte> from) override {
    stream_->card.copy_in(pointer(to), from.data(), from.size());
  }
  void copy_out(Stream&, std::span<std::byte> to, Device<const std::byte> from) override {
    stream_->card.copy_out(to.data(), pointer(from), to.size());
  }
  void copy(Stream&, DeviceBytes to, Device<const std::byte> from, uint64_t nbytes) override {
    stream_->card.copy(pointer(to), pointer(from), nbytes);
  }
  void synchronize(Stream&) override { stream_->card.synchronize(); }
  void read(std::span<std::byte> to, Device<const std::byte> from) override {
    stream_->card.read(to.data(), pointer(from), to.size());
  }
  uint64_t kv_layer_bytes(const KvLayout& layout) const override {
    return static_cast<uint64_t>(page_layout(layout).nbytes);
  }
  std::optional<DeviceSpace> space() const override {
    return DeviceSpace{stream_->card.properties().total_bytes, stream_->card.free_bytes(), kWorkspaceBytes};
  }

 private:
  // Sixteen pictures of LLaVA-1.5; four with their texts: some hundred tiles for each layer's smallest product.
  static constexpr int64_t kTowerRows = 16 * 577, kPassRows = 2560;
  // What workspaces of large passes take: parts of attention (attention.cu) and of products, activations, patches.
  static constexpr uint64_t kWorkspaceBytes = uint64_t{512} << 20;

  std::shared_ptr<CudaStream> stream_;  // lives as long as memory of its card
};

}  // namespace

}  // namespace llava::cuda

namespace llava {

std::shared_ptr<Backend> make_cuda_backend(int device) { return std::make_shared<cuda::CudaBackend>(device); }

}  // namespace llava
