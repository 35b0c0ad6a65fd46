// What a person types into a chat: lines that make a message, paths, and the tab key.

import { mkdir, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import test from 'ava'
import { completeLine } from '../../lib/cli/chat.js'
import { withSetting } from '../../lib/cli/chat-settings.js'
import { withShowValue } from '../../lib/cli/flags.js'
import { wrapped, wrappedCommand } from '../../lib/cli/help.js'
import { MessageLines } from '../../lib/cli/message-lines.js'
import { completePath, pathsIn } from '../../lib/cli/typed-paths.js'
import { llava } from '../command.js'
import { goldenCase } from '../tiny-model.js'
import { temporaryFolder } from '../weights/tiny-llava.js'

/** The messages that lines make, and what is left at the end of the input. */
function messages(...lines: readonly string[]): (string | undefined)[] {
  const message = new MessageLines()
  return [...lines.map((line) => message.push(line)).filter((text) => text !== undefined), message.rest()]
}

test('a line is a message, without the white space around it', (t) => {
  t.deepEqual(messages('  one  ', '', 'two'), ['one', '', 'two', undefined])
})

test('lines between """ are one message, with empty lines and what looks like commands', (t) => {
  t.deepEqual(messages('"""one', '', '/quit', 'two"""', 'three'), ['one\n\n/quit\ntwo', 'three', undefined])
  t.deepEqual(messages('"""', 'one', '"""'), ['one', undefined])
  t.deepEqual(messages('"""one"""'), ['one', undefined])
  t.deepEqual(messages('""""""'), ['', undefined])
  t.deepEqual(messages('say """ twice'), ['say """ twice', undefined])
})

test('a message that the end of the input cuts is what there is of it', (t) => {
  t.deepEqual(messages('"""one', 'two'), ['one\ntwo'])
})

test('lines of one paste are one message, and dropping it begins anew', (t) => {
  const message = new MessageLines()
  t.is(message.push('one', true), undefined)
  t.true(message.unfinished)
  t.is(message.push('two'), 'one\ntwo')
  t.is(message.push('three', true), undefined)
  message.drop()
  t.false(message.unfinished)
  t.is(message.push('four'), 'four')
})

test('paths may be quoted, escaped, begin with ~, and hold blanks where a file is called so', async (t) => {
  const folder = await temporaryFolder(t)
  const file = path.join(folder, 'my cat.jpg')
  await writeFile(file, '')
  t.deepEqual(pathsIn(file), [file])
  t.deepEqual(pathsIn(`a.jpg b\\ c.jpg "d e.jpg" 'f "g".jpg'`), ['a.jpg', 'b c.jpg', 'd e.jpg', 'f "g".jpg'])
  t.deepEqual(pathsIn(`~/a\\ b.jpg ~ a~b`), [path.join(os.homedir(), 'a b.jpg'), os.homedir(), 'a~b'])
  t.deepEqual(pathsIn('https://example.org/a.jpg?b=c'), ['https://example.org/a.jpg?b=c'])
  t.deepEqual(pathsIn(''), [])
  t.deepEqual(pathsIn(`it's.jpg`), ['it', `'`, 's.jpg']) // a quote without its other half
})

test('the tab key completes paths with blanks, escaped', async (t) => {
  const folder = await temporaryFolder(t)
  await mkdir(path.join(folder, 'my cats'))
  t.deepEqual(completePath(`${folder}/my`), [[`${folder}/my\\ cats/`], `${folder}/my`])
  t.deepEqual(completePath(`a.jpg ${folder}/my\\ c`), [[`${folder}/my\\ cats/`], `${folder}/my\\ c`])
  t.deepEqual(completeLine('/set tempe'), [['temperature'], 'tempe'])
  t.deepEqual(completeLine('/QU'), [['/quit'], '/QU'])
  t.deepEqual(completeLine('what is /re'), [[], 'what is /re'])
})

test('a setting is a flag: its value is checked, an empty one takes it back', (t) => {
  t.deepEqual(withSetting({ seed: 3 }, 'temperature', '0.5'), { seed: 3, temperature: 0.5 })
  t.deepEqual(withSetting({ temperature: 0.5, seed: 3 }, '--Temperature', ''), { seed: 3 })
  t.deepEqual(withSetting({ noRepeatNgramSize: 2 }, 'ngram-size', ''), {})
  t.deepEqual(withSetting({}, 'ngram-size', '2'), { noRepeatNgramSize: 2 })
  t.deepEqual(withSetting({}, 'stop', '- and so on'), { stop: ['- and so on'] })
  t.throws(() => withSetting({}, 'top-k', 'many'), { code: 'INVALID_ARGUMENT', message: /It is not a whole number/ })
  t.throws(() => withSetting({}, 'logprobs', '2'), {
    code: 'INVALID_ARGUMENT',
    message: /there is no setting logprobs/,
  })
})

test('--show takes a protocol, and leaves pictures and questions where they are', (t) => {
  t.deepEqual(withShowValue(['ask', '--show', 'package.json', 'What?']), [
    'ask',
    '--show=auto',
    'package.json',
    'What?',
  ])
  t.deepEqual(withShowValue(['ask', 'a.png', 'What?', '--show']), ['ask', 'a.png', 'What?', '--show=auto'])
  t.deepEqual(withShowValue(['ask', '--show', 'kitty', 'a.png', 'What?']), ['ask', '--show', 'kitty', 'a.png', 'What?'])
  t.deepEqual(withShowValue(['ask', '--show', 'fax', 'a.png']), ['ask', '--show', 'fax', 'a.png'])
  t.deepEqual(withShowValue(['ask', '--', '--show', 'a.png']), ['ask', '--', '--show', 'a.png'])
})

test('help is wrapped at blanks and commas; a command stays one for the shell', (t) => {
  t.is(wrapped('one two {"three","four"}', 12), 'one two\n{"three",\n"four"}')
  t.is(
    wrappedCommand('llava ask cat.jpg "What is the cat doing?" --json', 36),
    '  llava ask cat.jpg \\\n      "What is the cat doing?" \\\n      --json',
  )
  t.is(wrappedCommand('llava info', 36), '  llava info')
})

test('a piped chat takes """ and commands in any case', async (t) => {
  const { model } = goldenCase('hf-f32')
  const args = ['chat', '--model', model, '--threads', '1', '--template', 'hf', '--max-tokens', '4']
  const { stdout, code } = await llava(args, '"""red\nstar"""\n/HISTORY\n/set\n/Quit\nnot read\n')
  t.regex(stdout, /user: red\nstar\nassistant: /)
  t.regex(stdout, / {2}max-tokens 4\n {2}template hf\n$/)
  t.is(code, 0)
})
