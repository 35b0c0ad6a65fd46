// A picture of what other engines reach beside ours: a bar for each engine at each stage and type of weights. SVG, drawn by Observable Plot.

import * as Plot from '@observablehq/plot'
import type { PeerLine } from './peers.js'
import { plotSvg } from './plot-svg.js'

const names = {
  'llama-bench': 'llama.cpp',
  'ik-llama-bench': 'ik_llama.cpp',
  'llama-cpp-python': 'llama.cpp',
  'node-llama-cpp': 'node-llama-cpp',
  'llama-mtmd-cli': 'llama.cpp',
  'onnxruntime-node': 'ONNX Runtime',
} as const satisfies Record<PeerLine['peer'], string>

const stages = {
  prefill: 'prompt, tokens/s',
  decode: 'answer, tokens/s',
  batch: 'several answers, tokens/s',
  image: 'picture, rows/s',
} as const

const engines = ['llava-native', 'ik_llama.cpp', 'llama.cpp', 'node-llama-cpp', 'ONNX Runtime']
const colours = ['#1a7f37', '#8fb3d9', '#5b7fa6', '#b9c3cf', '#d9c48f']

interface Bar {
  readonly stage: string
  readonly dtype: string
  readonly engine: string
  readonly rate: number
}

/** Bars of one stage; ours is the median over its peers, since each peer ran beside it. */
function barsOf(lines: readonly PeerLine[]): Bar[] {
  const [first] = lines
  if (first === undefined) return []
  const stage = stages[first.what]
  const theirs = lines.map(({ peer, dtype, theirs: rate }) => ({ stage, dtype, engine: names[peer], rate }))
  const ours = [...lines].sort((a, b) => a.ours - b.ours)[Math.floor(lines.length / 2)] as PeerLine
  return [{ stage, dtype: first.dtype, engine: 'llava-native', rate: ours.ours }, ...theirs]
}

/** One panel for each stage, each on a scale of its own, one below the other. */
export function peerPlot(lines: readonly PeerLine[], dtypes: readonly string[]): string {
  const width = 760
  const panels = (['prefill', 'decode', 'image'] as const).map((what) => {
    const bars = dtypes.flatMap((dtype) => barsOf(lines.filter((line) => line.what === what && line.dtype === dtype)))
    const types = dtypes.filter((dtype) => bars.some((bar) => bar.dtype === dtype))
    const height = 62 + 21 * bars.length + 14 * types.length
    const plot = plotSvg({
      width,
      height,
      marginLeft: 170,
      marginBottom: 44,
      marginRight: 60,
      style: {
        fontFamily: 'system-ui, "DejaVu Sans", sans-serif',
        fontSize: '13px',
        background: 'white',
        color: '#333',
      },
      x: { label: stages[what], labelOffset: 38, grid: true },
      y: { label: null, domain: engines.filter((engine) => bars.some((bar) => bar.engine === engine)) },
      fy: { domain: types, axis: null, padding: 0.12 },
      color: { domain: engines, range: colours },
      marks: [
        Plot.text(types, {
          fy: (dtype: string) => dtype,
          text: (dtype: string) => dtype,
          frameAnchor: 'left',
          dx: -160,
          fontWeight: 600,
        }),
        Plot.barX(bars, { x: 'rate', y: 'engine', fy: 'dtype', fill: 'engine' }),
        Plot.text(bars, {
          x: 'rate',
          y: 'engine',
          fy: 'dtype',
          text: ({ rate }: Bar) => rate.toFixed(0),
          textAnchor: 'start',
          dx: 4,
        }),
      ],
    })
    return { plot, height }
  })
  let top = 0
  const placed = panels.map(({ plot, height }) => {
    plot.setAttribute('y', String(top))
    top += height + 10
    return plot.outerHTML
  })
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${top}" viewBox="0 0 ${width} ${top}"><rect width="100%" height="100%" fill="white"/>\n${placed.join('\n')}\n</svg>\n`
}
