// JSON lines of the benches as Markdown tables, and their place in a document.

import { dtypes } from '../lib/weights/ggml-types.js'
import { groupBy } from './group.js'
import type { KernelLine } from './kernels.js'
import type { ModelLine } from './model-bench.js'
import type { PeerLine } from './peers.js'
import { patches as rowsOfPicture } from './shapes.js'

export type BenchLine = KernelLine | ModelLine | PeerLine

export const markers = { begin: '<!-- bench: begin -->', end: '<!-- bench: end -->' } as const

const kinds: readonly string[] = ['kernel', 'model', 'open', 'memory', 'peer'] satisfies BenchLine['kind'][]

/** Every timed line of every bench in a text; of one row measured several times, the last. */
export function readLines(text: string): BenchLine[] {
  const all = text
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => JSON.parse(line) as BenchLine)
  const lines = all.filter(({ kind }) => kinds.includes(kind))
  return [...new Map(lines.map((line) => [identity(line), line])).values()]
}

/** What a line measured, whatever came out. */
function identity(line: BenchLine): string {
  if (line.kind === 'kernel')
    return [
      line.kind,
      line.device,
      line.threads,
      line.isa,
      line.op,
      line.shape,
      line.dtype,
      line.rows,
      line.exact === true,
    ].join()
  if (line.kind === 'peer') return [line.kind, line.device, line.threads, line.peer, line.what, line.dtype].join()
  const subject = [line.kind, line.device, line.model, line.threads]
  return (line.kind === 'model' ? [...subject, line.what, line.dtype, line.sequences, line.tokens] : subject).join()
}

/** The document with `content` between its markers, everything else as it was. */
export function betweenMarkers(document: string, content: string): string {
  const begin = document.indexOf(markers.begin)
  const end = document.indexOf(markers.end, begin)
  if (begin < 0 || end < 0)
    throw new Error(`the document has no place for a report: expected ${markers.begin} and, below it, ${markers.end}`)
  return `${document.slice(0, begin + markers.begin.length)}\n${content.trim()}\n${document.slice(end)}`
}

/** Tables of all that was measured, under the CPU's name. */
export function markdownReport(lines: readonly BenchLine[]): string {
  const kernels = lines.filter((line) => line.kind === 'kernel')
  const products = kernels.filter(({ op }) => op === 'linear')
  const others = kernels.filter(({ op }) => op !== 'linear')
  const peers = lines.filter((line) => line.kind === 'peer')
  const head =
    kernels.length === 0
      ? ''
      : `Kernels were measured on ${kernels[0]?.device}; every peak in the same run, on the same threads.`
  const tables = [...groupBy(products, ({ isa, threads }) => `${isa}, ${threads} threads`)].map(([where, some]) =>
    productTable(where, some),
  )
  return [modelTable(lines), head, ...tables, opTable(others), peerTable(peers)]
    .filter((part) => part !== '')
    .join('\n\n')
}

/** Products with a row for each type and a column for each call. */
function productTable(where: string, lines: readonly KernelLine[]): string {
  const calls = [
    ...groupBy(
      lines,
      ({ shape, rows, exact }) => `${shape}, ${rows} ${rows === 1 ? 'row' : 'rows'}${exact === true ? ', exact' : ''}`,
    ),
  ]
  const rows = dtypes
    .filter((dtype) => lines.some((line) => line.dtype === dtype))
    .map((dtype) => [dtype, ...calls.map(([, some]) => cell(some.find((line) => line.dtype === dtype)))])
  return table([where, ...calls.map(([call]) => call)], rows)
}

/** `21.9 GB/s, 69 %` */
function cell(line: KernelLine | undefined): string {
  if (line === undefined) return ''
  if (!line.ok || line.time === null) return '**wrong**'
  return `${line.time.achieved.toFixed(line.time.achieved < 100 ? 1 : 0)} ${line.time.unit}, ${percent(line.time.ratio)}`
}

function opTable(lines: readonly KernelLine[]): string {
  if (lines.length === 0) return ''
  const rows = lines.map(({ op, shape, dtype, isa, threads, rows: count, time }) => [
    `${op} ${shape}`,
    String(count),
    dtype,
    `${isa}, ${threads}`,
    ...(time === null
      ? ['**wrong**', '', '', '']
      : [
          duration(time.nanoseconds),
          `${time.achieved.toFixed(1)} of ${time.peak.toFixed(1)} ${time.unit}`,
          percent(time.ratio),
          time.mix,
        ]),
  ])
  return table(['op', 'rows', 'type', 'ISA, threads', 'time', 'achieved', 'share', 'roof'], rows)
}

function peerTable(lines: readonly PeerLine[]): string {
  if (lines.length === 0) return ''
  const rows = lines.map(({ peer, what, dtype, threads, ours, theirs, ratio }) => [
    peer,
    what,
    dtype,
    String(threads),
    ours.toFixed(1),
    theirs.toFixed(1),
    ratio.toFixed(2),
  ])
  const head = `Other engines, in turns with ours on ${lines[0]?.device}:`
  return `${head}\n\n${table(['peer', 'stage', 'weights', 'threads', 'ours, tokens/s', 'theirs', 'ours / theirs'], rows)}`
}

/** What a person waits for, a row for each model on each CPU. */
function modelTable(lines: readonly BenchLine[]): string {
  const subjects = groupBy(
    lines.filter((line) => line.kind === 'model' || line.kind === 'memory'),
    ({ device, model, threads }) => [device, model, threads].join(),
  )
  const rows = [...subjects.values()].map(modelRow)
  return rows.length === 0
    ? ''
    : table(
        ['CPU', 'model', 'a picture', 'prompt, tokens/s', 'answer, tokens/s', 'several answers at once', 'memory'],
        rows,
      )
}

function modelRow(lines: readonly Extract<BenchLine, { kind: 'model' | 'memory' }>[]): string[] {
  const stages = lines.filter((line) => line.kind === 'model')
  const image = stages.find(({ what }) => what === 'image')
  const prefill = stages.find(({ what }) => what === 'prefill')
  const decode = stages.find(({ what, sequences }) => what === 'decode' && sequences === 1)
  const several = stages.filter(({ what, sequences }) => what === 'decode' && sequences > 1)
  const memory = lines.find((line) => line.kind === 'memory')
  const [{ device, model, threads } = { device: '', model: '', threads: 0 }] = lines
  const gibibytes = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(2)} GiB`
  const rate = (line: { readonly tokensPerSecond: number } | undefined): string =>
    line === undefined ? '' : line.tokensPerSecond.toFixed(1)
  return [
    `${device}, ${threads} threads${prefill === undefined ? '' : ` (${prefill.isa})`}`,
    model,
    image === undefined ? '' : `${(rowsOfPicture / image.tokensPerSecond).toFixed(2)} s`,
    rate(prefill),
    rate(decode),
    several.map((line) => `${line.sequences}: ${rate(line)}`).join(', '),
    memory === undefined
      ? ''
      : `${gibibytes(memory.weightsMappedBytes)} of file${memory.residentBytes === undefined ? '' : ` + ${gibibytes(memory.residentBytes)}`}`,
  ]
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')
}

export function duration(nanoseconds: number): string {
  if (nanoseconds < 1e6) return `${(nanoseconds / 1e3).toFixed(1)} µs`
  return nanoseconds < 1e9 ? `${(nanoseconds / 1e6).toFixed(2)} ms` : `${(nanoseconds / 1e9).toFixed(2)} s`
}

export function percent(share: number): string {
  return `${(share * 100).toFixed(0)} %`
}
