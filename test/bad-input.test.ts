// Bad input of every kind, one row each: the typed error it must give, what the error says, and what lies beneath it.
// The rows stand in bad-input/, by theme. Reading what is sound is tested where it is read.

import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import test from 'ava'
import { LLaVA, LlavaError } from '../lib/index.js'
import { adapters } from './bad-input/adapters.js'
import { calls } from './bad-input/calls.js'
import { checkpoints } from './bad-input/checkpoints.js'
import { commands } from './bad-input/commands.js'
import { ggufHeaders } from './bad-input/gguf-headers.js'
import { ggufModels } from './bad-input/gguf-models.js'
import { options } from './bad-input/options.js'
import { originalLayout } from './bad-input/original-layout.js'
import { pictures } from './bad-input/pictures.js'
import { pytorch } from './bad-input/pytorch.js'
import type { Bench } from './bad-input/row.js'
import { safetensors } from './bad-input/safetensors.js'
import { tokenizers } from './bad-input/tokenizers.js'
import { llava } from './command.js'
import { goldenCase } from './tiny-model.js'

const { model: modelPath, picture } = goldenCase('hf-f32')
let model: LLaVA

test.before(async () => {
  model = await LLaVA.open(modelPath, { template: 'hf', threads: 1 })
})

test.after.always(() => {
  model.dispose()
})

async function onBench(work: (bench: Bench) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'llava-'))
  try {
    await work({ model, picture, folder })
  } finally {
    await rm(folder, { recursive: true })
  }
}

const table = [
  ...ggufHeaders,
  ...ggufModels,
  ...safetensors,
  ...pytorch,
  ...checkpoints,
  ...originalLayout,
  ...adapters,
  ...tokenizers,
  ...pictures,
  ...options,
  ...calls,
]

for (const { title, code, message, cause, call } of table) {
  test(`${title} fails with ${code}`, async (t) => {
    await onBench(async (bench) => {
      const error = await t.throwsAsync<LlavaError>(Promise.resolve(bench).then(call), {
        instanceOf: LlavaError,
        code,
        message,
      })
      if (cause !== undefined) t.regex(String(error.cause), cause)
    })
  })
}

// serial: each is a process of its own
for (const { title, code, message, args } of commands) {
  const status = code === 'INVALID_ARGUMENT' ? 2 : 1
  test.serial(`${title} on the command line fails with ${code}, status ${status} and one line`, async (t) => {
    await onBench(async ({ folder }) => {
      const ended = await llava(args.map((word) => word.replace(/^FOLDER/, folder)))
      t.is(ended.stdout, '')
      t.regex(ended.stderr, message)
      t.regex(ended.stderr, new RegExp(`^error: [^\\n]+ \\(${code}\\)\\n$`))
      t.is(ended.code, status)
    })
  })
}

test('the table has two hundred rows', (t) => {
  t.true(table.length + commands.length >= 200)
})
