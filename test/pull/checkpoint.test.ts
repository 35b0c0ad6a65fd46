// Checkpoints from the hub: repositories without GGUF, whose small files git itself holds, and whose weights may be
// shards under an index.

import { existsSync } from 'node:fs'
import { readFile, readlink, stat } from 'node:fs/promises'
import path from 'node:path'
import test from 'ava'
import { LLaVA, LlavaError, checkModel } from '../../lib/index.js'
import { findPulled } from '../../lib/hub/named-model.js'
import type { PullOptions } from '../../lib/hub/pull.js'
import { llava } from '../command.js'
import { goldenCase } from '../tiny-model.js'
import { environment, filesOf, withServer, type Place } from './downloads.js'
import { always, commit, dropAfter, etagOf, repository, sha256, status, type Files } from './hub-server.js'

const { model, picture } = goldenCase('hf-f32')
const whole = await filesOf(model)
const names = Object.keys(whole)

const { 'model.safetensors': weights = Buffer.alloc(0), ...settings } = whole
const shards = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'] as const
const index = { weight_map: { a: shards[0], b: shards[1], c: shards[1] } }
const sharded: Files = {
  ...settings,
  'model.safetensors.index.json': Buffer.from(JSON.stringify(index)),
  [shards[0]]: Buffer.from('first'),
  [shards[1]]: Buffer.from('second'),
  'consolidated.safetensors': Buffer.from('the same again'),
}

const asked = { text: repository, repository }
const snapshot = ({ cached }: Place): string => path.join(cached, 'snapshots', commit)

test('a repository without GGUF gives its checkpoint, and no file that is not read', async (t) => {
  const other = Buffer.from('another file')
  const others = { 'README.md': other, 'training_args.bin': other, 'sub/model.safetensors': other }
  await withServer(
    async (place) => {
      const { pull, cached, folder, listed } = place
      const { elapsedMs, files, ...result } = await pull()
      t.deepEqual(result, { repository, commit, license: 'llama2', model: snapshot(place) })
      t.true(elapsedMs > 0)
      t.deepEqual(files.map((file) => path.basename(file.path)).sort(), names.toSorted())
      t.is(path.basename(files[0]?.path ?? ''), 'model.safetensors')
      for (const { path: file, nbytes, sha256: sum } of files) {
        const bytes = whole[path.basename(file)] ?? Buffer.alloc(0)
        t.true((await readFile(file)).equals(bytes))
        t.deepEqual([nbytes, sum], [bytes.length, sha256(bytes)])
        t.is(await readlink(file), path.join('..', '..', 'blobs', etagOf(file, bytes)))
      }
      t.is((await listed()).length, 2 * names.length + 1) // blobs, links, and refs/main
      t.true(existsSync(path.join(cached, 'refs', 'main')))
      t.deepEqual(await findPulled(asked, folder), { model: snapshot(place) })
    },
    { ...others, ...whole },
  )
})

test('shards are those that the index names, which is read before anybody is asked for the rest', async (t) => {
  await withServer(async (place) => {
    const { pull, folder } = place
    const missing: number[] = []
    const confirm: PullOptions['confirm'] = (plan) => missing.push(plan.missingBytes) < 1
    const rest = Object.entries(sharded).filter(([file]) => !/index|consolidated|^config/.test(file))
    const total = rest.reduce((sum, [, bytes]) => sum + bytes.length, 0)
    await t.throwsAsync(pull({ confirm }), { code: 'ABORTED' })
    t.deepEqual(missing, [total])
    await t.throwsAsync(findPulled(asked, folder), { code: 'MODEL_NOT_FOUND' })
    const { files } = await pull()
    t.deepEqual(
      files.slice(0, 3).map((file) => path.basename(file.path)),
      ['model.safetensors.index.json', ...shards],
    )
    t.false(existsSync(path.join(snapshot(place), 'consolidated.safetensors')))
    t.deepEqual(await findPulled(asked, folder), { model: snapshot(place) })
  }, sharded)
})

test('weights of PyTorch are taken where there are no others', async (t) => {
  const [torch, both] = [
    { ...settings, 'pytorch_model.bin': weights },
    { ...whole, 'pytorch_model.bin': weights },
  ]
  await withServer(async ({ pull }) => {
    t.is(path.basename((await pull()).files[0]?.path ?? ''), 'pytorch_model.bin')
  }, torch)
  await withServer(async ({ pull }) => {
    t.false((await pull()).files.some((file) => file.path.endsWith('.bin')))
  }, both)
})

test('where there are both, the GGUF is taken, and the checkpoint by the name of its weights', async (t) => {
  await withServer(
    async (place) => {
      const { pull, folder } = place
      t.is((await pull()).model, path.join(snapshot(place), 'tiny-Q4_0.gguf'))
      const byWeights = { ...asked, file: 'model.safetensors' }
      await t.throwsAsync(findPulled(byWeights, folder), { code: 'MODEL_NOT_FOUND', message: /llava pull/ })
      t.is((await pull({ file: 'model.safetensors' })).model, snapshot(place))
      t.is((await findPulled(asked, folder)).model, path.join(snapshot(place), 'tiny-Q4_0.gguf'))
      t.is((await findPulled(byWeights, folder)).model, snapshot(place))
    },
    { ...whole, 'tiny-Q4_0.gguf': Buffer.from('a model') },
  )
})

const next = { ...whole, 'config.json': Buffer.from('{"architectures":["LlavaNextForConditionalGeneration"]}') }
const awq = { ...whole, 'config.json': Buffer.from('{"model_type":"llava","quantization_config":{}}') }
const lacking = { ...sharded, [shards[1]]: undefined }
const leading = { ...sharded, 'model.safetensors.index.json': Buffer.from('{"weight_map":{"a":"../x.safetensors"}}') }

for (const [what, files, options, code, words] of [
  ['a type where no GGUF is', whole, { type: 'q4_0' }, 'INVALID_ARGUMENT', /no GGUF .* leave `type` and `file` out/],
  ['a file where no GGUF is', whole, { file: 'x.gguf' }, 'INVALID_ARGUMENT', /no GGUF file is there to choose/],
  ['a repository without a model', { 'README.md': weights }, {}, 'MODEL_NOT_FOUND', /no GGUF .* and no checkpoint/],
  ['weights without config.json', { 'model.safetensors': weights }, {}, 'MODEL_NOT_FOUND', /no checkpoint/],
  ['a checkpoint of another kind', next, {}, 'MODEL_UNSUPPORTED', /tiny-GGUF\/config\.json: architecture "LlavaNext/],
  ['a quantised checkpoint', awq, {}, 'MODEL_UNSUPPORTED', /config\.json: a quantised checkpoint/],
  ['an index that names a missing shard', lacking, {}, 'MODEL_NOT_FOUND', /names model-00002.*, which is not/],
  ['an index that leads elsewhere', leading, {}, 'MODEL_CORRUPT', /the name of a safe/],
] as const) {
  test(`${what} is ${code}`, async (t) => {
    const given = Object.entries(files).filter((entry): entry is [string, Buffer] => entry[1] !== undefined)
    await withServer(async ({ server, pull, folder }) => {
      await t.throwsAsync(pull(options), { instanceOf: LlavaError, code, message: words })
      t.deepEqual(server.ranges, []) // no weights were asked for
      await t.throwsAsync(findPulled(asked, folder), { code: 'MODEL_NOT_FOUND' })
    }, Object.fromEntries(given))
  })
}

test('a small file whose bytes are not the listed ones is MODEL_CORRUPT, and is not kept', async (t) => {
  await withServer(async ({ server, pull, listed }) => {
    server.stated = { sha1: 'f'.repeat(40) }
    await t.throwsAsync(pull(), { instanceOf: LlavaError, code: 'MODEL_CORRUPT', message: /SHA-1/ })
    t.deepEqual(
      (await listed()).filter((file) => /f{40}|snapshots|refs/.test(file)),
      [],
    )
  }, whole)
})

test('a small file without a checksum is refused', async (t) => {
  await withServer(async ({ server, pull, listed }) => {
    server.stated = { sha1: '../../x' }
    await t.throwsAsync(pull(), { code: 'DOWNLOAD_FAILED', message: /the hub gives "\.\.\/\.\.\/x" for it/ })
    t.deepEqual(await listed(), [])
  }, whole)
})

test('a checkpoint of which one file fails is no model, and the next call fetches the rest', async (t) => {
  await withServer(async ({ server, pull, folder }) => {
    server.storeFaults = [dropAfter(1000), ...always(status(500))]
    await t.throwsAsync(pull(), { code: 'DOWNLOAD_FAILED' })
    await t.throwsAsync(findPulled(asked, folder), { code: 'MODEL_NOT_FOUND' })
    server.storeFaults = []
    const { files } = await pull()
    t.is((await stat(files[0]?.path ?? '')).size, weights.length)
  }, whole)
})

test('the command pulls a checkpoint, and its name is opened, checked and answered with', async (t) => {
  await withServer(async (place) => {
    const env = environment(place)
    const pulled = await llava(['pull', repository, '--json'], '', env)
    t.is(pulled.code, 0)
    t.like(JSON.parse(pulled.stdout), { model: snapshot(place) })
    t.false('mmproj' in (JSON.parse(pulled.stdout) as object))
    const flags = ['--max-tokens', '8', '--threads', '1', '--model']
    const byName = await llava(['ask', picture, 'What?', ...flags, repository], '', env)
    const byPath = await llava(['ask', picture, 'What?', ...flags, model])
    t.is(byName.stdout, byPath.stdout)
    t.is(byName.code, 0)
    const info = await llava(['info', '--json', '--model', repository], '', env)
    t.like(JSON.parse(info.stdout), { format: 'hf-directory', path: snapshot(place), card: { name: 'tiny-GGUF' } })
    t.true((await checkModel(snapshot(place))).sound)
    await using opened = await LLaVA.open(snapshot(place), { threads: 1 })
    t.is(opened.info().format, 'hf-directory')
  }, whole)
})
