// npm run bench -- fidelity

import { readFile } from 'node:fs/promises'
import type { Command } from 'commander'
import { isas, type Isa } from '../lib/native.js'
import { dtypes } from '../lib/weights/ggml-types.js'
import { measureDefault, measureFidelity, measureSlice, measureText, spacedTokens, type Fidelity } from './fidelity.js'
import { oneOf, whole } from './flags.js'

/** Those that need no fallback for the short rows of the model that comes with the package. */
const shortTypes = ['bf16', 'q8_0', 'q5_1', 'q5_0', 'q4_1', 'q4_0'] as const

export function addFidelity(program: Command): void {
  program
    .command('fidelity')
    .description("how far 'fast' arithmetic strays from 'exact': divergence and agreement of the logits, as JSON lines")
    .argument(
      '[models...]',
      'paths (default: the model that comes with the package in bf16 and each type of 32 weights, and random slices of the 7B shape of each of their kinds)',
    )
    .option('--positions <n>', 'tokens of the text', whole, 256)
    .option('--text <path>', 'a text for the models: with its perplexity, and llama.cpp beside where node-llama-cpp is')
    .option('--isa <name>', 'for the text (default: the one that is chosen by itself)', oneOf(isas))
    .action(fidelity)
}

async function fidelity(
  models: readonly string[],
  { positions, text: file, isa }: { readonly positions: number; readonly text?: string; readonly isa?: Isa },
): Promise<void> {
  const print = (model: string, measured: Fidelity): void => {
    console.log(JSON.stringify({ model, ...measured }))
  }
  if (file !== undefined) {
    if (models.length === 0) throw new Error('--text needs a model that can read it: name one')
    const content = await readFile(file, 'utf8')
    for (const model of models)
      for (const measured of await measureText(model, content, positions, isa)) print(model, measured)
    return
  }
  const text = spacedTokens(positions)
  for (const file of models) print(file, await measureFidelity(file, text))
  if (models.length > 0) return
  for (const type of shortTypes) print(`default, ${type}`, await measureDefault(type))
  for (const type of dtypes.filter((name) => name.startsWith('Q') || name === 'BF16'))
    print(`7b, 2 layers, ${type}`, await measureSlice(type, text))
}
