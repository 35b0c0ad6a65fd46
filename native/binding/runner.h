// One thread with a queue per model: jobs run in order off the JavaScript thread, and settle their promises on it.
//   A job that takes long may let one that must not wait run within it.
//   The process stays alive while jobs are under way and not a moment longer. When the environment ends
//   (worker.terminate()), or the model is disposed of, the job under way is cancelled, the thread joined, and waiting
//   jobs are rejected.
#pragma once
#include <chrono>
#include <napi.h>

#include <atomic>
#include <condition_variable>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "common/error.h"

namespace llava::binding {

class Runner;

class Job {
 public:
  explicit Job(Napi::Env env, std::shared_ptr<std::atomic<bool>> cancel)
      : deferred_(Napi::Promise::Deferred::New(env)), cancel_(std::move(cancel)) {}
  virtual ~Job() = default;
  Napi::Promise promise() const { return deferred_.Promise(); }
  // Objects that must outlive the job: its model, the array its results go to.
  void keep_alive(const Napi::Object& object) { kept_.push_back(Napi::Persistent(object)); }

 protected:
  virtual void execute() = 0;                     // runner thread; throws Error
  virtual Napi::Value result(Napi::Env env) = 0;  // JavaScript thread, after execute() succeeded
  virtual void queued() {}                        // JavaScript thread, once the job is sure to be settled
  virtual void settled(Napi::Env) {}              // JavaScript thread, whatever came out
  virtual bool urgent() const { return false; }   // may run within another
  // Within execute(): the next urgent job, if one waits and its turn has come. Whether there was one of late.
  bool run_urgent();
  Napi::Object kept(size_t index) const { return kept_[index].Value(); }
  const std::atomic<bool>& cancel() const { return *cancel_; }
  // Of one that ran within another: how long this other goes on before the next may run within it; else 0.
  double turn_ms() const { return turn_ms_; }

 private:
  friend class Runner;
  void run() noexcept;
  void settle(Napi::Env env);
  void abandon();  // the environment is gone: nothing of JavaScript may be touched

  Napi::Promise::Deferred deferred_;
  std::shared_ptr<std::atomic<bool>> cancel_;
  std::vector<Napi::ObjectReference> kept_;
  std::shared_ptr<Runner> runner_;
  std::optional<Error> failure_;
  double turn_ms_ = 0;
};

class Runner : public std::enable_shared_from_this<Runner> {
 public:
  static std::shared_ptr<Runner> start(Napi::Env env);
  ~Runner();

  Napi::Promise enqueue(Napi::Env env, std::unique_ptr<Job> job);
  // Cancels, joins, rejects what waits. JavaScript thread; idempotent.
  void stop(Napi::Env env);

 private:
  friend class Job;
  static void call_js(Napi::Env env, Napi::Function, std::nullptr_t*, Job* job);
  using Completion = Napi::TypedThreadSafeFunction<std::nullptr_t, Job, &Runner::call_js>;
  static void on_environment_end(void* self);

  Runner() = default;
  void loop();
  void complete(std::unique_ptr<Job> job, std::shared_ptr<std::atomic<bool>>& flag);
  bool perform_urgent();
  std::list<std::unique_ptr<Job>> halt();

  napi_env env_ = nullptr;
  Completion completion_;
  std::thread thread_;
  std::chrono::steady_clock::time_point next_urgent_{};  // runner thread
  std::mutex mutex_;
  std::condition_variable wake_;
  std::list<std::unique_ptr<Job>> queue_;
  std::shared_ptr<std::atomic<bool>> running_, within_;  // cancel flags of the job under way, and of one within it
  bool stopping_ = false;
  bool stopped_ = false;
  int64_t under_way_ = 0;  // jobs not yet settled; JavaScript thread only
};

}  // namespace llava::binding
