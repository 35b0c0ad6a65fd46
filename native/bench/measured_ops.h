// Makers of the measured ops; each throws kInvalidArgument for sizes that its op does not take.
#pragma once
#include "bench/measured_op.h"
#include "common/error.h"

namespace llava::bench {

std::unique_ptr<MeasuredOp> make_linear_op(Backend& backend, const OpRequest& request);
std::unique_ptr<MeasuredOp> make_attention_op(Backend& backend, const OpRequest& request);
std::unique_ptr<MeasuredOp> make_kv_append_op(Backend& backend, const OpRequest& request);
std::unique_ptr<MeasuredOp> make_patch_embed_op(Backend& backend, const OpRequest& request);
std::unique_ptr<MeasuredOp> make_quantise_op(Backend& backend, const OpRequest& request);
std::unique_ptr<MeasuredOp> make_rms_norm_op(Backend& backend, const OpRequest& request);
std::unique_ptr<MeasuredOp> make_layer_norm_op(Backend& backend, const OpRequest& request);
std::unique_ptr<MeasuredOp> make_activate_op(Backend& backend, const OpRequest& request);
std::unique_ptr<MeasuredOp> make_silu_mul_op(Backend& backend, const OpRequest& request);
std::unique_ptr<MeasuredOp> make_add_rows_op(Backend& backend, const OpRequest& request);
std::unique_ptr<MeasuredOp> make_copy_rows_op(Backend& backend, const OpRequest& request);
std::unique_ptr<MeasuredOp> make_mean_rows_op(Backend& backend, const OpRequest& request);
std::unique_ptr<MeasuredOp> make_rope_angles_op(Backend& backend, const OpRequest& request);
std::unique_ptr<MeasuredOp> make_rope_op(Backend& backend, const OpRequest& request);
std::unique_ptr<MeasuredOp> make_embed_rows_op(Backend& backend, const OpRequest& request);

inline void expect(bool holds, const char* what) {
  if (!holds) throw Error(ErrorCode::kInvalidArgument, std::string("expected ") + what);
}

}  // namespace llava::bench
