// What a back end is: memory of its own, a stream that work is put on, and a table with one function per line of
// ops.def.
//   Its memory is seen from outside only through copy_in, copy_out, copy and read; ops and copies run in the order in
//   which they were put on the stream, perhaps later: synchronize() waits for them. One thread uses a stream at a time.
//   An op may throw kOutOfMemory before it has written anything, and nothing else. What fails on a device is thrown by
//   synchronize(): kDeviceFailed.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "common/aligned.h"
#include "common/cancellation.h"
#include "common/mapped_file.h"
#include "ops/args.h"

namespace llava {

// Where ops run. Not thread-safe: one runner uses it.
class Stream {
 public:
  virtual ~Stream() = default;
  Cancellation cancel;                         // requested: ops return early and their outputs are meaningless
  virtual uint64_t scratch_bytes() const = 0;  // the back end's own workspaces
};

struct OpTable {
#define OP(name, Args) void (*name)(Stream&, const Args&);
#include "ops/ops.def"
#undef OP
};

struct Peak {
  double value;  // GFLOP/s, GOP/s or GB/s
  const char* unit;
  const char* mix;  // the instructions measured
};
// kUpdate: reads and writes in place, bytes of both.
enum class PeakKind : uint8_t { kFma, kBf16, kInt8, kRead, kUpdate };

struct BackendInfo {
  std::string device;
  std::string isa;
  int threads;
  bool tiles;  // products of many rows go over tiles of bf16, also those of quantised weights and of float32
  // Rows of one pass, at most, of pictures or texts through a tower and of texts through the decoder: enough that
  // weights are read seldom, and that a slab of a product is never short. More only take memory.
  int64_t tower_rows = 1280;
  int64_t pass_rows = 512;
  // Of the keys and values of towers under fast arithmetic, which live as long as a layer.
  KvType tower_kv = KvType::kF32;
};

// The memory of a device, in bytes; `own` is what the back end may come to take there beside what it is asked for.
struct DeviceSpace {
  uint64_t total, free, own;
};

// Hears how many bytes of a file have been taken over so far.
using AdoptProgress = std::function<void(uint64_t nbytes)>;

class Backend {
 public:
  virtual ~Backend() = default;
  virtual const OpTable& ops() const = 0;
  virtual Stream& stream() = 0;
  virtual BackendInfo info() const = 0;
  virtual Peak measure_peak(PeakKind kind) = 0;

  // 64-byte aligned, contents undefined; from any thread. Throws kOutOfMemory.
  virtual DeviceMemory allocate(uint64_t nbytes, PageSize pages = PageSize::kLarge) = 0;
  // Bytes [first, first + nbytes) of a file, for reading: its mapping where the device can read it and no copy is asked
  // for, else a copy. Throws kOutOfMemory.
  virtual DeviceMemory adopt(std::shared_ptr<const MappedFile> file, uint64_t first, uint64_t nbytes,
                             const AdoptProgress& progress) = 0;

  // Host to device; `from` may be used again after the call.
  virtual void copy_in(Stream& stream, DeviceBytes to, std::span<const std::byte> from) = 0;
  // Device to host; `to` is written once the stream is synchronised.
  virtual void copy_out(Stream& stream, std::span<std::byte> to, Device<const std::byte> from) = 0;
  virtual void copy(Stream& stream, DeviceBytes to, Device<const std::byte> from, uint64_t nbytes) = 0;
  // Waits for all that was put on the stream. Throws kDeviceFailed.
  virtual void synchronize(Stream& stream) = 0;
  // Device to host at once, from any thread: of memory that nothing on a stream writes any more.
  virtual void read(std::span<std::byte> to, Device<const std::byte> from) = 0;

  // Bytes of one layer in one page of keys and values, whose layout is the back end's.
  virtual uint64_t kv_layer_bytes(const KvLayout& layout) const = 0;
  // As it is now; absent where the device's memory is the host's.
  virtual std::optional<DeviceSpace> space() const { return {}; }
};

// The same for values of any type.
template <class T>
void copy_in(Backend& backend, Device<T> to, std::span<const T> from) {
  if (!from.empty()) backend.copy_in(backend.stream(), to.template as<std::byte>(), std::as_bytes(from));
}
template <class T>
void copy_out(Backend& backend, std::span<T> to, Device<const T> from) {
  if (!to.empty()) backend.copy_out(backend.stream(), std::as_writable_bytes(to), from.template as<const std::byte>());
}

}  // namespace llava
