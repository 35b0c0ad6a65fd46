// The inner loops of the matrix kernels as the compiler made them, read from the disassembled addon: how many instructions a pass takes and how many
// multiply-adds it does. Works for ISAs that this CPU cannot run.

import { spawnSync } from 'node:child_process'

export interface InnerLoop {
  readonly kind: 'loop'
  /** Demangled, without namespaces and parameters. */
  readonly kernel: string
  /** Of the widest registers that the loop multiplies in. */
  readonly registers: 'xmm' | 'ymm' | 'zmm'
  readonly instructions: number
  readonly multiplyAdds: number
  /** Instructions for 32 multiply-adds, a block of one weight row with one token. */
  readonly instructionsPerBlock: number
  /** How often each mnemonic stands in it, most frequent first. */
  readonly mnemonics: Readonly<Record<string, number>>
}

/** Multiply-adds an instruction does for each 32 bits of its registers; where a loop has several, those of the narrowest values are the product. */
const multiplies: readonly (readonly [mnemonic: RegExp, perWord: number])[] = [
  [/^vpdpbusds?$/, 4],
  [/^vpmaddubsw$/, 4],
  [/^vdpbf16ps$/, 2],
  [/^vfn?m(?:add|sub)\d+ps$/, 1],
]
const words = { xmm: 4, ymm: 8, zmm: 16 } as const

interface Instruction {
  readonly address: number
  readonly mnemonic: string
  readonly operands: string
}

/** Loops of the kernels whose names hold `gemm` or `gemv`, the one that multiplies most of each. Fails when objdump is not installed. */
export function innerLoops(addon: string): InnerLoop[] {
  const { status, stdout } = spawnSync('objdump', ['-d', '-C', '--no-show-raw-insn', '-j', '.text', addon], { encoding: 'utf8', maxBuffer: 2 ** 30 })
  if (status !== 0) throw new Error('kernels are disassembled by objdump, which is not installed (on Debian or Ubuntu: apt-get install binutils)')
  return functionsOf(stdout)
    .filter(({ name }) => /gem[mv]|tile/.test(name))
    .flatMap(({ name, code }) => busiest(name, loopsOf(code)))
}

interface Disassembled {
  readonly name: string
  readonly code: readonly Instruction[]
}

function functionsOf(listing: string): Disassembled[] {
  return listing.split(/\n\n/).flatMap((part) => {
    const name = /^[0-9a-f]+ <(.+)>:$/m.exec(part)?.[1]
    if (name === undefined) return []
    const code = [...part.matchAll(/^ *([0-9a-f]+):\t(\S+) *(.*)$/gm)].map(([, address, mnemonic, operands]) => ({ address: parseInt(address!, 16), mnemonic: mnemonic!, operands: operands! }))
    return [{ name, code }]
  })
}

/** Stretches between a backward jump and its target that hold no other such stretch. */
function loopsOf(code: readonly Instruction[]): (readonly Instruction[])[] {
  const jumps = code.flatMap(({ address, mnemonic, operands }) => {
    const target = mnemonic.startsWith('j') ? parseInt(operands, 16) : Number.NaN
    return target < address ? [{ from: target, to: address }] : []
  })
  const innermost = jumps.filter(({ from, to }) => !jumps.some((other) => other.from >= from && other.to <= to && (other.from > from || other.to < to)))
  return innermost.map(({ from, to }) => code.filter(({ address }) => address >= from && address <= to))
}

function busiest(kernel: string, loops: readonly (readonly Instruction[])[]): InnerLoop[] {
  const described = loops.flatMap((loop) => describe(kernel, loop))
  return described.toSorted((a, b) => b.multiplyAdds - a.multiplyAdds).slice(0, 1)
}

function describe(kernel: string, loop: readonly Instruction[]): InnerLoop[] {
  const counts = new Map<string, number>()
  for (const { mnemonic } of loop) counts.set(mnemonic, (counts.get(mnemonic) ?? 0) + 1)
  const product = multiplies.find(([name]) => [...counts.keys()].some((mnemonic) => name.test(mnemonic)))
  if (product === undefined) return []
  const [name, perWord] = product
  const widths = loop.filter(({ mnemonic }) => name.test(mnemonic)).map(({ operands }) => widthOf(operands))
  const multiplyAdds = widths.reduce((sum, width) => sum + perWord * words[width], 0)
  const registers = widths.reduce((widest, width) => (words[width] > words[widest] ? width : widest))
  const mnemonics = Object.fromEntries([...counts].sort(([, a], [, b]) => b - a))
  return [{ kind: 'loop', kernel: shortName(kernel), registers, instructions: loop.length, multiplyAdds, instructionsPerBlock: (32 * loop.length) / multiplyAdds, mnemonics }]
}

function widthOf(operands: string): InnerLoop['registers'] {
  return operands.includes('%zmm') ? 'zmm' : operands.includes('%ymm') ? 'ymm' : 'xmm'
}

/** `tile<CodesQ4_0, 4>` of `void llava::(anonymous namespace)::tile<llava::(anonymous namespace)::CodesQ4_0, 4>(long, …) [clone .isra.0]`. */
function shortName(kernel: string): string {
  const plain = kernel.replaceAll('llava::', '').replaceAll('(anonymous namespace)::', '').replace(/^void /, '')
  return plain.slice(0, (plain + '(').indexOf('('))
}
