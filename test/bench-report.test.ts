// The report: one line for each row measured, tables between markers with the rest untouched, pictures that hold every point.

import test from 'ava'
import { betweenMarkers, markdownReport, markers, readLines, type KernelLine, type ModelLine } from '../bench/index.js'
import { peerPlot } from '../bench/peer-plot.js'
import { ratioPlot, rooflinePlot } from '../bench/roofline-plot.js'

const time = {
  nanoseconds: 2e6,
  spread: 0.01,
  roof: 'compute',
  achieved: 500,
  peak: 900,
  unit: 'GOP/s',
  mix: 'vpdpbusd',
  ratio: 5 / 9,
  intensity: 80,
} as const
const line: KernelLine = {
  kind: 'kernel',
  device: 'A <CPU> & more',
  op: 'linear',
  shape: '7b.o',
  dtype: 'Q4_0',
  isa: 'avx512',
  threads: 2,
  rows: 512,
  columns: 4096,
  depth: 4096,
  outputs: 1,
  ok: true,
  error: 1,
  bound: 8,
  hash: '0123456789abcdef',
  steady: true,
  time,
}
const decode: KernelLine = {
  ...line,
  rows: 1,
  time: {
    ...time,
    roof: 'bandwidth',
    mix: 'reads',
    unit: 'GB/s',
    achieved: 20,
    peak: 30,
    ratio: 2 / 3,
    intensity: 3.5,
  },
}
const wrong: KernelLine = { ...line, dtype: 'Q4_K', ok: false, time: null }

test('of a row measured twice the later line counts, others stay', (t) => {
  const later = { ...line, time: { ...time, nanoseconds: 1e6 } }
  const text = [line, decode, later].map((one) => JSON.stringify(one)).join('\n') + '\n\n'
  t.deepEqual(readLines(text), [later, decode])
})

test('a report stands between the markers and leaves the rest as it was', (t) => {
  const document = `# Title\n\n${markers.begin}\nold\n${markers.end}\nafter ${markers.end}\n`
  t.is(
    betweenMarkers(document, '\nnew\n\n'),
    `# Title\n\n${markers.begin}\nnew\n${markers.end}\nafter ${markers.end}\n`,
  )
  t.is(betweenMarkers(betweenMarkers(document, 'new'), 'new'), betweenMarkers(document, 'new'))
})

for (const [name, document] of [
  ['neither marker', 'text'],
  ['no end', `${markers.begin} text`],
  ['the end first', `${markers.end} ${markers.begin}`],
] as const) {
  test(`a document with ${name} is refused`, (t) => {
    t.throws(() => betweenMarkers(document, 'new'), { message: /has no place for a report/ })
  })
}

test('products have a row for each type and a column for each call, and a wrong result has no number', (t) => {
  const rows = markdownReport([line, decode, wrong])
    .split('\n')
    .filter((row) => row.startsWith('|'))
  t.deepEqual(rows, [
    '| avx512, 2 threads | 7b.o, 512 rows | 7b.o, 1 row |',
    '| --- | --- | --- |',
    '| Q4_0 | 500 GOP/s, 56 % | 20.0 GB/s, 67 % |',
    '| Q4_K | **wrong** |  |',
  ])
})

test('other ops have a row each', (t) => {
  const norm: KernelLine = { ...decode, op: 'rms_norm', shape: '7b.hidden', dtype: 'F32', rows: 8 }
  const rows = markdownReport([norm, { ...norm, rows: 1, ok: false, time: null }])
    .split('\n')
    .filter((row) => row.startsWith('| rms_norm'))
  t.deepEqual(rows, [
    '| rms_norm 7b.hidden | 8 | F32 | avx512, 2 | 2.00 ms | 20.0 of 30.0 GB/s | 67 % | reads |',
    '| rms_norm 7b.hidden | 1 | F32 | avx512, 2 | **wrong** |  |  |  |',
  ])
})

test('a whole model has a row with what a person waits for', (t) => {
  const subject = { device: 'A CPU', model: '7B, 32 layers, Q4_0, picture F16', threads: 2 } as const
  const stage = {
    kind: 'model',
    ...subject,
    isa: 'avx512',
    dtype: 'Q4_0',
    sequences: 1,
    tokens: 1,
    achieved: 1,
    peak: 2,
    unit: 'GB/s',
    roof: 'reads',
    ratio: 0.5,
  } as const
  const lines = [
    {
      kind: 'memory',
      ...subject,
      residentBytes: 2 ** 28,
      kvCacheBytes: 1,
      scratchBytes: 1,
      weightsMappedBytes: 2 ** 32,
      positions: 64,
    },
    { ...stage, what: 'image', tokensPerSecond: 288 },
    { ...stage, what: 'prefill', tokens: 512, tokensPerSecond: 80 },
    { ...stage, what: 'decode', tokensPerSecond: 9.5 },
    { ...stage, what: 'decode', sequences: 8, tokensPerSecond: 40 },
  ] as const satisfies readonly ModelLine[]
  const rows = markdownReport(readLines(lines.map((one) => JSON.stringify(one)).join('\n'))).split('\n')
  t.is(rows[0], '| CPU | model | a picture | prompt, tokens/s | answer, tokens/s | several answers at once | memory |')
  t.is(
    rows[2],
    '| A CPU, 2 threads (avx512) | 7B, 32 layers, Q4_0, picture F16 | 2.00 s | 80.0 | 9.5 | 8: 40.0 | 4.00 GiB of file + 0.25 GiB |',
  )
})

test('a picture of peers has a bar for each engine at each stage', (t) => {
  const peer = {
    kind: 'peer',
    device: 'A CPU',
    peer: 'llama-bench',
    what: 'prefill',
    dtype: 'Q4_0',
    threads: 2,
    ours: 544,
    theirs: 194,
    ratio: 2.8,
  } as const
  const svg = peerPlot(
    [
      peer,
      { ...peer, peer: 'ik-llama-bench', theirs: 295 },
      { ...peer, what: 'decode', ours: 80, theirs: 68 },
      { ...peer, what: 'image', ours: 306, theirs: 223 },
    ],
    ['Q4_0'],
  )
  for (const text of ['llava-native', 'ik_llama.cpp', '544', '295', '194', '80', '68', 'picture, rows/s'])
    t.true(svg.includes(`>${text}`), text)
})

test('lines of other kinds are left out', (t) => {
  t.deepEqual(readLines(JSON.stringify({ kind: 'count', instructions: 1 })), [])
})

test('a roofline names the CPU, its roofs and its calls, and has a dot for each that has a time', (t) => {
  const svg = rooflinePlot([line, decode, wrong])
  t.true(svg.includes('A &lt;CPU> &amp; more, 2 threads, avx512'))
  for (const text of ['vpdpbusd 900 G/s', '30.0 GB/s reads', '7b.o, 512 rows', '7b.o, 1 row'])
    t.true(svg.includes(text), text)
  t.is(svg.split('aria-label="dot"')[1]!.match(/<circle/g)!.length - 1, 2) // and one of the legend
})

test('a picture of ratios has a row for each call', (t) => {
  const svg = ratioPlot([line, decode, wrong])
  for (const text of ['linear 7b.o, 512 rows', 'linear 7b.o, 1 row']) t.true(svg.includes(text), text)
})

test('without a line that has a time there is no picture', (t) => {
  t.throws(() => rooflinePlot([wrong]))
  t.throws(() => ratioPlot([wrong]))
})
