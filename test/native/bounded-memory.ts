// What corrupt-files.test.ts runs in a process of its own, with the probe preloaded: damaged files of every format are opened, and the memory that each
// takes at most is held against its size. Counted is all that malloc gives and whose pages the process touches, its own and its libraries'.

import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { decodeImage, LlavaError } from '../../lib/index.js'
import { readGgufHeader } from '../../lib/weights/gguf.js'
import { readPytorchFile } from '../../lib/weights/pytorch.js'
import { readSafetensorsHeader } from '../../lib/weights/safetensors.js'
import { loadProbe } from './allocation-probe.js'
import { lengths, victims, withCopy, withTurnedBits } from './victims.js'
import { hostileFiles } from './hostile-files.js'

const allowance = 64 * 2 ** 20
const probe = loadProbe()
const pictures = fileURLToPath(new URL('../../../test/fixtures/pictures/', import.meta.url))
/** The most bytes above the file's size that damage has taken, by format. */
const most: Record<string, number> = {}

/** The highest resident size since the last call of `forgetPeak`, and the one now, in bytes. */
function resident(): { readonly peak: number; readonly now: number } {
  const status = readFileSync('/proc/self/status', 'utf8')
  const of = (key: string): number => 1024 * Number(new RegExp(`${key}:\\s+(\\d+)`).exec(status)?.[1])
  return { peak: of('VmHWM'), now: of('VmRSS') }
}

function forgetPeak(): void {
  writeFileSync('/proc/self/clear_refs', '5')
}

async function checkBound(format: string, damage: string, size: number, work: () => Promise<unknown>): Promise<void> {
  ;(globalThis as unknown as { gc: () => void }).gc()
  forgetPeak()
  const { now } = resident()
  probe.resetPeak()
  try {
    await work()
  } catch (error) {
    if (!(error instanceof LlavaError)) throw new Error(`${format}, ${damage}: not a typed error`, { cause: error })
  }
  const taken = Math.max(probe.peak(), resident().peak - now)
  most[format] = Math.max(most[format] ?? 0, taken - size)
  if (taken > size + allowance) throw new Error(`${format}, ${damage}: ${taken} bytes were taken for a file of ${size}`)
}

for (const [seed, victim] of victims.entries()) {
  await withCopy(victim, async ({ bytes, replace, open }) => {
    const format = `${victim.golden}/${victim.file}`
    const opened = async () => {
      await using model = await open({ threads: 1 })
      await model.forward([[1, 2, 3]])
    }
    await checkBound(format, 'intact', bytes.length, opened) // what libraries load at first is not the damage's
    for (const [damage, damaged] of withTurnedBits(bytes, victim.headerEnd(bytes), 25, seed + 200)) {
      await replace(damaged)
      await checkBound(format, damage, damaged.length, opened)
    }
    for (const length of lengths(bytes.length, [], 50, seed)) {
      await replace(bytes.subarray(0, length))
      await checkBound(format, `cut to ${length}`, length, opened)
    }
  })
}

for (const [seed, name] of ['rgb.png', 'progressive.jpg', 'baseline-420.jpg', 'lossless.webp', 'palette.gif', 'plain.tif'].entries()) {
  const bytes = readFileSync(path.join(pictures, name))
  const decoded = (damaged: Buffer) => () => decodeImage(damaged, { maxPixels: 2 ** 20 })
  await decodeImage(bytes)
  for (const [damage, damaged] of withTurnedBits(bytes, bytes.length, 60, seed + 300)) await checkBound(name, damage, damaged.length, decoded(damaged))
  for (const length of lengths(bytes.length, [], 60, seed)) await checkBound(name, `cut to ${length}`, length, decoded(bytes.subarray(0, length)))
}

const readers = { gguf: readGgufHeader, safetensors: readSafetensorsHeader, bin: readPytorchFile }
await hostileFiles(async (format, what, file, size) => {
  await checkBound(`hostile ${format}`, what, size, () => readers[format](file))
})

process.stdout.write(Object.entries(most).map(([format, taken]) => `${format}: ${(taken / 2 ** 20).toFixed(1)} MiB`).join(', '))
