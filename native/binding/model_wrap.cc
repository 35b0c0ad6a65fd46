// Model: picks the back end, opens off the JavaScript thread, then turns calls into jobs of its runner.
//   Inputs are copied in at the call; results are staged natively and copied out on the JavaScript thread.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstring>

#include "binding/convert.h"
#include "binding/library_backend.h"
#include "binding/open_worker.h"
#include "binding/wraps.h"
#include "common/cpu_features.h"
#include "cpu/backend.h"

namespace llava::binding {

const napi_type_tag ModelWrap::kTag = {0x6c6c6176616d6f64, 0x656c000000000001};

namespace {

double milliseconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

class EncodeJob : public Job {
 public:
  EncodeJob(Napi::Env env, std::shared_ptr<std::atomic<bool>> cancel, std::shared_ptr<Llava> model,
            std::vector<float> pixels, int64_t count, ImageResults results)
      : Job(env, std::move(cancel)),
        model_(std::move(model)),
        pixels_(std::move(pixels)),
        count_(count),
        results_(results) {}

 private:
  void execute() override {
    const auto start = std::chrono::steady_clock::now();
    images_ = model_->encode_images(pixels_, count_, results_, cancel(), [this] { return run_urgent(); });
    compute_ms_ = milliseconds_since(start);
  }
  Napi::Value result(Napi::Env env) override {
    const Napi::Array images = Napi::Array::New(env, images_.size());
    for (size_t i = 0; i < images_.size(); i++)
      images.Set(static_cast<uint32_t>(i), FeaturesWrap::make(env, images_[i]));
    const Napi::Object out = Napi::Object::New(env);
    out.Set("images", images);
    out.Set("computeMs", compute_ms_);
    return out;
  }

  std::shared_ptr<Llava> model_;
  std::vector<float> pixels_;
  int64_t count_;
  ImageResults results_;
  std::vector<std::shared_ptr<ImageFeatures>> images_;
  double compute_ms_ = 0;
};

// Values that are computed on the runner's thread and copied to the caller's array on JavaScript's.
template <class T>
struct Staged {
  int64_t count = 0;
  size_t place = 0;  // of the array among the job's kept objects
  std::unique_ptr<T[]> values{};
  T* allocate() {
    if (count > 0) values.reset(new T[static_cast<size_t>(count)]);
    return values.get();
  }
  void copy_to(Napi::TypedArrayOf<T> out) const {
    if (out.ElementLength() != static_cast<size_t>(count))
      throw Error(ErrorCode::kInvalidArgument,
                  "the array for the results was detached or resized while they were computed");
    std::memcpy(out.Data(), values.get(), static_cast<size_t>(count) * sizeof(T));
  }
};

struct StagedOutputs {
  Staged<float> logits, hidden;
  int64_t candidates = 0, columns = 0;
  Staged<int32_t> ids;
  Staged<float> best;
  Staged<double> log_sum_exp;
  std::vector<Staged<float>> attention;  // of each step

  Outputs allocate() {
    Outputs out{.logits = logits.allocate(),
                .hidden = hidden.allocate(),
                .candidates = {candidates, columns, ids.allocate(), best.allocate(), log_sum_exp.allocate()}};
    for (Staged<float>& weights : attention) out.attention.push_back(weights.allocate());
    return out;
  }
};

class ForwardJob : public Job {
 public:
  ForwardJob(Napi::Env env, std::shared_ptr<Llava> model, std::vector<Step> steps,
             std::vector<std::shared_ptr<SequenceState>> sequences, StagedOutputs outputs)
      : Job(env, std::make_shared<std::atomic<bool>>(false)),
        model_(std::move(model)),
        steps_(std::move(steps)),
        sequences_(std::move(sequences)),
        outputs_(std::move(outputs)) {}

 private:
  bool urgent() const override { return urgent_; }
  void execute() override {
    const auto start = std::chrono::steady_clock::now();
    failures_ = model_->forward(steps_, outputs_.allocate(), cancel(), [this] { return run_urgent(); });
    const auto as_the_first = [&](const std::optional<Error>& failure) {
      return failure && failures_.front() && failure->code() == failures_.front()->code();
    };
    if (!failures_.empty() && std::all_of(failures_.begin(), failures_.end(), as_the_first)) throw *failures_.front();
    compute_ms_ = milliseconds_since(start);
  }
  Napi::Value result(Napi::Env env) override {
    const auto copy = [&]<class T>(const Staged<T>& staged) {
      if (staged.count > 0) staged.copy_to(kept(staged.place).template As<Napi::TypedArrayOf<T>>());
    };
    copy(outputs_.logits);
    copy(outputs_.hidden);
    copy(outputs_.ids);
    copy(outputs_.best);
    copy(outputs_.log_sum_exp);
    for (const Staged<float>& weights : outputs_.attention) copy(weights);
    const Napi::Array failures = Napi::Array::New(env, failures_.size());
    for (size_t i = 0; i < failures_.size(); i++)
      failures.Set(static_cast<uint32_t>(i), failures_[i] ? to_js(env, *failures_[i]).Value() : env.Null());
    const Napi::Object out = Napi::Object::New(env);
    out.Set("computeMs", compute_ms_);
    out.Set("turnMs", turn_ms());
    out.Set("failures", failures);
    return out;
  }
  void queued() override {
    const auto is_idle = [](const auto& sequence) { return sequence->busy == 0; };
    urgent_ = of_few_rows(steps_) && std::all_of(sequences_.begin(), sequences_.end(), is_idle);
    for (const auto& sequence : sequences_) sequence->busy++;
  }
  void settled(Napi::Env env) override {
    for (const auto& sequence : sequences_) sequence->busy--;
    if (!sequences_.empty()) sequences_.front()->report->update(env);
  }

  std::shared_ptr<Llava> model_;
  std::vector<Step> steps_;
  std::vector<std::shared_ptr<SequenceState>> sequences_;
  StagedOutputs outputs_;
  // Somebody waits for a token, and no job before this one writes to its sequences.
  bool urgent_ = false;
  std::vector<std::optional<Error>> failures_;
  double compute_ms_ = 0;
};

class PeakJob : public Job {
 public:
  PeakJob(Napi::Env env, std::shared_ptr<Llava> model, PeakKind kind)
      : Job(env, std::make_shared<std::atomic<bool>>(false)), model_(std::move(model)), kind_(kind) {}

 private:
  void execute() override { peak_ = model_->measure_peak(kind_); }
  Napi::Value result(Napi::Env env) override { return peak_to_js(env, peak_); }
  std::shared_ptr<Llava> model_;
  PeakKind kind_;
  Peak peak_{};
};

Segment segment_of(const Napi::Object& o) {
  Segment segment;
  if (o.Get("image").IsUndefined()) {
    segment.tokens = copy_int32_array(o.Get("tokens"), "tokens");
    return segment;
  }
  segment.image = unwrap<FeaturesWrap>(o.Get("image"), "image").image();
  segment.start = integer_of(o.Get("start"), "start");
  segment.count = integer_of(o.Get("count"), "count");
  // here already: rows are counted before the runner sees them, and what a caller claims may be 2^53
  if (segment.start < 0 || segment.count < 1 || segment.count > segment.image->rows - segment.start)
    throw Error(ErrorCode::kInvalidArgument, "image rows out of range");
  return segment;
}

ImageResults image_results_of(const Napi::Value& value) {
  const Napi::Array array = array_of(value, "results");
  ImageResults results;
  for (uint32_t i = 0; i < array.Length(); i++)
    results.set(static_cast<size_t>(image_result_of(array.Get(i), "results[]")));
  return results;
}

LogitsOf logits_of(const Napi::Value& value) {
  return one_of<LogitsOf>(value, "logits",
                          {{"none", LogitsOf::kNone}, {"last", LogitsOf::kLast}, {"all", LogitsOf::kAll}});
}

RowForm form_of(const Napi::Value& value) {
  if (value.IsUndefined()) return RowForm::kWhole;
  return one_of<RowForm>(value, "form",
                         {{"whole", RowForm::kWhole}, {"candidates", RowForm::kCandidates}, {"both", RowForm::kBoth}});
}

// Arrays of the caller for results, each of so many values; a job keeps them in this order, after its model.
class ResultArrays {
 public:
  template <class Array>
  auto take(const Array& array, const char* name, int64_t count) {
    if (static_cast<int64_t>(array.ElementLength()) != count)
      throw Error(ErrorCode::kInvalidArgument,
                  std::string("expected `") + name + "` to hold " + std::to_string(count) + " values");
    arrays_.push_back(array);
    return Staged<std::remove_pointer_t<decltype(Array(array).Data())>>{count, arrays_.size()};
  }
  void keep_alive(Job& job) const {
    for (const Napi::Object& array : arrays_) job.keep_alive(array);
  }

 private:
  std::vector<Napi::Object> arrays_;
};

bool is_absent(const Napi::Value& value) { return value.IsNull() || value.IsUndefined(); }

// { count, columns, ids [rows, count], logits [rows, count], logSumExp [rows] or null }
void take_candidates(const Napi::Value& value, int64_t rows, int64_t vocab_size, ResultArrays& arrays,
                     StagedOutputs& out) {
  const Napi::Object o = object_of(value, "candidates");
  out.candidates = integer_of(o.Get("count"), "candidates.count");
  out.columns = integer_of(o.Get("columns"), "candidates.columns");
  if (out.candidates < 1 || out.candidates > out.columns || out.columns > vocab_size)
    throw Error(ErrorCode::kInvalidArgument,
                "expected `candidates.count` to be at least 1 and at most "
                "`candidates.columns`, and that at most the vocabulary's size");
  const int64_t values = rows * out.candidates;
  out.ids = arrays.take(int32_array_of(o.Get("ids"), "candidates.ids"), "candidates.ids", values);
  out.best = arrays.take(float32_array_of(o.Get("logits"), "candidates.logits"), "candidates.logits", values);
  const Napi::Value sums = o.Get("logSumExp");
  if (is_absent(sums)) return;
  out.log_sum_exp = arrays.take(float64_array_of(sums, "candidates.logSumExp"), "candidates.logSumExp", rows);
}

// Where a step's attention weights go, [L, H, positions], or undefined: they are not wanted. Its length says how many
// positions the caller expects.
Staged<float> take_attention(const Napi::Value& value, const TextConfig& text, ResultArrays& arrays, Step& step) {
  if (is_absent(value)) return {};
  const Napi::Float32Array array = float32_array_of(value, "attention");
  const auto length = static_cast<int64_t>(array.ElementLength());
  const int64_t rows = text.layers * text.heads;
  if (length == 0 || length % rows != 0)
    throw Error(ErrorCode::kInvalidArgument, "expected `attention` to hold layers * heads * positions values");
  step.attention = length / rows;
  return arrays.take(array, "attention", length);
}

}  // namespace

namespace {

std::shared_ptr<Backend> make_cpu(const ModelOptions& options) {
  return make_cpu_backend(options.threads, options.isa, options.copies_weights);
}

std::atomic<std::shared_ptr<Backend> (*)(const ModelOptions&)> backend_maker{make_cpu};

}  // namespace

std::shared_ptr<Backend> make_backend(const ModelOptions& options) {
  if (options.device == "cpu") return backend_maker.load()(options);
  int index = 0;
  const std::string_view text = options.device;
  const bool is_cuda = text.starts_with("cuda:");
  const char* end = text.data() + text.size();
  if (!is_cuda || std::from_chars(text.data() + 5, end, index) != std::from_chars_result{end, {}} || index < 0)
    throw Error(ErrorCode::kInvalidArgument, "expected `device` to be cpu or cuda:INDEX, got " + options.device);
  if (options.library.empty()) throw Error(ErrorCode::kInvalidArgument, "expected `library` to be a path");
  return open_library_backend(options.library, index);
}

void set_backend_maker(std::shared_ptr<Backend> (*make)(const ModelOptions& options)) { backend_maker.store(make); }

Napi::Function ModelWrap::define(Napi::Env env) {
  return DefineClass(
      env, "Model",
      {InstanceMethod<&ModelWrap::encode_images>("encodeImages"),
       InstanceMethod<&ModelWrap::create_sequence>("createSequence"), InstanceMethod<&ModelWrap::forward>("forward"),
       InstanceMethod<&ModelWrap::restore_image>("restoreImage"),
       InstanceMethod<&ModelWrap::read_sequence>("readSequence"),
       InstanceMethod<&ModelWrap::write_sequence>("writeSequence"), InstanceMethod<&ModelWrap::info>("info"),
       InstanceMethod<&ModelWrap::measure_peak>("measurePeak"), InstanceMethod<&ModelWrap::dispose>("dispose")});
}

Napi::Value ModelWrap::open(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const ModelOptions options = model_options_of(info[3]);
    return open_in_background<Llava>(info.Env(), classes(info.Env()).model, info[4],
                                     [files = files_of(info[0]), directory = directory_of(info[1]),
                                      config = model_config_of(info[2]), options](const OpenProgress& progress) {
                                       return std::make_shared<Llava>(files, directory, config, options,
                                                                      make_backend(options), progress);
                                     });
  });
}

ModelWrap::ModelWrap(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  info.This().As<Napi::Object>().TypeTag(&kTag);
  guarded(info.Env(), [&] {
    model_ = opened<Llava>(info[0], "a Model is made by openModel()");
    report_ = std::make_shared<KvReport>(model_->kv_pool());
    runner_ = Runner::start(info.Env());
  });
}

ModelWrap::~ModelWrap() = default;

void ModelWrap::Finalize(Napi::BasicEnv env) {
  if (runner_) runner_->stop(Napi::Env(env));
}

const std::shared_ptr<Llava>& ModelWrap::model() const {
  if (!model_) throw Error(ErrorCode::kDisposed, "the model has been disposed of");
  return model_;
}

Napi::Value ModelWrap::cpu_info(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Object out = Napi::Object::New(env);
  out.Set("device", cpu_features().model);
  out.Set("features", strings_to_js(env, cpu_features().names()));
  out.Set("isas", strings_to_js(env, cpu_isas()));
  out.Set("threads", usable_cpus());
  return out;
}

Napi::Value ModelWrap::encode_images(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::shared_ptr<Llava> current = model();
    if (!current->config().has_vision)
      throw Error(ErrorCode::kModelUnsupported, "this model has no vision tower: it cannot encode pictures");
    const int64_t size = current->config().vision.image_size, count = integer_of(info[1], "count");
    std::vector<float> pixels = copy_float32_array(info[0], "pixelValues");
    if (count < 1 || static_cast<int64_t>(pixels.size()) / (3 * size * size) != count ||
        static_cast<int64_t>(pixels.size()) % (3 * size * size) != 0) {
      throw Error(ErrorCode::kInvalidArgument, "expected `pixelValues` to hold count * 3 * " + std::to_string(size) +
                                                   " * " + std::to_string(size) + " values");
    }
    auto job = std::make_unique<EncodeJob>(info.Env(), cancel_flag_of(info[3]), current, std::move(pixels), count,
                                           image_results_of(info[2]));
    job->keep_alive(info.This().As<Napi::Object>());
    return runner_->enqueue(info.Env(), std::move(job));
  });
}

Napi::Value ModelWrap::create_sequence(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return SequenceWrap::make(info.Env(),
                              std::make_shared<SequenceState>(SequenceState{model(), report_, model()->new_cache()}));
  });
}

Napi::Value ModelWrap::forward(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::shared_ptr<Llava> current = model();  // held: a getter of the arguments may dispose of the handle
    const Napi::Array array = array_of(info[0], "steps");
    std::vector<Step> steps;
    std::vector<std::shared_ptr<SequenceState>> sequences;
    int64_t logit_rows = 0, whole_rows = 0, candidate_rows = 0;
    ResultArrays arrays;
    StagedOutputs outputs;
    const TextConfig& text = current->config().text;
    for (uint32_t i = 0; i < array.Length(); i++) {
      const Napi::Object o = object_of(array.Get(i), "steps[]");
      const std::shared_ptr<SequenceState> state = unwrap<SequenceWrap>(o.Get("sequence"), "sequence").state();
      if (state->model != current) throw Error(ErrorCode::kInvalidArgument, "the sequence belongs to another model");
      Step step{&state->cache, {}, logits_of(o.Get("logits")), cancel_flag_of(o.Get("cancellation"))};
      const Napi::Array segments = array_of(o.Get("segments"), "segments");
      for (uint32_t s = 0; s < segments.Length(); s++)
        step.segments.push_back(segment_of(object_of(segments.Get(s), "segments[]")));
      step.form = form_of(o.Get("form"));
      outputs.attention.push_back(take_attention(o.Get("attention"), text, arrays, step));
      logit_rows += step.logit_rows();
      whole_rows += step.whole_rows();
      candidate_rows += step.candidate_rows();
      sequences.push_back(state);
      steps.push_back(std::move(step));
    }
    // Where the results go: logits [whole rows, V], hidden [rows, D], candidates; null for what is not wanted.
    if (whole_rows > 0 && !is_absent(info[1]))
      outputs.logits = arrays.take(float32_array_of(info[1], "logits"), "logits", whole_rows * text.vocab_size);
    if (logit_rows > 0 && !is_absent(info[2]))
      outputs.hidden = arrays.take(float32_array_of(info[2], "hidden"), "hidden", logit_rows * text.hidden_size);
    if (whole_rows > 0 && outputs.logits.count == 0 && outputs.hidden.count == 0)
      throw Error(ErrorCode::kInvalidArgument,
                  "expected `logits` or `hidden` to be a Float32Array for the rows asked for");
    if (candidate_rows > 0) take_candidates(info[3], candidate_rows, text.vocab_size, arrays, outputs);
    auto job =
        std::make_unique<ForwardJob>(info.Env(), current, std::move(steps), std::move(sequences), std::move(outputs));
    job->keep_alive(info.This().As<Napi::Object>());
    arrays.keep_alive(*job);
    return runner_->enqueue(info.Env(), std::move(job));
  });
}

Napi::Value ModelWrap::info(const Napi::CallbackInfo& call) {
  return guarded(call.Env(), [&]() -> Napi::Value {
    const Napi::Env env = call.Env();
    const BackendInfo backend = model()->info();
    const MemoryUse use = model()->memory();
    const Napi::Object memory = Napi::Object::New(env);
    memory.Set("weightsMapped", static_cast<double>(use.weights_mapped));
    memory.Set("weightsHeap", static_cast<double>(use.weights_heap));
    memory.Set("kvCache", static_cast<double>(use.kv_cache));
    memory.Set("kvCacheFull", static_cast<double>(use.kv_cache_full));
    memory.Set("scratch", static_cast<double>(use.scratch));
    if (model()->plan()) memory.Set("plan", plan_to_js(env, *model()->plan()));
    const Napi::Object out = Napi::Object::New(env);
    out.Set("device", backend.device);
    out.Set("isa", backend.isa);
    out.Set("threads", backend.threads);
    out.Set("tiles", backend.tiles);
    out.Set("towerRows", static_cast<double>(backend.tower_rows));
    out.Set("passRows", static_cast<double>(backend.pass_rows));
    out.Set("cpuFeatures", strings_to_js(env, cpu_features().names()));
    out.Set("memory", memory);
    return out;
  });
}

Napi::Value ModelWrap::measure_peak(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    auto job = std::make_unique<PeakJob>(info.Env(), model(), peak_kind_of(info[0]));
    job->keep_alive(info.This().As<Napi::Object>());
    return runner_->enqueue(info.Env(), std::move(job));
  });
}

Napi::Value ModelWrap::dispose(const Napi::CallbackInfo& info) {
  runner_->stop(info.Env());
  model_.reset();
  return info.Env().Undefined();
}

}  // namespace llava::binding
