// What a process computed, for another one or a later one: encoded pictures and the pages of sequences, out of the
// model's memory and into it again. In jobs of the runner, as the model's stream is its.
#include <cstring>

#include "binding/convert.h"
#include "binding/wraps.h"

namespace llava::binding {

namespace {

// What lets others go on while a tower works: a copy of some megabytes.
class CopyJob : public Job {
 public:
  CopyJob(Napi::Env env, std::shared_ptr<Llava> model)
      : Job(env, std::make_shared<std::atomic<bool>>(false)), model_(std::move(model)) {}

 protected:
  bool urgent() const override { return true; }
  std::shared_ptr<Llava> model_;
};

class RestoreImageJob : public CopyJob {
 public:
  RestoreImageJob(Napi::Env env, std::shared_ptr<Llava> model, std::vector<StoredResult> results)
      : CopyJob(env, std::move(model)), results_(std::move(results)) {}

 private:
  void execute() override { image_ = model_->restore_image(results_); }
  Napi::Value result(Napi::Env env) override { return FeaturesWrap::make(env, image_); }
  std::vector<StoredResult> results_;
  std::shared_ptr<ImageFeatures> image_;
};

class ReadSequenceJob : public CopyJob {
 public:
  // Of a fork: whoever writes the sequence meanwhile writes pages of its own.
  ReadSequenceJob(Napi::Env env, std::shared_ptr<Llava> model, KvCache cache, uint64_t first, size_t nbytes)
      : CopyJob(env, std::move(model)), cache_(std::move(cache)), first_(first), bytes_(nbytes) {}

 private:
  void execute() override { cache_.read(first_, bytes_); }
  Napi::Value result(Napi::Env env) override {
    Napi::Uint8Array out = Napi::Uint8Array::New(env, bytes_.size());
    std::memcpy(out.Data(), bytes_.data(), bytes_.size());
    return out;
  }
  KvCache cache_;
  uint64_t first_;
  std::vector<std::byte> bytes_;
};

class WriteSequenceJob : public CopyJob {
 public:
  WriteSequenceJob(Napi::Env env, std::shared_ptr<Llava> model, std::shared_ptr<SequenceState> sequence, int64_t length,
                   uint64_t first, std::vector<std::byte> bytes)
      : CopyJob(env, std::move(model)),
        sequence_(std::move(sequence)),
        length_(length),
        first_(first),
        bytes_(std::move(bytes)) {}

 private:
  void execute() override {
    KvCache& cache = sequence_->cache;
    try {
      if (first_ == 0) cache.reserve(length_);
      cache.write(first_, bytes_);
    } catch (...) {
      cache.truncate(0);
      throw;
    }
    if (first_ + bytes_.size() == cache.nbytes()) cache.commit(length_);
  }
  Napi::Value result(Napi::Env env) override { return env.Undefined(); }
  void queued() override { sequence_->busy++; }
  void settled(Napi::Env env) override {
    sequence_->busy--;
    sequence_->report->update(env);
  }
  std::shared_ptr<SequenceState> sequence_;
  int64_t length_;
  uint64_t first_;
  std::vector<std::byte> bytes_;
};

}  // namespace

// restoreImage(names of results, one array for each)
Napi::Value ModelWrap::restore_image(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::shared_ptr<Llava> current = model();
    if (!current->config().has_vision)
      throw Error(ErrorCode::kModelUnsupported, "this model has no vision tower: it has no encoded pictures");
    const Napi::Array names = array_of(info[0], "results"), arrays = array_of(info[1], "values");
    std::vector<StoredResult> results;
    for (uint32_t i = 0; i < names.Length(); i++) {
      const ImageResult which = image_result_of(names.Get(i), "results[]");
      results.push_back({which, copy_float32_array(arrays.Get(i), "values[]")});
      const int64_t size = current->result_size(which);
      if (static_cast<int64_t>(results.back().values.size()) != size)
        throw Error(ErrorCode::kInvalidArgument, "expected `values[]` to hold " + std::to_string(size) + " values");
    }
    auto job = std::make_unique<RestoreImageJob>(info.Env(), current, std::move(results));
    job->keep_alive(info.This().As<Napi::Object>());
    return runner_->enqueue(info.Env(), std::move(job));
  });
}

// readSequence(sequence, first, count)
Napi::Value ModelWrap::read_sequence(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::shared_ptr<Llava> current = model();
    const SequenceState& state = unwrap<SequenceWrap>(info[0], "sequence").idle();
    if (state.model != current) throw Error(ErrorCode::kInvalidArgument, "the sequence belongs to another model");
    const int64_t first = integer_of(info[1], "first"), count = integer_of(info[2], "count"),
                  all = static_cast<int64_t>(state.cache.nbytes());
    if (first < 0 || count < 0 || first > all || count > all - first)
      throw Error(ErrorCode::kInvalidArgument, "expected `first` and `count` to lie in the " + std::to_string(all) +
                                                   " bytes of the sequence's pages");
    auto job = std::make_unique<ReadSequenceJob>(info.Env(), current, state.cache.fork(), static_cast<uint64_t>(first),
                                                 static_cast<size_t>(count));
    job->keep_alive(info.This().As<Napi::Object>());
    return runner_->enqueue(info.Env(), std::move(job));
  });
}

// writeSequence(sequence, length, first, bytes): in order from byte 0 on; with the last byte the sequence has its
// length.
Napi::Value ModelWrap::write_sequence(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::shared_ptr<Llava> current = model();
    SequenceWrap& wrap = unwrap<SequenceWrap>(info[0], "sequence");
    const SequenceState& state = wrap.idle();
    if (state.model != current) throw Error(ErrorCode::kInvalidArgument, "the sequence belongs to another model");
    const int64_t length = integer_of(info[1], "length"), first = integer_of(info[2], "first"),
                  context = current->config().text.context_length;
    if (length < 1 || length > context)
      throw Error(ErrorCode::kInvalidArgument, "expected `length` to be between 1 and " + std::to_string(context));
    const Napi::Uint8Array bytes = uint8_array_of(info[3], "bytes");
    const auto count = static_cast<int64_t>(bytes.ElementLength()),
               all = static_cast<int64_t>(current->kv_pool()->bytes_for(length));
    const auto there = static_cast<int64_t>(state.cache.nbytes());
    if (state.cache.length() != 0 || first < 0 || count < 1 || first > all - count || there != (first == 0 ? 0 : all))
      throw Error(ErrorCode::kInvalidArgument,
                  "expected `bytes` to be the next of the " + std::to_string(all) + " bytes of an empty sequence");
    const auto* data = reinterpret_cast<const std::byte*>(bytes.Data());
    auto job = std::make_unique<WriteSequenceJob>(info.Env(), current, wrap.state(), length,
                                                  static_cast<uint64_t>(first), std::vector(data, data + count));
    job->keep_alive(info.This().As<Napi::Object>());
    return runner_->enqueue(info.Env(), std::move(job));
  });
}

}  // namespace llava::binding
