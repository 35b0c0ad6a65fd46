#include "binding/convert.h"
#include "binding/wraps.h"

namespace llava::binding {

const napi_type_tag SequenceWrap::kTag = {0x6c6c617661736571, 0x75656e6365000001};

Napi::Function SequenceWrap::define(Napi::Env env) {
  return DefineClass(
      env, "Sequence",
      {accessor<SequenceWrap, &SequenceWrap::length>("length"), InstanceMethod<&SequenceWrap::fork>("fork"),
       InstanceMethod<&SequenceWrap::truncate>("truncate"), InstanceMethod<&SequenceWrap::dispose>("dispose")});
}

Napi::Object SequenceWrap::make(Napi::Env env, std::shared_ptr<SequenceState> state) {
  const Napi::Object object = classes(env).sequence.New({});
  Unwrap(object)->state_ = std::move(state);
  return object;
}

SequenceWrap::SequenceWrap(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  info.This().As<Napi::Object>().TypeTag(&kTag);
}

const std::shared_ptr<SequenceState>& SequenceWrap::state() const {
  if (!state_) throw Error(ErrorCode::kDisposed, "this sequence has been disposed of");
  return state_;
}

// The cache belongs to the runner while a job that writes it is under way.
SequenceState& SequenceWrap::idle() const {
  SequenceState& current = *state();
  if (current.busy > 0)
    throw Error(ErrorCode::kInvalidArgument, "this sequence is in use by a forward() that has not finished");
  return current;
}

Napi::Value SequenceWrap::length(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return Napi::Number::New(info.Env(),
                             static_cast<double>(unwrap<SequenceWrap>(info.This(), "this").idle().cache.length()));
  });
}

Napi::Value SequenceWrap::fork(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const SequenceState& current = idle();
    return make(info.Env(),
                std::make_shared<SequenceState>(SequenceState{current.model, current.report, current.cache.fork()}));
  });
}

Napi::Value SequenceWrap::truncate(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    SequenceState& current = idle();
    const int64_t length = integer_of(info[0], "length");
    if (length < 0 || length > current.cache.length())
      throw Error(ErrorCode::kInvalidArgument, "expected `length` to be between 0 and the sequence's length");
    current.cache.truncate(length);
    current.report->update(info.Env());
    return info.Env().Undefined();
  });
}

Napi::Value SequenceWrap::dispose(const Napi::CallbackInfo& info) {
  Finalize(info.Env());
  return info.Env().Undefined();
}

void SequenceWrap::Finalize(Napi::BasicEnv env) {
  if (!state_) return;
  const std::shared_ptr<KvReport> report = state_->report;
  state_.reset();
  report->update(env);
}

void KvReport::update(Napi::BasicEnv env) {
  const auto held = static_cast<int64_t>(pool_->held.load(std::memory_order_relaxed));
  if (held != reported_) Napi::MemoryManagement::AdjustExternalMemory(env, held - reported_);
  reported_ = held;
}

}  // namespace llava::binding
