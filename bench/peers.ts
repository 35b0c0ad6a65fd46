// The same work on other engines, in turns with ours on the same files, threads and machine: llama.cpp and its fork
// ik_llama.cpp by their own llama-bench, llama.cpp as llama-cpp-python builds it for this CPU, also with several texts
// side by side, its prebuilt binary by node-llama-cpp (prefill from an empty context, decoding from its first token), and
// a picture through tower and projector on llama.cpp by its llama-mtmd-cli, in the weights' own type, and on ONNX Runtime,
// which @huggingface/transformers runs on, in float32. None of them is installed with this package: a peer that is not
// there is skipped with a sentence on how to get it.

import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { LLaVA, type Dtype, type Isa } from '../lib/index.js'
import { writeClipOnnx } from './clip-onnx.js'
import { batchPrompt } from './model-bench.js'
import { optional } from './optional.js'
import { decoders, patches, visionTower, type DecoderName } from './shapes.js'
import { median } from '../lib/benchmark/statistics.js'
import { writeSyntheticModel } from './synthetic-model.js'

export const peerNames = [
  'node-llama-cpp',
  'onnxruntime-node',
  'llama-bench',
  'ik-llama-bench',
  'llama-cpp-python',
  'llama-mtmd-cli',
] as const
export type PeerName = (typeof peerNames)[number]

export interface PeerBenchOptions {
  /** Default: all that are there. A peer that is named and not there is an error. */
  readonly peers?: readonly PeerName[]
  /** llama.cpp's own. */
  readonly llamaBench?: string
  /** The llama-bench of ik_llama.cpp. */
  readonly ikLlamaBench?: string
  /** A Python that has llama-cpp-python. */
  readonly llamaCppPython?: string
  /** llama.cpp's command line for pictures. */
  readonly llamaMtmdCli?: string
  /** A GGUF; default: random weights of the shape and type below. */
  readonly model?: string
  readonly shape?: DecoderName
  /** Default 8: the same rates as all, in a quarter of the time. */
  readonly layers?: number
  readonly type?: Dtype
  /** Of the vision tower that llama-mtmd-cli reads; default F16. */
  readonly visionType?: Dtype
  readonly prompt?: number
  readonly generate?: number
  /** Texts side by side, for llama-cpp-python; default 16. */
  readonly sequences?: number
  readonly threads?: number
  /** Of ours; a peer uses what it was built for. */
  readonly isa?: Isa
  /** Turns of ours and theirs, of which the median counts; default 3. */
  readonly rounds?: number
}

/** One stage on one peer and on ours, in tokens (or picture rows) a second. */
export interface PeerLine {
  readonly kind: 'peer'
  readonly device: string
  readonly peer: PeerName
  /** 'batch': decoding of several texts side by side. */
  readonly what: 'image' | 'prefill' | 'decode' | 'batch'
  readonly dtype: string
  readonly threads: number
  readonly ours: number
  readonly theirs: number
  /** ours / theirs */
  readonly ratio: number
}

/** A peer that is not installed. */
export interface MissingPeer {
  readonly kind: 'missing'
  readonly peer: PeerName
  readonly install: string
}

/** Rates of one turn. */
type Rates = Partial<Record<PeerLine['what'], number>>

interface Contest {
  readonly dtype: string
  readonly ours: () => Promise<Rates>
  /** Of each way it can be run; the way with the better median counts, at each stage. */
  readonly theirs: () => Promise<readonly Rates[]>
  readonly close: () => Promise<void>
}

interface Setting extends Required<Pick<PeerBenchOptions, 'prompt' | 'generate' | 'threads' | 'sequences'>> {
  readonly isa: Isa | undefined
  readonly model: LLaVA
  readonly file: string
  readonly directory: string
  readonly llamaBench: string | undefined
  readonly ikLlamaBench: string | undefined
  readonly llamaCppPython: string | undefined
  readonly llamaMtmdCli: string | undefined
  readonly visionType: Dtype
}

const contests: Readonly<
  Record<PeerName, { readonly open: (setting: Setting) => Promise<Contest | undefined>; readonly install: string }>
> = {
  'node-llama-cpp': { open: againstNodeLlamaCpp, install: 'npm install --no-save node-llama-cpp' },
  'onnxruntime-node': { open: againstOnnxRuntime, install: 'npm install --no-save onnxruntime-node' },
  'llama-bench': {
    open: (setting) => againstLlamaBench(setting, setting.llamaBench, '--repack'),
    install: 'build llama.cpp and name its llama-bench with --llama-bench PATH',
  },
  'ik-llama-bench': {
    open: (setting) => againstLlamaBench(setting, setting.ikLlamaBench, '-rtr'),
    install: 'build ik_llama.cpp and name its llama-bench with --ik-llama-bench PATH',
  },
  'llama-cpp-python': {
    open: againstLlamaCppPython,
    install: 'pip install llama-cpp-python and name that Python with --llama-cpp-python PATH',
  },
  'llama-mtmd-cli': {
    open: againstLlamaMtmdCli,
    install: 'build llama.cpp and name its llama-mtmd-cli with --llama-mtmd-cli PATH',
  },
}

export async function* runPeerBench(
  options: PeerBenchOptions = {},
): AsyncGenerator<PeerLine | MissingPeer, void, undefined> {
  const {
    peers,
    prompt = 256,
    generate = 16,
    threads = availableParallelism(),
    rounds = 3,
    sequences = 16,
    llamaBench,
    ikLlamaBench,
    llamaCppPython,
    llamaMtmdCli,
    visionType = 'F16',
    isa,
  } = options
  const directory = await mkdtemp(path.join(tmpdir(), 'llava-peers-'))
  try {
    const file = options.model ?? (await synthetic(directory, options))
    using model = await openOurs(file, { threads, isa })
    const setting = {
      model,
      file,
      directory,
      prompt,
      generate,
      threads,
      sequences,
      llamaBench,
      ikLlamaBench,
      llamaCppPython,
      llamaMtmdCli,
      visionType,
      isa,
    }
    for (const peer of peers ?? peerNames) {
      const contest = await contests[peer].open(setting)
      if (contest === undefined) yield { kind: 'missing', peer, install: contests[peer].install }
      else yield* turns(peer, contest, model.info().device, threads, rounds)
    }
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

async function synthetic(
  directory: string,
  { shape = '7b', layers = 8, type = 'Q4_0' }: PeerBenchOptions,
): Promise<string> {
  return await writeSyntheticModel(directory, { ...decoders[shape], layers }, type, 'F32')
}

async function openOurs(file: string, { threads, isa }: Pick<Setting, 'threads' | 'isa'>): Promise<LLaVA> {
  return await LLaVA.open(file, { threads, ...(isa && { isa }) })
}

async function* turns(
  peer: PeerName,
  { ours, theirs, dtype, close }: Contest,
  device: string,
  threads: number,
  rounds: number,
): AsyncGenerator<PeerLine, void, undefined> {
  try {
    const own: Rates[] = []
    const other: (readonly Rates[])[] = []
    for (let n = 0; n < rounds; n++) {
      own.push(await ours())
      other.push(await theirs())
    }
    for (const what of ['image', 'prefill', 'decode', 'batch'] as const) {
      const rate = (rates: readonly Rates[]): number => median(rates.flatMap((one) => one[what] ?? []))
      const ways = (other[0] ?? []).map((_, way) => rate(other.flatMap((turn) => turn[way] ?? [])))
      const [mine, its] = [rate(own), Math.max(...ways)]
      if (!Number.isNaN(mine) && !Number.isNaN(its))
        yield { kind: 'peer', device, peer, what, dtype, threads, ours: mine, theirs: its, ratio: mine / its }
    }
  } finally {
    await close()
  }
}

/** Prefill from an empty context, and decoding that begins right after one token. */
async function ownText({ model, prompt, generate }: Setting): Promise<Rates> {
  const rates: Rates = {}
  for await (const line of model.benchmark({ prompt, generate: 0, images: 0, repeat: 1 }))
    rates.prefill = line.tokensPerSecond
  for await (const line of model.benchmark({ prompt: 1, generate, images: 0, repeat: 1 }))
    if (line.what === 'decode') rates.decode = line.tokensPerSecond
  return rates
}

const nothingToClose = (): Promise<void> => Promise.resolve()

/** With weights as they lie, and with weights brought into another order as they are loaded. */
async function againstLlamaBench(
  setting: Setting,
  program: string | undefined,
  repackFlag: string,
): Promise<Contest | undefined> {
  const { file, prompt, generate, threads } = setting
  if (program === undefined) return undefined
  const run = async (repack: '0' | '1'): Promise<Required<Pick<Rates, 'prefill' | 'decode'>>> => {
    const flags = [
      '-m',
      file,
      '-t',
      String(threads),
      '-p',
      String(prompt),
      '-n',
      String(generate),
      '-r',
      '1',
      '-ngl',
      '0',
      repackFlag,
      repack,
      '-o',
      'json',
    ]
    const { stdout } = await promisify(execFile)(program, flags, { maxBuffer: 1 << 24 })
    const runs = JSON.parse(stdout) as readonly { readonly n_prompt: number; readonly avg_ts: number }[]
    const rate = (isPrefill: boolean): number =>
      runs.find(({ n_prompt }) => n_prompt > 0 === isPrefill)?.avg_ts ?? Number.NaN
    return { prefill: rate(true), decode: rate(false) }
  }
  const theirs = async (): Promise<readonly Rates[]> => [await run('0'), await run('1')]
  return await Promise.resolve({
    dtype: languageDtype(setting),
    ours: () => ownText(setting),
    theirs,
    close: nothingToClose,
  })
}

/** With weights as they lie, and with weights brought into another order as they are loaded. */
async function againstLlamaCppPython(setting: Setting): Promise<Contest | undefined> {
  const { model, file, prompt, generate, threads, sequences, llamaCppPython } = setting
  if (llamaCppPython === undefined) return undefined
  const script = fileURLToPath(new URL('../../bench/llama_cpp_rates.py', import.meta.url))
  const run = async (repack: number): Promise<Rates> => {
    const numbers = [prompt, generate, threads, sequences, batchPrompt, repack].map(String)
    const { stdout } = await promisify(execFile)(llamaCppPython, [script, file, ...numbers])
    return JSON.parse(stdout) as Rates
  }
  const ours = async (): Promise<Rates> => {
    const rates = await ownText(setting)
    for await (const line of model.benchmark({ prompt: batchPrompt, generate, sequences, images: 0, repeat: 1 }))
      if (line.what === 'decode') rates.batch = line.tokensPerSecond
    return rates
  }
  const theirs = async (): Promise<readonly Rates[]> => [await run(0), await run(1)]
  return await Promise.resolve({ dtype: languageDtype(setting), ours, theirs, close: nothingToClose })
}

function languageDtype({ model }: Setting): string {
  return model.info().card.languageDtype
}

/** What is used of a package that is not installed with this one. */
interface NodeLlamaCpp {
  getLlama(options: object): Promise<{
    loadModel(options: object): Promise<{
      createContext(options: object): Promise<{ getSequence(): LlamaSequence }>
      dispose(): Promise<void>
    }>
  }>
}

interface LlamaSequence {
  evaluateWithoutGeneratingNewTokens(tokens: readonly number[]): Promise<void>
  evaluate(tokens: readonly number[], options: object): AsyncGenerator<number>
  clearHistory(): Promise<void>
}

async function againstNodeLlamaCpp(setting: Setting): Promise<Contest | undefined> {
  const library = await optional<NodeLlamaCpp>('node-llama-cpp')
  if (library === undefined) return undefined
  const { file, prompt, generate, threads } = setting
  const llama = await library.getLlama({ gpu: false, build: 'never', maxThreads: threads, logLevel: 'error' })
  const loaded = await llama.loadModel({ modelPath: file })
  const context = await loaded.createContext({ contextSize: prompt + generate + 8, batchSize: 512, threads })
  const sequence = context.getSequence()
  const theirs = async (): Promise<readonly Rates[]> => {
    await sequence.clearHistory()
    const prefill = await timed(() =>
      sequence.evaluateWithoutGeneratingNewTokens(Array.from({ length: prompt }, (_, n) => 300 + n)),
    )
    await sequence.clearHistory()
    await sequence.evaluateWithoutGeneratingNewTokens([300])
    const decode = await timed(() => generated(sequence, generate))
    return [{ prefill: prompt / prefill, decode: generate / decode }]
  }
  return { dtype: languageDtype(setting), ours: () => ownText(setting), theirs, close: () => loaded.dispose() }
}

async function generated(sequence: LlamaSequence, count: number): Promise<void> {
  const tokens = sequence.evaluate([301], { temperature: 0, yieldEogToken: true })
  for (let n = 0; n < count; n++) await tokens.next()
  await tokens.return(undefined)
}

interface OnnxRuntime {
  readonly InferenceSession: {
    create(file: string, options: object): Promise<{ run(feeds: object): Promise<unknown>; release(): Promise<void> }>
  }
  readonly Tensor: new (type: string, data: Float32Array, shape: readonly number[]) => unknown
}

async function againstOnnxRuntime(setting: Setting): Promise<Contest | undefined> {
  const library = await optional<OnnxRuntime & { readonly default?: OnnxRuntime }>('onnxruntime-node')
  if (library === undefined) return undefined
  const { InferenceSession, Tensor } = library.default ?? library
  const session = await InferenceSession.create(await writeClipOnnx(setting.directory), {
    intraOpNumThreads: setting.threads,
    interOpNumThreads: 1,
  })
  const { imageSize } = visionTower
  const pixels = Float32Array.from({ length: 3 * imageSize ** 2 }, (_, n) => Math.sin(n))
  const feeds = { pixel_values: new Tensor('float32', pixels, [1, 3, imageSize, imageSize]) }
  const model = await openOurs(await pictureModel(setting, 'F32'), setting)
  const theirs = async (): Promise<readonly Rates[]> => {
    await session.run(feeds) // warms up, as ours does
    return [{ image: patches / (await timed(() => session.run(feeds))) }]
  }
  const close = async (): Promise<void> => {
    model.dispose()
    await session.release()
  }
  return { dtype: 'F32', ours: () => ownPicture(model), theirs, close }
}

/** A tower of the real size and as little of a decoder as there can be. */
async function pictureModel({ directory }: Setting, type: Dtype): Promise<string> {
  return await writeSyntheticModel(
    path.join(directory, `vision-${type}`),
    { ...decoders['7b'], layers: 1 },
    'Q4_0',
    type,
  )
}

async function ownPicture(model: LLaVA): Promise<Rates> {
  const rates: Rates = {}
  for await (const line of model.benchmark({ prompt: 1, generate: 0, images: 1, repeat: 1 }))
    if (line.what === 'image') rates.image = line.tokensPerSecond
  return rates
}

/** What it says of the time that the picture took, after a first one to warm up. */
async function againstLlamaMtmdCli(setting: Setting): Promise<Contest | undefined> {
  const { directory, threads, llamaMtmdCli, visionType } = setting
  if (llamaMtmdCli === undefined) return undefined
  const file = await pictureModel(setting, visionType)
  const model = await openOurs(file, setting)
  const { imageSize } = visionTower
  const picture = path.join(directory, 'picture.ppm')
  const pixels = Uint8Array.from({ length: 3 * imageSize ** 2 }, (_, n) => (n * 7) % 256)
  await writeFile(picture, Buffer.concat([Buffer.from(`P6 ${imageSize} ${imageSize} 255\n`), pixels]))
  const flags = [
    '-m',
    file,
    '--mmproj',
    path.join(path.dirname(file), `mmproj-${visionType}.gguf`),
    '--image',
    `${picture},${picture}`,
    '-p',
    'a',
    '-n',
    '1',
    '-t',
    String(threads),
    '-ngl',
    '0',
    '--chat-template',
    'vicuna',
  ]
  const theirs = async (): Promise<readonly Rates[]> => {
    const { stdout, stderr } = await promisify(execFile)(llamaMtmdCli, flags, { maxBuffer: 1 << 24 })
    const times = [...(stdout + stderr).matchAll(/encod(?:ed|ing done) in (\d+) ms/g)].map(([, milliseconds]) =>
      Number(milliseconds),
    )
    const last = times.at(-1)
    if (last === undefined) throw new Error(`llama-mtmd-cli did not say how long a picture took:\n${stdout}${stderr}`)
    return [{ image: (patches / last) * 1000 }]
  }
  const close = (): Promise<void> => {
    model.dispose()
    return Promise.resolve()
  }
  return { dtype: visionType, ours: () => ownPicture(model), theirs, close }
}

/** Seconds that some work takes. */
async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await work()
  return (performance.now() - start) / 1000
}
