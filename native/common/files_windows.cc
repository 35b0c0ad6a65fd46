// MappedFile, FileReader and library_function of Windows: their twins are mapped_file.cc, file_reader.cc and
// dynamic_library.cc. Paths come as UTF-8.
// Files are opened for sharing, deleting included, so that a model may be replaced while it is open, as elsewhere.
#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

#include <algorithm>
#include <string>
#include <system_error>

#include "common/dynamic_library.h"
#include "common/error.h"
#include "common/file_reader.h"
#include "common/mapped_file.h"

namespace llava {

namespace {

std::wstring wide(const std::string& text) {
  const int bytes = static_cast<int>(text.size());
  const int length = MultiByteToWideChar(CP_UTF8, 0, text.data(), bytes, nullptr, 0);
  std::wstring result(static_cast<size_t>(length), L'\0');
  MultiByteToWideChar(CP_UTF8, 0, text.data(), bytes, result.data(), length);
  return result;
}

std::string reason(DWORD code) { return std::system_category().message(static_cast<int>(code)); }

HANDLE open_for_reading(const std::string& path) {
  const HANDLE file =
      CreateFileW(wide(path).c_str(), GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, nullptr,
                  OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, nullptr);
  if (file == INVALID_HANDLE_VALUE)
    throw Error(ErrorCode::kModelNotFound, "cannot open " + path + ": " + reason(GetLastError()));
  return file;
}

uint64_t size_of(HANDLE file) {
  LARGE_INTEGER size = {};
  return GetFileSizeEx(file, &size) ? static_cast<uint64_t>(size.QuadPart) : 0;
}

}  // namespace

MappedFile::MappedFile(const std::string& path) {
  const HANDLE file = open_for_reading(path);
  const uint64_t size = size_of(file);
  const HANDLE mapping = size > 0 ? CreateFileMappingW(file, nullptr, PAGE_READONLY, 0, 0, nullptr) : nullptr;
  // the view keeps the file; both handles go
  void* view = mapping != nullptr ? MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0) : nullptr;
  const DWORD why = GetLastError();
  if (mapping != nullptr) CloseHandle(mapping);
  CloseHandle(file);
  if (view == nullptr && size > 0 && (why == ERROR_NOT_ENOUGH_MEMORY || why == ERROR_COMMITMENT_LIMIT))
    throw Error(ErrorCode::kOutOfMemory, "out of memory: cannot map the " + std::to_string(size) + " bytes of " + path);
  if (view == nullptr)
    throw Error(ErrorCode::kModelNotFound,
                "cannot map " + path + ": " + (size == 0 ? "the file is empty" : reason(why)));
  data_ = static_cast<const std::byte*>(view);
  size_ = size;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) UnmapViewOfFile(data_);
}

FileReader::FileReader(const std::string& path) : path_(path), file_(open_for_reading(path)), size_(size_of(file_)) {}

FileReader::~FileReader() { CloseHandle(file_); }

void FileReader::read(uint64_t offset, std::byte* dst, uint64_t nbytes) const {
  constexpr uint64_t kMost = uint64_t{1} << 30;  // a DWORD counts
  while (nbytes > 0) {
    OVERLAPPED place = {};
    place.Offset = static_cast<DWORD>(offset);
    place.OffsetHigh = static_cast<DWORD>(offset >> 32);
    DWORD got = 0;
    const BOOL done = ReadFile(file_, dst, static_cast<DWORD>(std::min(nbytes, kMost)), &got, &place);
    if (!done && GetLastError() != ERROR_HANDLE_EOF)
      throw Error(ErrorCode::kModelCorrupt, "cannot read " + path_ + ": " + reason(GetLastError()));
    if (got == 0)
      throw Error(ErrorCode::kModelCorrupt, path_ + " ends early: it has become shorter since it was opened");
    offset += got;
    dst += got;
    nbytes -= got;
  }
}

void* library_function(const std::string& path, const char* name) {
  const auto unavailable = [&path](const char* what) {
    return Error(ErrorCode::kDeviceUnavailable, path + what + reason(GetLastError()));
  };
  // libraries that it needs are looked for beside it
  const HMODULE library = LoadLibraryExW(wide(path).c_str(), nullptr, LOAD_WITH_ALTERED_SEARCH_PATH);
  if (library == nullptr) throw unavailable(" cannot be loaded: ");
  const FARPROC function = GetProcAddress(library, name);
  if (function == nullptr) throw unavailable(" is no back end of this package: ");
  return reinterpret_cast<void*>(function);
}

}  // namespace llava
#endif
