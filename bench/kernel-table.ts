// Kernel lines as a readable table, line by line as they come.

import type { KernelLine } from './kernels.js'
import { duration, percent } from './report.js'

/** The CPU's name, and what the columns are. */
export function tableHead({ device, threads }: KernelLine): string {
  return (
    `${device}, ${threads} threads; ratio: achieved over the peak of the roof that binds, measured in this run\n` +
    [
      'op'.padEnd(12),
      'shape'.padEnd(18),
      'dtype'.padEnd(6),
      'isa'.padEnd(7),
      'rows'.padStart(5),
      'time'.padStart(10),
      'spread'.padStart(7),
      'achieved'.padStart(16),
      'peak'.padStart(9),
      'ratio'.padStart(6),
      '',
      'roof'.padEnd(9),
      'result',
    ].join(' ')
  )
}

/** `linear  7b.gate_up  Q4_0  avx512  1  2.31 ms  2 %  21.6 GB/s  25.0  86 %  bandwidth  ok 5f3c…` */
export function tableRow({
  op,
  shape,
  dtype,
  isa,
  rows,
  time,
  ok,
  error,
  bound,
  hash,
  steady,
  against,
}: KernelLine): string {
  const name = [op.padEnd(12), shape.padEnd(18), dtype.padEnd(6), isa.padEnd(7), String(rows).padStart(5)].join(' ')
  const result = ok
    ? `ok ${hash}${steady ? '' : ' (the machine was not steady)'}`
    : `WRONG: ${error.toFixed(1)} ulp, bound ${bound.toFixed(1)}`
  if (time === null) return `${name} ${'no time'.padStart(10)}${' '.repeat(53)}${result}`
  const numbers = [
    duration(time.nanoseconds).padStart(10),
    percent(time.spread).padStart(7),
    `${time.achieved.toFixed(1)} ${time.unit}`.padStart(16),
    time.peak.toFixed(1).padStart(9),
    percent(time.ratio).padStart(6),
  ]
  return [name, ...numbers, '', time.roof.padEnd(9), result, comparison(against)].join(' ').trimEnd()
}

function comparison(against: KernelLine['against']): string {
  if (against === undefined) return ''
  if (!against.ok) return `${against.name} is WRONG`
  if (against.speedup === null) return ''
  return `${against.speedup.toFixed(2)} x ${against.name}`
}
