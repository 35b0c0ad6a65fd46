#include "cpu/kernels/table.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <memory>

#include "common/cpu_features.h"
#include "common/error.h"

namespace llava {

namespace {

struct Isa {
  const char* name;
  bool available;
  void (*fill)(KernelTable&);
};

std::vector<Isa> isas() {
  std::vector<Isa> list = {{"scalar", true, nullptr}};
  [[maybe_unused]] const CpuFeatures& cpu = cpu_features();
#if defined(__x86_64__)
  list.push_back({"avx2", cpu.avx2, fill_avx2});
  list.push_back({"avx2-vnni", cpu.avx_vnni, fill_avx2_vnni});
  list.push_back({"avx512-bw", cpu.avx512, fill_avx512_bw});
  list.push_back({"avx512", cpu.vnni, fill_avx512});
  list.push_back({"avx512-bf16", cpu.vnni && cpu.bf16, fill_avx512_bf16});
#if !defined(_WIN32)
  list.push_back({"amx", cpu.amx_bf16, fill_amx});
#endif
#elif defined(__aarch64__)
  list.push_back({"neon", cpu.neon, fill_neon});
  list.push_back({"neon-dotprod", cpu.dotprod, fill_neon_dotprod});
  list.push_back({"neon-i8mm", cpu.i8mm, fill_neon_i8mm});
#endif
  return list;
}

// Operations a nanosecond of work(), best of three.
template <class Work>
double rate(const Work& work) {
  double best = 0;
  for (int i = 0; i < 3; i++) {
    const auto start = std::chrono::steady_clock::now();
    const double operations = work();
    best = std::max(
        best, operations / std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

// Whether the tile of two groups of tokens is faster: where two vpdpbusd start in a cycle and take five, one group's
// chains of sums are too few. In about half a millisecond.
bool tall_tiles_are_faster(const KernelTable& k) {
  if (k.gemm_tall_Q4_0 == k.gemm_Q4_0) return false;
  constexpr int64_t kBlocks = 16, kGroups = 4, kTokens = kGroups * kTokenGroup, kStrip = kBlocks * kBlock * kStripRows;
  struct Operands {
    alignas(64) uint8_t codes[2 * kMostCodeBytes * kStrip];
    alignas(64) float scales[2 * kBlocks * kStripRows];
    alignas(64) int8_t q[kTokens * kBlocks * kBlock];
    alignas(64) float origin[kTokens * kBlocks];
    alignas(64) int32_t sum[2 * kTokens * kBlocks];
    alignas(64) float y[kTokens * 2 * kStripRows];
  };
  const auto operands = std::make_unique<Operands>();
  std::fill(std::begin(operands->origin), std::end(operands->origin), kOrigin);
  const auto products = [&](decltype(k.gemm_Q4_0) gemm) {
    constexpr int kRepeats = 4;
    for (int i = 0; i < kRepeats; i++) {
      gemm(kTokens, {operands->codes, operands->scales, kStrip, kBlocks},
           {operands->q, kBlocks * kBlock * kTokenGroup, operands->origin, operands->sum, kBlocks * kTokenGroup},
           {operands->y, 2 * kStripRows, false});
    }
    return static_cast<double>(kRepeats * kTokens * kBlocks * kBlock) * 2 * kStripRows;
  };
  return rate([&] { return products(k.gemm_tall_Q4_0); }) > rate([&] { return products(k.gemm_Q4_0); });
}

struct Selected {
  std::string name;
  KernelTable table;
};

// One table for each ISA this CPU has, each built on all weaker ones. Never freed: process.exit() does not wait for
// threads, and destructors of static objects would take the tables away beneath them.
const std::vector<Selected>& tables() {
  static const std::vector<Selected>& all = *new std::vector<Selected>([] {
    std::vector<Selected> built;
    KernelTable table{};
    fill_scalar(table);
    for (const Isa& isa : isas()) {
      if (!isa.available) continue;
      const auto gemm = table.gemm_Q4_0;
      if (isa.fill != nullptr) isa.fill(table);
      if (table.gemm_Q4_0 != gemm) table.tall_tiles = tall_tiles_are_faster(table);
      built.push_back({isa.name, table});
    }
    return built;
  }());
  return all;
}

// The last table whose products of bf16 are faster than those of float32, where it has any: some CPUs have vdpbf16ps at
// half the rate of FMA.
const KernelTable& fastest() {
  const auto worth = [](const Selected& entry) {
    const KernelTable& k = entry.table;
    constexpr int64_t kIterations = 20'000;  // about a tenth of a millisecond
    return k.bf16 == Bf16::kNone ||
           rate([&] { return k.peak_bf16(kIterations); }) > rate([&] { return k.peak_fma(kIterations); });
  };
  return std::find_if(tables().rbegin(), tables().rend(), worth)->table;
}

}  // namespace

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const Selected& entry : tables()) names.push_back(entry.name);
  return names;
}

const KernelTable& select_kernels(const std::string& isa) {
  if (isa == "auto") {
    static const KernelTable& chosen = fastest();
    return chosen;
  }
  for (const Selected& entry : tables()) {
    if (entry.name == isa) return entry.table;
  }
  std::string names;
  for (const std::string& name : available_isas()) names += (names.empty() ? "" : ", ") + name;
  throw Error(ErrorCode::kInvalidArgument, "this CPU cannot run isa '" + isa + "'; available: " + names);
}

}  // namespace llava
