// How long the library keeps others waiting for the event loop: every call that has a lot to do, on vocabularies and pictures of real sizes.
// The limit is 20 ms; the clock also runs while the process waits for a core.

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as pause } from 'node:timers/promises'
import { checkModel, convertModel, LLaVA } from '../lib/index.js'
import { byteAlphabet } from '../lib/tokenizer/byte-alphabet.js'
import { writeSafetensors } from '../lib/weights/safetensors-writer.js'
import { writeSyntheticModel } from './synthetic-model.js'

export interface EventLoopDelay {
  readonly call: string
  readonly elapsedMs: number
  readonly p99Ms: number
  readonly maxMs: number
}

/** A narrow decoder of a 7B's depth and vocabulary: what is measured does not depend on its width. */
const shape = { hiddenSize: 256, intermediateSize: 512, layers: 32, heads: 4, vocabSize: 32_000 } as const

/** Each call on its own, the first time it is made: what is compiled late blocks too. */
export async function* measureEventLoop(): AsyncGenerator<EventLoopDelay> {
  const directory = await mkdtemp(path.join(tmpdir(), 'llava-event-loop-'))
  try {
    const sentencePieces = await writeSyntheticModel(path.join(directory, 'pieces'), shape, 'F16', 'F16')
    const byteLevel = path.join(directory, 'bytes')
    await writeByteLevelCheckpoint(byteLevel, 128_256, 280_147)
    yield* measureOpening(sentencePieces, path.join(directory, 'pieces.gguf'), 'a SentencePiece vocabulary of 32,000')
    yield* measureOpening(byteLevel, path.join(directory, 'bytes.gguf'), 'a byte-level vocabulary of 128,256')
    yield await delayOf('check', () => checkModel(sentencePieces))
    yield* measureAnswering()
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

/** The model as it is, its conversion, and the single file that comes of it. */
async function* measureOpening(model: string, converted: string, vocabulary: string): AsyncGenerator<EventLoopDelay> {
  const open = async (file: string): Promise<void> => {
    ;(await LLaVA.open(file)).dispose()
  }
  yield await delayOf(`open, ${vocabulary}`, () => open(model))
  yield await delayOf(`convert, ${vocabulary}`, () => convertModel(model, converted, { type: 'q8_0' }))
  yield await delayOf(`open what was converted, ${vocabulary}`, () => open(converted))
}

/** The package's own model does the same work beside native code as a large one. */
async function* measureAnswering(): AsyncGenerator<EventLoopDelay> {
  using model = await LLaVA.open()
  const picture = { width: 4000, height: 3000, data: new Uint8Array(4000 * 3000 * 3).fill(90) }
  const sampling = {
    temperature: 1,
    topP: 0.9,
    minP: 0.01,
    typicalP: 0.9,
    repetitionPenalty: 1.1,
    noRepeatNgramSize: 3,
    logprobs: 20,
    maxTokens: 64,
    seed: 1,
  }
  const small = { width: 640, height: 480, data: picture.data.subarray(0, 640 * 480 * 3) }
  yield await delayOf('pixelValues, 640 x 480', () => model.pixelValues(small))
  yield await delayOf('pixelValues, 4000 x 3000', () => model.pixelValues(picture))
  yield await delayOf('ask, every sampling option', () => model.ask(picture, 'What is it?', sampling))
  yield await delayOf('embed', () => model.embed(picture, { kind: 'projected' }))
}

async function delayOf(call: string, work: () => Promise<unknown>): Promise<EventLoopDelay> {
  await pause(50)
  const monitor = monitorEventLoopDelay({ resolution: 1 })
  monitor.enable()
  await pause(20)
  const start = performance.now()
  await work()
  const elapsedMs = performance.now() - start
  await pause(20)
  monitor.disable()
  const ms = (value: number): number => Number(value.toFixed(1))
  return { call, elapsedMs: ms(elapsedMs), p99Ms: ms(monitor.percentile(99) / 1e6), maxMs: ms(monitor.max / 1e6) }
}

/** A Hugging Face checkpoint of one thin layer with a vocabulary of LLaMA 3's size. */
async function writeByteLevelCheckpoint(directory: string, pieceCount: number, mergeCount: number): Promise<void> {
  const { pieces, merges } = byteLevelVocabulary(pieceCount, mergeCount)
  const vocab = Object.fromEntries(pieces.map((piece, id) => [piece, id]))
  const width = 32
  const sizes = {
    hidden_size: width,
    intermediate_size: width,
    num_hidden_layers: 1,
    num_attention_heads: 1,
    vocab_size: pieceCount,
    max_position_embeddings: 64,
  }
  const matrices = [
    'self_attn.q_proj',
    'self_attn.k_proj',
    'self_attn.v_proj',
    'self_attn.o_proj',
    'mlp.gate_proj',
    'mlp.up_proj',
    'mlp.down_proj',
  ]
  const shapes: Readonly<Record<string, readonly number[]>> = {
    'model.embed_tokens': [pieceCount, width],
    lm_head: [pieceCount, width],
    'model.norm': [width],
    ...Object.fromEntries(
      ['input_layernorm', 'post_attention_layernorm'].map((name) => [`model.layers.0.${name}`, [width]]),
    ),
    ...Object.fromEntries(matrices.map((name) => [`model.layers.0.${name}`, [width, width]])),
  }
  const tensors = Object.entries(shapes).map(
    ([name, shape]) =>
      [
        `${name}.weight`,
        { shape, data: new Float32Array(shape.reduce((product, size) => product * size, 1)) },
      ] as const,
  )
  await mkdir(directory)
  await writeFile(
    path.join(directory, 'config.json'),
    JSON.stringify({ architectures: ['LlamaForCausalLM'], model_type: 'llama', ...sizes }),
  )
  await writeFile(
    path.join(directory, 'tokenizer.json'),
    JSON.stringify(
      { pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false }, model: { type: 'BPE', vocab, merges } },
      null,
      2,
    ),
  )
  await writeSafetensors(path.join(directory, 'model.safetensors'), Object.fromEntries(tensors))
}

/** Pieces that grow by one byte at a time, and every way in which two of them make a third until there are enough. */
function byteLevelVocabulary(
  pieceCount: number,
  mergeCount: number,
): { readonly pieces: readonly string[]; readonly merges: readonly string[] } {
  const pieces = [...byteAlphabet]
  const known = new Set(pieces)
  const merges: string[] = []
  for (let n = 0; pieces.length < pieceCount; n++) {
    const [left, right] = [pieces[(n * 7919) % pieces.length] as string, byteAlphabet[(n * 31) % 256] as string]
    if (left.length > 8 || known.has(left + right)) continue
    known.add(left + right)
    pieces.push(left + right)
    merges.push(`${left} ${right}`)
  }
  for (const [id, piece] of pieces.entries()) {
    for (let cut = 1; cut < piece.length - 1 && id >= 256 && merges.length < mergeCount; cut++) {
      if (known.has(piece.slice(0, cut)) && known.has(piece.slice(cut)))
        merges.push(`${piece.slice(0, cut)} ${piece.slice(cut)}`)
    }
  }
  return { pieces, merges }
}
