// The report: one line for each row measured, tables between markers with the rest untouched, pictures that hold every point.

import test from 'ava'
import { betweenMarkers, markdownReport, markers, readLines, type KernelLine } from '../bench/index.js'
import { ratioPlot, rooflinePlot } from '../bench/roofline-plot.js'

const time = { nanoseconds: 2e6, spread: 0.01, roof: 'compute', achieved: 500, peak: 900, unit: 'GOP/s', mix: 'vpdpbusd', ratio: 5 / 9, intensity: 80 } as const
const line: KernelLine = {
  kind: 'kernel', device: 'A <CPU> & more', op: 'linear', shape: '7b.o', dtype: 'Q4_0', isa: 'avx512', threads: 2, rows: 512, columns: 4096, depth: 4096, outputs: 1,
  ok: true, error: 1, bound: 8, hash: '0123456789abcdef', steady: true, time,
}
const decode: KernelLine = { ...line, rows: 1, time: { ...time, roof: 'bandwidth', mix: 'reads', unit: 'GB/s', achieved: 20, peak: 30, ratio: 2 / 3, intensity: 3.5 } }
const wrong: KernelLine = { ...line, dtype: 'Q4_K', ok: false, time: null }

test('of a row measured twice the later line counts, others stay', (t) => {
  const later = { ...line, time: { ...time, nanoseconds: 1e6 } }
  const text = [line, decode, later].map((one) => JSON.stringify(one)).join('\n') + '\n\n'
  t.deepEqual(readLines(text), [later, decode])
})

test('a report stands between the markers and leaves the rest as it was', (t) => {
  const document = `# Title\n\n${markers.begin}\nold\n${markers.end}\nafter ${markers.end}\n`
  t.is(betweenMarkers(document, '\nnew\n\n'), `# Title\n\n${markers.begin}\nnew\n${markers.end}\nafter ${markers.end}\n`)
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
  const rows = markdownReport([line, decode, wrong]).split('\n').filter((row) => row.startsWith('|'))
  t.deepEqual(rows, [
    '| avx512, 2 threads | 7b.o, 512 rows | 7b.o, 1 row |',
    '| --- | --- | --- |',
    '| Q4_0 | 500 GOP/s, 56 % | 20.0 GB/s, 67 % |',
    '| Q4_K | **wrong** |  |',
  ])
})

test('other ops have a row each', (t) => {
  const norm: KernelLine = { ...decode, op: 'rms_norm', shape: '7b.hidden', dtype: 'F32', rows: 8 }
  const rows = markdownReport([norm, { ...norm, rows: 1, ok: false, time: null }]).split('\n').filter((row) => row.startsWith('| rms_norm'))
  t.deepEqual(rows, ['| rms_norm 7b.hidden | 8 | F32 | avx512, 2 | 2.00 ms | 20.0 of 30.0 GB/s | 67 % | reads |', '| rms_norm 7b.hidden | 1 | F32 | avx512, 2 | **wrong** |  |  |  |'])
})

test('lines of other kinds are left out', (t) => {
  t.deepEqual(readLines(JSON.stringify({ kind: 'count', instructions: 1 })), [])
})

test('a roofline names the CPU, its roofs and its calls, and has a dot for each that has a time', (t) => {
  const svg = rooflinePlot([line, decode, wrong])
  t.true(svg.includes('A &lt;CPU> &amp; more, 2 threads, avx512'))
  for (const text of ['vpdpbusd 900 G/s', '30.0 GB/s reads', '7b.o, 512 rows', '7b.o, 1 row']) t.true(svg.includes(text), text)
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
