// A picture's work runs on libuv's pool, as it is a matter of milliseconds: several workers take its bands, and the
// last to end settles the promise. The pixels are a copy, so that nothing that happens to the caller's array matters.
// It is made piece by piece: 36 MB at once would hold the event loop.
#include "binding/picture_wrap.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <optional>

#include "binding/convert.h"
#include "binding/wraps.h"
#include "common/aligned.h"
#include "common/cpu_features.h"
#include "image/resize.h"

namespace llava::binding {

const napi_type_tag PictureWrap::kTag = {0x6c6c617661706963, 0x7475726500000001};

struct Pixels {
  Pixels(int64_t w, int64_t h)
      : width(w), height(h), rgb(static_cast<uint8_t*>(allocate_aligned(static_cast<uint64_t>(nbytes())))) {
    if (rgb == nullptr)
      throw Error(ErrorCode::kOutOfMemory,
                  "out of memory: could not allocate " + std::to_string(nbytes()) + " bytes for a picture");
  }
  ~Pixels() { free_aligned(rgb); }
  Pixels(const Pixels&) = delete;
  Pixels& operator=(const Pixels&) = delete;
  int64_t nbytes() const { return 3 * width * height; }
  const int64_t width, height;
  uint8_t* const rgb;   // [height, width, 3]
  int64_t written = 0;  // bytes; none is written any more once all are, so that workers may read them
};

namespace {

// Threads that may work on one picture: libuv has 4, unless UV_THREADPOOL_SIZE says otherwise.
int64_t most_threads() {
  static const int64_t threads = std::min(4, usable_cpus());
  return threads;
}

class PictureJob {
 public:
  PictureJob(Napi::Env env, std::shared_ptr<const Pixels> pixels, PictureRequest request,
             std::shared_ptr<std::atomic<bool>> cancel)
      : deferred_(Napi::Promise::Deferred::New(env)),
        pixels_(std::move(pixels)),
        resize_(std::move(request), resize_loops().back()),
        cancel_(std::move(cancel)),
        bands_(resize_.bands(most_threads())) {}
  Napi::Promise promise() const { return deferred_.Promise(); }
  int64_t bands() const { return bands_; }
  void join() { workers_++; }
  bool leave() { return --workers_ == 0; }

  // On a thread of the pool: takes bands until there are none.
  void work() noexcept {
    try {
      prepare();
      for (int64_t band; (band = next_.fetch_add(1)) < bands_;)
        resize_.compute(pixels_->rgb, band, bands_, out_.get(), *cancel_);
    } catch (...) {
      fail();
    }
  }

  void settle(Napi::Env env) {
    binding::settle(env, deferred_, failure_, [this](Napi::Env env) { return result(env); });
  }

 private:
  void prepare() {
    const std::lock_guard lock(mutex_);
    if (out_ || failure_) return;
    resize_.prepare(*cancel_);
    out_ = std::make_unique_for_overwrite<float[]>(static_cast<size_t>(resize_.values()));
  }
  void fail() {
    const std::lock_guard lock(mutex_);
    next_.store(bands_);  // the others take no more
    if (!failure_) failure_ = from_current_exception();
  }
  Napi::Value result(Napi::Env env) const {
    Napi::Float32Array values = Napi::Float32Array::New(env, static_cast<size_t>(resize_.values()));
    std::memcpy(values.Data(), out_.get(), values.ByteLength());
    return values;
  }

  Napi::Promise::Deferred deferred_;
  std::shared_ptr<const Pixels> pixels_;
  PictureResize resize_;
  std::shared_ptr<std::atomic<bool>> cancel_;
  const int64_t bands_;
  int64_t workers_ = 0;  // not yet ended; JavaScript thread only
  std::mutex mutex_;
  std::unique_ptr<float[]> out_;
  std::optional<Error> failure_;
  std::atomic<int64_t> next_{0};
};

class BandWorker : public Napi::AsyncWorker {
 public:
  BandWorker(Napi::Env env, std::shared_ptr<PictureJob> job) : AsyncWorker(env), job_(std::move(job)) {}
  void Execute() override { job_->work(); }
  void OnOK() override {
    if (!job_->leave()) return;
    const Napi::HandleScope scope(Env());
    try {
      job_->settle(Env());
    } catch (const Napi::Error&) {  // the environment is ending (worker.terminate()): there is nobody left to tell
    }
  }

 private:
  std::shared_ptr<PictureJob> job_;
};

void queue_worker(Napi::Env env, const std::shared_ptr<PictureJob>& job) {
  auto worker = std::make_unique<BandWorker>(env, job);
  worker->Queue();
  job->join();
  worker.release();  // deletes itself when done
}

// One for each band; the first can do without the others.
void queue_workers(Napi::Env env, const std::shared_ptr<PictureJob>& job) {
  queue_worker(env, job);
  try {
    for (int64_t n = 1; n < job->bands(); n++) queue_worker(env, job);
  } catch (...) {}
}

PictureAxis axis_of(const Napi::Value& value, const char* name, int64_t size) {
  const Napi::Object o = object_of(value, name);
  return {.size = size,
          .canvas = integer_of(o.Get("canvas"), "canvas"),
          .start = integer_of(o.Get("start"), "start"),
          .resized = integer_of(o.Get("resized"), "resized"),
          .from = integer_of(o.Get("from"), "from"),
          .count = integer_of(o.Get("count"), "count"),
          .margin = integer_of(o.Get("margin"), "margin")};
}

PictureRequest request_of(const Napi::Value& value, const Pixels& pixels) {
  const Napi::Object o = object_of(value, "request");
  PictureRequest request{axis_of(o.Get("across"), "across", pixels.width),
                         axis_of(o.Get("down"), "down", pixels.height),
                         integer_of(o.Get("side"), "side"),
                         {},
                         copy_float32_array(o.Get("values"), "values")};
  const Napi::Array fill = array_of(o.Get("fill"), "fill");
  for (uint32_t c = 0; c < 3; c++) {
    const int64_t colour = integer_of(fill.Get(c), "fill[]");
    if (colour < 0 || colour > 255) throw Error(ErrorCode::kInvalidArgument, "expected `fill[]` to be a byte");
    request.fill[c] = static_cast<uint8_t>(colour);
  }
  return request;
}

int64_t side_of(const Napi::Value& value, const char* name) {
  const int64_t side = integer_of(value, name);
  if (side >= 1 && side <= kLongestSide) return side;
  throw Error(ErrorCode::kInvalidArgument, std::string("expected `") + name + "` to be between 1 and 2^22");
}

}  // namespace

Napi::Function PictureWrap::define(Napi::Env env) {
  return DefineClass(
      env, "Picture",
      {InstanceMethod<&PictureWrap::write>("write"), InstanceMethod<&PictureWrap::pixel_values>("pixelValues"),
       InstanceMethod<&PictureWrap::dispose>("dispose")});
}

PictureWrap::PictureWrap(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  info.This().As<Napi::Object>().TypeTag(&kTag);
  guarded(info.Env(),
          [&] { pixels_ = std::make_shared<Pixels>(side_of(info[0], "width"), side_of(info[1], "height")); });
  Napi::MemoryManagement::AdjustExternalMemory(info.Env(), pixels_->nbytes());
}

void PictureWrap::Finalize(Napi::BasicEnv env) {
  if (pixels_) Napi::MemoryManagement::AdjustExternalMemory(env, -pixels_->nbytes());
}

Pixels& PictureWrap::pixels() const {
  if (!pixels_) throw Error(ErrorCode::kDisposed, "the picture has been disposed of");
  return *pixels_;
}

Napi::Value PictureWrap::write(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Napi::Uint8Array bytes = uint8_array_of(info[0], "bytes");
    Pixels& to = pixels();
    const auto count = static_cast<int64_t>(bytes.ElementLength());
    if (count > to.nbytes() - to.written) {
      throw Error(ErrorCode::kInvalidArgument, "expected `bytes` to fit what is left of the picture");
    }
    if (count > 0) std::memcpy(to.rgb + to.written, bytes.Data(), static_cast<size_t>(count));
    to.written += count;
    return info.Env().Undefined();
  });
}

Napi::Value PictureWrap::pixel_values(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::shared_ptr<std::atomic<bool>> cancel = cancel_flag_of(info[1]);
    pixels();
    const std::shared_ptr<const Pixels> picture = pixels_;  // a getter of the request may dispose of it
    PictureRequest request = request_of(info[0], *picture);
    if (picture->written < picture->nbytes()) throw Error(ErrorCode::kInvalidArgument, "the picture lacks pixels");
    const auto job = std::make_shared<PictureJob>(info.Env(), picture, std::move(request), cancel);
    queue_workers(info.Env(), job);
    return job->promise();
  });
}

Napi::Value PictureWrap::dispose(const Napi::CallbackInfo& info) {
  if (pixels_) Napi::MemoryManagement::AdjustExternalMemory(info.Env(), -pixels_->nbytes());
  pixels_.reset();
  return info.Env().Undefined();
}

}  // namespace llava::binding
