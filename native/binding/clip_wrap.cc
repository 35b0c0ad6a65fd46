// Clip: pictures and texts as vectors of one space.
#include <cstring>

#include "binding/convert.h"
#include "binding/open_worker.h"
#include "binding/wraps.h"

namespace llava::binding {

const napi_type_tag ClipWrap::kTag = {0x6c6c617661636c69, 0x7000000000000001};

namespace {

// Vectors [count, projection_dim] of the shared space.
class ClipJob : public Job {
 public:
  using Encode = std::function<void(Clip&, float* out, const std::atomic<bool>& cancel)>;
  ClipJob(Napi::Env env, std::shared_ptr<std::atomic<bool>> cancel, std::shared_ptr<Clip> clip, int64_t count,
          Encode encode)
      : Job(env, std::move(cancel)), clip_(std::move(clip)), count_(count), encode_(std::move(encode)) {}

 private:
  void execute() override {
    out_.resize(static_cast<size_t>(count_ * clip_->config().projection_dim));
    encode_(*clip_, out_.data(), cancel());
  }
  Napi::Value result(Napi::Env env) override {
    Napi::Float32Array array = Napi::Float32Array::New(env, out_.size());
    std::memcpy(array.Data(), out_.data(), out_.size() * sizeof(float));
    return array;
  }
  std::shared_ptr<Clip> clip_;
  int64_t count_;
  Encode encode_;
  std::vector<float> out_;
};

}  // namespace

Napi::Function ClipWrap::define(Napi::Env env) {
  return DefineClass(
      env, "Clip",
      {InstanceMethod<&ClipWrap::encode_images>("encodeImages"), InstanceMethod<&ClipWrap::encode_texts>("encodeTexts"),
       InstanceMethod<&ClipWrap::info>("info"), InstanceMethod<&ClipWrap::dispose>("dispose")});
}

Napi::Value ClipWrap::open(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const ModelOptions options = model_options_of(info[3]);
    return open_in_background<Clip>(info.Env(), classes(info.Env()).clip, info[4],
                                    [files = files_of(info[0]), directory = directory_of(info[1]),
                                     config = clip_config_of(info[2]), options](const OpenProgress& progress) {
                                      return std::make_shared<Clip>(files, directory, config, options,
                                                                    make_backend(options), progress);
                                    });
  });
}

ClipWrap::ClipWrap(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  info.This().As<Napi::Object>().TypeTag(&kTag);
  guarded(info.Env(), [&] {
    clip_ = opened<Clip>(info[0], "a Clip is made by openClip()");
    runner_ = Runner::start(info.Env());
  });
}

void ClipWrap::Finalize(Napi::BasicEnv env) {
  if (runner_) runner_->stop(Napi::Env(env));
}

const std::shared_ptr<Clip>& ClipWrap::clip() const {
  if (!clip_) throw Error(ErrorCode::kDisposed, "the CLIP model has been disposed of");
  return clip_;
}

Napi::Value ClipWrap::encode_images(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const int64_t size = clip()->config().vision.image_size, values = 3 * size * size,
                  count = integer_of(info[1], "count");
    std::vector<float> pixels = copy_float32_array(info[0], "pixelValues");
    if (count < 1 || static_cast<int64_t>(pixels.size()) / values != count ||
        static_cast<int64_t>(pixels.size()) % values != 0) {
      throw Error(ErrorCode::kInvalidArgument, "expected `pixelValues` to hold count * 3 * " + std::to_string(size) +
                                                   " * " + std::to_string(size) + " values");
    }
    const auto encode = [pixels = std::move(pixels), count](Clip& model, float* out, const std::atomic<bool>& cancel) {
      model.encode_images(pixels, count, out, cancel);
    };
    auto job = std::make_unique<ClipJob>(info.Env(), cancel_flag_of(info[2]), clip(), count, encode);
    job->keep_alive(info.This().As<Napi::Object>());
    return runner_->enqueue(info.Env(), std::move(job));
  });
}

Napi::Value ClipWrap::encode_texts(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Napi::Array texts = array_of(info[0], "ids");
    std::vector<int32_t> ids;
    std::vector<int64_t> lengths;
    for (uint32_t i = 0; i < texts.Length(); i++) {
      const std::vector<int32_t> text = copy_int32_array(texts.Get(i), "ids[]");
      ids.insert(ids.end(), text.begin(), text.end());
      lengths.push_back(static_cast<int64_t>(text.size()));
    }
    const auto count = static_cast<int64_t>(lengths.size());
    const auto encode = [ids = std::move(ids), lengths = std::move(lengths)](Clip& model, float* out,
                                                                             const std::atomic<bool>& cancel) {
      model.encode_texts(ids, lengths, out, cancel);
    };
    auto job = std::make_unique<ClipJob>(info.Env(), cancel_flag_of(info[1]), clip(), count, encode);
    job->keep_alive(info.This().As<Napi::Object>());
    return runner_->enqueue(info.Env(), std::move(job));
  });
}

Napi::Value ClipWrap::info(const Napi::CallbackInfo& call) {
  return guarded(call.Env(), [&]() -> Napi::Value {
    const BackendInfo backend = clip()->info();
    const Napi::Object out = Napi::Object::New(call.Env());
    out.Set("device", backend.device);
    out.Set("isa", backend.isa);
    out.Set("threads", backend.threads);
    out.Set("tiles", backend.tiles);
    out.Set("towerRows", static_cast<double>(backend.tower_rows));
    if (clip()->plan()) out.Set("plan", plan_to_js(call.Env(), *clip()->plan()));
    return out;
  });
}

Napi::Value ClipWrap::dispose(const Napi::CallbackInfo& info) {
  runner_->stop(info.Env());
  clip_.reset();
  return info.Env().Undefined();
}

}  // namespace llava::binding
