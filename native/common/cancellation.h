// Whether work under way is still wanted: a view of flags that others set and that outlive it. Cheap to copy and to ask.
#pragma once
#include <atomic>
#include <span>

namespace llava {

class Cancellation {
 public:
  Cancellation() = default;  // never
  explicit Cancellation(const std::atomic<bool>& flag) : one_(&flag) {}
  explicit Cancellation(std::span<const std::atomic<bool>* const> all) : all_(all) {}  // when every flag is set; without flags never

  // The first flag that is not set ends the search.
  bool requested() const {
    if (one_ != nullptr) return one_->load(std::memory_order_relaxed);
    for (const std::atomic<bool>* flag : all_) {
      if (!flag->load(std::memory_order_relaxed)) return false;
    }
    return !all_.empty();
  }

 private:
  const std::atomic<bool>* one_ = nullptr;
  std::span<const std::atomic<bool>* const> all_;
};

}  // namespace llava
