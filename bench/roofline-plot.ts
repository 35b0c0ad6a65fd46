// Pictures of kernel lines: a log-log roofline of the products, and how close to its roof each op comes. SVG, drawn by Observable Plot on a document without a browser.

import * as Plot from '@observablehq/plot'
import type { Dtype } from '../lib/native.js'
import { dtypes } from '../lib/weights/ggml-types.js'
import { groupBy } from './group.js'
import type { KernelLine } from './kernels.js'
import { workOf } from './op-work.js'
import { plotSvg } from './plot-svg.js'
import { median } from '../lib/benchmark/statistics.js'

/** A kernel line that has a time and operations, and where it stands. */
interface Point {
  readonly line: KernelLine
  readonly time: NonNullable<KernelLine['time']>
  readonly dtype: Dtype
  /** Operations a byte. */
  readonly intensity: number
  /** G operations/s */
  readonly rate: number
  /** `gate_up, 512 rows` */
  readonly label: string
}

/** One hue for each family: floats grey, 4 bits blue, 5 bits green, 8 bits red; the K types in their darker or warmer neighbours. */
const colours: Readonly<Record<Dtype, string>> = {
  F32: '#222222',
  F16: '#767676',
  BF16: '#b0b0b0',
  Q4_0: '#1f77b4',
  Q4_1: '#74b3e0',
  Q5_0: '#2ca02c',
  Q5_1: '#8fd18f',
  Q8_0: '#d62728',
  Q2_K: '#e7ba52',
  Q3_K: '#ff7f0e',
  Q4_K: '#17359c',
  Q5_K: '#146314',
  Q6_K: '#9467bd',
}

const style = {
  fontFamily: 'system-ui, "DejaVu Sans", sans-serif',
  fontSize: '13px',
  background: 'white',
  color: '#333',
}
const ink = '#555'

function pointsOf(lines: readonly KernelLine[]): Point[] {
  return lines.flatMap((line) => {
    const { operations } = workOf(line)
    if (line.time === null || operations === 0) return []
    const rows = line.op === 'attention' ? '' : `, ${line.rows} ${line.rows === 1 ? 'row' : 'rows'}`
    return [
      {
        line,
        time: line.time,
        dtype: line.dtype,
        intensity: line.time.intensity,
        rate: operations / line.time.nanoseconds,
        label: `${line.shape}${rows}`,
      },
    ]
  })
}

interface Roof {
  readonly name: string
  readonly value: number
}

/** Medians of the peaks that a run's lines were held against. */
function roofsOf(points: readonly Point[]): { readonly compute: readonly Roof[]; readonly bandwidth: number } {
  const mixes = new Map<string, number[]>()
  const bandwidths: number[] = []
  for (const { time } of points) {
    if (time.mix === 'reads') bandwidths.push(time.peak)
    if (time.roof === 'compute') mixes.set(time.mix, [...(mixes.get(time.mix) ?? []), time.peak])
  }
  const compute = [...mixes].map(([name, peaks]) => ({ name, value: median(peaks) }))
  return { compute: compute.sort((a, b) => b.value - a.value), bandwidth: median(bandwidths) }
}

const plotWidth = 760
const plotHeight = 500

/** The products of one ISA (linear, attention, the patch convolution) under their roofs. */
export function rooflinePlot(lines: readonly KernelLine[]): string {
  const points = pointsOf(lines.filter(({ op }) => op === 'linear' || op === 'attention' || op === 'patch_embed'))
  const [first] = points
  if (first === undefined) throw new Error('a roofline needs at least one product that has a time')
  const { compute, bandwidth } = roofsOf(points)
  const x = domain(
    points.map(({ intensity }) => intensity),
    1.6,
    2,
  )
  const y = domain([...points.map(({ rate }) => rate), ...compute.map(({ value }) => value)], 1.9, 1.8)
  const placed = labels(points, compute, { x, y, width: plotWidth, height: plotHeight })
  const ridge = (value: number): number => value / bandwidth
  const highest = compute[0]?.value ?? y[1]
  const slope = Math.atan2(plotHeight / Math.log(y[1] / y[0]), plotWidth / Math.log(x[1] / x[0])) * (180 / Math.PI)
  const slopeAt = Math.sqrt(x[0] * Math.min(ridge(highest), x[1]))
  return draw({
    title: `${first.line.device}, ${first.line.threads} threads, ${first.line.isa}`,
    subtitle: 'Products of LLaVA 1.5 under this machine’s roofs; peaks measured in the same run',
    present: new Set(points.map(({ dtype }) => dtype)),
    options: {
      width: plotWidth + 160,
      height: plotHeight + 80,
      marginLeft: 70,
      marginRight: 90,
      marginTop: 20,
      marginBottom: 60,
      style,
      x: {
        type: 'log',
        domain: x,
        label: 'operations per byte of memory traffic',
        labelAnchor: 'center',
        labelOffset: 48,
        grid: true,
        ticks: powers(x),
        tickFormat: plain,
      },
      y: {
        type: 'log',
        domain: y,
        label: 'G operations / s',
        labelAnchor: 'center',
        labelOffset: 58,
        grid: true,
        ticks: powers(y),
        tickFormat: plain,
      },
      marks: [
        Plot.line(
          [
            [Math.max(x[0], y[0] / bandwidth), 0],
            [ridge(highest), 0],
          ].map(([at]) => [at, (at ?? 0) * bandwidth] as [number, number]),
          { stroke: ink, strokeWidth: 2 },
        ),
        Plot.text([`${bandwidth.toFixed(1)} GB/s reads`], {
          x: slopeAt,
          y: slopeAt * bandwidth,
          text: (d: string) => d,
          rotate: -slope,
          dy: -10,
          fill: ink,
          fontSize: 13,
        }),
        ...compute.flatMap(({ name, value }) => [
          Plot.line(
            [
              [ridge(value), value],
              [x[1], value],
            ] as [number, number][],
            { stroke: ink, strokeWidth: 2 },
          ),
          Plot.text([roofLabel({ name, value })], {
            x: x[1],
            y: value,
            text: (d: string) => d,
            textAnchor: 'end',
            dy: -9,
            fill: ink,
            fontSize: 13,
          }),
        ]),
        Plot.link(placed, { x1: 'pointX', y1: 'pointY', x2: 'x', y2: 'y', stroke: '#bbb' }),
        Plot.text(placed, {
          x: 'x',
          y: 'y',
          text: 'label',
          fontSize: 12,
          fill: '#222',
          stroke: 'white',
          strokeWidth: 4,
        }),
        Plot.dot(points, {
          x: 'intensity',
          y: 'rate',
          fill: (d: Point) => colours[d.dtype],
          r: 5,
          stroke: 'white',
          strokeWidth: 1,
        }),
      ],
    },
  })
}

/** How close each op comes to the roof that binds it: a row for each op, shape and number of rows, a dot for each type. */
export function ratioPlot(lines: readonly KernelLine[]): string {
  const timed = lines.flatMap((line) =>
    line.time === null
      ? []
      : [{ line, dtype: line.dtype, ratio: line.time.ratio, roof: line.time.roof, name: rowName(line) }],
  )
  const [first] = timed
  if (first === undefined) throw new Error('a picture of ratios needs at least one line that has a time')
  const names = [...new Set(timed.map(({ name }) => name))]
  const most = Math.max(1, ...timed.map(({ ratio }) => ratio))
  return draw({
    title: `${first.line.device}, ${first.line.threads} threads, ${first.line.isa}`,
    subtitle: 'Share of the roof that binds: round for arithmetic, square for memory bandwidth',
    present: new Set(timed.map(({ dtype }) => dtype)),
    options: {
      width: 920,
      height: 90 + 26 * names.length,
      marginLeft: 290,
      marginRight: 90,
      marginTop: 20,
      marginBottom: 50,
      style,
      x: {
        domain: [0, most],
        label: 'achieved / peak',
        labelAnchor: 'center',
        labelOffset: 42,
        grid: true,
        percent: false,
        tickFormat: (d: number) => `${Math.round(d * 100)} %`,
      },
      y: { domain: names, label: null, tickSize: 0 },
      marks: [
        Plot.ruleY(names, { stroke: '#eee' }),
        Plot.ruleX([1], { stroke: ink, strokeDasharray: '4 3' }),
        Plot.dot(timed, {
          x: 'ratio',
          y: 'name',
          fill: (d: { dtype: Dtype }) => colours[d.dtype],
          symbol: (d: { roof: string }) => (d.roof === 'compute' ? 'circle' : 'square'),
          r: 5,
          stroke: 'white',
          strokeWidth: 1,
        }),
      ],
    },
  })
}

function rowName({ op, shape, rows }: KernelLine): string {
  return `${op} ${shape}, ${rows} ${rows === 1 ? 'row' : 'rows'}`
}

/** A label, and the point of its group that a thin line leads to. */
interface Label {
  readonly label: string
  readonly x: number
  readonly y: number
  readonly pointX: number
  readonly pointY: number
}

interface Box {
  readonly left: number
  readonly right: number
  readonly top: number
  readonly bottom: number
}

/** Where values lie in pixels, on logarithmic axes. */
interface Frame {
  readonly x: readonly [number, number]
  readonly y: readonly [number, number]
  readonly width: number
  readonly height: number
}

/** Stands at the right end of its roof, where few points lie. */
const roofLabel = ({ name, value }: Roof): string => `${name} ${value.toFixed(0)} G/s`

const labelHeight = 17
const characterWidth = 6.6

/**
 * A label for all points that are the same call with other types, moved down until it covers no point, roof or other label: those that arithmetic binds
 * under their lowest point, those that memory binds right of the one with most operations a byte.
 */
function labels(points: readonly Point[], roofs: readonly Roof[], frame: Frame): Label[] {
  const right = (value: number): number =>
    (Math.log(value / frame.x[0]) / Math.log(frame.x[1] / frame.x[0])) * frame.width
  const down = (value: number): number =>
    (Math.log(frame.y[1] / value) / Math.log(frame.y[1] / frame.y[0])) * frame.height
  const around = (x: number, y: number, halfWidth: number, halfHeight: number): Box => ({
    left: x - halfWidth,
    right: x + halfWidth,
    top: y - halfHeight,
    bottom: y + halfHeight,
  })
  const taken = [
    ...points.map(({ intensity, rate }) => around(right(intensity), down(rate), 6, 6)),
    ...roofs.flatMap((roof) => {
      const half = (roofLabel(roof).length * characterWidth) / 2
      return [
        around(0, down(roof.value), frame.width, 2),
        around(frame.width - half, down(roof.value) - 9, half, labelHeight / 2),
      ]
    }),
  ]
  const groups = [
    ...groupBy(points, ({ label, time }) => `${label} ${time.roof === 'compute' ? time.mix : ''}`).values(),
  ]
  const anchors = groups.map((group) =>
    group.reduce((best, point) =>
      (point.time.roof === 'compute' ? point.rate < best.rate : point.intensity > best.intensity) ? point : best,
    ),
  )
  return anchors
    .toSorted((a, b) => a.rate - b.rate)
    .map(({ label, intensity, rate, time }) => {
      const half = (label.length * characterWidth) / 2
      const beside = time.roof === 'bandwidth' ? 14 + half : 0
      const x = Math.min(Math.max(right(intensity) + beside, half), frame.width - half)
      let y = down(rate) + (beside === 0 ? 19 : 0)
      while (taken.some((box) => overlap(box, around(x, y, half, labelHeight / 2)))) y += 4
      taken.push(around(x, y, half, labelHeight / 2))
      return {
        label,
        x: frame.x[0] * (frame.x[1] / frame.x[0]) ** (x / frame.width),
        y: frame.y[1] * (frame.y[0] / frame.y[1]) ** (y / frame.height),
        pointX: intensity,
        pointY: rate,
      }
    })
}

function overlap(a: Box, b: Box): boolean {
  return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom
}

function domain(values: readonly number[], below: number, above: number): [number, number] {
  return [Math.min(...values) / below, Math.max(...values) * above]
}

/** 1, 2 and 5 of each decade in a domain; whole decades where they are many. */
function powers([low, high]: readonly [number, number]): number[] {
  const decades = Math.log10(high / low)
  const steps = decades > 2.5 ? [1] : [1, 2, 5]
  return Array.from({ length: 12 }, (_, n) => 10 ** (n - 4))
    .flatMap((decade) => steps.map((step) => step * decade))
    .filter((tick) => tick >= low && tick <= high)
}

const plain = (value: number): string =>
  value >= 1 ? value.toLocaleString('en-US') : String(Number(value.toPrecision(2)))

interface Drawing {
  readonly title: string
  readonly subtitle: string
  readonly present: ReadonlySet<Dtype>
  readonly options: Plot.PlotOptions & { readonly width: number; readonly height: number }
}

const headHeight = 64

/** The plot with its title above and the types' colours at its right, as one SVG. */
function draw({ title, subtitle, present, options }: Drawing): string {
  const plot = plotSvg(options)
  plot.setAttribute('y', String(headHeight))
  const { width, height } = options
  const legend = dtypes
    .filter((dtype) => present.has(dtype))
    .map(
      (dtype, n) =>
        `<circle cx="${width - 72}" cy="${headHeight + 30 + 22 * n}" r="5" fill="${colours[dtype]}"/><text x="${width - 60}" y="${headHeight + 34.5 + 22 * n}" font-size="13" fill="#333">${dtype}</text>`,
    )
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height + headHeight}" viewBox="0 0 ${width} ${height + headHeight}" font-family='${style.fontFamily}'>`,
    `<rect width="100%" height="100%" fill="white"/>`,
    `<text x="24" y="32" font-size="19" font-weight="600" fill="#222">${escaped(title)}</text>`,
    `<text x="24" y="54" font-size="13" fill="${ink}">${escaped(subtitle)}</text>`,
    plot.outerHTML,
    ...legend,
    '</svg>',
  ].join('\n')
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
}
