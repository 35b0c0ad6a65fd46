// Inputs of any number, with memory that does not grow with it: so many are under way as keep the model busy, further ones are asked for when
// results have been taken (back-pressure).

import type { Job } from './job.js'
import { LlavaError } from '../errors.js'
import type { ManyProgressListener } from '../progress.js'

/** What became of one input; `index` counts the inputs from 0. */
export type InputResult<Value> =
  | { readonly index: number; readonly value: Value; readonly error?: undefined }
  | { readonly index: number; readonly error: LlavaError; readonly value?: undefined }

/** The same, with a name for the value. */
export type NamedResult<Name extends string, Value> =
  | ({ readonly index: number; readonly error?: undefined } & Readonly<Record<Name, Value>>)
  | ({ readonly index: number; readonly error: LlavaError } & { readonly [Key in Name]?: undefined })

/** Inputs under way, results that nobody has taken yet among them: a batch of the tower, one that is being read, and one that waits. */
export const mostUnderWay = 48

/** Errors that end the call, not one input of it. */
const ends: ReadonlySet<string> = new Set(['ABORTED', 'DISPOSED', 'INTERNAL'])

/**
 * @param work gives what comes of one input, or its failure
 * @param ordered whether results come in the order of their inputs, or as they are done
 * @param job stops what is under way when the reader leaves
 * @param onProgress hears how many are done, whether or not they have been taken
 */
export async function* eachInput<Input, Value>(
  inputs: Iterable<Input> | AsyncIterable<Input>,
  work: (input: Input, index: number) => Promise<Value>,
  ordered: boolean,
  job: Pick<Job, 'onStop' | 'cancel' | 'stop'>,
  onProgress?: ManyProgressListener,
): AsyncGenerator<InputResult<Value>, void, undefined> {
  const source = Symbol.asyncIterator in inputs ? inputs[Symbol.asyncIterator]() : inputs[Symbol.iterator]()
  const underWay = new Map<number, Promise<void>>()
  const done = new Map<number, InputResult<Value>>()
  let failure: { readonly reason: unknown } | undefined
  let asking = false // for the next input
  let exhausted = false
  let begun = 0
  let settledInputs = 0
  const total = countOf(inputs)
  const report = () => onProgress?.({ stage: 'inputs', done: settledInputs, ...(total !== undefined && { total }) })
  let tell: () => void = () => undefined // that something has changed
  const fail = (reason: unknown) => {
    failure ??= { reason }
    tell()
  }
  const begin = (input: Input, index: number) => {
    const keep = (result: InputResult<Value>) => {
      underWay.delete(index)
      done.set(index, result)
      settledInputs++
      report()
      tell()
    }
    const settling = settled(work(input, index), index).then(keep).catch(fail)
    underWay.set(index, settling)
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
    report()
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
    if (underWay.size > 0) {
      if (failure === undefined) job.cancel()
      else job.stop(() => failure?.reason)
    }
    await Promise.all(underWay.values())
    if (!exhausted) await leave(source, asking)
  }
}

/** How many there are, of a list or a set. */
function countOf(inputs: object): number | undefined {
  if (Array.isArray(inputs)) return inputs.length
  return inputs instanceof Set ? inputs.size : undefined
}

/** Tells a source that nothing more is asked of it. One that is busy with its next input may never be done with it. */
async function leave(source: AsyncIterator<unknown> | Iterator<unknown>, busy: boolean): Promise<void> {
  const left = Promise.resolve(source.return?.())
  if (busy) left.catch(() => undefined)
  else await left
}

async function settled<Value>(work: Promise<Value>, index: number): Promise<InputResult<Value>> {
  try {
    return { index, value: await work }
  } catch (error) {
    if (error instanceof LlavaError && !ends.has(error.code)) return { index, error }
    throw error
  }
}

/** What comes of a list of inputs, in their order; the first failure stops the others and is thrown. */
export async function allInputs<Input, Value>(
  inputs: readonly Input[],
  work: (input: Input, index: number) => Promise<Value>,
  job: Pick<Job, 'onStop' | 'cancel' | 'stop'>,
): Promise<Value[]> {
  const values: Value[] = []
  for await (const { value, error } of eachInput(inputs, work, true, job)) {
    if (error !== undefined) {
      job.stop(() => error)
      throw error
    }
    values.push(value)
  }
  return values
}

/** Results whose values go by `name`. */
export async function* named<Name extends string, Value>(
  name: Name,
  results: AsyncGenerator<InputResult<Value>, void, undefined>,
): AsyncGenerator<NamedResult<Name, Value>, void, undefined> {
  for await (const { index, value, error } of results)
    yield (error === undefined ? { index, [name]: value } : { index, error }) as NamedResult<Name, Value>
}
