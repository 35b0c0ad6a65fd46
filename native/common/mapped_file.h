// A whole file mapped read-only: pages are shared between processes and loaded on first touch.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace llava {

class MappedFile {
 public:
  explicit MappedFile(const std::string& path);  // throws kModelNotFound
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::byte* data() const { return data_; }
  uint64_t size() const { return size_; }

 private:
  const std::byte* data_ = nullptr;
  uint64_t size_ = 0;
};

}  // namespace llava
