// Binds to the oldest version of the libc functions that newer glibc re-versioned, so that a binary built on a new
// Linux loads on an old one. Force-included into every file on Linux (binding.gyp, CMakeLists.txt). Same machine code:
// only the version tag on the symbol differs. The reference counts of libstdc++ also ask `__libc_single_threaded`
// (2.32) whether to skip atomics: here they never skip them. Floor with this header: glibc 2.27 for what this project
// calls; `stat` (2.33) and std::filesystem (GLIBCXX_3.4.26) stay out of the sources.
#pragma once

#if defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__)) && !defined(LLAVA_STATIC)
#include <features.h>
#if defined(__GLIBC__)
#define LLAVA_BIND_OLD(name, version) __asm__(".symver " #name "," #name "@" version)
#if defined(__aarch64__)  // whose first glibc this is
LLAVA_BIND_OLD(exp, "GLIBC_2.17");
LLAVA_BIND_OLD(log, "GLIBC_2.17");
LLAVA_BIND_OLD(pow, "GLIBC_2.17");
LLAVA_BIND_OLD(dlopen, "GLIBC_2.17");
LLAVA_BIND_OLD(dlsym, "GLIBC_2.17");
LLAVA_BIND_OLD(dlerror, "GLIBC_2.17");
LLAVA_BIND_OLD(dlclose, "GLIBC_2.17");
LLAVA_BIND_OLD(pthread_create, "GLIBC_2.17");
LLAVA_BIND_OLD(pthread_join, "GLIBC_2.17");
LLAVA_BIND_OLD(pthread_once, "GLIBC_2.17");
LLAVA_BIND_OLD(pthread_detach, "GLIBC_2.17");
LLAVA_BIND_OLD(pthread_sigmask, "GLIBC_2.17");
#else
LLAVA_BIND_OLD(exp, "GLIBC_2.2.5");
LLAVA_BIND_OLD(log, "GLIBC_2.2.5");
LLAVA_BIND_OLD(pow, "GLIBC_2.2.5");
LLAVA_BIND_OLD(dlopen, "GLIBC_2.2.5");
LLAVA_BIND_OLD(dlsym, "GLIBC_2.2.5");
LLAVA_BIND_OLD(dlerror, "GLIBC_2.2.5");
LLAVA_BIND_OLD(dlclose, "GLIBC_2.2.5");
LLAVA_BIND_OLD(pthread_create, "GLIBC_2.2.5");
LLAVA_BIND_OLD(pthread_join, "GLIBC_2.2.5");
LLAVA_BIND_OLD(pthread_once, "GLIBC_2.2.5");
LLAVA_BIND_OLD(pthread_detach, "GLIBC_2.2.5");
LLAVA_BIND_OLD(pthread_sigmask, "GLIBC_2.2.5");
LLAVA_BIND_OLD(pthread_setaffinity_np, "GLIBC_2.3.4");
LLAVA_BIND_OLD(pthread_getaffinity_np, "GLIBC_2.3.4");
#endif
#undef LLAVA_BIND_OLD

#if defined(__cplusplus) && __has_include(<sys/single_threaded.h>)
#include <sys/single_threaded.h>
static constexpr char llava_single_threaded = 0;
#define __libc_single_threaded llava_single_threaded
#endif
#endif
#endif
