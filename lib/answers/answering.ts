// From a request to its answers: prompt → pictures → prefill → generation.

import { allocate } from '../engine/allocate.js'
import type { Engine } from '../engine/engine.js'
import { allOrNone, type Job } from '../engine/job.js'
import { rowCount } from '../engine/segments.js'
import type { PictureEncoder } from '../engine/picture-encoder.js'
import type { NativeSequence } from '../native.js'
import type { Sampler } from '../sampling/sampler.js'
import { DecodeStream } from '../tokenizer/decode-stream.js'
import type { Answer, Timings, Usage } from './answer.js'
import { Generation, type GeneratedToken } from './generation.js'
import { logitNeeds, type NextLogits } from './next-logits.js'
import { promptSegments, type Prompt, type PromptWriter } from './prompt-writer.js'
import type { AnswerRequest } from './request.js'
import { asRequest, type RequestOutcome } from './request-channel.js'
import { Speculation } from './speculation.js'
import { tokenLogprobs } from './token-logprobs.js'

/** Who hears of an answer while it is written. */
export interface AnswerListener {
  readonly onText?: (text: string) => void
  readonly onToken?: (token: GeneratedToken) => void
  /** Takes what stops the work. */
  readonly onCancel?: (cancel: () => void) => void
}

/** A request on its way. */
interface Run {
  readonly clock: Clock
  prompt: Prompt | undefined
  /** Positions of the prompt that needed no computing. */
  cached: number
  /** Where there is one answer. */
  speculation: Speculation | undefined
  generations: readonly Generation[]
}

export class Answering {
  readonly #engine: Engine
  readonly #prompts: PromptWriter
  readonly #pictures: PictureEncoder
  readonly #loadMs: number

  /** @param loadMs what opening the model took */
  constructor(engine: Engine, prompts: PromptWriter, pictures: PictureEncoder, loadMs: number) {
    this.#engine = engine
    this.#prompts = prompts
    this.#pictures = pictures
    this.#loadMs = loadMs
  }

  /** Runs a request, which a host may watch. */
  answers(request: AnswerRequest, listener: AnswerListener): Promise<readonly Answer[]> {
    const { call, images, samplers, maxTokens } = request
    const run: Run = {
      clock: new Clock(this.#loadMs),
      prompt: undefined,
      cached: 0,
      speculation: undefined,
      generations: [],
    }
    const subject = {
      call,
      model: this.#engine.description.path,
      images: images.length,
      answers: samplers.length,
      maxTokens,
    }
    return asRequest(
      subject,
      () => outcomeOf(run),
      () => this.#engine.run(request.signal, (job) => this.#run(request, run, listener, job)),
    )
  }

  /** prompt → pictures → prefill → generation, with everything native disposed of at the end. */
  async #run(
    request: AnswerRequest,
    run: Run,
    { onText, onToken, onCancel }: AnswerListener,
    job: Job,
  ): Promise<readonly Answer[]> {
    onCancel?.(() => {
      job.cancel()
    })
    const engine = this.#engine
    const { past, logprobs: top, onProgress } = request
    const cleanUp: (() => void)[] = []
    try {
      let taken = past === undefined ? this.#pictures.takeAll(request.images, {}, cleanUp, job) : []
      const prompt = (run.prompt = await this.#prompts.cut(request.parts, request.images.length))
      const limit = Math.min(request.maxTokens, engine.config.text.contextLength - prompt.positions)
      const total = limit * request.samplers.length
      let written = 0
      run.generations = request.samplers.map((sampler) => {
        return new Generation({
          sampler,
          text: new DecodeStream(engine.tokenizer),
          eosIds: request.eosIds,
          stop: request.stop,
          limit,
          logprobs: top === undefined ? undefined : (next, id) => tokenLogprobs(next, id, top, engine.tokenizer),
          onToken(token) {
            onToken?.(token)
            onProgress?.({ stage: 'generate', done: ++written, total })
          },
        })
      })
      await request.format?.begin(request.samplers, request.eosIds, job)
      if (past !== undefined) {
        const encode = () => past.pictures((image) => this.#pictures.encode(image, ['projected'], {}, job))
        taken = this.#pictures.takeAll(await run.clock.time('imageMs', encode), {}, cleanUp, job)
      }
      cleanUp.push(await engine.enter(prompt.positions, limit, request.samplers.length, job, request.place))
      const images = await run.clock.time('imageMs', () => this.#pictures.encodeAll(taken, cleanUp, job, onProgress))
      const segments = promptSegments(prompt, images)
      const begun = await (request.past?.cache ?? engine.prefixes).begin(segments, job)
      const { sequence, calls, cached } = begun
      run.cached = cached
      cleanUp.push(() => {
        begun.end()
        const [answer] = run.generations
        if (request.past === undefined || answer === undefined) sequence.dispose()
        else
          request.past.cache.settle(
            sequence,
            answer.tokenIds,
            answer.finishReason === 'cancelled' && !request.past.continues,
          )
      })
      const needs = logitNeeds(request.samplers[0] as Sampler, top)
      // of the prompt all logits, once: should candidates not settle the first token, it could not be computed again by
      // itself
      const logits = allocate(engine.config.text.vocabSize)
      const candidates = needs.scored ? engine.candidateRows(1, needs.candidates, true) : undefined
      await run.clock.time('promptMs', async () => {
        let done = cached
        const prompted = (rows: number) => onProgress?.({ stage: 'prompt', done: done + rows, total: prompt.positions })
        prompted(0)
        for (const call of calls) {
          await engine.append(sequence, call, { logits, candidates }, job, prompted)
          done += rowCount(call)
        }
        begun.prompted()
      })
      await run.clock.time('generateMs', async () => {
        onProgress?.({ stage: 'generate', done: 0, total })
        const emit = onText ?? (() => undefined)
        const next: NextLogits = { all: logits, best: candidates?.row(0) }
        const begin = (to: NativeSequence, most: number) =>
          new Speculation(engine, to, { prompt: segments, most, limit, needs }, job)
        const [only] = run.generations
        if (only === undefined || run.generations.length > 1) {
          await this.#generateSeveral(run.generations, sequence, (to) => begin(to, 0), next, emit, job)
        } else {
          run.speculation = begin(sequence, request.promptLookupTokens)
          await generateOne(only, run.speculation, next, emit)
          begun.answered(only.tokenIds)
        }
      })
    } catch (error) {
      if (!job.cancelled || run.generations.length === 0) throw error
    } finally {
      for (const clean of cleanUp) clean()
    }
    const values = await request.format?.values(run.generations)
    return run.generations.map((generation, n) => ({
      ...answerOf(generation, run.prompt as Prompt, run, top !== undefined),
      ...values?.[n],
    }))
  }

  /**
   * Runs generations side by side from one prompt, held by `prompt` and by forks of it, whose last logits these are.
   * The first failure stops all.
   */
  async #generateSeveral(
    generations: readonly Generation[],
    prompt: NativeSequence,
    begin: (sequence: NativeSequence) => Speculation,
    next: NextLogits,
    emit: (text: string) => void,
    job: Job,
  ): Promise<void> {
    const sequences = [prompt]
    try {
      while (sequences.length < generations.length) sequences.push(this.#engine.fork(prompt))
      const runs = generations.map((generation, n) =>
        generateOne(generation, begin(sequences[n] as NativeSequence), next, emit),
      )
      await allOrNone(runs, job)
    } finally {
      for (const fork of sequences.slice(1)) fork.dispose()
    }
  }
}

/** Runs a generation that has its sequence to itself, and leaves there what it chose. */
async function generateOne(
  generation: Generation,
  speculation: Speculation,
  next: NextLogits,
  emit: (text: string) => void,
): Promise<void> {
  try {
    await generation.run(next, speculation, emit)
  } finally {
    speculation.retract()
  }
}

function answerOf(
  { text: content, tokenIds, finishReason, logprobs }: Generation,
  prompt: Prompt,
  run: Run,
  scored: boolean,
): Answer {
  const usage = usageOf(prompt, run, tokenIds.length)
  return { text: content, tokenIds, finishReason, ...(scored && { logprobs }), usage, timings: run.clock.timings }
}

function usageOf({ positions, imagePositions }: Prompt, { cached, speculation }: Run, completionTokens: number): Usage {
  const { draftTokens = 0, acceptedTokens = 0 } = speculation ?? {}
  return {
    promptTokens: positions,
    imageTokens: imagePositions,
    cachedTokens: cached,
    completionTokens,
    draftTokens,
    acceptedTokens,
  }
}

/** How far a run got, for those who watch. */
function outcomeOf(run: Run): Omit<RequestOutcome, 'error'> {
  const {
    prompt,
    generations,
    clock: { timings },
  } = run
  if (prompt === undefined) return { timings, finishReasons: [] }
  const completionTokens = generations.reduce((sum, { tokenIds }) => sum + tokenIds.length, 0)
  return {
    usage: usageOf(prompt, run, completionTokens),
    timings,
    finishReasons: generations.map(({ finishReason }) => finishReason),
  }
}

/** Collects the wall time of each phase, also of one that fails. */
class Clock {
  readonly #times: { -readonly [K in keyof Timings]: Timings[K] }

  constructor(loadMs: number) {
    this.#times = { loadMs, imageMs: 0, promptMs: 0, generateMs: 0 }
  }

  get timings(): Timings {
    return this.#times
  }

  async time<T>(phase: keyof Timings, work: () => Promise<T>): Promise<T> {
    const start = performance.now()
    try {
      return await work()
    } finally {
      this.#times[phase] += performance.now() - start
    }
  }
}
