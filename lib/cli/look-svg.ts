// What `llava look` draws: the picture as the model sees it, and for each word a card of two overlays with their scales.
//   attention: colours from 0 to the largest weight of the card; occlusion: from the largest change, downwards or upwards; white is none.

import type { RgbImage } from '../index.js'

/** Values over the picture, [rows, columns]. */
export interface Field {
  readonly rows: number
  readonly columns: number
  readonly values: Float32Array
}

export interface WordLook {
  readonly text: string
  readonly logprob: number
  /** Shares of the attention. */
  readonly attention: Field
  /** Changes of the log-probability where a place is grey. */
  readonly occlusion: Field
}

export interface Look {
  readonly question: string
  readonly answer: string
  readonly seen: RgbImage
  readonly words: readonly WordLook[]
  /** Patches on a side of a square that was greyed. */
  readonly window: number
}

const panel = 264 // of 12 and of 24 patches
const gap = 14
const margin = 24
const card = { width: 2 * panel + gap, height: panel + 78 }
const space = 34 // between cards

/** Changes of the log-probability up to here look like little, however much larger than others: a tenth of the probability. */
const leastShown = 0.1

/** From the least to the largest: viridis, and red over white to blue (ColorBrewer's RdBu). */
const sequential = ['#440154', '#3b528b', '#21918c', '#5ec962', '#fde725']
const diverging = ['#b2182b', '#ef8a62', '#f7f7f7', '#67a9cf', '#2166ac']

export async function lookSvg({ question, answer, seen, words, window }: Look): Promise<string> {
  const across = Math.min(2, words.length)
  const width = 2 * margin + Math.max(across * (card.width + space) - space, card.width + 200)
  const top = margin + panel + 2 * gap + 12
  const height = top + Math.ceil(words.length / across) * (card.height + gap) + margin / 2
  const left = margin + panel + 2 * gap
  const lines = (text: string) => wrap(text, Math.floor((width - left - margin) / 8))
  const header = [
    ...lines(question).map((line) => ['question', line] as const),
    ...lines(answer).map((line) => ['answer', line] as const),
    ...lines('Attention: the mean over layers and heads of the weights with which the word read each patch.').map(
      (line) => ['note', line] as const,
    ),
    ...lines(
      `Occlusion: how the word's log-probability changes when ${window} × ${window} patches are grey. Red: the word needs the place; blue: it would be likelier without it.`,
    ).map((line) => ['note', line] as const),
    ...lines('Attention is no explanation: it says what was read, not why the word was chosen.').map(
      (line) => ['note', line] as const,
    ),
  ]
  let y = margin + 18
  const texts = header.map(([kind, line], n) => {
    if (n > 0) y += kind === header[n - 1]?.[0] ? 20 : 30
    return `<text class="${kind}" x="${left}" y="${y}">${escaped(line)}</text>`
  })
  const cards = words.map((word, n) => {
    const x = margin + (n % across) * (card.width + space)
    return `<g transform="translate(${x} ${top + Math.floor(n / across) * (card.height + gap)})">${cardOf(word)}</g>`
  })
  const [colour, grey] = await Promise.all([pngOf(seen, false), pngOf(seen, true)])
  const image = (id: string, png: string) =>
    `<image id="${id}" width="${panel}" height="${panel}" preserveAspectRatio="none" href="data:image/png;base64,${png}"/>`
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">
<style>text { font: 13px "DejaVu Sans", "Liberation Sans", Arial, sans-serif; fill: #222 } .question { font-weight: bold; font-size: 15px } .answer { font-size: 15px } .note, .scale { fill: #555; font-size: 12px } .word { font-weight: bold; font-size: 15px }</style>
<defs>${image('grey', grey)}${gradient('sequential', sequential)}${gradient('diverging', diverging)}</defs>
<rect width="100%" height="100%" fill="#fff"/>
<g transform="translate(${margin} ${margin})">${image('seen', colour)}${frame()}<text class="scale" x="0" y="${panel + 18}">what the model sees</text></g>
${texts.join('\n')}
${cards.join('\n')}
</svg>
`
}

function cardOf({ text, logprob, attention, occlusion }: WordLook): string {
  const most = Math.max(...attention.values, Number.MIN_VALUE)
  const strongest = Math.max(...occlusion.values.map(Math.abs), leastShown)
  const share = (value: number) => `${(100 * value).toPrecision(2)} %`
  const change = (value: number) => `${value > 0 ? '+' : value < 0 ? '−' : ''}${Math.abs(value).toPrecision(2)}`
  const probability = Math.exp(logprob)
  const shown = probability > 0.0995 ? probability.toFixed(2) : probability.toPrecision(1)
  return [
    `<text class="word" x="0" y="14">${escaped(text)}<tspan class="scale" font-weight="normal" dx="8">p = ${shown}</tspan></text>`,
    `<g transform="translate(0 24)">${overlay(attention, sequential, (value) => value / most)}${scale('sequential', ['0', 'attention a patch', share(most)])}</g>`,
    `<g transform="translate(${panel + gap} 24)">${overlay(occlusion, diverging, (value) => 0.5 + value / strongest / 2)}`,
    `${scale('diverging', [change(-strongest), 'change of ln p', change(strongest)])}</g>`,
  ].join('')
}

/** The picture in grey, under squares in the colours of their values. */
function overlay(
  { rows, columns, values }: Field,
  colours: readonly string[],
  place: (value: number) => number,
): string {
  const [width, height] = [panel / columns, panel / rows]
  const squares = Array.from(values, (value, at) => {
    const [x, y] = [(at % columns) * width, Math.floor(at / columns) * height]
    return `<rect x="${round(x)}" y="${round(y)}" width="${round(width)}" height="${round(height)}" fill="${colourAt(colours, place(value))}"/>`
  })
  return `<use href="#grey"/><g opacity="0.65" shape-rendering="crispEdges">${squares.join('')}</g>${frame()}`
}

function frame(): string {
  return `<rect width="${panel}" height="${panel}" fill="none" stroke="#888"/>`
}

/** A bar of colours with what stands at its ends and in its middle. */
function scale(id: string, [least, middle, most]: readonly [string, string, string]): string {
  const y = panel + 8
  const label = (x: number, anchor: string, text: string) =>
    `<text class="scale" x="${x}" y="${y + 24}" text-anchor="${anchor}">${escaped(text)}</text>`
  const bar = `<rect y="${y}" width="${panel}" height="9" fill="url(#${id})" fill-opacity="0.8" stroke="#888" stroke-width="0.5"/>`
  return bar + label(0, 'start', least) + label(panel / 2, 'middle', middle) + label(panel, 'end', most)
}

function gradient(id: string, colours: readonly string[]): string {
  const stops = colours.map((colour, n) => `<stop offset="${n / (colours.length - 1)}" stop-color="${colour}"/>`)
  return `<linearGradient id="${id}">${stops.join('')}</linearGradient>`
}

/** @param place in [0, 1] */
function colourAt(colours: readonly string[], place: number): string {
  const at = Math.min(Math.max(Number.isNaN(place) ? 0 : place, 0), 1) * (colours.length - 1)
  const [low, high] = [colours[Math.floor(at)] as string, colours[Math.ceil(at)] as string]
  const channel = (n: number) => {
    const [from, to] = [low, high].map((colour) => Number.parseInt(colour.slice(1 + 2 * n, 3 + 2 * n), 16)) as [
      number,
      number,
    ]
    return Math.round(from + (to - from) * (at % 1))
  }
  return `rgb(${channel(0)},${channel(1)},${channel(2)})`
}

async function pngOf({ width, height, data }: RgbImage, grey: boolean): Promise<string> {
  const { default: sharp } = await import('sharp')
  const picture = sharp(data, { raw: { width, height, channels: 3 } })
  return (await (grey ? picture.greyscale() : picture).png().toBuffer()).toString('base64')
}

/** Breaks a text at white space into lines of about so many characters, at most six. */
function wrap(text: string, width: number): readonly string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.trim().split(/\s+/)) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  const all = [...lines, line]
  return all.length <= 6 ? all : [...all.slice(0, 5), `${all[5]} …`]
}

function round(value: number): number {
  return Math.round(value * 100) / 100
}

function escaped(text: string): string {
  return text
    .replaceAll(/(?![\t\n])\p{Cc}/gu, '\uFFFD')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
}
