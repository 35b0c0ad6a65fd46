// JavaScript values to native ones and back. TypeScript has worded and checked everything; this re-checks what memory
// safety needs.
#pragma once
#include <napi.h>

#include <initializer_list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/error.h"
#include "model/llava.h"

namespace llava::binding {

// A JavaScript Error with `code`, from ours or from any std::exception.
Napi::Error to_js(Napi::Env env, const Error& error);
Error from_current_exception();

// Runs `body` and turns a native Error into a JavaScript exception.
template <class Body>
auto guarded(Napi::Env env, const Body& body) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (...) {
    throw to_js(env, from_current_exception());
  }
}

// Settles a promise: with `failure`, or with result(env), or with what that throws.
template <class Result>
void settle(Napi::Env env, const Napi::Promise::Deferred& deferred, std::optional<Error> failure,
            const Result& result) {
  if (!failure) {
    try {
      deferred.Resolve(result(env));
      return;
    } catch (const Napi::Error& error) {
      deferred.Reject(error.Value());
      return;
    } catch (...) {
      failure = from_current_exception();
    }
  }
  deferred.Reject(to_js(env, *failure).Value());
}

Napi::Array strings_to_js(Napi::Env env, const std::vector<std::string>& list);

Napi::Object object_of(const Napi::Value& value, const char* name);
Napi::Array array_of(const Napi::Value& value, const char* name);
std::string string_of(const Napi::Value& value, const char* name);
// The value that goes with a name; any other name is refused with those there are.
template <class T>
T one_of(const Napi::Value& value, const char* name, std::initializer_list<std::pair<const char*, T>> choices) {
  const std::string text = string_of(value, name);
  std::string known;
  for (const auto& [choice, result] : choices) {
    if (text == choice) return result;
    known += std::string(known.empty() ? "" : ", ") + choice;
  }
  throw Error(ErrorCode::kInvalidArgument,
              std::string("expected `") + name + "` to be one of " + known + ", got " + text);
}

bool boolean_of(const Napi::Value& value, const char* name);
int64_t integer_of(const Napi::Value& value, const char* name);  // within +-2^53
float float_of(const Napi::Value& value, const char* name);

// Typed arrays are read where they stand and copied at once. Detached ones have length 0 and fail the callers' length
// checks; shared ones are refused.
Napi::Float32Array float32_array_of(const Napi::Value& value, const char* name);
std::vector<int32_t> copy_int32_array(const Napi::Value& value, const char* name);
std::vector<float> copy_float32_array(const Napi::Value& value, const char* name);
Napi::Uint8Array uint8_array_of(const Napi::Value& value, const char* name);

DType dtype_of(const std::string& name);
ImageResult image_result_of(const Napi::Value& value, const char* name);
PeakKind peak_kind_of(const Napi::Value& value);
Napi::Object peak_to_js(Napi::Env env, const Peak& peak);

Napi::Object plan_to_js(Napi::Env env, const MemoryPlan& plan);

ModelConfig model_config_of(const Napi::Value& value);
ClipConfig clip_config_of(const Napi::Value& value);
ModelOptions model_options_of(const Napi::Value& value);
std::vector<std::string> files_of(const Napi::Value& value);
std::vector<TensorEntry> directory_of(const Napi::Value& value);

}  // namespace llava::binding
