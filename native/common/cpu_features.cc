#include "common/cpu_features.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#if defined(__linux__)
#include <fcntl.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace llava {

namespace {

#if defined(__x86_64__)
uint64_t xgetbv0() {
  uint32_t low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

std::string brand_string() {
  uint32_t words[12] = {};
  for (uint32_t leaf = 0; leaf < 3; leaf++) {
    if (!__get_cpuid(0x80000002u + leaf, &words[4 * leaf], &words[4 * leaf + 1], &words[4 * leaf + 2],
                     &words[4 * leaf + 3]))
      return "x86-64";
  }
  char text[49] = {};
  std::memcpy(text, words, 48);
  std::string name(text);
  while (!name.empty() && (name.back() == ' ' || name.back() == '\0')) name.pop_back();
  return name;
}

// Linux gives a process the 8 KiB of tile registers only where it asks for them, once for all its threads.
bool may_use_tiles() {
#if defined(__linux__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

CpuFeatures detect() {
  CpuFeatures f;
  f.model = brand_string();
  uint32_t a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return f;
  const bool fma = c >> 12 & 1, osxsave = c >> 27 & 1, f16c = c >> 29 & 1;
  if (!osxsave) return f;
  const uint64_t saved = xgetbv0();
  // XCR0: SSE and AVX; opmask and ZMM state as well
  const bool ymm = (saved & 0x6) == 0x6, zmm = (saved & 0xE6) == 0xE6;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return f;
  f.avx2 = ymm && fma && f16c && (b >> 5 & 1);
  f.avx512 = f.avx2 && zmm && (b >> 16 & 1) && (b >> 17 & 1) && (b >> 30 & 1) && (b >> 31 & 1);
  f.vnni = f.avx512 && (c >> 11 & 1);
  const bool tiles = f.vnni && (saved & 0x60000) == 0x60000 && (d >> 24 & 1) && (d >> 22 & 1) && may_use_tiles();
  uint32_t a1 = 0, b1 = 0, c1 = 0, d1 = 0;
  if (__get_cpuid_count(7, 1, &a1, &b1, &c1, &d1)) {
    f.avx_vnni = f.avx2 && (a1 >> 4 & 1);
    f.bf16 = f.avx512 && (a1 >> 5 & 1);
    f.amx_bf16 = f.bf16 && tiles;
  }
  return f;
}
#elif defined(__aarch64__) && defined(__linux__)
CpuFeatures detect() {
  CpuFeatures f;
  f.model = "AArch64";
  f.neon = true;
  f.dotprod = (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
  f.i8mm = f.dotprod && (getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0;
  return f;
}
#elif defined(__aarch64__) && defined(__APPLE__)
bool system_says(const char* name) {
  int value = 0;
  size_t size = sizeof value;
  return sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value != 0;
}

CpuFeatures detect() {
  CpuFeatures f;
  char brand[64] = {};
  size_t size = sizeof brand - 1;
  f.model = sysctlbyname("machdep.cpu.brand_string", brand, &size, nullptr, 0) == 0 ? brand : "AArch64";
  f.neon = true;
  f.dotprod = system_says("hw.optional.arm.FEAT_DotProd");
  f.i8mm = f.dotprod && system_says("hw.optional.arm.FEAT_I8MM");
  return f;
}
#else
CpuFeatures detect() {
  CpuFeatures f;
  f.model = "generic";
  return f;
}
#endif

// cgroup v2 quota in whole CPUs, rounded up; 0 when there is none.
int cgroup_cpus() {
#if defined(__linux__)
  const int fd = ::open("/sys/fs/cgroup/cpu.max", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  char text[64] = {};
  const ssize_t length = ::read(fd, text, sizeof text - 1);
  ::close(fd);
  if (length <= 0 || text[0] == 'm') return 0;  // "max": no limit
  char* rest = nullptr;
  const long quota = std::strtol(text, &rest, 10), period = std::strtol(rest, nullptr, 10);
  return quota > 0 && period > 0 ? static_cast<int>((quota + period - 1) / period) : 0;
#else
  return 0;
#endif
}

}  // namespace

std::vector<std::string> CpuFeatures::names() const {
  std::vector<std::string> names;
  if (avx2) names.insert(names.end(), {"avx2", "fma", "f16c"});
  if (avx_vnni) names.emplace_back("avx-vnni");
  if (avx512) names.emplace_back("avx512");
  if (vnni) names.emplace_back("avx512-vnni");
  if (bf16) names.emplace_back("avx512-bf16");
  if (amx_bf16) names.emplace_back("amx-bf16");
  if (neon) names.emplace_back("neon");
  if (dotprod) names.emplace_back("dotprod");
  if (i8mm) names.emplace_back("i8mm");
  return names;
}

const CpuFeatures& cpu_features() {
  static const CpuFeatures features = detect();
  return features;
}

int usable_cpus() {
  int cpus = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) == 0) cpus = CPU_COUNT(&set);
#endif
  const int quota = cgroup_cpus();
  if (quota > 0 && quota < cpus) cpus = quota;
  return cpus > 0 ? cpus : 1;
}

}  // namespace llava
