// Whether work is still wanted: looked at before every task of an op.
//   A pass serves several callers, each with a flag of its own; it stops early when its own flag is set, or when all of
//   theirs are.
#pragma once
#include <atomic>
#include <span>

namespace llava {

class Cancellation {
 public:
  Cancellation() = default;  // never requested
  explicit Cancellation(const std::atomic<bool>& whole) : whole_(&whole) {}
  // `callers` is read for as long as this is used; without any, only `whole` counts.
  Cancellation(const std::atomic<bool>& whole, std::span<const std::atomic<bool>* const> callers)
      : whole_(&whole), callers_(callers) {}

  bool requested() const {
    if (whole_ != nullptr && whole_->load(std::memory_order_relaxed)) return true;
    for (const std::atomic<bool>* caller : callers_) {
      if (!caller->load(std::memory_order_relaxed)) return false;
    }
    return !callers_.empty();
  }

 private:
  const std::atomic<bool>* whole_ = nullptr;
  std::span<const std::atomic<bool>* const> callers_;
};

}  // namespace llava
