// The int8 kernels of quantised weights on x86, in the order in which they build on each other. The including file
// brings first, inside its target region: its vocabulary (simd_avx2.h or simd_avx512.h), and its products
// (products_maddubs-inl.h or products_dpbusd-inl.h).
#pragma once
#include "cpu/kernels/quantised_tile-inl.h"
//
#include "cpu/kernels/quantised_gemm-inl.h"
//
#include "cpu/kernels/quantised_unpacked-inl.h"
//
#include "cpu/kernels/quantised_registers-inl.h"
//
#include "cpu/kernels/quantised_gemv-inl.h"

// Every product. Panels of other tables than these products' own are left alone: fill_packs().
inline void fill_int8(KernelTable& t) {
  fill_gemms(t);
  fill_gemms_unpacked(t);
  fill_gemms_registers(t);
  fill_gemvs(t);
}
