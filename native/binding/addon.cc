// The addon that is shipped.
#include "binding/exports.h"

static Napi::Object initialise(Napi::Env env, Napi::Object exports) { return llava::binding::initialise(env, exports); }

NODE_API_MODULE(llava_native, initialise)
