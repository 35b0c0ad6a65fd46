// dlopen and dlsym. The twin for Windows is files_windows.cc.
#if !defined(_WIN32)
#include "common/dynamic_library.h"

#include <dlfcn.h>

#include "common/error.h"

namespace llava {

namespace {

[[noreturn]] void unavailable(const std::string& what) {
  const char* why = dlerror();
  throw Error(ErrorCode::kDeviceUnavailable, what + ": " + (why != nullptr ? why : "the loader does not say why"));
}

}  // namespace

void* library_function(const std::string& path, const char* name) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) unavailable(path + " cannot be loaded");
  void* function = dlsym(library, name);
  if (function == nullptr) unavailable(path + " is no back end of this package");
  return function;
}

}  // namespace llava
#endif
