// The addon of the tests: all of the shipped one's on the far back end, and
//   listCases() -> {name, isa, sameBelow?}[], with the weaker isa that has the same kernels as far as the case meets
//   them; runCase(name, isa) -> {ok, worstError, bound, detail}; foreignExternal, a pointer that no class here knows.
#include "binding/exports.h"
#include "binding/wraps.h"
#include "testing/conformance.h"
#include "testing/far_backend.h"

namespace {

Napi::Value list_cases(const Napi::CallbackInfo& info) {
  const Napi::Array out = Napi::Array::New(info.Env());
  for (const llava::testing::Case& each : llava::testing::all_cases()) {
    for (const llava::testing::Target& target : llava::testing::targets()) {
      const Napi::Object entry = Napi::Object::New(info.Env());
      entry.Set("name", each.name);
      entry.Set("isa", target.isa);
      const llava::testing::Target* same = same_below(each, target);
      if (same != nullptr) entry.Set("sameBelow", same->isa);
      out.Set(out.Length(), entry);
    }
  }
  return out;
}

Napi::Value run_case(const Napi::CallbackInfo& info) {
  const std::string name = info[0].ToString(), isa = info[1].ToString();
  for (const llava::testing::Case& each : llava::testing::all_cases()) {
    for (const llava::testing::Target& target : llava::testing::targets()) {
      if (each.name != name || target.isa != isa) continue;
      const llava::testing::Verdict verdict = run_on_table(each, target);
      const Napi::Object out = Napi::Object::New(info.Env());
      out.Set("ok", verdict.ok);
      out.Set("worstError", verdict.worst_error);
      out.Set("bound", verdict.bound);
      out.Set("detail", verdict.detail);
      return out;
    }
  }
  throw Napi::RangeError::New(info.Env(), "no case '" + name + "' on isa '" + isa + "'");
}

std::shared_ptr<llava::Backend> far(const llava::ModelOptions& options) {
  return llava::testing::make_far_backend(options.threads, llava::select_kernels(options.isa));
}

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  llava::binding::set_backend_maker(far);
  llava::binding::initialise(env, exports);
  static int nothing = 0;
  exports.Set("foreignExternal", Napi::External<int>::New(env, &nothing));
  exports.Set("listCases", Napi::Function::New<&list_cases>(env, "listCases"));
  exports.Set("runCase", Napi::Function::New<&run_case>(env, "runCase"));
  return exports;
}

}  // namespace

NODE_API_MODULE(llava_testing, initialise)
