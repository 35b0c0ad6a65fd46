#include <cstring>

#include "binding/convert.h"
#include "binding/wraps.h"

namespace llava::binding {

const napi_type_tag FeaturesWrap::kTag = {0x6c6c617661666561, 0x7475726573000001};
const napi_type_tag CancellationWrap::kTag = {0x6c6c61766163616e, 0x63656c0000000001};

Napi::Function CancellationWrap::define(Napi::Env env) {
  return DefineClass(env, "Cancellation", {InstanceMethod<&CancellationWrap::cancel>("cancel")});
}

CancellationWrap::CancellationWrap(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  info.This().As<Napi::Object>().TypeTag(&kTag);
}

Napi::Value CancellationWrap::cancel(const Napi::CallbackInfo& info) {
  flag_->store(true, std::memory_order_relaxed);
  return info.Env().Undefined();
}

std::shared_ptr<std::atomic<bool>> cancel_flag_of(const Napi::Value& value) {
  if (value.IsNull() || value.IsUndefined()) return std::make_shared<std::atomic<bool>>(false);
  return unwrap<CancellationWrap>(value, "cancellation").flag();
}

Napi::Function FeaturesWrap::define(Napi::Env env) {
  return DefineClass(env, "ImageFeatures",
                     {accessor<FeaturesWrap, &FeaturesWrap::rows>("rows"), InstanceMethod<&FeaturesWrap::read>("read"),
                      InstanceMethod<&FeaturesWrap::dispose>("dispose")});
}

Napi::Object FeaturesWrap::make(Napi::Env env, std::shared_ptr<const ImageFeatures> image) {
  const Napi::Object object = classes(env).features.New({});
  FeaturesWrap* wrap = Unwrap(object);
  wrap->image_ = std::move(image);
  Napi::MemoryManagement::AdjustExternalMemory(env, wrap->bytes());
  return object;
}

FeaturesWrap::FeaturesWrap(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  info.This().As<Napi::Object>().TypeTag(&kTag);
}

std::shared_ptr<const ImageFeatures> FeaturesWrap::image() const {
  if (!image_) throw Error(ErrorCode::kDisposed, "this encoded picture has been disposed of");
  return image_;
}

int64_t FeaturesWrap::bytes() const { return image_ ? static_cast<int64_t>(image_->nbytes()) : 0; }

Napi::Value FeaturesWrap::rows(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return Napi::Number::New(info.Env(), static_cast<double>(unwrap<FeaturesWrap>(info.This(), "this").image()->rows));
  });
}

Napi::Value FeaturesWrap::read(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::vector<float> values = image()->read(image_result_of(info[0], "kind"));
    Napi::Float32Array copy = Napi::Float32Array::New(info.Env(), values.size());
    std::memcpy(copy.Data(), values.data(), values.size() * sizeof(float));
    return copy;
  });
}

Napi::Value FeaturesWrap::dispose(const Napi::CallbackInfo& info) {
  if (image_) Napi::MemoryManagement::AdjustExternalMemory(info.Env(), -bytes());
  image_.reset();
  return info.Env().Undefined();
}

void FeaturesWrap::Finalize(Napi::BasicEnv env) {
  if (image_) Napi::MemoryManagement::AdjustExternalMemory(env, -bytes());
}

}  // namespace llava::binding
