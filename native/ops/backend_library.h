// A back end in a shared library of its own, opened at run time: what stands between it and the addon.
//   The library exports one C function, llava_backend_library(), which gives a table of C functions. No exception and
//   no C++ class with code of its own crosses it: an error is a code and a text (LibraryStatus), a back end and its
//   memory are handles, and what does cross by its layout are the argument structs of args.h, Cancellation and
//   DeviceBytes, which are plain data. So the two sides may be built by different compilers with different runtimes.
//   export_backend.h makes such a table from a Backend; binding/library_backend.h makes a Backend from such a table.
//
//   kBackendAbi says whether the two sides were built from the same structs. It follows from the names of the ops, the
//   sizes of what crosses, and kAbiSources, the digest of the headers that describe it (comments and layout aside):
//   `node tools/backend-abi.mjs --write` renews it, and test/device.test.ts fails while it is stale. Two
//   libraries of one ABI may still compute different bits; bits are the back end's own.
#pragma once
#include <cstdint>
#include <string_view>

#include "common/cancellation.h"
#include "common/dtype.h"
#include "ops/args.h"

namespace llava {

// How a call ended. `message` ends with NUL, cut where it is longer.
struct LibraryStatus {
  int32_t failed = 0;
  int32_t code = 0;  // ErrorCode
  char message[504] = {};
};

enum class DeviceProblem : int32_t {
  kNone,
  kNoDriver,  // the driver is missing, or too old for the library
  kNoDevice,  // none is there or visible
  kTooOld,    // a device that the library has no code for
};

struct LibraryDevice {
  char name[96];        // as its driver names it
  char capability[32];  // such as sm_90
  uint64_t total_bytes;
  uint64_t free_bytes;
  DeviceProblem problem;  // kNone or kTooOld
  char detail[156];       // of the problem, may be empty
};

struct LibraryDevices {
  static constexpr int32_t kMost = 16;
  int32_t count;          // of those there are; at most kMost
  DeviceProblem problem;  // why there is none: kNoDriver or kNoDevice
  char detail[256];       // what the driver says
  LibraryDevice device[kMost];
};

struct LibraryOptions {
  int32_t device;  // index in LibraryDevices
};

struct LibraryInfo {
  char device[96];
  char isa[32];
  int32_t threads;
  int32_t tiles;                                // 0 or 1: BackendInfo::tiles
  int64_t tower_rows, pass_rows;                // BackendInfo
  KvType tower_kv;                              // BackendInfo
  uint64_t total_bytes, free_bytes, own_bytes;  // DeviceSpace
};

struct LibraryMemory {
  DeviceBytes data;
  void* owner;  // for release()
};

struct LibraryPeak {
  double value;
  const char* unit;  // live as long as the process
  const char* mix;
};

struct LibraryHandle;  // a back end that is open

// Every function but those that cannot fail sets `status` where it fails, and its results mean nothing then. Which
// threads may call what is as of Backend.
struct BackendLibrary {
  // These three stand first in every version, so that one of another version can be told and named.
  uint64_t abi;
  const char* name;     // such as "cuda"
  const char* version;  // of the package that it comes with

  void (*list)(LibraryDevices* devices, LibraryStatus* status);
  LibraryHandle* (*open)(const LibraryOptions* options, LibraryStatus* status);
  void (*close)(LibraryHandle* backend);  // cannot fail; memory that is not released yet stays valid

  void (*info)(LibraryHandle* backend, LibraryInfo* info, LibraryStatus* status);
  void (*measure_peak)(LibraryHandle* backend, uint32_t kind, LibraryPeak* peak, LibraryStatus* status);
  uint64_t (*kv_layer_bytes)(LibraryHandle* backend, const KvLayout* layout, LibraryStatus* status);
  uint64_t (*scratch_bytes)(LibraryHandle* backend);  // cannot fail

  LibraryMemory (*allocate)(LibraryHandle* backend, uint64_t nbytes, LibraryStatus* status);
  void (*release)(void* owner);  // cannot fail; also after close()
  void (*copy_in)(LibraryHandle* backend, DeviceBytes to, const void* from, uint64_t nbytes, LibraryStatus* status);
  void (*copy_out)(LibraryHandle* backend, void* to, Device<const std::byte> from, uint64_t nbytes,
                   LibraryStatus* status);
  void (*copy)(LibraryHandle* backend, DeviceBytes to, Device<const std::byte> from, uint64_t nbytes,
               LibraryStatus* status);
  void (*synchronize)(LibraryHandle* backend, LibraryStatus* status);
  void (*read)(LibraryHandle* backend, void* to, Device<const std::byte> from, uint64_t nbytes, LibraryStatus* status);

  // One of each op, put on the back end's stream, whose cancellation is `cancel` meanwhile.
  struct Ops {
#define OP(name, Args) \
  void (*name)(LibraryHandle * backend, const Cancellation* cancel, const Args* args, LibraryStatus* status);
#include "ops/ops.def"
#undef OP
  } ops;
};

constexpr uint64_t kAbiSources = 0x53257feb408c4d5b;

constexpr uint64_t kBackendAbi = [] {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  const auto mix = [&hash](uint64_t value) {
    for (int byte = 0; byte < 8; byte++) hash = (hash ^ (value >> (8 * byte) & 0xff)) * 0x100000001b3;
  };
  const auto mix_text = [&](std::string_view text) {
    for (const char c : text) mix(static_cast<uint64_t>(c));
  };
  mix(kAbiSources);
#define OP(name, Args) \
  mix_text(#name);     \
  mix(sizeof(Args));
#include "ops/ops.def"
#undef OP
  for (const DTypeTraits& type : kDTypes) {
    mix_text(type.name);
    mix(static_cast<uint64_t>(type.elements));
    mix(static_cast<uint64_t>(type.bytes));
  }
  for (const uint64_t size : {sizeof(LibraryStatus), sizeof(LibraryDevices), sizeof(LibraryOptions),
                              sizeof(LibraryInfo), sizeof(LibraryMemory), sizeof(LibraryPeak), sizeof(BackendLibrary),
                              sizeof(Cancellation), sizeof(KvSequence), sizeof(KvLayout)})
    mix(size);
  return hash;
}();

constexpr const char* kBackendLibraryFunction = "llava_backend_library";
using BackendLibraryFunction = const BackendLibrary* (*)();

}  // namespace llava
