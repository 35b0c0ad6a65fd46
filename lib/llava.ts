// LLaVA, the public face: open a model, ask about pictures, stream answers, or take the logits.

import type { Answer, Timings, Usage } from './answer.js'
import { AnswerFormat, type AnswerValue, type FormatOptions } from './answer-format.js'
import { runBenchmark, type BenchmarkLine, type BenchmarkOptions } from './benchmark.js'
import { ChatStream, type ChatWork } from './chat-stream.js'
import { packagedClip } from './clip.js'
import { LateClip, type ClipEngine } from './engine/clip-engine.js'
import { decodeOptions, imageChecks, type ImageOptions } from './image-options.js'
import { Context, toIds, type ForwardOptions, type PromptPiece } from './context.js'
import { Conversation, type ConversationOptions, type Past, type Prepare } from './conversation.js'
import {
  embeddingKinds,
  embedOne,
  type EmbedInput,
  type EmbedManyOptions,
  type EmbedOptions,
  type EmbedResult,
  type EmbedPrompt,
  type Embedding,
  type EmbeddingDtype,
  type EmbeddingSource,
} from './embedding.js'
import { allInputs, eachInput, named, type NamedResult } from './many-inputs.js'
import { EncodedImage } from './engine/encoded-image.js'
import type { Place } from './engine/admission.js'
import { allocate } from './engine/allocate.js'
import { Engine, type EngineLimits } from './engine/engine.js'
import type { CacheUse } from './engine/picture-cache.js'
import type { SharedFeatures } from './engine/shared-features.js'
import { mostRows } from './engine/step-plan.js'
import { LlavaError, invalidArgument } from './errors.js'
import { Generation, type GeneratedToken } from './generation.js'
import type { DecodeOptions, ImageInput } from './image/decode.js'
import type { ImageAspectRatio } from './image/image-processor.js'
import { calledFrom, Job } from './engine/job.js'
import { biasById } from './logit-bias.js'
import { machine, type Machine } from './machine.js'
import { modelTemplate } from './model-template.js'
import { defaultModel, describeNamedModel } from './named-model.js'
import {
  imageResults,
  isas,
  type ImageResult,
  type Isa,
  type KvDtype,
  type NativeImageFeatures,
  type NativeInfo,
  type NativeOptions,
  type NativeSegment,
  type NativeSequence,
} from './native.js'
import {
  abortSignal,
  callback,
  checkOptions,
  flag,
  given,
  manyInputs,
  oneOf,
  requireOptions,
  stopStrings,
  text,
  wholeNumber,
  type OptionCheck,
} from './options.js'
import { PictureQueue, takePicture, type TakenPicture } from './picture-queue.js'
import type { ProgressListener } from './progress.js'
import { renderCheckpointTemplate } from './prompt/checkpoint-template.js'
import { splicePrompt, type SpliceItem } from './prompt/splice.js'
import {
  builtInTemplates,
  conversationImages,
  renderPrompt,
  templateNames,
  templateStops,
  type ChatMessage,
  type PromptPart,
  type TemplateName,
} from './prompt/templates.js'
import { asRequest, type RequestOutcome } from './request-channel.js'
import { checkSampling, type SamplingOptions } from './sampling/options.js'
import { Sampler } from './sampling/sampler.js'
import { Speculation } from './speculation.js'
import { tokenLogprobs } from './token-logprobs.js'
import { DecodeStream } from './tokenizer/decode-stream.js'
import { runTrace, type Trace } from './trace.js'
import type { ModelDescription } from './weights/model-description.js'
import { imageAspectRatios } from './weights/preprocessing.js'

/** The CLIP that the tower of the package's own model was trained in. */

/** A picture to ask about: anything `decodeImage` reads, or one encoded before. */
export type ImageSource = ImageInput | EncodedImage

/** A message of `LLaVA.chat`. */
export type Message = ChatMessage<ImageSource>

/** How prompts are written. */
export interface PromptOptions {
  /**
   * The conversation's format; `checkpoint` renders the chat template that the checkpoint brings. Default: what fits the checkpoint, which `info()` names;
   * `vicuna_v1`, LLaVA 1.5's own, unless its name or its vocabulary is another family's. Some end an answer at text of their own, such as `###` of `v0`.
   */
  readonly template?: TemplateName
  /** Replaces the template's system text. */
  readonly system?: string
}

export interface OpenOptions extends ImageOptions, PromptOptions {
  /** The vision half of a GGUF pair, when it is not the only one beside the language model. */
  readonly mmproj?: string
  /** The CLIP directory of an original LLaVA checkpoint, when it is not the one that fits in or beside it. */
  readonly visionTower?: string
  /** A LoRA adapter to run on top of the model: PEFT's or the LLaVA repository's directory, or for a GGUF a GGUF; a projector by itself too. */
  readonly adapter?: string
  /** Compute threads; default as many as the process may use. */
  readonly threads?: number
  /** Instruction set of the kernels; default `auto`, the best this CPU has. */
  readonly isa?: Isa | 'auto'
  /** Element type of keys and values; default f32 for float32 checkpoints, else f16. `q8_0` takes half of f16's memory. */
  readonly kvCache?: KvDtype
  /**
   * `fast` (default) multiplies quantised weights with activations quantised to int8 blocks. In prompts and pictures it takes what the CPU is fastest at: bf16
   * weights with activations rounded to bf16 where the CPU multiplies bf16 itself; on tiles (AMX) also quantised weights, rounded to bf16 too, and other float
   * weights and the attention of pictures as two terms of bf16, which is within 2^-16 of float32. `exact` stays in float32 throughout.
   *
   * A call has the same bits whoever else calls. All weights under `exact`, and quantised ones without tiles, also give a position the same bits however a text
   * is cut into calls; else more than 32 positions of a call are multiplied in another way than fewer, which is faster.
   */
  readonly arithmetic?: 'fast' | 'exact'
  /**
   * `mapped` (default): weights are read where their file is mapped, shared with other processes and loaded on first touch; `copied`: into memory of this
   * process on large pages, which takes as long as the disk does and makes each token a little faster.
   */
  readonly weights?: 'mapped' | 'copied'
  /**
   * Most bytes of keys and values that answers may come to take together, reckoned by prompt and `maxTokens`; further ones wait until there is room. Default half of
   * the memory that is free when the model is opened. One answer runs however large it is; what conversations and contexts keep is not counted.
   */
  readonly kvCacheBytes?: number
  /**
   * Most bytes of keys and values of beginnings of prompts that are kept for prompts that begin alike, beside those of running answers: a second question about a
   * picture computes little more than its own words. Default an eighth of the memory that is free when the model is opened; 0 keeps none.
   */
  readonly prefixCacheBytes?: number
  /** Most bytes of encoded pictures that are kept for questions about the same picture. Default 256 MiB; 0 keeps none. */
  readonly pictureCacheBytes?: number
  /** Most answers that wait for room; whoever comes then gets OVERLOADED at once. Default 10,000. */
  readonly maxWaiting?: number
  /** Hears how far the copying of weights is. */
  readonly onProgress?: ProgressListener
  /** Overrides the vision layer whose output is used, as in config.json's `vision_feature_layer`. */
  readonly visionFeatureLayer?: number
  /** Overrides how pictures are made square: `pad` with the mean colour, `crop` the centre, or `stretch` both sides. */
  readonly imageAspectRatio?: ImageAspectRatio
  /** A directory with a whole CLIP checkpoint, for the kinds `clip_image` and `clip_text` of `embed`; the model that comes with the package brings its own. */
  readonly clip?: string
  /** Gives up opening. */
  readonly signal?: AbortSignal
}

/** A question of `askMany`. */
export interface AskInput {
  /** What it is about; default nothing. */
  readonly images?: ImageSource | readonly ImageSource[]
  readonly question: string
}

/** Those of `ask`, the same for all questions. */
export interface AskManyOptions<Schema = unknown, Choice extends string = string> extends AnswerOptions<
  Schema,
  Choice
> {
  /** Answers in the order of their questions (default), or each as soon as it is written. */
  readonly ordered?: boolean
}

export interface AnswerOptions<Schema = unknown, Choice extends string = string>
  extends SamplingOptions, PromptOptions, FormatOptions<Schema, Choice> {
  /** Most tokens to generate; default 512. */
  readonly maxTokens?: number
  /**
   * Most tokens that are computed ahead at once, in [0, 31]; default 15, 0: none. They are looked up in the prompt and the answer so far, and used only
   * where they are the tokens that are chosen anyway: the answer is the same, and comes faster where it repeats what was said. Several answers to one
   * question take none.
   */
  readonly promptLookupTokens?: number
  /** Of answers that wait for memory (`kvCacheBytes`), those of higher priority go first; default 0, in [-1000, 1000]. */
  readonly priority?: number
  /** Whom the answer is for: of answers that wait with the same priority, those of whoever has the least memory in use go first. Default nobody in particular. */
  readonly client?: string
  /** Text that ends the answer; it is not part of it. */
  readonly stop?: string | readonly string[]
  /** Gives with each token its log-probability and those of the so many likeliest ones, in [0, 20]; default: none at all. */
  readonly logprobs?: number
  /** Hears how far pictures, prompt and answer are. */
  readonly onProgress?: ProgressListener
  /** Stops the work natively and fails the call with ABORTED, the signal's reason as its cause. */
  readonly signal?: AbortSignal
}

export interface EncodeOptions extends ImageOptions {
  readonly signal?: AbortSignal
}

export interface TraceOptions {
  /** Tokens to generate after the prompt, whatever they are; default 16. */
  readonly maxTokens?: number
  readonly signal?: AbortSignal
}

/** What a model is and what it runs on. */
export interface ModelInfo extends NativeInfo {
  readonly path: string
  readonly format: ModelDescription['format']
  readonly kvCacheDtype: KvDtype
  readonly arithmetic: 'fast' | 'exact'
  /** Positions a prompt and its answer may take together. */
  readonly contextLength: number
  /** Rows of the logits. */
  readonly vocabSize: number
  /** Tokens that end an answer in this template, for a `logitsProcessor` that wants it to end or to go on. */
  readonly eosIds: readonly number[]
  /** How prompts are written unless `template` says otherwise. */
  readonly template: TemplateName
  readonly text: {
    readonly layers: number
    readonly hiddenSize: number
    readonly heads: number
    readonly kvHeads: number
  }
  /** Absent for a language model without a vision tower. */
  readonly vision?: {
    readonly layers: number
    readonly hiddenSize: number
    readonly imageSize: number
    readonly patchSize: number
    /** Positions one picture takes. */
    readonly rowsPerImage: number
    readonly aspectRatio: ImageAspectRatio
  }
  /** Answers, and texts that are embedded: those that run, those that wait for room, and the room in bytes of keys and values. */
  readonly load: { readonly running: number; readonly waiting: number; readonly kvCacheBytes: number }
  /** Beginnings of prompts and encoded pictures that are kept (`prefixCacheBytes`, `pictureCacheBytes`): how many, their bytes, and how often one was of use. */
  readonly caches: { readonly prefixes: CacheUse; readonly pictures: CacheUse }
  readonly card: ModelDescription['card']
  /** Memory there is, in bytes. */
  readonly machine: Machine
}

const promptChecks = { template: oneOf(...templateNames), system: text } satisfies Record<
  keyof PromptOptions,
  OptionCheck
>

const openChecks = {
  ...imageChecks,
  ...promptChecks,
  mmproj: text,
  visionTower: text,
  adapter: text,
  threads: wholeNumber(1, 1024),
  isa: oneOf('auto', ...isas),
  kvCache: oneOf('f16', 'f32', 'q8_0'),
  arithmetic: oneOf('fast', 'exact'),
  weights: oneOf('mapped', 'copied'),
  kvCacheBytes: wholeNumber(1),
  prefixCacheBytes: wholeNumber(0),
  pictureCacheBytes: wholeNumber(0),
  maxWaiting: wholeNumber(0),
  onProgress: callback,
  visionFeatureLayer: wholeNumber(-1024, 1024),
  imageAspectRatio: oneOf(...imageAspectRatios),
  clip: text,
  signal: abortSignal,
} satisfies Record<keyof OpenOptions, OptionCheck>

const defaultMaxWaiting = 10_000
const defaultPictureCacheBytes = 2 ** 28

const byFormat: OptionCheck = () => undefined // lib/answer-format.ts says what a format is

/** Most alternatives to a token, as elsewhere (OpenAI's and vLLM's APIs). */
const mostLogprobs = 20

/** Most tokens of a draft: eight groups of four rows, with the token before them. */
const mostLookupTokens = 31

const bySampling: OptionCheck = () => undefined // lib/sampling/options.ts says which values are sensible

const answerChecks = {
  ...promptChecks,
  temperature: bySampling,
  topK: bySampling,
  topP: bySampling,
  minP: bySampling,
  typicalP: bySampling,
  repetitionPenalty: bySampling,
  presencePenalty: bySampling,
  frequencyPenalty: bySampling,
  noRepeatNgramSize: bySampling,
  logitBias: bySampling,
  minTokens: bySampling,
  logitsProcessor: bySampling,
  seed: bySampling,
  schema: byFormat,
  choices: byFormat,
  regex: byFormat,
  maxTokens: wholeNumber(1),
  promptLookupTokens: wholeNumber(0, mostLookupTokens),
  stop: stopStrings,
  priority: wholeNumber(-1000, 1000),
  client: text,
  logprobs: wholeNumber(0, mostLogprobs),
  onProgress: callback,
  signal: abortSignal,
} satisfies Record<keyof AnswerOptions, OptionCheck>

const embedChecks = {
  ...imageChecks,
  ...promptChecks,
  kind: oneOf(...embeddingKinds),
  normalize: flag,
  dtype: oneOf('f32', 'f16'),
  signal: abortSignal,
} satisfies Record<keyof EmbedOptions, OptionCheck>

const askManyChecks = { ...answerChecks, ordered: flag } satisfies Record<keyof AskManyOptions, OptionCheck>

const embedManyChecks = { ...embedChecks, ordered: flag } satisfies Record<keyof EmbedManyOptions, OptionCheck>

const messageList: OptionCheck = (name, value) => {
  const isList = Array.isArray(value) && value.every((message) => typeof message === 'object' && message !== null)
  if (!isList) throw invalidArgument(name, 'a list of messages { role, content }', value)
}

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
 * Any number of calls may run at once: their tokens, prompts and pictures share passes through the model, and each gets what it would get alone.
 * Every asynchronous call takes an AbortSignal. `dispose()` it, or bind it with `using`: what still runs then fails with DISPOSED.
 */
export class LLaVA implements Disposable, AsyncDisposable {
  readonly #engine: Engine
  readonly #options: OpenOptions
  readonly #loadMs: number
  readonly #clip: LateClip | undefined
  readonly #pictures = new PictureQueue()

  private constructor({ engine, clip }: Opened, options: OpenOptions, loadMs: number) {
    this.#engine = engine
    this.#clip = clip
    this.#options = options
    this.#loadMs = loadMs
  }

  /**
   * Opens a checkpoint directory (Hugging Face's or the original LLaVA's), a GGUF pair (its `mmproj` is found beside it when there is just one), a GGUF
   * without pictures, or a single GGUF of this package; with no path, or `default`, the model that comes with the package. Where nothing is called so, the name
   * of a model that `pullModel` has downloaded: `llava-1.5-7b` or `owner/name`, with `:file` if one of several is meant.
   *
   * Fails with MODEL_NOT_FOUND, MODEL_CORRUPT, MODEL_UNSUPPORTED, OUT_OF_MEMORY, NATIVE_UNAVAILABLE, INVALID_ARGUMENT or ABORTED.
   */
  static async open(modelPath: string = defaultModel, options: OpenOptions = {}): Promise<LLaVA> {
    if (typeof modelPath !== 'string' || modelPath === '')
      throw invalidArgument('path', 'the path of a model', modelPath)
    checkOptions('LLaVA.open()', options, openChecks)
    const callSite = new Error()
    const start = performance.now()
    const job = new Job(options.signal, { cancel: () => undefined }) // opening cannot be stopped, only left
    try {
      const opened = await job.race(openAll(modelPath, options), disposeAll)
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
   * With `answers` it resolves to so many, in [1, 512]. Pictures and prompt are computed once, and the answers are written side by side, so that several take
   * little longer than one. Answer n depends on the seed and n alone: the first is that of a single question. Greedy answers are all the same.
   * `usage.promptTokens` of each is the prompt they share, and `timings` are those of all together.
   *
   * With `schema`, `choices` or `regex` it has that form, and `answer.value` holds it, typed.
   *
   * Fails with IMAGE_UNREADABLE, IMAGE_TOO_LARGE, CONTEXT_OVERFLOW, INVALID_ARGUMENT, VALUE_INVALID, OVERLOADED, ABORTED or DISPOSED.
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
    const answers = await this.#answers(this.#task('ask()', [asMessage(image, question)], others, count), {})
    return count === undefined ? (answers[0] as Answer) : answers
  }

  /**
   * Any number of questions, each about its own pictures: a list, a generator, or what comes asynchronously. Many are answered at once, and memory does not grow
   * with their number: inputs are asked for as results are taken. What is wrong with one input is its result, `{ index, error }`, and the others go on.
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
    const { ordered = true, signal, ...others } = options
    return this.#engine.runEach(signal, (job) => {
      const ask = async (input: AskInput, index: number) => {
        const { images, question } = askInput(`inputs[${index}]`, input)
        const task = this.#task('askMany()', [asMessage(images, question)], { ...others, signal: job.stopped })
        return (await this.#answers(task, {}))[0] as Answer<AnswerValue<Schema, Choice>>
      }
      return named('answer', eachInput(inputs, ask, ordered, job))
    })
  }

  /**
   * Answers a conversation, whose last message is the user's, as a stream of text. Pictures may stand in any user message.
   *
   * Mistakes in messages and options are thrown here; everything later is thrown by the iteration, with the codes of `ask`.
   */
  chat<Schema = undefined, const Choice extends string = never>(
    messages: readonly Message[],
    options: AnswerOptions<Schema, Choice> = {},
  ): ChatStream<AnswerValue<Schema, Choice>> {
    messageList('messages', messages)
    return new ChatStream<AnswerValue<Schema, Choice>>(this.#chatWork(this.#task('chat()', messages, options)))
  }

  #chatWork(task: Task): ChatWork {
    return async (onText, onCancel, onToken) => (await this.#answers(task, { onText, onCancel, onToken }))[0] as Answer
  }

  /**
   * A conversation that keeps its keys and values between turns, so that each turn computes only what is new. The caller disposes of it.
   * Mistakes in its options are thrown here.
   */
  createConversation(options: ConversationOptions = {}): Conversation {
    this.#engine.checkAlive()
    checkOptions('createConversation()', options, { ...promptChecks, messages: messageList })
    const prepare: Prepare = (call, messages, answerOptions, past) =>
      this.#chatWork({ ...this.#task(call, messages, answerOptions), past })
    return Conversation.begin(this.#engine, prepare, options)
  }

  /** Encodes a picture once, for any number of questions. The caller disposes of it. Fails as `ask` does. */
  async encodeImage(image: ImageInput, options: EncodeOptions = {}): Promise<EncodedImage> {
    checkOptions('encodeImage()', options, { ...imageChecks, signal: abortSignal })
    return this.#engine.run(options.signal, (job) => this.#encodeImage(image, imageResults, options, job))
  }

  /** Reads a picture as the vision tower sees it: float32 [3, S, S], channels first, normalised; S is `info().vision.imageSize`. */
  async pixelValues(image: ImageInput, options: EncodeOptions = {}): Promise<Float32Array> {
    checkOptions('pixelValues()', options, { ...imageChecks, signal: abortSignal })
    return this.#engine.run(options.signal, (job) => this.#pixelValues(image, options, job))
  }

  /** An empty text, to feed piece by piece with `Context.forward`. The caller disposes of it. */
  createContext(): Context {
    return new Context(this.#engine.createSequence(), this.#engine)
  }

  /**
   * Runs a prompt from an empty context and resolves to logits in float32, row-major: [vocabSize], or [positions, vocabSize] with `logits: 'all'`.
   * Nothing is added to the prompt but a beginning-of-sequence token in front of text it begins with. Fails as `Context.forward` does.
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
   * Text as token ids. The beginning-of-sequence token comes first unless `addBos` says otherwise or the checkpoint has none.
   * Special tokens written out in the text, such as `</s>`, stay text unless `parseSpecial` is set.
   */
  tokenize(content: string, options: { readonly addBos?: boolean; readonly parseSpecial?: boolean } = {}): Int32Array {
    this.#engine.checkAlive()
    text('text', content)
    checkOptions('tokenize()', options, { addBos: flag, parseSpecial: flag })
    return this.#engine.tokenizer.encode(content, options)
  }

  /** Token ids as text. Special tokens leave no trace unless `skipSpecial` is false; bytes that are no UTF-8 become U+FFFD. */
  detokenize(ids: Iterable<number>, options: { readonly skipSpecial?: boolean } = {}): string {
    this.#engine.checkAlive()
    checkOptions('detokenize()', options, { skipSpecial: flag })
    return this.#engine.tokenizer.decode(toIds(ids, 'ids', this.#engine.config.text.vocabSize), options)
  }

  /** What each token adds to the text, special tokens written out; U+FFFD for bytes that are only part of a character. */
  pieces(ids: Iterable<number>): string[] {
    this.#engine.checkAlive()
    const { tokenizer, config } = this.#engine
    return Array.from(toIds(ids, 'ids', config.text.vocabSize), (id) =>
      Buffer.from(tokenizer.pieceBytes(id, { skipSpecial: false })).toString(),
    )
  }

  /**
   * Runs exactly `prompt`, which holds `<image>` once and gets no template, and resolves to every stage on the way, to be held against another
   * implementation. Always with float32 keys and values, exact arithmetic and no EXIF rotation, whatever the model was opened with; for a model opened
   * otherwise its weights are mapped a second time. Fails as `ask` does.
   */
  async trace(image: ImageInput, prompt: string, options: TraceOptions = {}): Promise<Trace> {
    text('prompt', prompt)
    checkOptions('trace()', options, { maxTokens: wholeNumber(0), signal: abortSignal })
    return this.#engine.run(options.signal, async (job) => {
      const pixelValues = await this.#pixelValues(image, { autoOrient: false }, job)
      const { kvCache, arithmetic } = this.#engine.options
      const asIs = kvCache === 'f32' && arithmetic === 'exact'
      const exact: NativeOptions = { ...this.#engine.options, kvCache: 'f32', arithmetic: 'exact' }
      const engine = asIs
        ? this.#engine
        : await Engine.open(this.#engine.description, exact, {
            ...this.#engine.admission.limits,
            prefixCacheBytes: 0,
            pictureCacheBytes: 0,
          })
      try {
        return await runTrace(engine, pixelValues, prompt, options.maxTokens ?? 16, job)
      } finally {
        if (!asIs) engine.dispose()
      }
    })
  }

  /**
   * A picture or text as a vector, several (an array) as several. Kinds, with N rows of a picture and the widths Dv of vision, D of text, C of CLIP:
   *
   * - `patch_features` [N, Dv] and `pooled_features` [Dv]: the vision tower's output, and its mean over the rows;
   * - `projected` [N, D] and `projected_mean` [D]: the projector's output, which the decoder reads, and its mean over the rows;
   * - `hidden_last` and `hidden_mean` [D]: the decoder's state, after its final norm, at the last position of a prompt, or its mean over all positions.
   *   A prompt is a text or `{ text, images }`; unless `template` says otherwise it is `plain`: pictures and text as they are;
   * - `clip_image` and `clip_text` [C]: for comparing pictures with texts; they need the option `clip`, or the model that comes with the package.
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
   * Inputs of any number as vectors: a list, a generator, or what comes asynchronously. Many are computed at once, and memory does not grow with their number:
   * inputs are asked for as results are taken. What is wrong with one input is its result, `{ index, error }`, and the others go on.
   *
   * Kinds and options are those of `embed`. Leaving the iteration stops the work. The iteration fails with ABORTED, DISPOSED, or what `inputs` throws.
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
      return named('embedding', eachInput(inputs, embed, options.ordered ?? true, job))
    })
  }

  /** Times picture, prefill and decode, with random pixels and tokens, against this machine's peaks, measured in the same run; yields a line each. */
  benchmark(options: BenchmarkOptions = {}): AsyncGenerator<BenchmarkLine, void, undefined> {
    checkOptions('benchmark()', options, benchmarkChecks)
    return runBenchmark(this.#engine, options)
  }

  /** What the model is, what it runs on, and the memory it holds by part, in bytes. */
  info(): ModelInfo {
    const { description, options, rowsPerImage, config, admission } = this.#engine
    const { layers, hiddenSize, heads, kvHeads, contextLength, vocabSize } = config.text
    return {
      ...this.#engine.nativeInfo(),
      path: description.path,
      format: description.format,
      kvCacheDtype: options.kvCache,
      arithmetic: options.arithmetic,
      contextLength,
      vocabSize,
      eosIds: [...description.generation.eosTokenIds, ...this.#templateStops(this.#template()).stopIds],
      template: this.#template(),
      text: { layers, hiddenSize, heads, kvHeads },
      ...(config.vision === undefined
        ? {}
        : {
            vision: {
              layers: config.vision.layers,
              hiddenSize: config.vision.hiddenSize,
              imageSize: config.vision.imageSize,
              patchSize: config.vision.patchSize,
              rowsPerImage,
              aspectRatio: description.imageProcessor?.aspectRatio ?? 'pad',
            },
          }),
      load: {
        running: admission.running,
        waiting: admission.waiting,
        kvCacheBytes: admission.limits.kvCacheBytes,
      },
      caches: { prefixes: this.#engine.prefixes.use, pictures: this.#engine.pictures.use },
      card: description.card,
      machine: machine(),
    }
  }

  /** Forgets the beginnings of prompts and the encoded pictures that were kept for later questions. Conversations keep their own. */
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

  /** A question with everything about it checked and read that needs no computing. */
  #task(call: string, messages: readonly Message[], options: AnswerOptions, count = 1): Task {
    this.#engine.checkAlive()
    checkOptions(call, options, answerChecks)
    checkSampling(options)
    const { tokenizer, description, config } = this.#engine
    const {
      stop = [],
      maxTokens = 512,
      promptLookupTokens = 15,
      minTokens = 0,
      logitBias,
      signal,
      logprobs,
      onProgress,
      priority,
      client,
    } = options
    if (minTokens > maxTokens) throw invalidArgument('minTokens', `at most \`maxTokens\`, ${maxTokens}`, minTokens)
    const sampling =
      logitBias === undefined
        ? options
        : { ...options, logitBias: biasById(logitBias, tokenizer, config.text.vocabSize) }
    const image = description.imageToken === undefined ? [] : [description.imageToken.id]
    const template = options.template ?? this.#template()
    const { stopIds, stopTexts } = this.#templateStops(template)
    const eosIds = [...description.generation.eosTokenIds, ...stopIds]
    const banned = { ids: image, from: tokenizer.vocabSize, eosIds }
    const format = AnswerFormat.of(options, tokenizer, [...image, ...description.generation.eosTokenIds])
    return {
      call,
      parts: this.#promptParts(messages, template, options.system ?? this.#options.system),
      images: conversationImages(messages),
      samplers: Array.from({ length: count }, (_, stream) => new Sampler(sampling, banned, stream)),
      eosIds,
      // a format ends by itself; a template's stop may be part of a value
      stop: [...(format === undefined ? stopTexts : []), ...(typeof stop === 'string' ? [stop] : stop)],
      format,
      maxTokens,
      promptLookupTokens,
      signal,
      logprobs,
      onProgress,
      place: { priority, client },
    }
  }

  #template(): TemplateName {
    if (this.#options.template !== undefined) return this.#options.template
    return modelTemplate(this.#engine.description)
  }

  /** What ends an answer in this template: a token where the vocabulary has one for it, which leaves no text to be found, else text. */
  #templateStops(template: TemplateName): {
    readonly stopIds: readonly number[]
    readonly stopTexts: readonly string[]
  } {
    const { tokenizer } = this.#engine
    const idOf = (text: string): number | undefined => {
      const id = tokenizer.tokenId(text)
      return id !== undefined && tokenizer.isSpecial(id) ? id : undefined
    }
    const stops = templateStops(template)
    return {
      stopIds: stops.map(idOf).filter((id) => id !== undefined),
      stopTexts: stops.filter((text) => idOf(text) === undefined),
    }
  }

  #promptParts(messages: readonly Message[], template: TemplateName, system: string | undefined): Task['parts'] {
    return template === 'checkpoint'
      ? this.#checkpointPrompt([...messages], system)
      : renderPrompt(messages, template, given({ system }))
  }

  /** Renders the checkpoint's own template, when it is needed. */
  #checkpointPrompt(messages: readonly Message[], system: string | undefined): () => Promise<PromptPart[]> {
    const { path: file, chatTemplate, imageToken, tokenizer } = this.#engine.description
    if (chatTemplate === undefined) {
      throw new LlavaError(
        'INVALID_ARGUMENT',
        `${file} brings no chat template; name one of ${builtInTemplates.join(', ')}`,
      )
    }
    const bosToken = tokenizer.bosId === undefined ? undefined : tokenizer.pieces[tokenizer.bosId]
    const eosToken = tokenizer.eosIds[0] === undefined ? undefined : tokenizer.pieces[tokenizer.eosIds[0]]
    return () => renderCheckpointTemplate(messages, chatTemplate, given({ bosToken, eosToken, imageToken, system }))
  }

  /** Runs a task as a request that a host may watch. */
  #answers(task: Task, listener: AnswerListener): Promise<readonly Answer[]> {
    const { call, images, samplers, maxTokens } = task
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
      () => this.#engine.run(task.signal, (job) => this.#run(task, run, listener, job)),
    )
  }

  /** prompt → pictures → prefill → generation, with everything native disposed of at the end. */
  async #run(
    task: Task,
    run: Run,
    { onText, onToken, onCancel }: AnswerListener,
    job: Job,
  ): Promise<readonly Answer[]> {
    onCancel?.(() => {
      job.leave()
    })
    const engine = this.#engine
    const { past, logprobs: top, onProgress } = task
    const cleanUp: (() => void)[] = []
    try {
      let taken = past === undefined ? this.#takeAll(task.images, {}, cleanUp, job) : []
      const prompt = (run.prompt = this.#splice(
        typeof task.parts === 'function' ? await task.parts() : task.parts,
        task.images,
      ))
      const limit = Math.min(task.maxTokens, engine.config.text.contextLength - prompt.positions)
      const total = limit * task.samplers.length
      let written = 0
      run.generations = task.samplers.map((sampler) => {
        return new Generation({
          sampler,
          text: new DecodeStream(engine.tokenizer),
          eosIds: task.eosIds,
          stop: task.stop,
          limit,
          logprobs: top === undefined ? undefined : (logits, id) => tokenLogprobs(logits, id, top, engine.tokenizer),
          onToken(token) {
            onToken?.(token)
            onProgress?.({ stage: 'generate', done: ++written, total })
          },
        })
      })
      await task.format?.begin(task.samplers, task.eosIds, job)
      if (past !== undefined) {
        const encode = () => past.pictures((image) => this.#encodeImage(image, ['projected'], {}, job))
        taken = this.#takeAll(await run.clock.time('imageMs', encode), {}, cleanUp, job)
      }
      cleanUp.push(await engine.enter(prompt.positions, limit, task.samplers.length, job, task.place))
      const images = await run.clock.time('imageMs', () => this.#encodeAll(taken, cleanUp, job, onProgress))
      const segments = toSegments(prompt.items, images)
      const begun = await (task.past?.cache ?? engine.prefixes).begin(segments, job)
      const { sequence, rest, cached } = begun
      run.cached = cached
      cleanUp.push(() => {
        begun.end()
        const [answer] = run.generations
        if (task.past === undefined || answer === undefined) sequence.dispose()
        else task.past.cache.settle(sequence, answer.tokenIds, answer.finishReason === 'cancelled' && !task.past.onward)
      })
      const logits = allocate(engine.config.text.vocabSize)
      await run.clock.time('promptMs', async () => {
        const prompted = (rows: number) =>
          onProgress?.({ stage: 'prompt', done: cached + rows, total: prompt.positions })
        prompted(0)
        await engine.append(sequence, rest, logits, job, prompted)
        begun.prompted()
      })
      await run.clock.time('generateMs', async () => {
        onProgress?.({ stage: 'generate', done: 0, total })
        const emit = onText ?? (() => undefined)
        const begin = (to: NativeSequence, drafts: number) => new Speculation(engine, to, segments, drafts, limit, job)
        const [only] = run.generations
        if (only === undefined || run.generations.length > 1) {
          await this.#generateSeveral(run.generations, sequence, (to) => begin(to, 0), logits, emit, job)
        } else {
          run.speculation = begin(sequence, task.promptLookupTokens)
          await generateOne(only, run.speculation, logits, emit)
          begun.answered(only.tokenIds)
        }
      })
    } catch (error) {
      if (!job.left || run.generations.length === 0) throw error
    } finally {
      for (const clean of cleanUp) clean()
    }
    const values = await task.format?.values(run.generations)
    return run.generations.map((generation, n) => ({
      ...answerOf(generation, run.prompt as Prompt, run, top !== undefined),
      ...values?.[n],
    }))
  }

  /** Runs generations side by side from one prompt, held by `prompt` and by forks of it, whose last logits [V] these are. The first failure stops all. */
  async #generateSeveral(
    generations: readonly Generation[],
    prompt: NativeSequence,
    begin: (sequence: NativeSequence) => Speculation,
    logits: Float32Array,
    emit: (text: string) => void,
    job: Job,
  ): Promise<void> {
    const sequences = [prompt]
    try {
      while (sequences.length < generations.length) sequences.push(this.#engine.fork(prompt))
      const runs = generations.map((generation, n) =>
        generateOne(generation, begin(sequences[n] as NativeSequence), logits, emit),
      )
      await allOrNone(runs, job)
    } finally {
      for (const fork of sequences.slice(1)) fork.dispose()
    }
  }

  /** Splices a prompt and measures it; nothing is computed before it is known to fit. */
  #splice(parts: readonly PromptPart[], images: readonly ImageSource[]): Prompt {
    const { tokenizer, description, rowsPerImage } = this.#engine
    const length = parts.reduce((sum, part) => sum + (part.kind === 'text' ? part.text.length : 0), 0)
    const rows = images.length * rowsPerImage
    this.#engine.checkContext(tokenizer.fewestTokens(length) + rows, rows, true)
    const items = splicePrompt(parts, tokenizer, description.imageToken, description.imageTokens)
    if (images.length > 0) this.#imageProcessor()
    const imagePositions = images.length * rowsPerImage
    const positions =
      imagePositions + items.reduce((sum, item) => sum + (item.kind === 'tokens' ? item.ids.length : 0), 0)
    this.#engine.checkContext(positions, imagePositions)
    return { items, positions, imagePositions }
  }

  /**
   * Pictures as they are now, whatever the caller does with them next. `cleanUp` receives what releases those that were given encoded. To be called before the
   * first pause.
   */
  #takeAll(
    images: readonly ImageSource[],
    options: ImageOptions,
    cleanUp: (() => void)[],
    job: Job,
  ): readonly (TakenPicture | NativeImageFeatures)[] {
    const limits = this.#limits(options, job)
    return images.map((image) => {
      if (!(image instanceof EncodedImage)) return takePicture(image, limits, job)
      const held = image.hold(this.#engine)
      cleanUp.push(() => {
        image.release()
      })
      return held
    })
  }

  /** Every picture's rows in order. `cleanUp` receives what disposes of those made here. */
  async #encodeAll(
    images: readonly (TakenPicture | NativeImageFeatures)[],
    cleanUp: (() => void)[],
    job: Job,
    onProgress: ProgressListener | undefined,
  ): Promise<NativeImageFeatures[]> {
    const total = images.length
    let done = images.filter((image) => typeof image !== 'function').length
    if (total > 0) onProgress?.({ stage: 'image', done, total })
    return await allOrNone(
      images.map(async (image) => {
        if (typeof image !== 'function') return image
        const made = await this.#encodePicture(image, ['projected'], job)
        cleanUp.push(() => {
          made.leave()
        })
        onProgress?.({ stage: 'image', done: ++done, total })
        return made.native
      }),
      job,
    )
  }

  /** What `embed` takes its vectors from. */
  #embeddingSource(options: EmbedOptions, job: Job): EmbeddingSource {
    const { config } = this.#engine
    const clip = async (): Promise<ClipEngine> => {
      if (this.#clip !== undefined) return job.race(this.#clip.open())
      const what = "a LLaVA checkpoint has neither CLIP's last layers nor its text tower"
      throw new LlavaError(
        'INVALID_ARGUMENT',
        `${what}: \`${options.kind}\` needs a model opened with the option \`clip\`, the directory of a CLIP checkpoint`,
      )
    }
    return {
      visionWidth: config.vision?.hiddenSize ?? 0,
      textWidth: config.text.hiddenSize,
      picture: (image, result) => this.#pictureResult(image, result, options, job),
      hidden: (prompt, all) => this.#hidden(prompt, all, options, job),
      clipImage: async (image) => {
        if (image instanceof EncodedImage)
          throw invalidArgument('input', 'the picture itself, which CLIP reads in its own way', image)
        const taken = takePicture(image, this.#limits(options, job), job)
        const opened = await clip()
        const encode = (pixelValues: Float32Array) => opened.image(pixelValues, job)
        return this.#pictures.through(taken, opened.description.imageProcessor, job, encode)
      },
      clipText: async (text) => (await clip()).text(text, job),
    }
  }

  async #hidden(
    { text: question, images = [] }: EmbedPrompt,
    all: boolean,
    options: EmbedOptions,
    job: Job,
  ): Promise<Float32Array> {
    const message = asMessage(images, question)
    const parts = this.#promptParts([message], options.template ?? 'plain', options.system)
    const sources = conversationImages([message])
    const cleanUp: (() => void)[] = []
    try {
      const taken = this.#takeAll(sources, options, cleanUp, job)
      const { items, positions } = this.#splice(typeof parts === 'function' ? await parts() : parts, sources)
      if (positions === 0) throw invalidArgument('input', 'a prompt of one token at least', question)
      cleanUp.push(await this.#engine.enter(positions, 0, 1, job))
      const encoded = await this.#encodeAll(taken, cleanUp, job, undefined)
      return await this.#engine.hidden(toSegments(items, encoded), all, job)
    } finally {
      for (const clean of cleanUp) clean()
    }
  }

  async #encodeImage(
    image: ImageInput,
    results: readonly ImageResult[],
    options: ImageOptions,
    job: Job,
  ): Promise<EncodedImage> {
    const taken = takePicture(image, this.#limits(options, job), job)
    return new EncodedImage(await this.#encodePicture(taken, results, job), this.#engine)
  }

  /** Computed, or remembered. The caller leaves it. */
  async #encodePicture(image: TakenPicture, results: readonly ImageResult[], job: Job): Promise<SharedFeatures> {
    const encode = (pixelValues: Float32Array) => this.#engine.encodeOnce(pixelValues, results, job)
    return this.#pictures.through(image, this.#imageProcessor(), job, encode, (late) => {
      late.leave()
    })
  }

  async #pictureResult(
    image: ImageSource,
    result: ImageResult,
    options: ImageOptions,
    job: Job,
  ): Promise<Float32Array> {
    if (image instanceof EncodedImage) {
      using shared = image.share()
      return shared.read(result)
    }
    const taken = takePicture(image, this.#limits(options, job), job)
    const encode = async (pixelValues: Float32Array) => (await this.#engine.encode(pixelValues, [result], job)).image
    const encoded = await this.#pictures.through(taken, this.#imageProcessor(), job, encode, (late) => {
      late.dispose()
    })
    try {
      return this.#engine.read(encoded, result)
    } finally {
      encoded.dispose()
    }
  }

  async #pixelValues(image: ImageInput, options: ImageOptions, job: Job): Promise<Float32Array> {
    const given = (pixelValues: Float32Array) => Promise.resolve(pixelValues)
    const taken = takePicture(image, this.#limits(options, job), job)
    return this.#pictures.through(taken, this.#imageProcessor(), job, given)
  }

  #limits(options: ImageOptions, job: Job): DecodeOptions {
    return decodeOptions(this.#options, options, job)
  }

  #imageProcessor(): NonNullable<ModelDescription['imageProcessor']> {
    const { imageProcessor, path: file } = this.#engine.description
    if (imageProcessor !== undefined) return imageProcessor
    throw new LlavaError(
      'INVALID_ARGUMENT',
      `${file} has no vision tower and takes no pictures; a GGUF pair needs its mmproj file too (option \`mmproj\`)`,
    )
  }
}

interface Opened {
  readonly engine: Engine
  readonly clip: LateClip | undefined
}

async function openAll(modelPath: string, options: OpenOptions): Promise<Opened> {
  const engine = await openEngine(modelPath, options)
  if (options.clip === undefined) {
    const isPackaged = engine.description.path === defaultModel
    return { engine, clip: isPackaged ? new LateClip(packagedClip, engine.options) : undefined }
  }
  const clip = new LateClip(options.clip, engine.options)
  try {
    await clip.open() // what is wrong with it is said at once
    return { engine, clip }
  } catch (error) {
    engine.dispose()
    throw error
  }
}

function disposeAll({ engine, clip }: Opened): void {
  engine.dispose()
  clip?.dispose()
}

function isList(input: EmbedInput | readonly EmbedInput[]): input is readonly EmbedInput[] {
  return Array.isArray(input)
}

async function openEngine(modelPath: string, options: OpenOptions): Promise<Engine> {
  const { mmproj, visionTower, adapter, visionFeatureLayer, imageAspectRatio } = options
  const description = await describeNamedModel(
    modelPath,
    given({ mmproj, visionTower, adapter, visionFeatureLayer, imageAspectRatio }),
  )
  const nativeOptions: NativeOptions = {
    device: 'auto',
    threads: options.threads ?? 0,
    isa: options.isa ?? 'auto',
    kvCache: options.kvCache ?? (description.card.languageDtype === 'F32' ? 'f32' : 'f16'),
    arithmetic: options.arithmetic ?? 'fast',
    weights: options.weights ?? 'mapped',
  }
  const { available } = machine()
  const limits = {
    kvCacheBytes: options.kvCacheBytes ?? available / 2,
    maxWaiting: options.maxWaiting ?? defaultMaxWaiting,
    prefixCacheBytes: options.prefixCacheBytes ?? available / 8,
    pictureCacheBytes: options.pictureCacheBytes ?? defaultPictureCacheBytes,
  }
  return openReporting(description, nativeOptions, limits, options.onProgress)
}

/** Opens, and fails where the listener throws. */
async function openReporting(
  description: ModelDescription,
  options: NativeOptions,
  limits: EngineLimits,
  onProgress: ProgressListener | undefined,
): Promise<Engine> {
  if (onProgress === undefined || options.weights === 'mapped') return Engine.open(description, options, limits)
  const thrown: unknown[] = []
  const report = (done: number, total: number) => {
    try {
      onProgress({ stage: 'weights', done, total })
    } catch (error) {
      thrown.push(error)
    }
  }
  const engine = await Engine.open(description, options, limits, report)
  if (thrown.length === 0) return engine
  engine.dispose()
  throw thrown[0]
}

/** Runs a generation that has its sequence to itself, and leaves there what it chose. */
async function generateOne(
  generation: Generation,
  speculation: Speculation,
  logits: Float32Array,
  emit: (text: string) => void,
): Promise<void> {
  try {
    await generation.run(logits, (id) => speculation.step(id), emit)
  } finally {
    speculation.retract()
  }
}

/** Several parts of one call: the first failure stops the others, and is thrown when all have stopped. */
async function allOrNone<T>(parts: readonly Promise<T>[], job: Job): Promise<T[]> {
  for (const part of parts)
    part.catch((error: unknown) => {
      job.stop(() => error)
    })
  await Promise.allSettled(parts)
  return await Promise.all(parts)
}

/** A spliced prompt as native segments. */
function toSegments(items: readonly SpliceItem[], images: readonly NativeImageFeatures[]): NativeSegment[] {
  return items.map((item) => {
    if (item.kind === 'tokens') return { tokens: item.ids }
    const image = images[item.index] as NativeImageFeatures
    return { image, start: 0, count: image.rows }
  })
}

/** An input of `askMany`. */
function askInput(name: string, input: AskInput): Required<AskInput> {
  if (typeof input !== 'object' || input === null || typeof input.question !== 'string')
    throw invalidArgument(name, 'an object with a question, a string, and images where it is about some', input)
  return { images: input.images ?? [], question: input.question }
}

/** One user's message: the pictures, then the question. */
function asMessage(image: ImageSource | readonly ImageSource[], question: string): Message {
  if (typeof question !== 'string') throw invalidArgument('question', 'a string', question)
  const images: readonly ImageSource[] = Array.isArray(image) ? image : [image as ImageSource]
  return {
    role: 'user',
    content: [...images.map((one) => ({ type: 'image' as const, image: one })), { type: 'text', text: question }],
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

interface Task {
  /** The public method. */
  readonly call: string
  readonly parts: readonly PromptPart[] | (() => Promise<readonly PromptPart[]>)
  readonly images: readonly ImageSource[]
  /** One for each answer. */
  readonly samplers: readonly Sampler[]
  readonly eosIds: readonly number[]
  readonly stop: readonly string[]
  readonly format: AnswerFormat | undefined
  readonly maxTokens: number
  readonly promptLookupTokens: number
  readonly place: Place
  readonly signal: AbortSignal | undefined
  /** How many alternatives to each token are wanted. */
  readonly logprobs: number | undefined
  readonly onProgress: ProgressListener | undefined
  /** What a conversation keeps between its prompts. */
  readonly past?: Past
}

/** Who hears of an answer while it is written. */
interface AnswerListener {
  readonly onText?: (text: string) => void
  readonly onToken?: (token: GeneratedToken) => void
  /** Takes what stops the work. */
  readonly onCancel?: (cancel: () => void) => void
}

/** A task on its way. */
interface Run {
  readonly clock: Clock
  prompt: Prompt | undefined
  /** Positions of the prompt that needed no computing. */
  cached: number
  /** Where there is one answer. */
  speculation: Speculation | undefined
  generations: readonly Generation[]
}

interface Prompt {
  readonly items: readonly SpliceItem[]
  readonly positions: number
  readonly imagePositions: number
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
