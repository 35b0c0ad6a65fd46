// Keys and values of one running text, in pages of kPageTokens positions. fork() shares pages; a page that is shared is copied before it is written.
#pragma once
#include <atomic>
#include <memory>
#include <vector>

#include "model/config.h"

namespace llava {

// Sizes of a page: all layers' keys and values.
struct KvShape {
  int64_t layers;
  int64_t kv_heads;
  int64_t head_dim;
  KvType type;
  uint64_t layer_bytes() const { return static_cast<uint64_t>(page_layer_bytes(kv_heads, head_dim, type)); }
  uint64_t page_bytes() const { return layer_bytes() * static_cast<uint64_t>(layers); }
};

// Bytes of the pages that so many positions of one sequence take.
uint64_t kv_cache_bytes(const KvShape& shape, int64_t positions);

class KvPage {
 public:
  KvPage(uint64_t bytes, std::shared_ptr<std::atomic<uint64_t>> held);  // throws kOutOfMemory
  ~KvPage();
  KvPage(const KvPage&) = delete;
  KvPage& operator=(const KvPage&) = delete;
  std::byte* data() const { return data_; }

 private:
  std::byte* data_;
  uint64_t bytes_;
  std::shared_ptr<std::atomic<uint64_t>> held_;  // bytes of all live pages of the model
};

class KvCache {
 public:
  KvCache(const KvShape& shape, std::shared_ptr<std::atomic<uint64_t>> held) : shape_(shape), held_(std::move(held)) {}

  int64_t length() const { return length_; }
  const KvShape& shape() const { return shape_; }

  // Pages for positions length … length + tokens - 1, none of them shared. Throws kOutOfMemory and is then unchanged in meaning.
  void reserve(int64_t tokens);
  void commit(int64_t tokens) { length_ += tokens; }
  // Keeps the first `length` positions; also drops pages that reserve() made and no commit() used.
  void truncate(int64_t length);
  KvCache fork() const { return *this; }

  // Where layer l's keys and values start, page by page.
  std::vector<std::byte*> layer_pages(int64_t layer) const;
  KvPages view(const std::vector<std::byte*>& pages) const { return {pages.data(), shape_.kv_heads, shape_.head_dim, shape_.type}; }

 private:
  KvShape shape_;
  std::shared_ptr<std::atomic<uint64_t>> held_;
  std::vector<std::shared_ptr<KvPage>> pages_;
  int64_t length_ = 0;
};

}  // namespace llava
