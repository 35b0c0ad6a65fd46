// What the addon is to JavaScript: openModel(), openClip(), openConversion(), OpBench, Picture, Cancellation,
// cpuInfo().
#pragma once
#include <napi.h>

namespace llava::binding {

Napi::Object initialise(Napi::Env env, Napi::Object exports);

}  // namespace llava::binding
