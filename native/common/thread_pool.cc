#include "common/thread_pool.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <mutex>

namespace llava {

namespace {

using Clock = std::chrono::steady_clock;

// A job that one thread has done in so much is not worth waiting for the team: waking up takes a good part of that.
constexpr std::chrono::microseconds kShort{200};

// The team of so many threads: the one there is, or a new one.
std::shared_ptr<WorkerTeam> team_of(int threads) {
  struct Teams {
    std::mutex mutex;
    std::map<int, std::weak_ptr<WorkerTeam>> by_size;
  };
  static Teams& teams = *new Teams;  // never destroyed: a model may be opened while the process is ending
  const std::lock_guard lock(teams.mutex);
  std::weak_ptr<WorkerTeam>& known = teams.by_size[std::max(threads, 1)];
  std::shared_ptr<WorkerTeam> team = known.lock();
  if (!team) known = team = std::make_shared<WorkerTeam>(threads);
  return team;
}

}  // namespace

ThreadPool::ThreadPool(int threads, int at_once)
    : team_(team_of(threads)), sharing_(std::clamp(at_once, 1, team_->threads())) {}

void ThreadPool::run_job(const Job& job) {
  if (const int worker = team_->worker_here(); worker >= 0) return team_->run_alone(job, worker);
  if (job.tasks < 2 || sharing_.most() == 1) return team_->run_alone(job, 0);
  Sharing::Kind& kind = sharing_.kind_of(reinterpret_cast<const void*>(job.call), job.tasks);
  const int threads =
      sharing_.threads_for(kind, team_->all_asleep(), sharing_.holds() ? Clock::now() : Clock::time_point{});
  if (threads == 1) return run_alone(job, kind);
  run_shared(job, kind, threads);
}

void ThreadPool::run_alone(const Job& job, Sharing::Kind& kind) {
  if (!sharing_.measures(kind)) return team_->run_alone(job, 0);
  const Clock::time_point start = Clock::now();
  team_->run_alone(job, 0);
  if (!job.cancel.requested()) sharing_.took_alone(kind, Clock::now() - start);
}

void ThreadPool::run_shared(const Job& job, Sharing::Kind& kind, int threads) {
  const WorkerTeam::Turn turn(*team_, kind.alone == Sharing::Nanoseconds{} || kind.alone > kShort);
  if (!turn.own()) return run_alone(job, kind);
  team_->set_active(threads);
  const Shares shares = team_->run(job);
  if (!job.cancel.requested()) sharing_.took_shared(kind, shares, Clock::now());
}

}  // namespace llava
