// Four f32 lanes of AArch64. Included inside a NEON target region; the -inl.h bodies speak only this vocabulary.
#pragma once

struct Vec {
  using F = float32x4_t;
  static constexpr int kLanes = 4;
  static constexpr int kGemvTokens = 6;  // 6 x 4 accumulators + 6 vectors of x + 1 of weights = 31 of 32 registers
  static constexpr int kTileRows = 8;    // 8 x 2 accumulators + 8 vectors of a + 2 weights = 26 of 32 registers

  static F load(const float* p) { return vld1q_f32(p); }
  static void store(float* p, F v) { vst1q_f32(p, v); }
  // stores around the caches are not in NEON's intrinsics
  static bool streams_to(const float*, int64_t) { return false; }
  static void stream(float* p, F v) { store(p, v); }
  static void end_stream() {}
  static F load_part(const float* p, int64_t n) {  // 0 < n < 4; lanes >= n are 0
    const float32x2_t zero = vdup_n_f32(0);
    return vcombine_f32(n > 1 ? vld1_f32(p) : vld1_lane_f32(p, zero, 0), n > 2 ? vld1_lane_f32(p + 2, zero, 0) : zero);
  }
  static void store_part(float* p, F v, int64_t n) {
    if (n == 1) return vst1q_lane_f32(p, v, 0);
    vst1_f32(p, vget_low_f32(v));
    if (n > 2) vst1q_lane_f32(p + 2, v, 2);
  }
  static F from_f16(uint16x4_t words) { return vcvt_f32_f16(vreinterpret_f16_u16(words)); }
  static F from_bf16(uint16x4_t words) { return vreinterpretq_f32_u32(vshll_n_u16(words, 16)); }
  static F load_f16(const void* p) { return from_f16(vld1_u16(static_cast<const uint16_t*>(p))); }
  static F load_bf16(const void* p) { return from_bf16(vld1_u16(static_cast<const uint16_t*>(p))); }
  static void store_f16(void* p, F v) { vst1_u16(static_cast<uint16_t*>(p), vreinterpret_u16_f16(vcvt_f16_f32(v))); }
  static F load_i8(const void* p) {
    uint32_t word;
    __builtin_memcpy(&word, p, 4);
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8(word)))));
  }

  static F zero() { return vdupq_n_f32(0); }
  static F set1(float x) { return vdupq_n_f32(x); }
  static F add(F a, F b) { return vaddq_f32(a, b); }
  static F sub(F a, F b) { return vsubq_f32(a, b); }
  static F mul(F a, F b) { return vmulq_f32(a, b); }
  static F div(F a, F b) { return vdivq_f32(a, b); }
  static F fma(F a, F b, F c) { return vfmaq_f32(c, a, b); }
  static F max(F a, F b) { return vmaxq_f32(a, b); }
  static F min(F a, F b) { return vminq_f32(a, b); }
  static F round(F a) { return vrndnq_f32(a); }
  // 2^n for whole n in [-126, 127]
  static F pow2(F n) { return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)), 23)); }
  // v where x >= limit or x is NaN, else 0
  static F where_at_least(F x, F limit, F v) {
    return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(v), vcltq_f32(x, limit)));
  }
  // Pairs: {p0, p0, p1, p1}; {a1, a0, a3, a2}; even lanes a*b - c, odd lanes a*b + c
  static F load_twice(const float* p) {
    const float32x2_t pair = vld1_f32(p);
    return vcombine_f32(vdup_lane_f32(pair, 0), vdup_lane_f32(pair, 1));
  }
  static F swap_pairs(F a) { return vrev64q_f32(a); }
  static F fmaddsub(F a, F b, F c) {
    const uint32x4_t sign = vreinterpretq_u32_u64(vdupq_n_u64(0x80000000u));  // of even lanes
    return vfmaq_f32(vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(c), sign)), a, b);
  }

  // 4 x 4 in place: pairs of rows, then pairs of pairs.
  static void transpose(F row[4]) {
    const F t0 = vzip1q_f32(row[0], row[2]), t1 = vzip2q_f32(row[0], row[2]), t2 = vzip1q_f32(row[1], row[3]),
            t3 = vzip2q_f32(row[1], row[3]);
    row[0] = vzip1q_f32(t0, t2);
    row[1] = vzip2q_f32(t0, t2);
    row[2] = vzip1q_f32(t1, t3);
    row[3] = vzip2q_f32(t1, t3);
  }

  static float sum(F v) { return vaddvq_f32(v); }
  static void sums_4(const F v[4], float sums[4]) {
    store(sums, vpaddq_f32(vpaddq_f32(v[0], v[1]), vpaddq_f32(v[2], v[3])));
  }
  static float largest(F v) { return vmaxvq_f32(v); }
};

// The same registers as integers: four rows of four bytes.
struct Int {
  using I = int32x4_t;
  static constexpr int kRows = 4;

  static uint8x16_t bytes(I a) { return vreinterpretq_u8_s32(a); }
  static uint16x8_t words(I a) { return vreinterpretq_u16_s32(a); }
  static uint32x4_t dwords(I a) { return vreinterpretq_u32_s32(a); }
  static I from(uint8x16_t a) { return vreinterpretq_s32_u8(a); }
  static I from(uint16x8_t a) { return vreinterpretq_s32_u16(a); }
  static I from(uint32x4_t a) { return vreinterpretq_s32_u32(a); }

  static I load(const void* p) { return from(vld1q_u8(static_cast<const uint8_t*>(p))); }
  static void store(void* p, I v) { vst1q_u8(static_cast<uint8_t*>(p), bytes(v)); }
  static I set1_8(int v) { return from(vdupq_n_u8(static_cast<uint8_t>(v))); }
  static I set1_32(int32_t v) { return vdupq_n_s32(v); }
  static I broadcast_word(const void* p) {
    int32_t word;
    __builtin_memcpy(&word, p, 4);
    return set1_32(word);
  }
  static I zero() { return vdupq_n_s32(0); }
  static I add_32(I a, I b) { return vaddq_s32(a, b); }
  static I bit_and(I a, I b) { return vandq_s32(a, b); }
  static I bit_or(I a, I b) { return vorrq_s32(a, b); }
  static I bit_xor(I a, I b) { return veorq_s32(a, b); }
  // Shifts by a vector of equal counts, which the compiler turns into the immediate form: the intrinsics with _n take
  // literals only.
  static I shift_right_16(I a, int n) { return from(words(a) >> vdupq_n_u16(static_cast<uint16_t>(n))); }
  static I shift_left_16(I a, int n) { return from(words(a) << vdupq_n_u16(static_cast<uint16_t>(n))); }
  static I shift_right_signed_16(I a, int n) {
    return vreinterpretq_s32_s16(vreinterpretq_s16_s32(a) >> vdupq_n_s16(static_cast<int16_t>(n)));
  }
  static I shift_right_32(I a, int n) { return from(dwords(a) >> vdupq_n_u32(static_cast<uint32_t>(n))); }
  static I shift_left_32(I a, int n) { return from(dwords(a) << vdupq_n_u32(static_cast<uint32_t>(n))); }
  static I shift_right_signed_32(I a, int n) { return a >> vdupq_n_s32(n); }
  // Bits 4 n … 4 n + 3 of each dword, each as bit 4 of a byte of its own.
  static I nibble_to_fifth_bits(I a, int n) {
    const uint8x16_t first = {0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12};
    const I spread = from(vqtbl1q_u8(bytes(a), vaddq_u8(first, vdupq_n_u8(static_cast<uint8_t>(n / 2)))));
    const I wanted = set1_32(static_cast<int32_t>(0x08040201u << 4 * (n % 2)));  // one bit of each byte
    return bit_and(from(vtstq_u8(bytes(spread), bytes(wanted))), set1_8(16));
  }
  // p, for what the compiler shall not do before v is there.
  static const unsigned char* after(const unsigned char* p, I v) {
    asm("" : "+r"(p) : "w"(v));
    return p;
  }
  static Vec::F to_f32(I a) { return vcvtq_f32_s32(a); }
  static Vec::F as_f32(I a) { return vreinterpretq_f32_s32(a); }
  // the low 16 bits of each lane
  static Vec::F halves_to_f32(I a) { return vcvt_f32_f16(vreinterpret_f16_u16(vmovn_u32(dwords(a)))); }
  // Four bytes at w of each row.
  static I rows_32(const unsigned char* w, int64_t stride) {
    int32_t word[4];
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++) __builtin_memcpy(&word[r], w + r * stride, 4);
    return I{word[0], word[1], word[2], word[3]};
  }
  // The half at w of each row.
  static Vec::F rows_f16(const unsigned char* w, int64_t stride) {
    uint16_t d[4];
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++) __builtin_memcpy(&d[r], w + r * stride, 2);
    return vcvt_f32_f16(vreinterpret_f16_u16(uint16x4_t{d[0], d[1], d[2], d[3]}));
  }
  // 16 bytes of each row -> 4 vectors of [rows][4 bytes]: a 4 x 4 transpose of dwords.
  //   in:  row0 = a b c d   row1 = a b c d …   t0 = row0.a row2.a row0.b row2.b   t2 = row1.a row3.a row1.b row3.b
  //   out[0] = row0.a row1.a row2.a row3.a
  static void interleave(const unsigned char* w, int64_t stride, I out[4]) {
    const I row0 = load(w), row1 = load(w + stride), row2 = load(w + 2 * stride), row3 = load(w + 3 * stride);
    const I t0 = vzip1q_s32(row0, row2), t1 = vzip2q_s32(row0, row2), t2 = vzip1q_s32(row1, row3),
            t3 = vzip2q_s32(row1, row3);
    out[0] = vzip1q_s32(t0, t2);
    out[1] = vzip2q_s32(t0, t2);
    out[2] = vzip1q_s32(t1, t3);
    out[3] = vzip2q_s32(t1, t3);
  }

  // 32 bytes of each row -> 8 vectors of [rows][4 bytes].
  static void interleave_32(const unsigned char* w, int64_t stride, I out[8]) {
    interleave(w, stride, out);
    interleave(w + 16, stride, out + 4);
  }
  // The upper half of each lane of a, then the lower one of b: what begins in the middle of a.
  static I from_middle(I a, I b) { return from(vsliq_n_u32(vshrq_n_u32(dwords(a), 16), dwords(b), 16)); }

  static uint16x4_t half(I a, int which) { return which == 0 ? vget_low_u16(words(a)) : vget_high_u16(words(a)); }
  // 4 rows x 8 words in place, to two columns in each vector: row[c] = column c | column 4 + c. Pairs of rows, then
  // pairs of pairs; then halves change places.
  static void transpose_16(I row[4]) {
    const uint16x8_t low02 = vzip1q_u16(words(row[0]), words(row[2])), low13 = vzip1q_u16(words(row[1]), words(row[3]));
    const uint16x8_t high02 = vzip2q_u16(words(row[0]), words(row[2])),
                     high13 = vzip2q_u16(words(row[1]), words(row[3]));
    const uint16x8_t c01 = vzip1q_u16(low02, low13), c23 = vzip2q_u16(low02, low13), c45 = vzip1q_u16(high02, high13),
                     c67 = vzip2q_u16(high02, high13);
    row[0] = from(vcombine_u16(vget_low_u16(c01), vget_low_u16(c45)));
    row[1] = from(vcombine_u16(vget_high_u16(c01), vget_high_u16(c45)));
    row[2] = from(vcombine_u16(vget_low_u16(c23), vget_low_u16(c67)));
    row[3] = from(vcombine_u16(vget_high_u16(c23), vget_high_u16(c67)));
  }
};

using F = Vec::F;
using I = Int::I;
constexpr int kLanes = Vec::kLanes;
constexpr int kRows = Int::kRows;
