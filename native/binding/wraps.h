// The classes JavaScript holds. Handles are type-tagged, so a foreign object passed in their place is refused rather
// than misread.
#pragma once
#include <napi.h>

#include <memory>

#include "binding/runner.h"
#include "model/clip.h"
#include "model/conversion.h"
#include "model/llava.h"

namespace llava::binding {

// Constructors of one environment (worker threads have their own).
struct Classes {
  Napi::FunctionReference model, clip, conversion, measure, sequence, features, cancellation;
};
Classes& classes(Napi::Env env);

// Refuses anything that is not an object of this wrap.
template <class Wrap>
Wrap& unwrap(const Napi::Value& value, const char* name) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&Wrap::kTag)) {
    throw Error(ErrorCode::kInvalidArgument, std::string("expected `") + name + "` to be made by this package");
  }
  return *Wrap::Unwrap(value.As<Napi::Object>());
}

// A property of a wrap. V8 checks whose methods are called, but not whose accessors: `get` must unwrap() what it is
// read on.
template <class Wrap, Napi::Value (*get)(const Napi::CallbackInfo&)>
Napi::ClassPropertyDescriptor<Wrap> accessor(const char* name) {
  napi_property_descriptor property = {};
  property.utf8name = name;
  property.getter = Napi::details::TemplatedCallback<get>;
  return property;
}

// A flag that compute threads read between tasks.
class CancellationWrap : public Napi::ObjectWrap<CancellationWrap> {
 public:
  static const napi_type_tag kTag;
  static Napi::Function define(Napi::Env env);
  explicit CancellationWrap(const Napi::CallbackInfo& info);
  std::shared_ptr<std::atomic<bool>> flag() const { return flag_; }

 private:
  Napi::Value cancel(const Napi::CallbackInfo& info);
  std::shared_ptr<std::atomic<bool>> flag_ = std::make_shared<std::atomic<bool>>(false);
};

std::shared_ptr<std::atomic<bool>> cancel_flag_of(const Napi::Value& value);  // of null: a flag nobody sets

class FeaturesWrap : public Napi::ObjectWrap<FeaturesWrap> {
 public:
  static const napi_type_tag kTag;
  static Napi::Function define(Napi::Env env);
  static Napi::Object make(Napi::Env env, std::shared_ptr<const ImageFeatures> image);
  explicit FeaturesWrap(const Napi::CallbackInfo& info);
  void Finalize(Napi::BasicEnv env) override;          // public: a private one is not found, and never called
  std::shared_ptr<const ImageFeatures> image() const;  // throws kDisposed

 private:
  static Napi::Value rows(const Napi::CallbackInfo& info);
  Napi::Value read(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);
  int64_t bytes() const;
  std::shared_ptr<const ImageFeatures> image_;
};

// Tells V8 how much the pages of a model's sequences take outside of its heap, so that it collects those that nobody
// holds. JavaScript thread only.
class KvReport {
 public:
  explicit KvReport(std::shared_ptr<const KvPool> pool) : pool_(std::move(pool)) {}
  void update(Napi::BasicEnv env);

 private:
  std::shared_ptr<const KvPool> pool_;
  int64_t reported_ = 0;
};

// A sequence's cache; jobs that use it hold it too.
struct SequenceState {
  std::shared_ptr<const Llava> model;
  std::shared_ptr<KvReport> report;
  KvCache cache;
  int64_t busy = 0;  // jobs that will write it; JavaScript thread only
};

class SequenceWrap : public Napi::ObjectWrap<SequenceWrap> {
 public:
  static const napi_type_tag kTag;
  static Napi::Function define(Napi::Env env);
  static Napi::Object make(Napi::Env env, std::shared_ptr<SequenceState> state);
  explicit SequenceWrap(const Napi::CallbackInfo& info);
  void Finalize(Napi::BasicEnv env) override;           // public: a private one is not found, and never called
  const std::shared_ptr<SequenceState>& state() const;  // throws kDisposed
  SequenceState& idle() const;                          // throws kInvalidArgument while a job writes it

 private:
  static Napi::Value length(const Napi::CallbackInfo& info);
  Napi::Value fork(const Napi::CallbackInfo& info);
  Napi::Value truncate(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);
  std::shared_ptr<SequenceState> state_;
};

// The one place that picks a back end. Throws what open_library_backend does.
std::shared_ptr<Backend> make_backend(const ModelOptions& options);
// What it picks for the CPU from then on: for the tests, which have a back end of their own.
void set_backend_maker(std::shared_ptr<Backend> (*make)(const ModelOptions& options));

class ModelWrap : public Napi::ObjectWrap<ModelWrap> {
 public:
  static const napi_type_tag kTag;
  static Napi::Function define(Napi::Env env);
  static Napi::Value open(const Napi::CallbackInfo& info);
  static Napi::Value cpu_info(const Napi::CallbackInfo& info);
  explicit ModelWrap(const Napi::CallbackInfo& info);
  void Finalize(Napi::BasicEnv env) override;  // public: a private one is not found, and never called
  ~ModelWrap() override;

 private:
  const std::shared_ptr<Llava>& model() const;  // throws kDisposed
  Napi::Value encode_images(const Napi::CallbackInfo& info);
  Napi::Value create_sequence(const Napi::CallbackInfo& info);
  Napi::Value forward(const Napi::CallbackInfo& info);
  Napi::Value restore_image(const Napi::CallbackInfo& info);
  Napi::Value read_sequence(const Napi::CallbackInfo& info);
  Napi::Value write_sequence(const Napi::CallbackInfo& info);
  Napi::Value info(const Napi::CallbackInfo& info);
  Napi::Value measure_peak(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);
  std::shared_ptr<Llava> model_;
  std::shared_ptr<KvReport> report_;
  std::shared_ptr<Runner> runner_;
};

class ClipWrap : public Napi::ObjectWrap<ClipWrap> {
 public:
  static const napi_type_tag kTag;
  static Napi::Function define(Napi::Env env);
  static Napi::Value open(const Napi::CallbackInfo& info);
  explicit ClipWrap(const Napi::CallbackInfo& info);
  void Finalize(Napi::BasicEnv env) override;  // public: a private one is not found, and never called

 private:
  const std::shared_ptr<Clip>& clip() const;  // throws kDisposed
  Napi::Value encode_images(const Napi::CallbackInfo& info);
  Napi::Value encode_texts(const Napi::CallbackInfo& info);
  Napi::Value info(const Napi::CallbackInfo& call);
  Napi::Value dispose(const Napi::CallbackInfo& info);
  std::shared_ptr<Clip> clip_;
  std::shared_ptr<Runner> runner_;
};

class ConversionWrap : public Napi::ObjectWrap<ConversionWrap> {
 public:
  static const napi_type_tag kTag;
  static Napi::Function define(Napi::Env env);
  static Napi::Value open(const Napi::CallbackInfo& info);
  explicit ConversionWrap(const Napi::CallbackInfo& info);

 private:
  const std::shared_ptr<Conversion>& conversion() const;  // throws kDisposed
  Napi::Value convert(const Napi::CallbackInfo& info);
  Napi::Value check(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);
  void Finalize(Napi::BasicEnv env) override;
  std::shared_ptr<Conversion> conversion_;
  std::shared_ptr<Runner> runner_;
};

struct Bench;

// Kernels by themselves: times and judges one op at a time on random operands.
class MeasureWrap : public Napi::ObjectWrap<MeasureWrap> {
 public:
  static const napi_type_tag kTag;
  static Napi::Function define(Napi::Env env);
  explicit MeasureWrap(const Napi::CallbackInfo& info);
  void Finalize(Napi::BasicEnv env) override;  // public: a private one is not found, and never called

 private:
  const std::shared_ptr<Bench>& bench() const;  // throws kDisposed
  template <class BenchJob, class... Arguments>
  Napi::Value enqueue(const Napi::CallbackInfo& info, Arguments&&... arguments);
  Napi::Value info(const Napi::CallbackInfo& call);
  Napi::Value prepare(const Napi::CallbackInfo& info);
  Napi::Value sample(const Napi::CallbackInfo& info);
  Napi::Value output(const Napi::CallbackInfo& info);
  Napi::Value judge(const Napi::CallbackInfo& info);
  Napi::Value measure_peak(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);
  std::shared_ptr<Bench> bench_;
  std::shared_ptr<Runner> runner_;
};

}  // namespace llava::binding
