// Preloaded into a Node process (LD_PRELOAD) and loaded by its script as an addon: sees every allocation of the
// process, and can make one of the package's own fail. Linux with glibc; elsewhere it is empty.
//   watch(NAME)        allocations count from now on whose innermost frame outside libstdc++ and this file lies in the
//   library NAME fail(n), reached() the n-th of them from now on fails; how many there were since live() how many of
//   them have not been freed resetPeak(), peak() bytes the whole process holds at most, above what it held at the reset
// malloc and its kin, operator new, mmap and the start of threads are such allocations.
#include <features.h>
#ifdef __GLIBC__
#include <node_api.h>

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include <atomic>
#include <cstdint>
#include <new>

#define PROBE_EXPORT __attribute__((visibility("default")))

extern "C" {
void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* pointer, size_t size);
void* __libc_memalign(size_t alignment, size_t size);
void __libc_free(void* pointer);
}

namespace {

struct Range {
  uintptr_t begin = 0, end = 0;
  bool holds(const void* address) const {
    return reinterpret_cast<uintptr_t>(address) >= begin && reinterpret_cast<uintptr_t>(address) < end;
  }
};

Range watched, standard_library, self;
std::atomic<int64_t> counted{0}, failing{0}, held{0}, highest{0};
thread_local bool walking = false;  // backtrace() may allocate

struct Wanted {
  const char* name;
  Range* range;
};

int find_library(dl_phdr_info* info, size_t, void* data) {
  const Wanted& wanted = *static_cast<Wanted*>(data);
  if (strstr(info->dlpi_name, wanted.name) == nullptr) return 0;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const auto& segment = info->dlpi_phdr[i];
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_X) == 0) continue;
    wanted.range->begin = info->dlpi_addr + segment.p_vaddr;
    wanted.range->end = wanted.range->begin + segment.p_memsz;
  }
  return 1;
}

Range library(const char* name) {
  Range range;
  Wanted wanted{name, &range};
  dl_iterate_phdr(find_library, &wanted);
  return range;
}

// Whether the library that is watched asked for it, itself or through libstdc++.
bool asked_by_watched(const void* caller) {
  if (watched.holds(caller)) return true;
  if (!standard_library.holds(caller) || walking) return false;
  walking = true;
  void* frames[24];
  const int count = backtrace(frames, 24);
  walking = false;
  for (int i = 0; i < count; i++) {
    if (!self.holds(frames[i]) && !standard_library.holds(frames[i])) return watched.holds(frames[i]);
  }
  return false;
}

// Counts one; true where it is the one that has to fail.
bool has_to_fail() { return counted.fetch_add(1) + 1 == failing.load(); }

// What the watched library holds: addresses in an open table, each in the first free place from where its hash says.
class Holdings {
 public:
  void add(const void* address) {
    const Guard guard(lock_);
    size_t at = place(address);
    while (table_[at] != nullptr) at = (at + 1) % kPlaces;
    table_[at] = address;
    size_++;
  }
  void remove(const void* address) {
    if (size_.load() == 0) return;
    const Guard guard(lock_);
    size_t at = place(address);
    while (table_[at] != address) {
      if (table_[at] == nullptr) return;
      at = (at + 1) % kPlaces;
    }
    size_--;
    // Those behind it move up, as far as they may.
    for (size_t next = (at + 1) % kPlaces; table_[next] != nullptr; next = (next + 1) % kPlaces) {
      if ((next - place(table_[next])) % kPlaces < (next - at) % kPlaces) continue;
      table_[at] = table_[next];
      at = next;
    }
    table_[at] = nullptr;
  }
  int64_t size() const { return size_.load(); }

 private:
  static constexpr size_t kPlaces = 1 << 18;
  struct Guard {
    explicit Guard(std::atomic_flag& flag) : flag_(flag) {
      while (flag_.test_and_set(std::memory_order_acquire)) {}
    }
    ~Guard() { flag_.clear(std::memory_order_release); }
    std::atomic_flag& flag_;
  };
  static size_t place(const void* address) {
    return (reinterpret_cast<uintptr_t>(address) >> 4) * 0x9E3779B97F4A7C15ull >> 46;
  }
  const void* table_[kPlaces] = {};
  std::atomic<int64_t> size_{0};
  std::atomic_flag lock_ = ATOMIC_FLAG_INIT;
};
Holdings holdings;

void hold(int64_t nbytes) {
  const int64_t now = held.fetch_add(nbytes) + nbytes;
  for (int64_t before = highest.load(); now > before && !highest.compare_exchange_weak(before, now);) {}
}

template <class Make>
void* allocation(const void* caller, const Make& make) {
  const bool ours = asked_by_watched(caller);
  if (ours && has_to_fail()) {
    errno = ENOMEM;
    return nullptr;
  }
  void* made = make();
  if (made == nullptr) return nullptr;
  hold(static_cast<int64_t>(malloc_usable_size(made)));
  if (ours) holdings.add(made);
  return made;
}

void let_go(void* pointer) {
  if (pointer == nullptr) return;
  hold(-static_cast<int64_t>(malloc_usable_size(pointer)));
  holdings.remove(pointer);
}

void* aligned(size_t alignment, size_t size, const void* caller) {
  return allocation(caller, [&] { return __libc_memalign(alignment, size); });
}

void* new_or_throw(size_t size, const void* caller) {
  void* made = allocation(caller, [&] { return __libc_malloc(size); });
  if (made == nullptr) throw std::bad_alloc();
  return made;
}

void* new_or_throw(size_t size, std::align_val_t alignment, const void* caller) {
  void* made = aligned(static_cast<size_t>(alignment), size, caller);
  if (made == nullptr) throw std::bad_alloc();
  return made;
}

void release(void* pointer) {
  let_go(pointer);
  __libc_free(pointer);
}

template <class Function>
Function next(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

}  // namespace

#define CALLER __builtin_return_address(0)

extern "C" {

PROBE_EXPORT void* malloc(size_t size) {
  return allocation(CALLER, [&] { return __libc_malloc(size); });
}
PROBE_EXPORT void* calloc(size_t count, size_t size) {
  return allocation(CALLER, [&] { return __libc_calloc(count, size); });
}
PROBE_EXPORT void* realloc(void* pointer, size_t size) {
  const bool ours = asked_by_watched(CALLER);
  if (ours && has_to_fail()) {
    errno = ENOMEM;
    return nullptr;
  }
  const auto before = pointer == nullptr ? 0 : static_cast<int64_t>(malloc_usable_size(pointer));
  void* made = __libc_realloc(pointer, size);
  if (made == nullptr && size != 0) return nullptr;
  holdings.remove(pointer);
  hold((made == nullptr ? 0 : static_cast<int64_t>(malloc_usable_size(made))) - before);
  if (ours && made != nullptr) holdings.add(made);
  return made;
}
PROBE_EXPORT void* memalign(size_t alignment, size_t size) { return aligned(alignment, size, CALLER); }
PROBE_EXPORT void* aligned_alloc(size_t alignment, size_t size) { return aligned(alignment, size, CALLER); }
PROBE_EXPORT int posix_memalign(void** out, size_t alignment, size_t size) {
  void* made = aligned(alignment, size, CALLER);
  if (made == nullptr) return ENOMEM;
  *out = made;
  return 0;
}
PROBE_EXPORT void free(void* pointer) { release(pointer); }

PROBE_EXPORT void* mmap(void* address, size_t length, int protection, int flags, int file, off_t offset) {
  static const auto real = next<decltype(&mmap)>("mmap");
  const bool ours = asked_by_watched(CALLER);
  if (ours && has_to_fail()) {
    errno = ENOMEM;
    return MAP_FAILED;
  }
  void* mapping = real(address, length, protection, flags, file, offset);
  if (ours && mapping != MAP_FAILED) holdings.add(mapping);
  return mapping;
}
PROBE_EXPORT int munmap(void* address, size_t length) {
  static const auto real = next<decltype(&munmap)>("munmap");
  holdings.remove(address);
  return real(address, length);
}
PROBE_EXPORT int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*),
                                void* argument) {
  static const auto real = next<decltype(&pthread_create)>("pthread_create");
  if (asked_by_watched(CALLER) && has_to_fail()) return EAGAIN;
  return real(thread, attributes, start, argument);
}

}  // extern "C"

PROBE_EXPORT void* operator new(size_t size) { return new_or_throw(size, CALLER); }
PROBE_EXPORT void* operator new[](size_t size) { return new_or_throw(size, CALLER); }
PROBE_EXPORT void* operator new(size_t size, std::align_val_t alignment) {
  return new_or_throw(size, alignment, CALLER);
}
PROBE_EXPORT void* operator new[](size_t size, std::align_val_t alignment) {
  return new_or_throw(size, alignment, CALLER);
}
PROBE_EXPORT void* operator new(size_t size, const std::nothrow_t&) noexcept {
  return allocation(CALLER, [&] { return __libc_malloc(size); });
}
PROBE_EXPORT void* operator new[](size_t size, const std::nothrow_t&) noexcept {
  return allocation(CALLER, [&] { return __libc_malloc(size); });
}
PROBE_EXPORT void operator delete(void* pointer) noexcept { release(pointer); }
PROBE_EXPORT void operator delete[](void* pointer) noexcept { release(pointer); }
PROBE_EXPORT void operator delete(void* pointer, size_t) noexcept { release(pointer); }
PROBE_EXPORT void operator delete[](void* pointer, size_t) noexcept { release(pointer); }
PROBE_EXPORT void operator delete(void* pointer, std::align_val_t) noexcept { release(pointer); }
PROBE_EXPORT void operator delete[](void* pointer, std::align_val_t) noexcept { release(pointer); }
PROBE_EXPORT void operator delete(void* pointer, size_t, std::align_val_t) noexcept { release(pointer); }
PROBE_EXPORT void operator delete[](void* pointer, size_t, std::align_val_t) noexcept { release(pointer); }

// ---- the script's side

namespace {

napi_value argument(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value value = nullptr;
  napi_get_cb_info(env, info, &count, &value, nullptr, nullptr);
  return value;
}

napi_value number(napi_env env, int64_t value) {
  napi_value js = nullptr;
  napi_create_int64(env, value, &js);
  return js;
}

napi_value watch(napi_env env, napi_callback_info info) {
  char name[256] = "";
  napi_get_value_string_utf8(env, argument(env, info), name, sizeof name, nullptr);
  standard_library = library("libstdc++");
  self = library("allocation_probe");
  watched = library(name);
  return number(env, static_cast<int64_t>(watched.end - watched.begin));
}

napi_value fail(napi_env env, napi_callback_info info) {
  int64_t n = 0;
  napi_get_value_int64(env, argument(env, info), &n);
  counted = 0;
  failing = n;
  return nullptr;
}

napi_value reached(napi_env env, napi_callback_info) { return number(env, counted.load()); }
napi_value live(napi_env env, napi_callback_info) { return number(env, holdings.size()); }

int64_t held_at_reset = 0;

napi_value reset_peak(napi_env, napi_callback_info) {
  held_at_reset = held.load();
  highest = held_at_reset;
  return nullptr;
}

napi_value peak(napi_env env, napi_callback_info) { return number(env, highest.load() - held_at_reset); }

}  // namespace

extern "C" PROBE_EXPORT napi_value napi_register_module_v1(napi_env env, napi_value exports) {
  void* frames[2];
  backtrace(frames, 2);  // loads what it needs now
  const struct {
    const char* name;
    napi_callback call;
  } functions[] = {{"watch", watch},          {"fail", fail}, {"reached", reached}, {"live", live},
                   {"resetPeak", reset_peak}, {"peak", peak}};
  for (const auto& [name, call] : functions) {
    napi_value made = nullptr;
    napi_create_function(env, name, NAPI_AUTO_LENGTH, call, nullptr, &made);
    napi_set_named_property(env, exports, name, made);
  }
  return exports;
}

#endif
