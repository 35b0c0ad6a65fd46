// All cases, on every kernel table that this CPU can run.
#include <atomic>
#include <string_view>

#include "testing/conformance.h"
#include "testing/far_backend.h"

namespace llava::testing {

namespace {

std::atomic<bool> met_a_product{false};

// Stands for a kernel that a case of floats must not meet.
template <class Result, class... Arguments>
Result product(Arguments...) noexcept {
  met_a_product = true;
  return Result();
}

// A table whose kernels of quantised weights are traps: what cases of floats run on.
KernelTable floats_of(const KernelTable& whole) {
  KernelTable table = whole;
#define LLAVA_PRODUCTS(T, elements, ...) \
  table.pack_##T = product;              \
  table.gemm_##T = product;              \
  table.gemm_tall_##T = product;         \
  table.gemm_unpacked_##T = product;     \
  table.gemv_##T = product;
  LLAVA_QUANTISED(LLAVA_PRODUCTS)
#undef LLAVA_PRODUCTS
  return table;
}

// But for the mixes that the peaks measure.
bool are_the_same(const KernelTable& a, const KernelTable& b) {
  constexpr std::string_view kPeak = "peak_";
  bool same = a.bf16 == b.bf16;
#define KERNEL(name, result, parameters) \
  same = same && (a.name == b.name || std::string_view(#name).starts_with(kPeak));
#include "cpu/kernels/kernels.def"
#undef KERNEL
  return same;
}

}  // namespace

const std::vector<Target>& targets() {
  static const std::vector<Target> all = [] {
    std::vector<Target> list;
    for (const std::string& isa : available_isas()) {
      list.push_back(
          {isa, &select_kernels(isa), [isa](int threads) { return make_far_backend(threads, select_kernels(isa)); }});
    }
    return list;
  }();
  return all;
}

const std::vector<Case>& all_cases() {
  static const std::vector<Case> all = [] {
    std::vector<Case> list = kernel_cases();
    for (const Case& op : op_cases()) list.push_back(op);
    for (const Case& codec : codec_cases()) list.push_back(codec);
    for (const Case& pool : pool_cases()) list.push_back(pool);
    for (const Case& resize : resize_cases()) list.push_back(resize);
    return list;
  }();
  return all;
}

const Target* same_below(const Case& which, const Target& target) {
  if (!which.floats) return nullptr;
  const Target* below = nullptr;
  const KernelTable floats = floats_of(*target.kernels);
  for (const Target& weaker : targets()) {
    if (weaker.isa == target.isa) break;
    if (below == nullptr && are_the_same(floats_of(*weaker.kernels), floats)) below = &weaker;
  }
  return below;
}

Verdict run_on_table(const Case& which, const Target& target) {
  if (!which.floats) return run_case(which, target);
  const KernelTable floats = floats_of(*target.kernels);
  met_a_product = false;
  Verdict verdict =
      run_case(which, {target.isa, &floats, [&floats](int threads) { return make_far_backend(threads, floats); }});
  if (!met_a_product) return verdict;
  return {false, verdict.worst_error, verdict.bound, "a case of floats met a kernel that multiplies quantised weights"};
}

}  // namespace llava::testing
