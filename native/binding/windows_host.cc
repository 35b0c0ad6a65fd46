// Node-API on Windows, where a library names the file that its functions come from: Node's import library says
// node.exe, and an addon that was linked to it does not load in a host of another name (Electron, a packed program). So
// it is not linked to any: the import pointers that the headers' dllimport makes calls go through are defined here, and
// filled by name from the program that runs, or from its Node library, as the addon is loaded.
#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <initializer_list>

// LLAVA_NODE_API(X) is X(napi_…) for each function of the Node-API version that this addon asks for. CMakeLists.txt
// writes it from node-api-headers.
#include "node_api_functions.h"

#define LLAVA_POINTER(name) FARPROC __imp_##name = nullptr;
extern "C" {
LLAVA_NODE_API(LLAVA_POINTER)
}

namespace {

HMODULE host() {
  for (const wchar_t* name : {static_cast<const wchar_t*>(nullptr), L"node.dll", L"libnode.dll"}) {
    const HMODULE module = GetModuleHandleW(name);
    if (module != nullptr && GetProcAddress(module, "napi_create_function") != nullptr) return module;
  }
  return nullptr;
}

}  // namespace

// Without a host, or in one that lacks a function, loading fails: ERROR_DLL_INIT_FAILED.
extern "C" BOOL WINAPI DllMain(HINSTANCE, DWORD why, LPVOID) {
  if (why != DLL_PROCESS_ATTACH) return TRUE;
  const HMODULE module = host();
  if (module == nullptr) return FALSE;
#define LLAVA_FIND(name) \
  if ((__imp_##name = GetProcAddress(module, #name)) == nullptr) return FALSE;
  LLAVA_NODE_API(LLAVA_FIND)
  return TRUE;
}
#endif
