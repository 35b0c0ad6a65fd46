// The skinny kernels of types whose units are single blocks, without a panel: codes are cut out of registers for some
// groups of tokens at a time. Included after those with one, which more groups take where codes cost more than a mask.
// The including file says, before this one, for the products (quantised_tile-inl.h) of how many groups with two vectors
// of rows there are registers: kSkinnyGroups.

// Groups of tokens from some block on, as gemm_T gets them.
struct TokenGroups {
  const int8_t* q;
  int64_t q_stride;
  const float* origin;
  const int32_t* sum;
  int64_t o_stride;
  TokenGroups from(int64_t group, int64_t block) const {
    return {q + group * q_stride + block * kTokenGroup * kBlock, q_stride,
            origin + group * o_stride + block * kTokenGroup, sum + 2 * (group * o_stride + block * kTokenGroup),
            o_stride};
  }
};

template <class Codes>
struct PackedCodes {
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
  products<Codes, kGroups>(PackedCodes<Codes>{packed}, x.q, x.q_stride, start, acc);
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
void skinny_direct(const void* w, int64_t stride, int64_t blocks, const void* next, int64_t groups, const int8_t* q,
                   int64_t q_stride, const float* origin, const int32_t* sum, int64_t o_stride, float* y, int64_t ldy,
                   bool accumulate) noexcept {
  constexpr int64_t kMostGroups = Codes::kMins || Codes::kFifthBits ? 2 : std::numeric_limits<int64_t>::max();
  if (groups > kMostGroups)
    return skinny<Codes>(w, stride, blocks, next, groups, q, q_stride, origin, sum, o_stride, y, ldy, accumulate);
  const TokenGroups x{q, q_stride, origin, sum, o_stride};
  if (!accumulate) {
    for (int64_t t = 0; t < groups * kTokenGroup; t++) {
      for (int at = 0; at < 2 * kPanelRows; at += kRows) Vec::store(y + t * ldy + at, Vec::zero());
    }
  }
  for (int at = 0; at < 2 * kPanelRows; at += 2 * kRows) {
    const unsigned char* rows = static_cast<const unsigned char*>(w) + at * stride;
    const unsigned char* next_rows = static_cast<const unsigned char*>(next) + at * Codes::kBytes;
    for (int64_t b = 0; b < blocks; b++, rows += Codes::kBytes, next_rows += 2 * kPanelRows * Codes::kBytes) {
      for (int line = 0; line < 2 * kRows * Codes::kBytes; line += 64) __builtin_prefetch(next_rows + line, 0, 2);
      const typename Codes::Packed packed[2] = {Codes::load(rows, stride, 0, 0),
                                                Codes::load(rows + kRows * stride, stride, 0, 0)};
      const typename Codes::Scales scales[2] = {Codes::scales(rows, stride),
                                                Codes::scales(rows + kRows * stride, stride)};
      F factor[Codes::kScales][2];
#pragma GCC unroll 2
      for (int i = 0; i < Codes::kScales; i++) {
        factor[i][0] = scales[0].factor(i);
        factor[i][1] = scales[1].factor(i);
      }
      int64_t g = 0;
      for (; g + kSkinnyGroups <= groups; g += kSkinnyGroups)
        add_block<Codes, kSkinnyGroups>(packed, factor, x.from(g, b), y + g * kTokenGroup * ldy + at, ldy);
      for (; g < groups; g++) add_block<Codes, 1>(packed, factor, x.from(g, b), y + g * kTokenGroup * ldy + at, ldy);
    }
  }
}

template <class Codes>
inline void fill_direct(decltype(KernelTable::skinny_Q4_0)& slot) {
  if constexpr (Codes::kUnit == 1) slot = skinny_direct<Codes>;
}

inline void fill_skinnies_direct(KernelTable& t) {
#define LLAVA_DIRECT_SLOT(T, elements, ...) fill_direct<Codes##T>(t.skinny_##T);
  LLAVA_QUANTISED(LLAVA_DIRECT_SLOT)
#undef LLAVA_DIRECT_SLOT
}
