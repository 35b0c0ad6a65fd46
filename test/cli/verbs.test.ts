// llava embed, tokenize and completion, and pictures in the terminal.

import { execFile } from 'node:child_process'
import { readdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import test from 'ava'
import sharp from 'sharp'
import { encode, protocolOf, type PictureProtocol } from '../../lib/cli/terminal-picture.js'
import { decodeImage, isas, LLaVA, type EmbeddingKind, type RgbImage } from '../../lib/index.js'
import { llava } from '../command.js'
import { inFolder } from '../in-folder.js'
import { goldenCase } from '../tiny-model.js'
import { readNpy } from '../vectors/directories.js'

const { model, picture } = goldenCase('hf-f32')
const tiny = ['--model', model, '--threads', '2']
const clip = fileURLToPath(new URL('../../../test/fixtures/clip/checkpoint', import.meta.url))

test('embed writes one entry for each input, as the library gives it, and only the finished file', async (t) => {
  await inFolder(async (folder) => {
    const out = path.join(folder, 'v.npy')
    await using opened = await LLaVA.open(model, { threads: 2, clip })
    for (const [kind, images, texts] of [
      ['patch_features', [picture, picture], []],
      ['projected_mean', [picture, picture], []],
      ['hidden_last', [], ['red', 'blue star']],
      ['hidden_mean', [picture, picture], ['What is it?']],
      ['clip_text', [], ['red', 'blue star']],
      ['clip_image', [picture], []],
    ] as const satisfies readonly (readonly [EmbeddingKind, readonly string[], readonly string[]])[]) {
      const { code, stdout, stderr } = await llava([
        'embed',
        ...images,
        ...texts.flatMap((text) => ['--text', text]),
        '--kind',
        kind,
        '--out',
        out,
        '--clip',
        clip,
        ...tiny,
      ])
      t.is(stderr, '')
      t.is(code, 0)
      const [text = ''] = texts
      const inputs =
        images.length === 0 ? texts : images.map((image) => (texts.length === 0 ? image : { text, images: image }))
      const expected = await opened.embed(inputs, { kind })
      const npy = await readNpy(out)
      t.is(npy.dtype, '<f4')
      t.deepEqual(npy.shape, [inputs.length, ...(expected[0]?.shape ?? [])])
      t.deepEqual(
        [...npy.data],
        expected.flatMap(({ data }) => [...data]),
      )
      t.is(stdout, `${out}  ${kind} f32 [${npy.shape.join(', ')}]\n`)
    }
    t.deepEqual(await readdir(folder), ['v.npy'])
  })
})

test('embed writes float16, normalised, and says so as JSON', async (t) => {
  await inFolder(async (folder) => {
    const out = path.join(folder, 'v.npy')
    const { stdout } = await llava([
      'embed',
      picture,
      '--kind',
      'projected',
      '--dtype',
      'f16',
      '--normalize',
      '--out',
      out,
      '--json',
      ...tiny,
    ])
    t.deepEqual(JSON.parse(stdout), {
      file: out,
      kind: 'projected',
      dtype: 'f16',
      shape: [1, 16, 32],
      inputs: [picture],
    })
    await using opened = await LLaVA.open(model, { threads: 2 })
    const { data } = await opened.embed(picture, { kind: 'projected', dtype: 'f16', normalize: true })
    const npy = await readNpy(out)
    t.is(npy.dtype, '<f2')
    t.deepEqual(npy.data, data)
  })
})

test('embed without --out writes a line of JSON for each input', async (t) => {
  const { stdout } = await llava(['embed', '--text', 'red', '--text', 'blue', '--kind', 'hidden_last', ...tiny])
  const lines = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { input: string; kind: string; shape: number[]; data: number[] })
  t.deepEqual(
    lines.map(({ input, kind, shape }) => [input, kind, shape]),
    [
      ['red', 'hidden_last', [32]],
      ['blue', 'hidden_last', [32]],
    ],
  )
  await using opened = await LLaVA.open(model, { threads: 2 })
  t.deepEqual(lines[1]?.data, [...(await opened.embed('blue', { kind: 'hidden_last' })).data])
})

test('tokenize writes ids and pieces, from an argument or stdin', async (t) => {
  await using opened = await LLaVA.open(model, { threads: 2 })
  const ids = [...opened.tokenize('red\nstar</s>')]
  const { stdout } = await llava(['tokenize', 'red\nstar</s>', ...tiny, '--json'])
  t.deepEqual(JSON.parse(stdout), { ids, pieces: opened.pieces(ids) })
  t.is(opened.pieces(ids).join('').trim(), '<s> red\nstar</s>')
  t.is((await llava(['tokenize', ...tiny, '--json'], 'red\nstar</s>')).stdout, stdout)
  const lines = (await llava(['tokenize', '--no-bos', '--special', 'star</s>', ...tiny])).stdout.trimEnd().split('\n')
  t.is(lines.at(-1), '2\t"</s>"')
  t.notRegex(lines[0] ?? '', /<s>/)
})

const run = promisify(execFile)

/** What bash offers for the last of these words. */
async function bashOffers(script: string, ...words: readonly string[]): Promise<readonly string[]> {
  const { stdout } = await run('bash', [
    '--norc',
    '-c',
    'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _llava; printf "%s\\n" "${COMPREPLY[@]}"',
    'bash',
    script,
    ...words,
  ])
  return stdout
    .trimEnd()
    .split('\n')
    .filter((word) => word !== '')
}

test('the completion of bash knows verbs, options and their values, and leaves files to bash', async (t) => {
  await inFolder(async (folder) => {
    const { stdout, code } = await llava(['completion', 'bash'])
    t.is(code, 0)
    const script = path.join(folder, 'llava.bash')
    await writeFile(script, stdout)
    const verbs = await bashOffers(script, 'llava', '')
    for (const verb of ['ask', 'chat', 'embed', 'serve', 'tokenize', 'info', 'look', 'trace', 'bench', 'completion'])
      t.true(verbs.includes(verb), verb)
    t.deepEqual(await bashOffers(script, 'llava', 'tok'), ['tokenize'])
    t.deepEqual(await bashOffers(script, 'llava', 'ask', '--max-t'), ['--max-tokens'])
    t.deepEqual(await bashOffers(script, 'llava', 'ask', 'cat.jpg', '--isa', ''), ['auto', ...isas])
    t.deepEqual(await bashOffers(script, 'llava', 'embed', '--kind', 'clip'), ['clip_image', 'clip_text'])
    t.deepEqual(await bashOffers(script, 'llava', 'embed', '-k', 'pool'), ['pooled_features'])
    t.deepEqual(await bashOffers(script, 'llava', 'completion', ''), ['bash', 'zsh', 'fish'])
    t.deepEqual(await bashOffers(script, 'llava', 'ask', 'ca'), [])
    t.deepEqual(await bashOffers(script, 'llava', 'ask', '--model', 'm'), [])
    t.regex(stdout, /\ncomplete -o default /)
  })
})

test('the completions of zsh and fish name every verb and option', async (t) => {
  const zsh = (await llava(['completion', 'zsh'])).stdout
  const fish = (await llava(['completion', 'fish'])).stdout
  t.true(zsh.startsWith('#compdef llava\n'))
  t.true(zsh.includes(`'*--isa[instruction set of the kernels]:value:(auto ${isas.join(' ')})'`))
  t.true(
    fish.includes(
      `-n '__fish_seen_subcommand_from ask' -l isa -x -a 'auto ${isas.join(' ')}' -d 'instruction set of the kernels'\n`,
    ),
  )
  t.regex(fish, /-n '__fish_seen_subcommand_from ask' -l max-tokens -s n -r -d /)
  for (const verb of ['ask', 'chat', 'embed', 'serve', 'tokenize', 'completion']) {
    t.true(zsh.includes(`    '${verb}:`))
    t.true(fish.includes(` -f -a ${verb} -d `))
  }
})

test('completion for an unknown shell: exit code 2', async (t) => {
  t.is((await llava(['completion', 'csh'])).code, 2)
})

/** Escape sequences with readable control characters. */
async function shown(image: RgbImage, protocol: PictureProtocol): Promise<string> {
  return (await encode(image, protocol)).replaceAll('\u001B', '<ESC>').replaceAll('\u0007', '<BEL>')
}

test('a picture for kitty and iTerm is a PNG in base64, in chunks where kitty wants them', async (t) => {
  const data = Uint8Array.from({ length: 3 * 300 * 200 }, (_, i) => (i * 7919) >> 5) // does not compress into one chunk
  const image = { width: 300, height: 200, data }
  const [, base64 = ''] = /^<ESC>\]1337;File=inline=1:([A-Za-z0-9+/=]+)<BEL>$/.exec(await shown(image, 'iterm')) ?? []
  const kitty = [...(await shown(image, 'kitty')).matchAll(/<ESC>_G([^;]*);([^<]*)<ESC>\\/g)].map(
    ([, keys = '', chunk = '']) => ({ keys, chunk }),
  )
  t.true(kitty.length > 1)
  t.deepEqual(
    kitty.map(({ keys }) => keys),
    ['a=T,f=100,q=2,m=1', ...new Array<string>(kitty.length - 2).fill('m=1'), 'm=0'],
  )
  t.true(kitty.every(({ chunk }) => chunk.length <= 4096))
  t.is(kitty.map(({ chunk }) => chunk).join(''), base64)
  t.deepEqual(await decodeImage(Buffer.from(base64, 'base64')), image)
})

test('a large picture is made smaller, and sixels are sixels', async (t) => {
  const large = { width: 3000, height: 1000, data: new Uint8Array(9_000_000).fill(200) }
  const [, base64 = ''] = /inline=1:(.*)<BEL>/.exec(await shown(large, 'iterm')) ?? []
  t.is((await sharp(Buffer.from(base64, 'base64')).metadata()).width, 360)
  t.regex(await shown(large, 'sixel'), /^<ESC>P[\d;]*q"1;1;360;120#0;2;78;78;78/)
})

test('the terminal is told by its environment', (t) => {
  t.is(protocolOf({ TERM: 'xterm-kitty' }), 'kitty')
  t.is(protocolOf({ TERM: 'xterm-256color', TERM_PROGRAM: 'ghostty' }), 'kitty')
  t.is(protocolOf({ KONSOLE_VERSION: '230401' }), 'kitty')
  t.is(protocolOf({ TERM_PROGRAM: 'iTerm.app' }), 'iterm')
  t.is(protocolOf({ TERM: 'xterm-256color', TERM_PROGRAM: 'WezTerm' }), 'iterm')
  t.is(protocolOf({ TERM: 'foot' }), 'sixel')
  t.is(protocolOf({ TERM: 'xterm-256color' }), undefined)
})

test('ask --schema, --choices and --regex hold the answer to a form, and --json has its value', async (t) => {
  await inFolder(async (folder) => {
    const file = path.join(folder, 'schema.json')
    await writeFile(file, JSON.stringify({ type: 'object', properties: { a: { enum: [1, 2] } }, required: ['a'] }))
    const ask = ['ask', 'Which?', ...tiny, '--template', 'hf', '--json']
    const valueOf = async (...flags: readonly string[]) => {
      const { code, stdout } = await llava([...ask, ...flags])
      return { code, value: (JSON.parse(stdout) as { readonly value?: unknown }).value }
    }
    const { code, value } = await valueOf('--schema', file)
    t.is(code, 0)
    t.true([1, 2].includes((value as { readonly a: number }).a))
    t.true(['red', 'light green'].includes((await valueOf('--choices', 'red, light green')).value as string))
    t.regex((await valueOf('--regex', '[a-f]{3}')).value as string, /^[a-f]{3}$/)
    await writeFile(file, '{')
    for (const [flags, message] of [
      [['--schema', file], /--schema: .*schema\.json is not JSON/],
      [['--schema', path.join(folder, 'none')], /--schema: .*none cannot be read/],
      [['--regex', '('], /--regex: .* is no regular expression/],
      [['--choices', 'a,'], /--choices to be a list of one or more texts/],
      [['--choices', 'a', '--regex', 'b'], /give one of --choices and --regex/],
    ] as const) {
      const failed = await llava([...ask, ...flags])
      t.is(failed.code, 2)
      t.regex(failed.stderr, message)
    }
  })
})

test('ask --show writes the picture before the answer where a protocol is named, and never into a pipe by itself', async (t) => {
  const ask = ['ask', picture, 'What is it?', ...tiny, '--template', 'hf', '--max-tokens', '4']
  const plain = (await llava(ask)).stdout
  t.is((await llava([...ask, '--show'], '', { TERM: 'xterm-kitty' })).stdout, plain)
  const withPicture = (await llava([...ask, '--show', 'kitty'])).stdout
  t.true(withPicture.startsWith('\x1b_Ga=T'))
  t.true(withPicture.endsWith(`\x1b\\\n${plain}`))
})
