// What this CPU can execute (x86: CPUID and XGETBV, so the instruction exists and the system saves its registers;
// AArch64: what the system reports) and how many CPUs this process may use.
#pragma once
#include <string>
#include <vector>

namespace llava {

struct CpuFeatures {
  bool avx2 = false;      // with FMA and F16C
  bool avx_vnni = false;  // AVX-VNNI: vpdpbusd without AVX-512
  bool avx512 = false;    // F, BW, VL, DQ
  bool vnni = false;      // AVX512-VNNI
  bool bf16 = false;      // AVX512-BF16
  bool amx_bf16 = false;  // AMX-TILE and AMX-BF16, with all of AVX-512 above
  bool neon = false;      // Advanced SIMD: every AArch64 CPU
  bool dotprod = false;   // SDOT
  bool i8mm = false;      // SMMLA, with SDOT
  std::string model;      // the CPU's own name
  std::vector<std::string> names() const;
};

const CpuFeatures& cpu_features();

// CPUs of the affinity mask, lowered by the cgroup's CPU quota; at least 1.
int usable_cpus();

}  // namespace llava
