// Conversion: rows of a checkpoint as other types, or checked, off the JavaScript thread.
#include <cstring>

#include "binding/convert.h"
#include "binding/open_worker.h"
#include "binding/wraps.h"

namespace llava::binding {

const napi_type_tag ConversionWrap::kTag = {0x6c6c617661636f6e, 0x7665727400000001};

namespace {

class ConvertJob : public Job {
 public:
  ConvertJob(Napi::Env env, std::shared_ptr<std::atomic<bool>> cancel, std::shared_ptr<Conversion> conversion,
             const RowRequest& request, int64_t nbytes)
      : Job(env, std::move(cancel)),
        conversion_(std::move(conversion)),
        request_(request),
        nbytes_(static_cast<size_t>(nbytes)) {}

 private:
  void execute() override {
    bytes_ = std::make_unique_for_overwrite<std::byte[]>(nbytes_);
    findings_ = conversion_->convert(request_, bytes_.get(), cancel());
  }
  Napi::Value result(Napi::Env env) override {
    Napi::Uint8Array out = kept(1).As<Napi::Uint8Array>();  // after the conversion
    if (out.ElementLength() != nbytes_)
      throw Error(ErrorCode::kInvalidArgument, "the array for the rows was detached or resized while they were made");
    std::memcpy(out.Data(), bytes_.get(), nbytes_);
    const Napi::Object o = Napi::Object::New(env);
    o.Set("nan", static_cast<double>(findings_.nan));
    o.Set("infinite", static_cast<double>(findings_.infinite));
    o.Set("overflowed", static_cast<double>(findings_.overflowed));
    return o;
  }
  std::shared_ptr<Conversion> conversion_;
  RowRequest request_;
  size_t nbytes_;
  std::unique_ptr<std::byte[]> bytes_;
  Findings findings_;
};

class CheckJob : public Job {
 public:
  CheckJob(Napi::Env env, std::shared_ptr<std::atomic<bool>> cancel, std::shared_ptr<Conversion> conversion,
           int64_t tensor)
      : Job(env, std::move(cancel)), conversion_(std::move(conversion)), tensor_(tensor) {}

 private:
  void execute() override { check_ = conversion_->check(tensor_, cancel()); }
  Napi::Value result(Napi::Env env) override {
    const Napi::Object o = Napi::Object::New(env);
    o.Set("nan", static_cast<double>(check_.findings.nan));
    o.Set("infinite", static_cast<double>(check_.findings.infinite));
    o.Set("crc32", static_cast<double>(check_.crc32));
    return o;
  }
  std::shared_ptr<Conversion> conversion_;
  int64_t tensor_;
  TensorCheck check_;
};

}  // namespace

Napi::Function ConversionWrap::define(Napi::Env env) {
  return DefineClass(
      env, "Conversion",
      {InstanceMethod<&ConversionWrap::convert>("convert"), InstanceMethod<&ConversionWrap::check>("check"),
       InstanceMethod<&ConversionWrap::dispose>("dispose")});
}

Napi::Value ConversionWrap::open(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const int64_t threads = integer_of(info[2], "threads");
    if (threads < 0 || threads > 1024)
      throw Error(ErrorCode::kInvalidArgument, "expected `threads` to be between 0 and 1024");
    return open_in_background<Conversion>(
        info.Env(), classes(info.Env()).conversion, info.Env().Undefined(),
        [files = files_of(info[0]), directory = directory_of(info[1]), threads](const OpenProgress&) {
          return std::make_shared<Conversion>(files, directory, static_cast<int>(threads));
        });
  });
}

ConversionWrap::ConversionWrap(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  info.This().As<Napi::Object>().TypeTag(&kTag);
  if (!info[0].IsExternal())
    throw to_js(info.Env(), Error(ErrorCode::kInvalidArgument, "a Conversion is made by openConversion()"));
  conversion_ = *info[0].As<Napi::External<std::shared_ptr<Conversion>>>().Data();
  guarded(info.Env(), [&] { runner_ = Runner::start(info.Env()); });
}

void ConversionWrap::Finalize(Napi::BasicEnv env) {
  if (runner_) runner_->stop(Napi::Env(env));
}

const std::shared_ptr<Conversion>& ConversionWrap::conversion() const {
  if (!conversion_) throw Error(ErrorCode::kDisposed, "the conversion has been disposed of");
  return conversion_;
}

Napi::Value ConversionWrap::convert(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Napi::Object o = object_of(info[0], "request");
    const RowRequest request{integer_of(o.Get("tensor"), "tensor"), dtype_of(string_of(o.Get("dtype"), "dtype")),
                             integer_of(o.Get("interleavedHeads"), "interleavedHeads"),
                             integer_of(o.Get("first"), "first"), integer_of(o.Get("count"), "count")};
    const int64_t nbytes = conversion()->result_bytes(request);
    const Napi::Uint8Array out = uint8_array_of(info[1], "out");
    if (out.ElementLength() != static_cast<size_t>(nbytes))
      throw Error(ErrorCode::kInvalidArgument, "expected `out` to have " + std::to_string(nbytes) + " bytes");
    auto job = std::make_unique<ConvertJob>(info.Env(), cancel_flag_of(info[2]), conversion(), request, nbytes);
    job->keep_alive(info.This().As<Napi::Object>());
    job->keep_alive(out);
    return runner_->enqueue(info.Env(), std::move(job));
  });
}

Napi::Value ConversionWrap::check(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    auto job =
        std::make_unique<CheckJob>(info.Env(), cancel_flag_of(info[1]), conversion(), integer_of(info[0], "tensor"));
    job->keep_alive(info.This().As<Napi::Object>());
    return runner_->enqueue(info.Env(), std::move(job));
  });
}

Napi::Value ConversionWrap::dispose(const Napi::CallbackInfo& info) {
  runner_->stop(info.Env());
  conversion_.reset();
  return info.Env().Undefined();
}

}  // namespace llava::binding
