// How tasks are claimed: left_ counts down from job_.tasks. Whoever takes 1 from a value above 0 has a task of the job
// that job_ holds then, and only
//   after that reads job_. So it does not matter when a worker comes: late, it takes tasks of a later job, or finds
//   none. Why that is safe:
//   - The caller writes job_, then left_ (release). A claim acquires, and every claim between is a read-modify-write of
//   left_, so it stands in the release
//     sequence of that store: what is claimed and what is read belong together.
//   - The caller writes job_ again only when it has read 0 from unfinished_ (acquire). Every claimed task is then
//   reported (release), so whoever claimed one
//     has read job_ for the last time. A thread whose claim failed never reads it.
//   - A thread reports once, when it finds no more. Its job ends no sooner, so all that it reports are tasks of one
//   job.
//   - What tasks wrote reaches the caller by unfinished_, and the tasks of the next job by left_.
//   - A claim in vain may take 1 from left_ between the end of a job and the store that begins the next: the store
//   comes later, and wins.
#include "common/worker_team.h"

#include <chrono>
#include <utility>

namespace llava {

namespace {

constexpr int kSpins = 2000;  // about 30 µs of pause: longer than the gap between two ops, far shorter than a token

// How long a caller lets others go first: some tens of times what it takes to wake a thread.
constexpr std::chrono::milliseconds kPatience{1};

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Whether `value` differs from `old` within some tens of microseconds.
template <class T>
bool changes_soon(const std::atomic<T>& value, T old) {
  for (int spin = 0; spin < kSpins; spin++) {
    if (value.load(std::memory_order_relaxed) != old) return true;
    relax();
  }
  return false;
}

// The team whose task this thread is in.
struct Place {
  const WorkerTeam* team = nullptr;
  int worker = -1;
};
thread_local Place place;

class Within {
 public:
  Within(const WorkerTeam* team, int worker) : before_(place) { place = {team, worker}; }
  ~Within() { place = before_; }
  Within(const Within&) = delete;
  Within& operator=(const Within&) = delete;

 private:
  Place before_;
};

}  // namespace

WorkerTeam::WorkerTeam(int threads) {
  workers_.reserve(static_cast<size_t>(threads > 1 ? threads - 1 : 0));
  try {
    for (int worker = 1; worker < threads; worker++) workers_.emplace_back([this, worker] { worker_loop(worker); });
  } catch (...) {  // no destructor will run, and those that were started must not outlive it
    stop();
    throw;
  }
}

WorkerTeam::~WorkerTeam() { stop(); }

void WorkerTeam::stop() {
  stop_.store(true, std::memory_order_relaxed);
  job_number_.fetch_add(1, std::memory_order_release);
  set_active(threads());
  job_number_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void WorkerTeam::set_active(int threads) {
  if (active() == threads) return;
  active_.store(threads, std::memory_order_release);
  active_.notify_all();
}

bool WorkerTeam::begin_turn(bool waits) {
  using Clock = std::chrono::steady_clock;
  std::unique_lock lock(turn_mutex_);
  if (!turn_taken_ && impatient_ == 0) return turn_taken_ = true;
  if (!waits) return false;
  const Clock::time_point start = Clock::now();
  bool impatient = false;
  waiting_++;
  while (turn_taken_ || (impatient_ > 0 && !impatient)) {
    turn_free_.wait(lock);
    if (impatient || Clock::now() - start < kPatience) continue;
    impatient = true;
    impatient_++;
  }
  waiting_--;
  if (impatient) impatient_--;
  return turn_taken_ = true;
}

void WorkerTeam::end_turn() {
  const std::lock_guard lock(turn_mutex_);
  turn_taken_ = false;
  if (waiting_ > 0) turn_free_.notify_all();
}

int WorkerTeam::worker_here() const { return place.team == this ? place.worker : -1; }

Shares WorkerTeam::run(const Job& job) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  job_ = job;
  failed_.store(false, std::memory_order_relaxed);
  unfinished_.store(job.tasks, std::memory_order_relaxed);
  left_.store(job.tasks, std::memory_order_release);
  job_number_.fetch_add(1, std::memory_order_release);
  job_number_.notify_all();
  const int64_t own = work(0);
  const Clock::time_point none_left = Clock::now();
  await_tasks();
  if (failed_.load(std::memory_order_relaxed)) std::rethrow_exception(std::exchange(failure_, nullptr));
  return {job.tasks, own, none_left - start, Clock::now() - start};
}

void WorkerTeam::run_alone(const Job& job, int worker) {
  const Within within(this, worker);
  for (int64_t index = 0; index < job.tasks && !job.cancel.requested(); index++) job.call(job.context, index, worker);
}

// Tasks until there are none; how many.
int64_t WorkerTeam::work(int worker) {
  const Within within(this, worker);
  int64_t done = 0;
  for (int64_t left = left_.fetch_sub(1, std::memory_order_acquire); left > 0;
       left = left_.fetch_sub(1, std::memory_order_acquire)) {
    done++;
    if (failed_.load(std::memory_order_relaxed) || job_.cancel.requested()) continue;
    try {
      job_.call(job_.context, job_.tasks - left, worker);
    } catch (...) {
      if (!failed_.exchange(true, std::memory_order_relaxed)) failure_ = std::current_exception();
    }
  }
  if (done > 0 && unfinished_.fetch_sub(done, std::memory_order_acq_rel) == done) unfinished_.notify_one();
  return done;
}

// Spins first, as the others are about to end, then sleeps: whoever is late may be waiting for this core.
void WorkerTeam::await_tasks() {
  for (int64_t left = unfinished_.load(std::memory_order_acquire); left != 0;
       left = unfinished_.load(std::memory_order_acquire)) {
    if (!changes_soon(unfinished_, left)) unfinished_.wait(left, std::memory_order_acquire);
  }
}

void WorkerTeam::worker_loop(int worker) {
  for (uint32_t seen = 0;;) {
    await_seat(worker);
    seen = await_job(seen);
    if (stop_.load(std::memory_order_relaxed)) return;
    work(worker);
  }
}

// Sleeps while as many threads as may work are before this one.
void WorkerTeam::await_seat(int worker) {
  int32_t active = active_.load(std::memory_order_acquire);
  if (worker < active) return;
  asleep_.fetch_add(1, std::memory_order_relaxed);
  for (; worker >= active; active = active_.load(std::memory_order_acquire))
    active_.wait(active, std::memory_order_acquire);
  asleep_.fetch_sub(1, std::memory_order_relaxed);
}

// Waits until the job's number is not `seen`; returns it.
uint32_t WorkerTeam::await_job(uint32_t seen) {
  if (!changes_soon(job_number_, seen)) {
    asleep_.fetch_add(1, std::memory_order_relaxed);
    job_number_.wait(seen, std::memory_order_acquire);
    asleep_.fetch_sub(1, std::memory_order_relaxed);
  }
  return job_number_.load(std::memory_order_acquire);
}

}  // namespace llava
