// The table of micro-kernels of one ISA. select() starts from the scalar table; each ISA overwrites what it has (the
// BLIS idiom), so no slot is ever null.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "common/dtype.h"

namespace llava {

struct KernelTable {
  const char* isa;
  const char* int8_mix;  // the instructions peak_int8 measures, as `llava bench` names the roof
  bool multiplies_bf16;  // by instructions of its own: gemm_bf16 is faster than gemm_f32
#define KERNEL(name, result, parameters) result(*name) parameters noexcept;
#include "cpu/kernels/kernels.def"
#undef KERNEL
};

constexpr int kPanelRows = 16;      // rows of one quantised panel
constexpr int kPanelCodeBytes = 2;  // of a code in a panel, at most
constexpr int kGemvStretch = 768;   // columns of float weights whose products gemv_* adds in lanes
constexpr int kTokenGroup = 4;      // tokens whose int8 words stand side by side

// The origin of a block of activations is this times its power of two (cpu/block_float.h): floats from 2^23 to 2^24 are
// 1 apart.
constexpr float kOrigin = 0x1.8p23f;

// Scales and mins of a row in one block of a panel, at most.
constexpr int kMostPanelScales = [] {
  int most = 0;
  for (const DTypeTraits& type : kDTypes) most = type.factors() > most ? type.factors() : most;
  return most;
}();

// Tables this CPU can execute, weakest first: "scalar", then those of its architecture.
std::vector<std::string> available_isas();

// "auto" is the strongest available; throws kInvalidArgument when the CPU lacks the one asked for.
const KernelTable& select_kernels(const std::string& isa);

void fill_scalar(KernelTable& table);
#if defined(__x86_64__)
void fill_avx2(KernelTable& table);
void fill_avx2_vnni(KernelTable& table);
void fill_avx512_bw(KernelTable& table);
void fill_avx512(KernelTable& table);       // needs VNNI
void fill_avx512_bf16(KernelTable& table);  // needs VNNI too
#elif defined(__aarch64__)
void fill_neon(KernelTable& table);
void fill_neon_dotprod(KernelTable& table);
void fill_neon_i8mm(KernelTable& table);
#endif

}  // namespace llava
