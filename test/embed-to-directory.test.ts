// Vectors in directories: what is in them, how a call goes on where another was stopped, and what it refuses.

import { once } from 'node:events'
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import sharp from 'sharp'
import { embedToDirectory, LLaVA, type DirectoryProgress, type EmbedToDirectoryOptions } from '../lib/index.js'
import { ended, llava, start } from './command.js'
import { goldenCase } from './tiny-model.js'
import { contents, readColumn, readNpy } from './vectors/directories.js'

const { model: modelPath } = goldenCase('hf-f32')
const clip = fileURLToPath(new URL('../../test/fixtures/clip/checkpoint', import.meta.url))
const options = { kind: 'clip_image', normalize: true, shardSize: 10 } as const satisfies EmbedToDirectoryOptions

async function temporaryFolder(t: ExecutionContext): Promise<string> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'llava-'))
  t.teardown(() => rm(folder, { recursive: true }))
  return folder
}

async function withModel<T>(work: (model: LLaVA) => Promise<T>): Promise<T> {
  await using model = await LLaVA.open(modelPath, { threads: 2, clip })
  return await work(model)
}

/** Pictures in two folders, `00.png` and so on, each of another colour. */
async function pictures(folder: string, count: number): Promise<readonly string[]> {
  const files = Array.from({ length: count }, (_, n) =>
    path.join(folder, n % 3 === 0 ? 'a' : 'b', `${String(n).padStart(3, '0')}.png`),
  )
  for (const name of ['a', 'b']) await mkdir(path.join(folder, name), { recursive: true })
  for (const [n, file] of files.entries())
    await sharp({
      create: { width: 48, height: 32, channels: 3, background: { r: n % 256, g: 80, b: 255 - (n % 256) } },
    })
      .png()
      .toFile(file)
  return files.sort()
}

const inputsOf = (files: readonly string[]) => files.map((file) => ({ name: file, input: file }))

test('the directory holds vectors of embedMany in shards, and beside each the names of its rows', async (t) => {
  const folder = await temporaryFolder(t)
  const files = await pictures(path.join(folder, 'pictures'), 25)
  await withModel(async (model) => {
    for (const [dtype, descr] of [
      ['f16', '<f2'],
      ['f32', '<f4'],
      ['int8', '|i1'],
      ['binary', '|u1'],
    ] as const) {
      const out = path.join(folder, dtype)
      const told: DirectoryProgress[] = []
      const result = await embedToDirectory(model, inputsOf(files), out, {
        ...options,
        ...(dtype !== 'f16' && { dtype }), // its default
        onProgress: (progress) => told.push(progress),
      })
      t.deepEqual(result, { directory: out, rows: 25, shards: 3, embedded: 25, present: 0, failed: 0 })
      t.deepEqual(told.at(0), { stage: 'embed', done: 0, total: 25, failed: 0 })
      t.deepEqual(told.at(-1), { stage: 'embed', done: 25, total: 25, failed: 0 })
      t.deepEqual((await readdir(out)).sort(), ['errors.jsonl', 'img_emb', 'manifest.json', 'metadata'])
      const expected = await model.embed(files, { kind: 'clip_image', normalize: true, dtype })
      for (const [n, first] of [0, 10, 20].entries()) {
        const rows = files.slice(first, first + 10)
        const npy = await readNpy(path.join(out, 'img_emb', `img_emb_000${n}.npy`))
        t.deepEqual([npy.dtype, npy.shape], [descr, [rows.length, ...expected[0]!.shape]])
        t.deepEqual(
          [...npy.data],
          expected.slice(first, first + 10).flatMap(({ data }) => [...data]),
        )
        t.deepEqual(await readColumn(path.join(out, 'metadata', `metadata_000${n}.parquet`), 'image_path'), rows)
      }
    }
  })
})

test('rows of a picture and texts have directories too', async (t) => {
  const folder = await temporaryFolder(t)
  const files = await pictures(path.join(folder, 'pictures'), 3)
  await withModel(async (model) => {
    await embedToDirectory(model, inputsOf(files), path.join(folder, 'rows'), { kind: 'projected', dtype: 'f32' })
    t.deepEqual((await readNpy(path.join(folder, 'rows', 'img_emb', 'img_emb_0000.npy'))).shape, [3, 16, 32])
    const texts = ['red', 'blue\nstar'].map((name) => ({ name, input: { text: name } }))
    const out = path.join(folder, 'texts')
    await embedToDirectory(model, texts, out, { kind: 'clip_text', dtype: 'f32', names: 'caption' })
    const expected = await model.embed(['red', 'blue\nstar'], { kind: 'clip_text' })
    t.deepEqual(
      [...(await readNpy(path.join(out, 'text_emb', 'text_emb_0000.npy'))).data],
      expected.flatMap(({ data }) => [...data]),
    )
    const column = await readColumn(path.join(out, 'metadata', 'metadata_0000.parquet'), 'caption')
    t.deepEqual(column, ['red', 'blue\nstar'])
  })
})

test('a call that is stopped loses nothing, and the next ones leave what one leaves that is not', async (t) => {
  const folder = await temporaryFolder(t)
  const files = await pictures(path.join(folder, 'pictures'), 57)
  await writeFile(files[5]!, 'no picture')
  await writeFile(files[40]!, 'no picture')
  const [whole, stopped] = [path.join(folder, 'whole'), path.join(folder, 'stopped')]
  await withModel(async (model) => {
    await embedToDirectory(model, inputsOf(files), whole, options)
    let done = 0
    for (const more of [7, 1, 18, 13]) {
      const controller = new AbortController()
      const onProgress = (progress: DirectoryProgress) => {
        t.true(progress.done >= done) // nothing is done again
        if (progress.done < done + more) return
        done = progress.done
        controller.abort()
      }
      const call = embedToDirectory(model, inputsOf(files), stopped, {
        ...options,
        onProgress,
        signal: controller.signal,
      })
      await t.throwsAsync(call, { code: 'ABORTED' })
    }
    const result = await embedToDirectory(model, inputsOf(files), stopped, options)
    t.is(result.embedded + result.present, 55)
    t.true(result.present >= 37)
    t.deepEqual(await contents(stopped), await contents(whole))
  })
})

test('what cannot be read is told in errors.jsonl, and tried again only when that is asked for', async (t) => {
  const folder = await temporaryFolder(t)
  const files = await pictures(path.join(folder, 'pictures'), 12)
  const bad = files[3]!
  const good = await readFile(bad)
  await writeFile(bad, 'no picture')
  const inputs = inputsOf([...files, path.join(folder, 'nowhere.png')])
  const out = path.join(folder, 'out')
  const errors = async () =>
    (await readFile(path.join(out, 'errors.jsonl'), 'utf8'))
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Record<string, string>)
  await withModel(async (model) => {
    const first = await embedToDirectory(model, inputs, out, options)
    t.deepEqual([first.embedded, first.failed], [11, 2])
    t.deepEqual(
      (await errors()).map(({ path: name, code }) => [name, code]),
      [
        [bad, 'IMAGE_UNREADABLE'],
        [path.join(folder, 'nowhere.png'), 'IMAGE_UNREADABLE'],
      ],
    )
    t.regex((await errors())[1]?.['message'] ?? '', /nowhere\.png: there is no such file/)
    await writeFile(bad, good)
    const second = await embedToDirectory(model, inputs, out, options)
    t.deepEqual([second.embedded, second.present, second.failed], [0, 11, 2])
    const third = await embedToDirectory(model, inputs, out, { ...options, retryErrors: true })
    t.deepEqual([third.embedded, third.present, third.failed], [1, 11, 1])
    t.is((await errors()).length, 1)
    t.deepEqual(await readColumn(path.join(out, 'metadata', 'metadata_0002.parquet'), 'image_path'), [bad])
  })
})

test('what is wrong with the call and not with a picture ends it, and leaves nothing behind', async (t) => {
  const folder = await temporaryFolder(t)
  const files = await pictures(path.join(folder, 'pictures'), 2)
  const out = path.join(folder, 'out')
  await using model = await LLaVA.open(modelPath, { threads: 2 })
  await t.throwsAsync(embedToDirectory(model, inputsOf(files), out, options), {
    code: 'INVALID_ARGUMENT',
    message: /option `clip`/,
  })
  const result = await embedToDirectory(model, inputsOf(files), out, { kind: 'projected_mean' })
  t.is(result.embedded, 2)
})

test('new names follow in shards of their own, old ones stay, and one that comes twice counts once', async (t) => {
  const folder = await temporaryFolder(t)
  const files = await pictures(path.join(folder, 'pictures'), 14)
  const out = path.join(folder, 'out')
  await withModel(async (model) => {
    await embedToDirectory(model, inputsOf([...files.slice(2, 14), files[2]!]), out, options)
    const before = await contents(out)
    const result = await embedToDirectory(model, inputsOf(files.slice(0, 8)), out, options)
    t.deepEqual(result, { directory: out, rows: 14, shards: 3, embedded: 2, present: 6, failed: 0 })
    const column = (n: number) => readColumn(path.join(out, 'metadata', `metadata_000${n}.parquet`), 'image_path')
    t.deepEqual(await column(1), files.slice(12))
    t.deepEqual(await column(2), files.slice(0, 2))
    t.like(await contents(out), before)
  })
})

test('other options, and vectors of another program, are refused, and nothing is touched', async (t) => {
  const folder = await temporaryFolder(t)
  const inputs = inputsOf(await pictures(path.join(folder, 'pictures'), 3))
  const out = path.join(folder, 'out')
  await withModel(async (model) => {
    await embedToDirectory(model, inputs, out, { ...options, settings: { clip: 'a' } })
    const before = await contents(out)
    for (const [others, message] of [
      [{ kind: 'projected_mean' }, /`kind` was "clip_image" and is now "projected_mean"/],
      [{ dtype: 'int8' }, /`dtype` was "f16" and is now "int8"/],
      [{ normalize: false }, /`normalize` was true and is now false/],
      [{ autoOrient: false }, /`autoOrient` was true and is now false/],
      [{ settings: { clip: 'b' } }, /`clip` was "a" and is now "b"/],
      [{ settings: {} }, /`clip` was "a" and is now null/],
    ] as const) {
      const call = embedToDirectory(model, inputs, out, { ...options, settings: { clip: 'a' }, ...others })
      await t.throwsAsync(call, { code: 'INVALID_ARGUMENT', message })
    }
    t.deepEqual(await contents(out), before)
    await rm(path.join(out, 'manifest.json'))
    const call = embedToDirectory(model, inputs, out, options)
    await t.throwsAsync(call, { code: 'INVALID_ARGUMENT', message: /vectors of another program/ })
  })
  await using other = await LLaVA.open(undefined, { threads: 2 })
  await writeFile(path.join(out, 'manifest.json'), JSON.stringify({ model: modelPath }))
  await t.throwsAsync(embedToDirectory(other, inputs, out, options), {
    message: /`model` was ".*" and is now ".*gguf"/,
  })
})

test('a directory that another process writes to is refused', async (t) => {
  const folder = await temporaryFolder(t)
  const inputs = inputsOf(await pictures(path.join(folder, 'pictures'), 1))
  await writeFile(path.join(folder, '.lock'), 'of another')
  const beat = setInterval(() => void utimes(path.join(folder, '.lock'), new Date(), new Date()), 100)
  const stages: string[] = []
  const onProgress = ({ stage }: DirectoryProgress) => stages.push(stage)
  try {
    await withModel(async (model) => {
      const call = embedToDirectory(model, inputs, folder, { ...options, onProgress })
      await t.throwsAsync(call, { code: 'BUSY', message: /another process is writing vectors there/ })
    })
  } finally {
    clearInterval(beat)
  }
  t.deepEqual(stages, ['wait'])
})

/** Waits until a directory has more files than before, or the child has ended. */
async function moreFiles(directory: string, before: number, hasEnded: () => boolean): Promise<number> {
  for (;;) {
    const { length } = await readdir(directory).catch(() => [])
    if (length > before || hasEnded()) return length
    await sleep(2)
  }
}

test('llava embed that is killed again and again leaves in the end what one leaves that is not', async (t) => {
  const folder = await temporaryFolder(t)
  const files = await pictures(path.join(folder, 'pictures'), 240)
  for (const n of [17, 101, 239]) await writeFile(files[n]!, 'no picture')
  const args = (out: string) => {
    const model = ['--model', modelPath, '--threads', '2', '--clip', clip]
    const output = ['--kind', 'clip_image', '--out', path.join(folder, out), '--shard-size', '16', '--json']
    return ['embed', path.join(folder, 'pictures'), ...output, ...model]
  }
  const once1 = await llava(args('whole'))
  t.is(once1.code, 1) // three have no vector
  t.deepEqual(JSON.parse(once1.stdout), {
    directory: path.join(folder, 'whole'),
    rows: 237,
    shards: 15,
    embedded: 237,
    present: 0,
    failed: 3,
  })
  let kills = 0
  for (let shards = 0; ;) {
    const child = start(args('killed'))
    const end = ended(child)
    let hasEnded = false
    child.once('exit', () => (hasEnded = true))
    child.stdin.end()
    shards = await moreFiles(
      path.join(folder, 'killed', 'img_emb'),
      shards + Math.floor(Math.random() * 3),
      () => hasEnded,
    )
    await sleep(Math.random() * 30)
    if (child.kill('SIGKILL') && !hasEnded) await once(child, 'exit')
    const { code, stdout, stderr } = await end
    if (code !== null) {
      t.is(code, 1, stderr)
      t.like(JSON.parse(stdout), { rows: 237, shards: 15, failed: 3 })
      break
    }
    kills++
    // a lock is taken over ten seconds after its holder was killed; once is enough to wait for
    if (kills > 1) await rm(path.join(folder, 'killed', '.lock'), { force: true })
  }
  t.true(kills >= 2, `${kills}`)
  t.deepEqual(await contents(path.join(folder, 'killed')), await contents(path.join(folder, 'whole')))
})

test('llava embed takes directories and lists, and knows a picture by its whole path', async (t) => {
  const folder = await temporaryFolder(t)
  const files = await pictures(path.join(folder, 'pictures'), 4)
  const [first] = files as readonly [string]
  await writeFile(path.join(folder, 'pictures', 'notes.txt'), 'no picture')
  await mkdir(path.join(folder, 'pictures', '.thumbnails'))
  await copyFile(first, path.join(folder, 'pictures', '.thumbnails', 'a.png'))
  await copyFile(first, path.join(folder, 'pictures', 'LARGE.PNG'))
  const out = path.join(folder, 'out')
  const settings = ['--kind', 'clip_image', '--model', modelPath, '--threads', '2', '--clip', clip]
  const relative = path.relative(process.cwd(), path.join(folder, 'pictures'))
  const list = path.join(folder, 'list.txt')
  await writeFile(list, `${first}\n\nno/such.png\r\n`)
  const result = await llava(['embed', relative, '--list', list, '--out', out, ...settings])
  t.is(result.stdout, `${out}  5 vectors in 1 files; 5 new, 0 there before, 1 failed\n`)
  t.regex(result.stderr, /^error: 1 of 6 inputs have no vector; .*errors\.jsonl says why \(IMAGE_UNREADABLE\)\n$/)
  t.is(result.code, 1)
  const names = [path.join(folder, 'pictures', 'LARGE.PNG'), ...files]
  t.deepEqual(await readColumn(path.join(out, 'metadata', 'metadata_0000.parquet'), 'image_path'), names)
  const again = await llava(['embed', ...files, '--out', out, ...settings])
  t.is(again.stdout, `${out}  5 vectors in 1 files; 0 new, 4 there before, 0 failed\n`)
  t.is(again.code, 0)
  const other = await llava(['embed', ...files, '--out', out, ...settings, '--normalize'])
  t.regex(other.stderr, /--normalize was false and is now true/)
  t.is(other.code, 2)
  const npy = path.join(folder, 'v.npy')
  await llava(['embed', path.join(folder, 'pictures', 'a'), '--out', npy, '--dtype', 'int8', ...settings])
  t.deepEqual((await readNpy(npy)).dtype, '|i1')
  t.deepEqual((await readNpy(npy)).shape, [2, 16])
  const captions = ['--kind', 'clip_text', ...settings.slice(2)]
  await llava(['embed', '--list', '-', '--out', path.join(folder, 'texts'), ...captions], 'a cat\na dog\n')
  const column = await readColumn(path.join(folder, 'texts', 'metadata', 'metadata_0000.parquet'), 'caption')
  t.deepEqual(column, ['a cat', 'a dog'])
  const none = await llava(['embed', path.join(folder, 'texts'), '--out', out, ...settings])
  t.regex(none.stderr, /there are no pictures in /)
  t.is(none.code, 2)
})
