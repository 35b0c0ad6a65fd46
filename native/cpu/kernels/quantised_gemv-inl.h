// Products of 16 rows of weights, as they lie in the file, with one token. The including file brings, before this one:
//   dot<Codes>(group, q, start)  start + the groups of one block or half block · one token.

// Rows lie one after another, so the next 16 are the next stretch of memory: it is fetched line by line, in step with these, which are 16 streams that
// no hardware prefetcher follows.
template <class Codes>
inline void prefetch_share(const unsigned char* next, int64_t disk_block) {
  constexpr int kBytes = kRows * Codes::kBytes;  // of these rows, a step
  const unsigned char* from = next + disk_block * kBytes;
#pragma GCC unroll 64
  for (int at = 0; at < kBytes; at += 64) __builtin_prefetch(from + at, 0, 2);
}

template <class Codes>
void gemv_q(const void* w, int64_t stride, int64_t blocks, const int8_t* q, const float* origin, const int32_t* sum, float* y) noexcept {
  constexpr int kSpan = 8 / Codes::kHalves;
  for (int at = 0; at < kPanelRows; at += kRows) {
    const unsigned char* rows = static_cast<const unsigned char*>(w) + at * stride;
    const unsigned char* next = rows + kPanelRows * stride;
    F total = Vec::zero();
    for (int64_t first = 0; first < blocks; first += Codes::kDiskBlocks, rows += Codes::kBytes) {
      prefetch_share<Codes>(next, first / Codes::kDiskBlocks);
      F factor[Codes::kDiskBlocks * Codes::kScales];
      Codes::scales(rows, stride, factor);
      for (int unit = 0; unit < Codes::kDiskBlocks / Codes::kUnit; unit++) {
        I group[8 * Codes::kUnit];
        Codes::load(rows, stride, unit, group);
#pragma GCC unroll 4
        for (int j = 0; j < Codes::kUnit; j++) {
          const int in_disk_block = unit * Codes::kUnit + j;
          const int64_t b = first + in_disk_block;
          const F* scale = factor + in_disk_block * Codes::kScales;
          const F zero = Vec::set1(origin[b]);
          int32_t start;
          __builtin_memcpy(&start, origin + b, sizeof start);
#pragma GCC unroll 2
          for (int h = 0; h < Codes::kHalves; h++) {
            const I acc = dot<Codes>(group + 8 * j + h * kSpan, q + (b * 8 + h * kSpan) * 4, start - Codes::kOffset * block_sum<Codes>(sum + 2 * b, h));
            total = Vec::fma(above_origin(acc, zero), scale[h], total);
          }
          if constexpr (Codes::kMins) {
#pragma GCC unroll 2
            for (int h = 0; h < Codes::kHalves; h++) {
              const F a_sum = above_origin(Int::set1_32(start + block_sum<Codes>(sum + 2 * b, h)), zero);
              total = Vec::fma(a_sum, scale[Codes::kHalves + h], total);
            }
          }
        }
      }
    }
    Vec::store(y + at, total);
  }
}

inline void fill_gemvs(KernelTable& t) {
#define LLAVA_GEMV_SLOT(T, elements, bytes) t.gemv_##T = gemv_q<Codes##T>;
  LLAVA_QUANTISED(LLAVA_GEMV_SLOT)
#undef LLAVA_GEMV_SLOT
}
