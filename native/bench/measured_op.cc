// The ops that are measured, by name, and the kernel that makes int8 blocks of activations inside linear. An op that is
// not listed is not measured.
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
    {"embed_rows", make_embed_rows_op},   {"copy_rows", make_copy_rows_op},     {"mean_rows", make_mean_rows_op},
    {"patch_embed", make_patch_embed_op}, {"layer_norm", make_layer_norm_op},   {"rms_norm", make_rms_norm_op},
    {"linear", make_linear_op},           {"activate", make_activate_op},       {"silu_mul", make_silu_mul_op},
    {"add_rows", make_add_rows_op},       {"rope_angles", make_rope_angles_op}, {"rope", make_rope_op},
    {"kv_append", make_kv_append_op},     {"attention", make_attention_op},     {"quantise", make_quantise_op},
};

}  // namespace

std::unique_ptr<MeasuredOp> make_measured_op(Backend& backend, const OpRequest& request) {
  for (const Maker& maker : kMakers) {
    if (maker.op == request.op) return maker.make(backend, request);
  }
  throw Error(ErrorCode::kInvalidArgument, "expected `op` to be an op that is measured, not '" + request.op + "'");
}

}  // namespace llava::bench
