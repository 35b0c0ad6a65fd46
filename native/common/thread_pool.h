// Compute threads: a team of workers (worker_team.h), and the decision how many of them a job gets (sharing.h).
//   Pools of as many threads share one team, whoever opened them: jobs of several models take turns on it, and do not
//   compete for cores; a short job that would have to wait is done by its caller alone. The team ends with the last of
//   its pools. What a job is known to take stays a pool's own.
#pragma once
#include <cstdint>
#include <memory>

#include "common/cancellation.h"
#include "common/cpu_features.h"
#include "common/sharing.h"
#include "common/worker_team.h"

namespace llava {

class ThreadPool {
 public:
  // `at_once`: threads that work at the same time, at most; more than there are CPUs would only take turns.
  explicit ThreadPool(int threads, int at_once = usable_cpus());

  int threads() const { return team_->threads(); }

  // task(index, worker) for index in [0, tasks); worker in [0, threads()). One caller of a pool at a time, which waits
  // for the job of another pool that is under way; a run inside a task is done by that task's thread. What tasks do
  // must not depend on which threads they run on. Throws what the first failing task threw.
  template <class Task>
  void run(int64_t tasks, const Task& task, Cancellation cancel = {}) {
    run_job(
        {[](const void* context, int64_t index, int worker) { (*static_cast<const Task*>(context))(index, worker); },
         &task, tasks, cancel});
  }

 private:
  void run_job(const Job& job);
  void run_alone(const Job& job, Sharing::Kind& kind);
  void run_shared(const Job& job, Sharing::Kind& kind, int threads);

  std::shared_ptr<WorkerTeam> team_;
  Sharing sharing_;
};

}  // namespace llava
