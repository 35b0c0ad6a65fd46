// What a back end is: a stream (its threads and scratch memory) and a table with one function per line of ops.def.
//   An op may throw kOutOfMemory before it has written anything, and nothing else.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "common/arena.h"
#include "common/cancellation.h"
#include "ops/args.h"

namespace llava {

// Where ops run. Not thread-safe: one runner uses it.
class Stream {
 public:
  virtual ~Stream() = default;
  Arena arena;                                  // activations of the pass under way
  Cancellation cancel;                          // requested: ops return early and their outputs are meaningless
  virtual uint64_t scratch_bytes() const = 0;   // the back end's own workspaces
};

struct OpTable {
#define OP(name, Args) void (*name)(Stream&, const Args&);
#include "ops/ops.def"
#undef OP
};

struct Peak {
  double value;      // GFLOP/s, GOP/s or GB/s
  const char* unit;
  const char* mix;   // the instructions measured
};
enum class PeakKind : uint8_t { kFma, kBf16, kInt8, kRead };

struct BackendInfo {
  std::string device;
  std::string isa;
  int threads;
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual const OpTable& ops() const = 0;
  virtual Stream& stream() = 0;
  virtual BackendInfo info() const = 0;
  virtual Peak measure_peak(PeakKind kind) = 0;
};

}  // namespace llava
