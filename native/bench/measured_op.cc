// The ops that are measured, by name: the lines of ops.def, and the kernel that makes int8 blocks of activations inside linear.
#include "bench/measured_op.h"

#include <string_view>

#include "bench/measured_ops.h"

namespace llava::bench {

namespace {

struct Maker {
  std::string_view op;
  std::unique_ptr<MeasuredOp> (*make)(Backend& backend, const OpRequest& request);
};

constexpr Maker kMakers[] = {
#define OP(name, Args) {#name, make_##name##_op},
#include "ops/ops.def"
#undef OP
    {"quantize", make_quantize_op},
};

}  // namespace

std::unique_ptr<MeasuredOp> make_measured_op(Backend& backend, const OpRequest& request) {
  for (const Maker& maker : kMakers) {
    if (maker.op == request.op) return maker.make(backend, request);
  }
  throw Error(ErrorCode::kInvalidArgument, "expected `op` to be an op that is measured, not '" + request.op + "'");
}

}  // namespace llava::bench
