// One token's products with dotprod: sdot adds four products s8 x s8 to each 32-bit lane, and its second factor is one word of a vector of four.
// Unsigned codes go up to 63, so they are s8 as well; their offset is where the sum starts.
template <int word>
inline I dot_add(I acc, I w, I a) {
  return vdotq_laneq_s32(acc, vreinterpretq_s8_s32(w), vreinterpretq_s8_s32(a), word);
}

// start + the groups of one block or half block · one token; two chains hide the latency of sdot.
template <class Codes>
inline I dot(const I* group, const int8_t* q, int32_t start) {
  I even = Int::set1_32(start), odd = Int::zero();
#pragma GCC unroll 2
  for (int g = 0; g < 8 / Codes::kHalves; g += 4) {
    const I a = Int::load(q + g * 4);
    even = dot_add<0>(even, group[g], a);
    odd = dot_add<1>(odd, group[g + 1], a);
    even = dot_add<2>(even, group[g + 2], a);
    odd = dot_add<3>(odd, group[g + 3], a);
  }
  return Int::add(even, odd);
}
