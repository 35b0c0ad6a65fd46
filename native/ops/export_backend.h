// The library's side of backend_library.h: a table of C functions over a Backend.
//
//   std::shared_ptr<Backend> open(const LibraryOptions&);  // may throw Error
//   void list(LibraryDevices&);                            // may throw Error; finds zeros
//   LLAVA_EXPORT_BACKEND("cuda", "0.1.0", list, open)
#pragma once
#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <string_view>
#include <utility>

#include "common/error.h"
#include "ops/backend.h"
#include "ops/backend_library.h"

namespace llava {

struct LibraryHandle {
  std::shared_ptr<Backend> backend;
};

// Copies a text that may be longer than where it goes.
template <size_t size>
void put_text(char (&to)[size], std::string_view text) {
  const size_t length = std::min(text.size(), size - 1);
  std::memcpy(to, text.data(), length);
  to[length] = '\0';
}

namespace exported {

inline void fail(LibraryStatus* status, ErrorCode code, std::string_view message) noexcept {
  status->failed = 1;
  status->code = static_cast<int32_t>(code);
  put_text(status->message, message);
}

// Runs `body`; what it throws ends here.
template <class Body>
auto reported(LibraryStatus* status, const Body& body) noexcept -> decltype(body()) {
  try {
    return body();
  } catch (const Error& error) {
    fail(status, error.code(), error.what());
  } catch (const std::bad_alloc&) {
    fail(status, ErrorCode::kOutOfMemory, "out of memory");
  } catch (const std::exception& error) {
    fail(status, ErrorCode::kInternal, error.what());
  } catch (...) {
    fail(status, ErrorCode::kInternal, "an unknown failure in the back end's library");
  }
  return decltype(body())();
}

inline LibraryInfo info_of(Backend& backend) {
  const BackendInfo info = backend.info();
  const DeviceSpace space = backend.space().value_or(DeviceSpace{});
  LibraryInfo out{};
  put_text(out.device, info.device);
  put_text(out.isa, info.isa);
  out.threads = info.threads;
  out.tiles = info.tiles ? 1 : 0;
  out.tower_rows = info.tower_rows;
  out.pass_rows = info.pass_rows;
  out.tower_kv = info.tower_kv;
  out.total_bytes = space.total;
  out.free_bytes = space.free;
  out.own_bytes = space.own;
  return out;
}

// One op, whose cancellation ends with it: an op looks at it while it is put on the stream, and nothing does later.
template <class Args>
void run(Backend& backend, void (*op)(Stream&, const Args&), const Cancellation& cancel, const Args& args) {
  struct Watched {
    Stream& stream;
    ~Watched() { stream.cancel = {}; }
  } watched{backend.stream()};
  watched.stream.cancel = cancel;
  op(watched.stream, args);
}

template <auto list, auto open>
constexpr BackendLibrary table(const char* name, const char* version) {
  return {
      .abi = kBackendAbi,
      .name = name,
      .version = version,
      .list =
          [](LibraryDevices* devices, LibraryStatus* status) {
            reported(status, [&] {
              *devices = {};
              list(*devices);
            });
          },
      .open = [](const LibraryOptions* options,
                 LibraryStatus* status) { return reported(status, [&] { return new LibraryHandle{open(*options)}; }); },
      .close = [](LibraryHandle* handle) { delete handle; },
      .info = [](LibraryHandle* handle, LibraryInfo* info,
                 LibraryStatus* status) { reported(status, [&] { *info = info_of(*handle->backend); }); },
      .measure_peak =
          [](LibraryHandle* handle, uint32_t kind, LibraryPeak* peak, LibraryStatus* status) {
            reported(status, [&] {
              const Peak measured = handle->backend->measure_peak(static_cast<PeakKind>(kind));
              *peak = {measured.value, measured.unit, measured.mix};
            });
          },
      .kv_layer_bytes = [](LibraryHandle* handle, const KvLayout* layout, LibraryStatus* status) -> uint64_t {
        return reported(status, [&] { return handle->backend->kv_layer_bytes(*layout); });
      },
      .scratch_bytes = [](LibraryHandle* handle) -> uint64_t { return handle->backend->stream().scratch_bytes(); },
      .allocate =
          [](LibraryHandle* handle, uint64_t nbytes, LibraryStatus* status) {
            return reported(status, [&] {
              auto memory = std::make_unique<DeviceMemory>(handle->backend->allocate(nbytes));
              const DeviceBytes data = memory->data();
              return LibraryMemory{data, memory.release()};
            });
          },
      .release = [](void* owner) { delete static_cast<DeviceMemory*>(owner); },
      .copy_in =
          [](LibraryHandle* handle, DeviceBytes to, const void* from, uint64_t nbytes, LibraryStatus* status) {
            reported(status, [&] {
              handle->backend->copy_in(handle->backend->stream(), to, {static_cast<const std::byte*>(from), nbytes});
            });
          },
      .copy_out =
          [](LibraryHandle* handle, void* to, Device<const std::byte> from, uint64_t nbytes, LibraryStatus* status) {
            reported(status, [&] {
              handle->backend->copy_out(handle->backend->stream(), {static_cast<std::byte*>(to), nbytes}, from);
            });
          },
      .copy =
          [](LibraryHandle* handle, DeviceBytes to, Device<const std::byte> from, uint64_t nbytes,
             LibraryStatus* status) {
            reported(status, [&] { handle->backend->copy(handle->backend->stream(), to, from, nbytes); });
          },
      .synchronize =
          [](LibraryHandle* handle, LibraryStatus* status) {
            reported(status, [&] { handle->backend->synchronize(handle->backend->stream()); });
          },
      .read =
          [](LibraryHandle* handle, void* to, Device<const std::byte> from, uint64_t nbytes, LibraryStatus* status) {
            reported(status, [&] { handle->backend->read({static_cast<std::byte*>(to), nbytes}, from); });
          },
      .ops =
          {
#define OP(name, Args)                                                                                     \
  .name = [](LibraryHandle* handle, const Cancellation* cancel, const Args* args, LibraryStatus* status) { \
    reported(status, [&] { run(*handle->backend, handle->backend->ops().name, *cancel, *args); });         \
  },
#include "ops/ops.def"
#undef OP
          },
  };
}

}  // namespace exported

#define LLAVA_EXPORT_BACKEND(name, version, list, open)                                                      \
  extern "C" __attribute__((visibility("default"))) const ::llava::BackendLibrary* llava_backend_library() { \
    static constexpr ::llava::BackendLibrary kTable = ::llava::exported::table<&list, &open>(name, version); \
    return &kTable;                                                                                          \
  }

}  // namespace llava
