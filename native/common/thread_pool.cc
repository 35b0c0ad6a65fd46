#include "common/thread_pool.h"

#include <algorithm>
#include <chrono>

namespace llava {

namespace {

using Clock = std::chrono::steady_clock;

}  // namespace

ThreadPool::ThreadPool(int threads, int at_once) : team_(threads), sharing_(std::clamp(at_once, 1, team_.threads())) {}

void ThreadPool::run_job(const Job& job) {
  if (const int worker = team_.worker_here(); worker >= 0) return team_.run_alone(job, worker);
  if (job.tasks < 2 || sharing_.most() == 1) return team_.run_alone(job, 0);
  Sharing::Kind& kind = sharing_.kind_of(reinterpret_cast<const void*>(job.call), job.tasks);
  const int threads =
      sharing_.threads_for(kind, team_.all_asleep(), sharing_.holds() ? Clock::now() : Clock::time_point{});
  if (threads == 1) return run_alone(job, kind);
  run_shared(job, kind, threads);
}

void ThreadPool::run_alone(const Job& job, Sharing::Kind& kind) {
  if (!sharing_.measures(kind)) return team_.run_alone(job, 0);
  const Clock::time_point start = Clock::now();
  team_.run_alone(job, 0);
  if (!job.cancel.requested()) sharing_.took_alone(kind, Clock::now() - start);
}

void ThreadPool::run_shared(const Job& job, Sharing::Kind& kind, int threads) {
  team_.set_active(threads);
  const Shares shares = team_.run(job);
  if (!job.cancel.requested()) sharing_.took_shared(kind, shares, Clock::now());
}

}  // namespace llava
