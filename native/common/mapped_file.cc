// open + lseek + mmap; lseek rather than fstat, whose symbol would raise the glibc this binary asks for. The twin for
// Windows is files_windows.cc.
#if !defined(_WIN32)
#include "common/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "common/error.h"

namespace llava {

namespace {
constexpr off_t kAddressable = off_t{1} << 47;  // no process can map more; a directory claims to be larger
}  // namespace

MappedFile::MappedFile(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) throw Error(ErrorCode::kModelNotFound, "cannot open " + path + ": " + std::strerror(errno));
  const off_t end = ::lseek(fd, 0, SEEK_END);
  void* mapping = end > 0 ? ::mmap(nullptr, static_cast<size_t>(end), PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
  const int why = errno;
  ::close(fd);
  if (mapping == MAP_FAILED && why == ENOMEM && end > 0 && end < kAddressable)
    throw Error(ErrorCode::kOutOfMemory, "out of memory: cannot map the " + std::to_string(end) + " bytes of " + path);
  if (mapping == MAP_FAILED)
    throw Error(ErrorCode::kModelNotFound,
                "cannot map " + path + ": " + (end == 0 ? "the file is empty" : std::strerror(why)));
  data_ = static_cast<const std::byte*>(mapping);
  size_ = static_cast<uint64_t>(end);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

}  // namespace llava
#endif
