// What must hold of the decoder and the tower whatever the weights are: how a text is cut into calls, what runs beside it, and what was
// forked, forgotten, cancelled or refused on the way changes nothing.
//
// Equal means equal in every bit: a row's sums are made in the same order whatever stands beside it, with float weights under exact arithmetic. Where there
// are tiles, under fast arithmetic only among many rows.

import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { native, type NativeCancellation, type NativeOptions, type NativeSegment, type NativeSequence, type NativeStep } from '../../lib/native.js'
import { difference, GoldenModel, goldenNames, isas, joined, openDescribed, pieces, rowCount, slice } from './golden-models.js'

const isQuantised = (name: string) => /-q\d|kquants/.test(name)
const untiled = isas.filter((isa) => isa !== 'amx')
const isasFor = (name: string) => (isQuantised(name) ? untiled : isas)

const open = (name: string, options: Partial<NativeOptions> = {}) =>
  GoldenModel.open(name, { arithmetic: isQuantised(name) ? 'fast' : 'exact', isa: isasFor(name).at(-1)!, ...options })

/** Three pages of 64 positions, the last one partly filled. */
const promptRows = 150

/** Ways to cut the prompt. Its picture lies across row 64. */
const cuts = [...[1, 2, 7, 64].map((length) => pieces(promptRows, length)), [63, promptRows - 63], [65, 3, promptRows - 68], [promptRows - 3, 3]]

for (const name of goldenNames) {
  test(`${name}: under fast arithmetic a prompt in pieces of many rows each has the logits of one piece`, async (t) => {
    using golden = await open(name, { arithmetic: 'fast', isa: 'auto' })
    const prompt = await golden.prompt(1, promptRows)
    const whole = await golden.run(prompt)
    t.false(whole.includes(NaN))
    for (const lengths of [[75, 75], [33, 117], [64, 53, 33]])
      t.is(difference(await golden.run(prompt, lengths), whole), undefined, `in pieces of ${lengths.join(', ')}`)
  })
}

for (const name of goldenNames) {
  for (const isa of isasFor(name)) {
    test(`${name} on ${isa}: a prompt in pieces of any length, also cut inside its pictures, has the logits of one piece`, async (t) => {
      using golden = await open(name, { isa, kvCache: 'f16' })
      const prompt = await golden.prompt(1, promptRows)
      const whole = await golden.run(prompt)
      t.false(whole.includes(NaN))
      for (const lengths of cuts) {
        t.is(difference(await golden.run(prompt, lengths), whole), undefined, `in pieces of ${lengths.slice(0, 3).join(', ')}…`)
      }
    })
  }
}

for (const name of ['hf-f32', 'hf-gqa-llama3-rope', 'gguf-pair-q4_0']) {
  test(`${name}: with q8_0 keys and values too a prompt in pieces has the logits of one piece, which are not those of f32`, async (t) => {
    using golden = await open(name, { kvCache: 'q8_0' })
    const prompt = await golden.prompt(1, promptRows)
    const whole = await golden.run(prompt)
    t.false(whole.includes(NaN))
    for (const lengths of cuts) t.is(difference(await golden.run(prompt, lengths), whole), undefined, `in pieces of ${lengths.slice(0, 3).join(', ')}…`)
    using exact = await open(name, { kvCache: 'f32' })
    t.not(difference(await exact.run(await exact.prompt(1, promptRows)), whole), undefined)
  })
}

for (const name of goldenNames) {
  test(`${name}: sequences of different lengths in one batch have the logits each has alone, picture or not`, async (t) => {
    using golden = await open(name, { kvCache: 'f16', threads: 2 })
    const prompt = await golden.prompt(3, promptRows)
    // what each holds already, and what comes to it
    const past = [0, 70, 0, 64, 5]
    const rows = [150, 3, 4, 30, 1]
    const texts = past.map((length, i) => [slice(prompt, 0, length), i === 2 ? [golden.tokens(9, 4)] : slice(prompt, length, length + rows[i]!)] as const)
    const alone: Float32Array[] = []
    const sequences: NativeSequence[] = []
    for (const [before, text] of texts) {
      const [one, other] = [golden.model.createSequence(), golden.model.createSequence()]
      if (before.length > 0) await golden.append(one, before)
      if (before.length > 0) await golden.append(other, before)
      alone.push(await golden.append(one, text))
      sequences.push(other)
    }
    const together = await golden.forwardAll(texts.map(([, segments], i) => ({ sequence: sequences[i]!, segments })))
    together.forEach((logits, i) => {
      t.is(difference(logits, alone[i]!), undefined, `sequence ${i}`)
    })
    t.deepEqual(sequences.map(({ length }) => length), past.map((length, i) => length + rows[i]!))
  })
}

for (const name of goldenNames) {
  test(`${name}: a batch gives the logits that each step asks for, in the order of the steps, and what nobody asks for is remembered all the same`, async (t) => {
    using golden = await open(name, { threads: 2 })
    const { vocabSize } = golden.config.text
    const kinds = ['last', 'none', 'all', 'last'] as const
    const past = [70, 3, 5, 0]
    const lengths = [75, 70, 9, 1]
    const texts = lengths.map((length, i) => [golden.tokens(i, length)])
    const next = golden.tokens(9, 2)
    const alone = await Promise.all(texts.map((text) => golden.run([...text, next])))
    const rows = (i: number, from: number, to: number): Float32Array => alone[i]!.subarray(from * vocabSize, to * vocabSize)
    const sequences = texts.map(() => golden.model.createSequence())
    const before = texts.map((text, i) => ({ sequence: sequences[i]!, segments: slice(text, 0, past[i]!), logits: 'none' as const }))
    await golden.model.forward(before.filter((_, i) => past[i]! > 0), null, null)
    const steps = texts.map((text, i) => ({ sequence: sequences[i]!, segments: slice(text, past[i]!, lengths[i]!), logits: kinds[i]! }))
    const logits = new Float32Array(6 * vocabSize).fill(NaN)
    await golden.model.forward(steps, logits, null)
    t.is(difference(logits, joined([rows(0, 74, 75), rows(2, 5, 9), rows(3, 0, 1)])), undefined)
    const after = await golden.forwardAll(sequences.map((sequence) => ({ sequence, segments: [next] })))
    after.forEach((one, i) => {
      t.is(difference(one, alone[i]!.subarray(lengths[i]! * vocabSize)), undefined, `sequence ${i}`)
    })
  })
}

for (const name of ['hf-f32', 'hf-mistral-window', 'gguf-pair-q4_0']) {
  test(`${name}: a picture of NaN makes its own rows NaN, and changes no row before it and no other sequence`, async (t) => {
    using golden = await open(name, { kvCache: 'f16' })
    const { vocabSize } = golden.config.text
    const prompt = await golden.prompt(5, promptRows)
    const [broken] = await golden.encode(golden.pixels(1).fill(NaN))
    const poisoned = prompt.map((segment, n) => (n === 3 ? { image: broken!, start: 0, count: broken!.rows } : segment))
    const before = rowCount(prompt.slice(0, 3))
    const whole = await golden.run(prompt)
    const other = [golden.tokens(3, 70)]
    const alone = await golden.run(other)
    const sequence = () => golden.model.createSequence()
    const [first, logits, last] = await golden.forwardAll([{ sequence: sequence(), segments: other }, { sequence: sequence(), segments: poisoned }, { sequence: sequence(), segments: other }])
    for (const beside of [first!, last!]) t.is(difference(beside, alone), undefined)
    t.is(difference(logits!.slice(0, before * vocabSize), whole.slice(0, before * vocabSize)), undefined)
    t.true(logits!.subarray(before * vocabSize, (before + broken!.rows) * vocabSize).every(Number.isNaN))
    t.is(difference(await golden.run(prompt), whole), undefined)
  })
}

for (const name of ['hf-f32', 'hf-gqa-llama3-rope', 'gguf-pair-q4_0']) {
  test(`${name}: a row's logits do not depend on the rows after it`, async (t) => {
    using golden = await open(name)
    const { vocabSize } = golden.config.text
    const prompt = await golden.prompt(4, promptRows)
    const whole = await golden.run(prompt)
    for (const kept of [1, 63, 64, 65, 120, promptRows - 1]) {
      const changed = await golden.run([...slice(prompt, 0, kept), golden.tokens(99, promptRows - kept)])
      t.is(difference(changed.slice(0, kept * vocabSize), whole.slice(0, kept * vocabSize)), undefined, `after row ${kept}`)
      t.not(difference(changed.slice(kept * vocabSize), whole.slice(kept * vocabSize)), undefined)
    }
  })

  test(`${name}: a row's logits depend on every row before it, be it of text or of a picture`, async (t) => {
    using golden = await open(name)
    const { vocabSize } = golden.config.text
    const prompt = await golden.prompt(5, promptRows)
    const last = (await golden.run(prompt)).slice(-vocabSize)
    const other = await golden.prompt(6, promptRows)
    for (const row of [0, 1, 63, 64, 66, 80, 127, 128, promptRows - 2]) {
      const changed = await golden.run([...slice(prompt, 0, row), ...slice(other, row, row + 1), ...slice(prompt, row + 1, promptRows)])
      t.not(difference(changed.slice(-vocabSize), last), undefined, `row ${row}`)
    }
  })

  for (const length of [3, 64, 100, 128]) {
    test(`${name}: a fork at position ${length} goes its own way and leaves its parent and its children alone`, async (t) => {
      using golden = await open(name, { kvCache: 'f16' })
      const [past, ...futures] = [golden.tokens(1, length), golden.tokens(2, 40), golden.tokens(3, 40), golden.tokens(4, 40)] as const
      const alone = await Promise.all(futures.map(async (future) => (await golden.run([past, future], [length, 40])).slice(-40 * golden.config.text.vocabSize)))
      const parent = golden.model.createSequence()
      await golden.append(parent, [past])
      const child = parent.fork()
      const grandchild = child.fork()
      t.deepEqual([child.length, grandchild.length], [length, length])
      // in two turns each, so that a page that was not copied in time is caught while the others still read it
      const turns: Float32Array[][] = [[], [], []]
      for (const [from, to] of [[0, 20], [20, 40]] as const) {
        for (const [i, sequence] of [grandchild, parent, child].entries()) turns[i]!.push(await golden.append(sequence, slice([futures[i]!], from, to)))
      }
      turns.forEach((parts, i) => {
        t.is(difference(joined(parts), alone[i]!), undefined, ['grandchild', 'parent', 'child'][i])
      })
    })
  }

  for (const length of [0, 1, 63, 64, 65, 100]) {
    test(`${name}: a text cut back to ${length} positions and continued is as if the rest had never been`, async (t) => {
      using golden = await open(name, { kvCache: 'f16' })
      const [past, wrong, right] = [golden.tokens(1, length), golden.tokens(2, 140 - length), golden.tokens(3, 40)]
      const fresh = await golden.run([past, right], length === 0 ? [40] : [length, 40])
      const sequence = golden.model.createSequence()
      await golden.append(sequence, [past, wrong])
      const witness = sequence.fork()
      sequence.truncate(length)
      t.is(sequence.length, length)
      const continued = await golden.append(sequence, [right])
      t.is(difference(continued, fresh.slice(-continued.length)), undefined)
      // the fork still holds what was cut off
      const end = golden.tokens(4, 10)
      const undisturbed = (await golden.run([past, wrong, end], [140, 10])).slice(-10 * golden.config.text.vocabSize)
      t.is(difference(await golden.append(witness, [end]), undisturbed), undefined)
    })
  }
}

for (const [kvCache, bytes] of [['f32', 4], ['f16', 2], ['q8_0', 34 / 32]] as const) {
  test(`keys and values as ${kvCache} take memory by the page, are shared by forks until one writes, and are given back`, async (t) => {
    using golden = await open('hf-f32', { kvCache })
    const held = () => golden.model.info().memory.kvCache
    const { layers, kvHeads, headDim } = golden.config.text
    const parent = golden.model.createSequence()
    t.is(held(), 0)
    await golden.append(parent, [golden.tokens(1, 100)])
    const page = held() / 2
    // keys and values of 64 positions; value rows are padded to whole vectors of 16, blocks to 32
    const most = Math.ceil(headDim / 32) * 32
    t.true(page >= 2 * 64 * layers * kvHeads * headDim * bytes && page <= 2 * 64 * layers * kvHeads * most * bytes)
    const child = parent.fork()
    t.is(held(), 2 * page)
    await golden.append(child, [golden.tokens(2, 3)])
    t.is(held(), 3 * page)
    await golden.append(parent, [golden.tokens(2, 3)])
    t.is(held(), 3 * page)
    parent.dispose()
    t.is(held(), 2 * page)
    child.truncate(64)
    t.is(held(), page)
    child.dispose()
    t.is(held(), 0)
  })
}

for (const name of goldenNames) {
  test(`${name}: pictures encode alike alone, together, and again after others`, async (t) => {
    using golden = await open(name)
    const [a, b] = [golden.pixels(1), golden.pixels(2)]
    const read = async (pixels: Float32Array, count: number) => {
      return (await golden.encode(pixels, count)).map((image) => joined([image.read('image_features'), image.read('projected')]))
    }
    const [[first], [other], [again]] = [await read(a, 1), await read(b, 1), await read(a, 1)] as [[Float32Array], [Float32Array], [Float32Array]]
    t.false(first.includes(NaN))
    t.not(difference(other, first), undefined)
    t.is(difference(again, first), undefined)
    const together = await read(joined([a, b, a]), 3)
    for (const [i, alone] of [first, other, first].entries()) t.is(difference(together[i]!, alone), undefined)
  })

  test(`${name}: one, two and three threads compute the same bits`, async (t) => {
    const results: Float32Array[] = []
    for (const threads of [1, 2, 3]) {
      using golden = await open(name, { threads, kvCache: 'f16' })
      const prompt = await golden.prompt(7, promptRows)
      const [image] = await golden.encode(golden.pixels(7))
      results.push(joined([image!.read('image_features'), image!.read('projected'), await golden.run(prompt, [promptRows - 1, 1])]))
    }
    t.is(difference(results[1]!, results[0]!), undefined)
    t.is(difference(results[2]!, results[0]!), undefined)
  })
}

test('a patch of a picture changes its own row of a tower without layers that mix them, and rows run as one reads', async (t) => {
  using golden = await open('hf-f32')
  const { description, vision } = golden
  const model = await openDescribed({ ...description, config: { ...description.config, vision: { ...vision, layers: 0, dropClassRow: false } } })
  const { imageSize, patchSize, hiddenSize } = vision
  const grid = imageSize / patchSize
  const plain = golden.pixels(1)
  const read = async (pixels: Float32Array) => (await model.encodeImages(pixels, 1, ['image_features'], null)).images[0]!.read('image_features')
  const before = await read(plain)
  for (const patch of [0, 1, grid, grid * grid - 1]) {
    const pixels = plain.slice()
    const [x, y] = [(patch % grid) * patchSize + 2, Math.floor(patch / grid) * patchSize + 3]
    pixels[imageSize * imageSize + y * imageSize + x]! += 1 // in the green plane
    const after = await read(pixels)
    const changed = Array.from({ length: 1 + grid * grid }, (_, row) => row).filter((row) => {
      return difference(after.slice(row * hiddenSize, (row + 1) * hiddenSize), before.slice(row * hiddenSize, (row + 1) * hiddenSize)) !== undefined
    })
    t.deepEqual(changed, [1 + patch]) // row 0 is the class token's
  }
  model.dispose()
})

for (const name of ['hf-f32', 'gguf-pair-q4_0']) {
  test(`${name}: the last position of the context works, one more is refused and changes nothing`, async (t) => {
    using golden = await open(name)
    const { contextLength, vocabSize } = golden.config.text
    const text = golden.tokens(1, contextLength)
    const whole = await golden.run([text])
    const sequence = golden.model.createSequence()
    await golden.append(sequence, slice([text], 0, contextLength - 3))
    await t.throwsAsync(golden.append(sequence, [golden.tokens(2, 4)]), { code: 'CONTEXT_OVERFLOW', message: /\b1 more than\b/ })
    t.is(sequence.length, contextLength - 3)
    t.is(difference(await golden.append(sequence, slice([text], contextLength - 3, contextLength)), whole.slice(-3 * vocabSize)), undefined)
    t.is(sequence.length, contextLength)
    await t.throwsAsync(golden.append(sequence, [golden.tokens(2, 1)]), { code: 'CONTEXT_OVERFLOW', message: /\b1 more than\b/ })
    t.is(sequence.length, contextLength)
    sequence.truncate(contextLength - 3)
    t.is(difference(await golden.append(sequence, slice([text], contextLength - 3, contextLength)), whole.slice(-3 * vocabSize)), undefined)
  })

  test(`${name}: a refused batch leaves all of its sequences as they were, also when only its last step is wrong`, async (t) => {
    using golden = await open(name, { kvCache: 'f16' })
    const { vocabSize } = golden.config.text
    const [past, future] = [golden.tokens(1, 70), golden.tokens(2, 30)]
    const expected = (await golden.run([past, future], [70, 30])).slice(-30 * vocabSize)
    const sequences = [golden.model.createSequence(), golden.model.createSequence()] as const
    for (const sequence of sequences) await golden.append(sequence, [past])
    const before = golden.model.info().memory.kvCache
    const wrong: NativeSegment[] = [golden.tokens(3, 20), { tokens: Int32Array.of(vocabSize) }]
    await t.throwsAsync(golden.forwardAll([{ sequence: sequences[0], segments: [golden.tokens(3, 60)] }, { sequence: sequences[1], segments: wrong }]), { code: 'INVALID_ARGUMENT' })
    t.deepEqual(sequences.map(({ length }) => length), [70, 70])
    t.is(golden.model.info().memory.kvCache, before)
    for (const sequence of sequences) t.is(difference(await golden.append(sequence, [future]), expected), undefined)
  })

  // serial: it reads the clock
  test.serial(`${name}: a batch cancelled on its way stops early and leaves all of its sequences as they were`, async (t) => {
    using golden = await open(name, { kvCache: 'f16' })
    const { contextLength, vocabSize } = golden.config.text
    const [past, future] = [golden.tokens(1, 70), golden.tokens(2, 30)]
    const expected = (await golden.run([past, future], [70, 30])).slice(-30 * vocabSize)
    const parent = golden.model.createSequence()
    await golden.append(parent, [past])
    const forks = Array.from({ length: 128 }, () => parent.fork())
    const step = (sequence: NativeSequence, cancellation: NativeCancellation): NativeStep => ({ sequence, segments: [golden.tokens(3, contextLength - 70)], logits: 'none', cancellation })
    const before = golden.model.info().memory.kvCache
    let [stopping, midway] = [0, false]
    // a busy machine may cancel too early or too late for the test, though never wrongly
    for (let attempt = 0; attempt < 40 && !midway; attempt++) {
      for (const fork of forks) fork.truncate(70)
      const cancellation = new (native().Cancellation)()
      const large = golden.model.forward(forks.map((fork) => step(fork, cancellation)), null).then(() => 'computed', (error: unknown) => (error as Error).message)
      await sleep(attempt % 8)
      cancellation.cancel()
      const start = performance.now()
      midway = (await large) === 'the work was cancelled'
      stopping = performance.now() - start
    }
    t.true(midway)
    t.true(forks.every(({ length }) => length === 70))
    // what was reserved is given back, but for each fork's own copy of the page it was about to write
    const page = before / 2
    t.true(golden.model.info().memory.kvCache <= before + forks.length * page)
    for (const fork of [forks[0]!, forks[127]!]) t.is(difference(await golden.append(fork, [future]), expected), undefined)
    for (const fork of forks) fork.truncate(70)
    const { computeMs } = await golden.model.forward(forks.map((fork) => step(fork, new (native().Cancellation)())), null, null)
    t.true(stopping < computeMs / 2, `took ${stopping} ms to stop what takes ${computeMs} ms`)
    t.is(difference(await golden.append(parent, [future]), expected), undefined)
  })
}

test('a picture goes on in the texts that hold it, and may be cut anywhere', async (t) => {
  using golden = await open('gguf-pair-q8_0')
  const [image] = await golden.encode(golden.pixels(1))
  const rows = image!.rows
  const whole = await golden.run([{ image: image!, start: 0, count: rows }])
  for (let cut = 1; cut < rows; cut++) {
    const parts: NativeSegment[] = [{ image: image!, start: 0, count: cut }, { image: image!, start: cut, count: rows - cut }]
    t.is(difference(await golden.run(parts), whole), undefined)
    t.is(difference(await golden.run(parts, [cut, rows - cut]), whole), undefined)
  }
  const sequence = golden.model.createSequence()
  const running = golden.append(sequence, [{ image: image!, start: 0, count: rows }])
  image!.dispose()
  t.is(difference(await running, whole), undefined)
  t.is(rowCount(await golden.prompt(1, promptRows)), promptRows)
})
