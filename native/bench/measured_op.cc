// The ops that are measured, by name.
#include "bench/measured_op.h"

#include "bench/linear_op.h"
#include "common/error.h"

namespace llava::bench {

std::unique_ptr<MeasuredOp> make_measured_op(Backend& backend, const OpRequest& request) {
  if (request.op == "linear") return make_linear_op(backend, request);
  throw Error(ErrorCode::kInvalidArgument, "expected `op` to be an op that is measured, not '" + request.op + "'");
}

}  // namespace llava::bench
