// Products of panels with groups of 4 tokens. The including file brings, before this one, the tile:
//   tile_32<Codes>(tokens, blocks, codes, scales, panel, q, origin, sum, y, ldy, accumulate)  y[one group of tokens, 32
//   rows]

template <class Codes>
void gemm_q(int64_t tokens, int64_t blocks, const uint8_t* codes, const float* scales, int64_t panel, const int8_t* q,
            int64_t q_stride, const float* origin, const int32_t* sum, int64_t o_stride, float* y, int64_t ldy,
            bool accumulate) noexcept {
  for (int64_t t = 0; t < tokens; t += kTokenGroup, q += q_stride, origin += o_stride, sum += 2 * o_stride) {
    tile_32<Codes>(tokens - t, blocks, codes, scales, panel, q, origin, sum, y + t * ldy, ldy, accumulate);
  }
}

inline void fill_gemms(KernelTable& t) {
#define LLAVA_GEMM_SLOT(T, elements, ...) t.gemm_##T = gemm_q<Codes##T>;
  LLAVA_QUANTISED(LLAVA_GEMM_SLOT)
#undef LLAVA_GEMM_SLOT
}
