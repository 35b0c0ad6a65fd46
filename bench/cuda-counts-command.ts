// npm run bench -- cuda-counts

import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Command } from 'commander'

export function addCudaCounts(program: Command): void {
  program
    .command('cuda-counts')
    .description('what the CUDA kernels and whole passes ask of a card, counted on the emulator: counts, no times')
    .action(() => {
      const tool = fileURLToPath(new URL('../../tools/cuda-counts.mjs', import.meta.url))
      process.exitCode = spawnSync(process.execPath, [tool], { stdio: 'inherit' }).status ?? 1
    })
}
