// A back end in a shared library of its own: found, loaded, planned for, computed with, and failing in every way that a
// GPU's may. The library is native/testing/device_library.cc, whose device is the CPU's ops on memory that nobody
// reaches but itself; LLAVA_TEST_DEVICE says how it misbehaves.

import { execFileSync, spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import test, { type ExecutionContext } from 'ava'
import {
  CLIP,
  convertModel,
  LLaVA,
  LlavaError,
  type Device,
  type LlavaErrorCode,
  type OpenOptions,
} from '../lib/index.js'
import { difference } from './native/golden-models.js'
import { ended, start } from './command.js'
import { goldenCase } from './tiny-model.js'

const root = fileURLToPath(new URL('../../', import.meta.url))
const library = path.join(root, 'build/testing/llava_device.so')
const demo = path.join(root, 'models/demo.png')
const question = 'What is in this picture?'
const brief = { maxTokens: 8 } as const

/** One after another, as all of them set the environment; only where the library is built. */
const onDevice = existsSync(library) ? test.serial : test.serial.skip

test.beforeEach(() => {
  process.env['LLAVA_CUDA_LIBRARY'] = library
  delete process.env['LLAVA_TEST_DEVICE']
})

function machineHas(problem: string): void {
  process.env['LLAVA_TEST_DEVICE'] = problem
}

function folderOf(t: ExecutionContext): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'llava-device-'))
  t.teardown(() => {
    rmSync(folder, { recursive: true })
  })
  return folder
}

async function failure(t: ExecutionContext, device: Device = 'cuda', options: OpenOptions = {}): Promise<LlavaError> {
  return t.throwsAsync<LlavaError>(LLaVA.open('default', { device, ...options }), { name: 'LlavaError' })
}

test.serial('kAbiSources is the digest of the headers that describe what crosses', (t) => {
  const { status, stderr } = spawnSync(process.execPath, [path.join(root, 'tools/backend-abi.mjs')], {
    encoding: 'utf8',
  })
  t.is(status, 0, stderr)
})

onDevice('the library shows the loader one function', (t) => {
  const symbols = execFileSync('nm', ['--dynamic', '--defined-only', library], { encoding: 'utf8' })
  t.regex(symbols, /^\S+ T llava_backend_library$/m)
  t.is(symbols.trim().split('\n').length, 1)
})

onDevice('a model on a device gives what it gives on the CPU, and says what computes', async (t) => {
  await using cpu = await LLaVA.open()
  for (const [device, name] of [
    ['auto', 'Test device 0 (cuda:0)'],
    ['cuda:1', 'Test device 1 (cuda:1)'],
  ] as const) {
    await using model = await LLaVA.open('default', { device })
    t.is(model.info().device, name)
    t.is((await model.ask(demo, question, brief)).text, (await cpu.ask(demo, question, brief)).text)
    const kinds = ['patch_features', 'projected', 'clip_image', 'hidden_mean'] as const
    for (const kind of kinds) {
      const [mine, theirs] = await Promise.all([model, cpu].map((each) => each.embed(demo, { kind })))
      t.is(difference(mine!.data, theirs!.data), undefined, kind)
    }
  }
  t.false(cpu.info().device.includes('cuda'))
  t.is(cpu.info().memory.plan, undefined)
})

onDevice('the CPU computes unless a device is asked for', async (t) => {
  await using model = await LLaVA.open()
  await using clip = await CLIP.open()
  for (const { device } of [model.info(), clip.info()]) t.notRegex(device, /Test device|no GPU/)
})

/** What stands in LLAVA_TEST_DEVICE; the error. */
const problems: readonly (readonly [string, LlavaErrorCode, RegExp])[] = [
  ['no-driver', 'DEVICE_UNAVAILABLE', /^cuda:0: no driver can be used \(libcuda.*install a newer driver/],
  ['no-device', 'DEVICE_UNAVAILABLE', /^cuda:0: no GPU is there; .*CUDA_VISIBLE_DEVICES/],
  ['too-old', 'DEVICE_UNAVAILABLE', /^cuda:0 \(Test device 0, sm_00\) is too old .*sm_80/],
  [
    'abi',
    'DEVICE_UNAVAILABLE',
    /another version \(0\.0\.0-test, ABI [0-9a-f]{16}\).*\(ABI [0-9a-f]{16}\).*same version/,
  ],
  [
    'memory=1000000',
    'OUT_OF_MEMORY',
    /the model takes .* \(weights .*, workspaces .*, keys and values of 1024 positions/,
  ],
  ['allocation=1', 'OUT_OF_MEMORY', /^cuda:0: out of device memory/],
  ['allocation=20', 'OUT_OF_MEMORY', /^cuda:0: out of device memory/],
]
for (const [problem, code, message] of problems) {
  onDevice(`${problem}: a device that is asked for by name fails, and auto says why the CPU computes`, async (t) => {
    machineHas(problem)
    const error = await failure(t)
    t.is(error.code, code)
    t.regex(error.message, message)
    await t.throwsAsync(CLIP.open(undefined, { device: 'cuda' }), { code })
    await using model = await LLaVA.open('default', { device: 'auto', threads: 2 })
    t.is((await model.ask(demo, question, brief)).text.length > 0, true)
    t.true(model.info().device.endsWith(` (no GPU: ${error.message})`), model.info().device)
    await using clip = await CLIP.open(undefined, { device: 'auto' })
    t.regex(clip.info().device, / \(no GPU: /)
  })
}

onDevice('a number beyond the last device is refused with those there are', async (t) => {
  const { code, message } = await failure(t, 'cuda:2')
  t.is(code, 'DEVICE_UNAVAILABLE')
  t.regex(message, /cuda:2 is not there: there is cuda:0 Test device 0, cuda:1 Test device 1/)
})

test.serial('without a library the error names the package and the variable', async (t) => {
  delete process.env['LLAVA_CUDA_LIBRARY']
  const { code, message, cause } = await failure(t)
  t.is(code, 'DEVICE_UNAVAILABLE')
  t.true(message.includes(`npm install @llava-native/cuda-${process.platform}-${process.arch}`), message)
  t.regex(message, /LLAVA_CUDA_LIBRARY/)
  t.true(cause instanceof Error)
  await using model = await LLaVA.open('default', { device: 'auto' })
  t.regex(model.info().device, / \(no GPU: the CUDA back end is not installed/)
})

onDevice('a library that is not there, is none, or is another one is told apart', async (t) => {
  const folder = folderOf(t)
  const text = path.join(folder, 'text.so')
  writeFileSync(text, 'no library')
  const foreign = path.join(folder, 'foreign.so')
  copyFileSync(path.join(root, 'build/testing/allocation_probe.so'), foreign)
  for (const [file, message] of [
    [path.join(folder, 'nothing.so'), /LLAVA_CUDA_LIBRARY names .*, and no file is there/],
    [text, /text\.so cannot be loaded: .*/],
    [foreign, /foreign\.so is no back end of this package: .*llava_backend_library/],
  ] as const) {
    process.env['LLAVA_CUDA_LIBRARY'] = file
    const { code, message: said } = await failure(t)
    t.is(code, 'DEVICE_UNAVAILABLE')
    t.regex(said, message)
  }
})

test.serial('a device is auto, cpu, cuda or cuda:N, and options of the CPU are refused beside a GPU', async (t) => {
  for (const device of ['gpu', 'cuda:', 'cuda:-1', 'cuda:01', 'cuda:1000', 'CUDA', 'cuda:1 ', 1, null]) {
    const refused = { code: 'INVALID_ARGUMENT', message: /`device` to be 'auto', 'cpu', 'cuda', or 'cuda:N'/ }
    await t.throwsAsync(LLaVA.open('default', { device: device as Device }), refused)
    await t.throwsAsync(CLIP.open(undefined, { device: device as Device }), refused)
  }
  for (const option of [{ threads: 2 }, { isa: 'scalar' }, { weights: 'copied' }, { weights: 'mapped' }] as const) {
    const { code, message } = await failure(t, 'cuda', option)
    t.is(code, 'INVALID_ARGUMENT')
    t.regex(message, new RegExp(`\`${Object.keys(option)[0]}\` is an option of the CPU`))
  }
  await t.throwsAsync(CLIP.open(undefined, { device: 'cuda', threads: 2 }), { code: 'INVALID_ARGUMENT' })
})

onDevice('auto does not hide what is wrong with a model or a call', async (t) => {
  await t.throwsAsync(LLaVA.open('/nowhere', { device: 'auto' }), { code: 'MODEL_NOT_FOUND' })
  await t.throwsAsync(CLIP.open('/nowhere', { device: 'auto' }), { code: 'MODEL_NOT_FOUND' })
  const onProgress = () => {
    throw new LlavaError('VALUE_INVALID', 'mine')
  }
  await t.throwsAsync(LLaVA.open('default', { device: 'auto', onProgress }), { code: 'VALUE_INVALID', message: 'mine' })
})

onDevice('weights are uploaded, which onProgress hears', async (t) => {
  const heard: [number, number][] = []
  await using model = await LLaVA.open('default', {
    device: 'cuda',
    onProgress: ({ done, total }) => {
      heard.push([done, total])
    },
  })
  const [done, total] = heard.at(-1)!
  t.is(done, total)
  const { weightsMapped, weightsHeap } = model.info().memory
  t.is(weightsMapped, 0)
  t.true(weightsHeap >= total)
})

onDevice('the plan is what a model takes, and says what keys and values it leaves room for', async (t) => {
  machineHas('memory=300000000')
  await using model = await LLaVA.open('default', { device: 'cuda', pictureCacheBytes: 0, prefixCacheBytes: 0 })
  const { memory, load } = model.info()
  const { total, free, weights, workspaces, room, positions } = memory.plan!
  t.is(total, 300000000)
  t.is(free, total)
  t.is(weights, memory.weightsHeap)
  t.is(room, free - weights - workspaces)
  t.is(load.kvCacheBytes, (room * 3) / 4)
  const page = memory.kvCacheFull / Math.ceil(model.info().contextLength / 64)
  t.is(positions, Math.floor(room / page) * 64)
  await model.ask([demo, demo, demo], question, brief)
  t.true(model.info().memory.scratch > 0)
  // what a second model finds is what the first one left
  await using second = await LLaVA.open('default', { device: 'cuda' })
  const left = second.info().memory.plan!.free
  t.true(left < total - weights)
  t.true(left >= total - weights - workspaces - 4 * page, `${left}`)
  await using clip = await CLIP.open(undefined, { device: 'cuda:1' })
  const plan = clip.info().plan!
  t.is(plan.positions, 0)
  t.is(plan.room, plan.free - plan.weights - plan.workspaces)
})

/** Opens on a device that has no byte more than the plan asks for; and is refused on one that has one less. */
async function openOnLeast(t: ExecutionContext, file: string): Promise<LLaVA> {
  const options = { device: 'cuda', pictureCacheBytes: 0, prefixCacheBytes: 0 } as const
  machineHas('')
  const planned = await LLaVA.open(file, options)
  const { memory, contextLength } = planned.info()
  await planned[Symbol.asyncDispose]()
  const pages = (memory.kvCacheFull * 1024) / contextLength
  const least = memory.plan!.weights + memory.plan!.workspaces + pages
  machineHas(`memory=${least - 1}`)
  await t.throwsAsync(LLaVA.open(file, options), { code: 'OUT_OF_MEMORY' })
  machineHas(`memory=${least}`)
  return LLaVA.open(file, options)
}

onDevice('just the bytes of a plan are enough for the largest batch of pictures', async (t) => {
  await using cpu = await LLaVA.open()
  const pixels = (picture: number) => Uint8Array.from({ length: 12 }, (_, at) => (picture * 37 + at * 11) % 256)
  const vectorsOf = (one: LLaVA) => {
    const pictures = Array.from({ length: 30 }, (_, n) => ({ width: 2, height: 2, data: pixels(n) }))
    return Promise.all(pictures.map((picture) => one.embed(picture, { kind: 'pooled_features' })))
  }
  await using model = await openOnLeast(t, 'default')
  const [vectors, expected] = await Promise.all([model, cpu].map(vectorsOf))
  for (const [n, { data }] of vectors!.entries()) t.is(difference(data, expected![n]!.data), undefined)
  t.is((await model.ask(demo, question, brief)).text, (await cpu.ask(demo, question, brief)).text)
})

onDevice('just the bytes of a plan are enough for the longest pass of the decoder', async (t) => {
  const folder = folderOf(t)
  const { files } = await convertModel('default', path.join(folder, 'model'), { type: 'q8_0', pair: true })
  const file = path.join(folder, 'alone/model.gguf')
  mkdirSync(path.dirname(file))
  renameSync(files[0]!.path, file)
  await using cpu = await LLaVA.open(file)
  await using model = await openOnLeast(t, file)
  const [mean, expected] = await Promise.all(
    [model, cpu].map((one) => one.embed('red '.repeat(900), { kind: 'hidden_mean' })),
  )
  t.is(difference(mean!.data, expected!.data), undefined)
})

onDevice('a device that breaks fails its model for good, and no other', async (t) => {
  await using before = await LLaVA.open('default', { device: 'cuda' })
  const expected = (await before.ask(demo, question, brief)).text
  for (const op of [1, 40, 160, 400]) {
    machineHas(`op=${op}`)
    const model = await LLaVA.open('default', { device: 'cuda' })
    const failed = { code: 'DEVICE_FAILED', message: /^cuda:0 failed: an illegal memory access.*open it again/ }
    await t.throwsAsync(model.ask(demo, question), failed)
    await t.throwsAsync(model.ask([], 'Hello'), failed)
    await t.throwsAsync(model.embed(demo, { kind: 'projected' }), failed)
    t.is(model.info().device, 'Test device 0 (cuda:0)')
    model.dispose()
    machineHas('')
    t.is((await before.ask(demo, question, brief)).text, expected)
  }
  await using after = await LLaVA.open('default', { device: 'cuda' })
  t.is((await after.ask(demo, question, brief)).text, expected)
})

onDevice('wherever device memory runs out, the call or the opening fails and all else goes on', async (t) => {
  const golden = goldenCase('hf-f32')
  const options = { device: 'cuda', template: 'hf', prefixCacheBytes: 0, pictureCacheBytes: 0 } as const
  const asked = { maxTokens: 3 } as const
  await using whole = await LLaVA.open(golden.model, options)
  const expected = (await whole.ask(golden.picture, 'What is it?', asked)).text
  let opened = 0
  for (let n = 1, done = false; !done; n++) {
    machineHas(`allocation=${n}`)
    let model: LLaVA
    try {
      model = await LLaVA.open(golden.model, options)
    } catch (error) {
      t.is((error as LlavaError).code, 'OUT_OF_MEMORY')
      continue
    }
    opened++
    const failures: unknown[] = []
    for (let call = 0; call < 3; call++) {
      try {
        t.is((await model.ask(golden.picture, 'What is it?', asked)).text, expected)
      } catch (error) {
        failures.push((error as LlavaError).code)
      }
    }
    t.true(failures.length <= 1 && failures.every((code) => code === 'OUT_OF_MEMORY'), failures.join())
    done = failures.length === 0
    await model[Symbol.asyncDispose]()
  }
  t.true(opened > 2, `${opened}`)
})

onDevice('a model that is disposed of in the middle of its work gives all of its memory back', async (t) => {
  machineHas('memory=300000000')
  const model = await LLaVA.open('default', { device: 'cuda:1' })
  const running = [1, 2, 3].map((seed) => model.ask(demo, question, { seed, temperature: 1, maxTokens: 400 }))
  const settled = Promise.allSettled(running)
  await new Promise((resolve) => {
    setImmediate(resolve)
  })
  await model[Symbol.asyncDispose]()
  for (const { status, ...rest } of await settled) {
    t.is(status, 'rejected')
    t.is((rest as { reason: LlavaError }).reason.code, 'DISPOSED')
  }
  await using next = await LLaVA.open('default', { device: 'cuda:1' })
  t.is(next.info().memory.plan!.free, 300000000)
})

onDevice('two models and a CLIP share a library, in several threads too', async (t) => {
  const answer = async (device: Device) => {
    await using model = await LLaVA.open('default', { device })
    await using clip = await CLIP.open(undefined, { device })
    const [{ text }, vector] = await Promise.all([model.ask(demo, question, brief), clip.embed(demo)])
    return JSON.stringify([text, [...vector]])
  }
  const expected = await answer('cpu')
  const workers = [0, 1].map(
    (index) =>
      new Promise<unknown>((resolve, reject) => {
        const code = `
          import { parentPort } from 'node:worker_threads'
          const { CLIP, LLaVA } = await import(${JSON.stringify(new URL('../lib/index.js', import.meta.url).href)})
          const model = await LLaVA.open('default', { device: 'cuda:${index}' })
          const clip = await CLIP.open(undefined, { device: 'cuda:${index}' })
          const { text } = await model.ask(${JSON.stringify(demo)}, ${JSON.stringify(question)}, { maxTokens: 8 })
          parentPort.postMessage(JSON.stringify([text, [...(await clip.embed(${JSON.stringify(demo)}))]]))
          model.dispose()
          clip.dispose()`
        const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(code)}`))
        worker.once('message', resolve)
        worker.once('error', reject)
      }),
  )
  const all = await Promise.all([answer('cuda'), answer('cuda'), answer('cuda:1'), ...workers])
  for (const one of all) t.is(one, expected)
})

onDevice('encoded pictures and conversations of a device are not taken for those of the CPU', async (t) => {
  const pictureCacheDirectory = folderOf(t)
  await using cpu = await LLaVA.open('default', { pictureCacheDirectory })
  await using model = await LLaVA.open('default', { device: 'cuda', pictureCacheDirectory })
  const use = (one: LLaVA) => one.info().caches.picturesOnDisk!
  await cpu.ask(demo, question, brief)
  await model.ask(demo, question, brief)
  await cpu[Symbol.asyncDispose]()
  t.is(use(model).hits, 0)
  await model[Symbol.asyncDispose]()
  await using again = await LLaVA.open('default', { device: 'cuda', pictureCacheDirectory })
  await again.ask(demo, question, brief)
  t.is(use(again).hits, 1)
})

onDevice('a conversation goes on from its keys and values on the same device alone', async (t) => {
  await using cpu = await LLaVA.open()
  await using model = await LLaVA.open('default', { device: 'cuda' })
  using conversation = model.createConversation()
  await conversation.say(
    [
      { type: 'image', image: demo },
      { type: 'text', text: question },
    ],
    brief,
  ).answer
  const saved = await conversation.save({ keysAndValues: true })
  await using restored = await model.restoreConversation(saved)
  const [next, expected] = [restored, conversation].map((one) => one.say('What else?', brief).answer)
  t.is((await next!).text, (await expected!).text)
  await t.throwsAsync(cpu.restoreConversation(saved), { code: 'INVALID_ARGUMENT', message: /another model/ })
})

onDevice("a benchmark's roofs are the device's", async (t) => {
  await using model = await LLaVA.open('default', { device: 'cuda' })
  const options = { prompt: 40, generate: 2, images: 1, repeat: 1 }
  for await (const { ratio, peak, roof } of model.benchmark(options)) {
    t.true(ratio > 0)
    t.deepEqual([peak, roof], [1000, "a test device's own"])
  }
})

onDevice('llava ask, info and embed take --device', async (t) => {
  const env = { LLAVA_CUDA_LIBRARY: library }
  const run = async (args: readonly string[], more: NodeJS.ProcessEnv = {}) => ended(start(args, { ...env, ...more }))
  await using cpu = await LLaVA.open()
  const { text } = await cpu.ask(demo, question, brief)
  const answered = await run(['ask', '--device', 'cuda:1', '--max-tokens', '8', demo, question])
  t.deepEqual([answered.code, answered.stdout.trim()], [0, text.trim()])
  const info = await run(['info', '--device', 'cuda'])
  t.regex(info.stdout, /^device +Test device 0 \(cuda:0\)$/m)
  t.regex(info.stdout, /^GPU memory +3\.0 GiB of 3\.0 GiB were free; weights .*keys and values of \d+ positions$/m)
  const json = await run(['info', '--device', 'auto', '--json'], { LLAVA_TEST_DEVICE: 'no-driver' })
  t.regex((JSON.parse(json.stdout) as { device: string }).device, /\(no GPU: cuda:0: no driver can be used/)
  const refused = await run(['ask', '--device', 'gpu', question])
  t.is(refused.code, 2)
  t.regex(refused.stderr, /--device/)
  const missing = await run(['ask', '--device', 'cuda', question], { LLAVA_TEST_DEVICE: 'no-device' })
  t.is(missing.code, 1)
  t.regex(missing.stderr, /no GPU is there/)
})
