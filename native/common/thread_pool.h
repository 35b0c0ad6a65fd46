// Compute threads: run() hands out task numbers from an atomic counter and returns when all are done.
//   The caller works too. No lock on the hot path; a waiting thread spins some tens of microseconds, then sleeps on a futex.
//   A cancellation makes the remaining tasks of a run return at once (their outputs are then meaningless).
#pragma once
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "common/cancellation.h"

namespace llava {

class ThreadPool {
 public:
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // task(index, worker) for index in [0, tasks); worker in [0, threads()).
  template <class Task>
  void run(int64_t tasks, const Task& task, const Cancellation& cancel = {}) {
    run_job({[](const void* context, int64_t index, int worker) { (*static_cast<const Task*>(context))(index, worker); }, &task, tasks, cancel});
  }

 private:
  void stop();
  struct Job {
    void (*call)(const void* context, int64_t index, int worker) = nullptr;
    const void* context = nullptr;
    int64_t tasks = 0;
    Cancellation cancel;
  };
  void run_job(const Job& job);
  void work(int worker);
  void worker_loop(int worker);

  Job job_;
  alignas(64) std::atomic<int64_t> next_{0};
  alignas(64) std::atomic<uint32_t> epoch_{0};
  alignas(64) std::atomic<int32_t> busy_{0};
  std::atomic<bool> stop_{false};
  std::vector<std::thread> workers_;
};

}  // namespace llava
