// A LLaVA-1.5-shaped GGUF pair with random weights, for timing: the text such a model writes means nothing.
// Values are scaled so that activations stay finite; tensors of equal type and shape share their bytes, so a 7B is written in seconds.

import { randomFillSync } from 'node:crypto'
import { open, mkdir } from 'node:fs/promises'
import path from 'node:path'
import type { Dtype } from '../lib/native.js'
import { ggmlTypes } from '../lib/weights/ggml-types.js'
import { visionTower, type DecoderShape } from './shapes.js'

/** Where the f16 scales stand in a block, and the value that gives random codes a standard deviation of about 1 (computed from each type's formula). */
const scales: Partial<Record<Dtype, readonly (readonly [offset: number, value: number])[]>> = {
  Q4_0: [[0, 1 / 4.6]],
  Q4_1: [
    [0, 1 / 4.6],
    [2, -7.5 / 4.6],
  ],
  Q5_0: [[0, 1 / 9.2]],
  Q5_1: [
    [0, 1 / 9.2],
    [2, -15.5 / 9.2],
  ],
  Q8_0: [[0, 1 / 74]],
  Q2_K: [
    [80, 1 / 13.8],
    [82, 1.5 / 13.8],
  ],
  Q3_K: [[108, 1 / 42]],
  Q4_K: [
    [0, 1 / 258],
    [2, 7.5 / 258],
  ],
  Q5_K: [
    [0, 1 / 525],
    [2, 15.5 / 525],
  ],
  Q6_K: [[208, 1 / 1370]],
}

interface Tensor {
  readonly name: string
  readonly dtype: Dtype
  /** ggml order, fastest first. */
  readonly shape: readonly number[]
  /** Standard deviation of the values; `ones` for the weights of norms. */
  readonly spread: number | 'ones'
}

const typeIds = new Map([...ggmlTypes].map(([id, { name }]) => [name, id]))

function typeOf(dtype: Dtype): { readonly id: number; readonly block: number; readonly nbytes: number } {
  const id = typeIds.get(dtype)
  const type = id === undefined ? undefined : ggmlTypes.get(id)
  if (id === undefined || type === undefined) throw new Error(`no GGUF type ${dtype}`)
  return { id, ...type }
}

/** binary16 of a scale below 65,504, subnormals included. */
function toHalf(value: number): number {
  const sign = value < 0 ? 0x8000 : 0
  const magnitude = Math.abs(value)
  if (magnitude < 2 ** -14) return sign | Math.round(magnitude * 2 ** 24)
  const exponent = Math.floor(Math.log2(magnitude))
  return sign | (((exponent + 15) << 10) + Math.round((magnitude / 2 ** exponent - 1) * 1024))
}

function elements(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1)
}

function byteLength({ dtype, shape }: Tensor): number {
  const { block, nbytes } = typeOf(dtype)
  return (elements(shape) / block) * nbytes
}

/** Random bits with their scales set; float types get values of the same spread, uniform. */
function randomBytes(tensor: Tensor): Buffer {
  const { dtype, spread } = tensor
  const bytes = Buffer.allocUnsafe(byteLength(tensor))
  const { block, nbytes } = typeOf(dtype)
  if (spread === 'ones') {
    new Float32Array(bytes.buffer, bytes.byteOffset, elements(tensor.shape)).fill(1)
    return bytes
  }
  for (let at = 0; at < bytes.length; at += 1 << 26) randomFillSync(bytes, at, Math.min(1 << 26, bytes.length - at))
  if (block > 1) {
    for (const [offset, value] of scales[dtype] ?? []) {
      const half = toHalf(value * spread)
      for (let at = offset; at < bytes.length; at += nbytes) bytes.writeUInt16LE(half, at)
    }
    return bytes
  }
  // sign and mantissa stay random; the exponent is that of the spread
  const exponent = Math.floor(Math.log2(spread))
  for (let at = nbytes - 2; at < bytes.length; at += nbytes) {
    const random = bytes.readUInt16LE(at)
    const bits =
      dtype === 'F16' ? (random & 0x83ff) | ((exponent + 15) << 10) : (random & 0x807f) | ((exponent + 127) << 7)
    bytes.writeUInt16LE(bits, at)
  }
  return bytes
}

type Value =
  string | number | boolean | { readonly type: 'f32' | 'i32' | 'string'; readonly values: readonly (number | string)[] }

function text(value: string): Buffer {
  const bytes = Buffer.from(value)
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(bytes.length))
  return Buffer.concat([length, bytes])
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return bytes
}

function f32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeFloatLE(value)
  return bytes
}

/** A key-value pair; numbers that are not whole become f32, the others u32. */
function keyValue(key: string, value: Value): Buffer {
  if (typeof value === 'string') return Buffer.concat([text(key), u32(8), text(value)])
  if (typeof value === 'boolean') return Buffer.concat([text(key), u32(7), Buffer.of(value ? 1 : 0)])
  if (typeof value === 'number')
    return Number.isInteger(value)
      ? Buffer.concat([text(key), u32(4), u32(value)])
      : Buffer.concat([text(key), u32(6), f32(value)])
  const element = { f32: 6, i32: 5, string: 8 }[value.type]
  const write = (one: number | string): Buffer =>
    typeof one === 'string' ? text(one) : value.type === 'f32' ? f32(one) : u32(one)
  return Buffer.concat([text(key), u32(9), u32(element), u64(value.values.length), ...value.values.map(write)])
}

const alignment = 32
const padded = (bytes: number): number => Math.ceil(bytes / alignment) * alignment

async function writeGguf(
  file: string,
  keys: Readonly<Record<string, Value>>,
  tensors: readonly Tensor[],
): Promise<void> {
  const head = [
    Buffer.from('GGUF'),
    u32(3),
    u64(tensors.length),
    u64(Object.keys(keys).length),
    ...Object.entries(keys).map(([key, value]) => keyValue(key, value)),
  ]
  let offset = 0
  for (const tensor of tensors) {
    head.push(
      text(tensor.name),
      u32(tensor.shape.length),
      ...tensor.shape.map(u64),
      u32(typeOf(tensor.dtype).id),
      u64(offset),
    )
    offset += padded(byteLength(tensor))
  }
  const header = Buffer.concat(head)
  await using handle = await open(file, 'w')
  await handle.write(Buffer.concat([header, Buffer.alloc(padded(header.length) - header.length)]))
  const made = new Map<string, Buffer>()
  for (const tensor of tensors) {
    const key = `${tensor.dtype} ${tensor.shape.join('x')} ${tensor.spread}`
    const bytes = made.get(key) ?? randomBytes(tensor)
    made.set(key, bytes)
    for (let at = 0; at < bytes.length; at += 1 << 28)
      await handle.write(bytes, at, Math.min(1 << 28, bytes.length - at))
    await handle.write(Buffer.alloc(padded(bytes.length) - bytes.length))
  }
}

/** Pieces that look like words, so that a tokenizer has something to do. */
function vocabulary(size: number): { readonly pieces: string[]; readonly types: number[] } {
  const pieces = [
    '<unk>',
    '<s>',
    '</s>',
    ...Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`),
    '▁',
  ]
  for (let n = 0; pieces.length < size; n++) pieces.push(`${n % 2 === 0 ? '' : '▁'}${(n + 36).toString(36)}`)
  return { pieces, types: pieces.map((_, id) => (id === 0 ? 2 : id < 3 ? 3 : id < 259 ? 6 : 1)) }
}

function decoderTensors(shape: DecoderShape, dtype: Dtype): Tensor[] {
  const { hiddenSize: D, intermediateSize: F, vocabSize: V } = shape
  const wide = D ** -0.5
  const matrix = (name: string, rows: number, columns: number, spread: number): Tensor => ({
    name: `${name}.weight`,
    dtype,
    shape: [columns, rows],
    spread,
  })
  const norm = (name: string): Tensor => ({ name: `${name}.weight`, dtype: 'F32', shape: [D], spread: 'ones' })
  const layers = Array.from({ length: shape.layers }, (_, i): Tensor[] => [
    norm(`blk.${i}.attn_norm`),
    matrix(`blk.${i}.attn_q`, D, D, wide),
    matrix(`blk.${i}.attn_k`, D, D, wide),
    matrix(`blk.${i}.attn_v`, D, D, wide),
    matrix(`blk.${i}.attn_output`, D, D, wide * 0.3),
    norm(`blk.${i}.ffn_norm`),
    matrix(`blk.${i}.ffn_gate`, F, D, wide),
    matrix(`blk.${i}.ffn_up`, F, D, wide),
    matrix(`blk.${i}.ffn_down`, D, F, F ** -0.5 * 0.3),
  ])
  const output: Tensor = {
    name: 'output.weight',
    dtype: dtype.endsWith('_K') ? 'Q6_K' : dtype,
    shape: [D, V],
    spread: wide,
  }
  return [matrix('token_embd', V, D, 0.02), ...layers.flat(), norm('output_norm'), output]
}

function visionTensors(width: number, dtype: Dtype): Tensor[] {
  const { hiddenSize: D, intermediateSize: F, layers, imageSize, patchSize } = visionTower
  const patches = (imageSize / patchSize) ** 2
  const matrix = (name: string, rows: number, columns: number): Tensor[] => [
    { name: `${name}.weight`, dtype, shape: [columns, rows], spread: columns ** -0.5 },
    { name: `${name}.bias`, dtype: 'F32', shape: [rows], spread: 0.02 },
  ]
  const norm = (name: string): Tensor[] => [
    { name: `${name}.weight`, dtype: 'F32', shape: [D], spread: 'ones' },
    { name: `${name}.bias`, dtype: 'F32', shape: [D], spread: 0.02 },
  ]
  const blocks = Array.from({ length: layers }, (_, i): Tensor[] => [
    ...['attn_q', 'attn_k', 'attn_v', 'attn_out'].flatMap((name) => matrix(`v.blk.${i}.${name}`, D, D)),
    ...['ln1', 'ln2'].flatMap((name) => norm(`v.blk.${i}.${name}`)),
    ...matrix(`v.blk.${i}.ffn_up`, F, D),
    ...matrix(`v.blk.${i}.ffn_down`, D, F),
  ])
  return [
    { name: 'v.class_embd', dtype: 'F32', shape: [D], spread: 0.02 },
    { name: 'v.patch_embd.weight', dtype: 'F16', shape: [patchSize, patchSize, 3, D], spread: 0.04 },
    { name: 'v.position_embd.weight', dtype: 'F16', shape: [D, patches + 1], spread: 0.02 },
    ...norm('v.pre_ln'),
    ...blocks.flat(),
    ...matrix('mm.0', width, D),
    ...matrix('mm.2', width, width),
  ]
}

/** Writes the pair into `directory` and resolves to the path of its language model. */
export async function writeSyntheticModel(
  directory: string,
  shape: DecoderShape,
  dtype: Dtype,
  visionDtype: Dtype,
): Promise<string> {
  await mkdir(directory, { recursive: true })
  const { pieces, types } = vocabulary(shape.vocabSize)
  const model = path.join(directory, `model-${dtype}.gguf`)
  const language: Record<string, Value> = {
    'general.architecture': 'llama',
    'general.name': `synthetic LLaVA 1.5 shape, ${dtype}`,
    'llama.context_length': 4096,
    'llama.embedding_length': shape.hiddenSize,
    'llama.block_count': shape.layers,
    'llama.feed_forward_length': shape.intermediateSize,
    'llama.attention.head_count': shape.heads,
    'llama.attention.layer_norm_rms_epsilon': 1e-5,
    'llama.vocab_size': shape.vocabSize,
    'tokenizer.ggml.model': 'llama',
    'tokenizer.ggml.tokens': { type: 'string', values: pieces },
    'tokenizer.ggml.scores': { type: 'f32', values: pieces.map((_, id) => (id < 259 ? 0 : 259 - id)) },
    'tokenizer.ggml.token_type': { type: 'i32', values: types },
    'tokenizer.ggml.bos_token_id': 1,
    'tokenizer.ggml.eos_token_id': 2,
    'tokenizer.ggml.unknown_token_id': 0,
  }
  await writeGguf(model, language, decoderTensors(shape, dtype))
  const { hiddenSize, intermediateSize, layers, heads, imageSize, patchSize } = visionTower
  const vision: Record<string, Value> = {
    'general.architecture': 'clip',
    'clip.has_vision_encoder': true,
    'clip.has_llava_projector': true,
    'clip.projector_type': 'mlp',
    'clip.vision.image_size': imageSize,
    'clip.vision.patch_size': patchSize,
    'clip.vision.embedding_length': hiddenSize,
    'clip.vision.feed_forward_length': intermediateSize,
    'clip.vision.attention.head_count': heads,
    'clip.vision.attention.layer_norm_epsilon': 1e-5,
    'clip.vision.block_count': layers,
    'clip.vision.projection_dim': 768, // of CLIP ViT-L/14's visual projection, which LLaVA does not use and llama.cpp asks for
    'clip.vision.image_mean': { type: 'f32', values: [0.48145466, 0.4578275, 0.40821073] },
    'clip.vision.image_std': { type: 'f32', values: [0.26862954, 0.26130258, 0.27577711] },
    'clip.use_gelu': false,
  }
  await writeGguf(
    path.join(directory, `mmproj-${visionDtype}.gguf`),
    vision,
    visionTensors(shape.hiddenSize, visionDtype),
  )
  return model
}
