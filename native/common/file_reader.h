// Reads stretches of a file from any thread. For work that goes through a file once: nothing is mapped, so memory stays
// small, and a file that shrinks meanwhile is an error where a mapping would be a fault.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace llava {

class FileReader {
 public:
  explicit FileReader(const std::string& path);  // throws kModelNotFound
  ~FileReader();
  FileReader(const FileReader&) = delete;
  FileReader& operator=(const FileReader&) = delete;

  uint64_t size() const { return size_; }
  // dst[nbytes] from `offset` on; throws kModelCorrupt where the file ends before, or cannot be read.
  void read(uint64_t offset, std::byte* dst, uint64_t nbytes) const;

 private:
  std::string path_;
#if defined(_WIN32)
  void* file_;  // a HANDLE
#else
  int fd_;
#endif
  uint64_t size_;
};

}  // namespace llava
