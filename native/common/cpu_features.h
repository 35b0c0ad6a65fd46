// What this CPU can execute (CPUID and XGETBV: the instruction exists and the system saves its registers) and how many CPUs this process may use.
#pragma once
#include <string>
#include <vector>

namespace llava {

struct CpuFeatures {
  bool avx2 = false;      // with FMA and F16C
  bool avx512 = false;    // F, BW, VL, DQ
  bool vnni = false;      // AVX512-VNNI
  bool bf16 = false;      // AVX512-BF16
  std::string model;      // the CPU's own name
  std::vector<std::string> names() const;
};

const CpuFeatures& cpu_features();

// CPUs of the affinity mask, lowered by the cgroup's CPU quota; at least 1.
int usable_cpus();

}  // namespace llava
