// A back end in a library of its own, for the tests of what loads one: two devices, each the far back end, whose memory
// nobody reaches but itself. LLAVA_TEST_DEVICE in the environment makes it what a machine may be, words in any number:
//   abi          of another ABI                         no-driver, no-device, too-old   (of device 0)
//   memory=N     bytes of each device, default 3 GiB    allocation=N   the N-th allocation of a back end finds no
//   memory op=N         the N-th op of a back end breaks the device, which the next synchronize() says
#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <string>

#include "ops/export_backend.h"
#include "testing/far_backend.h"

namespace llava::testing {

namespace {

constexpr int kDevices = 2;

// What stands after `word=`, or 0 for the word alone; absent without it.
std::optional<uint64_t> setting(std::string_view word) {
  const char* text = std::getenv("LLAVA_TEST_DEVICE");
  std::string_view rest = text == nullptr ? "" : text;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find(' '), rest.size());
    const std::string_view one = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (one == word) return 0;
    if (!one.starts_with(word) || one[word.size()] != '=') continue;
    uint64_t value = 0;
    std::from_chars(one.data() + word.size() + 1, one.data() + one.size(), value);
    return value;
  }
  return {};
}

uint64_t total_bytes() { return setting("memory").value_or(uint64_t{3} << 30); }

// Of each device, bytes that are held.
std::shared_ptr<std::atomic<uint64_t>> held_on(int device) {
  static const std::shared_ptr<std::atomic<uint64_t>> held[kDevices] = {std::make_shared<std::atomic<uint64_t>>(0),
                                                                        std::make_shared<std::atomic<uint64_t>>(0)};
  return held[device];
}

class DeviceStream : public Stream {
 public:
  explicit DeviceStream(Backend& on) : far(on), breaks_at_(setting("op").value_or(0)) {}
  uint64_t scratch_bytes() const override { return far.stream().scratch_bytes(); }
  // Whether the device still works; counts an op.
  bool works() {
    if (breaks_at_ > 0 && ++ops_ == breaks_at_) broken = true;
    return !broken;
  }
  Backend& far;
  bool broken = false;

 private:
  uint64_t breaks_at_, ops_ = 0;
};

#define OP(name, Args)                                   \
  void device_##name(Stream& stream, const Args& args) { \
    auto& s = static_cast<DeviceStream&>(stream);        \
    if (!s.works()) return;                              \
    s.far.stream().cancel = s.cancel;                    \
    s.far.ops().name(s.far.stream(), args);              \
  }
#include "ops/ops.def"
#undef OP

constexpr OpTable kDeviceOps = {
#define OP(name, Args) device_##name,
#include "ops/ops.def"
#undef OP
};

class DeviceBackend : public Backend {
 public:
  explicit DeviceBackend(int device)
      : device_(device),
        held_(held_on(device)),
        far_(make_far_backend(0, select_kernels("auto"))),
        stream_(*far_),
        fails_at_(setting("allocation").value_or(0)) {}
  const OpTable& ops() const override { return kDeviceOps; }
  Stream& stream() override { return stream_; }
  BackendInfo info() const override {
    BackendInfo info = far_->info();
    info.device = "Test device " + std::to_string(device_);
    info.tower_rows = 4 * info.tower_rows;
    info.pass_rows = 2 * info.pass_rows;
    return info;
  }
  Peak measure_peak(PeakKind) override { return {1000, "G/s", "a test device's own"}; }
  DeviceMemory allocate(uint64_t nbytes, PageSize pages) override {
    if (fails_at_ > 0 && ++allocations_ == fails_at_) throw Error(ErrorCode::kOutOfMemory, "out of device memory");
    if (held_->fetch_add(nbytes) + nbytes > total_bytes()) {
      held_->fetch_sub(nbytes);
      throw Error(ErrorCode::kOutOfMemory, "out of device memory: " + std::to_string(nbytes) + " bytes asked for");
    }
    auto memory = std::make_shared<DeviceMemory>(far_->allocate(nbytes, pages));
    const DeviceBytes data = memory->data();
    return {std::shared_ptr<const void>(data ? memory.get() : nullptr,
                                        [held = held_, memory, nbytes](const void*) mutable {
                                          memory.reset();
                                          held->fetch_sub(nbytes);
                                        }),
            data, nbytes};
  }
  DeviceMemory adopt(std::shared_ptr<const MappedFile> file, uint64_t first, uint64_t nbytes,
                     const AdoptProgress& progress) override {
    return far_->adopt(std::move(file), first, nbytes, progress);
  }
  void copy_in(Stream&, DeviceBytes to, std::span<const std::byte> from) override {
    far_->copy_in(far_->stream(), to, from);
  }
  void copy_out(Stream&, std::span<std::byte> to, Device<const std::byte> from) override {
    far_->copy_out(far_->stream(), to, from);
  }
  void copy(Stream&, DeviceBytes to, Device<const std::byte> from, uint64_t nbytes) override {
    far_->copy(far_->stream(), to, from, nbytes);
  }
  void synchronize(Stream&) override {
    if (stream_.broken) throw Error(ErrorCode::kDeviceFailed, "an illegal memory access was encountered");
  }
  void read(std::span<std::byte> to, Device<const std::byte> from) override { far_->read(to, from); }
  uint64_t kv_layer_bytes(const KvLayout& layout) const override { return far_->kv_layer_bytes(layout); }
  std::optional<DeviceSpace> space() const override {
    const uint64_t total = total_bytes(), held = held_->load();
    return DeviceSpace{.total = total, .free = total - std::min(total, held), .own = 0};
  }

 private:
  int device_;
  std::shared_ptr<std::atomic<uint64_t>> held_;
  std::shared_ptr<Backend> far_;
  DeviceStream stream_;
  uint64_t fails_at_;
  std::atomic<uint64_t> allocations_{0};
};

void list(LibraryDevices& devices) {
  if (setting("no-driver")) {
    devices.problem = DeviceProblem::kNoDriver;
    put_text(devices.detail, "libcuda.so.1: cannot open shared object file");
    return;
  }
  if (setting("no-device")) {
    devices.problem = DeviceProblem::kNoDevice;
    return;
  }
  devices.count = kDevices;
  for (int i = 0; i < kDevices; i++) {
    LibraryDevice& device = devices.device[i];
    put_text(device.name, "Test device " + std::to_string(i));
    put_text(device.capability, "sm_00");
    device.total_bytes = total_bytes();
    device.free_bytes = total_bytes() - std::min(total_bytes(), held_on(i)->load());
  }
  if (setting("too-old")) {
    devices.device[0].problem = DeviceProblem::kTooOld;
    put_text(devices.device[0].detail, "sm_80 and later are supported");
  }
}

std::shared_ptr<Backend> open(const LibraryOptions& options) { return std::make_shared<DeviceBackend>(options.device); }

}  // namespace

}  // namespace llava::testing

extern "C" __attribute__((visibility("default"))) const llava::BackendLibrary* llava_backend_library() {
  static constexpr llava::BackendLibrary kTable =
      llava::exported::table<&llava::testing::list, &llava::testing::open>("cuda", "0.0.0-test");
  static constexpr llava::BackendLibrary kForeign = [] {
    llava::BackendLibrary table = kTable;
    table.abi++;
    return table;
  }();
  return llava::testing::setting("abi") ? &kForeign : &kTable;
}
