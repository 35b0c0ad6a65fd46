// gemm_unpacked_T of types whose units are single blocks, without a panel: codes are cut out of registers for some
// groups of tokens at a time. More groups take a panel in L1 (quantised_unpacked-inl.h) where codes cost more than a
// mask.
#pragma once
#include "cpu/kernels/quantised_tile-inl.h"
#include "cpu/kernels/quantised_unpacked-inl.h"

template <class Codes>
struct RegisterCodes {
  const typename Codes::Packed (&packed)[2];
  I group(int v, int g) const { return Codes::code(packed[v], 0, g); }
};

inline void add_to(float* y, F x, F factor) { Vec::store(y, Vec::fma(x, factor, Vec::load(y))); }

// y[tokens of kGroups groups, 2 kRows] += the products of a block. Totals stand in memory between blocks: they are
// fewer than the products by far.
template <class Codes, int kGroups>
inline void add_block(const typename Codes::Packed (&packed)[2], const F (&factor)[Codes::kScales][2],
                      const TokenGroups& x, float* y, int64_t ldy) {
  constexpr int kTokens = kGroups * kTokenGroup;
  static_assert(Codes::kHalves == 1);
  alignas(16) int32_t start[kTokens];
#pragma GCC unroll 2
  for (int g = 0; g < kGroups; g++)
    store_starts<Codes>(x.origin + g * x.o_stride, x.sum + 2 * g * x.o_stride, 0, start + g * kTokenGroup);
  I acc[kTokens][2];
  products<Codes, kGroups>(RegisterCodes<Codes>{packed}, x.q, x.q_stride, start, kTokenGroup, acc);
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; t++) {
    const F zero = Vec::set1(x.origin[t / kTokenGroup * x.o_stride + t % kTokenGroup]);
    add_to(y + t * ldy, above_origin(acc[t][0], zero), factor[0][0]);
    add_to(y + t * ldy + kRows, above_origin(acc[t][1], zero), factor[0][1]);
  }
  if constexpr (Codes::kMins) {
    alignas(16) float values[kTokens];
#pragma GCC unroll 2
    for (int g = 0; g < kGroups; g++)
      store_weighted_sums<Codes>(x.origin + g * x.o_stride, x.sum + 2 * g * x.o_stride, 0, values + g * kTokenGroup);
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; t++) {
      add_to(y + t * ldy, Vec::set1(values[t]), factor[1][0]);
      add_to(y + t * ldy + kRows, Vec::set1(values[t]), factor[1][1]);
    }
  }
}

template <class Codes>
void gemm_registers(const QuantisedRows& w, int64_t groups, const TokenGroups& x, const Product& y) noexcept {
  constexpr int64_t kMostGroups = Codes::kMins || Codes::kFifthBits ? 2 : std::numeric_limits<int64_t>::max();
  constexpr int kGroups = Int::kRegisterGroups;
  if (groups > kMostGroups) return gemm_unpacked<Codes>(w, groups, x, y);
  if (!y.accumulate) {
    for (int64_t t = 0; t < groups * kTokenGroup; t++) {
      for (int at = 0; at < 2 * kStripRows; at += kRows) Vec::store(y.y + t * y.ldy + at, Vec::zero());
    }
  }
  for (int at = 0; at < 2 * kStripRows; at += 2 * kRows) {
    const unsigned char* rows = static_cast<const unsigned char*>(w.w) + at * w.stride;
    const unsigned char* next_rows = static_cast<const unsigned char*>(w.next) + at * Codes::kBytes;
    for (int64_t b = 0; b < w.blocks; b++, rows += Codes::kBytes, next_rows += 2 * kStripRows * Codes::kBytes) {
      for (int line = 0; line < 2 * kRows * Codes::kBytes; line += 64) __builtin_prefetch(next_rows + line, 0, 2);
      const typename Codes::Packed packed[2] = {Codes::load(rows, w.stride, 0, 0),
                                                Codes::load(rows + kRows * w.stride, w.stride, 0, 0)};
      const typename Codes::Scales scales[2] = {Codes::scales(rows, w.stride),
                                                Codes::scales(rows + kRows * w.stride, w.stride)};
      F factor[Codes::kScales][2];
#pragma GCC unroll 2
      for (int i = 0; i < Codes::kScales; i++) {
        factor[i][0] = scales[0].factor(i);
        factor[i][1] = scales[1].factor(i);
      }
      float* to = y.y + at;
      int64_t g = 0;
      for (; g + kGroups <= groups; g += kGroups)
        add_block<Codes, kGroups>(packed, factor, x.from(g, b), to + g * kTokenGroup * y.ldy, y.ldy);
      for (; g < groups; g++) add_block<Codes, 1>(packed, factor, x.from(g, b), to + g * kTokenGroup * y.ldy, y.ldy);
    }
  }
}

template <class Codes>
inline void fill_registers(decltype(KernelTable::gemm_unpacked_Q4_0)& slot) {
  if constexpr (Codes::kUnit == 1) slot = gemm_registers<Codes>;
}

inline void fill_gemms_registers(KernelTable& t) {
#define LLAVA_REGISTERS_SLOT(T, elements, ...) fill_registers<Codes##T>(t.gemm_unpacked_##T);
  LLAVA_QUANTISED(LLAVA_REGISTERS_SLOT)
#undef LLAVA_REGISTERS_SLOT
}
