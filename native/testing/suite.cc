// All cases, on every kernel table that this CPU can run.
#include "testing/conformance.h"
#include "testing/far_backend.h"

namespace llava::testing {

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

}  // namespace llava::testing
