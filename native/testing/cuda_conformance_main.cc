// The op cases of the conformance suite on the CUDA back end: on emulated cards, or on the one that is there.
//   llava_cuda_conformance [--on=schedules] [part of a case's name…]
// On emulated cards each case runs in two schedules at a time, whose results must be the same bits: forward and
// reverse, then two random ones.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>

#include "common/error.h"
#include "cpu/kernels/reference.h"
#include "cuda/backend.h"
#include "cuda/device.h"
#include "testing/conformance.h"

namespace {

using llava::testing::Target;

// Products on tensor cores take the factors that those over the CPU's tiles take.
const llava::KernelTable& table() {
  static const llava::KernelTable of_cards = [] {
    llava::KernelTable out{};
    llava::reference::fill<float>(out);
    out.isa = "cuda";
    out.bf16 = llava::Bf16::kTiles;
    return out;
  }();
  return of_cards;
}

Target target_of(const std::string& name, int first, int second) {
  return {name, &table(), [=](int threads) { return llava::make_cuda_backend(threads == 1 ? first : second); }};
}

std::vector<Target> targets() {
#ifdef LLAVA_CUDA_EMULATED
  return {target_of("forward and reverse", 0, 1), target_of("random", 2, 3)};
#else
  return {target_of(llava::cuda::device_properties(0).name, 0, 0)};
#endif
}

bool is_asked(const std::string& name, std::span<char*> parts) {
  return parts.empty() || std::any_of(parts.begin(), parts.end(),
                                      [&](const char* part) { return name.find(part) != std::string::npos; });
}

// The word of --on=, and the words without it.
std::string take_schedules(std::span<char*>& words) {
  constexpr std::string_view kOn = "--on=";
  if (words.empty() || !std::string_view(words[0]).starts_with(kOn)) return {};
  const std::string schedules(std::string_view(words[0]).substr(kOn.size()));
  words = words.subspan(1);
  return schedules;
}

int run(std::span<char*> parts) {
  int passed = 0, failed = 0;
  const std::string schedules = take_schedules(parts);
  for (const Target& target : targets()) {
    if (!schedules.empty() && target.isa != schedules) continue;
    for (const llava::testing::Case& each : llava::testing::op_cases()) {
      if (!is_asked(each.name, parts)) continue;
      const auto start = std::chrono::steady_clock::now();
      const llava::testing::Verdict verdict = run_case(each, target);
      const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      (verdict.ok ? passed : failed)++;
      std::printf("%s %s: %s (%.1f s)\n%s", verdict.ok ? "ok    " : "FAILED", target.isa.c_str(), each.name.c_str(),
                  seconds, verdict.ok ? "" : ("    " + verdict.detail + "\n").c_str());
      std::fflush(stdout);
    }
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 && passed > 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run({argv + 1, static_cast<size_t>(argc - 1)});
  } catch (const llava::Error& error) {
    std::fprintf(stderr, "no card to run on: %s\n", error.what());
    return 2;
  }
}
