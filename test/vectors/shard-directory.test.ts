// Shards of vectors that are whole or not there, whatever stops the process that writes them.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFile, cp, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { JsonLines } from '../../lib/vectors/json-lines.js'
import { ShardDirectory } from '../../lib/vectors/shard-directory.js'
import { contents, readColumn, readNpy } from './directories.js'

const writer = fileURLToPath(new URL('shard-writer.js', import.meta.url))
const [count, shardSize] = [400, 30]
const options = { column: 'image_path', shardSize: 3 } as const

async function temporaryFolder(t: ExecutionContext): Promise<string> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'llava-'))
  t.teardown(() => rm(folder, { recursive: true }))
  return folder
}

/** Lets the writer work until it has written some more numbers, and tells how it ended. */
async function write(directory: string, numbers = Infinity): Promise<NodeJS.Signals | number> {
  const child = spawn(process.execPath, [writer, directory, String(count), String(shardSize)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const ended = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>
  let lines = 0
  child.stdout.on('data', (data: Buffer) => {
    lines += data.toString().split('\n').length - 1
    if (lines >= numbers) child.kill('SIGKILL')
  })
  const [code, signal] = await ended
  return signal ?? code ?? 1
}

const add = (shards: ShardDirectory, name: string, value: number) =>
  shards.add(name, { shape: [2], data: Float32Array.of(value, -value) })

test('a writer that is killed again and again leaves in the end what one leaves that is not', async (t) => {
  const folder = await temporaryFolder(t)
  const [whole, killed] = [path.join(folder, 'whole'), path.join(folder, 'killed')]
  t.is(await write(whole), 0)
  let kills = 0
  while ((await write(killed, 1 + Math.floor(Math.random() * 60))) === 'SIGKILL') kills++
  t.true(kills >= 3, `${kills}`)
  t.deepEqual(await contents(killed), await contents(whole))
  const failed = Array.from({ length: count }, (_, n) => n).filter((n) => n % 7 === 6)
  const rows = Array.from({ length: count }, (_, n) => n).filter((n) => n % 7 !== 6)
  t.is((await readdir(path.join(killed, 'img_emb'))).length, Math.ceil(rows.length / shardSize))
  const names: unknown[] = []
  const values: number[] = []
  for (const file of (await readdir(path.join(killed, 'img_emb'))).sort()) {
    const { shape, data } = await readNpy(path.join(killed, 'img_emb', file))
    const metadata = file.replace('img_emb', 'metadata').replace('npy', 'parquet')
    const column = await readColumn(path.join(killed, 'metadata', metadata), 'image_path')
    t.deepEqual(shape, [column.length, 3])
    names.push(...column)
    values.push(...data.filter((_, i) => i % 3 === 0))
  }
  t.deepEqual(values, rows)
  t.deepEqual(
    names,
    rows.map((n) => `${n}.png`),
  )
  const errors = (await readFile(path.join(killed, 'errors.jsonl'), 'utf8')).trimEnd().split('\n')
  t.deepEqual(
    errors.map((line) => (JSON.parse(line) as { path: string }).path),
    failed.map((n) => `${n}.png`),
  )
})

test('what has no name yet is taken away, and so is a name that was cut off', async (t) => {
  const folder = await temporaryFolder(t)
  const begun = await ShardDirectory.open(folder, options)
  await add(begun, 'a', 1)
  await begun.flush()
  await add(begun, 'b', 2) // only in memory
  await begun.close()
  await appendFile(path.join(folder, 'unfinished', 'img_emb_0000.npy'), 'vectors of a write that was cut off'.repeat(9))
  await appendFile(path.join(folder, 'unfinished', 'names_0000.jsonl'), '"b')
  await appendFile(path.join(folder, 'errors.jsonl'), '{"path":"d"')
  const shards = await ShardDirectory.open(folder, options)
  t.deepEqual(
    ['a', 'b', 'c', 'd'].map((name) => shards.has(name) || shards.hasFailed(name)),
    [true, false, false, false],
  )
  await add(shards, 'b', 2)
  await add(shards, 'c', 3)
  await shards.close()
  t.deepEqual(await readNpy(path.join(folder, 'img_emb', 'img_emb_0000.npy')), {
    dtype: '<f4',
    shape: [3, 2],
    data: Float32Array.of(1, -1, 2, -2, 3, -3),
  })
  t.deepEqual(await readColumn(path.join(folder, 'metadata', 'metadata_0000.parquet'), 'image_path'), ['a', 'b', 'c'])
  t.is(await readFile(path.join(folder, 'errors.jsonl'), 'utf8'), '')
})

test('a stop between two steps of finishing a shard costs nothing', async (t) => {
  const folder = path.join(await temporaryFolder(t), 'first')
  const first = await ShardDirectory.open(folder, options)
  await add(first, 'a', 1)
  await first.finishShard()
  await first.close()
  const whole = await contents(folder)
  const vectors = path.join(folder, 'img_emb', 'img_emb_0000.npy')
  // before the vectors have their name
  const bytes = await readFile(vectors)
  await rm(vectors)
  await writeFile(path.join(folder, 'unfinished', 'img_emb_0000.npy'), bytes)
  await writeFile(path.join(folder, 'unfinished', 'names_0000.jsonl'), '"a"\n')
  await cp(folder, path.join(folder, '../more'), { recursive: true })
  const second = await ShardDirectory.open(folder, options)
  t.true(second.has('a'))
  t.is(second.unfinishedRows, 1)
  await second.finishShard()
  await second.close()
  t.deepEqual(await contents(folder), whole)
  const more = await ShardDirectory.open(path.join(folder, '../more'), options)
  await add(more, 'b', 2)
  await more.finishShard()
  await more.close()
  t.deepEqual((await readNpy(path.join(folder, '../more/img_emb/img_emb_0000.npy'))).shape, [2, 2])
  // before the file of names is gone
  await writeFile(path.join(folder, 'unfinished', 'names_0000.jsonl'), '"a"\n')
  const third = await ShardDirectory.open(folder, options)
  t.deepEqual([third.rows, third.shards, third.unfinishedRows], [1, 1, 0])
  await third.close()
  await third.tidy()
  const { 'img_emb/img_emb_0000.npy': kept } = await contents(folder)
  t.is(kept, whole['img_emb/img_emb_0000.npy'])
})

test('a shard whose writer was stopped when it was full takes no more', async (t) => {
  const folder = await temporaryFolder(t)
  const begun = await ShardDirectory.open(folder, { ...options, shardSize: 4 })
  for (const [n, name] of ['a', 'b', 'c'].entries()) await add(begun, name, n)
  await begun.flush()
  await begun.close()
  const shards = await ShardDirectory.open(folder, options)
  t.deepEqual([shards.shards, shards.unfinishedRows], [1, 0])
  await shards.close()
})

test('a shard without a whole header is begun again', async (t) => {
  const folder = await temporaryFolder(t)
  const begun = await ShardDirectory.open(folder, options)
  await add(begun, 'a', 1)
  await begun.close()
  await truncate(path.join(folder, 'unfinished', 'img_emb_0000.npy'), 5)
  const shards = await ShardDirectory.open(folder, options)
  t.false(shards.has('a'))
  await add(shards, 'a', 1)
  await shards.finishShard()
  await shards.close()
  t.deepEqual((await readNpy(path.join(folder, 'img_emb', 'img_emb_0000.npy'))).shape, [1, 2])
})

test('vectors that somebody took away, names that cannot be read and vectors of another width are told', async (t) => {
  const folder = await temporaryFolder(t)
  const begun = await ShardDirectory.open(folder, options)
  await add(begun, 'a', 1)
  await begun.flush()
  await t.throwsAsync(begun.add('b', { shape: [3], data: new Float32Array(3) }), {
    code: 'INVALID_ARGUMENT',
    message: /its vectors are <f4 of shape \[2\], this one is <f4 of shape \[3\]/,
  })
  await begun.close()
  await truncate(path.join(folder, 'unfinished', 'img_emb_0000.npy'), 130)
  await t.throwsAsync(ShardDirectory.open(folder, options), {
    code: 'OUTPUT_FAILED',
    message: /vectors that were there are missing; delete it/,
  })
  await rm(path.join(folder, 'unfinished'), { recursive: true })
  const again = await ShardDirectory.open(folder, options)
  await add(again, 'a', 1)
  await again.finishShard()
  await again.close()
  const metadata = path.join(folder, 'metadata', 'metadata_0000.parquet')
  await writeFile(metadata, 'PAR1')
  await t.throwsAsync(ShardDirectory.open(folder, options), { code: 'OUTPUT_FAILED', message: /delete both/ })
  await rm(metadata)
  await rm(path.join(folder, 'img_emb', 'img_emb_0000.npy'))
  const third = await ShardDirectory.open(folder, options)
  t.false(third.has('a'))
  await third.close()
})

test('lines are values, whatever is in them', async (t) => {
  const file = path.join(await temporaryFolder(t), 'lines.jsonl')
  const values = ['a\nb', '', 'ü"\\', '\u2028']
  const lines = await JsonLines.open<string>(file)
  await lines.append(values.slice(0, 1))
  await lines.append(values.slice(1))
  await lines.close()
  const again = await JsonLines.open<string>(file)
  t.deepEqual(again.values, values)
  await again.close()
})
