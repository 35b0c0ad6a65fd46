#include "model/kv_cache.h"

#include <cstdlib>
#include <cstring>

#include "common/aligned.h"
#include "common/error.h"

namespace llava {

namespace {
int64_t pages_for(int64_t tokens) { return (tokens + kPageTokens - 1) / kPageTokens; }
uint64_t in_whole_lines(uint64_t bytes) { return (bytes + 63) / 64 * 64; }
}  // namespace

uint64_t kv_cache_bytes(const KvShape& shape, int64_t positions) {
  return static_cast<uint64_t>(pages_for(positions)) * in_whole_lines(shape.page_bytes());
}

KvPage::KvPage(uint64_t bytes, std::shared_ptr<std::atomic<uint64_t>> held) : bytes_(in_whole_lines(bytes)), held_(std::move(held)) {
  data_ = static_cast<std::byte*>(allocate_aligned(bytes_));
  if (data_ == nullptr) throw Error(ErrorCode::kOutOfMemory, "out of memory: could not allocate a page of " + std::to_string(bytes_) + " bytes for keys and values");
  held_->fetch_add(bytes_, std::memory_order_relaxed);
}

KvPage::~KvPage() {
  std::free(data_);
  held_->fetch_sub(bytes_, std::memory_order_relaxed);
}

void KvCache::reserve(int64_t tokens) {
  const auto partial = static_cast<size_t>(length_ / kPageTokens);
  if (length_ % kPageTokens != 0 && pages_[partial].use_count() > 1) {
    auto own = std::make_shared<KvPage>(shape_.page_bytes(), held_);
    std::memcpy(own->data(), pages_[partial]->data(), shape_.page_bytes());
    pages_[partial] = std::move(own);
  }
  while (static_cast<int64_t>(pages_.size()) < pages_for(length_ + tokens)) pages_.push_back(std::make_shared<KvPage>(shape_.page_bytes(), held_));
}

void KvCache::truncate(int64_t length) {
  length_ = length;
  pages_.resize(static_cast<size_t>(pages_for(length)));
}

std::vector<std::byte*> KvCache::layer_pages(int64_t layer) const {
  std::vector<std::byte*> starts;
  starts.reserve(pages_.size());
  for (const auto& page : pages_) starts.push_back(page->data() + static_cast<uint64_t>(layer) * shape_.layer_bytes());
  return starts;
}

}  // namespace llava
