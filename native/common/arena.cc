#include "common/arena.h"

#include <algorithm>
#include <cstdlib>
#include <string>

#include "common/error.h"

namespace llava {

namespace {
constexpr uint64_t kSmallestChunk = 1u << 20;    // tiny models fit one chunk
constexpr uint64_t round_up(uint64_t n) { return (n + kCacheLine - 1) / kCacheLine * kCacheLine; }
}  // namespace

Arena::~Arena() {
  for (const Chunk& chunk : chunks_) std::free(chunk.data);
}

void Arena::add_chunk(uint64_t size) {
  chunks_.reserve(chunks_.size() + 1);
  void* data = allocate_aligned(size, pages_);
  if (data == nullptr) throw Error(ErrorCode::kOutOfMemory, "out of memory: could not allocate " + std::to_string(size) + " bytes of scratch memory");
  chunks_.push_back({static_cast<std::byte*>(data), size, 0});
}

void* Arena::take_bytes(uint64_t size) {
  size = std::max(round_up(size), kCacheLine);
  if (chunks_.empty() || chunks_.back().size - chunks_.back().used < size) add_chunk(std::max(size, kSmallestChunk));
  Chunk& chunk = chunks_.back();
  void* out = chunk.data + chunk.used;
  chunk.used += size;
  return out;
}

void Arena::reset() {
  if (chunks_.size() > 1) {
    const uint64_t total = capacity();
    for (const Chunk& chunk : chunks_) std::free(chunk.data);
    chunks_.clear();
    add_chunk(total);
  }
  if (!chunks_.empty()) chunks_.back().used = 0;
}

uint64_t Arena::capacity() const {
  uint64_t total = 0;
  for (const Chunk& chunk : chunks_) total += chunk.size;
  return total;
}

}  // namespace llava
