// Element types a GGUF tensor may have: `block` elements along ne[0] take `nbytes` bytes. Ids are ggml's.
// All are listed, so that the extent of every tensor is known; which of them can be computed with is `Dtype`'s business.

import type { Dtype } from '../native.js'

/** Types that can be computed with. */
export const dtypes: readonly Dtype[] = [
  'F32',
  'F16',
  'BF16',
  'Q4_0',
  'Q4_1',
  'Q5_0',
  'Q5_1',
  'Q8_0',
  'Q2_K',
  'Q3_K',
  'Q4_K',
  'Q5_K',
  'Q6_K',
]

export interface GgmlType {
  readonly name: string
  readonly block: number
  readonly nbytes: number
}

export const ggmlTypes: ReadonlyMap<number, GgmlType> = new Map([
  [0, { name: 'F32', block: 1, nbytes: 4 }],
  [1, { name: 'F16', block: 1, nbytes: 2 }],
  [2, { name: 'Q4_0', block: 32, nbytes: 18 }],
  [3, { name: 'Q4_1', block: 32, nbytes: 20 }],
  [6, { name: 'Q5_0', block: 32, nbytes: 22 }],
  [7, { name: 'Q5_1', block: 32, nbytes: 24 }],
  [8, { name: 'Q8_0', block: 32, nbytes: 34 }],
  [9, { name: 'Q8_1', block: 32, nbytes: 36 }],
  [10, { name: 'Q2_K', block: 256, nbytes: 84 }],
  [11, { name: 'Q3_K', block: 256, nbytes: 110 }],
  [12, { name: 'Q4_K', block: 256, nbytes: 144 }],
  [13, { name: 'Q5_K', block: 256, nbytes: 176 }],
  [14, { name: 'Q6_K', block: 256, nbytes: 210 }],
  [15, { name: 'Q8_K', block: 256, nbytes: 292 }],
  [20, { name: 'IQ4_NL', block: 32, nbytes: 18 }],
  [23, { name: 'IQ4_XS', block: 256, nbytes: 136 }],
  [24, { name: 'I8', block: 1, nbytes: 1 }],
  [25, { name: 'I16', block: 1, nbytes: 2 }],
  [26, { name: 'I32', block: 1, nbytes: 4 }],
  [27, { name: 'I64', block: 1, nbytes: 8 }],
  [28, { name: 'F64', block: 1, nbytes: 8 }],
  [30, { name: 'BF16', block: 1, nbytes: 2 }],
  [39, { name: 'MXFP4', block: 32, nbytes: 17 }],
])
