// OpBench: a back end of its own, and one op at a time on random operands. Everything runs on the runner thread,
// through the model's own op table.
#include <chrono>
#include <cstring>

#include "bench/measured_op.h"
#include "binding/convert.h"
#include "binding/wraps.h"

namespace llava::binding {

const napi_type_tag MeasureWrap::kTag = {0x6c6c61766162656e, 0x6368000000000001};

// Runner thread only, after it is made.
struct Bench {
  explicit Bench(std::shared_ptr<Backend> b) : backend(std::move(b)) {}
  void run() {
    op->run(next++ % op->sets());
    backend->synchronize(backend->stream());
  }
  std::shared_ptr<Backend> backend;
  std::unique_ptr<bench::MeasuredOp> op;
  int64_t next = 0;
};

namespace {

bench::MeasuredOp& op_of(const Bench& bench) {
  if (!bench.op) throw Error(ErrorCode::kInvalidArgument, "no op has been prepared");
  return *bench.op;
}

// A job on the bench whose cancel flag the ops look at.
class BenchJob : public Job {
 public:
  BenchJob(Napi::Env env, std::shared_ptr<Bench> bench)
      : Job(env, std::make_shared<std::atomic<bool>>(false)), bench_(std::move(bench)) {}

 protected:
  virtual void measure() = 0;
  void execute() final {
    bench_->backend->stream().cancel = Cancellation(cancel());
    measure();
    if (cancel().load(std::memory_order_relaxed)) throw Error(ErrorCode::kAborted, "the work was cancelled");
  }
  std::shared_ptr<Bench> bench_;
};

class PrepareJob : public BenchJob {
 public:
  PrepareJob(Napi::Env env, std::shared_ptr<Bench> bench, bench::OpRequest request)
      : BenchJob(env, std::move(bench)), request_(std::move(request)) {}

 private:
  void measure() override {
    bench_->op.reset();  // before the next one takes its memory
    bench_->op = bench::make_measured_op(*bench_->backend, request_);
    bench_->next = 0;
  }
  Napi::Value result(Napi::Env env) override {
    const Napi::Object out = Napi::Object::New(env);
    out.Set("sets", static_cast<double>(bench_->op->sets()));
    return out;
  }
  bench::OpRequest request_;
};

class SampleJob : public BenchJob {
 public:
  SampleJob(Napi::Env env, std::shared_ptr<Bench> bench, int64_t calls)
      : BenchJob(env, std::move(bench)), calls_(calls) {}

 private:
  void measure() override {
    op_of(*bench_);
    const auto start = std::chrono::steady_clock::now();
    for (int64_t i = 0; i < calls_ && !cancel().load(std::memory_order_relaxed); i++) bench_->run();
    nanoseconds_ = std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count() /
                   static_cast<double>(calls_);
  }
  Napi::Value result(Napi::Env env) override { return Napi::Number::New(env, nanoseconds_); }
  int64_t calls_;
  double nanoseconds_ = 0;
};

class OutputJob : public BenchJob {
 public:
  using BenchJob::BenchJob;

 private:
  void measure() override { output_ = op_of(*bench_).output(); }
  Napi::Value result(Napi::Env env) override {
    Napi::Float32Array copy = Napi::Float32Array::New(env, output_.size());
    std::memcpy(copy.Data(), output_.data(), output_.size() * sizeof(float));
    return copy;
  }
  std::vector<float> output_;
};

std::string hexadecimal(uint64_t value) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
  return text;
}

class JudgeJob : public BenchJob {
 public:
  JudgeJob(Napi::Env env, std::shared_ptr<Bench> bench, std::vector<float> output)
      : BenchJob(env, std::move(bench)), output_(std::move(output)) {}

 private:
  void measure() override { verdict_ = bench::judge(op_of(*bench_), output_); }
  Napi::Value result(Napi::Env env) override {
    const Napi::Object out = Napi::Object::New(env);
    out.Set("ok", verdict_.ok);
    out.Set("error", verdict_.error);
    out.Set("bound", verdict_.bound);
    out.Set("hash", hexadecimal(verdict_.hash));
    return out;
  }
  std::vector<float> output_;
  bench::Verdict verdict_{};
};

class PeakJob : public BenchJob {
 public:
  PeakJob(Napi::Env env, std::shared_ptr<Bench> bench, PeakKind kind) : BenchJob(env, std::move(bench)), kind_(kind) {}

 private:
  void measure() override { peak_ = bench_->backend->measure_peak(kind_); }
  Napi::Value result(Napi::Env env) override { return peak_to_js(env, peak_); }
  PeakKind kind_;
  Peak peak_{};
};

int64_t size_of(const Napi::Object& o, const char* name) {
  constexpr int64_t kLargest = int64_t{1} << 20;
  const Napi::Value value = o.Get(name);
  const int64_t size = value.IsUndefined() ? 0 : integer_of(value, name);
  if (size < 0 || size > kLargest)
    throw Error(ErrorCode::kInvalidArgument,
                std::string("expected `") + name + "` to be between 0 and " + std::to_string(kLargest));
  return size;
}

bool flag_of(const Napi::Object& o, const char* name, bool fallback) {
  const Napi::Value value = o.Get(name);
  return value.IsUndefined() ? fallback : boolean_of(value, name);
}

Activation activation_of(const Napi::Value& value) {
  if (value.IsUndefined()) return Activation::kNone;
  return one_of<Activation>(
      value, "activation",
      {{"none", Activation::kNone}, {"quick_gelu", Activation::kQuickGelu}, {"gelu", Activation::kGelu}});
}

bench::OpRequest request_of(const Napi::Object& o) {
  bench::OpRequest r;
  r.op = string_of(o.Get("op"), "op");
  r.dtype = dtype_of(string_of(o.Get("dtype"), "dtype"));
  r.arithmetic = flag_of(o, "exact", false) ? Arithmetic::kExact : Arithmetic::kFast;
  r.rows = size_of(o, "rows");
  r.columns = size_of(o, "columns");
  r.depth = size_of(o, "depth");
  r.outputs = size_of(o, "outputs");
  r.bias = flag_of(o, "bias", false);
  r.residual = flag_of(o, "residual", false);
  r.activation = activation_of(o.Get("activation"));
  r.heads = size_of(o, "heads");
  r.head_dim = size_of(o, "headDim");
  r.keys = size_of(o, "keys");
  r.causal = flag_of(o, "causal", true);
  r.image_size = size_of(o, "imageSize");
  r.patch_size = size_of(o, "patchSize");
  r.seed = static_cast<uint64_t>(size_of(o, "seed"));
  r.cold = flag_of(o, "cold", true);
  return r;
}

}  // namespace

Napi::Function MeasureWrap::define(Napi::Env env) {
  return DefineClass(
      env, "OpBench",
      {InstanceMethod<&MeasureWrap::info>("info"), InstanceMethod<&MeasureWrap::prepare>("prepare"),
       InstanceMethod<&MeasureWrap::sample>("sample"), InstanceMethod<&MeasureWrap::output>("output"),
       InstanceMethod<&MeasureWrap::judge>("judge"), InstanceMethod<&MeasureWrap::measure_peak>("measurePeak"),
       InstanceMethod<&MeasureWrap::dispose>("dispose")});
}

MeasureWrap::MeasureWrap(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  info.This().As<Napi::Object>().TypeTag(&kTag);
  guarded(info.Env(), [&] {
    const Napi::Object o = object_of(info[0], "options");
    ModelOptions options;
    const int64_t threads = integer_of(o.Get("threads"), "threads");
    if (threads < 0 || threads > 1024)
      throw Error(ErrorCode::kInvalidArgument, "expected `threads` to be between 0 and 1024");
    options.threads = static_cast<int>(threads);
    options.isa = string_of(o.Get("isa"), "isa");
    bench_ = std::make_shared<Bench>(make_backend(options));
    runner_ = Runner::start(info.Env());
  });
}

void MeasureWrap::Finalize(Napi::BasicEnv env) {
  if (runner_) runner_->stop(Napi::Env(env));
}

const std::shared_ptr<Bench>& MeasureWrap::bench() const {
  if (!bench_) throw Error(ErrorCode::kDisposed, "the bench has been disposed of");
  return bench_;
}

Napi::Value MeasureWrap::info(const Napi::CallbackInfo& call) {
  return guarded(call.Env(), [&]() -> Napi::Value {
    const BackendInfo backend = bench()->backend->info();
    const Napi::Object out = Napi::Object::New(call.Env());
    out.Set("device", backend.device);
    out.Set("isa", backend.isa);
    out.Set("threads", backend.threads);
    out.Set("tiles", backend.tiles);
    return out;
  });
}

template <class BenchJob, class... Arguments>
Napi::Value MeasureWrap::enqueue(const Napi::CallbackInfo& info, Arguments&&... arguments) {
  auto job = std::make_unique<BenchJob>(info.Env(), bench(), std::forward<Arguments>(arguments)...);
  job->keep_alive(info.This().As<Napi::Object>());
  return runner_->enqueue(info.Env(), std::move(job));
}

Napi::Value MeasureWrap::prepare(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return enqueue<PrepareJob>(info, request_of(object_of(info[0], "request"))); });
}

Napi::Value MeasureWrap::sample(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const int64_t calls = integer_of(info[0], "calls");
    if (calls < 1) throw Error(ErrorCode::kInvalidArgument, "expected `calls` to be at least 1");
    return enqueue<SampleJob>(info, calls);
  });
}

Napi::Value MeasureWrap::output(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return enqueue<OutputJob>(info); });
}

Napi::Value MeasureWrap::judge(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return enqueue<JudgeJob>(info, copy_float32_array(info[0], "output")); });
}

Napi::Value MeasureWrap::measure_peak(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return enqueue<PeakJob>(info, peak_kind_of(info[0])); });
}

Napi::Value MeasureWrap::dispose(const Napi::CallbackInfo& info) {
  runner_->stop(info.Env());
  bench_.reset();
  return info.Env().Undefined();
}

}  // namespace llava::binding
