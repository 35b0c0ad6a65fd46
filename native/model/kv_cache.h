// Keys and values of one running text, in pages of kPageTokens positions. fork() shares pages; a page that is shared is
// copied before it is written.
#pragma once
#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include "model/config.h"
#include "ops/backend.h"

namespace llava {

// Where pages come from and what they hold: all layers' keys and values of kPageTokens positions.
struct KvPool {
  Backend& backend;
  KvLayout layout;
  int64_t layers;
  std::atomic<uint64_t> held{0};  // bytes of all live pages

  uint64_t layer_bytes() const { return backend.kv_layer_bytes(layout); }
  uint64_t page_bytes() const { return layer_bytes() * static_cast<uint64_t>(layers); }
  // Bytes of the pages that so many positions of one sequence take.
  uint64_t bytes_for(int64_t positions) const;
};

class KvPage {
 public:
  explicit KvPage(std::shared_ptr<KvPool> pool);  // throws kOutOfMemory
  ~KvPage();
  KvPage(const KvPage&) = delete;
  KvPage& operator=(const KvPage&) = delete;
  DeviceBytes data() const { return memory_.data(); }

 private:
  std::shared_ptr<KvPool> pool_;
  DeviceMemory memory_;
};

class KvCache {
 public:
  explicit KvCache(std::shared_ptr<KvPool> pool) : pool_(std::move(pool)) {}

  int64_t length() const { return length_; }

  // Pages for positions length … length + tokens - 1, none of them shared. Throws kOutOfMemory and is then unchanged in
  // meaning.
  void reserve(int64_t tokens);
  void commit(int64_t tokens) { length_ += tokens; }
  // Keeps the first `length` positions; also drops pages that reserve() made and no commit() used.
  void truncate(int64_t length);
  KvCache fork() const { return *this; }

  std::vector<DeviceBytes> pages() const;

  // Its pages one after another, as bytes of the back end's own layout: what one of the same model, type of keys and
  // values and back end may be restored from.
  uint64_t nbytes() const { return pages_.size() * pool_->page_bytes(); }
  // Bytes [first, first + to.size()) of them.
  void read(uint64_t first, std::span<std::byte> to) const;
  void write(uint64_t first, std::span<const std::byte> from);

 private:
  template <class Visit>
  void visit_pages(uint64_t first, uint64_t nbytes, const Visit& visit) const;

  std::shared_ptr<KvPool> pool_;
  std::vector<std::shared_ptr<KvPage>> pages_;
  int64_t length_ = 0;
};

}  // namespace llava
