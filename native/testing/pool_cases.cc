// The thread pool: its team of workers on jobs of all sizes, and the decision how many threads a job gets on made-up
// times.
#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <new>
#include <thread>

#include "common/thread_pool.h"
#include "testing/conformance.h"

namespace llava::testing {

namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

// Runs task(index, worker) on every thread of the team that comes in time.
template <class Task>
void run(WorkerTeam& team, int64_t tasks, const Task& task, Cancellation cancel = {}) {
  team.run({[](const void* context, int64_t index, int worker) { (*static_cast<const Task*>(context))(index, worker); },
            &task, tasks, cancel});
}

// Waits until `holds`, or for so long that something must be wrong.
template <class Condition>
bool waited_for(const Condition& holds) {
  for (int i = 0; i < 20'000 && !holds(); i++) std::this_thread::sleep_for(microseconds(100));
  return holds();
}

// Counts are no atomics: that the caller sees them is part of what is tested. Some jobs come at once, some when the
// workers sleep.
void every_task_once(Trial& t) {
  constexpr int kThreads = 4, kJobs = 2000;
  WorkerTeam team(kThreads);
  team.set_active(kThreads);
  std::array<std::atomic<bool>, kThreads> taken{};
  for (int job = 0; job < kJobs; job++) {
    std::vector<int> times(static_cast<size_t>(t.random.below(40) + 1));
    std::atomic<bool> numbers_hold{true};
    run(team, static_cast<int64_t>(times.size()), [&](int64_t index, int worker) {
      if (worker < 0 || worker >= kThreads || taken[static_cast<size_t>(worker)].exchange(true)) numbers_hold = false;
      times[static_cast<size_t>(index)]++;
      taken[static_cast<size_t>(worker)] = false;
    });
    t.exact("every task is done once", std::vector<int>(times), std::vector<int>(times.size(), 1));
    t.require(numbers_hold, "a worker's number belongs to one thread");
    if (job % 200 == 0) std::this_thread::sleep_for(milliseconds(1));
    if (job % 500 == 0) team.set_active(static_cast<int>(t.random.below(kThreads)) + 1);
  }
}

void workers_come(Trial& t) {
  WorkerTeam team(2);
  team.set_active(2);
  std::atomic<int> there{0};
  run(team, 2, [&](int64_t, int) {
    there++;
    t.require(waited_for([&] { return there == 2; }), "two threads work at once");
  });
  t.exact("two tasks", std::vector<int>{there}, {2});
}

void threads_without_a_seat_sleep(Trial& t) {
  WorkerTeam team(3);
  team.set_active(1);
  t.require(waited_for([&] { return team.all_asleep(); }), "workers without a seat sleep");
  std::array<int, 3> by{};
  run(team, 50, [&](int64_t, int worker) {
    by[static_cast<size_t>(worker)]++;
    std::this_thread::sleep_for(microseconds(100));  // others have time to come
  });
  t.exact("tasks of each thread", std::vector<int>(by.begin(), by.end()), {50, 0, 0});
}

// The failing task is the caller's, or a worker's; both threads are in a task then.
void throwing_tasks(Trial& t) {
  for (const int thrower : {0, 1}) {
    WorkerTeam team(2);
    team.set_active(2);
    for (int round = 0; round < 20; round++) {
      std::atomic<int> done{0};
      std::atomic<bool> thrown{false};
      bool caught = false;
      try {
        run(team, 1000, [&](int64_t, int worker) {
          if (worker == thrower && !thrown.exchange(true)) throw std::bad_alloc();
          waited_for([&] { return thrown.load(); });
          std::this_thread::sleep_for(microseconds(100));  // longer, all in all, than an exception takes to be caught
          done++;
        });
      } catch (const std::bad_alloc&) {
        caught = true;
      }
      t.require(caught, "what a task throws is thrown by run()");
      t.require(done < 999, "the tasks after it are left out");
      std::atomic<int> next{0};
      run(team, 100, [&](int64_t, int) { next++; });
      t.exact("the next job is whole", std::vector<int>{next}, {100});
    }
  }
}

void cancelled_jobs(Trial& t) {
  WorkerTeam team(2);
  team.set_active(2);
  std::atomic<bool> flag{false};
  std::atomic<int> done{0};
  run(
      team, 1000,
      [&](int64_t, int) {
        if (++done >= 10) flag = true;
      },
      Cancellation(flag));
  t.require(done >= 10 && done <= 11, "a cancelled job leaves out its other tasks");
  done = 0;
  run(team, 100, [&](int64_t, int) { done++; });
  t.exact("the next job is whole", std::vector<int>{done}, {100});
}

void cancellations(Trial& t) {
  std::atomic<bool> whole{false}, a{false}, b{false};
  const std::array<const std::atomic<bool>*, 2> both{&a, &b};
  const Cancellation never, one(a), all(whole, both), none(whole, {});
  const auto said = [&] {
    return std::vector<int>{never.requested(), one.requested(), all.requested(), none.requested()};
  };
  t.exact("no flag set", said(), {0, 0, 0, 0});
  a = true;
  t.exact("one caller's flag set", said(), {0, 1, 0, 0});
  b = true;
  t.exact("all callers' flags set", said(), {0, 1, 1, 0});
  a = false;
  t.exact("the other caller's flag set", said(), {0, 0, 0, 0});
  whole = true;
  t.exact("the flag of the whole set", said(), {0, 0, 1, 1});
}

// Ends while workers spin, sleep, or have just been told of a job.
void ends_at_any_time(Trial& t) {
  int done = 0;
  for (int round = 0; round < 100; round++) {
    WorkerTeam team(3);
    team.set_active(static_cast<int>(t.random.below(3)) + 1);
    std::atomic<int> tasks{0};
    if (round % 3 != 0) run(team, 2, [&](int64_t, int) { tasks++; });
    if (round % 5 == 0) std::this_thread::sleep_for(microseconds(300));
    done += tasks;
  }
  t.exact("tasks", std::vector<int>{done}, {132});
}

void runs_inside_tasks(Trial& t) {
  ThreadPool pool(3, 3);
  std::array<std::array<int, 5>, 40> times{};
  std::atomic<bool> same{true};
  pool.run(40, [&](int64_t index, int worker) {
    std::this_thread::sleep_for(microseconds(100));  // others have time to come
    pool.run(5, [&](int64_t inner, int inner_worker) {
      if (inner_worker != worker) same = false;
      times[static_cast<size_t>(index)][static_cast<size_t>(inner)]++;
    });
  });
  t.require(same, "a run inside a task keeps the task's thread");
  for (const auto& of_task : times)
    t.exact("tasks", std::vector<int>(of_task.begin(), of_task.end()), std::vector<int>(5, 1));
}

void pool_does_all(Trial& t) {
  ThreadPool pool(5, 3);
  t.exact("threads", std::vector<int>{pool.threads()}, {5});
  for (int64_t job = 0; job < 300; job++) {
    std::vector<int> times(static_cast<size_t>(job % 30));
    pool.run(static_cast<int64_t>(times.size()), [&](int64_t index, int) { times[static_cast<size_t>(index)]++; });
    t.exact("every task is done once", std::vector<int>(times), std::vector<int>(times.size(), 1));
  }
}

// A cancelled job is short, and says nothing about the next one: it would otherwise be taken for one that is too small
// for two threads.
void cancelled_jobs_teach_nothing(Trial& t) {
  ThreadPool pool(2, 2);
  std::atomic<bool> cancelled{true};
  std::atomic<int> there{0};
  for (const bool cancel : {true, false}) {
    const auto task = [&](int64_t, int) {
      there++;
      t.require(waited_for([&] { return there == 2; }), "two threads work at once");
    };
    pool.run(2, task, cancel ? Cancellation(cancelled) : Cancellation());
  }
  t.exact("two tasks", std::vector<int>{there}, {2});
}

// Two callers with a pool each, of as many threads: one team, whose jobs do not mix. The second pool ends while the
// first is still at work.
void pools_share_their_threads(Trial& t) {
  constexpr int kThreads = 3, kJobs = 400;
  std::array<int64_t, 2> wrong{};
  std::array<std::atomic<bool>, kThreads> taken{};
  std::atomic<bool> apart{true};
  const auto calls = [&](size_t caller, std::unique_ptr<ThreadPool> pool) {
    for (int job = 0; job < kJobs >> caller; job++) {
      std::vector<int64_t> results(40);
      pool->run(40, [&](int64_t index, int worker) {
        // worker 0 is the caller, of whom there are two
        if (worker > 0 && taken[static_cast<size_t>(worker)].exchange(true)) apart = false;
        std::this_thread::sleep_for(microseconds(index == 7 ? 100 : 1));
        results[static_cast<size_t>(index)] += index + static_cast<int64_t>(caller);
        if (worker > 0) taken[static_cast<size_t>(worker)] = false;
      });
      for (int64_t i = 0; i < 40; i++)
        wrong[caller] += results[static_cast<size_t>(i)] != i + static_cast<int64_t>(caller);
    }
  };
  std::thread other([&] { calls(1, std::make_unique<ThreadPool>(kThreads, kThreads)); });
  calls(0, std::make_unique<ThreadPool>(kThreads, kThreads));
  other.join();
  t.exact("wrong results", std::vector<int64_t>(wrong.begin(), wrong.end()), {0, 0});
  t.require(apart, "a worker is in one task at a time");
}

constexpr Sharing::Time kStart{std::chrono::hours(1)};

// What a job of 100 tasks would say of which the caller did 50.
Shares shares_of(microseconds own_time, microseconds total_time) { return {100, 50, own_time, total_time}; }

void small_jobs_stay_alone(Trial& t) {
  Sharing sharing(2);
  Sharing::Kind& kind = sharing.kind_of(nullptr, 100);
  const auto threads = [&](microseconds alone) {
    sharing.took_alone(kind, alone);
    return std::vector<int>{sharing.threads_for(kind, false, kStart), sharing.threads_for(kind, true, kStart)};
  };
  t.exact("nothing is known", std::vector<int>{sharing.threads_for(kind, true, kStart)}, {2});
  t.exact("1 µs", threads(microseconds(1)), {1, 1});
  t.exact("20 µs", threads(microseconds(20)), {2, 1});
  t.exact("1 ms", threads(milliseconds(1)), {2, 2});
  t.exact("another kind", std::vector<int>{sharing.threads_for(sharing.kind_of(nullptr, 101), true, kStart)}, {2});
}

void some_small_jobs_are_measured(Trial& t) {
  Sharing sharing(2);
  Sharing::Kind& kind = sharing.kind_of(nullptr, 100);
  std::vector<int> small, large;
  t.require(sharing.measures(kind), "the first one is measured");
  sharing.took_alone(kind, microseconds(1));
  for (int i = 0; i < 9; i++) small.push_back(sharing.measures(kind));
  sharing.took_alone(kind, microseconds(10));
  for (int i = 0; i < 3; i++) large.push_back(sharing.measures(kind));
  t.exact("small ones", std::move(small), {0, 0, 0, 0, 0, 0, 0, 1, 1});
  t.exact("large ones", std::move(large), {1, 1, 1});
}

// A millisecond of two threads, then 8 ms because one was off its core: sharing has lost 8 - 2 ms, of which 4 had been
// gained.
void losses_are_bounded(Trial& t) {
  Sharing sharing(2);
  Sharing::Kind& kind = sharing.kind_of(nullptr, 100);
  const auto threads_after = [&](microseconds time) { return sharing.threads_for(kind, false, kStart + time); };
  for (int i = 0; i < 100; i++) sharing.took_shared(kind, shares_of(milliseconds(1), milliseconds(1)), kStart);
  t.exact("it pays", std::vector<int>{threads_after({})}, {2});
  sharing.took_shared(kind, shares_of(milliseconds(1), microseconds(2400)), kStart);
  t.exact("a small loss is forgiven", std::vector<int>{threads_after({})}, {2});
  sharing.took_shared(kind, shares_of(milliseconds(1), milliseconds(8)), kStart);
  t.exact("it does not pay", std::vector<int>{threads_after({}), threads_after(milliseconds(30))}, {1, 1});
  t.exact("it is tried again", std::vector<int>{threads_after(milliseconds(50))}, {2});
  sharing.took_shared(kind, shares_of(milliseconds(1), milliseconds(1000)), kStart);
  t.exact("and not held for longer than a moment",
          std::vector<int>{threads_after(milliseconds(190)), threads_after(milliseconds(210))}, {1, 2});
}

void many_threads_are_halved(Trial& t) {
  Sharing sharing(16);
  Sharing::Kind& kind = sharing.kind_of(nullptr, 160);
  std::vector<int> threads;
  for (int i = 0; i < 3; i++) {
    sharing.took_shared(kind, {160, 10, milliseconds(1), milliseconds(20)}, kStart);
    threads.push_back(sharing.threads_for(kind, false, kStart));
  }
  t.exact("held up by 19 ms, job after job", std::move(threads), {8, 4, 2});
  t.exact("and more are tried step by step",
          std::vector<int>{sharing.threads_for(kind, false, kStart + milliseconds(300))}, {4});
}

}  // namespace

std::vector<Case> pool_cases() {
  return {
      {"pool: every task of a job is done once", every_task_once},
      {"pool: workers come", workers_come},
      {"pool: threads that are too many sleep", threads_without_a_seat_sleep},
      {"pool: a task that throws", throwing_tasks},
      {"pool: a cancelled job", cancelled_jobs},
      {"pool: a cancellation is one flag, or all of several", cancellations},
      {"pool: it ends at any time", ends_at_any_time},
      {"pool: a run inside a task", runs_inside_tasks},
      {"pool: jobs of every size", pool_does_all},
      {"pool: a cancelled job says nothing about the next", cancelled_jobs_teach_nothing},
      {"pool: pools of as many threads share them", pools_share_their_threads},
      {"pool: small jobs stay on one thread", small_jobs_stay_alone},
      {"pool: of the smallest jobs some are measured", some_small_jobs_are_measured},
      {"pool: what sharing loses is bounded", losses_are_bounded},
      {"pool: of many threads half stay", many_threads_are_halved},
  };
}

}  // namespace llava::testing
