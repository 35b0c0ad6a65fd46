#include "ops/arena.h"

#include <algorithm>

namespace llava {

namespace {
constexpr uint64_t kSmallestChunk = 1u << 20;  // tiny models fit one chunk
constexpr uint64_t in_whole_lines(uint64_t n) { return (n + kCacheLine - 1) / kCacheLine * kCacheLine; }
}  // namespace

void Arena::add_chunk(uint64_t nbytes) {
  chunks_.reserve(chunks_.size() + 1);
  chunks_.push_back(backend_.allocate(nbytes, pages_));
  used_ = 0;
}

DeviceBytes Arena::take_bytes(uint64_t nbytes) {
  nbytes = std::max(in_whole_lines(nbytes), kCacheLine);
  if (chunks_.empty() || chunks_.back().nbytes() - used_ < nbytes) add_chunk(std::max(nbytes, kSmallestChunk));
  const DeviceBytes taken = chunks_.back().data() + static_cast<int64_t>(used_);
  used_ += nbytes;
  return taken;
}

void Arena::reset() {
  if (chunks_.size() > 1) {
    const uint64_t total = capacity();
    chunks_.clear();
    add_chunk(total);
  }
  used_ = 0;
}

uint64_t Arena::capacity() const {
  uint64_t total = 0;
  for (const DeviceMemory& chunk : chunks_) total += chunk.nbytes();
  return total;
}

}  // namespace llava
