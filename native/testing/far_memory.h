// Memory that nobody reaches but while it is open: what stands for a device's.
#pragma once
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <mutex>

#include "common/aligned.h"
#include "common/error.h"

namespace llava::testing {

// Blocks of whole pages in one reserved range, each followed by a page that belongs to none; a block's bytes end where
// that page begins. A copy opens its block, an op opens all: while there are few only them, so that whoever leaves one
// faults; many as one range, since a system call for each of them before every op would take most of the time.
class FarMemory {
 public:
  FarMemory() {
    void* range = mmap(nullptr, kReserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range == MAP_FAILED) throw Error(ErrorCode::kOutOfMemory, "out of memory: could not reserve far memory");
    base_ = static_cast<std::byte*>(range);
  }
  FarMemory(const FarMemory&) = delete;
  FarMemory& operator=(const FarMemory&) = delete;
  ~FarMemory() { munmap(base_, kReserved); }

  std::byte* allocate(uint64_t nbytes) {
    const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
    const uint64_t usable = (nbytes + page - 1) / page * page;
    const std::lock_guard lock(mutex_);
    std::byte* start = take(usable, page);
    if (open_ > 0) mprotect(start, usable, PROT_READ | PROT_WRITE);
    return start + usable - (nbytes + kCacheLine - 1) / kCacheLine * kCacheLine;
  }

  // Asks for no memory: it is what a destructor calls.
  void free(std::byte* data) {
    const std::lock_guard lock(mutex_);
    auto& [start, block] = *std::prev(blocks_.upper_bound(data));
    madvise(start, block.usable, MADV_DONTNEED);
    mprotect(start, block.usable, PROT_NONE);
    block.in_use = false;
    in_use_--;
  }

  // copy() while the block of these bytes is open. The lock is held meanwhile, so copy() must neither fault nor throw.
  template <class Copy>
  void with_block(const std::byte* data, uint64_t nbytes, const Copy& copy) {
    if (nbytes == 0) return;
    const std::lock_guard lock(mutex_);
    const auto after = blocks_.upper_bound(const_cast<std::byte*>(data));
    if (after == blocks_.begin()) throw Error(ErrorCode::kInternal, "a copy is of no block of far memory");
    const auto& [start, block] = *std::prev(after);
    if (!block.in_use || data + nbytes > start + block.usable)
      throw Error(ErrorCode::kInternal, "a copy leaves its block of far memory");
    if (open_ == 0) mprotect(start, block.usable, PROT_READ | PROT_WRITE);
    copy();
    if (open_ == 0) mprotect(start, block.usable, PROT_NONE);
  }

  void open() {
    const std::lock_guard lock(mutex_);
    if (open_++ == 0) protect(PROT_READ | PROT_WRITE);
  }
  void close() {
    const std::lock_guard lock(mutex_);
    if (--open_ == 0) protect(PROT_NONE);
  }

 private:
  static constexpr uint64_t kReserved = uint64_t{4} << 30;  // an emulator counts each page of it
  static constexpr size_t kFewBlocks = 48;                  // more than any case of one op has

  struct Block {
    uint64_t usable = 0;  // bytes
    bool in_use = false;
  };

  // A block of that size that is free again, or new room.
  std::byte* take(uint64_t usable, uint64_t page) {
    for (auto& [start, block] : blocks_) {
      if (block.in_use || block.usable != usable) continue;
      block.in_use = true;
      in_use_++;
      return start;
    }
    if (used_ + usable + page > kReserved) throw Error(ErrorCode::kOutOfMemory, "out of memory: far memory is full");
    std::byte* start = base_ + used_;
    blocks_[start] = {usable, true};
    used_ += usable + page;
    in_use_++;
    return start;
  }
  void protect(int access) {
    if (access == PROT_NONE || in_use_ > kFewBlocks) {
      mprotect(base_, used_, access);
      return;
    }
    for (const auto& [start, block] : blocks_)
      if (block.in_use) mprotect(start, block.usable, access);
  }

  std::mutex mutex_;
  std::byte* base_ = nullptr;
  uint64_t used_ = 0;
  std::map<std::byte*, Block> blocks_;
  size_t in_use_ = 0;
  int64_t open_ = 0;
};

// Access for as long as it lives.
class Opened {
 public:
  explicit Opened(FarMemory& memory) : memory_(memory) { memory_.open(); }
  ~Opened() { memory_.close(); }
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;

 private:
  FarMemory& memory_;
};

}  // namespace llava::testing
