// open + lseek + pread; lseek rather than fstat, as in mapped_file.cc. The twin for Windows is files_windows.cc.
#if !defined(_WIN32)
#include "common/file_reader.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "common/error.h"

namespace llava {

FileReader::FileReader(const std::string& path) : path_(path), fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
  if (fd_ < 0) throw Error(ErrorCode::kModelNotFound, "cannot open " + path + ": " + std::strerror(errno));
  const off_t end = ::lseek(fd_, 0, SEEK_END);
  size_ = end > 0 ? static_cast<uint64_t>(end) : 0;
}

FileReader::~FileReader() { ::close(fd_); }

void FileReader::read(uint64_t offset, std::byte* dst, uint64_t nbytes) const {
  while (nbytes > 0) {
    const ssize_t got = ::pread(fd_, dst, nbytes, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw Error(ErrorCode::kModelCorrupt, "cannot read " + path_ + ": " + std::strerror(errno));
    if (got == 0)
      throw Error(ErrorCode::kModelCorrupt, path_ + " ends early: it has become shorter since it was opened");
    offset += static_cast<uint64_t>(got);
    dst += got;
    nbytes -= static_cast<uint64_t>(got);
  }
}

}  // namespace llava
#endif
