// Work in slices: the same result, with turns of the event loop in between, whatever the picture's shape.

import test from 'ava'
import { type RgbImage } from '../lib/image/decode.js'
import { preprocess, preprocessInSlices } from '../lib/image/preprocess.js'
import { resizeBicubic } from '../lib/image/resize.js'
import { finishInSlices } from '../lib/slices.js'

const spec = {
  imageSize: 336,
  aspectRatio: 'pad',
  mean: [0.48, 0.46, 0.41],
  std: [0.27, 0.26, 0.28],
  rescaleFactor: 1 / 255,
  shortestEdge: 336,
} as const

function picture(width: number, height: number): RgbImage {
  return { width, height, data: Uint8Array.from({ length: 3 * width * height }, (_, i) => (i * 7919) >> 3) }
}

function* spin(milliseconds: number): Generator<undefined, string> {
  const end = performance.now() + milliseconds
  while (performance.now() < end) yield
  return 'done'
}

test.serial('work that takes long lets others have their turn many times', async (t) => {
  let turns = 0
  let over = false
  const turn = () => {
    turns++
    if (!over) setImmediate(turn)
  }
  setImmediate(turn)
  t.is(await finishInSlices(spin(200)), 'done')
  over = true
  // slices of 4 ms; a busy machine may stretch some
  t.true(turns >= 10, `${turns} turns`)
})

test.serial('works side by side take their slices in different turns of the event loop', async (t) => {
  let turns = 0
  let over = false
  const turn = () => {
    turns++
    if (!over) setImmediate(turn)
  }
  setImmediate(turn)
  let slices = 0
  const check = () => {
    slices++
  }
  await Promise.all([1, 2, 3, 4].map(() => finishInSlices(spin(100), check)))
  over = true
  t.true(slices > 4)
  t.true(turns >= slices, `${turns} turns, ${slices} slices`)
})

test.serial('work that is short is done at once', async (t) => {
  let turned = false
  setImmediate(() => {
    turned = true
  })
  await finishInSlices(spin(0))
  t.false(turned)
})

test.serial('a check that throws between slices stops the work', async (t) => {
  const started = performance.now()
  const check = () => {
    throw new Error('enough')
  }
  await t.throwsAsync(finishInSlices(spin(60_000), check), { message: 'enough' })
  t.true(performance.now() - started < 30_000)
})

test.serial('preprocessing in slices equals preprocessing at once', async (t) => {
  for (const [width, height] of [
    [5, 7],
    [900, 640],
    [200_000, 1],
    [1, 200_000],
  ] as const) {
    t.deepEqual(await preprocessInSlices(picture(width, height), spec), preprocess(picture(width, height), spec))
  }
})

test.serial('a resize may pause often, however wide or high the picture', (t) => {
  for (const [width, height] of [
    [4000, 300],
    [300, 4000],
    [400_000, 3],
    [3, 400_000],
  ] as const) {
    const side = Math.max(width, height)
    const canvas = { width: side, height: side, left: 0, top: 0, fill: [0, 0, 0] } as const
    const steps = resizeBicubic(picture(width, height), canvas, {
      width: 336,
      height: 336,
      left: 0,
      top: 0,
      columns: 336,
      rows: 336,
    })
    let pauses = 0
    while (steps.next().done !== true) pauses++
    // every source pixel is seen by 4 outputs of its row, and a step has 2¹⁷ such taps, or those of one output: half as many leave room for rounding
    t.true(pauses >= (4 * width * height) / 2 ** 17 / 2, `${pauses} pauses`)
  }
})
