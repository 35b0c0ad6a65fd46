// The op cases of the conformance suite on the CUDA back end: on emulated cards, or on the one that is there.
//   llava_cuda_conformance [--share=I/N] [part of a case's name…]   every N-th of the cases, from the I-th
// On emulated cards each case runs in two schedules, whose results must be the same bits: reverse and random. The
// goldens run forward.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

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
  return {name, &table(), [=](int threads) { return llava::make_cuda_backend(threads == 1 ? first : second); }, true};
}

std::vector<Target> targets() {
#ifdef LLAVA_CUDA_EMULATED
  return {target_of("reverse and random", 1, 2)};
#else
  return {target_of(llava::cuda::device_properties(0).name, 0, 0)};
#endif
}

// The same ops over and over, as passes are, each time with other operands: what goes as a graph gives what it gives
// one by one. A fresh back end has seen nothing, so that it launches one by one.
bool graphs_take_new_arguments(const Target& target) {
  constexpr int64_t kColumns = 64;
  std::deque<llava::DeviceMemory> kept;  // so that no pass has operands where another had them
  const auto pass = [&](llava::Backend& backend, int64_t rows, float first) {
    const std::vector<float> values(static_cast<size_t>(rows * kColumns), first);
    const llava::DeviceMemory& x = kept.emplace_back(backend.allocate(values.size() * 4));
    const llava::DeviceMemory& y = kept.emplace_back(backend.allocate(values.size() * 4));
    const auto view = [&](const llava::DeviceMemory& memory) {
      return llava::Activations{memory.data().as<float>(), rows, kColumns, kColumns};
    };
    llava::copy_in<float>(backend, x.data().as<float>(), values);
    for (int i = 0; i < 5; i++) {
      backend.ops().add_rows(backend.stream(), {.a = view(x), .b = view(x), .y = view(y)});
      backend.ops().copy_rows(backend.stream(), {.x = view(y), .y = view(x)});
    }
    backend.synchronize(backend.stream());
    std::vector<float> out(values.size());
    backend.read(std::as_writable_bytes(std::span(out)), x.data());
    return out;
  };
  const std::shared_ptr<llava::Backend> seasoned = target.backend(1);
  for (int64_t i = 1; i <= 6; i++) {
    const auto first = static_cast<float>(i);
    if (pass(*seasoned, 7 - i, first) != pass(*target.backend(1), 7 - i, first)) return false;
  }
  return true;
}

// What an op of few rows leaves quantised for the product after it is taken by that product alone.
bool blocks_are_their_own(const Target& target) {
  constexpr int64_t kRows = 3, kColumns = 64, kOutputs = 5;
  const std::vector<std::byte> bytes(static_cast<size_t>(kOutputs * llava::row_bytes(llava::DType::Q8_0, kColumns)),
                                     std::byte{0x1B});
  std::vector<float> of_x, of_z;
  for (int i = 0; i < kRows * kColumns; i++) {
    of_x.push_back(static_cast<float>(i % 7) - 3);
    of_z.push_back(static_cast<float>(i % 11) - 4);
  }
  struct Results {
    std::vector<float> of_norm, of_other;
    bool operator==(const Results&) const = default;
  };
  const auto results = [&](llava::Backend& backend, bool together) {
    const auto floats = [&](int64_t columns) { return backend.allocate(static_cast<uint64_t>(kRows * columns * 4)); };
    const llava::DeviceMemory x = floats(kColumns), z = floats(kColumns), h = floats(kColumns), y = floats(kOutputs),
                              w = backend.allocate(bytes.size());
    const auto view = [&](const llava::DeviceMemory& memory, int64_t columns) {
      return llava::Activations{memory.data().as<float>(), kRows, columns, columns};
    };
    llava::copy_in<float>(backend, x.data().as<float>(), of_x);
    llava::copy_in<float>(backend, z.data().as<float>(), of_z);
    llava::copy_in<std::byte>(backend, w.data(), bytes);
    const auto product = [&](const llava::DeviceMemory& from) {
      const llava::Weight weight{w.data(), llava::DType::Q8_0, kOutputs, kColumns};
      backend.ops().linear(backend.stream(),
                           {.x = view(from, kColumns), .output = {{.weight = weight, .y = view(y, kOutputs)}}});
      std::vector<float> out(kRows * kOutputs);
      backend.synchronize(backend.stream());
      backend.read(std::as_writable_bytes(std::span(out)), y.data());
      return out;
    };
    const auto norm = [&] {
      backend.ops().rms_norm(backend.stream(), {.x = view(x, kColumns),
                                                .weight = {x.data().as<const float>(), kColumns},
                                                .eps = 1e-5f,
                                                .y = view(h, kColumns)});
    };
    if (together) product(z);  // so that ops leave blocks from here on
    norm();
    const std::vector<float> of_norm = product(h);
    if (together) norm();
    return Results{of_norm, product(z)};
  };
  return results(*target.backend(1), true) == results(*target.backend(1), false);
}

// What this back end does across ops.
constexpr std::pair<const char*, bool (*)(const Target&)> kOfCuda[] = {
    {"graphs of launches take the arguments of now", graphs_take_new_arguments},
    {"a product takes blocks of its own rows, also after another op left some", blocks_are_their_own},
};

bool is_asked(const std::string& name, std::span<char*> parts) {
  return parts.empty() || std::any_of(parts.begin(), parts.end(),
                                      [&](const char* part) { return name.find(part) != std::string::npos; });
}

// Every `of`-th case, from `first`.
struct Share {
  int first = 0, of = 1;
  int seen = 0;  // cases so far
  bool has_next() { return seen++ % of == first; }
};

// What --share= says; takes that word away.
Share take_share(std::span<char*>& words) {
  Share share;
  if (!words.empty() && std::sscanf(words[0], "--share=%d/%d", &share.first, &share.of) == 2) words = words.subspan(1);
  return share;
}

int run(std::span<char*> parts) {
  int passed = 0, failed = 0;
  Share share = take_share(parts);
  for (const Target& target : targets()) {
    for (const auto& [name, holds] : kOfCuda) {
      if (!is_asked(name, parts) || !share.has_next()) continue;
      const bool ok = holds(target);
      (ok ? passed : failed)++;
      std::printf("%s %s: %s\n", ok ? "ok    " : "FAILED", target.isa.c_str(), name);
    }
    for (const llava::testing::Case& each : llava::testing::op_cases()) {
      if (!is_asked(each.name, parts) || !share.has_next()) continue;
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
