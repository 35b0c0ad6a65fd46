// Shared libraries opened at run time.
#pragma once
#include <string>

namespace llava {

// The function `name` of the shared library at `path`, whose other symbols nobody sees. It stays loaded until the
// process ends, as threads of a driver may run in it; a second call finds it loaded. From any thread. Throws
// kDeviceUnavailable with what the loader says.
void* library_function(const std::string& path, const char* name);

}  // namespace llava
