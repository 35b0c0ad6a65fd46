// Whatever JavaScript passes to the native calls, the answer is a result or an Error with a code: never a crash, a hang or foreign memory.

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { LLaVA } from '../../lib/index.js'
import { native, type ModelConfig, type NativeCancellation, type NativeCandidates, type NativeImageFeatures, type NativeSegment, type NativeStep, type TensorEntry } from '../../lib/native.js'
import { plainCandidates } from '../sampling/plain-candidates.js'
import { goldenCase } from '../tiny-model.js'
import { runChild, wellEnded } from './child.js'
import { difference, GoldenModel, openDescribed, plainOptions, rowCount } from './golden-models.js'

type Kind = 'array' | 'object' | 'string' | 'whole number' | 'number' | 'boolean' | 'Float32Array' | 'Float64Array' | 'Int32Array' | 'handle'

/** One of every kind of value, and which kinds it is good for. */
const values: readonly (readonly [unknown, ...Kind[]])[] = [
  [undefined],
  [null],
  [true, 'boolean'],
  [1.5, 'number'],
  [NaN, 'number'],
  [Infinity, 'number'],
  [2 ** 53 + 2, 'number'],
  ['', 'string'],
  ['text', 'string'],
  [Symbol('s')],
  [7n],
  [() => 0],
  [{}],
  [[], 'array'],
  [new Proxy([], {})],
  [new Date(0)],
  [new Float64Array(3), 'Float64Array'],
  [new Uint8Array(3)],
  [new DataView(new ArrayBuffer(8))],
  [new ArrayBuffer(8)],
  [new Float32Array(3), 'Float32Array'],
  [new Int32Array(3), 'Int32Array'],
]

/** `structure` with the value at `where` ("0.tensors.1") replaced; the rest is shared. */
function replaced(structure: unknown, where: string, value: unknown): unknown {
  const [key, ...rest] = where.split('.') as [string, ...string[]]
  const inner = rest.length === 0 ? value : replaced((structure as Record<string, unknown>)[key], rest.join('.'), value)
  return Array.isArray(structure) ? structure.map((item: unknown, i) => (String(i) === key ? inner : item)) : { ...(structure as object), [key]: inner }
}

/** `work` as an async function: what it throws rejects. */
function trying(work: () => unknown): () => Promise<unknown> {
  return async () => await work()
}

interface Call {
  readonly args: readonly unknown[]
  readonly call: (args: readonly unknown[]) => unknown
}

const clipText = { hiddenSize: 32, intermediateSize: 64, layers: 1, heads: 4, vocabSize: 10, contextLength: 8, layerNormEps: 1e-5, activation: 'gelu' }

/** Each native call with arguments that are right. */
const calls: Readonly<Record<string, (golden: GoldenModel) => Promise<Call>>> = {
  openModel: ({ description: { files, tensors, config } }) =>
    Promise.resolve({ args: [files, tensors.slice(0, 1), config, plainOptions], call: (args) => (native().openModel as (...args: readonly unknown[]) => unknown)(...args) }),
  openClip: ({ description: { files, tensors, config } }) =>
    Promise.resolve({
      args: [files, tensors.slice(0, 1), { vision: config.vision, text: clipText, projectionDim: 16 }, plainOptions],
      call: (args) => (native().openClip as (...args: readonly unknown[]) => unknown)(...args),
    }),
  encodeImages: (golden) =>
    Promise.resolve({
      args: [golden.pixels(1), 1, ['projected'], new (native().Cancellation)()],
      call: (args) => (golden.model.encodeImages as (...args: readonly unknown[]) => unknown).apply(golden.model, args as []),
    }),
  forward: async (golden) => {
    const [image] = await golden.encode(golden.pixels(1))
    const segments = [golden.tokens(1, 3), { image, start: 0, count: 2 }]
    const { vocabSize, hiddenSize, layers, heads } = golden.config.text
    const attention = new Float32Array(layers * heads * 5)
    const step = { sequence: golden.model.createSequence(), segments, logits: 'last', form: 'both', attention, cancellation: new (native().Cancellation)() }
    const candidates = { count: 2, columns: vocabSize, ids: new Int32Array(2), logits: new Float32Array(2), logSumExp: new Float64Array(1) }
    return {
      args: [[step], new Float32Array(vocabSize), new Float32Array(hiddenSize), candidates],
      call: (args) => (golden.model.forward as (...args: readonly unknown[]) => unknown).apply(golden.model, args as []),
    }
  },
  truncate: (golden) => {
    const sequence = golden.model.createSequence()
    return Promise.resolve({ args: [0], call: ([length]) => { sequence.truncate(length as number) } })
  },
  read: async (golden) => {
    const [image] = await golden.encode(golden.pixels(1))
    return { args: ['projected'], call: ([kind]) => image!.read(kind as 'projected') }
  },
  measurePeak: (golden) => Promise.resolve({ args: ['fma'], call: ([kind]) => golden.model.measurePeak(kind as 'fma') }),
}

const visionFields = {
  hiddenSize: 'whole number',
  intermediateSize: 'whole number',
  layers: 'whole number',
  heads: 'whole number',
  imageSize: 'whole number',
  patchSize: 'whole number',
  layerNormEps: 'number',
  activation: 'string',
  dropClassRow: 'boolean',
} as const

const openFields = {
  '0': 'array',
  '0.0': 'string',
  '1': 'array',
  '1.0': 'object',
  '1.0.name': 'string',
  '1.0.dtype': 'string',
  '1.0.shape': 'array',
  '1.0.shape.0': 'whole number',
  '1.0.file': 'whole number',
  '1.0.offset': 'whole number',
  '1.0.nbytes': 'whole number',
  '2': 'object',
  '2.text': 'object',
  '3': 'object',
  '3.device': 'string',
  '3.threads': 'whole number',
  '3.isa': 'string',
  '3.kvCache': 'string',
  '3.arithmetic': 'string',
  '3.weights': 'string',
  ...(Object.fromEntries(Object.entries(visionFields).map(([field, kind]) => [`2.vision.${field}`, kind])) as Readonly<Record<string, Kind>>),
} as const satisfies Readonly<Record<string, Kind>>

/** Every argument and every field of one: what it must be, and which values stand for leaving it out. */
const table: Readonly<Record<string, Readonly<Record<string, Kind | readonly [Kind, ...unknown[]]>>>> = {
  openModel: {
    ...openFields,
    ...Object.fromEntries(
      ['hiddenSize', 'intermediateSize', 'layers', 'heads', 'kvHeads', 'headDim', 'vocabSize', 'contextLength'].map((field) => [`2.text.${field}`, 'whole number' as const]),
    ),
    '2.text.rmsNormEps': 'number',
    '2.text.ropeLayout': 'string',
    '2.text.ropeInvFreq': 'Float32Array',
    '2.text.slidingWindow': ['whole number', undefined],
    '2.vision': ['object', undefined],
    '2.vision.projectorLayers': ['whole number', undefined],
  },
  openClip: {
    ...openFields,
    ...Object.fromEntries(['hiddenSize', 'intermediateSize', 'layers', 'heads', 'vocabSize', 'contextLength'].map((field) => [`2.text.${field}`, 'whole number' as const])),
    '2.text.layerNormEps': 'number',
    '2.text.activation': 'string',
    '2.vision': 'object',
    '2.projectionDim': 'whole number',
  },
  encodeImages: { '0': 'Float32Array', '1': 'whole number', '2': 'array', '2.0': 'string', '3': ['handle', null, undefined] },
  forward: {
    '0': 'array',
    '0.0': 'object',
    '0.0.sequence': 'handle',
    '0.0.segments': 'array',
    '0.0.segments.0': 'object',
    '0.0.segments.0.tokens': 'Int32Array',
    '0.0.segments.1.image': 'handle',
    '0.0.segments.1.start': 'whole number',
    '0.0.segments.1.count': 'whole number',
    '0.0.logits': 'string',
    '0.0.cancellation': ['handle', null, undefined],
    '0.0.form': ['string', undefined],
    '1': ['Float32Array', null, undefined],
    '2': ['Float32Array', null, undefined],
    '3': 'object',
    '3.count': 'whole number',
    '3.columns': 'whole number',
    '3.ids': 'Int32Array',
    '3.logits': 'Float32Array',
    '3.logSumExp': ['Float64Array', null, undefined],
  },
  truncate: { '0': 'whole number' },
  read: { '0': 'string' },
  measurePeak: { '0': 'string' },
}

for (const [name, fields] of Object.entries(table)) {
  test(`${name} refuses every argument of a wrong type with INVALID_ARGUMENT`, async (t) => {
    using golden = await GoldenModel.open('hf-f32')
    const { args, call } = await calls[name]!(golden)
    for (const [where, spec] of Object.entries(fields)) {
      const [kind, ...absent] = (typeof spec === 'string' ? [spec] : spec) as [Kind, ...unknown[]]
      for (const [value, ...kinds] of values) {
        if (kinds.includes(kind) || absent.includes(value)) continue
        await t.throwsAsync(trying(() => call(replaced(args, where, value) as readonly unknown[])), { code: 'INVALID_ARGUMENT' }, `argument ${where}: ${typeof value} ${Object.prototype.toString.call(value)}`)
      }
    }
  })

  test(`${name} refuses to be called without arguments`, async (t) => {
    using golden = await GoldenModel.open('hf-f32')
    const { call } = await calls[name]!(golden)
    await t.throwsAsync(trying(() => call([])), { code: 'INVALID_ARGUMENT' })
  })
}

/** Fields that take one of a few words. */
const words: Readonly<Record<string, readonly (readonly [where: string, message: RegExp])[]>> = {
  openModel: [
    ['2.text.ropeLayout', /`text\.ropeLayout` to be one of half, interleaved, got other/],
    ['2.vision.activation', /`activation` to be one of quick_gelu, gelu, gelu_pytorch_tanh, got other/],
    ['2.vision.tower', /`vision\.tower` to be one of clip, siglip, got other/],
    ['3.kvCache', /`kvCache` to be one of f16, f32, q8_0, got other/],
    ['3.arithmetic', /`arithmetic` to be one of fast, exact, got other/],
    ['3.weights', /`weights` to be one of mapped, copied, got other/],
  ],
  openClip: [['2.text.activation', /`activation` to be one of/]],
  forward: [
    ['0.0.logits', /`logits` to be one of none, last, all, got other/],
    ['0.0.form', /`form` to be one of whole, candidates, both, got other/],
  ],
  read: [['0', /`kind` to be one of image_features, pooled_features, projected, projected_mean, got other/]],
  measurePeak: [['0', /`kind` to be one of fma, bf16, int8, read, update, got other/]],
}

for (const [name, fields] of Object.entries(words)) {
  test(`${name} refuses words that it does not know, and names those it does`, async (t) => {
    using golden = await GoldenModel.open('hf-f32')
    const { args, call } = await calls[name]!(golden)
    for (const [where, message] of fields) {
      await t.throwsAsync(trying(() => call(replaced(args, where, 'other') as readonly unknown[])), { code: 'INVALID_ARGUMENT', message }, where)
    }
  })
}

test('the arguments that the tables of wrong ones start from are right', async (t) => {
  using golden = await GoldenModel.open('hf-f32')
  for (const name of ['encodeImages', 'forward', 'truncate', 'read', 'measurePeak']) {
    const { args, call } = await calls[name]!(golden)
    await t.notThrowsAsync(trying(() => call(args)), name)
  }
  // only one tensor was listed
  for (const name of ['openModel', 'openClip']) {
    const { args, call } = await calls[name]!(golden)
    await t.throwsAsync(trying(() => call(args)), { code: 'MODEL_CORRUPT', message: /is missing$/ })
  }
})

test('every kind of handle is refused in the place of another', async (t) => {
  using golden = await GoldenModel.open('hf-f32')
  const { model } = golden
  const [image] = await golden.encode(golden.pixels(1))
  const handles = { model, sequence: model.createSequence(), image: image!, cancellation: new (native().Cancellation)() }
  const { args, call } = await calls['forward']!(golden)
  for (const [where, own] of [['0.0.sequence', 'sequence'], ['0.0.segments.1.image', 'image'], ['2', 'cancellation']] as const) {
    for (const [name, handle] of Object.entries(handles)) {
      if (name !== own) await t.throwsAsync(trying(() => call(replaced(args, where, handle) as readonly unknown[])), { code: 'INVALID_ARGUMENT' }, `${name} as ${own}`)
      await t.throwsAsync(trying(() => call(replaced(args, where, Object.create(handle)) as readonly unknown[])), { code: 'INVALID_ARGUMENT' }, `heir of ${name} as ${own}`)
    }
  }
  await t.throwsAsync(async () => model.encodeImages(golden.pixels(1), 1, ['projected'], handles.sequence as unknown as NativeCancellation), { code: 'INVALID_ARGUMENT' })
})

test('methods refuse to run on anything but their own handles', async (t) => {
  using golden = await GoldenModel.open('hf-f32')
  const { model } = golden
  const sequence = model.createSequence()
  const [image] = await golden.encode(golden.pixels(1))
  const receivers = [model, sequence, image!, new (native().Cancellation)()]
  for (const owner of receivers) {
    const prototype = Object.getPrototypeOf(owner) as object
    const methods = Object.entries(Object.getOwnPropertyDescriptors(prototype)).filter(([key, { value }]) => key !== 'constructor' && typeof value === 'function')
    t.true(methods.length > 0)
    for (const [key, { value }] of methods) {
      for (const receiver of [...receivers, {}, undefined, Object.create(owner)]) {
        if (receiver !== owner) t.throws(() => (value as () => unknown).call(receiver), { any: true }, key)
      }
    }
  }
  t.is(sequence.length, 0)
  t.is(image!.rows, 16)
})

test('constructors that JavaScript can reach make nothing that could be used', async (t) => {
  using golden = await GoldenModel.open('hf-f32')
  const sequence = golden.model.createSequence()
  const [image] = await golden.encode(golden.pixels(1))
  const made = (of: object) => new ((of as { readonly constructor: new (...args: unknown[]) => never }).constructor)({})
  t.throws(() => made(golden.model), { code: 'INVALID_ARGUMENT' })
  t.throws(() => (made(sequence) as typeof sequence).length, { code: 'DISPOSED' })
  // an external of somebody else's
  const foreign = createRequire(import.meta.url)(fileURLToPath(new URL('../../../build/testing/llava_testing.node', import.meta.url))) as { readonly foreignExternal: object }
  t.throws(() => new (golden.model.constructor as new (of: object) => unknown)(foreign.foreignExternal), { code: 'INVALID_ARGUMENT' })
  t.throws(() => (made(image!) as NativeImageFeatures).rows, { code: 'DISPOSED' })
  await t.throwsAsync(async () => golden.forwardAll([{ sequence: made(sequence), segments: [golden.tokens(1, 3)] }]), { code: 'DISPOSED' })
})

test('an exception of an argument\'s own getter comes out as it is', async (t) => {
  using golden = await GoldenModel.open('hf-f32')
  const mine = new RangeError('mine')
  const get = () => {
    throw mine
  }
  const step = Object.defineProperty({ sequence: golden.model.createSequence(), segments: [], logits: 'none' }, 'segments', { get }) as unknown as NativeStep
  t.is(await t.throwsAsync(async () => golden.model.forward([step], null)), mine)
  const config = Object.defineProperty({}, 'text', { get }) as ModelConfig
  t.is(await t.throwsAsync(async () => native().openModel([], [], config, plainOptions)), mine)
})

test('a step whose getters dispose of the model is refused', async (t) => {
  const ending = await runChild('the model is disposed of while a step is read')
  t.deepEqual({ ...ending, stdout: '' }, wellEnded(''))
  t.regex(ending.stdout, /^(?:(?:DISPOSED|INVALID_ARGUMENT)\n?){3}$/)
})

test('a step whose getters dispose of its sequence is refused, or computed on what it was', async (t) => {
  const ending = await runChild('the sequence is disposed of while its step is read', ['--expose-gc'])
  t.deepEqual({ ...ending, stdout: '' }, wellEnded(''))
  t.regex(ending.stdout, /^(?:(?:DISPOSED|nothing thrown)\n?){2}$/)
})

test('properties read from foreign handles are refused', async (t) => {
  t.deepEqual(await runChild('properties are read from foreign handles'), wellEnded(Array<string>(8).fill('refused').join('\n')))
})

test('a sequence of another model is refused', async (t) => {
  using golden = await GoldenModel.open('hf-f32')
  using other = await GoldenModel.open('hf-f32')
  const steps = [{ sequence: other.model.createSequence(), segments: [golden.tokens(1, 3)] }]
  await t.throwsAsync(golden.forwardAll(steps), { code: 'INVALID_ARGUMENT', message: /another model/ })
})

test('a picture encoded by another model is refused', async (t) => {
  using golden = await GoldenModel.open('hf-f32')
  using other = await GoldenModel.open('hf-f16')
  const [image] = await other.encode(other.pixels(1))
  await t.throwsAsync(golden.run([{ image: image!, start: 0, count: 3 }]), { code: 'INVALID_ARGUMENT', message: /another model/ })
})

test('rows that a picture does not have are refused', async (t) => {
  using golden = await GoldenModel.open('hf-f32')
  const [image] = await golden.encode(golden.pixels(1))
  const sequence = golden.model.createSequence()
  for (const [start, count] of [[0, 17], [16, 1], [-1, 2], [0, 0], [0, -1], [2 ** 53, 1], [1, 2 ** 53], [0, 2 ** 53], [-(2 ** 53), 2 ** 53]] as const) {
    // so many that a count of their logits would leave 64 bits
    const rows = Array.from({ length: 16 }, () => ({ image: image!, start, count }))
    for (const segments of [[golden.tokens(1, 4), rows[0]!], rows]) {
      const step: NativeStep = { sequence, segments, logits: 'all' }
      await t.throwsAsync(async () => golden.model.forward([step], new Float32Array(1)), { code: 'INVALID_ARGUMENT', message: 'image rows out of range' }, `${start}, ${count}`)
    }
  }
  t.is(sequence.length, 0)
})

test('token ids outside the vocabulary are refused, its first and last work', async (t) => {
  using golden = await GoldenModel.open('gguf-pair-q4_0')
  const { vocabSize } = golden.config.text
  for (const id of [-1, vocabSize, 2 ** 31 - 1, -(2 ** 31)]) {
    await t.throwsAsync(golden.run([{ tokens: Int32Array.of(1, id, 1) }]), { code: 'INVALID_ARGUMENT', message: new RegExp(`${id} is not in`) })
  }
  t.false((await golden.run([{ tokens: Int32Array.of(0, vocabSize - 1, 1) }])).includes(NaN))
})

test('steps without rows are refused, and a batch without steps computes nothing', async (t) => {
  using golden = await GoldenModel.open('hf-f32')
  const sequence = golden.model.createSequence()
  const none: NativeSegment = { tokens: new Int32Array(0) }
  for (const segments of [[], [none], [none, none]]) {
    for (const logits of ['none', 'last', 'all'] as const) {
      const out = logits === 'last' ? new Float32Array(golden.config.text.vocabSize) : null
      await t.throwsAsync(async () => golden.model.forward([{ sequence, segments, logits }], out, null), { code: 'INVALID_ARGUMENT' })
    }
  }
  t.is(difference(await golden.run([none, golden.tokens(1, 5), none]), await golden.run([golden.tokens(1, 5)])), undefined)
  t.true((await golden.model.forward([], null)).computeMs >= 0)
})

test('the same sequence twice in one batch is refused', async (t) => {
  using golden = await GoldenModel.open('hf-f32')
  const sequence = golden.model.createSequence()
  const step = { sequence, segments: [golden.tokens(1, 3)] }
  await t.throwsAsync(golden.forwardAll([step, step]), { code: 'INVALID_ARGUMENT', message: /only once/ })
  t.is(sequence.length, 0)
  await golden.forwardAll([step, { ...step, sequence: sequence.fork() }])
})

test('a sequence that is being written refuses to be looked at, forked or cut', async (t) => {
  using golden = await GoldenModel.open('hf-f32')
  const sequence = golden.model.createSequence()
  const running = golden.append(sequence, [golden.tokens(1, 100)])
  t.throws(() => sequence.length, { code: 'INVALID_ARGUMENT', message: /in use/ })
  t.throws(() => sequence.fork(), { code: 'INVALID_ARGUMENT', message: /in use/ })
  t.throws(() => {
    sequence.truncate(0)
  }, { code: 'INVALID_ARGUMENT', message: /in use/ })
  await running
  t.is(sequence.length, 100)
  for (const length of [-1, 101, 2 ** 53]) {
    t.throws(() => {
      sequence.truncate(length)
    }, { code: 'INVALID_ARGUMENT' })
  }
  t.is(sequence.length, 100)
})

test('calls on one sequence that are made without waiting run in their order', async (t) => {
  using golden = await GoldenModel.open('hf-f32')
  const [a, b] = [golden.tokens(1, 70), golden.tokens(2, 30)]
  const sequence = golden.model.createSequence()
  const [first, second] = await Promise.all([golden.append(sequence, [a]), golden.append(sequence, [b])])
  t.is(difference(Float32Array.of(...first, ...second), await golden.run([a, b], [70, 30])), undefined)
})

test('arrays for the results must have just the size of the results', async (t) => {
  using golden = await GoldenModel.open('hf-f32')
  const { vocabSize, hiddenSize } = golden.config.text
  const sequence = golden.model.createSequence()
  const forward = (kind: NativeStep['logits'], logits: number | null, hidden: number | null) => async () =>
    golden.model.forward(
      [{ sequence, segments: [golden.tokens(1, 3)], logits: kind }],
      logits === null ? null : new Float32Array(logits),
      hidden === null ? null : new Float32Array(hidden),
    )
  for (const [kind, logits, hidden] of [
    ['last', vocabSize - 1, null],
    ['last', vocabSize + 1, null],
    ['last', 3 * vocabSize, null],
    ['last', 0, null],
    ['last', null, null],
    ['all', vocabSize, null],
    ['all', null, null],
    ['last', null, hiddenSize - 1],
    ['last', vocabSize, hiddenSize + 1],
    ['all', 3 * vocabSize, hiddenSize],
  ] as const) {
    await t.throwsAsync(forward(kind, logits, hidden), { code: 'INVALID_ARGUMENT' }, `${kind} ${logits} ${hidden}`)
  }
  t.is(sequence.length, 0)
  await t.notThrowsAsync(forward('all', 3 * vocabSize, 3 * hiddenSize))
  await t.notThrowsAsync(forward('last', null, hiddenSize))
})

test('candidates are the largest of the rows that are asked for as such, best first, whatever form others of the pass have', async (t) => {
  for (const threads of [1, 2]) {
    using golden = await GoldenModel.open('hf-f32', { threads })
    const { vocabSize, hiddenSize } = golden.config.text
    const columns = vocabSize - 3
    const count = 9
    const forms = ['candidates', 'whole', 'both', 'candidates', 'both', undefined] as const
    const steps = forms.map((form, n): NativeStep => ({
      sequence: golden.model.createSequence(),
      segments: [golden.tokens(n, 3)],
      logits: n === 3 || n === 4 ? 'all' : 'last',
      ...(form && { form }),
    }))
    const rows = (of: (step: NativeStep) => boolean) => steps.filter(of).reduce((sum, { logits }) => sum + (logits === 'all' ? 3 : 1), 0)
    const ranked = rows(({ form }) => form === 'candidates' || form === 'both')
    const logits = new Float32Array(rows(({ form }) => form !== 'candidates') * vocabSize).fill(NaN)
    const hidden = new Float32Array(rows(() => true) * hiddenSize).fill(NaN)
    const out = { count, columns, ids: new Int32Array(ranked * count), logits: new Float32Array(ranked * count), logSumExp: new Float64Array(ranked) }
    await golden.model.forward(steps, logits, hidden, out)
    t.false(hidden.some(Number.isNaN))
    let [at, whole] = [0, 0]
    for (const [n, { form, logits: which }] of steps.entries()) {
      const alone = await golden.run([golden.tokens(n, 3)])
      for (const row of which === 'all' ? [0, 1, 2] : [2]) {
        const expected = alone.subarray(row * vocabSize, (row + 1) * vocabSize)
        if (form !== 'candidates') t.is(difference(logits.slice(whole * vocabSize, ++whole * vocabSize), expected), undefined)
        if (form !== 'candidates' && form !== 'both') continue
        const best = plainCandidates(expected, count, columns)
        t.deepEqual(out.ids.slice(at * count, (at + 1) * count), best.ids)
        t.deepEqual(out.logits.slice(at * count, (at + 1) * count), best.logits)
        t.true(Math.abs((out.logSumExp[at] as number) - best.logSumExp) <= 2 ** -45 * Math.abs(best.logSumExp))
        at++
      }
    }
  }
})

test('attention weights are those of the last row of each step that asks for them, whatever others of the pass are asked for', async (t) => {
  for (const name of ['hf-f32', 'hf-mistral-window', 'hf-gqa-llama3-rope']) {
    using golden = await GoldenModel.open(name, { arithmetic: 'exact', threads: 2 })
    const { vocabSize, layers, heads } = golden.config.text
    const past = [0, 70, 3, 20]
    const lengths = [5, 66, 1, 40]
    const run = async (which: readonly number[], cancelled = -1) => {
      const steps: NativeStep[] = []
      for (const n of which) {
        const sequence = golden.model.createSequence()
        if (past[n]! > 0) await golden.append(sequence, [golden.tokens(10 + n, past[n]!)])
        const cancellation = new (native().Cancellation)()
        if (n === cancelled) cancellation.cancel()
        const attention = new Float32Array(layers * heads * (past[n]! + lengths[n]!)).fill(2)
        steps.push({ sequence, segments: [golden.tokens(n, lengths[n]!)], logits: n === 3 ? 'all' : 'last', cancellation, ...(n !== 1 && { attention }) })
      }
      const rows = steps.reduce((sum, { logits }) => sum + (logits === 'all' ? lengths[3]! : 1), 0)
      await golden.model.forward(steps, new Float32Array(rows * vocabSize), null)
      return steps.map(({ attention }) => attention)
    }
    const together = await run([0, 1, 2, 3])
    for (const n of [0, 2, 3]) t.is(difference(together[n]!, (await run([n]))[0]!), undefined, `${name}, step ${n}`)
    t.is(together[1], undefined)
    const cancelled = await run([0, 1, 2, 3], 2)
    t.true(cancelled[2]!.every(Number.isNaN))
    t.is(difference(cancelled[3]!, together[3]!), undefined)
  }
})

test('attention weights are refused where there is no row for them, or another number of positions', async (t) => {
  using golden = await GoldenModel.open('hf-f32')
  const { vocabSize, layers, heads } = golden.config.text
  const sequence = golden.model.createSequence()
  const forward = (length: number, logits: 'none' | 'last') =>
    golden.model.forward([{ sequence, segments: [golden.tokens(1, 3)], logits, attention: new Float32Array(length) }], new Float32Array(vocabSize), null)
  for (const [length, logits] of [[0, 'last'], [1, 'last'], [layers * heads * 2, 'last'], [layers * heads * 4, 'last'], [layers * heads * 3, 'none']] as const)
    await t.throwsAsync(trying(() => forward(length, logits)), { code: 'INVALID_ARGUMENT' }, `${length} ${logits}`)
  t.is(sequence.length, 0)
  await t.notThrowsAsync(forward(layers * heads * 3, 'last'))
})

test('candidates alone need no array for whole rows, and none of the sums that nobody asks for', async (t) => {
  using golden = await GoldenModel.open('hf-f32')
  const { vocabSize } = golden.config.text
  const sequence = golden.model.createSequence()
  const forward = (form: NativeStep['form'], changed: Partial<NativeCandidates> | null) => async () => {
    const candidates = { count: 4, columns: vocabSize, ids: new Int32Array(4), logits: new Float32Array(4), logSumExp: null, ...changed }
    await golden.model.forward([{ sequence, segments: [golden.tokens(1, 3)], logits: 'last', ...(form && { form }) }], null, null, changed && candidates)
  }
  for (const [form, changed] of [
    ['candidates', null],
    ['both', {}],
    ['candidates', { count: 0 }],
    ['candidates', { count: 3 }],
    ['candidates', { count: 5, ids: new Int32Array(5), columns: 4 }],
    ['candidates', { columns: vocabSize + 1 }],
    ['candidates', { ids: new Int32Array(3) }],
    ['candidates', { logits: new Float32Array(5) }],
    ['candidates', { logSumExp: new Float64Array(2) }],
    ['candidates', { count: 2 ** 52, columns: 2 ** 52 }],
  ] as const)
    await t.throwsAsync(forward(form, changed), { code: 'INVALID_ARGUMENT' }, JSON.stringify(changed))
  t.is(sequence.length, 0)
  await t.notThrowsAsync(forward('candidates', {}))
})

test('pixels must be those of just as many pictures as said', async (t) => {
  using golden = await GoldenModel.open('hf-f32')
  const pixels = golden.pixels(1, 2)
  for (const count of [0, -1, 1, 3, 2 ** 53, -(2 ** 53)]) {
    await t.throwsAsync(async () => golden.model.encodeImages(pixels, count, ['projected'], null), { code: 'INVALID_ARGUMENT' }, `${count}`)
  }
  await t.throwsAsync(async () => golden.model.encodeImages(pixels.subarray(1), 2, ['projected'], null), { code: 'INVALID_ARGUMENT' })
  await t.throwsAsync(async () => golden.model.encodeImages(new Float32Array(0), 0, ['projected'], null), { code: 'INVALID_ARGUMENT' })
})

test('a model without a vision tower encodes no pictures and answers in text', async (t) => {
  using golden = await GoldenModel.open('hf-f32')
  const { files, tensors, config } = golden.description
  const model = await openDescribed({ files, tensors, config: { text: config.text } })
  await t.throwsAsync(async () => model.encodeImages(golden.pixels(1), 1, ['projected'], null), { code: 'MODEL_UNSUPPORTED' })
  await t.notThrowsAsync(model.forward([{ sequence: model.createSequence(), segments: [golden.tokens(1, 3)], logits: 'none' }], null))
  model.dispose()
})

test('the tower\'s output is only there when it was asked for', async (t) => {
  using golden = await GoldenModel.open('hf-f32')
  const { images } = await golden.model.encodeImages(golden.pixels(1), 1, ['projected'], null)
  t.throws(() => images[0]!.read('image_features'), { code: 'INVALID_ARGUMENT' })
  t.is(images[0]!.read('projected').length, 16 * golden.config.text.hiddenSize)
})

// ---- memory of the caller ----------------------------------------------------------------------------------------------------

function detach(array: Float32Array | Int32Array): void {
  structuredClone(array.buffer, { transfer: [array.buffer as ArrayBuffer] })
}

interface ResizableBuffer extends ArrayBuffer {
  resize(length: number): void
}

function resizable(length: number, most: number): ResizableBuffer {
  return new (ArrayBuffer as unknown as new (length: number, options: { readonly maxByteLength: number }) => ResizableBuffer)(length, { maxByteLength: most })
}

/** The calls' typed arrays, each by its place. */
const arrays = [
  ['encodeImages', '0'],
  ['forward', '0.0.segments.0.tokens'],
  ['forward', '1'],
  ['forward', '2'],
  ['forward', '3.ids'],
  ['forward', '3.logits'],
  ['forward', '3.logSumExp'],
  ['openModel', '2.text.ropeInvFreq'],
] as const

for (const [name, where] of arrays) {
  const arrayIn = (args: unknown) => where.split('.').reduce((value, key) => (value as Record<string, unknown>)[key], args) as Float32Array | Int32Array

  test(`${name} refuses a detached array as argument ${where}`, async (t) => {
    using golden = await GoldenModel.open('hf-f32')
    const { args, call } = await calls[name]!(golden)
    const array = arrayIn(args).slice()
    detach(array)
    await t.throwsAsync(trying(() => call(replaced(args, where, array) as readonly unknown[])), { code: 'INVALID_ARGUMENT' })
  })

  test(`${name} refuses shared memory as argument ${where}`, async (t) => {
    using golden = await GoldenModel.open('hf-f32')
    const { args, call } = await calls[name]!(golden)
    const array = arrayIn(args)
    const shared = new (array.constructor as Float32ArrayConstructor)(new SharedArrayBuffer(array.byteLength))
    shared.set(array)
    await t.throwsAsync(trying(() => call(replaced(args, where, shared) as readonly unknown[])), { code: 'INVALID_ARGUMENT', message: /shared memory/ })
  })

  test(`${name} takes a resizable buffer's array as argument ${where}, and refuses it when the buffer was cut short`, async (t) => {
    using golden = await GoldenModel.open('hf-f32')
    const { args, call } = await calls[name]!(golden)
    const array = arrayIn(args)
    const buffer = resizable(array.byteLength, 2 * array.byteLength)
    const same = new (array.constructor as Float32ArrayConstructor)(buffer, 0, array.length)
    same.set(array)
    const withSame = replaced(args, where, same) as readonly unknown[]
    // the one listed tensor is not a model: with good frequencies that is what openModel finds
    if (name === 'openModel') await t.throwsAsync(trying(() => call(withSame)), { message: /is missing$/ })
    else await t.notThrowsAsync(trying(() => call(withSame)))
    buffer.resize(4)
    // such an array is empty: no picture, no step, no results, no frequencies
    const cut = where.endsWith('tokens') ? replaced(withSame, '0.0.segments', [{ tokens: same }]) : withSame
    await t.throwsAsync(trying(() => call(cut as readonly unknown[])), { code: name === 'openModel' ? 'MODEL_CORRUPT' : 'INVALID_ARGUMENT' })
  })
}

test('arrays that come as a part of a larger buffer are read and written in that part only', async (t) => {
  using golden = await GoldenModel.open('hf-f32')
  const { vocabSize } = golden.config.text
  const ids = (golden.tokens(1, 9) as { readonly tokens: Int32Array }).tokens
  const tokens = new Int32Array(20).fill(-1)
  tokens.set(ids, 6)
  const logits = new Float32Array(9 * vocabSize + 8).fill(7)
  const step: NativeStep = { sequence: golden.model.createSequence(), segments: [{ tokens: tokens.subarray(6, 15) }], logits: 'all' }
  await golden.model.forward([step], logits.subarray(4, -4), null)
  t.is(difference(logits.slice(4, -4), await golden.run([{ tokens: ids }])), undefined)
  t.deepEqual([...logits.slice(0, 4), ...logits.slice(-4)], Array<number>(8).fill(7))
})

test('what becomes of the inputs after the call changes nothing', async (t) => {
  using golden = await GoldenModel.open('hf-f32')
  const { vocabSize } = golden.config.text
  const [pixels, text] = [golden.pixels(1), golden.tokens(1, 50)]
  const [expectedImage] = await golden.encode(pixels)
  const expected = await golden.run([text])
  const ids = (text as { readonly tokens: Int32Array }).tokens
  const logits = new Float32Array(50 * vocabSize)
  const [a, b] = [pixels.slice(), ids.slice()]
  const encoding = golden.model.encodeImages(a, 1, ['projected'], null)
  const running = golden.model.forward([{ sequence: golden.model.createSequence(), segments: [{ tokens: b }], logits: 'all' }], logits, null)
  a.fill(NaN)
  b.fill(-1)
  detach(a)
  detach(b)
  t.is(difference((await encoding).images[0]!.read('projected'), expectedImage!.read('projected')), undefined)
  await running
  t.is(difference(logits, expected), undefined)
})

test('token ids in a detached array are refused by the façade, in words', async (t) => {
  using model = await LLaVA.open(goldenCase('hf-f32').model)
  const ids = Int32Array.of(1, 2, 3)
  detach(ids)
  await t.throwsAsync(model.forward([ids]), { code: 'INVALID_ARGUMENT', message: /`prompt\[0\]`.*still there/ })
  await t.throwsAsync(model.forward(['text', ids]), { code: 'INVALID_ARGUMENT', message: /`prompt\[1\]`/ })
  t.throws(() => model.detokenize(ids), { code: 'INVALID_ARGUMENT' })
  t.is(model.detokenize(new Int32Array(0)), '')
})

for (const which of ['logits', 'hidden'] as const) {
  test(`an array for ${which} that is transferred away while it is computed fails the call and nothing else`, async (t) => {
    using golden = await GoldenModel.open('hf-f32')
    const { vocabSize, hiddenSize } = golden.config.text
    const sequence = golden.model.createSequence()
    const text = golden.tokens(1, 80)
    const results = { logits: new Float32Array(80 * vocabSize), hidden: new Float32Array(80 * hiddenSize) }
    const running = golden.model.forward([{ sequence, segments: [text], logits: 'all' }], results.logits, results.hidden)
    detach(results[which])
    await t.throwsAsync(running, { code: 'INVALID_ARGUMENT', message: /detached or resized/ })
    // the text had been computed by then
    sequence.truncate(0)
    t.is(difference(await golden.append(sequence, [text]), await golden.run([text])), undefined)
  })

  test(`an array for ${which} whose buffer shrinks while it is computed fails the call and nothing else`, async (t) => {
    using golden = await GoldenModel.open('hf-f32')
    const { vocabSize, hiddenSize } = golden.config.text
    const sizes = { logits: vocabSize, hidden: hiddenSize }
    const buffers = { logits: resizable(4 * vocabSize, 4 * vocabSize), hidden: resizable(4 * hiddenSize, 4 * hiddenSize) }
    const array = (name: 'logits' | 'hidden') => new Float32Array(buffers[name], 0, sizes[name])
    const step: NativeStep = { sequence: golden.model.createSequence(), segments: [golden.tokens(1, 80)], logits: 'last' }
    const running = golden.model.forward([step], array('logits'), array('hidden'))
    buffers[which].resize(8)
    await t.throwsAsync(running, { code: 'INVALID_ARGUMENT', message: /detached or resized/ })
  })
}

// ---- dispose -----------------------------------------------------------------------------------------------------------------

test('every call on a model that was disposed of fails with DISPOSED, and disposing again does nothing', async (t) => {
  const golden = await GoldenModel.open('hf-f32')
  const { model } = golden
  const sequence = model.createSequence()
  await golden.append(sequence, [golden.tokens(1, 5)])
  model.dispose()
  model.dispose()
  for (const call of [
    () => model.encodeImages(golden.pixels(1), 1, ['projected'], null),
    () => model.createSequence(),
    () => model.forward([{ sequence, segments: [golden.tokens(1, 3)], logits: 'none' }], null),
    () => model.info(),
    () => model.measurePeak('fma'),
  ]) {
    await t.throwsAsync(trying(() => call()), { code: 'DISPOSED' }, String(call))
  }
  t.is(sequence.length, 5)
  sequence.fork().dispose()
  sequence.dispose()
})

test('a sequence that was disposed of is refused everywhere, and disposing again does nothing', async (t) => {
  using golden = await GoldenModel.open('hf-f32')
  const sequence = golden.model.createSequence()
  sequence.dispose()
  sequence.dispose()
  t.throws(() => sequence.length, { code: 'DISPOSED' })
  t.throws(() => sequence.fork(), { code: 'DISPOSED' })
  t.throws(() => {
    sequence.truncate(0)
  }, { code: 'DISPOSED' })
  await t.throwsAsync(async () => golden.forwardAll([{ sequence, segments: [golden.tokens(1, 3)] }]), { code: 'DISPOSED' })
})

test('a picture that was disposed of is refused everywhere, and disposing again does nothing', async (t) => {
  using golden = await GoldenModel.open('hf-f32')
  const [image] = await golden.encode(golden.pixels(1))
  image!.dispose()
  image!.dispose()
  t.throws(() => image!.rows, { code: 'DISPOSED' })
  t.throws(() => image!.read('projected'), { code: 'DISPOSED' })
  await t.throwsAsync(async () => golden.run([{ image: image!, start: 0, count: 1 }]), { code: 'DISPOSED' })
})

test('a picture outlives the model that encoded it', async (t) => {
  const golden = await GoldenModel.open('hf-f32')
  const [image] = await golden.encode(golden.pixels(1))
  const before = image!.read('projected')
  golden.model.dispose()
  t.is(difference(image!.read('projected'), before), undefined)
})

test('a sequence that is disposed of while it is written still gets its logits, and its memory is given back', async (t) => {
  using golden = await GoldenModel.open('hf-f32')
  const text = golden.tokens(1, 100)
  const sequence = golden.model.createSequence()
  const running = golden.append(sequence, [text])
  sequence.dispose()
  t.is(difference(await running, await golden.run([text])), undefined)
  t.is(golden.model.info().memory.kvCache, 0)
})

// Alone: a test beside it that kept the main thread busy would let the large call come to its end first.
test.serial('disposing of a model ends what runs with ABORTED and what waits with DISPOSED, and everything settles', async (t) => {
  const golden = await GoldenModel.open('hf-f32', { threads: 2 })
  const { model } = golden
  const text = golden.tokens(1, golden.config.text.contextLength)
  const sequences = Array.from({ length: 400 }, () => model.createSequence())
  const large = () => model.forward(sequences.map((sequence) => ({ sequence, segments: [text], logits: 'none' as const })), null)
  const work = [large(), large(), model.encodeImages(golden.pixels(1), 1, ['projected'], null), model.measurePeak('fma')]
  // The first large one runs as soon as it has pages, which it takes before it computes.
  while (model.info().memory.kvCache === 0) await new Promise((resolve) => setImmediate(resolve))
  model.dispose()
  const codes = (await Promise.allSettled(work)).map((result) => (result.status === 'rejected' ? (result.reason as { readonly code: string }).code : 'done'))
  t.deepEqual(codes, ['ABORTED', 'DISPOSED', 'DISPOSED', 'DISPOSED'])
  t.true(sequences.every(({ length }) => length === 0))
})

test('a cancellation that was set before the call, or twice, keeps it from computing, and only that call', async (t) => {
  using golden = await GoldenModel.open('hf-f32')
  const sequence = golden.model.createSequence()
  const cancellation = new (native().Cancellation)()
  cancellation.cancel()
  cancellation.cancel()
  const steps: NativeStep[] = [{ sequence, segments: [golden.tokens(1, 3)], logits: 'none' }]
  const cancelled = steps.map((step) => ({ ...step, cancellation }))
  await t.throwsAsync(golden.model.forward(cancelled, null), { code: 'ABORTED' })
  await t.throwsAsync(golden.model.encodeImages(golden.pixels(1), 1, ['projected'], cancellation), { code: 'ABORTED' })
  t.is(sequence.length, 0)
  await golden.model.forward(steps, null)
  t.is(sequence.length, 3)
})

test('a step is cancelled by its own flag, and the others of its pass come through as they would alone', async (t) => {
  using golden = await GoldenModel.open('hf-f32', { arithmetic: 'exact' })
  const { vocabSize, hiddenSize } = golden.config.text
  const texts = [golden.tokens(1, 90), golden.tokens(2, 5), golden.tokens(3, 70)]
  const alone = await Promise.all(texts.map((text) => golden.run([text])))
  const cancellation = new (native().Cancellation)()
  cancellation.cancel()
  const steps = texts.map((text, n): NativeStep => ({ sequence: golden.model.createSequence(), segments: [text], logits: 'last', cancellation: n === 1 ? cancellation : null }))
  const logits = new Float32Array(3 * vocabSize)
  const hidden = new Float32Array(3 * hiddenSize)
  const candidates = { count: 2, columns: vocabSize, ids: new Int32Array(6), logits: new Float32Array(6), logSumExp: new Float64Array(3) }
  const { failures } = await golden.model.forward(steps.map((step) => ({ ...step, form: 'both' })), logits, hidden, candidates)
  t.deepEqual(failures.map((failure) => (failure as { readonly code?: string } | null)?.code), [undefined, 'ABORTED', undefined])
  t.deepEqual([...candidates.ids].map((id) => id < 0), [false, false, true, true, false, false])
  t.deepEqual([...candidates.logits].map(Number.isNaN), [false, false, true, true, false, false])
  t.deepEqual([...candidates.logSumExp].map(Number.isNaN), [false, true, false])
  t.deepEqual(steps.map(({ sequence }) => sequence.length), [90, 0, 70])
  for (const n of [0, 2]) t.is(difference(logits.slice(n * vocabSize, (n + 1) * vocabSize), alone[n]!.slice(-vocabSize)), undefined)
  t.true(logits.subarray(vocabSize, 2 * vocabSize).every(Number.isNaN) && hidden.subarray(hiddenSize, 2 * hiddenSize).every(Number.isNaN))
  t.false(hidden.subarray(2 * hiddenSize).some(Number.isNaN))
})

test('a step that is cancelled in the middle of its pass leaves the others their results', async (t) => {
  using golden = await GoldenModel.open('hf-f32', { threads: 2, arithmetic: 'exact' })
  const { vocabSize, contextLength } = golden.config.text
  const [long, short] = [golden.tokens(1, contextLength), golden.tokens(2, 40)]
  const expected = (await golden.run([short])).slice(-vocabSize)
  let midway = false
  // a busy machine may cancel too early or too late for the test, though never wrongly
  for (let attempt = 0; attempt < 40 && !midway; attempt++) {
    const cancellation = new (native().Cancellation)()
    const cancelled = Array.from({ length: 60 }, (): NativeStep => ({ sequence: golden.model.createSequence(), segments: [long], logits: 'none', cancellation }))
    const kept: NativeStep = { sequence: golden.model.createSequence(), segments: [short], logits: 'last', cancellation: null }
    const logits = new Float32Array(vocabSize)
    const running = golden.model.forward([...cancelled, kept], logits)
    await sleep(attempt % 10)
    cancellation.cancel()
    const { failures } = await running
    t.is(difference(logits, expected), undefined)
    t.is(kept.sequence.length, 40)
    for (const { sequence } of cancelled) t.is(sequence.length, failures[0] === null ? contextLength : 0)
    midway = failures[0]?.message === 'the work was cancelled'
    for (const { sequence } of [...cancelled, kept]) sequence.dispose()
  }
  t.true(midway)
})

test('sequences that nobody holds any more are collected under the weight of their pages, without dispose', async (t) => {
  using golden = await GoldenModel.open('hf-f32')
  let [most, all] = [0, 0]
  for (let batch = 0; batch < 60; batch++) {
    const steps = Array.from({ length: 50 }, (): NativeStep => ({ sequence: golden.model.createSequence(), segments: [golden.tokens(1, 130)], logits: 'none' }))
    const before = golden.model.info().memory.kvCache
    await golden.model.forward(steps, null)
    const { kvCache } = golden.model.info().memory
    all += Math.max(0, kvCache - before)
    most = Math.max(most, kvCache)
  }
  t.log(most, all)
  t.true(all > 3e8 && most < all / 2)
})

test('a device that is not there is refused, with those there are', async (t) => {
  using golden = await GoldenModel.open('hf-f32')
  await t.throwsAsync(openDescribed(golden.description, { device: 'abacus' as 'cpu' }), { code: 'INVALID_ARGUMENT', message: /`device` to be cpu or cuda:INDEX, got abacus/ })
})

// ---- lying directories -------------------------------------------------------------------------------------------------------

const [matrix, vector, tower] = ['language_model.layers.1.mlp.up_proj.weight', 'language_model.norm.weight', 'vision_tower.embeddings.position_embedding.weight']

/** What a directory may claim about a tensor that is not so; `size` is the file's. */
const lies: Readonly<Record<string, (entry: TensorEntry, size: number) => Partial<TensorEntry>>> = {
  'it starts beyond the end of its file': (_, size) => ({ offset: size + 1 }),
  'it starts at the end of its file': (_, size) => ({ offset: size }),
  'its last byte lies beyond the end of its file': ({ nbytes }, size) => ({ offset: size - nbytes + 1 }),
  'its offset is as large as a number can be': () => ({ offset: 2 ** 53 }),
  'its offset is negative': () => ({ offset: -1 }),
  'it has a byte more than its shape': ({ nbytes }) => ({ nbytes: nbytes + 1 }),
  'it has a byte less than its shape': ({ nbytes }) => ({ nbytes: nbytes - 1 }),
  'it has no bytes': () => ({ nbytes: 0 }),
  'its size is negative': ({ nbytes }) => ({ nbytes: -nbytes }),
  'it has a row more, also in bytes': ({ shape, nbytes }) => ({ shape: [shape[0]! + 1, ...shape.slice(1)], nbytes: (nbytes / shape[0]!) * (shape[0]! + 1) }),
  'it has a row less, also in bytes': ({ shape, nbytes }) => ({ shape: [shape[0]! - 1, ...shape.slice(1)], nbytes: (nbytes / shape[0]!) * (shape[0]! - 1) }),
  'one of its sizes is 0': ({ shape }) => ({ shape: [0, ...shape] }),
  'one of its sizes is negative': ({ shape }) => ({ shape: [-1, ...shape.slice(1), -shape[0]!] }),
  'its sizes multiply to 2^64': () => ({ shape: [2 ** 32, 2 ** 30], nbytes: 0 }),
  'its sizes multiply to 2^64 and the right number': ({ shape }) => ({ shape: [2 ** 32, 2 ** 32, ...shape] }),
  'its sizes are as large as a number can be': () => ({ shape: [2 ** 53, 2 ** 53, 2 ** 53, 2 ** 53] }),
  'its rows are as long as a number can be': () => ({ shape: [1, 2 ** 53] }),
  'its type is a narrower one': ({ dtype }) => ({ dtype: dtype === 'F32' ? 'F16' : 'Q4_1' }),
  'its type is one of blocks that its rows do not fill': () => ({ dtype: 'Q4_K' }),
  'its file is one that is not there': () => ({ file: 2 }),
  'its file is negative': () => ({ file: -1 }),
  'it goes by another name': ({ name }) => ({ name: `${name}s` }),
}

for (const [lie, change] of Object.entries(lies)) {
  test(`a directory that lies about a tensor is MODEL_CORRUPT: ${lie}`, async (t) => {
    for (const name of ['hf-f32', 'gguf-pair-q4_0']) {
      using golden = await GoldenModel.open(name)
      const { files, tensors, config } = golden.description
      for (const victim of [matrix, vector, tower]) {
        const entry = tensors.find(({ name }) => name === victim)!
        const { length } = await readFile(files[entry.file]!)
        const lying = tensors.map((one) => (one === entry ? { ...entry, ...change(entry, length) } : one))
        await t.throwsAsync(openDescribed({ files, tensors: lying, config }), { code: 'MODEL_CORRUPT', message: new RegExp(victim) }, `${name} ${victim}`)
      }
    }
  })
}

test('a matrix that claims the shape of its transpose is MODEL_CORRUPT', async (t) => {
  using golden = await GoldenModel.open('hf-f32')
  const { files, tensors, config } = golden.description
  const lying = tensors.map((entry) => (entry.name === matrix ? { ...entry, shape: entry.shape.toReversed() } : entry))
  await t.throwsAsync(openDescribed({ files, tensors: lying, config }), { code: 'MODEL_CORRUPT', message: /up_proj/ })
})

test('every tensor is needed: without any one of them a model is MODEL_CORRUPT and the error names it', async (t) => {
  using golden = await GoldenModel.open('gguf-pair-q8_0')
  const { files, tensors, config } = golden.description
  t.true(tensors.length > 30)
  for (const entry of tensors) {
    const error = await t.throwsAsync(openDescribed({ files, tensors: tensors.filter((other) => other !== entry), config }), { code: 'MODEL_CORRUPT' })
    t.true(error.message.includes(entry.name))
  }
})

test('a tensor that is listed twice is MODEL_CORRUPT', async (t) => {
  using golden = await GoldenModel.open('hf-f32')
  const { files, tensors, config } = golden.description
  await t.throwsAsync(openDescribed({ files, tensors: [...tensors, tensors[0]!], config }), { code: 'MODEL_CORRUPT', message: /twice/ })
})

test('a tensor that the model does not need must be true all the same', async (t) => {
  using golden = await GoldenModel.open('hf-f32')
  const { files, tensors, config } = golden.description
  const spare: TensorEntry = { name: 'spare', dtype: 'F32', shape: [4, 4], file: 0, offset: 0, nbytes: 64 }
  const model = await openDescribed({ files, tensors: [...tensors, spare], config })
  model.dispose()
  // the second shape has 0 values modulo 2^64
  for (const lie of [{ nbytes: 60 }, { shape: [2 ** 32, 2 ** 32, 4], nbytes: 0 }, { offset: 2 ** 53 }, { file: 1 }, { shape: [0, 4], nbytes: 0 }]) {
    await t.throwsAsync(openDescribed({ files, tensors: [...tensors, { ...spare, ...lie }], config }), { code: 'MODEL_CORRUPT', message: /spare/ }, JSON.stringify(lie))
  }
})

test('a type that is not known is MODEL_UNSUPPORTED', async (t) => {
  using golden = await GoldenModel.open('hf-f32')
  const { files, tensors, config } = golden.description
  const unknown = [{ ...tensors[0]!, dtype: 'IQ2_XXS' as 'F32' }, ...tensors.slice(1)]
  await t.throwsAsync(async () => openDescribed({ files, tensors: unknown, config }), { code: 'MODEL_UNSUPPORTED' })
})

test('no tensors, or no files, are MODEL_CORRUPT', async (t) => {
  using golden = await GoldenModel.open('hf-f32')
  const { files, tensors, config } = golden.description
  await t.throwsAsync(openDescribed({ files, tensors: [], config }), { code: 'MODEL_CORRUPT' })
  await t.throwsAsync(openDescribed({ files: [], tensors, config }), { code: 'MODEL_CORRUPT' })
  await t.throwsAsync(openDescribed({ files: [], tensors: [], config }), { code: 'MODEL_CORRUPT' })
})

test('a file that has lost its end since it was described is MODEL_CORRUPT, an empty or missing one MODEL_NOT_FOUND', async (t) => {
  using golden = await GoldenModel.open('hf-f32')
  const { files, tensors, config } = golden.description
  const folder = await mkdtemp(path.join(os.tmpdir(), 'llava-'))
  try {
    const bytes = await readFile(files[0]!)
    const shorter = path.join(folder, 'shorter')
    await writeFile(shorter, bytes.subarray(0, bytes.length - 1))
    await t.throwsAsync(openDescribed({ files: [shorter], tensors, config }), { code: 'MODEL_CORRUPT', message: /beyond the end/ })
    const empty = path.join(folder, 'empty')
    await writeFile(empty, '')
    for (const file of [empty, folder, path.join(folder, 'missing'), '']) {
      await t.throwsAsync(async () => openDescribed({ files: [file], tensors, config }), { code: 'MODEL_NOT_FOUND' }, file)
    }
    await t.throwsAsync(async () => openDescribed({ files: [`${files[0]}\0`], tensors, config }), { code: 'INVALID_ARGUMENT' })
  } finally {
    await rm(folder, { recursive: true })
  }
})

const configLies: Readonly<Record<string, (config: ModelConfig) => { readonly text?: object; readonly vision?: object }>> = {
  'a hidden size of 0': () => ({ text: { hiddenSize: 0 } }),
  'a negative FFN size': () => ({ text: { intermediateSize: -64 } }),
  'no layers': () => ({ text: { layers: 0 } }),
  'a layer too many': ({ text }) => ({ text: { layers: text.layers + 1 } }),
  'more layers than can be counted': () => ({ text: { layers: 2 ** 53 } }),
  'no heads': () => ({ text: { heads: 0 } }),
  'no key heads': () => ({ text: { kvHeads: 0 } }),
  'heads that key heads do not divide': () => ({ text: { kvHeads: 3 } }),
  'more key heads than heads': () => ({ text: { kvHeads: 8 } }),
  'an odd head size': () => ({ text: { headDim: 7 } }),
  'a head size without its frequencies': () => ({ text: { headDim: 16 } }),
  'frequencies for another head size': () => ({ text: { ropeInvFreq: new Float32Array(5) } }),
  'an empty vocabulary': () => ({ text: { vocabSize: 0 } }),
  'a vocabulary of one more': ({ text }) => ({ text: { vocabSize: text.vocabSize + 1 } }),
  'no context': () => ({ text: { contextLength: 0 } }),
  'a negative window': () => ({ text: { slidingWindow: -1 } }),
  'heads whose sizes multiply beyond 2^63': () => ({ text: { heads: 2 ** 52, kvHeads: 2 ** 52, headDim: 2 ** 12, ropeInvFreq: new Float32Array(2 ** 11) } }),
  'a tower of width 0': () => ({ vision: { hiddenSize: 0 } }),
  'a tower of negative depth': () => ({ vision: { layers: -1 } }),
  'a tower of one layer too many': ({ vision }) => ({ vision: { layers: vision!.layers + 2 } }),
  'a tower without heads': () => ({ vision: { heads: 0 } }),
  'a tower whose heads do not divide its width': () => ({ vision: { heads: 3 } }),
  'patches of no size': () => ({ vision: { patchSize: 0 } }),
  'patches of negative size': () => ({ vision: { patchSize: -7 } }),
  'patches larger than the picture': () => ({ vision: { patchSize: 29 } }),
  'pictures of another size': () => ({ vision: { imageSize: 56 } }),
  'pictures so large that their patches multiply to 2^64': () => ({ vision: { imageSize: 7 * 2 ** 32 } }),
  'a projector without layers': () => ({ vision: { projectorLayers: 0 } }),
  'a projector of one layer too many': () => ({ vision: { projectorLayers: 3 } }),
}

for (const [lie, change] of Object.entries(configLies)) {
  test(`a config that does not fit the tensors is MODEL_CORRUPT: ${lie}`, async (t) => {
    using golden = await GoldenModel.open('hf-f32')
    const { files, tensors, config } = golden.description
    const { text, vision } = change(config)
    const lying: ModelConfig = { text: { ...config.text, ...text }, vision: { ...golden.vision, ...vision } }
    await t.throwsAsync(openDescribed({ files, tensors, config: lying }), { code: 'MODEL_CORRUPT' })
  })
}

test('pictures whose size overflows are MODEL_CORRUPT, also when the position embedding plays along', async (t) => {
  using golden = await GoldenModel.open('hf-f32')
  const { files, tensors, config } = golden.description
  const { hiddenSize } = golden.vision
  // (7 * 2^32 / 7)^2 patches are 0 modulo 2^64: one position, the class token's
  const lying = tensors.map((entry) => (entry.name === tower ? { ...entry, shape: [1, hiddenSize], nbytes: 4 * hiddenSize } : entry))
  const vision = { ...golden.vision, imageSize: 7 * 2 ** 32 }
  await t.throwsAsync(openDescribed({ files, tensors: lying, config: { ...config, vision } }), { code: 'MODEL_CORRUPT' })
})

test('an instruction set that this CPU does not have is INVALID_ARGUMENT', async (t) => {
  using golden = await GoldenModel.open('hf-f32')
  await t.throwsAsync(openDescribed(golden.description, { isa: 'sse' as 'avx2' }), { code: 'INVALID_ARGUMENT', message: /sse/ })
})

for (const threads of [-1, 1025, 2 ** 53]) {
  test(`${threads} threads are INVALID_ARGUMENT`, async (t) => {
    using golden = await GoldenModel.open('hf-f32')
    await t.throwsAsync(async () => openDescribed(golden.description, { threads }), { code: 'INVALID_ARGUMENT', message: /threads/ })
  })
}

test('every error of the native calls has a message and a code, and is an Error', async (t) => {
  using golden = await GoldenModel.open('hf-f32')
  const error = await t.throwsAsync(async () => golden.model.encodeImages(golden.pixels(1), 1, [], {} as NativeCancellation), { instanceOf: Error, code: 'INVALID_ARGUMENT' })
  t.regex(error.message, /`cancellation`/)
  t.is(rowCount([golden.tokens(1, 3)]), 3)
})
