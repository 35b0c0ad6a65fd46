// npm run bench -- sampling

import { cpus } from 'node:os'
import type { Command } from 'commander'
import { wholes } from './flags.js'
import { measureSampling } from './sampling.js'

export function addSampling(program: Command): void {
  program
    .command('sampling')
    .description('what choosing a token costs beside the model, as JSON lines')
    .option('--vocab <numbers>', 'sizes of the vocabulary', wholes, [32_000, 128_256])
    .action(({ vocab }: { readonly vocab: readonly number[] }) => {
      console.log(JSON.stringify({ device: cpus()[0]?.model }))
      for (const cost of vocab.flatMap((size) => measureSampling(size))) console.log(JSON.stringify(cost))
    })
}
