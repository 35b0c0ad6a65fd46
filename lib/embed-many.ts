// Inputs of any number as vectors, with memory that does not grow with it: so many are under way as keep the model busy, further ones are asked for when
// results have been taken (back-pressure).

import type { Embedding, EmbeddingDtype } from './embedding.js'
import type { Job } from './engine/job.js'
import { LlavaError } from './errors.js'

/** What became of one input of `LLaVA.embedMany`; `index` counts the inputs from 0. */
export type EmbedResult<Dtype extends EmbeddingDtype = EmbeddingDtype> = InputResult<Embedding<Dtype>>

/** The same of any kind of vector. */
export type InputResult<Vector> =
  | { readonly index: number; readonly embedding: Vector; readonly error?: undefined }
  | { readonly index: number; readonly error: LlavaError; readonly embedding?: undefined }

/** Inputs under way, results that nobody has taken yet among them: a batch of the tower, one that is being read, and one that waits. */
export const mostUnderWay = 48

/** Errors that end the call, not one input of it. */
const ends: ReadonlySet<string> = new Set(['ABORTED', 'DISPOSED', 'INTERNAL'])

/**
 * @param embed one input's vector, or its failure
 * @param ordered whether results come in the order of their inputs, or as they are done
 * @param job stops what is under way when the reader leaves
 */
export async function* embedEach<Input, Vector>(
  inputs: Iterable<Input> | AsyncIterable<Input>,
  embed: (input: Input, index: number) => Promise<Vector>,
  ordered: boolean,
  job: Pick<Job, 'onStop' | 'leave'>,
): AsyncGenerator<InputResult<Vector>, void, undefined> {
  const source = Symbol.asyncIterator in inputs ? inputs[Symbol.asyncIterator]() : inputs[Symbol.iterator]()
  const underWay = new Map<number, Promise<void>>()
  const done = new Map<number, InputResult<Vector>>()
  let failure: { readonly reason: unknown } | undefined
  let asking = false // for the next input
  let exhausted = false
  let begun = 0
  let tell: () => void = () => undefined // that something has changed
  const fail = (reason: unknown) => {
    failure ??= { reason }
    tell()
  }
  const begin = (input: Input, index: number) => {
    const work = settled(embed(input, index), index).then((result) => {
      underWay.delete(index)
      done.set(index, result)
      tell()
    }, fail)
    underWay.set(index, work)
  }
  const ask = async () => {
    asking = true
    try {
      const next = await source.next()
      if (next.done === true) exhausted = true
      else begin(next.value, begun++)
    } catch (error) {
      exhausted = true // a source that failed is not asked again
      fail(error)
    }
    asking = false
    tell()
  }
  const release = job.onStop(fail)
  try {
    for (let given = 0; ;) {
      if (failure !== undefined) throw failure.reason
      const index = ordered ? given : done.keys().next().value
      const result = index === undefined ? undefined : done.get(index)
      if (result !== undefined) {
        done.delete(result.index)
        given++
        yield result
        continue
      }
      if (exhausted && underWay.size === 0) return
      const news = new Promise<void>((resolve) => (tell = resolve))
      if (!exhausted && !asking && underWay.size + done.size < mostUnderWay) void ask()
      await news
    }
  } finally {
    release()
    if (underWay.size > 0) job.leave()
    await Promise.all(underWay.values())
    if (!exhausted) await leave(source, asking)
  }
}

/** Tells a source that nothing more is asked of it. One that is busy with its next input may never be done with it. */
async function leave(source: AsyncIterator<unknown> | Iterator<unknown>, busy: boolean): Promise<void> {
  const left = Promise.resolve(source.return?.())
  if (busy) left.catch(() => undefined)
  else await left
}

async function settled<Vector>(embedding: Promise<Vector>, index: number): Promise<InputResult<Vector>> {
  try {
    return { index, embedding: await embedding }
  } catch (error) {
    if (error instanceof LlavaError && !ends.has(error.code)) return { index, error }
    throw error
  }
}
