// llava list, show and rm, and the calls beneath them, over a cache that has been pulled to, is being pulled to, or is
// in disorder.

import { existsSync } from 'node:fs'
import { copyFile, lstat, mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { setTimeout as sleep } from 'node:timers/promises'
import type { LlavaErrorCode } from '../../lib/index.js'
import { isHeld, withLock } from '../../lib/hub/lock.js'
import { llava, type Ended } from '../command.js'
import { goldenCase } from '../tiny-model.js'
import { environment, filesOf, withServer, type Place } from './downloads.js'
import { always, commit, dropAfter, repository, sha256, status } from './hub-server.js'

const { model } = goldenCase('gguf-pair-q4_0')
const { model: checkpoint } = goldenCase('hf-f32')
const language = await readFile(model)
const vision = await readFile(path.join(path.dirname(model), 'mmproj-q4_0.gguf'))
const pair = { 'tiny-q4_0.gguf': language, 'tiny-mmproj-f16.gguf': vision }
const two = { ...pair, 'tiny-q8_0.gguf': Buffer.concat([language, Buffer.alloc(64)]) }

interface Listed {
  readonly name: string
  readonly nbytes: number
  readonly complete: boolean
  readonly type?: string
  readonly path?: string
}

async function listed(env: NodeJS.ProcessEnv): Promise<readonly Listed[]> {
  const { stdout, stderr, code } = await llava(['list', '--json'], '', env)
  if (code !== 0 || stderr !== '') throw new Error(stderr)
  return stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Listed)
}

const blobs = ({ cached }: Place) => path.join(cached, 'blobs')
const snapshot = ({ cached }: Place) => path.join(cached, 'snapshots', commit)

async function pulled(place: Place, ...args: readonly string[]): Promise<NodeJS.ProcessEnv> {
  const env = environment(place)
  const { code, stderr } = await llava(['pull', repository, ...args], '', env)
  if (code !== 0) throw new Error(stderr)
  return env
}

function assertFailed(t: ExecutionContext, ended: Ended, expected: LlavaErrorCode, message: RegExp): void {
  const { code, stderr, stdout } = ended
  t.is(stdout, '')
  t.regex(stderr, message)
  t.true(stderr.endsWith(`(${expected})\n`))
  t.is(code, 1)
}

test('list: the package’s own model first; an empty cache, and one that is not there, are no error', async (t) => {
  await withServer(async (place) => {
    const env = environment(place)
    for (const HF_HUB_CACHE of [place.folder, path.join(place.folder, 'none')]) {
      const { stdout, stderr, code } = await llava(['ls'], '', { ...env, HF_HUB_CACHE })
      t.regex(stdout, /^NAME +TYPE +SIZE +PULLED\ndefault .* comes with the package\n$/)
      t.is(stderr, '')
      t.is(code, 0)
    }
  })
})

test('list: one row for a pair, one for each of several files; every name is one that opens', async (t) => {
  await withServer(async (place) => {
    const env = await pulled(place)
    const [own, ...one] = await listed(env)
    t.is(own?.name, 'default')
    const nbytes = language.length + vision.length
    const file = path.join(snapshot(place), 'tiny-q4_0.gguf')
    t.like(one[0], { name: repository, type: 'q4_0', complete: true, nbytes, path: file })
    t.regex((await llava(['list'], '', env)).stdout, /\nowner\/tiny-GGUF +q4_0 +139\.7 KiB +\d{4}-\d\d-\d\d\n$/)
    await pulled(place, '--type', 'q8_0')
    const names = (await listed(env)).map(({ name }) => name)
    t.deepEqual(names, ['default', `${repository}:tiny-q4_0.gguf`, `${repository}:tiny-q8_0.gguf`])
    for (const name of names) {
      const { code, stdout } = await llava(['show', name, '--json'], '', env)
      t.is(code, 0)
      t.like(JSON.parse(stdout), { name })
    }
    t.is((await llava(['info', '--model', 'default'], '', env)).code, 0)
  }, two)
})

test('list: a checkpoint is one model, and models of other programs are none', async (t) => {
  await withServer(
    async (place) => {
      const env = await pulled(place)
      for (const [name, text] of [
        ['bert/base', '{"model_type":"bert"}'],
        ['none/none', 'no JSON'],
      ] as const) {
        const folder = path.join(place.folder, `models--${name.replace('/', '--')}`)
        const at = path.join(folder, 'snapshots', commit)
        for (const each of [at, path.join(folder, 'refs')]) await mkdir(each, { recursive: true })
        await writeFile(path.join(folder, 'refs', 'main'), commit)
        await writeFile(path.join(at, 'config.json'), text)
        await writeFile(path.join(at, 'model.safetensors'), 'x')
      }
      await mkdir(path.join(place.folder, 'datasets--a--b'))
      t.like((await listed(env)).slice(1), [{ name: repository, type: 'safetensors', path: snapshot(place) }])
      const { stdout } = await llava(['show', repository], '', env)
      t.regex(stdout, /^model +owner\/tiny-GGUF\nrepository +owner\/tiny-GGUF\ncommit +c0ffee0+\n/)
      t.regex(stdout, /\npath +\S+ \(hf-directory\)\nfiles +model\.safetensors {2}304\.4 KiB\n/)
      t.regex(stdout, /\nparameters .*\nweights +F32 .*\ntext .* context 256\nvision .*\ntemplate +vicuna_v1\n$/)
      const removed = await llava(['rm', `${repository}:model.safetensors`], '', env)
      t.is(removed.code, 0)
      t.false(existsSync(place.cached))
    },
    await filesOf(checkpoint),
  )
})

test('list and rm: a download that was left is shown with what is there, and can be deleted', async (t) => {
  await withServer(async (place) => {
    const env = environment(place)
    let downloads = 0
    place.server.storeFaults = [dropAfter(20_000)]
    place.server.hubFaults = always((request, response, bytes) => {
      const isSecond = request.url?.includes('/resolve/') === true && ++downloads === 2
      return isSecond && status(404)(request, response, bytes)
    })
    t.is((await llava(['pull', repository], '', env)).code, 1)
    const [, left, ...none] = await listed(env)
    t.deepEqual(none, [])
    t.like(left, { name: repository, complete: false })
    t.true(left!.nbytes >= 16_384 && left!.nbytes < language.length)
    const shown = (await llava(['list'], '', env)).stdout
    t.regex(shown, /owner\/tiny-GGUF +incomplete +\d.* here +\S+; `llava pull owner\/tiny-GGUF` goes on\n/)
    const { code, stdout } = await llava(['rm', repository], '', env)
    t.is(code, 0)
    t.regex(stdout, /^owner\/tiny-GGUF: deleted, \d.* freed\n$/)
    t.false(existsSync(place.cached))
  }, pair)
})

test('list: a cache that is a file is an error that says which', async (t) => {
  await withServer(async (place) => {
    const file = path.join(place.folder, 'file')
    await writeFile(file, '')
    const ended = await llava(['list'], '', { ...environment(place), HF_HUB_CACHE: file })
    assertFailed(t, ended, 'MODEL_NOT_FOUND', /file: the cache cannot be read \(ENOTDIR\); check HF_HUB_CACHE/)
  })
})

test('list: what is broken in a cache is passed over', async (t) => {
  await withServer(async (place) => {
    const env = await pulled(place)
    const other = path.join(place.folder, 'models--a--b')
    await mkdir(path.join(other, 'refs'), { recursive: true })
    await writeFile(path.join(other, 'refs', 'main'), '../../..')
    await writeFile(path.join(place.folder, 'models--file--file'), '')
    await symlink('nowhere', path.join(place.folder, 'models--gone--gone'))
    await symlink('../../blobs/gone', path.join(snapshot(place), 'other-q8_0.gguf'))
    t.deepEqual(
      (await listed(env)).map(({ name }) => name),
      ['default', repository],
    )
    await writeFile(path.join(blobs(place), sha256(language)), 'no GGUF')
    t.deepEqual(
      (await listed(env)).map(({ name }) => name),
      ['default'],
    )
  }, pair)
})

test('rm deletes all of a model, says what was freed, and a second time finds none', async (t) => {
  await withServer(async (place) => {
    const env = await pulled(place)
    const again = await llava(['rm', repository, repository, '--json'], '', env)
    t.is(again.code, 0)
    const removed = { name: repository, repository, files: ['tiny-mmproj-f16.gguf', 'tiny-q4_0.gguf'] }
    const { freedBytes, ...rest } = JSON.parse(again.stdout) as { freedBytes: number }
    t.deepEqual(rest, removed)
    t.true(freedBytes >= language.length + vision.length - 8192 && freedBytes <= language.length + vision.length + 8192)
    t.false(existsSync(place.cached))
    assertFailed(t, await llava(['rm', repository], '', env), 'MODEL_NOT_FOUND', /no model of this name/)
    t.deepEqual(
      (await listed(env)).map(({ name }) => name),
      ['default'],
    )
    await pulled(place)
  }, pair)
})

test('rm of a file leaves the others, and of several names the ones that are there go', async (t) => {
  await withServer(async (place) => {
    const env = await pulled(place)
    await pulled(place, '--type', 'q8_0')
    const name = `${repository}:tiny-q8_0.gguf`
    const { code, stdout, stderr } = await llava(['rm', 'no/such', name, './x', 'default'], '', env)
    t.is(stdout.split(':').slice(0, 2).join(':'), name)
    t.regex(stderr, /no\/such: no model[^]*\.\/x: no model[^]*default comes with the package/)
    t.is(code, 1)
    t.deepEqual((await readdir(snapshot(place))).sort(), ['tiny-mmproj-f16.gguf', 'tiny-q4_0.gguf'])
    t.deepEqual((await readdir(blobs(place))).sort(), [sha256(language), sha256(vision)].sort())
    t.like((await listed(env)).slice(1), [{ name: repository }])
    assertFailed(t, await llava(['rm', name], '', env), 'MODEL_NOT_FOUND', /tiny-q8_0/)
  }, two)
})

test('rm leaves blobs that another branch names, and what main stood for before goes', async (t) => {
  await withServer(async (place) => {
    const env = await pulled(place)
    const [older, branch] = ['b'.repeat(40), 'd'.repeat(40)]
    for (const other of [older, branch]) {
      await mkdir(path.join(place.cached, 'snapshots', other))
      const name = path.join(place.cached, 'snapshots', other, 'x.gguf')
      await symlink(path.join('..', '..', 'blobs', sha256(language)), name)
    }
    await mkdir(path.join(place.cached, 'refs', 'pr'))
    await writeFile(path.join(place.cached, 'refs', 'pr', '1'), branch)
    const { stdout, code } = await llava(['rm', repository, '--json'], '', env)
    t.is(code, 0)
    t.true((JSON.parse(stdout) as { freedBytes: number }).freedBytes < language.length)
    t.deepEqual(await readdir(path.join(place.cached, 'snapshots')), [branch])
    t.deepEqual(await readdir(blobs(place)), [sha256(language)])
    t.false(existsSync(path.join(place.cached, 'refs', 'main')))
  }, pair)
})

test('rm follows no link out of the cache', async (t) => {
  await withServer(async (place) => {
    const env = await pulled(place)
    const outside = path.join(place.folder, 'outside')
    await mkdir(outside)
    await copyFile(model, path.join(outside, 'mine.gguf'))
    await symlink(path.join(outside, 'mine.gguf'), path.join(snapshot(place), 'mine.gguf'))
    await symlink(outside, path.join(snapshot(place), 'folder'))
    await symlink(outside, path.join(place.cached, 'snapshots', 'e'.repeat(40)))
    await symlink(path.join(outside, 'mine.gguf'), path.join(blobs(place), 'f'.repeat(64)))
    t.is((await llava(['rm', repository], '', env)).code, 0)
    t.deepEqual(await readdir(outside), ['mine.gguf'])
    t.is((await lstat(path.join(outside, 'mine.gguf'))).size, language.length)
    await rm(place.cached, { recursive: true, force: true })
    await mkdir(path.join(outside, 'snapshots', commit), { recursive: true })
    await copyFile(model, path.join(outside, 'snapshots', commit, 'm.gguf'))
    await mkdir(path.join(outside, 'refs'))
    await writeFile(path.join(outside, 'refs', 'main'), commit)
    await symlink(outside, place.cached)
    assertFailed(t, await llava(['rm', repository], '', env), 'OUTPUT_FAILED', /is a link that leads out of the cache/)
    t.true(existsSync(path.join(outside, 'snapshots', commit, 'm.gguf')))
  }, pair)
})

test('rm of what another process is downloading is refused', async (t) => {
  await withServer(async (place) => {
    const env = await pulled(place)
    const lock = path.join(place.folder, '.locks', 'models--owner--tiny-GGUF', `${sha256(language)}.llava-lock`)
    await withLock(lock, { signal: new AbortController().signal }, async () => {
      assertFailed(t, await llava(['rm', repository], '', env), 'BUSY', /another process is downloading it/)
    })
    t.is((await listed(env)).length, 2)
  }, pair)
})

test('a lock that nobody touches holds nothing', async (t) => {
  await withServer(async ({ folder }) => {
    const file = path.join(folder, 'lock')
    t.false(await isHeld(file, 20))
    await writeFile(file, 'of a process that was killed')
    t.false(await isHeld(file, 20))
    await withLock(path.join(folder, 'other'), { signal: new AbortController().signal, beatMs: 20 }, async () => {
      t.true(await isHeld(path.join(folder, 'other'), 20))
    })
    const gone = isHeld(file, 200)
    await sleep(50)
    await rm(file)
    t.true(await gone) // let go of by somebody who was there
  })
})

for (const name of ['llava:7b', 'llava-7b', 'llava', 'llava1.5', 'llava-v1.5-7b', 'llava:13b', 'LLaVA-13B']) {
  test(`--model ${name} names the models known`, async (t) => {
    const { code, stderr } = await llava(['info', '--model', name])
    const [one, other] = name.includes('13') ? ['llava-1.5-13b', 'llava-1.5-7b'] : ['llava-1.5-7b', 'llava-1.5-13b']
    t.true(stderr.includes(`did you mean ${one}? The names known are ${one} and ${other}; `))
    t.regex(stderr, /`llava pull owner\/name` .* \(MODEL_NOT_FOUND\)\n$/)
    t.is(code, 1)
  })
}

for (const name of ['models/x.gguf', 'x.gguf', './llava', 'a/b/c', 'model.safetensors', '..x/']) {
  test(`--model ${name} is a path, and nothing else is said`, async (t) => {
    const { stderr } = await llava(['info', '--model', name])
    t.regex(stderr, /there is no such file or directory \(MODEL_NOT_FOUND\)\n$/)
  })
}

test('show of a name that was not pulled says how to pull it, and of none which are there', async (t) => {
  await withServer(async (place) => {
    const env = environment(place)
    assertFailed(t, await llava(['show', 'llava-1.5-7b'], '', env), 'MODEL_NOT_FOUND', /run `llava pull llava-1\.5-7b`/)
    assertFailed(t, await llava(['show', 'nothing'], '', env), 'MODEL_NOT_FOUND', /`llava list` shows/)
  })
})
