// LLaVA, the public face: open a model, ask about pictures, stream answers, or take the logits.

import type { Answer } from './answers/answer.js'
import { answeredPrompt, type Answered } from './answers/answered.js'
import {
  answerChecks,
  askManyChecks,
  messageList,
  promptChecks,
  type AnswerOptions,
  type AskInput,
  type AskManyOptions,
  type Message,
  type PromptOptions,
} from './answers/answer-options.js'
import type { AnswerValue } from './answers/answer-format.js'
import { Answering } from './answers/answering.js'
import { ChatStream, type ChatWork } from './answers/chat-stream.js'
import { PromptWriter } from './answers/prompt-writer.js'
import { answerRequest, askInput, userMessage, type AnswerRequest } from './answers/request.js'
import { runAttention, type AttentionModel, type TokenAttention } from './attention.js'
import { runBenchmark, type BenchmarkLine, type BenchmarkOptions } from './benchmark/benchmark.js'
import {
  Conversation,
  type ConversationOptions,
  type ConversationOrigin,
  type Prepare,
  type RestoreOptions,
} from './conversation.js'
import {
  embeddingKinds,
  embedOne,
  type EmbedInput,
  type EmbedManyOptions,
  type EmbedOptions,
  type EmbedResult,
  type Embedding,
  type EmbeddingSource,
} from './embedding.js'
import { embeddingSource } from './embedding-source.js'
import type { LazyClip } from './engine/clip-engine.js'
import { Context, toIds, type ForwardOptions, type PromptPiece } from './engine/context.js'
import type { EncodedImage, ImageSource } from './engine/encoded-image.js'
import { Engine } from './engine/engine.js'
import { calledFrom, Job } from './engine/job.js'
import { allInputs, eachInput, named, type NamedResult } from './engine/many-inputs.js'
import { PictureEncoder } from './engine/picture-encoder.js'
import { mostRows } from './engine/step-plan.js'
import { invalidArgument, LlavaError } from './errors.js'
import { defaultModel } from './hub/named-model.js'
import type { ImageInput, RgbImage } from './image/decode.js'
import { encodeChecks, imageChecks, type EncodeOptions } from './image/image-options.js'
import { modelInfo, type ModelInfo } from './model-info.js'
import { imageResults, type NativeOptions } from './native.js'
import { runOcclusion, type Occlusion, type OcclusionOptions } from './occlusion.js'
import { disposeModel, openChecks, openModel, type OpenedModel, type OpenOptions } from './open-model.js'
import {
  abortSignal,
  callback,
  checkOptions,
  flag,
  manyInputs,
  oneOf,
  requireOptions,
  text,
  wholeNumber,
  type OptionCheck,
} from './options.js'
import { checkSaved, type SavedConversation } from './saved-conversation.js'
import { runTrace, type Trace } from './trace.js'
import { embeddingDtypes, type EmbeddingDtype } from './vector-dtype.js'

export interface TraceOptions {
  /** Tokens to generate after the prompt, whatever they are; default 16. */
  readonly maxTokens?: number
  readonly signal?: AbortSignal
}

/** `priority`, `client` and `maxWaitMs` say who goes first where memory is short, as for answers. */
export interface AttentionOptions
  extends PromptOptions, Pick<AnswerOptions, 'priority' | 'client' | 'maxWaitMs' | 'signal'> {}

export interface AttentionOfTokensOptions extends AttentionOptions {
  /** Which tokens of the answer, counted from 0; default all. */
  readonly tokens?: readonly number[]
}

const { priority, client, maxWaitMs, signal } = answerChecks

const attentionChecks = { ...promptChecks, priority, client, maxWaitMs, signal } satisfies Record<
  keyof AttentionOptions,
  OptionCheck
>

const occlusionChecks = {
  ...attentionChecks,
  picture: wholeNumber(0),
  window: wholeNumber(1),
  onProgress: callback,
} satisfies Record<keyof OcclusionOptions, OptionCheck>

const embedChecks = {
  ...imageChecks,
  ...promptChecks,
  kind: oneOf(...embeddingKinds),
  normalize: flag,
  dtype: oneOf(...embeddingDtypes),
  signal: abortSignal,
} satisfies Record<keyof EmbedOptions, OptionCheck>

const embedManyChecks = { ...embedChecks, ordered: flag, onProgress: callback } satisfies Record<
  keyof EmbedManyOptions,
  OptionCheck
>

const benchmarkChecks = {
  prompt: wholeNumber(1),
  generate: wholeNumber(0),
  sequences: wholeNumber(1, mostRows),
  images: wholeNumber(0),
  repeat: wholeNumber(1),
  signal: abortSignal,
} satisfies Record<keyof BenchmarkOptions, OptionCheck>

/**
 * A model, opened. Its weights are mapped, so several models on one file share memory.
 *
 * Any number of calls may run at once: their tokens, prompts and pictures share passes through the model, and each gets
 * what it would get alone. Every asynchronous call takes an AbortSignal. `dispose()` it, or bind it with `using`: what
 * still runs then fails with DISPOSED.
 */
export class LLaVA implements Disposable, AsyncDisposable {
  readonly #engine: Engine
  readonly #clip: LazyClip | undefined
  readonly #prompts: PromptWriter
  readonly #pictures: PictureEncoder
  readonly #answering: Answering

  private constructor({ engine, clip }: OpenedModel, options: OpenOptions, loadMs: number) {
    this.#engine = engine
    this.#clip = clip
    this.#prompts = new PromptWriter(engine, options)
    this.#pictures = new PictureEncoder(engine, options)
    this.#answering = new Answering(engine, this.#prompts, this.#pictures, loadMs)
  }

  /**
   * Opens a checkpoint directory (Hugging Face's or the original LLaVA's), a GGUF pair (its `mmproj` is found beside it
   * when there is just one), a GGUF without pictures, or a single GGUF of this package; with no path, or `default`, the
   * model that comes with the package. Where nothing is called so, the name of a model that `pullModel` has downloaded:
   * `llava-1.5-7b` or `owner/name`, with `:file` if one of several is meant.
   *
   * Fails with MODEL_NOT_FOUND, MODEL_CORRUPT, MODEL_UNSUPPORTED, OUT_OF_MEMORY, NATIVE_UNAVAILABLE,
   * DEVICE_UNAVAILABLE, DEVICE_FAILED, INVALID_ARGUMENT or ABORTED.
   */
  static async open(modelPath: string = defaultModel, options: OpenOptions = {}): Promise<LLaVA> {
    if (typeof modelPath !== 'string' || modelPath === '')
      throw invalidArgument('path', 'the path of a model', modelPath)
    checkOptions('LLaVA.open()', options, openChecks)
    const callSite = new Error()
    const start = performance.now()
    const job = new Job(options.signal, { cancel: () => undefined }) // opening cannot be stopped, only left
    try {
      const opened = await job.race(openModel(modelPath, options), disposeModel)
      return new LLaVA(opened, options, performance.now() - start)
    } catch (error) {
      throw calledFrom(callSite, error)
    } finally {
      job.end()
    }
  }

  /**
   * Asks one question about a picture, several, or (with `[]`) none, and resolves to the whole answer.
   *
   * With `answers` it resolves to so many, in [1, 512]. Pictures and prompt are computed once, and the answers are
   * written side by side, so that several take little longer than one. Answer n depends on the seed and n alone: the
   * first is that of a single question. Greedy answers are all the same.
   * `usage.promptTokens` of each is the prompt they share, and `timings` are those of all together.
   *
   * With `schema`, `choices` or `regex` it has that form, and `answer.value` holds it, typed.
   *
   * Fails with IMAGE_UNREADABLE, IMAGE_TOO_LARGE, CONTEXT_OVERFLOW, INVALID_ARGUMENT, VALUE_INVALID, OVERLOADED,
   * ABORTED or DISPOSED.
   */
  ask<Schema = undefined, const Choice extends string = never>(
    image: ImageSource | readonly ImageSource[],
    question: string,
    options?: AnswerOptions<Schema, Choice> & { readonly answers?: undefined },
  ): Promise<Answer<AnswerValue<Schema, Choice>>>
  ask<Schema = undefined, const Choice extends string = never>(
    image: ImageSource | readonly ImageSource[],
    question: string,
    options: AnswerOptions<Schema, Choice> & { readonly answers: number },
  ): Promise<readonly Answer<AnswerValue<Schema, Choice>>[]>
  async ask(
    image: ImageSource | readonly ImageSource[],
    question: string,
    options: AnswerOptions & { readonly answers?: number | undefined } = {},
  ): Promise<Answer | readonly Answer[]> {
    requireOptions('ask()', options)
    const { answers: count, ...others } = options
    if (count !== undefined) wholeNumber(1, mostRows)('answers', count)
    const answers = await this.#answering.answers(
      this.#request('ask()', [userMessage(image, question)], others, count),
      {},
    )
    return count === undefined ? (answers[0] as Answer) : answers
  }

  /**
   * Any number of questions, each about its own pictures: a list, a generator, or what comes asynchronously. Many are
   * answered at once, and memory does not grow with their number: inputs are asked for as results are taken. What is
   * wrong with one input is its result, `{ index, error }`, and the others go on.
   *
   * Leaving the iteration stops the work. The iteration fails with ABORTED, DISPOSED, or what `inputs` throws.
   *
   * ```
   * const inputs = files.map((file) => ({ images: file, question: 'What is in this picture?' }))
   * for await (const { index, answer, error } of llava.askMany(inputs, { maxTokens: 40 }))
   *   console.log(files[index], error?.message ?? answer.text)
   * ```
   */
  askMany<Schema = undefined, const Choice extends string = never>(
    inputs: Iterable<AskInput> | AsyncIterable<AskInput>,
    options: AskManyOptions<Schema, Choice> = {},
  ): AsyncGenerator<NamedResult<'answer', Answer<AnswerValue<Schema, Choice>>>, void, undefined> {
    this.#engine.checkAlive()
    checkOptions('askMany()', options, askManyChecks)
    manyInputs('inputs', inputs)
    const { ordered = true, signal, onProgress, ...others } = options
    return this.#engine.runEach(signal, (job) => {
      const ask = async (input: AskInput, index: number) => {
        const { images, question } = askInput(`inputs[${index}]`, input)
        const request = this.#request('askMany()', [userMessage(images, question)], { ...others, signal: job.stopped })
        return (await this.#answering.answers(request, {}))[0] as Answer<AnswerValue<Schema, Choice>>
      }
      return named('answer', eachInput(inputs, ask, ordered, job, onProgress))
    })
  }

  /**
   * Answers a conversation, whose last message is the user's, as a stream of text. Pictures may stand in any user
   * message.
   *
   * Mistakes in messages and options are thrown here; everything later is thrown by the iteration, with the codes of
   * `ask`.
   */
  chat<Schema = undefined, const Choice extends string = never>(
    messages: readonly Message[],
    options: AnswerOptions<Schema, Choice> = {},
  ): ChatStream<AnswerValue<Schema, Choice>> {
    messageList('messages', messages)
    return new ChatStream<AnswerValue<Schema, Choice>>(this.#chatWork(this.#request('chat()', messages, options)))
  }

  /**
   * A conversation that keeps its keys and values between turns, so that each turn computes only what is new. The
   * caller disposes of it. Mistakes in its options are thrown here.
   */
  createConversation(options: ConversationOptions = {}): Conversation {
    this.#engine.checkAlive()
    checkOptions('createConversation()', options, { ...promptChecks, messages: messageList })
    return Conversation.begin(this.#conversations(), options)
  }

  /**
   * A conversation that `Conversation.save` made data of, as it was. Its pictures are taken from what is remembered,
   * else from the option `picture`, else read anew from where they were; one that has changed is INVALID_ARGUMENT.
   * Saved keys and values are for a model of the same weights and options. Fails as `ask` does.
   */
  async restoreConversation(saved: SavedConversation, options: RestoreOptions = {}): Promise<Conversation> {
    checkOptions('restoreConversation()', options, { picture: callback, signal: abortSignal })
    checkSaved(saved)
    return this.#engine.run(options.signal, (job) =>
      Conversation.restore(this.#conversations(), saved, options.picture, job),
    )
  }

  /**
   * The attention weights with which a token of an answer was chosen, by decoder layer and head. `messages` and options
   * are those that `answer` was asked with, `token` counts its tokens from 0. Nothing is kept for it while answers are
   * written: the prompt runs once more, on top of what is remembered of it.
   *
   * Attention says which patches the model read, not why it chose the token; `occlusionOf` says what becomes of the
   * token without them. Fails as `ask` does.
   */
  async attentionOf(
    messages: readonly Message[],
    answer: Answered,
    token: number,
    options: AttentionOptions = {},
  ): Promise<TokenAttention> {
    wholeNumber(0)('token', token)
    const found = this.#attention('attentionOf()', messages, answer, [token], options)
    for await (const attention of found) return attention
    throw new LlavaError('INTERNAL', 'a token without attention')
  }

  /**
   * The same of several tokens, which share one run of prompt and answer: of each as the iteration comes to it, from the
   * first to the last. The weights of one token of LLaVA-1.5-7B take about 3 MB.
   */
  attentionOfTokens(
    messages: readonly Message[],
    answer: Answered,
    options: AttentionOfTokensOptions = {},
  ): AsyncGenerator<TokenAttention, void, undefined> {
    const { tokens, ...others } = options
    if (tokens !== undefined) tokenList('tokens', tokens)
    return this.#attention('attentionOfTokens()', messages, answer, tokens, others)
  }

  /**
   * What each token of an answer owes to each place of a picture: squares of patches are greyed in the mean colour of
   * the picture processor, and the answer is scored anew with each. It takes a picture and a prompt for every square.
   * Fails as `ask` does.
   */
  async occlusionOf(
    messages: readonly Message[],
    answer: Answered,
    options: OcclusionOptions = {},
  ): Promise<Occlusion> {
    this.#engine.checkAlive()
    const asked = answeredPrompt(
      this.#engine,
      this.#prompts,
      'occlusionOf()',
      messages,
      answer,
      options,
      occlusionChecks,
    )
    return this.#engine.run(options.signal, (job) => runOcclusion(this.#looked(), asked, options, job))
  }

  /** Encodes a picture once, for any number of questions. The caller disposes of it. Fails as `ask` does. */
  async encodeImage(image: ImageInput, options: EncodeOptions = {}): Promise<EncodedImage> {
    checkOptions('encodeImage()', options, encodeChecks)
    return this.#engine.run(options.signal, (job) => this.#pictures.encode(image, imageResults, options, job))
  }

  /**
   * Reads a picture as the vision tower sees it: float32 [3, S, S], channels first, normalised; S is
   * `info().vision.imageSize`.
   */
  async pixelValues(image: ImageInput, options: EncodeOptions = {}): Promise<Float32Array> {
    checkOptions('pixelValues()', options, encodeChecks)
    return this.#engine.run(options.signal, (job) => this.#pictures.pixelValues(image, options, job))
  }

  /** The same as a picture: the square of side S that the tower sees, before it is normalised. */
  async preprocessed(image: ImageInput, options: EncodeOptions = {}): Promise<RgbImage> {
    checkOptions('preprocessed()', options, encodeChecks)
    return this.#engine.run(options.signal, (job) => this.#pictures.preprocessed(image, options, job))
  }

  /** An empty text, to feed piece by piece with `Context.forward`. The caller disposes of it. */
  createContext(): Context {
    return new Context(this.#engine.createSequence(), this.#engine)
  }

  /**
   * Runs a prompt from an empty context and resolves to logits in float32, row-major: [vocabSize], or [positions,
   * vocabSize] with `logits: 'all'`. Nothing is added to the prompt but a beginning-of-sequence token in front of text
   * it begins with. Fails as `Context.forward` does.
   */
  async forward(prompt: readonly PromptPiece[], options: ForwardOptions = {}): Promise<Float32Array> {
    const context = this.createContext()
    try {
      return await context.forward(prompt, options)
    } finally {
      context.dispose()
    }
  }

  /**
   * Text as token ids. The beginning-of-sequence token comes first unless `addBos` says otherwise or the checkpoint has
   * none. Special tokens written out in the text, such as `</s>`, stay text unless `parseSpecial` is set.
   */
  tokenize(content: string, options: { readonly addBos?: boolean; readonly parseSpecial?: boolean } = {}): Int32Array {
    this.#engine.checkAlive()
    text('text', content)
    checkOptions('tokenize()', options, { addBos: flag, parseSpecial: flag })
    return this.#engine.tokenizer.encode(content, options)
  }

  /**
   * Token ids as text. Special tokens leave no trace unless `skipSpecial` is false; bytes that are no UTF-8 become
   * U+FFFD.
   */
  detokenize(ids: Iterable<number>, options: { readonly skipSpecial?: boolean } = {}): string {
    this.#engine.checkAlive()
    checkOptions('detokenize()', options, { skipSpecial: flag })
    return this.#engine.tokenizer.decode(toIds(ids, 'ids', this.#engine.config.text.vocabSize), options)
  }

  /**
   * What each token adds to the text, special tokens written out; U+FFFD for bytes that are only part of a character.
   */
  pieces(ids: Iterable<number>): string[] {
    this.#engine.checkAlive()
    const { tokenizer, config } = this.#engine
    return Array.from(toIds(ids, 'ids', config.text.vocabSize), (id) =>
      Buffer.from(tokenizer.pieceBytes(id, { skipSpecial: false })).toString(),
    )
  }

  /**
   * Runs exactly `prompt`, which holds `<image>` once and gets no template, and resolves to every stage on the way, to
   * be held against another implementation. Always with float32 keys and values, exact arithmetic and no EXIF rotation,
   * whatever the model was opened with; for a model opened otherwise its weights are mapped a second time. Fails as
   * `ask` does.
   */
  async trace(image: ImageInput, prompt: string, options: TraceOptions = {}): Promise<Trace> {
    text('prompt', prompt)
    checkOptions('trace()', options, { maxTokens: wholeNumber(0), signal: abortSignal })
    return this.#engine.run(options.signal, async (job) => {
      const pixelValues = await this.#pictures.pixelValues(image, { autoOrient: false }, job)
      const { kvCache, arithmetic } = this.#engine.options
      const asIs = kvCache === 'f32' && arithmetic === 'exact'
      const exact: NativeOptions = { ...this.#engine.options, kvCache: 'f32', arithmetic: 'exact' }
      const engine = asIs
        ? this.#engine
        : await Engine.open(this.#engine.description, exact, () => ({
            ...this.#engine.admission.limits,
            prefixCacheBytes: 0,
            pictureCacheBytes: 0,
          }))
      try {
        return await runTrace(engine, pixelValues, prompt, options.maxTokens ?? 16, job)
      } finally {
        if (!asIs) engine.dispose()
      }
    })
  }

  /**
   * A picture or text as a vector, several (an array) as several. Kinds, with N rows of a picture and the widths Dv of
   * vision, D of text, C of CLIP:
   *
   * - `patch_features` [N, Dv] and `pooled_features` [Dv]: the vision tower's output, and its mean over the rows;
   * - `projected` [N, D] and `projected_mean` [D]: the projector's output, which the decoder reads, and its mean over
   *   the rows;
   * - `hidden_last` and `hidden_mean` [D]: the decoder's state, after its final norm, at the last position of a prompt,
   *   or its mean over all positions.
   *   A prompt is a text or `{ text, images }`; unless `template` says otherwise it is `plain`: pictures and text as they are;
   * - `clip_image` and `clip_text` [C]: for comparing pictures with texts; they need the option `clip`, or the model
   *   that comes with the package.
   *
   * Fails as `ask` does; what this checkpoint cannot give is INVALID_ARGUMENT.
   */
  async embed<Dtype extends EmbeddingDtype = 'f32'>(
    inputs: readonly EmbedInput[],
    options: EmbedOptions<Dtype>,
  ): Promise<Embedding<Dtype>[]>
  async embed<Dtype extends EmbeddingDtype = 'f32'>(
    input: EmbedInput,
    options: EmbedOptions<Dtype>,
  ): Promise<Embedding<Dtype>>
  async embed<Dtype extends EmbeddingDtype>(
    input: EmbedInput | readonly EmbedInput[],
    options: EmbedOptions<Dtype>,
  ): Promise<Embedding<Dtype> | Embedding<Dtype>[]> {
    this.#engine.checkAlive()
    checkOptions('embed()', options, embedChecks)
    embedChecks.kind('kind', options.kind)
    return this.#engine.run(options.signal, async (job) => {
      const source = this.#embeddingSource(options, job)
      if (!isList(input)) return embedOne(input, 'input', options, source)
      const embed = (one: EmbedInput, index: number) => embedOne(one, `input[${index}]`, options, source)
      return allInputs(input, embed, job)
    })
  }

  /**
   * Inputs of any number as vectors: a list, a generator, or what comes asynchronously. Many are computed at once, and
   * memory does not grow with their number: inputs are asked for as results are taken. What is wrong with one input is
   * its result, `{ index, error }`, and the others go on.
   *
   * Kinds and options are those of `embed`. Leaving the iteration stops the work. The iteration fails with ABORTED,
   * DISPOSED, or what `inputs` throws.
   *
   * ```
   * for await (const { index, embedding, error } of llava.embedMany(files, { kind: 'clip_image', normalize: true })) {
   *   if (error) console.error(files[index], error.message)
   *   else store(files[index], embedding.data)
   * }
   * ```
   */
  embedMany<Dtype extends EmbeddingDtype = 'f32'>(
    inputs: Iterable<EmbedInput> | AsyncIterable<EmbedInput>,
    options: EmbedManyOptions<Dtype>,
  ): AsyncGenerator<EmbedResult<Dtype>, void, undefined> {
    this.#engine.checkAlive()
    checkOptions('embedMany()', options, embedManyChecks)
    embedChecks.kind('kind', options.kind)
    manyInputs('inputs', inputs)
    return this.#engine.runEach(options.signal, (job) => {
      const source = this.#embeddingSource(options, job)
      const embed = (one: EmbedInput, index: number) => embedOne(one, `inputs[${index}]`, options, source)
      return named('embedding', eachInput(inputs, embed, options.ordered ?? true, job, options.onProgress))
    })
  }

  /**
   * Times picture, prefill and decode, with random pixels and tokens, against this machine's peaks, measured in the
   * same run; yields a line each.
   */
  benchmark(options: BenchmarkOptions = {}): AsyncGenerator<BenchmarkLine, void, undefined> {
    checkOptions('benchmark()', options, benchmarkChecks)
    return runBenchmark(this.#engine, options)
  }

  /** What the model is, what it runs on, and the memory it holds by part, in bytes. */
  info(): ModelInfo {
    return modelInfo(this.#engine, this.#prompts, this.#clip !== undefined)
  }

  /**
   * Forgets the beginnings of prompts and the encoded pictures that were kept for later questions. Conversations keep
   * their own.
   */
  clearCaches(): void {
    this.#engine.checkAlive()
    this.#engine.clearCaches()
  }

  /** Frees the model. What still runs fails with DISPOSED; a second call does nothing. */
  dispose(): void {
    this.#engine.dispose()
    this.#clip?.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  /** Frees the model and waits until all that ran has stopped. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#engine.disposeAsync()
    this.#clip?.dispose()
  }

  /** Checked and read; nothing is computed. */
  #request(call: string, messages: readonly Message[], options: AnswerOptions, count?: number): AnswerRequest {
    this.#engine.checkAlive()
    return answerRequest(this.#engine, this.#prompts, call, messages, options, count)
  }

  #conversations(): ConversationOrigin {
    const prepare: Prepare = (call, messages, options, past) =>
      this.#chatWork({ ...this.#request(call, messages, options), past })
    return { engine: this.#engine, pictures: this.#pictures, prepare }
  }

  #attention(
    call: string,
    messages: readonly Message[],
    answer: Answered,
    tokens: readonly number[] | undefined,
    options: AttentionOptions,
  ): AsyncGenerator<TokenAttention, void, undefined> {
    this.#engine.checkAlive()
    const asked = answeredPrompt(this.#engine, this.#prompts, call, messages, answer, options, attentionChecks)
    return this.#engine.runEach(options.signal, (job) =>
      runAttention(this.#looked(), asked, { tokens, place: options }, job),
    )
  }

  #looked(): AttentionModel {
    return { engine: this.#engine, prompts: this.#prompts, pictures: this.#pictures }
  }

  #chatWork(request: AnswerRequest): ChatWork {
    return async (onText, onCancel, onToken) => {
      const [answer] = await this.#answering.answers(request, { onText, onCancel, onToken })
      return answer as Answer
    }
  }

  #embeddingSource(options: EmbedOptions, job: Job): EmbeddingSource {
    const model = { engine: this.#engine, prompts: this.#prompts, pictures: this.#pictures, clip: this.#clip }
    return embeddingSource(model, options, job)
  }
}

function isList(input: EmbedInput | readonly EmbedInput[]): input is readonly EmbedInput[] {
  return Array.isArray(input)
}

const tokenList: OptionCheck = (name, value) => {
  if (!Array.isArray(value)) throw invalidArgument(name, 'a list of tokens, counted from 0', value)
  for (const [index, token] of value.entries()) wholeNumber(0)(`${name}[${index}]`, token)
}
