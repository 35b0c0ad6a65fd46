// Tensor-core products of a warp: PTX on a device, the documented layout of its registers in plain C++ elsewhere.
//   Lane l of a warp: g = l / 4, t = l % 4. Pairs of 16-bit values in a register, the first in its low half.
//   a[16, 16] row-major:   {(g, 2t), (g + 8, 2t), (g, 2t + 8), (g + 8, 2t + 8)}, pairs along k
//   b[16, 8] by columns:   {(2t, g), (2t + 8, g)}, pairs along k
//   c[16, 8]:              {(g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1)}
#pragma once
#include "cuda/platform.cuh"

namespace llava::cuda {

#ifdef __CUDACC__

// Four 8 x 8 matrices of 16-bit values, whose rows of 16 bytes the lanes 8 i … 8 i + 7 name for matrix i; each register
// is a pair of row g.
__device__ __forceinline__ void load_matrices(uint32_t (&to)[4], const void* row) {
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(address)
               : "memory");
}

// The same matrices transposed: each register is a pair of column g, that of rows 2t and 2t + 1.
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&to)[4], const void* row) {
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(address)
               : "memory");
}

// c += a · b, of bfloats.
__device__ __forceinline__ void multiply_bfloats(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// c += a · b, of halves.
__device__ __forceinline__ void multiply_halves(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// 2^x, to 2^-22 of itself.
__device__ __forceinline__ float two_to_the(float x) {
  float out;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(out) : "f"(x));
  return out;
}

#else

namespace emulated {

using ToFloat = float (*)(uint16_t);

struct Fragments {
  uint32_t a[4], b[2];
  float c[4];
};

// All outputs of the warp at once, by the lane that came last.
template <ToFloat to_float>
void multiply(cuda_emu::Slots slots) {
  Fragments lanes[kWarp];
  float a[16][16], b[8][16];
  for (int lane = 0; lane < kWarp; lane++) {
    std::memcpy(&lanes[lane], slots[lane], sizeof lanes[lane]);
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 2; i++) {
      const auto value = [&](uint32_t pair) { return to_float(static_cast<uint16_t>(pair >> 16 * i)); };
      for (int r = 0; r < 4; r++) a[g + 8 * (r % 2)][2 * t + 8 * (r / 2) + i] = value(lanes[lane].a[r]);
      for (int r = 0; r < 2; r++) b[g][2 * t + 8 * r + i] = value(lanes[lane].b[r]);
    }
  }
  for (int lane = 0; lane < kWarp; lane++) {
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; i++) {
      const float *row = a[g + 8 * (i / 2)], *column = b[2 * t + i % 2];
      float sum = 0;
      for (int k = 0; k < 16; k++) sum += row[k] * column[k];
      lanes[lane].c[i] += sum;
    }
    std::memcpy(slots[lane], lanes[lane].c, sizeof lanes[lane].c);
  }
  cuda_emu::counters().mma++;
}

// Wavefronts that the rows of eight lanes take: 16 bytes of each, banks of 4.
inline int wavefronts_of_rows(const uintptr_t* rows) {
  int of_bank[8] = {}, most = 0;
  for (int i = 0; i < 8; i++) {
    bool is_new = true;
    for (int j = 0; j < i; j++) is_new = is_new && rows[j] != rows[i];
    const int bank = static_cast<int>(rows[i] / 16 % 8);
    if (is_new) most = most > ++of_bank[bank] ? most : of_bank[bank];
  }
  return most;
}

}  // namespace emulated

namespace emulated {

// The rows that the lanes name, after all have.
inline cuda_emu::Slots gather_rows(const void* row, const void* place) {
  const auto address = reinterpret_cast<uintptr_t>(row);
  if (address % 16 != 0) cuda_emu::fail("ldmatrix of a row that is not aligned to 16 bytes");
  return cuda_emu::gather(&address, sizeof address, place, [](cuda_emu::Slots all) {
    for (int matrix = 0; matrix < 4; matrix++) {
      uintptr_t rows[8];
      for (int i = 0; i < 8; i++) std::memcpy(&rows[i], all[8 * matrix + i], sizeof rows[i]);
      cuda_emu::note_shared(static_cast<uint64_t>(wavefronts_of_rows(rows)), 1);
    }
  });
}

// Row `row` of matrix `matrix`.
inline const char* row_of(cuda_emu::Slots slots, int matrix, int row) {
  uintptr_t from;
  std::memcpy(&from, slots[8 * matrix + row], sizeof from);
  return reinterpret_cast<const char*>(from);
}

}  // namespace emulated

inline void load_matrices(uint32_t (&to)[4], const void* row) {
  static const char place = 0;
  const cuda_emu::Slots slots = emulated::gather_rows(row, &place);
  const int g = cuda_emu::current->lane / 4, t = cuda_emu::current->lane % 4;
  for (int matrix = 0; matrix < 4; matrix++) std::memcpy(&to[matrix], emulated::row_of(slots, matrix, g) + 4 * t, 4);
}

inline void load_matrices_transposed(uint32_t (&to)[4], const void* row) {
  static const char place = 0;
  const cuda_emu::Slots slots = emulated::gather_rows(row, &place);
  const int g = cuda_emu::current->lane / 4, t = cuda_emu::current->lane % 4;
  for (int matrix = 0; matrix < 4; matrix++) {
    uint16_t pair[2];
    for (int i = 0; i < 2; i++) std::memcpy(&pair[i], emulated::row_of(slots, matrix, 2 * t + i) + 2 * g, 2);
    std::memcpy(&to[matrix], pair, 4);
  }
}

namespace emulated {

template <ToFloat to_float>
void multiply_lane(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  static const char place = 0;
  const Fragments mine{{a[0], a[1], a[2], a[3]}, {b0, b1}, {c[0], c[1], c[2], c[3]}};
  const cuda_emu::Slots slots = cuda_emu::gather(&mine, sizeof mine, &place, multiply<to_float>);
  std::memcpy(c, slots[cuda_emu::current->lane], sizeof c);
}

}  // namespace emulated

inline void multiply_bfloats(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  emulated::multiply_lane<bfloat_bits_to_float>(c, a, b0, b1);
}
inline void multiply_halves(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  emulated::multiply_lane<half_bits_to_float>(c, a, b0, b1);
}
inline float two_to_the(float x) { return std::exp2(x); }

#endif

// A register of two bfloats, the nearest ones to the values.
__device__ __forceinline__ uint32_t pair_of_bfloats(float low, float high) {
#ifdef __CUDACC__
  uint32_t out;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(high), "f"(low));
  return out;
#else
  return float_to_bfloat_bits(low) | static_cast<uint32_t>(float_to_bfloat_bits(high)) << 16;
#endif
}

// The same of two halves.
__device__ __forceinline__ uint32_t pair_of_halves(float low, float high) {
#ifdef __CUDACC__
  uint32_t out;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(high), "f"(low));
  return out;
#else
  return float_to_half_bits(low) | static_cast<uint32_t>(float_to_half_bits(high)) << 16;
#endif
}

}  // namespace llava::cuda
