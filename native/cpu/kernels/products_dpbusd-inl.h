// Integer products by vpdpbusd, which adds 4 products u8 x s8 to 32 bits without saturation. The including file brings, before this one:
//   dpbusd(sum, w, a)

// acc[t][v] = start[t] + codes · activations over the groups of a block or half block.
template <class Codes>
inline void products(const uint8_t* w, int64_t step, const int8_t* q, const int32_t* start, I acc[kTokenGroup][2]) {
#pragma GCC unroll 4
  for (int t = 0; t < kTokenGroup; t++) acc[t][0] = acc[t][1] = Int::set1_32(start[t]);
#pragma GCC unroll 8
  for (int g = 0; g < 8 / Codes::kHalves; g++) {
    const I w0 = Int::load(w + g * 64), w1 = Int::load(w + g * 64 + step);
#pragma GCC unroll 4
    for (int t = 0; t < kTokenGroup; t++) {
      const I a = Int::broadcast_word(q + (g * kTokenGroup + t) * 4);
      acc[t][0] = dpbusd(acc[t][0], w0, a);
      acc[t][1] = dpbusd(acc[t][1], w1, a);
    }
  }
}

// acc + the groups of block j in a part · one token. A whole block is summed in two chains: one of eight takes longer than what stands around it.
template <class Codes>
inline I dot(const typename Codes::Packed& packed, int j, const int8_t* q, I acc) {
  constexpr int kChains = Codes::kPart == 8 ? 2 : 1;
  I other = Int::zero();
#pragma GCC unroll 8
  for (int g = 0; g < Codes::kPart; g++) {
    I& sum = g % kChains == 0 ? acc : other;
    sum = dpbusd(sum, Codes::code(packed, j, g), Int::broadcast_word(q + g * 4));
  }
  return kChains == 2 ? Int::add_32(acc, other) : acc;
}

// acc[t][v] = start[t] + the codes of a block in vector v of rows · activations, for groups of tokens q_stride bytes apart.
template <class Codes, int kGroups>
inline void products_of_rows(const typename Codes::Packed (&packed)[2], const int8_t* q, int64_t q_stride, const int32_t* start, I acc[][2]) {
  constexpr int kTokens = kGroups * kTokenGroup;
#pragma GCC unroll 8
  for (int t = 0; t < kTokens; t++) acc[t][0] = acc[t][1] = Int::set1_32(start[t]);
#pragma GCC unroll 8
  for (int g = 0; g < 8; g++) {
    const I w0 = Codes::code(packed[0], 0, g), w1 = Codes::code(packed[1], 0, g);
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; t++) {
      const I a = Int::broadcast_word(q + t / kTokenGroup * q_stride + (g * kTokenGroup + t % kTokenGroup) * 4);
      acc[t][0] = dpbusd(acc[t][0], w0, a);
      acc[t][1] = dpbusd(acc[t][1], w1, a);
    }
  }
}
