// Opens a model on libuv's pool, then constructs the JavaScript object that holds it.
#pragma once
#include <napi.h>

#include <functional>
#include <memory>
#include <optional>

#include "binding/convert.h"
#include "binding/wraps.h"

namespace llava::binding {

// Of the externals that carry an opened model to the constructor of its class.
inline constexpr napi_type_tag kOpenedTag = {0x6c6c6176616f7065, 0x6e65640000000001};

// The model in an external of ours; anything else is refused.
template <class Model>
std::shared_ptr<Model> opened(const Napi::Value& value, const char* how) {
  bool ours = false;
  if (value.IsExternal()) napi_check_object_type_tag(value.Env(), value, &kOpenedTag, &ours);
  if (!ours) throw Error(ErrorCode::kInvalidArgument, how);
  return *value.As<Napi::External<std::shared_ptr<Model>>>().Data();
}

// JavaScript's listener to OpenProgress, called while the thread that opens works, and once more when it is done. It
// must not throw.
class ProgressListener {
 public:
  explicit ProgressListener(const Napi::Value& listener) {
    if (!listener.IsFunction()) return;
    listener_ = Napi::Persistent(listener.As<Napi::Function>());
    call_ = Napi::ThreadSafeFunction::New(listener.Env(), listener.As<Napi::Function>(), "llava-native progress", 0, 1);
    call_->Unref(listener.Env());  // the opening itself keeps the process alive
  }
  // From the thread that opens.
  OpenProgress progress() const {
    if (!call_) return {};
    return [call = *call_, state = state_](uint64_t nbytes, uint64_t total) {
      state->nbytes = nbytes;
      state->total = total;
      call.NonBlockingCall([=](Napi::Env env, Napi::Function listener) {
        if (!state->ended) listener.Call({number(env, nbytes), number(env, total)});
      });
    };
  }
  // JavaScript thread, once that thread is done: what it reported last is heard, and nothing after it.
  void end() {
    if (!call_) return;
    state_->ended = true;
    call_->Release();
    if (state_->total > 0)
      listener_.Call({number(listener_.Env(), state_->nbytes), number(listener_.Env(), state_->total)});
  }

 private:
  struct State {
    uint64_t nbytes = 0, total = 0;
    bool ended = false;  // JavaScript thread only
  };
  static Napi::Number number(Napi::Env env, uint64_t value) {
    return Napi::Number::New(env, static_cast<double>(value));
  }
  std::shared_ptr<State> state_ = std::make_shared<State>();
  Napi::FunctionReference listener_;
  std::optional<Napi::ThreadSafeFunction> call_;
};

template <class Model>
class OpenWorker : public Napi::AsyncWorker {
 public:
  using Make = std::function<std::shared_ptr<Model>(const OpenProgress&)>;
  OpenWorker(Napi::Env env, const Napi::FunctionReference& constructor, const Napi::Value& listener, Make make)
      : AsyncWorker(env),
        deferred_(Napi::Promise::Deferred::New(env)),
        constructor_(constructor),
        listener_(listener),
        make_(std::move(make)) {}
  Napi::Promise promise() const { return deferred_.Promise(); }

  void Execute() override {
    try {
      model_ = make_(listener_.progress());
    } catch (...) {
      failure_ = from_current_exception();
    }
  }
  void OnOK() override {
    const Napi::HandleScope scope(Env());
    try {
      listener_.end();
      settle();
    } catch (const Napi::Error&) {  // the environment is ending (worker.terminate()): there is nobody left to tell
    }
  }

 private:
  void settle() {
    if (failure_) {
      deferred_.Reject(to_js(Env(), *failure_).Value());
      return;
    }
    try {
      const auto carrier = Napi::External<std::shared_ptr<Model>>::New(Env(), &model_);
      if (napi_type_tag_object(Env(), carrier, &kOpenedTag) != napi_ok) throw Napi::Error::New(Env());
      deferred_.Resolve(constructor_.New({carrier}));
    } catch (const Napi::Error& error) {
      deferred_.Reject(error.Value());
    }
  }

  Napi::Promise::Deferred deferred_;
  const Napi::FunctionReference& constructor_;  // lives as long as the environment
  ProgressListener listener_;
  Make make_;
  std::shared_ptr<Model> model_;
  std::optional<Error> failure_;
};

// listener: a function of the bytes taken over so far and of all of them, or anything else for none.
template <class Model>
Napi::Promise open_in_background(Napi::Env env, const Napi::FunctionReference& constructor, const Napi::Value& listener,
                                 typename OpenWorker<Model>::Make make) {
  auto worker = std::make_unique<OpenWorker<Model>>(env, constructor, listener, std::move(make));
  const Napi::Promise promise = worker->promise();
  worker.release()->Queue();  // deletes itself when done
  return promise;
}

}  // namespace llava::binding
