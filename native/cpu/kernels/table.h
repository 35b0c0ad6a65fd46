// The table of micro-kernels of one ISA. select() starts from the scalar table; each ISA overwrites what it has (the
// BLIS idiom), so no slot is ever null.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "common/dtype.h"
#include "cpu/kernels/operands.h"

namespace llava {

// How gemm_bf16 multiplies: no faster than gemm_f32; by instructions of its own, faster; on tiles, so much faster that
// quantised weights go over it, and float32 as kBfloatTerms terms.
enum class Bf16 : uint8_t { kNone, kPairs, kTiles };

struct KernelTable {
  const char* isa;
  const char* int8_mix;  // the instructions peak_int8 measures, as `llava bench` names the roof
  const char* bf16_mix;  // the same of peak_bf16
  Bf16 bf16;
  bool tall_tiles;  // whether gemm_tall_T is faster than gemm_T here
#define KERNEL(name, result, parameters) result(*name) parameters noexcept;
#include "cpu/kernels/kernels.def"
#undef KERNEL
};

constexpr int kBfloatTerms = 2;     // that stand for a float32
constexpr int64_t kTileRows = 16;   // rows of a factor in a tile, and columns of the other
constexpr int64_t kTileDepth = 32;  // bfloats of a row of a tile
constexpr int kStripRows = 16;      // rows of a strip of quantised weights, half a panel
constexpr int kMostCodeBytes = 2;   // of a packed code, at most
constexpr int kGemvStretch = 768;   // columns of float weights whose products gemv_* adds in lanes

// The origin of a block of activations is this times its power of two (cpu/block_float.h): floats from 2^23 to 2^24 are
// 1 apart.
constexpr float kOrigin = 0x1.8p23f;

// Scales and mins of a row in one block, at most.
constexpr int kMostScales = [] {
  int most = 0;
  for (const DTypeTraits& type : kDTypes) most = type.factors() > most ? type.factors() : most;
  return most;
}();

// Tables this CPU can execute, weakest first: "scalar", then those of its architecture.
std::vector<std::string> available_isas();

// "auto" is the strongest available, but for one whose products of bf16 are slower here than those of float32 (measured
// once a process, at the first call); throws kInvalidArgument when the CPU lacks the one asked for.
const KernelTable& select_kernels(const std::string& isa);

void fill_scalar(KernelTable& table);
#if defined(__x86_64__)
void fill_avx2(KernelTable& table);
void fill_avx2_vnni(KernelTable& table);
void fill_avx512_bw(KernelTable& table);
void fill_avx512(KernelTable& table);       // needs VNNI
void fill_avx512_bf16(KernelTable& table);  // needs VNNI too
void fill_amx(KernelTable& table);          // needs BF16 too
#elif defined(__aarch64__)
void fill_neon(KernelTable& table);
void fill_neon_dotprod(KernelTable& table);
void fill_neon_i8mm(KernelTable& table);
#endif

}  // namespace llava
