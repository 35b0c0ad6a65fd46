#include "model/kv_cache.h"

#include <algorithm>

namespace llava {

namespace {
int64_t pages_for(int64_t tokens) { return (tokens + kPageTokens - 1) / kPageTokens; }
}  // namespace

uint64_t KvPool::bytes_for(int64_t positions) const {
  return static_cast<uint64_t>(pages_for(positions)) * page_bytes();
}

KvPage::KvPage(std::shared_ptr<KvPool> pool)
    : pool_(std::move(pool)), memory_(pool_->backend.allocate(pool_->page_bytes())) {
  pool_->held.fetch_add(memory_.nbytes(), std::memory_order_relaxed);
}

KvPage::~KvPage() { pool_->held.fetch_sub(memory_.nbytes(), std::memory_order_relaxed); }

void KvCache::reserve(int64_t tokens) {
  const auto partial = static_cast<size_t>(length_ / kPageTokens);
  if (length_ % kPageTokens != 0 && pages_[partial].use_count() > 1) {
    auto own = std::make_shared<KvPage>(pool_);
    pool_->backend.copy(pool_->backend.stream(), own->data(), pages_[partial]->data(), pool_->page_bytes());
    pages_[partial] = std::move(own);
  }
  while (static_cast<int64_t>(pages_.size()) < pages_for(length_ + tokens))
    pages_.push_back(std::make_shared<KvPage>(pool_));
}

void KvCache::truncate(int64_t length) {
  length_ = length;
  pages_.resize(static_cast<size_t>(pages_for(length)));
}

std::vector<DeviceBytes> KvCache::pages() const {
  std::vector<DeviceBytes> addresses;
  addresses.reserve(pages_.size());
  for (const auto& page : pages_) addresses.push_back(page->data());
  return addresses;
}

// visit(address in the page, offset in the range, bytes) for each stretch of the range that lies in one page.
template <class Visit>
void KvCache::visit_pages(uint64_t first, uint64_t nbytes, const Visit& visit) const {
  const uint64_t page_bytes = pool_->page_bytes();
  for (uint64_t done = 0; done < nbytes;) {
    const uint64_t at = first + done, within = at % page_bytes, some = std::min(nbytes - done, page_bytes - within);
    visit(pages_[at / page_bytes]->data() + static_cast<int64_t>(within), done, some);
    done += some;
  }
}

void KvCache::read(uint64_t first, std::span<std::byte> to) const {
  Backend& backend = pool_->backend;
  visit_pages(first, to.size(), [&](DeviceBytes address, uint64_t offset, uint64_t nbytes) {
    backend.copy_out(backend.stream(), to.subspan(offset, nbytes), address.as<const std::byte>());
  });
  backend.synchronize(backend.stream());
}

void KvCache::write(uint64_t first, std::span<const std::byte> from) {
  Backend& backend = pool_->backend;
  visit_pages(first, from.size(), [&](DeviceBytes address, uint64_t offset, uint64_t nbytes) {
    backend.copy_in(backend.stream(), address, from.subspan(offset, nbytes));
  });
  backend.synchronize(backend.stream());
}

}  // namespace llava
