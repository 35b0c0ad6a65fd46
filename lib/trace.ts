// Every stage of one run as tensors, to be held against another implementation (transformers above all).

import { LlavaError } from './errors.js'
import { allocate } from './engine/allocate.js'
import type { Engine } from './engine/engine.js'
import { rowCount } from './engine/segments.js'
import type { Job } from './engine/job.js'
import type { NativeSegment, NativeSequence } from './native.js'
import { spliceText } from './prompt/splice.js'
import { Sampler } from './sampling/sampler.js'
import { writeSafetensors } from './weights/safetensors-writer.js'

/** A tensor, row-major. */
export interface Tensor<Data extends Float32Array | Int32Array> {
  readonly shape: readonly number[]
  readonly data: Data
}

/** The stages of one run. N picture rows, Dv and D the hidden sizes of vision and text, T prompt positions, V vocabulary, n tokens generated. */
export interface Trace {
  /** [3, S, S] */
  readonly pixelValues: Tensor<Float32Array>
  /** `[N, Dv]`: the tower's output, class row dropped where the checkpoint says so. */
  readonly imageFeatures: Tensor<Float32Array>
  /** `[N, D]`: the projector's output. */
  readonly projected: Tensor<Float32Array>
  /** `[T]`: the picture's place holds N times the image token, or where the vocabulary has none, N times -200: the original LLaVA's sentinel. */
  readonly inputIds: Tensor<Int32Array>
  /** `[T, V]`: at every prompt position. */
  readonly logits: Tensor<Float32Array>
  /** `[n]`: greedy over the whole vocabulary, not stopped by an end-of-sequence token. */
  readonly generated: Tensor<Int32Array>
}

/** Marks a picture's rows among token ids where the vocabulary has no token for it. */
const imageSentinel = -200

/** Runs `prompt`, which holds `<image>` once, and `maxTokens` greedy steps; see `LLaVA.trace`. */
export async function runTrace(
  engine: Engine,
  pixelValues: Float32Array,
  prompt: string,
  maxTokens: number,
  job: Job,
): Promise<Trace> {
  const { config, description } = engine
  const { vocabSize, hiddenSize } = config.text
  const items = spliceText(prompt, engine.tokenizer, description.imageToken, description.imageTokens)
  const slots = items.filter(({ kind }) => kind === 'image').length
  if (slots !== 1)
    throw new LlavaError('INVALID_ARGUMENT', `expected \`prompt\` to hold \`<image>\` once, it holds it ${slots} times`)

  const { image } = await engine.encode(pixelValues, ['image_features', 'projected'], job)
  let sequence: NativeSequence | undefined
  try {
    const segments = items.map((item): NativeSegment =>
      item.kind === 'tokens' ? { tokens: item.ids } : { image, start: 0, count: image.rows },
    )
    const positions = rowCount(segments)
    engine.checkContext(positions + Math.max(0, maxTokens - 1), image.rows)
    const logits = allocate(positions * vocabSize) // [T, V]
    const running = (sequence = engine.createSequence())
    await engine.append(running, segments, { logits }, job)

    const sampler = new Sampler({})
    const generated = new Int32Array(maxTokens)
    let last = logits.subarray(-vocabSize) // [V]
    for (let n = 0; n < maxTokens; n++) {
      if (n > 0) {
        last = new Float32Array(vocabSize)
        await engine.append(running, [{ tokens: generated.slice(n - 1, n) }], { logits: last }, job)
      }
      generated[n] = sampler.next(last)
    }

    const imageId = description.imageToken?.id ?? imageSentinel
    const rowIds = new Array<number>(image.rows).fill(imageId)
    const inputIds = Int32Array.from(items.flatMap((item) => (item.kind === 'tokens' ? [...item.ids] : rowIds)))
    const size = Math.sqrt(pixelValues.length / 3)
    return {
      pixelValues: { shape: [3, size, size], data: pixelValues },
      imageFeatures: {
        shape: [image.rows, config.vision?.hiddenSize ?? 0],
        data: engine.read(image, 'image_features'),
      },
      projected: { shape: [image.rows, hiddenSize], data: engine.read(image, 'projected') },
      inputIds: { shape: [positions], data: inputIds },
      logits: { shape: [positions, vocabSize], data: logits },
      generated: { shape: [maxTokens], data: generated },
    }
  } finally {
    sequence?.dispose()
    image.dispose()
  }
}

/** Writes a trace as safetensors, the tensors named as transformers names them. */
export async function saveTrace(trace: Trace, file: string): Promise<void> {
  await writeSafetensors(file, {
    pixel_values: trace.pixelValues,
    image_features: trace.imageFeatures,
    projected: trace.projected,
    input_ids: trace.inputIds,
    logits: trace.logits,
    generated: trace.generated,
  })
}
