// Packing: 16 rows of quantised weights to a strip of a panel. The including file says, before this one, in which form
// a panel holds codes:
//   to_packed<Codes>(group)  brings the groups of a unit into that form, in place; where a panel's codes are s16, they
//   become so when they are stored.
#pragma once
#include "cpu/kernels/quantised-inl.h"

// The same stretch of each row that follows the one packed now: packed a few panels later, and 16 streams that no
// hardware prefetcher follows.
template <class Codes>
inline void prefetch_next_stretch(const unsigned char* w, int64_t stride, int64_t blocks) {
  const int64_t stretch = blocks / Codes::kDiskBlocks * Codes::kBytes;
  for (int r = 0; r < kStripRows; r++) {
    for (int64_t at = stretch; at < 2 * stretch; at += 64) __builtin_prefetch(w + r * stride + at, 0, 2);
  }
}

// Where kRows rows go: their first codes and scales in a strip.
struct StripPlace {
  uint8_t* codes;
  float* scales;
  template <class Codes>
  StripPlace after(int64_t blocks) const {
    return {codes + blocks * kBlock * kStripRows * Codes::kCodeBytes, scales + blocks * Codes::kScales * kStripRows};
  }
  // The groups of one block or of several, one after another; of a group of s16 codes the even ones, then the odd ones.
  template <class Codes>
  void put_groups(const I* group, int count) const {
    constexpr int kStep = kStripRows * 4;
    for (int g = 0; g < count; g++) {
      if constexpr (Codes::kCodeBytes == 2) {
        Int::store(codes + 2 * g * kStep, even_bytes(group[g]));
        Int::store(codes + (2 * g + 1) * kStep, odd_bytes(group[g]));
      } else {
        Int::store(codes + g * kStep, group[g]);
      }
    }
  }
  template <class Codes>
  void put_factors(const typename Codes::Scales& factors, int count) const {
#pragma GCC unroll 32
    for (int i = 0; i < count; i++) Vec::store(scales + i * kStripRows, factors.factor(i));
  }
};

// A run of blocks, each as soon as its last bytes are there.
template <class Codes>
inline void pack_run(const unsigned char* rows, int64_t stride, StripPlace to) {
  using Run = typename Codes::Run;
  Run run;
#pragma GCC unroll 17
  for (int step = 0; step < Run::kSteps; step++) {
    run.load_step(rows, stride, step);
#pragma GCC unroll 16
    for (int j = 0; j < Run::kBlocks; j++) {
      if (!Run::ends(j, step)) continue;
      const StripPlace block = to.after<Codes>(j);
      block.put_factors<Codes>(Codes::scales(run, j), Codes::kScales);
      const typename Codes::Packed packed = Codes::load(run, j);
      I group[8];
#pragma GCC unroll 8
      for (int g = 0; g < 8; g++) group[g] = Codes::code(packed, 0, g);
      to_packed<Codes>(group);
      block.put_groups<Codes>(group, 8);
    }
  }
}

// A block on disk.
template <class Codes>
inline void pack_block(const unsigned char* rows, int64_t stride, StripPlace to) {
  to.put_factors<Codes>(Codes::scales(rows, stride), Codes::kDiskBlocks * Codes::kScales);
  for (int unit = 0; unit < Codes::kDiskBlocks / Codes::kUnit; unit++) {
    I group[8 * Codes::kUnit];
#pragma GCC unroll 2
    for (int part = 0; part < 8; part += Codes::kPart) {
      const typename Codes::Packed packed = Codes::load(rows, stride, unit, part / Codes::kPart);
#pragma GCC unroll 64
      for (int i = 0; i < Codes::kUnit * Codes::kPart; i++) {
        group[i / Codes::kPart * 8 + part + i % Codes::kPart] = Codes::code(packed, i / Codes::kPart, i % Codes::kPart);
      }
    }
    to_packed<Codes>(group);
    const StripPlace blocks = to.after<Codes>(unit * Codes::kUnit);
    blocks.put_groups<Codes>(group, 8 * Codes::kUnit);
  }
}

template <class Codes>
inline void pack_blocks(const unsigned char* w, int64_t stride, int64_t blocks, uint8_t* codes, float* scales) {
  for (int at = 0; at < kStripRows; at += kRows) {
    const unsigned char* rows = w + at * stride;
    const StripPlace to{codes + at * 4, scales + at};
    int64_t b = 0;
    if constexpr (Codes::kDiskBlocks == 1 && Codes::kBytes < 32) {  // a longer one is read in whole steps by itself
      constexpr int kRun = Codes::Run::kBlocks;
      for (; b + kRun <= blocks; b += kRun, rows += kRun * Codes::kBytes)
        pack_run<Codes>(rows, stride, to.after<Codes>(b));
    }
    for (; b < blocks; b += Codes::kDiskBlocks, rows += Codes::kBytes)
      pack_block<Codes>(rows, stride, to.after<Codes>(b));
  }
}

template <class Codes>
void pack(const void* w, int64_t stride, int64_t blocks, uint8_t* codes, float* scales) noexcept {
  prefetch_next_stretch<Codes>(static_cast<const unsigned char*>(w), stride, blocks);
  pack_blocks<Codes>(static_cast<const unsigned char*>(w), stride, blocks, codes, scales);
}

inline void fill_packs(KernelTable& t) {
#define LLAVA_PACK_SLOT(T, elements, ...) t.pack_##T = pack<Codes##T>;
  LLAVA_QUANTISED(LLAVA_PACK_SLOT)
#undef LLAVA_PACK_SLOT
}
