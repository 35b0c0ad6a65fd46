// The conformance suite as a plain program, for CPUs that no Node runs on here (qemu-user) and for emulated ISAs.
//   llava_conformance [isa…]   runs every case on every table, or on those named, but for what a weaker table says
//   already; prints what fails and, for each table, how many passed.
#include <algorithm>
#include <cstdio>
#include <span>
#include <string>

#include "testing/conformance.h"

namespace {

using llava::testing::Target;

struct Count {
  int passed = 0, failed = 0;
};

Count run(const Target& target) {
  Count count;
  for (const llava::testing::Case& each : llava::testing::all_cases()) {
    if (same_below(each, target) != nullptr) continue;
    const llava::testing::Verdict verdict = run_on_table(each, target);
    (verdict.ok ? count.passed : count.failed)++;
    if (!verdict.ok)
      std::printf("FAILED %s: %s\n    %s\n", target.isa.c_str(), each.name.c_str(), verdict.detail.c_str());
  }
  std::printf("%s: %d passed, %d failed\n", target.isa.c_str(), count.passed, count.failed);
  std::fflush(stdout);
  return count;
}

}  // namespace

int main(int argc, char** argv) {
  const std::span<char*> asked(argv + 1, static_cast<size_t>(argc - 1));
  Count total;
  for (const Target& target : llava::testing::targets()) {
    if (!asked.empty() && std::find(asked.begin(), asked.end(), target.isa) == asked.end()) continue;
    const Count count = run(target);
    total.passed += count.passed;
    total.failed += count.failed;
  }
  return total.failed == 0 && total.passed > 0 ? 0 : 1;
}
