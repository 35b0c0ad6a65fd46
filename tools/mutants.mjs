// node tools/mutants.mjs [name…]: is every mistake seen? Each mutant is one wrong line of the native code, compiled into a copy of the testing addon;
// some conformance case must fail on it. Not part of `npm test`: it compiles the changed file and links anew for each mutant (minutes).
// An equivalent change (`from` that no longer stands in the file, however broken into lines) is an error too, so that the list follows the code.

import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const kernels = 'native/cpu/kernels'

/** name: the mistake; from → to in file (the first place it stands). */
const mutants = [
  {
    name: 'map() drops its tail',
    file: `${kernels}/rowwise-inl.h`,
    from: 'if (i < n) Vec::store_part(y + i, Function::apply',
    to: 'if (i + 1 < n) Vec::store_part(y + i, Function::apply',
  },
  {
    name: 'scale() drops its tail',
    file: `${kernels}/rowwise-inl.h`,
    from: 'if (i < n) Vec::store_part(y + i, Vec::mul(Vec::load_part(x + i, n - i), f), n - i)',
    to: '',
  },
  {
    name: 'rms_norm writes a whole vector at its tail',
    file: `${kernels}/rowwise-inl.h`,
    from: 'if (i < n) Vec::store_part(y + i, Vec::mul(Vec::load_part(weight + i, n - i), Vec::mul(Vec::load_part(x + i, n - i), factor)), n - i);',
    to: 'if (i < n) Vec::store(y + i, Vec::mul(Vec::load_part(weight + i, n - i), Vec::mul(Vec::load_part(x + i, n - i), factor)));',
  },
  {
    name: 'rms_norm reads a whole vector at its tail',
    file: `${kernels}/rowwise-inl.h`,
    from: 'const F v = Vec::load_part(x + i, n - i);\n    squares',
    to: 'const F v = Vec::load(x + i);\n    squares',
  },
  {
    name: 'rms_norm forgets eps',
    file: `${kernels}/rowwise-inl.h`,
    from: 'Vec::sum(squares) / static_cast<float>(n) + eps)',
    to: 'Vec::sum(squares) / static_cast<float>(n))',
  },
  {
    name: 'layer_norm counts masked lanes',
    file: `${kernels}/rowwise-inl.h`,
    from: 'for (; i < n; i++) tail_squares += (x[i] - mean) * (x[i] - mean);',
    to: 'if (i < n) { const F v = Vec::sub(Vec::load_part(x + i, n - i), centre); squares = Vec::fma(v, v, squares); }',
  },
  {
    name: 'exp with a wrong coefficient',
    file: `${kernels}/rowwise-inl.h`,
    from: '4.1665795894e-2f',
    to: '4.1765795894e-2f',
  },
  {
    name: 'erf cut at 3',
    file: `${kernels}/rowwise-inl.h`,
    from: 'Vec::min(Vec::max(x, Vec::set1(-4.0f)), Vec::set1(4.0f))',
    to: 'Vec::min(Vec::max(x, Vec::set1(-3.0f)), Vec::set1(3.0f))',
  },
  { name: "quick_gelu with gelu's constant", file: `${kernels}/rowwise-inl.h`, from: '-1.702f', to: '-1.7f' },
  {
    name: 'gelu_tanh without its cubic term',
    file: `${kernels}/rowwise-inl.h`,
    from: 'Vec::fma(Vec::set1(0.044715f), Vec::mul(x, x), Vec::set1(1.0f))',
    to: 'Vec::set1(1.0f)',
  },
  {
    name: 'online_softmax takes its maximum from whole vectors only',
    file: `${kernels}/rowwise-inl.h`,
    from: 'for (; i < n; i++) top = s[i] > top ? s[i] : top;',
    to: '',
  },
  {
    name: 'online_softmax forgets to rescale the sum',
    file: `${kernels}/rowwise-inl.h`,
    from: '*l = *l * rescale[0] + sum;',
    to: '*l = *l + sum;',
  },
  {
    name: 'rope turns the other way',
    file: `${kernels}/rowwise-inl.h`,
    from: 'Vec::sub(Vec::mul(a, c), Vec::mul(b, s))',
    to: 'Vec::add(Vec::mul(a, c), Vec::mul(b, s))',
  },
  {
    name: 'rope_interleaved has its tail wrong',
    file: `${kernels}/rowwise-inl.h`,
    from: 'x[2 * j + 1] = b * cos[j] + a * sin[j];',
    to: 'x[2 * j + 1] = b * cos[j] - a * sin[j];',
  },
  {
    name: 'halves are truncated',
    file: `${kernels}/simd_avx2.h`,
    from: 'static void store_f16(void* p, F v) { _mm_storeu_si128(static_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT)); }',
    to: 'static void store_f16(void* p, F v) { _mm_storeu_si128(static_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_ZERO)); }',
  },
  {
    name: 'half ties go up',
    file: 'native/common/half.h',
    from: 'magnitude + 0xFFFu + (magnitude >> 13 & 1u)',
    to: 'magnitude + 0x1000u',
  },
  {
    name: 'the tail mask is one lane short',
    file: `${kernels}/simd_avx512.h`,
    from: '((1u << n) - 1u)',
    to: '((1u << n) - 2u)',
  },
  {
    name: 'gemm_f32 forgets its last rows',
    file: `${kernels}/gemm-inl.h`,
    from: 'gemm_rest<kMR - 1, NV>(g, i, j)',
    to: 'gemm_rest<kMR - 2, NV>(g, i, j)',
  },
  {
    name: 'gemm_f32 does not accumulate',
    file: `${kernels}/gemm_tile-inl.h`,
    from: 'sum[i][j] = accumulate ? Vec::load(c + i * ldc + j * kLanes) : Vec::zero();',
    to: 'sum[i][j] = Vec::zero();',
  },
  { name: 'gemv drops its tail', file: `${kernels}/gemv-inl.h`, from: 'if (p < w.k) {', to: 'if (p + 1 < w.k) {' },
  {
    name: 'gemv ignores the row stride',
    file: `${kernels}/gemv-inl.h`,
    from: 'w.w + (r < w.rows ? r : 0) * w.stride',
    to: 'w.w + (r < w.rows ? r : 0) * w.k * W::kBytes',
  },
  {
    name: 'gemv starts every stretch from zero',
    file: `${kernels}/gemv-inl.h`,
    from: 'accumulate = y.accumulate || p > 0;',
    to: 'accumulate = y.accumulate;',
  },
  {
    name: 'gemv forgets what was there',
    file: `${kernels}/gemv-inl.h`,
    from: 'accumulate ? out + total[r] : total[r]',
    to: 'total[r]',
  },
  {
    name: 'gemv leaves out the last token',
    file: `${kernels}/gemv-inl.h`,
    from: 'gemv_rest<W, kHeight, kTokens - 1>(stretch, x.count - t,',
    to: 'gemv_rest<W, kHeight, kTokens - 1>(stretch, x.count - t - 1,',
  },
  {
    name: 'gemv mixes the sums of its rows',
    file: `${kernels}/simd_avx2.h`,
    from: '_mm_movehl_ps(s23, s01)',
    to: '_mm_movehl_ps(s01, s23)',
  },
  {
    name: 'exact arithmetic sums float weights as fast arithmetic does',
    file: 'native/cpu/linear.cc',
    from: 'if (a.arithmetic == Arithmetic::kExact) {',
    to: 'if (false) {',
  },
  {
    name: 'narrow_bf16 truncates',
    file: `${kernels}/avx512_bf16.cc`,
    from: '_mm512_set1_epi32(0x7FFF)',
    to: '_mm512_set1_epi32(0)',
  },
  {
    name: 'narrow_bf16 takes a NaN for an infinity',
    file: `${kernels}/avx512_bf16.cc`,
    from: '_mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q), quiet)',
    to: '_mm512_mask_mov_epi32(rounded, 0, quiet)',
  },
  {
    name: 'bf16 weights meet unrounded activations',
    file: 'native/cpu/linear.cc',
    from: 'factors == Factors::kBfloat ? bfloat',
    to: 'factors == Factors::kBfloat ? floating',
  },
  {
    name: 'the second terms of float weights on tiles are left out',
    file: `${kernels}/amx.cc`,
    from: 'for (int of_b = b.count - 1; of_b >= 0; of_b--)',
    to: 'for (int of_b = 0; of_b >= 0; of_b--)',
  },
  {
    name: 'tiles forget what stands in c',
    file: `${kernels}/amx.cc`,
    from: 'if (y.accumulate) {',
    to: 'if (false) {',
  },
  {
    name: 'of an infinity on tiles something is left',
    file: `${kernels}/amx.cc`,
    from: '_mm512_maskz_sub_ps(finite, value, Int::as_f32(term))',
    to: '_mm512_sub_ps(value, Int::as_f32(term))',
  },
  {
    name: 'quantised weights on tiles forget their offset',
    file: `${kernels}/amx.cc`,
    from: 'Vec::set1(-static_cast<float>(Codes::kOffset))',
    to: 'Vec::set1(-0.0f)',
  },
  {
    name: 'columns that fill the last tile are not zero',
    file: 'native/cpu/linear.cc',
    from: 'if (rows < kColumns || columns < depth) std::memset(panel, 0, panel_bytes());',
    to: 'if (rows < kColumns) std::memset(panel, 0, panel_bytes());',
  },
  {
    name: 'attention on tiles weighs positions that are not there',
    file: 'native/cpu/attention_tiles.cc',
    from: 'std::fill(scores + held, scores + depth, 0.0f);',
    to: '',
  },
  {
    name: 'attention on tiles forgets the spans before',
    file: 'native/cpu/attention_tiles.cc',
    from: 's.out_stride, at > 0});',
    to: 's.out_stride, false});',
  },
  {
    name: 'quantise_q8 truncates',
    file: `${kernels}/avx512_bw.cc`,
    from: '_mm512_maskz_cvtps_epi32(kept, _mm512_mul_ps(_mm512_loadu_ps(x), factor))',
    to: '_mm512_maskz_cvttps_epi32(kept, _mm512_mul_ps(_mm512_loadu_ps(x), factor))',
  },
  {
    name: 'quantise_q8 takes the inverse of the block before',
    file: `${kernels}/quantise_x86-inl.h`,
    from: 'x + b * kBlock, inverse[b])',
    to: 'x + b * kBlock, inverse[b > 0 ? b - 1 : b])',
  },
  {
    name: 'quantise_q8 keeps NaN codes of blocks without an inverse',
    file: `${kernels}/avx2.cc`,
    from: 'inverse != 0 ? -1 : 0',
    to: '-1',
  },
  {
    name: 'block_largest leaves out half a block',
    file: `${kernels}/avx512_bw.cc`,
    from: '_mm512_max_epi32(_mm512_and_si512(v0, magnitude), _mm512_and_si512(v1, magnitude))',
    to: '_mm512_and_si512(v0, magnitude)',
  },
  {
    name: 'the step of a block is one power of two short',
    file: 'native/cpu/block_float.cc',
    from: 'bits(limit) + 0x7FFFFF) >> 23',
    to: 'bits(limit)) >> 23',
  },
  {
    name: 'the origin of a block has another power than its codes',
    file: 'native/cpu/block_float.cc',
    from: 'origin[b] = kOrigin * power_of_two(e);',
    to: 'origin[b] = kOrigin * power_of_two(e + 1);',
  },
  {
    name: 'the inverse of a block forgets its power of two',
    file: 'native/cpu/block_float.cc',
    from: 'power_of_two(-e) / scale',
    to: '1 / scale',
  },
  {
    name: 'no value is an outlier',
    file: 'native/cpu/block_float.cc',
    from: 'if (!(top * top > wanted)) break;',
    to: 'break;',
  },
  {
    name: 'an outlier stays in its block as well',
    file: 'native/cpu/linear.cc',
    from: 'copy_without(out.outliers[first + t],',
    to: 'copy_without(Outliers{},',
  },
  {
    name: 'outliers are not in units of D',
    file: 'native/cpu/linear.cc',
    from: 'outliers.of[i].value /= out.scale[t];',
    to: '',
  },
  {
    name: 'columns of outliers are those of the first slab',
    file: 'native/cpu/linear.cc',
    from: 'columns + static_cast<uint64_t>(t / slab)',
    to: 'columns + static_cast<uint64_t>(0)',
  },
  {
    name: 'all columns of outliers have one place',
    file: 'native/cpu/outliers.h',
    from: 'int64_t place(int64_t column) const { return place_[column]; }',
    to: 'int64_t place(int64_t) const { return 0; }',
  },
  {
    name: 'quantise_q8_group leaves words where their tokens have them',
    file: `${kernels}/quantise_x86-inl.h`,
    from: 'words_of_tokens(codes, words);',
    to: 'for (int i = 0; i < 4; i++) words[i] = codes[i];',
  },
  {
    name: 'quantise_q8_group reads rows that are missing',
    file: `${kernels}/quantise_x86-inl.h`,
    from: 'codes[t] = t < rows ?',
    to: 'codes[t] = true ?',
  },
  {
    name: 'wide Q8_0 codes lose their sign',
    file: `${kernels}/quantised-inl.h`,
    from: 'return Int::shift_right_signed_16(bytes, 8)',
    to: 'return Int::shift_right_16(bytes, 8)',
  },
  {
    name: 'wide Q8_0 activations are taken in the order of bytes',
    file: `${kernels}/products_maddubs-inl.h`,
    from: 'return ((word / kRows * 2 + odd) * kRows + word % kRows) * 4;',
    to: 'return (word * 2 + odd) * 4;',
  },
  {
    name: 'the -8 of Q4_0 is skipped',
    file: 'native/common/dtype.h',
    from: 'X(Q4_0, 32, 18, 1, 0, 8, 15)',
    to: 'X(Q4_0, 32, 18, 1, 0, 0, 15)',
  },
  {
    name: 'Q4_0 swaps its nibbles',
    file: `${kernels}/quantised-inl.h`,
    from: 'return g < 4 ? low_nibbles(bytes[g]) : high_nibbles(bytes[g - 4]);',
    to: 'return g < 4 ? high_nibbles(bytes[g]) : low_nibbles(bytes[g - 4]);',
  },
  {
    name: 'pairs of Q5 codes saturate',
    file: `${kernels}/products_maddubs-inl.h`,
    from: 'while (groups * 2 * Codes::kLargest * 127 > 32767) groups /= 2;',
    to: '',
  },
  {
    name: 'the fifth bit of Q5 is read from the next value',
    file: `${kernels}/simd_avx2.h`,
    from: '0x08040201u << 4 * (n % 2)',
    to: '0x04080201u << 4 * (n % 2)',
  },
  {
    name: 'mins of Q4_K and Q5_K are dropped',
    file: `${kernels}/quantised-inl.h`,
    from: 'minus_dmin = Vec::sub(Vec::zero(), Int::halves_to_f32(',
    to: 'minus_dmin = Vec::sub(Vec::zero(), Vec::zero()), unused = Vec::sub(Vec::zero(), Int::halves_to_f32(',
  },
  {
    name: 'gemm_q forgets where it started',
    file: `${kernels}/quantised_tile-inl.h`,
    from: 'accumulate && t < tokens ? Vec::load',
    to: 'accumulate && t < 1 ? Vec::load',
  },
  {
    name: 'gemm_q writes the tokens that fill a group',
    file: `${kernels}/quantised_tile-inl.h`,
    from: 'if (t >= tokens) break;',
    to: '',
  },
  {
    name: 'gemm_q takes the sum of one token from an origin one step off',
    file: `${kernels}/quantised_tile-inl.h`,
    from: 'Vec::set1(origin[t / kTokenGroup * x.o_stride + t % kTokenGroup])',
    to: 'Vec::set1(__builtin_bit_cast(float, __builtin_bit_cast(int, origin[t / kTokenGroup * x.o_stride + t % kTokenGroup]) + (t == 3)))',
  },
  {
    name: 'gemm_unpacked forgets the blocks before',
    file: `${kernels}/quantised_unpacked-inl.h`,
    from: 'accumulate || b > 0',
    to: 'accumulate',
  },
  {
    name: 'sums of a vector of blocks start from those of their first halves',
    file: `${kernels}/simd_avx512.h`,
    from: '_mm512_shuffle_i32x4(a, b, 0xDD)); } static',
    to: '_mm512_shuffle_i32x4(a, b, 0x88)); } static',
  },
  {
    name: 'the last groups of a tall tile are left out',
    file: `${kernels}/quantised_gemm-inl.h`,
    from: 'for (; t < tokens; t += kTokenGroup)',
    to: 'for (; t < tokens - kTokenGroup; t += kTokenGroup)',
  },
  {
    name: "gemm_unpacked packs the second strip from the first's rows",
    file: `${kernels}/quantised_unpacked-inl.h`,
    from: 'rows + p * kStripRows * w.stride',
    to: 'rows',
  },
  {
    name: 'gemm_unpacked without panels forgets to start from zero',
    file: `${kernels}/quantised_registers-inl.h`,
    from: 'if (!y.accumulate) {',
    to: 'if (false) {',
  },
  {
    name: 'gemm_unpacked without panels takes the origin of the first group',
    file: `${kernels}/quantised_registers-inl.h`,
    from: 'Vec::set1(x.origin[t / kTokenGroup * x.o_stride + t % kTokenGroup])',
    to: 'Vec::set1(x.origin[t % kTokenGroup])',
  },
  {
    name: 'the two chains of a dot product lose one',
    file: `${kernels}/products_dpbusd-inl.h`,
    from: 'return kChains == 2 ? Int::add_32(acc, other) : acc;',
    to: 'return acc;',
  },
  {
    name: 'gemv_q sums in another order',
    file: `${kernels}/quantised_gemv-inl.h`,
    from: 'total = Vec::fma(above_origin(acc[h], zero), scales.factor(factor + h), total);',
    to: 'total = Vec::add(total, Vec::mul(above_origin(acc[h], zero), scales.factor(factor + h)));',
  },
  {
    name: 'a run of blocks takes the scale of an odd block from the block before',
    file: `${kernels}/quantised-inl.h`,
    from: 'Int::shift_right_32(dword[byte / 4], 16));',
    to: 'dword[byte / 4]);',
  },
  {
    name: 'a run of blocks is packed into one',
    file: `${kernels}/quantised_pack-inl.h`,
    from: 'to.after<Codes>(j);',
    to: 'to.after<Codes>(0);',
  },
  {
    name: 'what begins in the middle of a dword ends there',
    file: `${kernels}/simd_avx2.h`,
    from: '_mm256_blend_epi16(a, b, 0x55)',
    to: '_mm256_blend_epi16(a, a, 0x55)',
  },
  {
    name: 'gemv forgets where the second stretch of a token begins',
    file: `${kernels}/quantised_gemv-inl.h`,
    from: 'token.fill(origin + first, sum + 2 * first, count);',
    to: 'token.fill(origin, sum, count);',
  },
  {
    name: 'the causal mask is one off',
    file: 'native/cpu/attention.cc',
    from: 'std::min(held, position + 1 - at)',
    to: 'std::min(held, position - at)',
  },
  {
    name: 'the causal mask lets the next token in',
    file: 'native/cpu/attention.cc',
    from: 'std::min(held, position + 1 - at)',
    to: 'std::min(held, position + 2 - at)',
  },
  {
    name: 'the window is one wider',
    file: 'native/cpu/attention.cc',
    from: 'position + 1 - block.a.window - at',
    to: 'position - block.a.window - at',
  },
  {
    name: 'the window skips a page too many',
    file: 'native/cpu/attention.cc',
    from: 'int64_t at = block.oldest() / kSpan * kSpan;',
    to: 'int64_t at = (block.oldest() / kSpan + 1) * kSpan;',
  },
  {
    name: 'query heads read the wrong kv head',
    file: 'native/cpu/attention_block.h',
    from: 'keys = page + head * dh * kPageTokens * element;',
    to: 'keys = page + head / 2 * dh * kPageTokens * element;',
  },
  {
    name: 'attention is not scaled',
    file: 'native/cpu/attention.cc',
    from: '1.0f / std::sqrt(static_cast<float>(dh))',
    to: '1.0f',
  },
  {
    name: 'kv_append leaves the padding of values',
    file: 'native/cpu/attention.cc',
    from: 'std::fill(s.row, s.inverse, 0.0f);',
    to: 'std::fill(s.row, s.inverse, 3.0f);',
  },
  {
    name: 'rope layouts are swapped',
    file: 'native/cpu/rope.cc',
    from: 'a.layout == RopeLayout::kHalf',
    to: 'a.layout != RopeLayout::kHalf',
  },
  {
    name: 'patches are taken column by column',
    file: 'native/cpu/patch_embed.cc',
    from: 'p / grid * patch * size + p % grid * patch',
    to: 'p % grid * patch * size + p / grid * patch',
  },
  {
    name: 'patches without a class row take positions as if there were one',
    file: 'native/cpu/patch_embed.cc',
    from: 'host(a.position_embedding.row(row))',
    to: 'host(a.position_embedding.row(std::min(row + 1 - class_rows, a.position_embedding.rows - 1)))',
  },
  { name: 'the bias of patches is forgotten', file: 'native/cpu/patch_embed.cc', from: '.bias = a.bias, ', to: '' },
  {
    name: 'activate takes gelu for its approximation',
    file: 'native/cpu/activation.h',
    from: 'return k.gelu_tanh;',
    to: 'return k.gelu;',
  },
  {
    name: 'linear scales after the bias',
    file: `${kernels}/rowwise-inl.h`,
    from: 'F value = Vec::mul(Vec::load(c + i), factor);\n      if (r.bias != nullptr) value = Vec::add(value, Vec::load(r.bias + i));',
    to: 'F value = Vec::load(c + i);\n      if (r.bias != nullptr) value = Vec::add(value, Vec::load(r.bias + i));\n      value = Vec::mul(value, factor);',
  },
  {
    name: 'finish_rows takes the scale of the row before',
    file: `${kernels}/rowwise-inl.h`,
    from: 'r.scale * r.row_scale[m] : r.scale',
    to: 'r.scale * r.row_scale[m > 0 ? m - 1 : m] : r.scale',
  },
  {
    name: 'the residual is added before the activation',
    file: 'native/cpu/linear.cc',
    from: 'before.residual = nullptr;',
    to: 'out.residual = nullptr;',
  },
  {
    name: 'the residual is overwritten before it is read',
    file: 'native/cpu/linear.cc',
    from: 'for (int64_t m = 0; m < rows; m++) activation(c + m * width, c + m * width, columns);',
    to: 'for (int64_t m = 0; m < rows; m++) activation(c + m * width, c + m * width, columns);\n  if (residual != nullptr) std::fill_n(y, columns, c[0]);',
  },
  {
    name: 'the last panel leaves the weights of the one before',
    file: 'native/cpu/linear.cc',
    from: 'std::min<int64_t>(kStripRows, rows - at);',
    to: 'std::min<int64_t>(kStripRows, rows);',
  },
  {
    name: 'linear takes a residual of any shape',
    file: 'native/ops/check.h',
    from: '!o.residual ||',
    to: 'true ||',
  },
  {
    name: 'a bias of any length is taken',
    file: 'native/ops/check.h',
    from: '!vector || vector.length == length',
    to: 'length >= 0 || vector',
  },
  {
    name: 'a ragged batch forgets where its sequences begin',
    file: 'native/cpu/attention_block.h',
    from: 'return begin + first + row / sharing;',
    to: 'return first + row / sharing;',
  },
  {
    name: 'kv_append writes all sequences from the first row on',
    file: 'native/cpu/attention.cc',
    from: 'host(x.row(begin + first))',
    to: 'host(x.row(first))',
  },
  {
    name: "a layer's offset in a page is left out",
    file: 'native/cpu/attention_block.h',
    from: '+ cache.layer_offset',
    to: '',
  },
  {
    name: 'sums are not rescaled between spans of keys',
    file: 'native/cpu/attention.cc',
    from: 'if (rescale != 1.0f) k.scale(',
    to: 'if (rescale < 0) k.scale(',
  },
  {
    name: 'a window begins at a page of its span',
    file: 'native/cpu/attention.cc',
    from: 'for (int64_t at = block.oldest() / kSpan * kSpan;',
    to: 'for (int64_t at = block.oldest() / kPageTokens * kPageTokens;',
  },
  {
    name: 'the second slab of a product takes the rows of the first',
    file: 'native/cpu/linear.cc',
    from: 'panel(p), m + step, rows, k, depth',
    to: 'panel(p), step, rows, k, depth',
  },
  {
    name: 'every panel of a task has the weights of its first',
    file: 'native/cpu/linear.cc',
    from: 'task.first + p * kColumns, std::min(kColumns',
    to: 'task.first, std::min(kColumns',
  },
  {
    name: 'streaming stores lose a row',
    file: 'native/cpu/linear.cc',
    from: 'FinishedRows out = {.rows = rows,',
    to: 'FinishedRows out = {.rows = past_caches ? rows - 1 : rows,',
  },
  {
    name: 'attention weights see one position less',
    file: 'native/cpu/attention_weights.cc',
    from: 'sequence.end - sequence.rows + r + 1',
    to: 'sequence.end - sequence.rows + r',
  },
  {
    name: 'the window of attention weights begins at its page',
    file: 'native/cpu/attention_weights.cc',
    from: 'std::fill(scores, scores + skipped, kNothing);',
    to: '',
  },
  {
    name: 'attention weights leave what is not seen as it was',
    file: 'native/cpu/attention_weights.cc',
    from: 'std::fill(y + row.to, y + columns, 0.0f);',
    to: '',
  },
  {
    name: 'mean_rows leaves out the last row',
    file: 'native/cpu/rows.cc',
    from: 'r < x.rows; r++) {\n    for (int64_t i = 0; i < columns; i++) sum',
    to: 'r + 1 < x.rows; r++) {\n    for (int64_t i = 0; i < columns; i++) sum',
  },
  {
    name: 'of equal values the last is above the first',
    file: 'native/cpu/top_k.cc',
    from: 'value <= values[k - 1] || !is_above(value, values[k - 1])',
    to: 'value < values[k - 1]',
  },
  {
    name: 'NaN is not above all',
    file: 'native/cpu/top_k.cc',
    from: 'a > b || (std::isnan(a) && !std::isnan(b))',
    to: 'a > b',
  },
  {
    name: 'the sum of exponentials is that of the first row',
    file: 'native/cpu/top_k.cc',
    from: 'sum += sums[row * blocks + b]',
    to: 'sum += sums[b]',
  },
  {
    name: 'angles are not rounded to float32 first',
    file: 'native/cpu/rope.cc',
    from: 'static_cast<double>(position * inv_freq[j])',
    to: 'static_cast<double>(position) * static_cast<double>(inv_freq[j])',
  },
  {
    name: 'patches of all pictures are those of the first',
    file: 'native/cpu/patch_embed.cc',
    from: 'host(a.pixel_values) + r / patches * 3 * size * size',
    to: 'host(a.pixel_values)',
  },
  {
    name: 'a task of a job is done twice, and another is left out',
    file: 'native/common/worker_team.cc',
    from: 'job_.tasks - left, worker',
    to: 'job_.tasks - left + (left == 7 ? 1 : 0), worker',
  },
  {
    name: 'the pool keeps what a task threw to itself',
    file: 'native/common/worker_team.cc',
    from: 'if (failed_.load(std::memory_order_relaxed)) std::rethrow',
    to: 'if (false) std::rethrow',
  },
  {
    name: 'after a task that throws the others go on',
    file: 'native/common/worker_team.cc',
    from: 'failed_.load(std::memory_order_relaxed) || ',
    to: '',
  },
  {
    name: 'the caller does not wait for tasks under way',
    file: 'native/common/worker_team.cc',
    from: '  await_tasks();\n',
    to: '',
  },
  {
    name: 'workers without a seat work',
    file: 'native/common/worker_team.cc',
    from: 'if (worker < active) return;',
    to: 'if (worker < 99) return;',
  },
  {
    name: 'two callers have the team at once',
    file: 'native/common/worker_team.cc',
    from: 'if (!turn_taken_ && impatient_ == 0) return',
    to: 'if (impatient_ == 0) return',
  },
  {
    name: 'one of several flags cancels',
    file: 'native/common/cancellation.h',
    from: 'if (!caller->load(std::memory_order_relaxed)) return false;',
    to: 'if (caller->load(std::memory_order_relaxed)) return true;',
  },
  {
    name: 'a small job wakes workers',
    file: 'native/common/sharing.cc',
    from: 'workers_asleep ? kWorthWaking : kWorthSharing',
    to: 'kWorthSharing',
  },
  {
    name: 'sharing goes on at a loss',
    file: 'native/common/sharing.cc',
    from: '  if (balance_.count() >= 0) return;',
    to: '  return;',
  },
  {
    name: 'the last bytes of a row are not read',
    file: 'native/image/resize-inl.h',
    from: '__builtin_memcpy(part, from, static_cast<size_t>(n));',
    to: '',
  },
  {
    name: 'bytes are read beyond the end of a row',
    file: 'native/image/resize-inl.h',
    from: 'if (n >= kStep) return load<Bytes>(from);',
    to: 'return load<Bytes>(from);',
  },
  {
    name: 'sums below zero are not clamped',
    file: 'native/image/resize-inl.h',
    from: 'positive = whole > splat(0) ? whole : splat(0);',
    to: 'positive = whole;',
  },
  {
    name: 'a piece of a row begins at the weights of its column',
    file: 'native/image/resize.cc',
    from: 'column(u).offset + begin - column(u).first',
    to: 'column(u).offset',
  },
  {
    name: 'the canvas beside the picture is black',
    file: 'native/image/resize.cc',
    from: 'kHalf + column((left_ + i) / 3).outside * request_.fill[static_cast<size_t>(i % 3)]',
    to: 'kHalf',
  },
  {
    name: 'bands leave out the last row that sees the picture',
    file: 'native/image/resize.cc',
    from: 'top + seeing * (band + 1) / bands',
    to: 'top + seeing * (band + 1) / bands - 1',
  },
  {
    name: 'a row is written before its last source row',
    file: 'native/image/resize.cc',
    from: 'row(next_row_).first + row(next_row_).count <= y + count; next_row_++',
    to: 'row(next_row_).first + row(next_row_).count <= y + count + 1; next_row_++',
  },
  {
    name: 'rows share their sums with rows that are not done',
    file: 'native/image/resize.cc',
    from: 'most = std::max(most, fresh - next);',
    to: 'most = std::max(most, fresh - next - 1);',
  },
]

/** What finds `code` however its lines are broken. */
function anywhereInLine(code) {
  const characters = [...code.replace(/\s+/g, '')]
  return new RegExp(characters.map((one) => one.replace(/[\\^$.*+?()[\]{}|/-]/, '\\$&')).join('\\s*'))
}

const asked = process.argv.slice(2)
const copy = mkdtempSync(path.join(tmpdir(), 'llava-mutants-'))

function run(command, args) {
  return spawnSync(command, args, { cwd: copy, encoding: 'utf8', maxBuffer: 1 << 26 })
}

function build() {
  const result = run('cmake', ['--build', 'objects', '--target', 'llava_testing'])
  if (result.status !== 0) throw new Error(`the testing addon does not build:\n${result.stdout}${result.stderr}`)
}

/** Cases that fail, other than the `known` ones (all of them, or the first), or what ended the process. */
function failures(known, all) {
  const script = `const addon = require('./build/testing/llava_testing.node')
    const failed = []
    for (const { name, isa } of addon.listCases()) {
      const title = isa + ': ' + name
      if (${JSON.stringify(known)}.includes(title) || addon.runCase(name, isa).ok) continue
      failed.push(title)
      if (!${all}) break
    }
    process.stdout.write(JSON.stringify(failed))`
  const result = run(process.execPath, ['-e', script])
  return result.status === 0
    ? JSON.parse(result.stdout)
    : [`the process ended by ${result.signal ?? `exit ${result.status}`}`]
}

try {
  for (const entry of ['native', 'CMakeLists.txt', 'package.json'])
    cpSync(path.join(root, entry), path.join(copy, entry), { recursive: true })
  mkdirSync(path.join(copy, 'build'))
  symlinkSync(path.join(root, 'node_modules'), path.join(copy, 'node_modules'))
  const configured = run('cmake', ['-S', '.', '-B', 'objects', '-DLLAVA_TESTING=ON'])
  if (configured.status !== 0) throw new Error(`cmake: ${configured.stderr}`)
  build()
  const before = failures([], true)
  if (before.length > 0) console.log(`failing without any mutant: ${before.join('; ')}`)

  let survived = 0
  for (const { name, file, from, to } of mutants) {
    if (asked.length > 0 && !asked.some((word) => name.includes(word))) continue
    const target = path.join(copy, file)
    const text = readFileSync(target, 'utf8')
    const place = anywhereInLine(from)
    if (!place.test(text)) throw new Error(`mutant "${name}": ${file} no longer holds ${JSON.stringify(from)}`)
    writeFileSync(
      target,
      text.replace(place, () => to),
    )
    build()
    const [seen] = failures(before, false)
    writeFileSync(target, text)
    if (seen === undefined) survived++
    console.log(seen === undefined ? `SURVIVED  ${name}` : `seen      ${name}  (${seen})`)
  }
  console.log(survived === 0 ? 'every mutant is seen' : `${survived} not seen`)
  process.exitCode = survived === 0 && before.length === 0 ? 0 : 1
} finally {
  rmSync(copy, { recursive: true, force: true })
}
