// llava chat with its commands, and llava ask on many pictures.

import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import test from 'ava'
import { LLaVA, type Answer } from '../../lib/index.js'
import { completeLine } from '../../lib/cli/chat.js'
import { interruptedChat, llava, start } from '../command.js'
import { goldenCase } from '../tiny-model.js'

const { model, picture } = goldenCase('hf-f32')
const tiny = ['--model', model, '--threads', '2', '--template', 'hf']
const short = [...tiny, '--max-tokens', '8']
const question = 'What is it?'

function answers(stdout: string): Answer[] {
  return stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Answer)
}

async function chat(lines: readonly string[], ...args: readonly string[]): Promise<Answer[]> {
  const { code, stdout, stderr } = await llava(
    ['chat', ...short, '--json', ...args],
    lines.map((line) => `${line}\n`).join(''),
  )
  if (code !== 0 || stderr !== '') throw new Error(`exit code ${code}: ${stderr}`)
  return answers(stdout)
}

test('a chat keeps its keys and values from turn to turn', async (t) => {
  const [first, second] = await chat([question, 'And now?'], picture)
  t.is(first?.usage.cachedTokens, 0)
  t.true((second?.usage.cachedTokens ?? 0) > 16)
})

test('/image adds a picture to the next question, also in quotes, and beside the first ones', async (t) => {
  const [one, two] = await chat([question, `/image "${picture}"`, question], picture)
  t.deepEqual([one?.usage.imageTokens, two?.usage.imageTokens], [16, 32])
  const [alone] = await chat([`/image ${picture}`, question])
  t.deepEqual(alone?.tokenIds, one?.tokenIds)
})

test('/retry asks again: the same without a seed, something else with one', async (t) => {
  const [first, again] = await chat([question, '/retry'], picture)
  t.deepEqual(again?.tokenIds, first?.tokenIds)
  t.is((again?.usage.promptTokens ?? 0) - (again?.usage.cachedTokens ?? 0), 1)
  const [one, other] = await chat([question, '/retry'], picture, '--temperature', '50', '--seed', '1')
  t.notDeepEqual(other?.tokenIds, one?.tokenIds)
})

test('/undo forgets the last turn, and gives its picture back to the next question', async (t) => {
  const [first, , again] = await chat([question, 'And now?', '/undo', '/undo', question], picture)
  t.deepEqual(again?.tokenIds, first?.tokenIds)
  t.is(again?.usage.imageTokens, 16)
})

test('/history shows the conversation and /help the commands', async (t) => {
  const { stdout } = await llava(['chat', picture, ...short], `${question}\n/history\n/help\n/exit\nnot read\n`)
  t.regex(stdout, /user: \[picture picture\.png\] What is it\?\nassistant: /)
  for (const command of [
    '/image PATH…',
    '/drop',
    '/retry',
    '/undo',
    '/clear',
    '/history',
    '/set',
    '/save FILE',
    '/open FILE',
    '/help',
    '/quit, /exit',
  ])
    t.true(stdout.includes(`  ${command} `), command)
})

for (const [what, line] of [
  ['an unknown command', '/sing'],
  ['/image without a path', '/image'],
  ['/retry before any question', '/retry'],
  ['/undo before any question', '/undo'],
] as const) {
  test(`${what} in a piped chat is one line on stderr and exit code 2`, async (t) => {
    const { code, stderr } = await llava(['chat', ...short], `${line}\n`)
    t.regex(stderr, /^error: [^\n]+ \(INVALID_ARGUMENT\)\n$/)
    t.is(code, 2)
  })
}

test('a path is no command', async (t) => {
  t.is((await chat(['/etc/hosts is what?'])).length, 1)
})

test('after an interrupt the turn is not part of the conversation, and /retry asks it again', async (t) => {
  const long = [...tiny, '--max-tokens', '200', '--temperature', '100', '--seed', '3', '--isa', 'scalar']
  const whole = (await llava(['ask', question, ...long])).stdout
  const interrupted = await interruptedChat(long, question, '/history\n/retry\n')
  if (interrupted === undefined) return t.fail('no answer was long enough to be interrupted')
  const { code, stdout } = interrupted
  t.is(code, 0)
  t.true(stdout.endsWith(`\n${whole}`)) // and no history between the two
  t.true(whole.startsWith(stdout.slice(0, -whole.length - 1)))
})

test('the tab key offers commands, and files after /image', (t) => {
  t.deepEqual(completeLine('/re'), [['/retry'], '/re'])
  t.true(completeLine('/image package.j')[0].includes('package.json'))
  t.true(completeLine('/image li')[0].includes('lib/'))
  t.true(completeLine('/image lib/ll')[0].includes('lib/llava.ts'))
  t.deepEqual(completeLine('/image no/such/')[0], [])
})

test('ask --each answers each picture by itself, its name first', async (t) => {
  const { code, stdout } = await llava(['ask', '--each', picture, picture, question, ...short])
  await using opened = await LLaVA.open(model, { template: 'hf', threads: 2 })
  const { text } = await opened.ask(picture, question, { maxTokens: 8 })
  t.is(stdout, `${picture}: ${text}\n`.repeat(2))
  t.is(code, 0)
})

test('ask --each --json writes a line for each picture, also for one that fails, and goes on', async (t) => {
  const { code, stdout, stderr } = await llava([
    'ask',
    '--each',
    picture,
    'no/such.png',
    picture,
    question,
    ...short,
    '--json',
  ])
  t.is(stderr, '')
  const lines = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { image: string; text?: string; error?: { code: string } })
  t.deepEqual(
    lines.map(({ image }) => image),
    [picture, 'no/such.png', picture],
  )
  t.deepEqual(
    lines.map(({ error }) => error?.code),
    [undefined, 'IMAGE_UNREADABLE', undefined],
  )
  t.is(lines[0]?.text, lines[2]?.text)
  t.is(code, 1)
})

test('ask --each without --json says on stderr which picture failed', async (t) => {
  const { code, stdout, stderr } = await llava(['ask', '--each', 'no/such.png', picture, question, ...short])
  t.regex(stderr, /^error: [^\n]*no\/such\.png[^\n]* \(IMAGE_UNREADABLE\)\n$/)
  t.true(stdout.startsWith(`${picture}: `))
  t.is(code, 1)
})

test('ask reads the question from stdin where "-" is the last argument', async (t) => {
  const { stdout } = await llava(['ask', picture, '-', ...short], `${question}\n`)
  t.is(stdout, (await llava(['ask', picture, question, ...short])).stdout)
})

for (const [wrong, args] of [
  ['stdin as picture and question', ['ask', '-', '-']],
  ['--each without a picture', ['ask', '--each', question]],
] as const) {
  test(`${wrong}: exit code 2 and one line`, async (t) => {
    const { code, stderr } = await llava([...args, ...short], await readFile(picture))
    t.regex(stderr, /^error: [^\n]+ \(INVALID_ARGUMENT\)\n$/)
    t.is(code, 2)
  })
}

test('an interrupt ends ask with exit code 130', async (t) => {
  const child = start([
    'ask',
    '--each',
    picture,
    picture,
    question,
    ...tiny,
    '--max-tokens',
    '150',
    '--isa',
    'scalar',
    '--temperature',
    '100',
    '--seed',
    '3',
  ])
  const end = once(child, 'close') as Promise<[number | null]>
  await once(child.stdout, 'data')
  child.kill('SIGINT')
  t.is((await end)[0], 130)
})
