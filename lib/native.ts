// The Node-API boundary as TypeScript sees it: three classes (Model, Sequence, ImageFeatures), one verb for the decoder (forward).
// Shape letters: T tokens, P image rows, D text hidden size, Dv vision hidden size, V vocabulary, S image size.

import { LlavaError, type LlavaErrorCode } from './errors.js'
import { loadBinary } from './native-binary.js'

/** Element types a tensor may have on disk. Quantised ones are GGUF blocks along the last (input) dimension. */
export type Dtype =
  'F32' | 'F16' | 'BF16' | 'Q4_0' | 'Q4_1' | 'Q5_0' | 'Q5_1' | 'Q8_0' | 'Q2_K' | 'Q3_K' | 'Q4_K' | 'Q5_K' | 'Q6_K'

/** Where one tensor lies: canonical name, row-major shape ([out, in] for matrices), bytes in `files[file]`. */
export interface TensorEntry {
  readonly name: string
  readonly dtype: Dtype
  readonly shape: readonly number[]
  readonly file: number
  readonly offset: number
  readonly nbytes: number
  /** A float matrix [out, in] whose file holds [in, out]; it is copied to memory in the order that products read. */
  readonly transposed?: true
  /** Of `MODULE.lora_B.weight` [out, r], which with `MODULE.lora_A.weight` [r, in] is a module's adapter. */
  readonly lora?: LoraWeighing
}

export interface LoraWeighing {
  /** alpha / r */
  readonly scale: number
  /** Above 0: B's rows are those of so many heads with rotation pairs half a head apart, where the module's pairs are neighbours. */
  readonly interleavedHeads: number
}

/** LLaMA decoder. */
export interface TextConfig {
  readonly hiddenSize: number
  readonly intermediateSize: number
  readonly layers: number
  readonly heads: number
  readonly kvHeads: number
  readonly headDim: number
  readonly vocabSize: number
  readonly rmsNormEps: number
  /** `half`: pair (j, j + headDim/2), Hugging Face weights; `interleaved`: pair (2j, 2j+1), GGUF weights. */
  readonly ropeLayout: 'half' | 'interleaved'
  /** [headDim / 2] inverse frequencies in float32, scaling (linear, llama3) already applied. */
  readonly ropeInvFreq: Float32Array
  readonly contextLength: number
  /** Positions a row sees, itself included; absent: all before it. */
  readonly slidingWindow?: number
}

/** CLIP's vision tower, or SigLIP's. */
export interface VisionConfig {
  /** Absent: CLIP's. SigLIP's has no class row and no norm before its layers, and its patch convolution has a bias. */
  readonly tower?: 'clip' | 'siglip'
  readonly hiddenSize: number
  readonly intermediateSize: number
  /** Encoder layers to run; already resolved from `vision_feature_layer`. */
  readonly layers: number
  readonly heads: number
  readonly imageSize: number
  /** Pixels beyond the last whole patch are not looked at. */
  readonly patchSize: number
  readonly layerNormEps: number
  readonly activation: 'quick_gelu' | 'gelu' | 'gelu_pytorch_tanh'
  /** `true`: drop the first row, the class row (strategy "default"), of SigLIP the first patch; `false`: keep it (strategy "full"). */
  readonly dropClassRow: boolean
  /** Linear layers of the projector, exact GELU between them; default 2. */
  readonly projectorLayers?: number
}

/** What native code needs to know; `vision` is absent for a plain LLaMA-family text model. */
export interface ModelConfig {
  readonly text: TextConfig
  readonly vision?: VisionConfig
}

/** A whole CLIP: `vision.layers` counts all layers. */
export interface ClipConfig {
  readonly vision: VisionConfig
  readonly text: {
    readonly hiddenSize: number
    readonly intermediateSize: number
    readonly layers: number
    readonly heads: number
    readonly vocabSize: number
    readonly contextLength: number
    readonly layerNormEps: number
    readonly activation: VisionConfig['activation']
  }
  readonly projectionDim: number
}

/** What a product may be bound by: float32 FMA, products of bfloat16 (where the CPU has none of its own, float32 FMA too), or the fastest exact int8 mix. */
export type ComputePeak = 'fma' | 'bf16' | 'int8'

/** Kernel tables, weakest first within an architecture; info().isa says which one runs. */
export const isas = [
  'scalar',
  'avx2',
  'avx2-vnni',
  'avx512-bw',
  'avx512',
  'avx512-bf16',
  'amx',
  'neon',
  'neon-dotprod',
  'neon-i8mm',
] as const
export type Isa = (typeof isas)[number]
/** `q8_0`: int8 with a scale for each 32 values, half of f16's memory. */
export type KvDtype = 'f16' | 'f32' | 'q8_0'

export interface NativeOptions {
  /** What computes; a GPU by its number among those that its driver shows. */
  readonly device: 'cpu' | `cuda:${number}`
  /** Path of the back end's shared library, for all but the CPU. */
  readonly library?: string
  /** Why the CPU computes although a GPU would have been taken; native code does not read it. */
  readonly fallback?: string
  /** Compute threads; 0 = as many as the process may use. */
  readonly threads: number
  readonly isa: Isa | 'auto'
  readonly kvCache: KvDtype
  /** `exact`: quantised weights are dequantised and multiplied in float32; `fast`: activations are quantised to int8 blocks as well. */
  readonly arithmetic: 'fast' | 'exact'
  /** `mapped`: read where the file is mapped; `copied`: into memory on large pages. */
  readonly weights: 'mapped' | 'copied'
}

/** Hears how many bytes of the weights have been taken over, of how many; must not throw. */
export type OpenListener = (nbytes: number, total: number) => void

/** What a model was found to take of a device's memory before it was loaded, in bytes. */
export interface MemoryPlan {
  /** Of the device. */
  readonly total: number
  /** Before the model was loaded. */
  readonly free: number
  readonly weights: number
  /** Activations of the largest passes, and what the back end takes for itself. */
  readonly workspaces: number
  /** What that leaves for keys and values, and for encoded pictures. */
  readonly room: number
  /** Positions of keys and values that `room` holds; 0 for a CLIP, which keeps none. */
  readonly positions: number
}

/** What the kernels were compiled for. */
export type DeviceIsa = Isa | `sm_${number}`

export interface NativeInfo {
  readonly device: string
  readonly isa: DeviceIsa
  /** Of the CPU; of a GPU those that feed it. */
  readonly threads: number
  /** Whether products of many rows go over tiles of bfloat16, also those of quantised weights and of float32. */
  readonly tiles: boolean
  /** Rows of one pass at most: of pictures through their tower, and of texts through the decoder. */
  readonly towerRows: number
  readonly passRows: number
  readonly cpuFeatures: readonly string[]
  /** Bytes by part. `kvCache`: keys and values of all texts there are; `kvCacheFull`: of one text that fills the context. */
  readonly memory: {
    readonly weightsMapped: number
    readonly weightsHeap: number
    readonly kvCache: number
    readonly kvCacheFull: number
    readonly scratch: number
    /** On a device with memory of its own. */
    readonly plan?: MemoryPlan
  }
}

/**
 * What a picture may be encoded to: the tower's output [P, Dv] and its mean over the rows [Dv], the projector's output [P, D], which the decoder
 * reads, and its mean [D]. Means are summed in double precision.
 */
export const imageResults = ['image_features', 'pooled_features', 'projected', 'projected_mean'] as const
export type ImageResult = (typeof imageResults)[number]

/** One picture after tower and projector. */
export interface NativeImageFeatures {
  /** P: rows this picture takes in the prompt. */
  readonly rows: number
  /** A result that was asked for when it was encoded; a fresh copy each time. */
  read(kind: ImageResult): Float32Array
  dispose(): void
}

/** One running text: its keys and values. */
export interface NativeSequence {
  /** Positions held. */
  readonly length: number
  /** A second sequence with the same past; pages are shared until one of them writes. */
  fork(): NativeSequence
  /** Forgets everything from position `length` on. */
  truncate(length: number): void
  dispose(): void
}

/** A flag the compute threads look at between layers. */
export interface NativeCancellation {
  cancel(): void
}

export type NativeSegment =
  | { readonly tokens: Int32Array }
  | { readonly image: NativeImageFeatures; readonly start: number; readonly count: number }

/** Of one position: the likeliest tokens that may follow, best first, of equals the lower id; NaN is above all. */
export interface Candidates {
  readonly ids: Int32Array
  readonly logits: Float32Array
  /** ln sum exp(z) over all logits z of the position, in double precision; NaN where it was not asked for. */
  readonly logSumExp: number
}

/** Where candidates go: of each row the `count` largest logits among the ids below `columns`. */
export interface NativeCandidates {
  readonly count: number
  readonly columns: number
  /** [rows, count]; -1 of a step that failed. */
  readonly ids: Int32Array
  /** [rows, count] */
  readonly logits: Float32Array
  /** [rows]; `null`: not wanted. */
  readonly logSumExp: Float64Array | null
}

/** Appends `segments` to `sequence`; logits of its last or of all its new rows go to the output, in step order. */
export interface NativeStep {
  readonly sequence: NativeSequence
  readonly segments: readonly NativeSegment[]
  readonly logits: 'none' | 'last' | 'all'
  /** How these rows are given: whole (default), as their candidates, or both. */
  readonly form?: 'whole' | 'candidates' | 'both'
  /**
   * Receives the attention weights of its last row, [layers, heads, positions], over all positions that the sequence
   * then has; of a step with logits.
   */
  readonly attention?: Float32Array | undefined
  /** Of this step alone. */
  readonly cancellation?: NativeCancellation | null
}

export interface NativeTiming {
  /** Wall time of the compute itself, first barrier to last, in milliseconds. */
  readonly computeMs: number
}

export interface NativeModel {
  /** pixelValues [count, 3, S, S] is copied in at the call. Several pictures go through the tower at once. */
  encodeImages(
    pixelValues: Float32Array,
    count: number,
    results: readonly ImageResult[],
    cancellation: NativeCancellation | null,
  ): Promise<{ readonly images: NativeImageFeatures[] } & NativeTiming>
  createSequence(): NativeSequence
  /** A picture that was encoded before, from what `read` gave of each of `results`. */
  restoreImage(results: readonly ImageResult[], values: readonly Float32Array[]): Promise<NativeImageFeatures>
  /**
   * Bytes [first, first + count) of a sequence's pages, which lie one after another as this model's back end lays them out: of whole pages of
   * `info().memory.kvCacheFull / pages of the context` bytes each.
   */
  readSequence(sequence: NativeSequence, first: number, count: number): Promise<Uint8Array>
  /** Puts them into an empty sequence, in order from byte 0 on; with the last byte it has its length. `bytes` are copied in at the call. */
  writeSequence(sequence: NativeSequence, length: number, first: number, bytes: Uint8Array): Promise<void>
  /**
   * logits [rows asked for whole, V], hidden [all rows asked for, D] (after the final norm) and candidates of the rows
   * that are asked for as such are
   * written when the promise resolves; null for what is not wanted.
   * A step that is cancelled, or that there is no page of keys and values for, fails by itself: its error stands in its place of `failures`, its sequence
   * is as it was, its rows are NaN. When all fail with one code, or the pass itself does, the promise is rejected and every sequence is as it was.
   * A pass of few rows may run within other work: then this has `turnMs` milliseconds to itself before the next such pass; else they are 0.
   */
  forward(
    steps: readonly NativeStep[],
    logits: Float32Array | null,
    hidden?: Float32Array | null,
    candidates?: NativeCandidates | null,
  ): Promise<{ readonly failures: readonly (Error | null)[]; readonly turnMs: number } & NativeTiming>
  info(): NativeInfo
  /** Measures this machine's peaks on the model's own threads and ISA: GFLOP/s of floats, GOP/s of int8, GB/s of reads. */
  measurePeak(
    kind: ComputePeak | 'read',
  ): Promise<{ readonly value: number; readonly unit: string; readonly mix: string }>
  dispose(): void
}

export interface NativeClip {
  /** pixelValues [count, 3, S, S] to [count, projectionDim], not normalised. */
  encodeImages(pixelValues: Float32Array, count: number, cancellation: NativeCancellation | null): Promise<Float32Array>
  /** ids of each text from the start token to the end token, without padding, to [texts, projectionDim], not normalised. */
  encodeTexts(ids: readonly Int32Array[], cancellation: NativeCancellation | null): Promise<Float32Array>
  info(): Pick<NativeInfo, 'device' | 'isa' | 'threads' | 'tiles' | 'towerRows'> & { readonly plan?: MemoryPlan }
  dispose(): void
}

/** One axis: the picture lies from `start` on on a canvas, which becomes `resized`; [from, from + count) of that goes to `margin` and on. */
export interface PictureAxis {
  readonly canvas: number
  readonly start: number
  readonly resized: number
  readonly from: number
  readonly count: number
  readonly margin: number
}

/** What a vision tower takes of a picture: [3, side, side]. Where nothing of the picture goes, bytes are 0. */
export interface PictureRequest {
  readonly across: PictureAxis
  readonly down: PictureAxis
  readonly side: number
  /** The canvas' colour, in bytes. */
  readonly fill: readonly [number, number, number]
  /** `[3, 256]`: what stands for each byte in each channel. */
  readonly values: Float32Array
}

/** A copy of one picture's pixels. */
export interface NativePicture {
  /** Copies the next bytes of [height, width, 3]. */
  write(bytes: Uint8Array): void
  /** Of the whole picture, on libuv's threads. */
  pixelValues(request: PictureRequest, cancellation: NativeCancellation | null): Promise<Float32Array>
  /** What is under way goes on. */
  dispose(): void
}

/** Values that no model can compute with. */
export interface NativeFindings {
  readonly nan: number
  readonly infinite: number
  /** Finite in the source, too large for the target type. */
  readonly overflowed: number
}

/** A checkpoint's files, gone through once to be converted or checked; one call at a time is worked on. */
export interface NativeConversion {
  /**
   * Rows [first, first + count) of tensor `tensor` (its place in the list) as `dtype`, an adapter added; `out` takes exactly their bytes.
   * `interleavedHeads` above 0 turns rotation pairs half a head apart into neighbours, as GGUF has the rows of queries and keys.
   */
  convert(
    request: {
      readonly tensor: number
      readonly dtype: Dtype
      readonly interleavedHeads: number
      readonly first: number
      readonly count: number
    },
    out: Uint8Array,
    cancellation: NativeCancellation | null,
  ): Promise<NativeFindings>
  /** Reads all of a tensor; `crc32` is of its bytes as stored. */
  check(
    tensor: number,
    cancellation: NativeCancellation | null,
  ): Promise<{ readonly nan: number; readonly infinite: number; readonly crc32: number }>
  dispose(): void
}

/** Operations of the model that can be measured by themselves. */
export const measuredOps = [
  'linear',
  'attention',
  'kv_append',
  'rms_norm',
  'layer_norm',
  'activate',
  'silu_mul',
  'rope',
  'quantise',
  'patch_embed',
  'embed_rows',
  'copy_rows',
  'mean_rows',
  'add_rows',
  'rope_angles',
] as const
export type MeasuredOp = (typeof measuredOps)[number]

/** One op on random operands. Sizes that an op does not read may be left out. */
export interface OpRequest {
  readonly op: MeasuredOp
  /** Of the weights; of keys and values for attention and kv_append. */
  readonly dtype: Dtype
  /** Quantised weights are dequantised and multiplied in float32. */
  readonly exact?: boolean
  /** M, T: rows of the activations. */
  readonly rows: number
  /** N, D: values in a row of the output. */
  readonly columns?: number
  /** K: values in a row of the input of a product; V: rows of the table of embed_rows. */
  readonly depth?: number
  /** Products that share their input: 3 for q, k and v. */
  readonly outputs?: number
  readonly bias?: boolean
  /** The output is added to what stands where it is written. */
  readonly residual?: boolean
  readonly activation?: 'none' | 'quick_gelu' | 'gelu'
  readonly heads?: number
  readonly headDim?: number
  readonly keys?: number
  readonly causal?: boolean
  readonly imageSize?: number
  readonly patchSize?: number
  readonly seed?: number
  /** Default true: operands in as many sets as it takes to leave every cache between two uses of one; false: one set. */
  readonly cold?: boolean
}

/** How an output compares with the plainest loops at sampled places; `hash` is of all of it. */
export interface OpVerdict {
  readonly ok: boolean
  /** In units in the last place of the largest true value. */
  readonly error: number
  readonly bound: number
  readonly hash: string
}

/** A back end of its own that runs one op at a time. */
export interface NativeOpBench {
  info(): Pick<NativeInfo, 'device' | 'threads' | 'tiles'> & { readonly isa: Isa }
  /** Makes random operands. */
  prepare(request: OpRequest): Promise<{ readonly sets: number }>
  /** Nanoseconds a call, over `calls` calls, barrier to barrier. */
  sample(calls: number): Promise<number>
  /** What one run on the first set writes. */
  output(): Promise<Float32Array>
  judge(output: Float32Array): Promise<OpVerdict>
  /** The model's peaks, and reads and writes in place (GB/s of both). */
  measurePeak(
    kind: ComputePeak | 'read' | 'update',
  ): Promise<{ readonly value: number; readonly unit: string; readonly mix: string }>
  dispose(): void
}

export interface NativeAddon {
  openModel(
    files: readonly string[],
    tensors: readonly TensorEntry[],
    config: ModelConfig,
    options: NativeOptions,
    onProgress?: OpenListener,
  ): Promise<NativeModel>
  openClip(
    files: readonly string[],
    tensors: readonly TensorEntry[],
    config: ClipConfig,
    options: NativeOptions,
  ): Promise<NativeClip>
  /** An adapter among `tensors` is merged; threads 0 = as many as the process may use. */
  openConversion(files: readonly string[], tensors: readonly TensorEntry[], threads: number): Promise<NativeConversion>
  readonly OpBench: new (options: { readonly isa: Isa | 'auto'; readonly threads: number }) => NativeOpBench
  readonly Picture: new (width: number, height: number) => NativePicture
  readonly Cancellation: new () => NativeCancellation
  /** What this CPU and process offer, without a model. */
  cpuInfo(): {
    readonly device: string
    readonly features: readonly string[]
    readonly isas: readonly Isa[]
    readonly threads: number
  }
}

let addon: NativeAddon | undefined

/** The compiled addon, loaded on first use. */
export function native(): NativeAddon {
  addon ??= loadBinary() as NativeAddon
  return addon
}

/** A flag for one call. */
export function newCancellation(): NativeCancellation {
  return guardedNow(() => new (native().Cancellation)())
}

/** Awaits a native call; its failure gets a code and the stack of the call. */
export async function guarded<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (cause) {
    throw cause instanceof LlavaError ? cause : nativeFailure(cause, new Error())
  }
}

/** The same for a call that gives its result at once. */
export function guardedNow<T>(call: () => T): T {
  try {
    return call()
  } catch (cause) {
    throw cause instanceof LlavaError ? cause : nativeFailure(cause, new Error())
  }
}

/** What node-addon-api makes of an object that there was no memory for, before any code of ours could give it a code. */
const badAlloc = 'std::bad_alloc'

/** Gives a native failure a code and the caller's stack: native errors carry `code` and `message`, but no JavaScript frames. */
export function nativeFailure(cause: unknown, callSite: Error): LlavaError {
  const { code, message } = cause as { readonly code?: string; readonly message?: string }
  const known = code ?? (message === badAlloc ? 'OUT_OF_MEMORY' : 'INTERNAL')
  const error = new LlavaError(
    known as LlavaErrorCode,
    message === badAlloc ? 'out of memory' : (message ?? String(cause)),
    { cause },
  )
  const frames = callSite.stack?.split('\n').slice(1).join('\n')
  if (frames !== undefined) error.stack = `${error.name}: ${error.message}\n${frames}`
  return error
}
