// Every tensor a model computes with, by canonical name and shape, taken from what the files hold.
// Shape letters: D text hidden size, F intermediate size, V vocabulary, Dv vision hidden size, Fv vision intermediate size.

import type { ClipConfig, Dtype, LoraWeighing, TensorEntry, TextConfig, VisionConfig } from '../native.js'
import { dtypes } from './ggml-types.js'
import type { CanonicalName } from './names.js'
import { elementCount, type StoredTensor } from './stored-tensor.js'
import { corrupt, unsupported } from './model-error.js'
import { towerRows } from './tower-rows.js'

/** A tensor the model needs. */
interface Wanted {
  readonly name: string
  readonly shape: readonly number[]
  /** A matrix that may be stored in quantised blocks; everything else must be F32, F16 or BF16. */
  readonly isMatrix: boolean
}

const floatTypes: ReadonlySet<string> = new Set<Dtype>(['F32', 'F16', 'BF16'])
const matrixTypes: ReadonlySet<string> = new Set(dtypes)

/** The files' tensors under their canonical names. */
export class StoredModel {
  /** What to call the model in an error. */
  readonly where: string
  readonly #tensors = new Map<string, StoredTensor>()

  constructor(where: string, stored: readonly StoredTensor[], canonicalName: (name: string) => CanonicalName) {
    this.where = where
    this.add(stored, canonicalName)
  }

  /** Tensors of further files; a name that is there already is an error. */
  add(stored: readonly StoredTensor[], canonicalName: (name: string) => CanonicalName): void {
    for (const tensor of stored) this.#add(canonicalName(tensor.name), tensor)
  }

  /** Tensors that take the place of those with the same canonical name. */
  replace(name: string, tensor: StoredTensor): void {
    this.#tensors.set(name, tensor)
  }

  #add(name: CanonicalName, tensor: StoredTensor): void {
    if (name === null) return
    if (name === undefined)
      throw unsupported(
        tensor.path,
        `tensor "${tensor.name}" is not part of this architecture`,
        'LLaVA 1.5 (LLaMA without biases, CLIP or SigLIP tower, projector of linear layers)',
      )
    const twin = this.#tensors.get(name)
    if (twin !== undefined)
      throw corrupt(tensor.path, `tensors "${twin.name}" and "${tensor.name}" both stand for ${name}`)
    this.#tensors.set(name, tensor)
  }

  has(name: string): boolean {
    return this.#tensors.has(name)
  }

  get(name: string): StoredTensor {
    const tensor = this.#tensors.get(name)
    if (tensor === undefined) throw corrupt(this.where, `lacks the tensor ${name}`)
    return tensor
  }

  /** One dimension of a tensor that should have `rank` of them. */
  dimension(name: string, axis: number, rank: number): number {
    const { path, name: storedName, shape } = this.get(name)
    const size = shape[axis]
    if (size === undefined || shape.length !== rank)
      throw corrupt(path, `tensor "${storedName}" has shape [${shape.join(', ')}], expected ${rank} dimensions`)
    return size
  }

  /** Layers stored without a gap from 0: as many as have `leaf`. */
  countLayers(stack: string, leaf: string): number {
    let count = 0
    while (this.has(`${stack}.${count}.${leaf}`)) count++
    return count
  }
}

/** What `collectTensors` finds: the directory for native code, and the sums for the card. */
export interface CollectedTensors {
  readonly files: readonly string[]
  readonly tensors: readonly TensorEntry[]
  readonly parameters: number
  readonly weightDtypes: Readonly<Record<string, number>>
}

/** The directory of everything `text` and `vision` need; missing, misshapen or uncomputable tensors are errors. */
export function collectTensors(
  model: StoredModel,
  text: TextConfig,
  vision: VisionConfig | undefined,
  adapter: { readonly modules: readonly LoraModule[]; readonly ropeLayout: TextConfig['ropeLayout'] } | undefined,
): CollectedTensors {
  const collector = new Collector(model)
  for (const wanted of textTensors(text)) collector.add(wanted, wanted.name)
  // Tied embeddings: the output matrix is the embedding's bytes under a second name.
  const head = { name: 'lm_head.weight', shape: [text.vocabSize, text.hiddenSize], isMatrix: true }
  collector.add(head, model.has(head.name) ? head.name : 'language_model.embed_tokens.weight')
  if (vision !== undefined) {
    for (const wanted of towerTensors(vision)) collector.add(wanted, wanted.name)
    for (const wanted of projectorTensors(vision, text.hiddenSize)) collector.add(wanted, wanted.name)
  }
  const permuted =
    text.ropeLayout === 'interleaved' && adapter?.ropeLayout === 'half'
      ? { q_proj: text.heads, k_proj: text.kvHeads }
      : {}
  for (const each of adapter?.modules ?? [])
    if (vision === undefined || !isBeyond(each.module, vision.layers)) collector.addLora(each, permuted)
  return collector
}

/** The directory of everything a CLIP needs. */
export function collectClipTensors(model: StoredModel, config: ClipConfig): CollectedTensors {
  const collector = new Collector(model)
  for (const wanted of clipTensors(config)) collector.add(wanted, wanted.name)
  return collector
}

/** Low-rank change of one linear layer: y += scale * B (A x). */
export interface LoraModule {
  /** Canonical name of the layer, without `.weight`. */
  readonly module: string
  /** [r, in] */
  readonly a: StoredTensor
  /** [out, r] */
  readonly b: StoredTensor
  /** alpha / r */
  readonly scale: number
}

class Collector implements CollectedTensors {
  readonly files: string[] = []
  readonly tensors: TensorEntry[] = []
  readonly weightDtypes: Record<string, number> = {}
  parameters = 0
  readonly #model: StoredModel
  readonly #matrices = new Map<string, readonly number[]>()

  constructor(model: StoredModel) {
    this.#model = model
  }

  add(wanted: Wanted, from: string): void {
    const stored = this.#model.get(from)
    checkWanted(wanted, stored)
    if (wanted.isMatrix) this.#matrices.set(wanted.name, wanted.shape)
    this.#push(wanted.name, stored)
    if (from === wanted.name) this.#count(stored)
  }

  /** @param permuted Heads of the decoder's projections whose rows lie in another order in the adapter than in the model. */
  addLora({ module, a, b, scale }: LoraModule, permuted: { readonly q_proj?: number; readonly k_proj?: number }): void {
    const [out, input] = this.#matrices.get(`${module}.weight`) ?? []
    const rank = a.shape[0]
    if (out === undefined || input === undefined || rank === undefined || embeddings.test(module))
      throw unsupported(a.path, `it changes "${a.name}"`, "the model's linear layers")
    const projection = /^language_model\..*\.self_attn\.([qk]_proj)$/.exec(module)?.[1] as
      keyof typeof permuted | undefined
    const lora = { scale, interleavedHeads: (projection && permuted[projection]) ?? 0 }
    const parts = [
      { name: `${module}.lora_A.weight`, shape: [rank, input], isMatrix: false, stored: a },
      { name: `${module}.lora_B.weight`, shape: [out, rank], isMatrix: false, stored: b, lora },
    ]
    for (const part of parts) {
      checkWanted(part, part.stored)
      this.#push(part.name, part.stored, part.lora)
      this.#count(part.stored)
    }
  }

  #push(name: string, stored: StoredTensor, lora?: LoraWeighing): void {
    const { dtype, shape, offset, nbytes } = stored
    this.tensors.push({
      name,
      dtype: dtype as Dtype,
      shape,
      file: this.#fileIndex(stored.path),
      offset,
      nbytes,
      ...(stored.transposed && { transposed: true }),
      ...(lora && { lora }),
    })
  }

  #count(stored: StoredTensor): void {
    this.parameters += elementCount(stored.shape) ?? 0
    this.weightDtypes[stored.dtype] = (this.weightDtypes[stored.dtype] ?? 0) + stored.nbytes
  }

  #fileIndex(path: string): number {
    const index = this.files.indexOf(path)
    return index >= 0 ? index : this.files.push(path) - 1
  }
}

// Tables of rows to look up, which no linear layer multiplies with.
const embeddings = /embed_tokens$|_embedding$/

/** Layers of the tower that do not run (its last, which a GGUF does not even hold) have nothing to change. */
function isBeyond(module: string, layers: number): boolean {
  const [, layer] = /^vision_tower\.encoder\.layers\.(\d+)\./.exec(module) ?? []
  return layer !== undefined && Number(layer) >= layers
}

function checkWanted(wanted: Wanted, stored: StoredTensor): void {
  const shape = stored.shape.join(', ')
  if (shape !== wanted.shape.join(', '))
    throw corrupt(
      stored.path,
      `tensor "${stored.name}" has shape [${shape}], but the model's other sizes ask for [${wanted.shape.join(', ')}]`,
    )
  const types = wanted.isMatrix ? matrixTypes : floatTypes
  if (!types.has(stored.dtype))
    throw unsupported(
      stored.path,
      `tensor "${stored.name}" has the type ${stored.dtype}`,
      `${[...types].join(', ')} for this tensor`,
    )
}

function* textTensors(c: TextConfig): Generator<Wanted> {
  const [D, F, q, kv] = [c.hiddenSize, c.intermediateSize, c.heads * c.headDim, c.kvHeads * c.headDim]
  yield matrix('language_model.embed_tokens', c.vocabSize, D)
  for (let n = 0; n < c.layers; n++) {
    const layer = `language_model.layers.${n}`
    yield vector(`${layer}.input_layernorm.weight`, D)
    yield matrix(`${layer}.self_attn.q_proj`, q, D)
    yield matrix(`${layer}.self_attn.k_proj`, kv, D)
    yield matrix(`${layer}.self_attn.v_proj`, kv, D)
    yield matrix(`${layer}.self_attn.o_proj`, D, q)
    yield vector(`${layer}.post_attention_layernorm.weight`, D)
    yield matrix(`${layer}.mlp.gate_proj`, F, D)
    yield matrix(`${layer}.mlp.up_proj`, F, D)
    yield matrix(`${layer}.mlp.down_proj`, D, F)
  }
  yield vector('language_model.norm.weight', D)
}

function* towerTensors(c: VisionConfig): Generator<Wanted> {
  const [Dv, Fv, isClip] = [c.hiddenSize, c.intermediateSize, c.tower !== 'siglip']
  yield isClip
    ? vector('vision_tower.embeddings.class_embedding', Dv)
    : vector('vision_tower.embeddings.patch_embedding.bias', Dv)
  yield {
    name: 'vision_tower.embeddings.patch_embedding.weight',
    shape: [Dv, 3, c.patchSize, c.patchSize],
    isMatrix: false,
  }
  yield matrix('vision_tower.embeddings.position_embedding', towerRows(c), Dv)
  if (isClip) yield* layerNorm('vision_tower.pre_layrnorm', Dv)
  for (let n = 0; n < c.layers; n++) yield* clipLayer(`vision_tower.encoder.layers.${n}`, Dv, Fv)
}

function* projectorTensors({ hiddenSize: Dv, projectorLayers = 2 }: VisionConfig, D: number): Generator<Wanted> {
  for (let n = 1; n <= projectorLayers; n++) yield* linear(`multi_modal_projector.linear_${n}`, D, n === 1 ? Dv : D)
}

function* clipTensors({ vision, text, projectionDim }: ClipConfig): Generator<Wanted> {
  yield* towerTensors(vision)
  yield* layerNorm('vision_tower.post_layernorm', vision.hiddenSize)
  if (vision.tower === 'siglip') yield* poolingHead(vision)
  else yield matrix('visual_projection', projectionDim, vision.hiddenSize)
  yield matrix('text_model.embeddings.token_embedding', text.vocabSize, text.hiddenSize)
  yield matrix('text_model.embeddings.position_embedding', text.contextLength, text.hiddenSize)
  for (let n = 0; n < text.layers; n++)
    yield* clipLayer(`text_model.encoder.layers.${n}`, text.hiddenSize, text.intermediateSize)
  yield* layerNorm('text_model.final_layer_norm', text.hiddenSize)
  yield matrix('text_projection', projectionDim, text.hiddenSize)
  if (vision.tower === 'siglip') yield vector('text_projection.bias', projectionDim)
}

function* poolingHead({ hiddenSize: Dv, intermediateSize: Fv }: VisionConfig): Generator<Wanted> {
  const head = 'vision_tower.head'
  yield { name: `${head}.probe`, shape: [1, 1, Dv], isMatrix: false }
  for (const projection of ['q_proj', 'k_proj', 'v_proj', 'out_proj'])
    yield* linear(`${head}.attention.${projection}`, Dv, Dv)
  yield* layerNorm(`${head}.layernorm`, Dv)
  yield* linear(`${head}.mlp.fc1`, Fv, Dv)
  yield* linear(`${head}.mlp.fc2`, Dv, Fv)
}

function* clipLayer(layer: string, Dv: number, Fv: number): Generator<Wanted> {
  yield* layerNorm(`${layer}.layer_norm1`, Dv)
  for (const projection of ['q_proj', 'k_proj', 'v_proj', 'out_proj'])
    yield* linear(`${layer}.self_attn.${projection}`, Dv, Dv)
  yield* layerNorm(`${layer}.layer_norm2`, Dv)
  yield* linear(`${layer}.mlp.fc1`, Fv, Dv)
  yield* linear(`${layer}.mlp.fc2`, Dv, Fv)
}

function* layerNorm(module: string, size: number): Generator<Wanted> {
  yield vector(`${module}.weight`, size)
  yield vector(`${module}.bias`, size)
}

function* linear(module: string, out: number, input: number): Generator<Wanted> {
  yield matrix(module, out, input)
  yield vector(`${module}.bias`, out)
}

function matrix(module: string, out: number, input: number): Wanted {
  return { name: `${module}.weight`, shape: [out, input], isMatrix: true }
}

function vector(name: string, size: number): Wanted {
  return { name, shape: [size], isMatrix: false }
}
