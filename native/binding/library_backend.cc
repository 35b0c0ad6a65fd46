#include "binding/library_backend.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>

#include "common/dynamic_library.h"
#include "common/error.h"
#include "ops/backend_library.h"

namespace llava::binding {

namespace {

// Between two reports of progress; the library pipelines what is within.
constexpr uint64_t kUploadBytes = uint64_t{64} << 20;

[[noreturn]] void unavailable(const std::string& what) { throw Error(ErrorCode::kDeviceUnavailable, what); }

Error error_of(const LibraryStatus& status) { return {static_cast<ErrorCode>(status.code), status.message}; }

void raise(const LibraryStatus& status) {
  if (status.failed != 0) throw error_of(status);
}

std::string hexadecimal(uint64_t value) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
  return text;
}

const BackendLibrary& loaded(const std::string& path) {
  const auto function = reinterpret_cast<BackendLibraryFunction>(library_function(path, kBackendLibraryFunction));
  const BackendLibrary* library = function();
  if (library == nullptr) unavailable(path + " is no back end of this package: it has no table");
  if (library->abi != kBackendAbi) {
    unavailable(path + " is of another version (" + library->version + ", ABI " + hexadecimal(library->abi) +
                ") than this package asks for (ABI " + hexadecimal(kBackendAbi) +
                "): install the same version of both");
  }
  return *library;
}

// Said after what a driver has to say, if anything.
std::string in_brackets(const char* detail) { return *detail == '\0' ? "" : std::string(" (") + detail + ")"; }

std::string place_of(const BackendLibrary& library, int index) {
  return std::string(library.name) + ":" + std::to_string(index);
}

// Throws what is missing for device `index`, and what to do about it.
void check_device(const BackendLibrary& library, int index) {
  const std::string place = place_of(library, index);
  LibraryDevices devices{};
  LibraryStatus status;
  library.list(&devices, &status);
  raise(status);
  if (devices.problem == DeviceProblem::kNoDriver)
    unavailable(place + ": no driver can be used" + in_brackets(devices.detail) +
                "; install a newer driver of the GPU, or open with device 'cpu'");
  if (devices.count == 0)
    unavailable(place + ": no GPU is there" + in_brackets(devices.detail) +
                "; see that nvidia-smi lists one and CUDA_VISIBLE_DEVICES does not hide it, or open with device 'cpu'");
  if (index >= devices.count) {
    std::string there;
    for (int i = 0; i < devices.count; i++)
      there += (i > 0 ? ", " : "") + place_of(library, i) + " " + devices.device[i].name;
    unavailable(place + " is not there: there is " + there + " (CUDA_VISIBLE_DEVICES says which may be used)");
  }
  const LibraryDevice& device = devices.device[index];
  if (device.problem != DeviceProblem::kNone)
    unavailable(place + " (" + device.name + ", " + device.capability + ") is too old for these kernels" +
                in_brackets(device.detail) + "; take another GPU, or open with device 'cpu'");
}

// The first failure of a device, which every later call throws again. From any thread.
class Failure {
 public:
  explicit Failure(std::string place) : place_(std::move(place)) {}
  bool there() const { return there_.load(std::memory_order_acquire); }
  void check() const {
    if (!there()) return;
    const std::lock_guard lock(mutex_);
    throw *error_;
  }
  // Keeps a failure of the device, and throws any other.
  void note(const LibraryStatus& status) {
    if (status.failed == 0) return;
    const Error error = error_of(status);
    if (error.code() != ErrorCode::kDeviceFailed) throw Error(error.code(), place_ + ": " + error.what());
    const std::lock_guard lock(mutex_);
    if (error_) return;
    error_.emplace(ErrorCode::kDeviceFailed,
                   place_ + " failed: " + error.what() + "; dispose of the model and open it again");
    there_.store(true, std::memory_order_release);
  }

 private:
  std::string place_;
  std::atomic<bool> there_{false};
  mutable std::mutex mutex_;
  std::optional<Error> error_;
};

class LibraryStream : public Stream {
 public:
  LibraryStream(const BackendLibrary& table, LibraryHandle* opened, std::string place)
      : library(table), handle(opened), failure(std::move(place)) {}
  uint64_t scratch_bytes() const override { return library.scratch_bytes(handle); }

  // Calls the library unless the device has failed; what fails now is thrown by synchronize().
  template <class Call>
  void enqueue(const Call& call) {
    if (failure.there()) return;
    LibraryStatus status;
    call(&status);
    failure.note(status);
  }
  // The same for a call that waits for its result.
  template <class Call>
  auto await(const Call& call) {
    failure.check();
    LibraryStatus status;
    if constexpr (std::is_void_v<decltype(call(&status))>) {
      call(&status);
      failure.note(status);
      failure.check();
    } else {
      const auto result = call(&status);
      failure.note(status);
      failure.check();
      return result;
    }
  }

  const BackendLibrary& library;
  LibraryHandle* const handle;
  Failure failure;
};

#define OP(name, Args)                                                                                 \
  void library_##name(Stream& stream, const Args& args) {                                              \
    auto& s = static_cast<LibraryStream&>(stream);                                                     \
    s.enqueue([&](LibraryStatus* status) { s.library.ops.name(s.handle, &s.cancel, &args, status); }); \
  }
#include "ops/ops.def"
#undef OP

constexpr OpTable kLibraryOps = {
#define OP(name, Args) library_##name,
#include "ops/ops.def"
#undef OP
};

class LibraryBackend : public Backend {
 public:
  LibraryBackend(const BackendLibrary& library, LibraryHandle* handle, std::string place)
      : library_(library),
        handle_(handle, library.close),
        stream_(library, handle, std::move(place)),
        info_(described()) {}

  const OpTable& ops() const override { return kLibraryOps; }
  Stream& stream() override { return stream_; }
  BackendInfo info() const override {
    return {info_.device,     info_.isa,       info_.threads, info_.tiles != 0,
            info_.tower_rows, info_.pass_rows, info_.tower_kv};
  }
  std::optional<DeviceSpace> space() const override {
    const LibraryInfo info = described();
    return DeviceSpace{info.total_bytes, info.free_bytes, info.own_bytes};
  }
  Peak measure_peak(PeakKind kind) override {
    LibraryPeak peak{};
    stream_.await(
        [&](LibraryStatus* status) { library_.measure_peak(handle(), static_cast<uint32_t>(kind), &peak, status); });
    return {peak.value, peak.unit, peak.mix};
  }

  DeviceMemory allocate(uint64_t nbytes, PageSize) override {
    const LibraryMemory memory =
        stream_.await([&](LibraryStatus* status) { return library_.allocate(handle(), nbytes, status); });
    return {std::shared_ptr<const void>(memory.owner, library_.release), memory.data, nbytes};
  }
  // A copy, part by part.
  DeviceMemory adopt(std::shared_ptr<const MappedFile> file, uint64_t first, uint64_t nbytes,
                     const AdoptProgress& progress) override {
    DeviceMemory memory = allocate(nbytes, PageSize::kLarge);
    for (uint64_t at = 0; at < nbytes; at += kUploadBytes) {
      const uint64_t some = std::min(kUploadBytes, nbytes - at);
      copy_in(stream_, memory.data() + static_cast<int64_t>(at), {file->data() + first + at, some});
      progress(at + some);
    }
    synchronize(stream_);
    return memory;
  }
  void copy_in(Stream&, DeviceBytes to, std::span<const std::byte> from) override {
    stream_.enqueue([&](LibraryStatus* status) { library_.copy_in(handle(), to, from.data(), from.size(), status); });
  }
  void copy_out(Stream&, std::span<std::byte> to, Device<const std::byte> from) override {
    stream_.enqueue([&](LibraryStatus* status) { library_.copy_out(handle(), to.data(), from, to.size(), status); });
  }
  void copy(Stream&, DeviceBytes to, Device<const std::byte> from, uint64_t nbytes) override {
    stream_.enqueue([&](LibraryStatus* status) { library_.copy(handle(), to, from, nbytes, status); });
  }
  void synchronize(Stream&) override {
    stream_.await([&](LibraryStatus* status) { library_.synchronize(handle(), status); });
  }
  void read(std::span<std::byte> to, Device<const std::byte> from) override {
    stream_.await([&](LibraryStatus* status) { library_.read(handle(), to.data(), from, to.size(), status); });
  }
  uint64_t kv_layer_bytes(const KvLayout& layout) const override {
    LibraryStatus status;
    const uint64_t nbytes = library_.kv_layer_bytes(handle(), &layout, &status);
    raise(status);
    return nbytes;
  }

 private:
  LibraryHandle* handle() const { return handle_.get(); }
  LibraryInfo described() const {
    LibraryInfo info{};
    LibraryStatus status;
    library_.info(handle(), &info, &status);
    raise(status);
    return info;
  }

  const BackendLibrary& library_;  // loaded as long as the process lives
  std::unique_ptr<LibraryHandle, void (*)(LibraryHandle*)> handle_;
  LibraryStream stream_;
  LibraryInfo info_;  // as it was opened
};

}  // namespace

std::shared_ptr<Backend> open_library_backend(const std::string& path, int index) {
  const BackendLibrary& library = loaded(path);
  check_device(library, index);
  const LibraryOptions options{.device = index};
  LibraryStatus status;
  LibraryHandle* handle = library.open(&options, &status);
  raise(status);
  return std::make_shared<LibraryBackend>(library, handle, place_of(library, index));
}

}  // namespace llava::binding
