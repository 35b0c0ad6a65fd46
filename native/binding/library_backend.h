// The addon's side of ops/backend_library.h: a Backend whose memory and ops are those of a shared library.
#pragma once
#include <memory>
#include <string>

#include "ops/backend.h"

namespace llava::binding {

// Device `index` of the library at `path`. Throws kDeviceUnavailable, which says what is missing and what to do: no
// such library or one of another ABI, no driver, no device, one that is too old, no such index; kOutOfMemory;
// kDeviceFailed.
//   What fails on the device in mid-run is thrown by every later call too: its memory may hold anything by then.
std::shared_ptr<Backend> open_library_backend(const std::string& path, int index);

}  // namespace llava::binding
