// The CPU of the emulated conformance suite: it has every x86 table.
#include "common/cpu_features.h"

namespace llava {

const CpuFeatures& cpu_features() {
  static const CpuFeatures features = [] {
    CpuFeatures f;
    f.model = "emulated";
    f.avx2 = f.avx_vnni = f.avx512 = f.vnni = f.bf16 = f.amx_bf16 = true;
    return f;
  }();
  return features;
}

int usable_cpus() { return 1; }

}  // namespace llava
