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

template <class Model>
class OpenWorker : public Napi::AsyncWorker {
 public:
  OpenWorker(Napi::Env env, const Napi::FunctionReference& constructor, std::function<std::shared_ptr<Model>()> make)
      : AsyncWorker(env), deferred_(Napi::Promise::Deferred::New(env)), constructor_(constructor), make_(std::move(make)) {}
  Napi::Promise promise() const { return deferred_.Promise(); }

  void Execute() override {
    try {
      model_ = make_();
    } catch (...) {
      failure_ = from_current_exception();
    }
  }
  void OnOK() override {
    const Napi::HandleScope scope(Env());
    try {
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
  std::function<std::shared_ptr<Model>()> make_;
  std::shared_ptr<Model> model_;
  std::optional<Error> failure_;
};

template <class Model>
Napi::Promise open_in_background(Napi::Env env, const Napi::FunctionReference& constructor, std::function<std::shared_ptr<Model>()> make) {
  auto worker = std::make_unique<OpenWorker<Model>>(env, constructor, std::move(make));
  const Napi::Promise promise = worker->promise();
  worker.release()->Queue();  // deletes itself when done
  return promise;
}

}  // namespace llava::binding
