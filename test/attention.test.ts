// Where the model looks: attention weights against transformers, and what must hold of them whatever the weights are.

import { existsSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import {
  answerWords,
  LLaVA,
  type ImageSource,
  type Message,
  type OpenOptions,
  type TokenAttention,
} from '../lib/index.js'
import { native } from '../lib/native.js'
import { goldenCase, goldenStages, readTensors } from './tiny-model.js'

const demo = fileURLToPath(new URL('../../models/demo.png', import.meta.url))
const goldens = fileURLToPath(new URL('../../test/fixtures/golden/', import.meta.url))
const cases = readdirSync(goldens).filter((name) => existsSync(path.join(goldens, name, 'attentions.safetensors')))

/** Of several tokens. */
async function all(attention: AsyncIterable<TokenAttention>): Promise<readonly TokenAttention[]> {
  const found: TokenAttention[] = []
  for await (const one of attention) found.push(one)
  return found
}

/** A golden's prompt as messages of the template `hf`, which wrote it. */
function messagesOf(prompt: string, picture: ImageSource): readonly Message[] {
  const [, system, question] = /^(.*?) ?USER: <image>\n(.*) ASSISTANT:$/s.exec(prompt) as unknown as [
    string,
    string,
    string,
  ]
  const content = [
    { type: 'image' as const, image: picture },
    { type: 'text' as const, text: question },
  ]
  return [...(system === '' ? [] : [{ role: 'system' as const, content: system }]), { role: 'user', content }]
}

function question(text: string, ...images: readonly ImageSource[]): readonly Message[] {
  return [
    { role: 'user', content: [...images.map((image) => ({ type: 'image' as const, image })), { type: 'text', text }] },
  ]
}

/** The largest and the smallest weight of each row of [rows, positions] that has some. */
function rangeOfScores(weights: Float32Array, positions: number): number {
  let range = 0
  for (let at = 0; at < weights.length; at += positions) {
    const seen = weights.subarray(at, at + positions).filter((weight) => weight > 0)
    range = Math.max(range, Math.log(Math.max(...seen) / Math.min(...seen)))
  }
  return range
}

/** What README promises of rows of features, as a share of the largest value. */
const departure = 1e-4

/**
 * Rows that depart by that share move scores by that share of how far they lie apart, at most twice: of query and of key. A score that is off by e
 * changes its weight, and the sum that it is divided by, by the factor exp(e) at most.
 */
async function equalsTransformers(t: ExecutionContext, name: string, options: OpenOptions): Promise<void> {
  const { model: file, picture, prompt } = goldenCase(name)
  const want = readTensors(path.join(goldens, name, 'attentions.safetensors'))
  const generated = [...(goldenStages(name).get('generated')?.data as Int32Array)]
  using model = await LLaVA.open(file, { kvCache: 'f32', arithmetic: 'exact', autoOrient: false, ...options })
  const tokens = [...want.keys()].map((key) => Number(key.replace('token.', '')))
  const found = await all(
    model.attentionOfTokens(messagesOf(prompt, picture), { tokenIds: generated }, { tokens, template: 'hf' }),
  )
  for (const [n, token] of tokens.entries()) {
    const { shape, data } = want.get(`token.${token}`) as { shape: readonly number[]; data: Float32Array }
    const { layers, heads, positions, weights, id } = found[n] as TokenAttention
    t.deepEqual([layers, heads, positions, id], [...shape, generated[token]])
    const allowed = Math.expm1(4 * departure * rangeOfScores(data, positions))
    let worst = 0
    for (const [i, weight] of weights.entries()) {
      const off = Math.abs(weight - (data[i] as number))
      worst = Number.isNaN(off) ? Infinity : Math.max(worst, off / Math.max(data[i] as number, Number.MIN_VALUE))
    }
    t.true(worst <= allowed, `${name}: weights of token ${token} depart by ${worst} of themselves, allowed ${allowed}`)
  }
}

for (const name of cases) {
  for (const isa of native().cpuInfo().isas) {
    test(`attention of ${name} equals transformers on ${isa}`, async (t) => {
      await equalsTransformers(t, name, { isa })
    })
  }
  if (process.env['LLAVA_CUDA_LIBRARY'] !== undefined) {
    test(`attention of ${name} equals transformers on cuda`, async (t) => {
      await equalsTransformers(t, name, { device: 'cuda' })
    })
  }
}

/** Random pixels, another picture for each seed. */
function noise(seed: number): ImageSource {
  const data = Uint8Array.from(
    { length: 24 * 24 * 3 },
    (_, at) => (Math.imul(at + 1, 2654435761 + 40503 * seed) >>> 13) & 255,
  )
  return { width: 24, height: 24, data }
}

const some: readonly number[] = [9, 4, 30, 5, 77, 8]

test('every row of weights is of shares that sum to one, however keys and values are kept', async (t) => {
  for (const name of ['hf-f32', 'hf-gqa-llama3-rope', 'hf-bf16', 'gguf-pair-q4_0', 'hf-mistral-window']) {
    for (const kvCache of ['f32', 'f16', 'q8_0'] as const) {
      using model = await LLaVA.open(goldenCase(name).model, { kvCache })
      const found = await all(
        model.attentionOfTokens(question('What is it?', noise(1)), { tokenIds: some }, { tokens: [0, 3, 5] }),
      )
      for (const { weights, layers, heads, positions } of found) {
        t.is(weights.length, layers * heads * positions)
        t.true(weights.every((weight) => weight >= 0 && weight <= 1))
        for (let at = 0; at < weights.length; at += positions) {
          const sum = weights.subarray(at, at + positions).reduce((total, weight) => total + weight, 0)
          // each of T weights is rounded once as a quotient, and their sum before that at most T times
          t.true(Math.abs(sum - 1) <= (positions + 1) * 2 ** -23, `${name} ${kvCache}: ${sum}`)
        }
      }
    }
  }
})

test('the mean is the mean over the layers and heads that are named, of all unless some are', async (t) => {
  using model = await LLaVA.open(goldenCase('hf-f32').model)
  const attention = await model.attentionOf(question('What is it?', noise(1), noise(2)), { tokenIds: some }, 2)
  const { layers: L, heads: H, grid } = attention
  const count = grid.rows * grid.columns
  const plain = (picture: number, layers: readonly number[], heads: readonly number[]) => {
    const weights = attention.patches(picture)
    return Array.from({ length: count }, (_, patch) => {
      let sum = 0
      for (const layer of layers) for (const head of heads) sum += weights[(layer * H + head) * count + patch] as number
      return Math.fround(sum / (layers.length * heads.length))
    })
  }
  const each = (n: number) => Array.from({ length: n }, (_, index) => index)
  t.is(L, 2)
  t.deepEqual([...attention.mean()], plain(0, each(L), each(H)))
  t.deepEqual([...attention.mean({ picture: 1 })], plain(1, each(L), each(H)))
  t.deepEqual([...attention.mean({ layers: [1] })], plain(0, [1], each(H)))
  t.deepEqual([...attention.mean({ picture: 1, layers: [0], heads: [3, 1] })], plain(1, [0], [3, 1]))
  for (const wrong of [
    { picture: 2 },
    { layers: [] },
    { layers: [2] },
    { heads: [-1] },
    { heads: [0.5] },
    { layer: [0] } as object,
  ])
    t.throws(() => attention.mean(wrong), { code: 'INVALID_ARGUMENT' })
})

test('patches are those rows of the weights at which their picture stands, whatever rows the tower gives beside them', async (t) => {
  const rowsOf = {
    'hf-f32': [0, 0],
    'hf-4x-names': [1, 0],
    'hf-siglip': [0, 0],
    'hf-siglip-wide-heads': [0, 1],
  } as const
  for (const [name, [extra, missing]] of Object.entries(rowsOf)) {
    using model = await LLaVA.open(goldenCase(name).model)
    const attention = await model.attentionOf(question('Which?', noise(1), noise(2)), { tokenIds: some }, 1)
    const { grid, positions, weights, pictures } = attention
    const rows = model.info().vision?.rowsPerImage ?? 0
    const count = grid.rows * grid.columns
    t.is(count, rows - extra + missing, name)
    t.true((pictures[1] as number) >= (pictures[0] as number) + rows, name)
    for (const picture of [0, 1]) {
      const patches = attention.patches(picture)
      t.deepEqual(attention.mean({ picture, layers: [0], heads: [0] }), patches.slice(0, count), name)
      for (const row of [0, attention.layers * attention.heads - 1]) {
        const first = row * positions + (pictures[picture] as number) + extra
        t.deepEqual(
          [...patches.subarray(row * count, (row + 1) * count)],
          [...new Array<number>(missing).fill(0), ...weights.subarray(first, first + count - missing)],
          name,
        )
      }
    }
  }
})

test('a token has the weights that it has alone, whatever else is asked for and whatever is remembered', async (t) => {
  using model = await LLaVA.open(goldenCase('hf-f32').model)
  const messages = question('What is it?', noise(3))
  const together = await all(model.attentionOfTokens(messages, { tokenIds: some }, { tokens: [5, 0, 2, 2] }))
  t.deepEqual(
    together.map(({ token, id }) => [token, id]),
    [
      [0, 9],
      [2, 30],
      [5, 8],
    ],
  )
  for (const one of together) {
    for (const clear of [false, true]) {
      if (clear) model.clearCaches()
      const alone = await model.attentionOf(messages, { tokenIds: some }, one.token)
      const largest = alone.weights.reduce(
        (most, weight, at) => Math.max(most, Math.abs(weight - (one.weights[at] as number))),
        0,
      )
      t.true(largest <= 2 ** -18, `token ${one.token}: ${largest}`)
      t.true(Math.abs(alone.logprob - one.logprob) < 1e-4)
    }
  }
})

test('log-probabilities are those that the answer was given with, by its tokens or by its text', async (t) => {
  using model = await LLaVA.open(undefined, { threads: 2 })
  const messages = question('What is in this picture?', demo)
  const answer = await model.chat(messages, { logprobs: 0 }).answer
  const before = model.info().caches.prefixes.hits
  const found = await all(model.attentionOfTokens(messages, answer))
  t.true(model.info().caches.prefixes.hits > before)
  const byText = await all(model.attentionOfTokens(messages, ` ${answer.text}`))
  t.deepEqual(
    byText.map(({ id }) => id),
    [...answer.tokenIds],
  )
  for (const [n, { logprob, text, positions }] of found.entries()) {
    t.is(text, answer.logprobs?.[n]?.text ?? '')
    t.true(Math.abs(logprob - (answer.logprobs?.[n]?.logprob ?? NaN)) < 1e-3)
    t.is(positions, answer.usage.promptTokens + n)
  }
  t.deepEqual(
    answerWords(found).map(({ text }) => text),
    ['The', 'picture', 'shows', 'a', 'rocket', 'a', 'dog', 'and', 'a', 'cactus'],
  )
  t.is((await model.chat(messages).answer).text, answer.text)
})

test('words are those of the text, with the tokens that they are made of', (t) => {
  const tokens = (...texts: readonly (string | readonly number[])[]) =>
    texts.map((text) => ({ bytes: typeof text === 'string' ? [...Buffer.from(text)] : text }))
  t.deepEqual(answerWords(tokens(' A', ' cac', 'tus', ', ', 'I', "'m sure", '.')), [
    { text: 'A', start: 1, end: 2, tokens: [0] },
    { text: 'cactus', start: 3, end: 9, tokens: [1, 2] },
    { text: "I'm", start: 11, end: 14, tokens: [4, 5] },
    { text: 'sure', start: 15, end: 19, tokens: [5] },
  ])
  const [first, second] = [Buffer.from('é').subarray(0, 1), Buffer.from('é').subarray(1)]
  t.deepEqual(answerWords(tokens(' caf', [...first], [...second], '!')), [
    { text: 'café', start: 1, end: 5, tokens: [0, 1, 2] },
  ])
  t.deepEqual(answerWords(tokens('?', ' …')), [])
  t.deepEqual(answerWords([]), [])
})

test('mistakes are told before anything is computed, and pictures may come encoded', async (t) => {
  using model = await LLaVA.open(goldenCase('hf-f32').model)
  using other = await LLaVA.open(goldenCase('hf-f32').model)
  using encoded = await model.encodeImage({ width: 2, height: 1, data: new Uint8Array(6) })
  const messages = question('What is it?', encoded)
  const answer = { tokenIds: some }
  const plain = await model.attentionOf(
    question('What is it?', { width: 2, height: 1, data: new Uint8Array(6) }),
    answer,
    0,
  )
  t.deepEqual((await model.attentionOf(messages, answer, 0)).weights, plain.weights)
  const refused = async (call: Promise<unknown>) => t.throwsAsync(call, { code: 'INVALID_ARGUMENT' })
  await refused(model.attentionOf(messages, answer, some.length))
  await refused(model.attentionOf(messages, answer, -1))
  await refused(model.attentionOf(messages, answer, 0.5))
  t.throws(() => model.attentionOfTokens(messages, answer, { tokens: [0, 0.5] }), { code: 'INVALID_ARGUMENT' })
  await refused(all(model.attentionOfTokens(messages, answer, { tokens: [0, some.length] })))
  await refused(model.attentionOf(messages, { tokenIds: [] }, 0))
  await refused(model.attentionOf(messages, { tokenIds: [1e6] }, 0))
  await refused(model.attentionOf(messages, ' ', 0))
  await refused(model.attentionOf(messages, answer, 0, { token: 1 } as object))
  await refused(model.attentionOf([...messages, { role: 'assistant', content: 'a' }], answer, 0))
  await refused(other.attentionOf(messages, answer, 0))
  await refused(model.occlusionOf(messages, answer)) // no pixels are left
  await refused(model.occlusionOf(question('Hello.'), answer))
  await refused(model.occlusionOf(question('Which?', noise(1)), answer, { picture: 1 }))
  await refused(model.occlusionOf(question('Which?', noise(1)), answer, { window: 0 }))
  const text = await model.attentionOf(question('Hello.'), answer, 1)
  t.deepEqual([text.pictures, text.weights.length > 0], [[], true])
  t.throws(() => text.patches(), { code: 'INVALID_ARGUMENT' })
  const stopped = AbortSignal.abort()
  await t.throwsAsync(model.attentionOf(messages, answer, 0, { signal: stopped }), { code: 'ABORTED' })
  await t.throwsAsync(model.occlusionOf(question('Which?', noise(1)), answer, { signal: stopped }), { code: 'ABORTED' })
})

/** Where things stand in the demo picture, of 384 pixels: left, top, right, bottom. */
const things = { rocket: [10, 20, 190, 195], cactus: [220, 30, 340, 190], dog: [100, 195, 275, 380] } as const

test('what an answer names is less likely where the thing is grey, and nowhere else as much', async (t) => {
  using model = await LLaVA.open(undefined, { threads: 2 })
  const messages = question('What is in this picture?', demo)
  const answer = await model.chat(messages, { logprobs: 0 }).answer
  const heard: number[] = []
  const occlusion = await model.occlusionOf(messages, answer, {
    onProgress: ({ done, total }) => heard.push(done / total),
  })
  t.deepEqual([occlusion.window, occlusion.grid], [2, { rows: 6, columns: 6 }])
  t.deepEqual([heard[0], heard.at(-1), heard.length], [0, 1, 6 * 6 + 2])
  for (const [token, logprob] of occlusion.logprobs.entries())
    t.true(Math.abs(logprob - (answer.logprobs?.[token]?.logprob ?? NaN)) < 1e-3)
  for (const [name, [left, top, right, bottom]] of Object.entries(things)) {
    const word = answerWords(answer.logprobs ?? []).find(({ text }) => text === name)
    const change = occlusion.change(word?.tokens ?? [])
    const least = change.indexOf(Math.min(...change))
    const [x, y] = [((least % 6) + 0.5) * 64, (Math.floor(least / 6) + 0.5) * 64]
    t.true(
      change[least]! < -1 && x > left && x < right && y > top && y < bottom,
      `${name}: ${change[least]} at ${x}, ${y}`,
    )
  }
})

test('a square is grey in the mean colour and nothing else is, up to the last patch', async (t) => {
  using model = await LLaVA.open(goldenCase('hf-f32').model, { threads: 1 })
  const { imageSize = 0, patchSize = 0 } = model.info().vision ?? {}
  const grey = [122, 116, 104] // of CLIP's mean, as padding has it
  const data = Uint8Array.from({ length: imageSize * imageSize * 3 }, (_, at) => (at * 37) % 256)
  const messages = (pixels: Uint8Array) =>
    question('What is it?', { width: imageSize, height: imageSize, data: pixels })
  const window = 3
  const { grid, changes, logprobs } = await model.occlusionOf(messages(data), { tokenIds: some }, { window })
  t.deepEqual(grid, { rows: 2, columns: 2 }) // of four patches: three, and the one that is left
  for (let place = 0; place < 4; place++) {
    const greyed = data.map((byte, at) => {
      const [x, y] = [Math.floor(at / 3) % imageSize, Math.floor(at / 3 / imageSize)]
      const own = Math.floor(x / patchSize / window) + 2 * Math.floor(y / patchSize / window)
      return own === place ? (grey[at % 3] as number) : byte
    })
    const own = await model.occlusionOf(messages(greyed), { tokenIds: some }, { window })
    for (const [token, logprob] of own.logprobs.entries())
      t.true(Math.abs(logprob - (logprobs[token] as number) - (changes[token * 4 + place] as number)) < 1e-5)
  }
})

test('what the model sees is the picture that its processor makes', async (t) => {
  using model = await LLaVA.open(goldenCase('hf-bf16').model) // pads
  const { width, height, data } = await model.preprocessed({
    width: 28,
    height: 14,
    data: new Uint8Array(28 * 14 * 3).fill(200),
  })
  t.deepEqual([width, height], [28, 28])
  const pixel = (x: number, y: number) => [...data.subarray((y * 28 + x) * 3, (y * 28 + x) * 3 + 3)]
  t.deepEqual(
    [pixel(3, 1), pixel(20, 14), pixel(3, 27)],
    [
      [122, 116, 104],
      [200, 200, 200],
      [122, 116, 104],
    ],
  )
})
