// The kernels of floats, which every ISA has from the same bodies, in the order in which they build on each other. The
// including file brings first, inside its target region: its vocabulary (simd_*.h), and the register tile of gemm_f32
// (gemm_tile-inl.h, or its own).
#pragma once
#include "cpu/kernels/rowwise-inl.h"
//
#include "cpu/kernels/gemm-inl.h"
//
#include "cpu/kernels/gemm_f16-inl.h"
//
#include "cpu/kernels/transpose-inl.h"
//
#include "cpu/kernels/gemv-inl.h"

void fill_floats(KernelTable& t) {
  t.expand_f16 = expand_f16;
  t.expand_bf16 = expand_bf16;
  t.expand_Q4_0 = expand_Q4_0;
  t.expand_Q8_0 = expand_Q8_0;
  t.narrow_f16 = narrow_f16;
  t.expand_keys_q8 = expand_keys_q8;
  t.expand_values_q8 = expand_values_q8;
  t.transpose_f32 = transpose_f32;
  t.transpose_f16 = transpose_f16;
  t.transpose_bf16 = transpose_bf16;
  t.gemm_f32 = gemm_f32;
  t.gemm_f16 = gemm_f16;
  t.gemv_f32 = gemv_f32;
  t.gemv_f16 = gemv_f16;
  t.gemv_bf16 = gemv_bf16;
  t.rms_norm = rms_norm;
  t.layer_norm = layer_norm;
  t.add = add;
  t.scale = scale;
  t.finish_rows = finish_rows;
  t.quick_gelu = quick_gelu;
  t.gelu = gelu;
  t.gelu_tanh = gelu_tanh;
  t.silu_mul = silu_mul;
  t.online_softmax = online_softmax;
  t.rope_half = rope_half;
  t.rope_interleaved = rope_interleaved;
}
