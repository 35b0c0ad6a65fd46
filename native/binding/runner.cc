#include "binding/runner.h"

#include <algorithm>

#include "binding/convert.h"

namespace llava::binding {

void Job::run() noexcept {
  try {
    if (cancel_->load(std::memory_order_relaxed))
      throw Error(ErrorCode::kAborted, "the work was cancelled before it began");
    execute();
  } catch (...) {
    failure_ = from_current_exception();
  }
}

bool Job::run_urgent() { return runner_->perform_urgent(); }

void Job::settle(Napi::Env env) {
  const Napi::HandleScope scope(env);
  try {
    settled(env);
    binding::settle(env, deferred_, failure_, [this](Napi::Env env) { return result(env); });
  } catch (const Napi::Error&) {  // the environment is ending (worker.terminate()): there is nobody left to tell
  }
}

void Job::abandon() {
  for (Napi::ObjectReference& reference : kept_) reference.SuppressDestruct();
}

std::shared_ptr<Runner> Runner::start(Napi::Env env) {
  std::shared_ptr<Runner> runner(new Runner());
  runner->env_ = env;
  // first, as the rest would have to be taken back if it failed
  runner->thread_ = std::thread([self = runner.get()] { self->loop(); });
  runner->completion_ = Completion::New(env, "llava-native", 0, 1);
  runner->completion_.Unref(env);
  // after the function's own hook, so it runs before it
  napi_add_env_cleanup_hook(env, on_environment_end, runner.get());
  return runner;
}

Runner::~Runner() { halt(); }

Napi::Promise Runner::enqueue(Napi::Env env, std::unique_ptr<Job> job) {
  const Napi::Promise promise = job->promise();
  if (stopped_) throw Error(ErrorCode::kDisposed, "the model has been disposed of");
  std::list<std::unique_ptr<Job>> last;
  last.push_back(std::move(job));  // all that can fail is done before anything counts on the job
  if (under_way_++ == 0) completion_.Ref(env);
  last.back()->queued();
  last.back()->runner_ = shared_from_this();
  {
    const std::lock_guard lock(mutex_);
    queue_.splice(queue_.end(), last);
  }
  wake_.notify_one();
  return promise;
}

void Runner::loop() {
  for (;;) {
    std::unique_ptr<Job> job;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (stopping_) return;
      job = std::move(queue_.front());
      queue_.pop_front();
      running_ = job->cancel_;
    }
    job->run();
    complete(std::move(job), running_);
  }
}

// The job around it then has a turn of three times what the urgent one took, within kCycle for both: tokens come all
// the while, and with the product that the turn ends in (Passes::project cuts long ones) within a quarter of a second.
// Where the urgent one takes most of that by itself, half of it is the turn.
bool Runner::perform_urgent() {
  constexpr std::chrono::steady_clock::duration kCycle = std::chrono::milliseconds(150);
  const auto start = std::chrono::steady_clock::now();
  const bool of_late = start < next_urgent_ + kCycle;
  if (start < next_urgent_) return of_late;
  std::unique_ptr<Job> job;
  {
    const std::lock_guard lock(mutex_);
    const auto found =
        std::find_if(queue_.begin(), queue_.end(), [](const auto& waiting) { return waiting->urgent(); });
    if (stopping_ || found == queue_.end()) return of_late;
    job = std::move(*found);
    queue_.erase(found);
    within_ = job->cancel_;
  }
  job->run();
  const auto end = std::chrono::steady_clock::now();
  const auto took = end - start;
  const std::chrono::steady_clock::duration turn = std::min(3 * took, std::max(kCycle - took, took / 2));
  next_urgent_ = end + turn;
  job->turn_ms_ = std::chrono::duration<double, std::milli>(turn).count();
  complete(std::move(job), within_);
  return true;
}

// flag: where the job's cancel flag stood meanwhile.
void Runner::complete(std::unique_ptr<Job> job, std::shared_ptr<std::atomic<bool>>& flag) {
  {
    const std::lock_guard lock(mutex_);
    flag.reset();
  }
  Job* done = job.release();
  // the environment is ending; its memory ends with the process or worker
  if (completion_.NonBlockingCall(done) != napi_ok) done->abandon();
}

// Ends the thread; returns the jobs that never ran.
std::list<std::unique_ptr<Job>> Runner::halt() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    for (const auto& flag : {running_, within_})
      if (flag) flag->store(true, std::memory_order_relaxed);
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
  return std::move(queue_);
}

void Runner::on_environment_end(void* data) {
  Runner* self = static_cast<Runner*>(data);
  for (const std::unique_ptr<Job>& job : self->halt()) job->abandon();
  self->stopped_ = true;
}

void Runner::stop(Napi::Env env) {
  if (stopped_) return;
  stopped_ = true;
  napi_remove_env_cleanup_hook(env_, on_environment_end, this);
  for (std::unique_ptr<Job>& job : halt()) {
    job->failure_ = Error(ErrorCode::kDisposed, "the model was disposed of before this work began");
    job->settle(env);
    under_way_--;
    job->runner_.reset();
  }
  if (under_way_ == 0) completion_.Unref(env);
  completion_.Release();
}

void Runner::call_js(Napi::Env env, Napi::Function, std::nullptr_t*, Job* job) {
  const std::unique_ptr<Job> owned(job);
  if (env == nullptr) {
    job->abandon();
    return;
  }
  const std::shared_ptr<Runner> runner = std::move(job->runner_);
  job->settle(env);
  if (--runner->under_way_ == 0 && !runner->stopped_) runner->completion_.Unref(env);
}

}  // namespace llava::binding
