// llava chat and its neighbours in a terminal: what a person types, and what the screen shows.

import { execFileSync } from 'node:child_process'
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import test from 'ava'
import { LLaVA, type SavedConversation, type SavedPicture } from '../../lib/index.js'
import { llava } from '../command.js'
import { goldenCase } from '../tiny-model.js'
import { keys, TestTerminal } from '../terminal.js'
import { temporaryFolder } from '../weights/tiny-llava.js'

const { model, picture } = goldenCase('hf-f32')
const tiny = ['--model', model, '--threads', '1', '--template', 'hf']
const short = [...tiny, '--max-tokens', '4']
/** Answers of so many tokens, by the small model that comes with the package on its slowest kernels. */
const answersOf = (tokens: number) => [
  '--threads',
  '1',
  '--isa',
  'scalar',
  '--temperature',
  '3',
  '--min-tokens',
  `${tokens}`,
  '--max-tokens',
  `${tokens}`,
]

const { enter } = keys

/** Lines of the screen that a person typed at the prompt. */
function typed(screen: string): string[] {
  return screen
    .split('\n')
    .filter((line) => line.startsWith('> '))
    .map((line) => line.slice(2))
}

test.serial(
  'a header names the model, what it runs on and /help; Ctrl-D ends with 0 on a line of its own',
  async (t) => {
    using terminal = new TestTerminal(['chat', picture, ...short])
    const screen = await terminal.shows(/\n>$/)
    t.regex(
      screen,
      /^checkpoint on .+ \([\w-]+, 1 threads\)\n\/help lists the commands, """ begins a text of several lines, Ctrl-D ends\nwith the next question: .*picture\.png\n>$/,
    )
    terminal.type(keys.ctrlD)
    t.is(await terminal.end(), 0)
    t.true(terminal.output.trimEnd().endsWith('\u001B[?2004l'))
  },
)

test.serial('Ctrl-C on a half-typed line takes it back: the next line is what is typed next', async (t) => {
  using terminal = new TestTerminal(['chat', ...short])
  await terminal.shows(/\n>$/)
  terminal.type('partial text', keys.ctrlC)
  await terminal.shows(/> partial text\^C\n>$/)
  terminal.type('/history', enter, 'exit?', enter)
  await terminal.shows(/> exit\?\n[^>]*tokens\/s[^\n]*\n>$/)
  terminal.type('/history', enter)
  t.regex(await terminal.shows(/user: exit\?\nassistant: /), /user: exit\?\n/)
})

test.serial('Ctrl-C at an empty prompt says how to end', async (t) => {
  using terminal = new TestTerminal(['chat', ...short])
  await terminal.shows(/\n>$/)
  terminal.type(keys.ctrlC)
  await terminal.shows(/\(\/quit or Ctrl-D ends the chat\)\n>$/)
  terminal.type('/QUIT', enter)
  t.is(await terminal.end(), 0)
})

test.serial('Ctrl-C twice stops an answer once, and the chat goes on', async (t) => {
  using terminal = new TestTerminal(['chat', ...answersOf(1500)])
  await terminal.shows(/\n>$/)
  terminal.type('red star?', enter)
  await terminal.shows(/> red star\?\n[^\n]*\S/)
  terminal.type(keys.ctrlC, keys.ctrlC)
  const screen = await terminal.shows(/stopped; \/retry asks again[\s\S]*\n>$/)
  t.notRegex(screen, /error/)
  terminal.type('/set min-tokens 0', enter, '/set max-tokens 3', enter, '/retry', enter)
  await terminal.shows(/> \/retry\n[\s\S]*3 tokens[\s\S]*\n>$/)
})

test.serial('Ctrl-D while an answer is written ends the chat after it', async (t) => {
  using terminal = new TestTerminal(['chat', ...answersOf(200)])
  await terminal.shows(/\n>$/)
  terminal.type('red star?', enter)
  await terminal.shows(/> red star\?\n[^\n]*\S/)
  terminal.type(keys.ctrlD)
  t.is(await terminal.end(), 0)
  t.regex(terminal.text, /tokens\/s/)
})

test.serial('lines typed ahead stand above their answers', async (t) => {
  using terminal = new TestTerminal(['chat', ...answersOf(100)])
  await terminal.shows(/\n>$/)
  terminal.type('first', enter)
  await terminal.shows(/> first\n[^\n]*\S/)
  terminal.type('second', enter, 'third', enter, 'half')
  const screen = await terminal.shows(/> half$/)
  t.deepEqual(typed(screen), ['first', 'second', 'third', 'half'])
  t.regex(screen, /> first\n[\s\S]+tokens\/s[\s\S]+> second\n[\s\S]+tokens\/s[\s\S]+> third\n[\s\S]+tokens\/s/)
})

test.serial('what is pasted is one text, and so is what stands between """', async (t) => {
  using terminal = new TestTerminal(['chat', ...short])
  await terminal.shows(/\n>$/)
  terminal.type(keys.pasteStart, 'line one\rline two', keys.pasteEnd)
  await terminal.shows(/> line one\n\.\.\. line two$/)
  terminal.type(enter)
  await terminal.shows(/tokens\/s[^\n]*\n>$/)
  terminal.type('"""three', enter, '/undo', enter, 'five"""', enter)
  await terminal.shows(/\.\.\. five"""\n[\s\S]*tokens\/s[^\n]*\n>$/)
  terminal.type('/history', enter)
  const screen = await terminal.shows(/user: three/)
  t.regex(screen, /user: line one\nline two\nassistant: /)
  t.regex(screen, /user: three\n\/undo\nfive\nassistant: /)
})

test.serial(
  '/image takes quotes, escaped blanks and ~, and says what waits; /drop and /undo say what they did',
  async (t) => {
    const home = await temporaryFolder(t)
    await mkdir(path.join(home, 'my cats'))
    await copyFile(picture, path.join(home, 'my cats', 'a b.png'))
    using terminal = new TestTerminal(['chat', ...short], { env: { HOME: home } })
    await terminal.shows(/\n>$/)
    terminal.type(String.raw`/IMAGE ~/my\ cats/a\ b.png`, enter)
    await terminal.shows(/with the next question: .*\/my cats\/a b\.png\n>$/)
    terminal.type(`/image "${path.join(home, 'my cats', 'a b.png')}" ~/my\\ cats/a\\ b.png`, enter)
    await terminal.shows(/with the next question: .*a b\.png, .*a b\.png, .*a b\.png\n>$/)
    terminal.type('/drop', enter)
    await terminal.shows(/dropped: .*a b\.png, .*a b\.png, .*a b\.png\n>$/)
    terminal.type('/image ~/my cats/a b.png', enter, 'red?', enter)
    await terminal.shows(/picture \d+ ms[^\n]*\n>$/)
    terminal.type('/undo', enter)
    await terminal.shows(/forgotten: red\?\nwith the next question: .*a b\.png\n>$/)
    terminal.type('/clear', enter, '/undo', enter)
    t.regex(await terminal.shows(/error: [^\n]*\n>$/), /forgotten: everything\n> \/undo\nerror: nothing was said yet/)
  },
)

test.serial('a progress line is gone before an error', async (t) => {
  using terminal = new TestTerminal(['chat', ...short])
  await terminal.shows(/\n>$/)
  terminal.type('/image no/such.png', enter)
  await terminal.shows(/\nerror: cannot read no\/such\.png: there is no such file \(IMAGE_UNREADABLE\)\n>$/)
  t.notRegex(terminal.text, /encoding/)
})

test.serial('/save writes a conversation that /open goes on with', async (t) => {
  const folder = await temporaryFolder(t)
  const file = path.join(folder, 'chat.json')
  using first = new TestTerminal(['chat', picture, ...short, '--system', 'Be kind.'])
  await first.shows(/\n>$/)
  first.type('red?', enter, `/save ${file}`, enter)
  await first.shows(/saved: 1 turns in .*chat\.json\n>$/)
  const saved = JSON.parse(await readFile(file, 'utf8')) as SavedConversation
  t.like(saved, { format: 'llava-conversation', system: 'Be kind.' })
  const [seen, asked] = saved.messages[0]?.content as readonly SavedPicture[]
  t.like(seen, { type: 'image', source: path.resolve(picture) })
  t.deepEqual<unknown, unknown>(asked, { type: 'text', text: 'red?' })
  first.type('blue?', enter, '/history', enter)
  const [, answer] = /user: blue\?\nassistant: (.*)/.exec(await first.shows(/user: blue\?\nassistant: .*\n>$/)) ?? []
  using second = new TestTerminal(['chat', ...short])
  await second.shows(/\n>$/)
  second.type(`/open ${file}`, enter, 'blue?', enter, '/history', enter)
  const screen = await second.shows(/user: blue\?\nassistant: .*\n>$/)
  t.regex(screen, /user: \[picture picture\.png\] red\?\n/)
  t.is(/user: blue\?\nassistant: (.*)/.exec(screen)?.[1], answer)
  for (const [text, error] of [
    ['{"format":"llava-chat","turns":[]}', /was written by an earlier version, in a form of its own/],
    ['[1]', /holds no conversation that \/save or Conversation\.save\(\) wrote/],
    ['{"format":"llava-conversation","messages":[1]}', /what Conversation\.save\(\) gave/],
  ] as const) {
    await writeFile(file, text)
    second.type(`/open ${file}`, enter)
    t.regex((await second.shows(/error: [^>]*\(INVALID_ARGUMENT\)\n>$/)).replace(/\n/g, ' '), error)
    second.type('/clear', enter)
    await second.shows(/forgotten: everything\n>$/)
  }
})

test.serial('what the library saved /open goes on with, and what /save wrote the library restores', async (t) => {
  const folder = await temporaryFolder(t)
  const file = path.join(folder, 'chat.json')
  await using model = await LLaVA.open(goldenCase('hf-f32').model, { template: 'hf' })
  using conversation = model.createConversation()
  const content = [
    { type: 'image', image: picture },
    { type: 'text', text: 'red?' },
  ] as const
  await conversation.say(content, { maxTokens: 4 }).answer
  await writeFile(file, JSON.stringify(await conversation.save()))
  using terminal = new TestTerminal(['chat', ...short])
  await terminal.shows(/\n>$/)
  terminal.type(`/open ${file}`, enter, 'blue?', enter, `/save ${file}`, enter)
  await terminal.shows(/saved: 2 turns in .*chat\.json\n>$/)
  using restored = await model.restoreConversation(JSON.parse(await readFile(file, 'utf8')) as SavedConversation)
  t.is(restored.length, 2)
  t.deepEqual(
    restored.messages.map(({ role }) => role),
    ['user', 'assistant', 'user', 'assistant'],
  )
  t.is(restored.messages[1]?.content, conversation.messages[1]?.content)
})

test.serial('/set shows, sets and unsets, and says at once what a value should be', async (t) => {
  using terminal = new TestTerminal(['chat', ...tiny])
  await terminal.shows(/\n>$/)
  terminal.type('/set max-tokens 2', enter, '/set Temperature 0.5', enter)
  await terminal.shows(/> \/set Temperature 0\.5\n {2}max-tokens 2\n {2}temperature 0\.5\n {2}template hf\n>$/)
  terminal.type('/set top-p 7', enter, '/set temperature warm', enter, '/set colour red', enter)
  const screen = await terminal.shows(/there is no setting colour; there are [^>]*\n>$/)
  t.regex(screen, /error: expected --top-p to be a number in \(0, 1\], got 7/)
  t.regex(screen, /error: option '--temperature <t>' argument 'warm' is invalid/)
  terminal.type('/set temperature', enter)
  await terminal.shows(/> \/set temperature\n {2}max-tokens 2\n {2}template hf\n>$/)
  terminal.type('/set system Be kind.', enter, 'red?', enter)
  await terminal.shows(/2 tokens/)
})

test.serial('Ctrl-C while the first picture is waited for ends with 130', async (t) => {
  const pipe = path.join(await temporaryFolder(t), 'slow.png')
  execFileSync('mkfifo', [pipe])
  using terminal = new TestTerminal(['chat', pipe, ...short])
  await terminal.shows(/encoding .*slow\.png/)
  terminal.type(keys.ctrlC)
  t.is(await terminal.end(), 130)
})

test.serial('ask --show does not swallow the picture behind it', async (t) => {
  using terminal = new TestTerminal(['ask', '--show', picture, 'red?', ...short], { env: { TERM: 'xterm-kitty' } })
  t.is(await terminal.end(), 0)
  t.true(terminal.output.includes('\u001B_Ga=T'))
})

test.serial('an answer cannot steer the terminal; a pipe gets it as it is', async (t) => {
  const args = [
    'ask',
    'red?',
    ...tiny,
    '--temperature',
    '100',
    '--seed',
    '3',
    '--max-tokens',
    '220',
    '--min-tokens',
    '220',
  ]
  const control = /(?![\t\n\r])\p{Cc}/u
  t.regex((await llava(args)).stdout, control)
  using terminal = new TestTerminal(args)
  t.is(await terminal.end(), 0)
  t.notRegex(terminal.output.replaceAll('\u001B', ''), control) // this command's own lines have those
})

test.serial('list says how to pull where nothing has been pulled', async (t) => {
  using terminal = new TestTerminal(['list'], { env: { HF_HUB_CACHE: await temporaryFolder(t) } })
  t.is(await terminal.end(), 0)
  t.regex(
    terminal.text,
    /^NAME .*\ndefault .*\nnothing has been pulled; `llava pull llava-1\.5-7b` downloads a model for photographs$/,
  )
})

for (const verb of [
  '',
  'ask',
  'chat',
  'embed',
  'info',
  'convert',
  'pull',
  'list',
  'show',
  'rm',
  'look',
  'trace',
  'bench',
  'tokenize',
  'completion',
]) {
  test.serial(`llava ${verb} --help fits a terminal of 60 columns`, async (t) => {
    using terminal = new TestTerminal([...(verb === '' ? [] : [verb]), '--help'], { columns: 60 })
    t.is(await terminal.end(), 0)
    const plain = terminal.output.replaceAll('\r', '')
    t.deepEqual(
      plain.split('\n').filter((line) => line.length > 60 && line.trim().includes(' ')),
      [],
    )
  })
}
