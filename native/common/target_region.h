// Target regions: code between LLAVA_TARGET_BEGIN("avx2,fma") and LLAVA_TARGET_END is compiled for a CPU with those
// instructions, templates too, wherever they are instantiated. Headers stand before a region: an inline function of
// theirs that is compiled in it could be the one copy that a linker keeps.
#pragma once

#define LLAVA_PRAGMA(...) _Pragma(#__VA_ARGS__)

#if defined(__clang__)
#define LLAVA_TARGET_BEGIN(features) \
  LLAVA_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define LLAVA_TARGET_END LLAVA_PRAGMA(clang attribute pop)
#elif defined(__aarch64__)  // GCC's intrinsics ask for the architecture that brought them
#define LLAVA_TARGET_BEGIN(features) LLAVA_PRAGMA(GCC push_options) LLAVA_PRAGMA(GCC target("arch=armv8.2-a+" features))
#define LLAVA_TARGET_END LLAVA_PRAGMA(GCC pop_options)
#else
#define LLAVA_TARGET_BEGIN(features) LLAVA_PRAGMA(GCC push_options) LLAVA_PRAGMA(GCC target(features))
#define LLAVA_TARGET_END LLAVA_PRAGMA(GCC pop_options)
#endif
