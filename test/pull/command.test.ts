// llava pull as it is run, and what every other verb makes of the name afterwards.

import { existsSync } from 'node:fs'
import { copyFile, cp, readFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { LLaVA, checkModel, convertModel, pullModel } from '../../lib/index.js'
import { ended, llava, start } from '../command.js'
import { goldenCase } from '../tiny-model.js'
import { blobOf, environment, withServer } from './downloads.js'
import { commit, repository, sendRange, sha256, type Fault } from './hub-server.js'
import { Proxy } from './proxy.js'

const { model, picture } = goldenCase('gguf-pair-q4_0')
const files = {
  'tiny-q4_0.gguf': await readFile(model),
  'tiny-mmproj-f16.gguf': await readFile(path.join(path.dirname(model), 'mmproj-q4_0.gguf')),
}

/** Answers once it is told to. */
class Held {
  /** Whether it was asked. */
  readonly begun: Promise<void>
  #begin: () => void = () => undefined
  #answer: () => void = () => undefined

  constructor() {
    this.begun = new Promise((resolve) => {
      this.#begin = resolve
    })
  }

  readonly fault: Fault = (...request) => {
    this.#answer = () => {
      sendRange(...request)
    }
    this.#begin()
    return true
  }

  answer(): void {
    this.#answer()
  }
}

test('pull writes paths, and the license beside them; the name then stands for the pair', async (t) => {
  await withServer(async (place) => {
    const env = environment(place)
    const before = await llava(['ask', 'What?', '--model', repository], '', env)
    t.regex(before.stderr, /MODEL_NOT_FOUND/)
    t.regex(before.stderr, /run `llava pull owner\/tiny-GGUF`/)
    t.is(before.code, 1)
    const { stdout, stderr, code } = await llava(['pull', repository], '', env)
    const at = (file: string) => path.join(place.cached, 'snapshots', commit, file)
    t.is(stdout, `${at('tiny-q4_0.gguf')}  83.3 KiB\n${at('tiny-mmproj-f16.gguf')}  56.4 KiB\n`)
    t.is(
      stderr,
      `${repository}\n  tiny-q4_0.gguf  83.3 KiB\n  tiny-mmproj-f16.gguf  56.4 KiB\nlicense: llama2; whoever uses the model accepts its terms\n`,
    )
    t.is(code, 0)
    const flags = ['--max-tokens', '8', '--threads', '1', '--model']
    const [byName, byPath] = [
      await llava(['ask', picture, 'What?', ...flags, repository], '', env),
      await llava(['ask', picture, 'What?', ...flags, model]),
    ]
    t.is(byName.stdout, byPath.stdout)
    t.is(byName.code, 0)
    const info = await llava(['info', '--json', '--model', `${repository}:tiny-q4_0.gguf`], '', env)
    t.like(JSON.parse(info.stdout), { format: 'gguf-pair', path: at('tiny-q4_0.gguf') })
  }, files)
})

test('pull --json writes one object, and asks nobody', async (t) => {
  await withServer(async (place) => {
    const { stdout, stderr, code } = await llava(
      ['pull', `${repository}:tiny-q4_0.gguf`, '--json'],
      '',
      environment(place),
    )
    t.is(stderr, '')
    t.is(code, 0)
    const result = JSON.parse(stdout) as { readonly files: readonly { readonly sha256: string }[] }
    t.deepEqual(Object.keys(result), ['repository', 'commit', 'license', 'model', 'mmproj', 'files', 'elapsedMs'])
    t.deepEqual(
      result.files.map((file) => file.sha256),
      Object.values(files).map(sha256),
    )
  }, files)
})

test('an interrupt ends it with 130, no model, and what came kept', async (t) => {
  await withServer(async (place) => {
    const held = new Held()
    place.server.storeFaults = [held.fault]
    const child = start(['pull', repository], environment(place))
    const end = ended(child)
    await held.begun
    child.kill('SIGINT')
    t.is((await end).code, 130)
    t.deepEqual(await place.listed(), [`${blobOf(files['tiny-q4_0.gguf'])}.llava-incomplete`])
    const again = await llava(['pull', repository], '', environment(place))
    t.is(again.code, 0)
  }, files)
})

test('two processes download a file once, and both succeed', async (t) => {
  await withServer(async (place) => {
    const held = new Held()
    place.server.storeFaults = [held.fault]
    const first = start(['pull', repository, '--json'], environment(place))
    const firstEnd = ended(first)
    await held.begun
    const second = start(['pull', repository, '--json'], environment(place))
    const secondEnd = ended(second)
    while (place.server.requests.filter((one) => one.path.includes('/tree/')).length < 2) await sleep(5)
    held.answer()
    const [one, other] = await Promise.all([firstEnd, secondEnd])
    t.deepEqual([one.code, other.code, one.stderr, other.stderr], [0, 0, '', ''])
    t.is(place.server.ranges.length, 2)
    t.deepEqual(
      (JSON.parse(one.stdout) as { files: unknown }).files,
      (JSON.parse(other.stdout) as { files: unknown }).files,
    )
  }, files)
})

test('a proxy of the environment is gone through, but for hosts that it excepts', async (t) => {
  await withServer(async (place) => {
    using proxy = await Proxy.start()
    const env = environment(place)
    t.is((await llava(['pull', repository], '', { ...env, http_proxy: proxy.address })).code, 0)
    const hosts = [place.server.endpoint, place.server.store].map((origin) => new URL(origin).host)
    t.deepEqual([...new Set(proxy.reached)].sort(), hosts.sort())
    proxy.reached.length = 0
    t.is((await llava(['pull', repository], '', { ...env, http_proxy: proxy.address, no_proxy: '127.0.0.1' })).code, 0)
    t.deepEqual(proxy.reached, [])
  }, files)
})

test('HF_TOKEN reaches the hub', async (t) => {
  await withServer(async (place) => {
    t.is((await llava(['pull', repository], '', { ...environment(place), HF_TOKEN: ' hf_secret\n' })).code, 0)
    t.deepEqual(
      [...new Set(place.server.requests.map(({ server, headers }) => `${server} ${headers.authorization}`))],
      ['hub Bearer hf_secret', 'store undefined'],
    )
  }, files)
})

for (const [what, args, env, message] of [
  ['a name that is none', ['nothing'], {}, /expected `name` to be llava-1\.5-7b, llava-1\.5-13b or owner\/name/],
  ['two files', ['a/b:c.gguf', '--file', 'd.gguf'], {}, /leave one of them out/],
  ['an unknown type', ['a/b', '--type', 'q9_z'], {}, /Allowed choices are f32, f16/],
  [
    'an endpoint that is no address',
    ['a/b'],
    { HF_ENDPOINT: 'ftp://a' },
    /HF_ENDPOINT should be an http or https address/,
  ],
] as const) {
  test(`${what}: exit code 2`, async (t) => {
    const { code, stderr, stdout } = await llava(['pull', ...args], '', env)
    t.is(stdout, '')
    t.regex(stderr, message)
    t.is(code, 2)
  })
}

test.serial('the library opens, checks and converts by name; what is on the disk under it comes first', async (t) => {
  await withServer(async (place) => {
    const { folder } = place
    const [saved, directory] = [{ ...process.env }, process.cwd()]
    Object.assign(process.env, environment(place))
    try {
      await t.throwsAsync(LLaVA.open(repository), { code: 'MODEL_NOT_FOUND', message: /llava pull/ })
      const pulled = await pullModel(repository)
      await copyFile(pulled.mmproj ?? '', path.join(path.dirname(pulled.model), 'tiny-mmproj-Q8_0.gguf')) // two are beside it, and the name says which
      await using opened = await LLaVA.open(repository, { threads: 1 })
      t.is(opened.info().path, pulled.model)
      t.deepEqual(
        (await checkModel(repository)).files.map(({ sha256: sum }) => sum),
        pulled.files.map(({ sha256: sum }) => sum),
      )
      const out = path.join(folder, 'out.gguf')
      await convertModel(repository, out, { type: 'f16', threads: 1 })
      t.true(existsSync(out))
      process.chdir(folder)
      await cp(path.dirname(model), path.join(folder, repository), { recursive: true })
      await using onDisk = await LLaVA.open(repository, { threads: 1 })
      t.is(onDisk.info().path, path.join(folder, repository, path.basename(model)))
      const controller = new AbortController()
      controller.abort(new Error('left'))
      const error = await t.throwsAsync(pullModel(repository, { signal: controller.signal }), { name: 'AbortError' })
      t.is((error?.cause as Error).message, 'left')
      await t.throwsAsync(pullModel(repository, { colour: 'red' } as never), {
        code: 'INVALID_ARGUMENT',
        message: /no option `colour`/,
      })
    } finally {
      process.chdir(directory)
      for (const name of Object.keys(process.env)) if (!(name in saved)) Reflect.deleteProperty(process.env, name)
      Object.assign(process.env, saved)
    }
  }, files)
})
