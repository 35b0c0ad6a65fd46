// openModel(), openClip(), openConversion(), OpBench, Picture, Cancellation, cpuInfo(). Per-environment state only, so
// worker threads may load it too.
#include "binding/exports.h"

#include "binding/picture_wrap.h"
#include "binding/wraps.h"

namespace llava::binding {

Classes& classes(Napi::Env env) { return *env.GetInstanceData<Classes>(); }

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  auto* made = new Classes();
  made->model = Napi::Persistent(ModelWrap::define(env));
  made->clip = Napi::Persistent(ClipWrap::define(env));
  made->conversion = Napi::Persistent(ConversionWrap::define(env));
  made->measure = Napi::Persistent(MeasureWrap::define(env));
  made->sequence = Napi::Persistent(SequenceWrap::define(env));
  made->features = Napi::Persistent(FeaturesWrap::define(env));
  made->cancellation = Napi::Persistent(CancellationWrap::define(env));
  env.SetInstanceData(made);
  exports.Set("openModel", Napi::Function::New<&ModelWrap::open>(env, "openModel"));
  exports.Set("openClip", Napi::Function::New<&ClipWrap::open>(env, "openClip"));
  exports.Set("openConversion", Napi::Function::New<&ConversionWrap::open>(env, "openConversion"));
  exports.Set("cpuInfo", Napi::Function::New<&ModelWrap::cpu_info>(env, "cpuInfo"));
  exports.Set("OpBench", made->measure.Value());
  exports.Set("Picture", PictureWrap::define(env));
  exports.Set("Cancellation", made->cancellation.Value());
  return exports;
}

}  // namespace llava::binding
