// Threads that work on one job at a time beside the caller, who hands out the tasks of the job and returns when all are
// done.
//   Nobody waits for a worker, only for tasks that a worker has begun: one that the operating system does not run takes
//   none. A cancelled job's remaining tasks are left out, and so are those of a job with a task that throws; run()
//   throws what the first of them threw.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "common/cancellation.h"
#include "common/sharing.h"

namespace llava {

struct Job {
  void (*call)(const void* context, int64_t index, int worker) = nullptr;
  const void* context = nullptr;
  int64_t tasks = 0;
  Cancellation cancel;
};

class WorkerTeam {
 public:
  explicit WorkerTeam(int threads);  // the caller among them
  ~WorkerTeam();
  WorkerTeam(const WorkerTeam&) = delete;
  WorkerTeam& operator=(const WorkerTeam&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }
  // as it was a moment ago
  bool all_asleep() const { return asleep_.load(std::memory_order_relaxed) == threads() - 1; }

  // A caller's turn, in which it alone may use set_active() and run(). Whoever asks while nobody has it gets it, as
  // handing it over would leave the threads idle until another caller is awake; but before one that has waited for
  // a millisecond nobody comes, so that a caller with job after job does not keep the others out.
  class Turn {
   public:
    // waits: else the turn may be another caller's, and own() false
    explicit Turn(WorkerTeam& team, bool waits = true) : team_(team), own_(team.begin_turn(waits)) {}
    ~Turn() {
      if (own_) team_.end_turn();
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    bool own() const { return own_; }

   private:
    WorkerTeam& team_;
    const bool own_;
  };

  // Threads that work on the next job, the caller among them; the others sleep.
  void set_active(int threads);
  int active() const { return active_.load(std::memory_order_relaxed); }

  Shares run(const Job& job);                  // one caller at a time: in its turn
  void run_alone(const Job& job, int worker);  // on this thread

  // As which worker this thread is in a task of this team; below 0: it is in none.
  int worker_here() const;

 private:
  bool begin_turn(bool waits);
  void end_turn();
  void stop();
  int64_t work(int worker);
  void await_tasks();
  void worker_loop(int worker);
  void await_seat(int worker);
  uint32_t await_job(uint32_t seen);

  Job job_;                     // written by the caller while no task of it is to be had
  std::exception_ptr failure_;  // of the task that set failed_
  // tasks of job_ that nobody has taken; below 0 where threads asked in vain
  alignas(64) std::atomic<int64_t> left_{0};
  alignas(64) std::atomic<int64_t> unfinished_{0};  // tasks of job_ that nobody has reported as done
  std::atomic<bool> failed_{false};
  alignas(64) std::atomic<uint32_t> job_number_{0};
  std::atomic<int32_t> active_{1};
  std::atomic<int32_t> asleep_{0};
  std::atomic<bool> stop_{false};
  std::mutex turn_mutex_;  // of the four below
  std::condition_variable turn_free_;
  bool turn_taken_ = false;
  int waiting_ = 0;    // for a turn
  int impatient_ = 0;  // of those, who have waited too long to let others go first
  std::vector<std::thread> workers_;
};

}  // namespace llava
