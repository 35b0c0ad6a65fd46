// The command as it is run: a process of its own, its output and its exit code.

import { once } from 'node:events'
import { openSync } from 'node:fs'
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import test from 'ava'
import { LLaVA } from '../lib/index.js'
import { interruptedChat, llava, start } from './command.js'
import { goldenCase, readTensors } from './tiny-model.js'

const { model, picture, prompt } = goldenCase('hf-f32')
const tiny = ['--model', model, '--threads', '2']
const short = [...tiny, '--template', 'hf', '--max-tokens', '12']
const question = 'What is it?'

async function answerOfLibrary(): Promise<string> {
  await using opened = await LLaVA.open(model, { template: 'hf', threads: 2 })
  return (await opened.ask(picture, question, { maxTokens: 12 })).text
}

test('ask writes the answer and nothing else', async (t) => {
  const { code, stdout, stderr } = await llava(['ask', picture, question, ...short])
  t.is(stderr, '')
  t.is(stdout, `${await answerOfLibrary()}\n`)
  t.is(code, 0)
})

test('what is no terminal gets no colours, in CI neither', async (t) => {
  const { stdout, code } = await llava(['info', ...tiny], '', { CI: 'true', NO_COLOR: undefined })
  t.regex(stdout, /^model /)
  t.false(stdout.includes('\x1b'))
  t.is(code, 0)
})

test('ask --json writes the answer as one object with these keys', async (t) => {
  const { code, stdout, stderr } = await llava(['ask', picture, question, ...short, '--json'])
  t.is(stderr, '')
  t.is(code, 0)
  const answer = JSON.parse(stdout) as Record<string, Record<string, unknown>>
  t.deepEqual(Object.keys(answer), ['text', 'tokenIds', 'finishReason', 'usage', 'timings'])
  t.deepEqual(Object.keys(answer['usage'] ?? {}), [
    'promptTokens',
    'imageTokens',
    'cachedTokens',
    'completionTokens',
    'draftTokens',
    'acceptedTokens',
  ])
  t.deepEqual(Object.keys(answer['timings'] ?? {}), ['loadMs', 'imageMs', 'promptMs', 'generateMs'])
  const written: unknown = answer['text']
  t.is(written, await answerOfLibrary())
})

test('ask reads a picture from stdin', async (t) => {
  const { stdout, code } = await llava(['ask', '-', question, ...short], await readFile(picture))
  t.is(stdout, `${await answerOfLibrary()}\n`)
  t.is(code, 0)
})

test('ask takes several pictures', async (t) => {
  const { stdout } = await llava(['ask', picture, picture, question, ...short, '--json'])
  t.is((JSON.parse(stdout) as { usage: { imageTokens: number } }).usage.imageTokens, 32)
})

test('ask takes a question alone', async (t) => {
  const { stdout } = await llava(['ask', question, ...short, '--json'])
  t.is((JSON.parse(stdout) as { usage: { imageTokens: number } }).usage.imageTokens, 0)
})

test('flags reach the answer', async (t) => {
  const flags = [
    '--temperature',
    '2',
    '--top-k',
    '50',
    '--top-p',
    '0.9',
    '--seed',
    '7',
    '--stop',
    '~~',
    '--stop',
    '@@',
    '--system',
    'Be kind.',
  ]
  const { stdout, stderr } = await llava(['ask', question, ...short, ...flags, '--json'])
  t.is(stderr, '')
  await using opened = await LLaVA.open(model, { template: 'hf', threads: 2 })
  const options = {
    maxTokens: 12,
    temperature: 2,
    topK: 50,
    topP: 0.9,
    seed: 7,
    stop: ['~~', '@@'],
    system: 'Be kind.',
  }
  t.deepEqual((JSON.parse(stdout) as { tokenIds: number[] }).tokenIds, [
    ...(await opened.ask([], question, options)).tokenIds,
  ])
})

test('flags for penalties, bias and the tail reach the answer', async (t) => {
  const flags = [
    '--temperature',
    '2',
    '--seed',
    '7',
    '--min-p',
    '0.01',
    '--typical-p',
    '0.9',
    '--min-tokens',
    '9',
    '--logit-bias',
    '301=-inf',
    '--logit-bias',
    '</s>=2',
  ]
  const penalties = [
    '--repetition-penalty',
    '1.3',
    '--presence-penalty',
    '0.5',
    '--frequency-penalty',
    '-0.5',
    '--ngram-size',
    '2',
  ]
  const { stdout, stderr } = await llava([
    'ask',
    question,
    ...short,
    ...flags,
    ...penalties,
    '--logprobs',
    '2',
    '--json',
  ])
  t.is(stderr, '')
  await using opened = await LLaVA.open(model, { template: 'hf', threads: 2 })
  const tail = {
    temperature: 2,
    seed: 7,
    minP: 0.01,
    typicalP: 0.9,
    minTokens: 9,
    logitBias: { 301: -Infinity, '</s>': 2 },
  }
  const options = {
    ...tail,
    repetitionPenalty: 1.3,
    presencePenalty: 0.5,
    frequencyPenalty: -0.5,
    noRepeatNgramSize: 2,
    maxTokens: 12,
    logprobs: 2,
  }
  const { tokenIds, logprobs } = await opened.ask([], question, options)
  const written = JSON.parse(stdout) as typeof options & { tokenIds: unknown; logprobs: unknown }
  t.deepEqual(written.tokenIds, [...tokenIds])
  t.deepEqual(written.logprobs, logprobs as unknown)
})

test('ask --answers writes several answers, as JSON a line each', async (t) => {
  const flags = ['--temperature', '2', '--seed', '7', '--answers', '2']
  await using opened = await LLaVA.open(model, { template: 'hf', threads: 2 })
  const expected = (await opened.ask(picture, question, { answers: 2, maxTokens: 12, temperature: 2, seed: 7 })).map(
    ({ text: answer }) => answer,
  )
  const { stdout } = await llava(['ask', picture, question, ...short, ...flags, '--json'])
  t.deepEqual(
    stdout
      .trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as { text: string }).text),
    expected,
  )
  t.is((await llava(['ask', picture, question, ...short, ...flags])).stdout, `${expected.join('\n\n')}\n`)
})

test('chat answers each line, with the conversation so far', async (t) => {
  const { code, stdout, stderr } = await llava(
    ['chat', picture, ...short, '--json'],
    `${question}\n\nAnd now?\n/exit\nnot read\n`,
  )
  t.is(stderr, '')
  t.is(code, 0)
  const answers = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { text: string; usage: { promptTokens: number; imageTokens: number } })
  t.is(answers.length, 2)
  t.is(answers[0]?.text, await answerOfLibrary())
  t.deepEqual(
    answers.map(({ usage }) => usage.imageTokens),
    [16, 16],
  )
  t.true((answers[1]?.usage.promptTokens ?? 0) > (answers[0]?.usage.promptTokens ?? 0))
})

test('chat without --json writes the answers, and ends with its input', async (t) => {
  const { code, stdout } = await llava(['chat', picture, ...short], question)
  t.is(stdout, `${await answerOfLibrary()}\n`)
  t.is(code, 0)
})

test('info says what the model is', async (t) => {
  const { stdout, code } = await llava(['info', ...tiny])
  t.regex(stdout, /^model {9}/)
  t.regex(stdout, /\nvision .*16 positions per picture\n/)
  t.is(code, 0)
})

test('info --json is what the library says', async (t) => {
  const { stdout } = await llava(['info', ...tiny, '--json'])
  await using opened = await LLaVA.open(model, { threads: 2 })
  t.deepEqual(Object.keys(JSON.parse(stdout) as object), Object.keys(opened.info()))
})

test('trace writes the stages, and only the finished file', async (t) => {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'llava-'))
  try {
    const file = path.join(folder, 'trace.safetensors')
    const { code, stdout } = await llava([
      'trace',
      picture,
      '--prompt',
      prompt,
      '--max-tokens',
      '3',
      '--out',
      file,
      ...tiny,
      '--json',
    ])
    t.is(code, 0)
    const shapes = Object.fromEntries([...readTensors(file)].map(([name, { shape }]) => [name, shape]))
    t.deepEqual(Object.keys(shapes), [
      'pixel_values',
      'image_features',
      'projected',
      'input_ids',
      'logits',
      'generated',
    ])
    t.deepEqual(shapes['pixel_values'], [3, 28, 28])
    t.deepEqual(shapes['generated'], [3])
    t.deepEqual(JSON.parse(stdout), { file, tensors: shapes })
    t.deepEqual(await readdir(folder), ['trace.safetensors'])
  } finally {
    await rm(folder, { recursive: true })
  }
})

test('bench --json writes a line each for image, prefill and decode', async (t) => {
  const { stdout, stderr, code } = await llava([
    'bench',
    ...tiny,
    '--prompt',
    '8',
    '--generate',
    '2',
    '--images',
    '1',
    '--repeat',
    '1',
    '--json',
  ])
  t.is(stderr, '')
  t.is(code, 0)
  const lines = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
  t.deepEqual(
    lines.map(({ what }) => what),
    ['image', 'prefill', 'decode'],
  )
  for (const line of lines) {
    t.deepEqual(Object.keys(line), [
      'what',
      'sequences',
      'tokens',
      'tokensPerSecond',
      'achieved',
      'peak',
      'unit',
      'roof',
      'ratio',
      'threads',
      'isa',
      'dtype',
    ])
  }
})

test('DEBUG adds the stack', async (t) => {
  const { stderr } = await llava(['ask', question, '--model', 'no/such/model'], '', { DEBUG: '1' })
  t.regex(stderr, /\n {4}at /)
})

test('with --json an error is an object', async (t) => {
  const { code, stderr } = await llava(['info', '--model', 'no/such/model', '--json'])
  const { error } = JSON.parse(stderr) as { error: Record<string, string> }
  t.deepEqual(Object.keys(error), ['code', 'message'])
  t.is(error['code'], 'MODEL_NOT_FOUND')
  t.is(code, 1)
})

test('no verb: exit code 2 and the help', async (t) => {
  const { code, stdout, stderr } = await llava([])
  t.is(stdout, '')
  t.regex(stderr, /^Usage: llava /)
  t.is(code, 2)
})

const models = ['info', 'pull', 'list', 'show', 'rm']

for (const verb of ['ask', 'chat', 'embed', 'tokenize', ...models, 'look', 'trace', 'bench', 'completion']) {
  test(`${verb} --help shows examples`, async (t) => {
    const { code, stdout, stderr } = await llava([verb, '--help'])
    t.regex(stdout, /\nExamples:\n/)
    t.is(stderr, '')
    t.is(code, 0)
  })
}

test('--help names the exit codes, --version the version', async (t) => {
  const help = await llava(['--help'])
  t.regex(help.stdout, /Exit codes:\n {2}0 /)
  t.is(help.code, 0)
  const version = await llava(['--version'])
  t.regex(version.stdout, /^\d+\.\d+\.\d+\n$/)
  t.is(version.code, 0)
})

for (const [what, args] of [
  ['--help', ['--help']],
  ['--help of a verb', ['ask', '--help']],
  ['info', ['info', ...tiny]],
  ['ask', ['ask', picture, question, ...short]],
  ['ask --json', ['ask', picture, question, ...short, '--json']],
  ['tokenize', ['tokenize', 'red', ...tiny]],
  ['chat', ['chat', ...short]],
  ['completion', ['completion', 'bash']],
  ['list', ['list']],
] as const) {
  test(`${what} onto a disk that is full is one line on stderr and exit code 1`, async (t) => {
    const child = start(args, {}, openSync('/dev/full', 'w'))
    child.stdin.end('red?\nblue?\n')
    const [stderr, [code]] = await Promise.all([text(child.stderr), once(child, 'close') as Promise<[number | null]>])
    if (what.endsWith('--json')) t.like(JSON.parse(stderr), { error: { code: 'OUTPUT_FAILED' } })
    else t.regex(stderr, /^error: the output cannot be written: ENOSPC[^\n]* \(OUTPUT_FAILED\)\n$/)
    t.is(code, 1)
  })
}

test('a wrong verb is told though the disk is full', async (t) => {
  const child = start(['sing'], {}, openSync('/dev/full', 'w'))
  child.stdin.end()
  t.regex(await text(child.stderr), /^error: unknown command 'sing'/)
})

test('a reader that leaves is no error', async (t) => {
  const child = start(['ask', picture, question, ...short])
  child.stdout.destroy()
  child.stdin.end()
  const [stderr, [code]] = await Promise.all([text(child.stderr), once(child, 'close') as Promise<[number | null]>])
  t.is(stderr, '')
  t.is(code, 0)
})

test('an interrupt stops the answer being written, and the chat goes on', async (t) => {
  const long = [
    ...tiny,
    '--template',
    'hf',
    '--max-tokens',
    '220',
    '--temperature',
    '100',
    '--seed',
    '3',
    '--isa',
    'scalar',
  ]
  const whole = await llava(['ask', question, ...long])
  const chat = await interruptedChat(long, question, '/exit\n')
  if (chat === undefined) return t.fail('no answer was long enough to be interrupted')
  t.is(chat.code, 0)
  t.true(whole.stdout.startsWith(chat.stdout.trimEnd()))
  t.true(chat.stdout.length < whole.stdout.length)
})

test('an interrupt between answers ends a piped chat with exit code 130', async (t) => {
  const child = start(['chat', ...short, '--json'])
  const end = once(child, 'close') as Promise<[number | null]>
  child.stdin.write(`${question}\n`)
  await once(child.stdout, 'data')
  child.kill('SIGINT')
  const [code] = await end
  t.is(code, 130)
})
