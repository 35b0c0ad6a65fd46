#include "common/sharing.h"

#include <algorithm>

namespace llava {

namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

// Swept with `bench -- neighbours` on two cores of a Zen 3.
constexpr microseconds kWorthSharing{3};  // one thread's time: below, spinning workers come too late
constexpr microseconds kWorthWaking{50};  // a sleeping worker begins after some tens of microseconds
constexpr int kMeasureOneIn = 8;
constexpr int kHold = 16;                  // so trying costs 1 / 17 at most
constexpr milliseconds kLongestHold{200};  // until a machine that is free again is noticed
// what is forgiven after a good time: about one time slice of the operating system
constexpr milliseconds kMostBalance{4};

}  // namespace

Sharing::Kind& Sharing::kind_of(const void* function, int64_t tasks) {
  constexpr uint64_t kGolden = 0x9E3779B97F4A7C15u;  // 2^64 / the golden ratio: Fibonacci hashing (Knuth, TAOCP 6.4)
  const uint64_t hash = (reinterpret_cast<uintptr_t>(function) + static_cast<uint64_t>(tasks) * kGolden) * kGolden;
  Kind& kind = kinds_[hash >> 58];
  if (kind.function != function || kind.tasks != tasks) kind = {function, tasks};
  return kind;
}

int Sharing::threads_for(const Kind& kind, bool workers_asleep, Time now) {
  if (kind.alone.count() > 0 && kind.alone < (workers_asleep ? kWorthWaking : kWorthSharing)) return 1;
  if (threads_ < most_ && now >= hold_until_) threads_ = std::min(most_, 2 * threads_);
  return threads_;
}

bool Sharing::measures(Kind& kind) const {
  return kind.alone.count() == 0 || kind.alone >= kWorthSharing || ++kind.unmeasured >= kMeasureOneIn;
}

void Sharing::took_alone(Kind& kind, Nanoseconds time) const {
  kind.alone = time;
  kind.unmeasured = 0;
}

void Sharing::took_shared(Kind& kind, const Shares& shares, Time now) {
  if (shares.own == 0) return;  // nothing to compare with, and the caller was not held up by much
  const Nanoseconds task = shares.own_time / shares.own;
  took_alone(kind, task * shares.tasks);
  const int64_t fewer = (threads_ + 1) / 2;
  const Nanoseconds of_fewer = task * ((shares.tasks + fewer - 1) / fewer);
  // Fewer threads take at most twice as long; where they seem to take longer, the caller itself was off its core in a
  // task.
  weigh(std::min(of_fewer - shares.total_time, shares.total_time), now);
}

void Sharing::weigh(Nanoseconds gain, Time now) {
  balance_ = std::min<Nanoseconds>(balance_ + gain, kMostBalance);
  if (balance_.count() >= 0) return;
  threads_ = (threads_ + 1) / 2;
  hold_until_ = now + std::min<Nanoseconds>(-balance_ * kHold, kLongestHold);
  balance_ = {};
}

}  // namespace llava
