// How many threads a job gets: one where more are no faster. Knows what jobs took, and nothing of threads.
//   A job of some microseconds is done before other cores have noticed it; a pass of such jobs does not wake them.
//   Where other processes keep cores busy, a thread is taken off its core for milliseconds in the middle of a task, and
//   the job waits for it. So what sharing gains and loses is added up. Once it loses, half as many threads work for a
//   multiple of what was lost; then more are tried again. Trying costs a bounded share of the time, however busy the
//   machine is.
#pragma once
#include <array>
#include <chrono>
#include <cstdint>

namespace llava {

// What became of a shared job.
struct Shares {
  int64_t tasks;
  int64_t own;                          // of the caller
  std::chrono::nanoseconds own_time;    // until it found no more
  std::chrono::nanoseconds total_time;  // until all were done
};

class Sharing {
 public:
  using Nanoseconds = std::chrono::nanoseconds;
  using Time = std::chrono::steady_clock::time_point;

  // Jobs of one function and number of tasks.
  struct Kind {
    const void* function = nullptr;
    int64_t tasks = 0;
    Nanoseconds alone{};  // what the last one takes one thread; 0: not known
    int unmeasured = 0;   // jobs since
  };

  explicit Sharing(int most) : most_(most), threads_(most) {}

  int most() const { return most_; }
  bool holds() const { return threads_ < most_; }  // `now` matters
  Kind& kind_of(const void* function, int64_t tasks);
  int threads_for(const Kind& kind, bool workers_asleep, Time now);
  // every job, but of the smallest only some: reading the clock takes a noticeable part of them
  bool measures(Kind& kind) const;
  void took_alone(Kind& kind, Nanoseconds time) const;
  void took_shared(Kind& kind, const Shares& shares, Time now);

 private:
  void weigh(Nanoseconds gain, Time now);

  int most_;
  int threads_;                 // that may work now
  Nanoseconds balance_{};       // gained lately
  Time hold_until_{};           // no more threads before
  std::array<Kind, 64> kinds_;  // by a hash; a newcomer takes another's place
};

}  // namespace llava
