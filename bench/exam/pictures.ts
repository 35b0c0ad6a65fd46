// Pictures of an examination: what is taken for what, and pictures beside the answers they got.

import path from 'node:path'
import * as Plot from '@observablehq/plot'
import sharp from 'sharp'
import { plotSvg } from '../plot-svg.js'
import type { Marked } from './main.js'
import { bare, type Thing } from './questions.js'

const green = '#1a7f37'
const red = '#cf222e'

/** Naming, things in the order of their kinds: a dot at (what it is, what the model said), larger where it happens more often. SVG. */
export function confusions(marked: readonly Marked[], things: readonly Thing[]): string {
  const order = things
    .map((thing, index) => ({ ...thing, index }))
    .sort((a, b) => a.kind.localeCompare(b.kind) || a.name.localeCompare(b.name))
  const rank = new Map(order.map((thing, at) => [thing.index, at]))
  const called = new Map(
    things.flatMap((thing, index) => [thing.name, ...thing.synonyms].map((name) => [bare(name), index])),
  )
  const counts = new Map<string, { is: number; said: number; count: number }>()
  for (const { asked, answer } of marked.filter((one) => one.asked.kind === 'name')) {
    const is = rank.get(asked.things[0] ?? -1)
    const said = rank.get(called.get(bare(answer)) ?? -1)
    if (is === undefined || said === undefined) continue
    const entry = counts.get(`${is} ${said}`) ?? { is, said, count: 0 }
    entry.count++
    counts.set(`${is} ${said}`, entry)
  }
  const borders = order.flatMap((thing, at) => (order[at - 1]?.kind === thing.kind ? [] : [{ at, kind: thing.kind }]))
  const ends = borders.map((border, n) => ({
    ...border,
    middle: (border.at + (borders[n + 1]?.at ?? order.length)) / 2,
  }))
  const svg = plotSvg({
    width: 860,
    height: 800,
    marginLeft: 90,
    marginBottom: 70,
    style: { fontFamily: 'system-ui, "DejaVu Sans", sans-serif', fontSize: '12px', background: 'white', color: '#333' },
    x: {
      label: 'what it is',
      domain: [0, order.length],
      ticks: ends.map((one) => one.middle),
      tickFormat: (at: number) => ends.find((one) => one.middle === at)?.kind ?? '',
      tickRotate: -45,
    },
    y: {
      label: 'what the model says',
      domain: [order.length, 0],
      ticks: ends.map((one) => one.middle),
      tickFormat: (at: number) => ends.find((one) => one.middle === at)?.kind ?? '',
    },
    r: { range: [1.5, 6] },
    marks: [
      Plot.ruleX(borders, { x: 'at', stroke: '#ddd' }),
      Plot.ruleY(borders, { y: 'at', stroke: '#ddd' }),
      Plot.dot([...counts.values()], {
        x: 'is',
        y: 'said',
        r: 'count',
        fill: (one: { is: number; said: number }) => (one.is === one.said ? green : red),
        fillOpacity: 0.7,
      }),
    ],
  })
  return `${svg.outerHTML}\n`
}

const tile = 192
const caption = 56
const across = 6
const down = 6

const escaped = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')

/** Questions of every kind in turn, each picture above its question and the answer: green where it is right. PNG. */
export async function contactSheet(marked: readonly Marked[], folder: string): Promise<Buffer> {
  const shown = marked.filter((one) => one.asked.picture !== '')
  const kinds = [...new Set(shown.map((one) => one.asked.kind))]
  const chosen: Marked[] = []
  for (let n = 0; chosen.length < across * down && n < shown.length; n++) {
    const mine = shown.filter((one) => one.asked.kind === kinds[n % kinds.length])
    const one = mine[(Math.floor(n / kinds.length) * 37) % mine.length]
    if (one !== undefined) chosen.push(one)
  }
  const cells = await Promise.all(
    chosen.map(async ({ hand, asked, answer, right }, at) => {
      const picture = await sharp(path.join(folder, hand, asked.picture))
        .resize(tile, tile)
        .png()
        .toBuffer()
      const lines = [
        ...wrapped([...(asked.earlier ?? []), asked.question].join(' '), 30)
          .slice(0, 2)
          .map((text) => ({ text, color: '#333' })),
        ...wrapped(answer, 30)
          .slice(0, 2)
          .map((text) => ({ text, color: right ? green : red })),
      ]
      const text = `<svg xmlns="http://www.w3.org/2000/svg" width="${tile}" height="${caption}">${lines.map((line, n) => `<text x="4" y="${12 + n * 13}" font-family="sans-serif" font-size="11" fill="${line.color}">${escaped(line.text)}</text>`).join('')}</svg>`
      const left = (at % across) * (tile + 8)
      const top = Math.floor(at / across) * (tile + caption + 8)
      return [
        { input: picture, left, top },
        { input: Buffer.from(text), left, top: top + tile },
      ]
    }),
  )
  return sharp({
    create: {
      width: across * (tile + 8) - 8,
      height: down * (tile + caption + 8) - 8,
      channels: 3,
      background: 'white',
    },
  })
    .composite(cells.flat())
    .png({ palette: true })
    .toBuffer()
}

function wrapped(text: string, width: number): string[] {
  const lines: string[] = []
  for (const word of text.split(' ')) {
    const last = lines.at(-1)
    if (last === undefined || last.length + word.length >= width) lines.push(word)
    else lines[lines.length - 1] = `${last} ${word}`
  }
  return lines
}
