// What tools/fuzz.mjs runs beside its targets, on the sanitized addon: `node random-arguments.js CALLS SEED`. Calls of the native boundary with arguments
// that are right but for one or two places, where something else stands: a number of another size, a value of another kind, a handle that is disposed of.
// Each call gives a result or an error with a code, never INTERNAL, and every `settleEvery` calls all promises are awaited. Prints how many ended how.

import { native, type Dtype, type NativeImageFeatures, type NativePicture, type NativeSequence } from '../../lib/native.js'
import { GoldenModel, plainOptions, randomNumbers } from './golden-models.js'

const [calls = 20_000, seed = 1] = process.argv.slice(2).map(Number)
const next = randomNumbers(seed)
const below = (n: number): number => Math.floor(next() * n)
const one = <T>(list: readonly T[]): T => list[below(list.length)] as T
const settleEvery = 200

const golden = await GoldenModel.open('hf-f32')
const pair = await GoldenModel.open('gguf-pair-q4_0')
const conversion = await native().openConversion(pair.description.files, pair.description.tensors, 1)
const [foreign] = await pair.encode(pair.pixels(1))

const sequences: NativeSequence[] = []
const images: NativeImageFeatures[] = []
const pictures: NativePicture[] = []

/** Keeps so many handles of a kind; the one that goes is disposed of, and sometimes kept all the same. */
function keep<T extends { dispose(): void }>(list: T[], made: T): void {
  list.push(made)
  if (list.length > 6) list.splice(below(6), 1)[0]!.dispose()
  if (next() < 0.02) one(list).dispose()
}

const sizes = [-(2 ** 53), -1, 0, 1, 2, 3, 31, 63, 64, 65, 255, 4096, 2 ** 20, 2 ** 20 + 1, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 40, 2 ** 52, 2 ** 53, 0.5, NaN, Infinity]

/** Something that does not belong there, or belongs somewhere else. */
function odd(): unknown {
  if (next() < 0.6) return one(sizes)
  const detached = new Float32Array(8)
  structuredClone(detached, { transfer: [detached.buffer] })
  return one<unknown>([undefined, null, '', 'text', true, 7n, {}, [], [[]], () => 1, Symbol('s'), new Int32Array(0), new Int32Array(3), new Float32Array(3), detached])
}

/** Handles are taken as they are. */
const isPlain = (value: unknown): value is Record<string, unknown> | unknown[] =>
  Array.isArray(value) || (typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype)

/** The same with an odd value in a random place. */
function spoiled(value: unknown): unknown {
  if (!isPlain(value) || Object.keys(value).length === 0 || next() < 0.1) return odd()
  const key = one(Object.keys(value))
  const copy = Array.isArray(value) ? [...value] : { ...value }
  Object.assign(copy, { [key]: spoiled((value as Record<string, unknown>)[key]) })
  return copy
}

function cancellation() {
  if (next() < 0.8) return null
  const flag = new (native().Cancellation)()
  if (next() < 0.5) flag.cancel()
  return flag
}

const segment = () => {
  if (next() < 0.6 || images.length === 0) return golden.tokens(below(100), below(next() < 0.1 ? 80 : 5))
  const image = next() < 0.05 ? foreign! : one(images)
  return { image, start: below(4), count: 1 + below(12) }
}

const dtypes: readonly Dtype[] = ['F32', 'F16', 'BF16', 'Q8_0', 'Q4_0', 'Q4_K', 'Q6_K']

const axis = (size: number, side: number) => {
  const canvas = size + below(10)
  const resized = 1 + below(2 * side)
  const count = Math.min(resized, side)
  return { canvas, start: below(canvas - size + 1), resized, from: below(resized - count + 1), count, margin: below(side - count + 1) }
}

/** A call of each kind: its function, its right arguments, and what is done with its result. */
const kinds: readonly (() => readonly [call: (...args: never[]) => unknown, args: unknown[], keeps?: (result: never) => void])[] = [
  () => [() => golden.model.createSequence(), [], (made: NativeSequence) => { keep(sequences, made) }],
  () => [() => one(sequences).fork(), [], (made: NativeSequence) => { keep(sequences, made) }],
  () => [(length: number) => { one(sequences).truncate(length) }, [below(5)]],
  () => [
    (...args: Parameters<typeof golden.model.forward>) => golden.model.forward(...args),
    (() => {
      const { vocabSize, hiddenSize, layers, heads } = golden.config.text
      const steps = Array.from({ length: 1 + below(3) }, () => ({
        sequence: one(sequences),
        segments: Array.from({ length: 1 + below(3) }, segment),
        logits: one(['none', 'last', 'all'] as const),
        form: one(['whole', 'whole', 'candidates', 'both'] as const),
        attention: next() < 0.8 ? undefined : new Float32Array(layers * heads * below(9)),
        cancellation: cancellation(),
      }))
      const rowsOf = (forms: readonly string[]) =>
        steps.reduce((sum, { segments, logits, form }) => {
          const all = segments.reduce((length, each) => length + ('tokens' in each ? each.tokens.length : each.count), 0)
          return sum + (!forms.includes(form) || logits === 'none' ? 0 : logits === 'all' ? all : 1)
        }, 0)
      const hidden = next() < 0.5 ? null : new Float32Array(rowsOf(['whole', 'candidates', 'both']) * hiddenSize)
      const [count, columns] = [1 + below(9), vocabSize - below(9)]
      const ranked = rowsOf(['candidates', 'both'])
      const candidates = { count, columns, ids: new Int32Array(ranked * count), logits: new Float32Array(ranked * count), logSumExp: next() < 0.5 ? null : new Float64Array(ranked) }
      return [steps, new Float32Array(rowsOf(['whole', 'both']) * vocabSize), hidden, candidates]
    })(),
  ],
  () => [
    (...args: Parameters<typeof golden.model.encodeImages>) => golden.model.encodeImages(...args),
    [golden.pixels(below(9), 1), 1, next() < 0.8 ? ['projected'] : ['image_features', 'pooled_features'], cancellation()],
    ({ images: made }: { images: NativeImageFeatures[] }) => { for (const image of made) keep(images, image) },
  ],
  () => [(kind: 'projected') => one(images).read(kind), [one(['projected', 'projected_mean', 'image_features'])]],
  () => [
    (...args: Parameters<typeof conversion.convert>) => conversion.convert(...args),
    [{ tensor: below(pair.description.tensors.length), dtype: one(dtypes), interleavedHeads: below(3), first: below(3), count: 1 + below(4) }, new Uint8Array(one([32, 64, 36, 144, 256])), cancellation()],
  ],
  () => [(tensor: number) => conversion.check(tensor, null), [below(pair.description.tensors.length)]],
  () => [(width: number, height: number) => new (native().Picture)(width, height), [1 + below(40), 1 + below(40)], (made: NativePicture) => { keep(pictures, made) }],
  () => [(bytes: Uint8Array) => { one(pictures).write(bytes) }, [new Uint8Array(3 * (1 + below(800)))]],
  () => {
    const side = 1 + below(20)
    return [
      (request: Parameters<NativePicture['pixelValues']>[0]) => one(pictures).pixelValues(request, cancellation()),
      [{ across: axis(20, side), down: axis(20, side), side, fill: [1, 2, 3], values: new Float32Array(768) }],
    ]
  },
  () => [
    async (...args: Parameters<ReturnType<typeof native>['openModel']>) => {
      ;(await native().openModel(...args)).dispose()
    },
    [golden.description.files, golden.description.tensors, golden.config, { ...plainOptions, kvCache: one(['f16', 'f32', 'q8_0']) }],
  ],
]

const ended: Record<string, number> = {}
function end(how: string): void {
  ended[how] = (ended[how] ?? 0) + 1
}

function failed(name: string, error: unknown): void {
  const code = (error as { readonly code?: unknown } | null)?.code
  if (typeof code === 'string' && code !== 'INTERNAL') end(code)
  else throw new Error(`a call of ${name} threw ${String(error)}`, { cause: error })
}

let running: Promise<void>[] = []
keep(sequences, golden.model.createSequence())
images.push(...(await golden.encode(golden.pixels(1))))
keep(pictures, new (native().Picture)(20, 20))
for (let n = 0; n < calls; n++) {
  const which = next() < 0.02 ? kinds.length - 1 : below(kinds.length - 1) // opening takes long
  const [call, args, keeps] = kinds[which]!()
  const given = next() < 0.5 ? args : (spoiled(args) as never[])
  try {
    const result = call(...((Array.isArray(given) ? given : [given]) as never[]))
    running.push(
      Promise.resolve(result).then(
        (value) => {
          end('done')
          keeps?.(value as never)
        },
        (error: unknown) => {
          failed(String(call), error)
        },
      ),
    )
  } catch (error) {
    failed(String(call), error)
  }
  if (n % settleEvery !== 0) continue
  await Promise.all(running)
  running = []
}
await Promise.all(running)
process.stdout.write(JSON.stringify(ended))
