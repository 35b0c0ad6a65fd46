// Picture: the pixels of one picture, copied in piece by piece, and what a vision tower takes of them.
#pragma once
#include <napi.h>

#include <memory>

namespace llava::binding {

struct Pixels;

class PictureWrap : public Napi::ObjectWrap<PictureWrap> {
 public:
  static const napi_type_tag kTag;
  static Napi::Function define(Napi::Env env);
  explicit PictureWrap(const Napi::CallbackInfo& info);
  void Finalize(Napi::BasicEnv env) override;  // public: a private one is not found, and never called

 private:
  Pixels& pixels() const;  // throws kDisposed
  Napi::Value write(const Napi::CallbackInfo& info);
  Napi::Value pixel_values(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);
  std::shared_ptr<Pixels> pixels_;
};

}  // namespace llava::binding
