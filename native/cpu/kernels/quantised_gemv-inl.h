// Products of 16 rows of weights, as they lie in the file, with one token. The including file brings, before this one:
//   dot<Codes>(packed, j, q, acc)  acc + the groups of block j in a part · one token.
#pragma once
#include "cpu/kernels/quantised-inl.h"

// The next 16 rows are one stretch of memory: it is fetched line by line, in step with these, which are 16 streams that
// no hardware prefetcher follows. Each sum of a block or half block brings its share of the lines of a block on disk;
// many at once would stand in the way of the loads.
template <class Codes>
inline void prefetch_share(const unsigned char* next, int share) {
  constexpr int kBytes = kRows * Codes::kBytes, kShares = Codes::kDiskBlocks * 8 / Codes::kPart;
#pragma GCC unroll 64
  for (int line = (share * kBytes / kShares + 63) / 64; line * 64 < (share + 1) * kBytes / kShares; line++)
    __builtin_prefetch(next + line * 64, 0, 2);
}

// Where the sums of a token's blocks start, and 2^e * sum, which mins are multiplied by, for kStretch blocks: made once
// for 16 rows, and broadcast from memory.
constexpr int kStretch = 128;
template <class Codes>
struct TokenBlocks {
  int32_t start[kStretch][Codes::kHalves];
  float weighted_sum[kStretch][Codes::kHalves];

  void fill(const float* origin, const int32_t* sum, int64_t blocks) {
    for (int64_t b = 0; b < blocks; b++) {
      int32_t bits;
      __builtin_memcpy(&bits, origin + b, sizeof bits);
      for (int h = 0; h < Codes::kHalves; h++) {
        const int32_t values = block_sum<Codes>(sum + 2 * b, h), above = bits + values;
        start[b][h] = bits - Codes::kOffset * values;
        __builtin_memcpy(&weighted_sum[b][h], &above, sizeof above);
        weighted_sum[b][h] -= origin[b];
      }
    }
  }
};

// Adds what the sums of one block stand for. factor: of the block's first scale.
template <class Codes>
inline F scaled(F total, const I* acc, const typename Codes::Scales& scales, int factor, float origin,
                const float* weighted_sum) {
  const F zero = Vec::set1(origin);
#pragma GCC unroll 2
  for (int h = 0; h < Codes::kHalves; h++)
    total = Vec::fma(above_origin(acc[h], zero), scales.factor(factor + h), total);
  if constexpr (Codes::kMins) {
#pragma GCC unroll 2
    for (int h = 0; h < Codes::kHalves; h++)
      total = Vec::fma(Vec::set1(weighted_sum[h]), scales.factor(factor + Codes::kHalves + h), total);
  }
  return total;
}

// Adds the products of one unit, whose first block is block b of the stretch.
template <class Codes>
inline F add_unit(F total, const unsigned char* rows, int64_t stride, int unit, const unsigned char* next,
                  const typename Codes::Scales& scales, const int8_t* q, const float* origin,
                  const TokenBlocks<Codes>& token, int64_t b) {
  I acc[Codes::kUnit][Codes::kHalves];
#pragma GCC unroll 2
  for (int part = 0; part < 8 / Codes::kPart; part++) {
    const typename Codes::Packed packed = Codes::load(rows, stride, unit, part);
    const int h = Codes::kHalves == 2 ? part : 0;
#pragma GCC unroll 8
    for (int j = 0; j < Codes::kUnit; j++) {
      const I before = part == h ? Int::set1_32(token.start[b + j][h]) : acc[j][h];
      acc[j][h] = dot<Codes>(packed, j, q + ((b + j) * 8 + part * Codes::kPart) * 4, before);
      next = Int::after(next, acc[j][h]);
      prefetch_share<Codes>(next, (unit * 8 / Codes::kPart + part) * Codes::kUnit + j);
    }
  }
#pragma GCC unroll 8
  for (int j = 0; j < Codes::kUnit; j++) {
    total = scaled<Codes>(total, acc[j], scales, (unit * Codes::kUnit + j) * Codes::kScales, origin[b + j],
                          token.weighted_sum[b + j]);
  }
  return total;
}

// Adds the products of a run of blocks, the first of which is block b of the stretch: each block as soon as its last
// bytes are there.
template <class Codes>
inline F add_run(F total, const unsigned char* rows, int64_t stride, const unsigned char* next, const int8_t* q,
                 const float* origin, const TokenBlocks<Codes>& token, int64_t b) {
  using Run = typename Codes::Run;
  Run run;
#pragma GCC unroll 17
  for (int step = 0; step < Run::kSteps; step++) {
    run.load_step(rows, stride, step);
#pragma GCC unroll 16
    for (int j = 0; j < Run::kBlocks; j++) {
      if (!Run::ends(j, step)) continue;
      const I acc[1] = {dot<Codes>(Codes::load(run, j), 0, q + (b + j) * kBlock, Int::set1_32(token.start[b + j][0]))};
      next = Int::after(next, acc[0]);
      prefetch_share<Codes>(next + j * kRows * Codes::kBytes, 0);
      total = scaled<Codes>(total, acc, Codes::scales(run, j), 0, origin[b + j], token.weighted_sum[b + j]);
    }
  }
  return total;
}

template <class Codes>
void gemv_q(const QuantisedRows& w, const int8_t* q, const float* origin, const int32_t* sum, float* y) noexcept {
  F total[kStripRows / kRows];
  for (F& rows : total) rows = Vec::zero();
  TokenBlocks<Codes> token;
  for (int64_t first = 0; first < w.blocks; first += kStretch) {
    const int64_t count = w.blocks - first < kStretch ? w.blocks - first : kStretch;
    token.fill(origin + first, sum + 2 * first, count);
    for (int at = 0; at < kStripRows; at += kRows) {
      const unsigned char* rows =
          static_cast<const unsigned char*>(w.w) + at * w.stride + first / Codes::kDiskBlocks * Codes::kBytes;
      const unsigned char* next_rows = static_cast<const unsigned char*>(w.next) + at * w.stride +
                                       first / Codes::kDiskBlocks * Codes::kBytes * kRows;
      F& sums = total[at / kRows];
      int64_t b = 0;
      if constexpr (Codes::kDiskBlocks == 1) {
        constexpr int kRun = Codes::Run::kBlocks;
        for (; b + kRun <= count; b += kRun, rows += kRun * Codes::kBytes, next_rows += kRows * kRun * Codes::kBytes)
          sums = add_run<Codes>(sums, rows, w.stride, next_rows, q + first * kBlock, origin + first, token, b);
      }
      for (; b < count; b += Codes::kDiskBlocks, rows += Codes::kBytes, next_rows += kRows * Codes::kBytes) {
        const typename Codes::Scales scales = Codes::scales(rows, w.stride);
#pragma GCC unroll 4
        for (int unit = 0; unit < Codes::kDiskBlocks / Codes::kUnit; unit++) {
          const int64_t block = b + unit * Codes::kUnit;
          sums = add_unit<Codes>(sums, rows, w.stride, unit, next_rows, scales, q + first * kBlock, origin + first,
                                 token, block);
        }
      }
    }
  }
  for (int at = 0; at < kStripRows; at += kRows) Vec::store(y + at, total[at / kRows]);
}

inline void fill_gemvs(KernelTable& t) {
#define LLAVA_GEMV_SLOT(T, elements, ...) t.gemv_##T = gemv_q<Codes##T>;
  LLAVA_QUANTISED(LLAVA_GEMV_SLOT)
#undef LLAVA_GEMV_SLOT
}
