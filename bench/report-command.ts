// npm run bench -- report

import { mkdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { Command } from 'commander'
import sharp from 'sharp'
import { groupBy } from './group.js'
import { betweenMarkers, markdownReport, markers, readLines } from './report.js'

const help = `
Examples:
  npm run bench -- kernels --json > bench.jsonl && npm run bench -- model --json >> bench.jsonl
  npm run bench -- report bench/results/*.jsonl --figures bench/figures --document bench/README.md

The document's table stands between ${markers.begin} and ${markers.end}.`

interface ReportFlags {
  readonly document?: string
  readonly figures?: string
}

export function addReport(program: Command): void {
  program
    .command('report')
    .description('tables and pictures of what the benches wrote as JSON lines')
    .argument('<files...>', 'JSON lines')
    .option('--document <path>', 'write the tables into this file, between its markers (default: print them)')
    .option('--figures <folder>', 'write rooflines, ratios and peers here, as SVG and PNG')
    .addHelpText('after', help)
    .action((files: string[], flags: ReportFlags) => report(files, flags))
}

async function report(files: readonly string[], { document, figures }: ReportFlags): Promise<void> {
  const texts = await Promise.all(files.map((file) => readFile(file, 'utf8')))
  const lines = readLines(texts.join('\n'))
  const tables = markdownReport(lines)
  if (document === undefined) console.log(tables)
  else await writeFile(document, betweenMarkers(await readFile(document, 'utf8'), tables))
  if (figures === undefined) return
  const { peerPlot } = await import('./peer-plot.js')
  const { ratioPlot, rooflinePlot } = await import('./roofline-plot.js') // its libraries come with a checkout only
  await mkdir(figures, { recursive: true })
  const kernels = lines.filter((line) => line.kind === 'kernel')
  for (const [isa, some] of groupBy(kernels, ({ isa }) => isa)) {
    await save(path.join(figures, `roofline-${isa}`), rooflinePlot(some))
    await save(path.join(figures, `ratios-${isa}`), ratioPlot(some))
  }
  const peers = lines.filter((line) => line.kind === 'peer')
  if (peers.length > 0) await save(path.join(figures, 'peers'), peerPlot(peers, ['Q4_0', 'Q8_0', 'F16']))
}

async function save(file: string, svg: string): Promise<void> {
  await writeFile(`${file}.svg`, svg)
  await sharp(Buffer.from(svg), { density: 144 }).png().toFile(`${file}.png`)
}
