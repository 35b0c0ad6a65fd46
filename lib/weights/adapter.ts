// LoRA adapters as PEFT and the LLaVA repository save them, and projectors saved by themselves. What a directory may hold:
//   adapter_config.json + adapter_model.safetensors or .bin   A [r, in] and B [out, r] of linear layers: y += alpha / r * B (A x);
//                                                             tensors that were trained as a whole (PEFT's `modules_to_save`)
//   non_lora_trainables.bin                                    tensors that were trained as a whole: the projector
//   mm_projector.bin                                           the projector of a first training stage
//   config.json                                                LLaVA's own, where the base is a plain language model
// Nothing is merged: the pairs run beside the mapped weights.

import path from 'node:path'
import { readdir, stat } from 'node:fs/promises'
import { LlavaError } from '../errors.js'
import { readJsonFields, type Fields } from './fields.js'
import { isOriginalConfig } from './hf-config.js'
import type { TextConfig } from '../native.js'
import type { LoraModule } from './model-tensors.js'
import { corrupt, notFound, unsupported } from './model-error.js'
import { fromHuggingFace, type CanonicalName } from './names.js'
import { readPytorchFile } from './pytorch.js'
import { readSafetensorsHeader } from './safetensors.js'
import type { StoredTensor } from './stored-tensor.js'

export interface Adapter {
  /** Absolute. */
  readonly path: string
  /** The original LLaVA's config.json, where the adapter brings one. */
  readonly config?: Fields
  readonly modules: readonly LoraModule[]
  /** How rows of query and key lie in `modules`. */
  readonly ropeLayout: TextConfig['ropeLayout']
  /** Tensors that take the place of the base's, by canonical name. */
  readonly replacements: readonly (readonly [name: string, tensor: StoredTensor])[]
}

/** Reads the adapter directory at `location`. */
export async function readAdapter(location: string): Promise<Adapter> {
  const directory = path.resolve(location)
  const names = await adapterFiles(directory)
  const raw = await readJsonFields(path.join(directory, 'config.json'))
  const settings = await readJsonFields(path.join(directory, 'adapter_config.json'))
  const stored = settings === undefined ? [] : await adapterTensors(directory, names)
  const whole = await wholeTensors(directory, names)
  if (settings === undefined && whole.length === 0)
    throw notFound(directory, 'neither adapter_config.json nor mm_projector.bin is there: this is no adapter')
  const { pairs, others } = pairUp(stored, fromHuggingFace)
  return {
    path: directory,
    ...(raw !== undefined && isOriginalConfig(raw) && { config: raw }),
    modules: settings === undefined ? [] : weighed(pairs, settings),
    ropeLayout: 'half',
    replacements: [...others, ...whole].flatMap((tensor) => {
      const name = knownName(tensor, fromHuggingFace(tensor.name))
      return name === undefined ? [] : [[name, tensor] as const]
    }),
  }
}

async function adapterFiles(directory: string): Promise<ReadonlySet<string>> {
  try {
    if (!(await stat(directory)).isDirectory())
      throw unsupported(directory, 'a file as adapter of a checkpoint', 'the directory that holds adapter_config.json')
    return new Set(await readdir(directory))
  } catch (cause) {
    if (cause instanceof LlavaError) throw cause
    throw notFound(directory, 'there is no such adapter', cause)
  }
}

function adapterTensors(directory: string, names: ReadonlySet<string>): Promise<readonly StoredTensor[]> {
  if (names.has('adapter_model.safetensors'))
    return readSafetensorsHeader(path.join(directory, 'adapter_model.safetensors'))
  if (names.has('adapter_model.bin')) return readPytorchFile(path.join(directory, 'adapter_model.bin'))
  throw notFound(directory, 'adapter_config.json is there, but neither adapter_model.safetensors nor adapter_model.bin')
}

async function wholeTensors(directory: string, names: ReadonlySet<string>): Promise<readonly StoredTensor[]> {
  for (const name of ['non_lora_trainables.bin', 'mm_projector.bin'])
    if (names.has(name)) return readPytorchFile(path.join(directory, name))
  return []
}

/** `…q_proj.lora_A.weight` and its B; in GGUF `….lora_a`. */
const loraName = /^(.+?)(?:\.weight)?\.lora_([ABab])(?:\.default)?(?:\.weight)?$/

/** A and B of one module, as yet without a weight. */
export interface LoraPair extends Omit<LoraModule, 'scale'> {
  /** The file's name for the module. */
  readonly storedName: string
}

/** Sorts an adapter's tensors into pairs and what is no pair. Modules that no computation uses are left out. */
export function pairUp(
  stored: readonly StoredTensor[],
  canonicalName: (name: string) => CanonicalName,
): { readonly pairs: readonly LoraPair[]; readonly others: readonly StoredTensor[] } {
  const halves = new Map<string, { a?: StoredTensor; b?: StoredTensor; storedName: string }>()
  const others: StoredTensor[] = []
  for (const tensor of stored) {
    const [, module, half] = loraName.exec(tensor.name) ?? []
    if (module === undefined) {
      others.push(tensor)
      continue
    }
    const name = knownName(tensor, canonicalName(`${module}.weight`))?.replace(/\.weight$/, '')
    if (name === undefined) continue
    const pair = halves.get(name) ?? { storedName: module }
    const side = half?.toLowerCase() === 'a' ? 'a' : 'b'
    if (pair[side] !== undefined)
      throw corrupt(tensor.path, `tensors "${pair[side].name}" and "${tensor.name}" both change ${name}`)
    halves.set(name, { ...pair, [side]: tensor })
  }
  const pairs = [...halves].map(([module, { a, b, storedName }]) => {
    if (a !== undefined && b !== undefined) return { module, storedName, a, b }
    const lone = (a ?? b) as StoredTensor
    throw corrupt(lone.path, `"${lone.name}" lacks its other half`)
  })
  return { pairs, others }
}

/** `undefined` for what no computation reads. */
function knownName(tensor: StoredTensor, name: CanonicalName): string | undefined {
  if (name !== undefined) return name ?? undefined
  throw unsupported(
    tensor.path,
    `"${tensor.name}" changes something that this architecture does not have`,
    'LoRA of linear layers, and whole tensors of LLaVA',
  )
}

// Ways to begin that change the base's weights as well, which the saved adapter then does not say.
const changesBase = /^(?:pissa|olora|corda|loftq|lora_ga)/

/** The pairs with their scales: alpha / r, or alpha / sqrt(r) where the adapter is rank-stabilised. */
function weighed(pairs: readonly LoraPair[], settings: Fields): readonly LoraModule[] {
  refuseOtherAdapters(settings)
  const rank = settings.required('r', settings.integer('r'))
  const alpha = settings.required('lora_alpha', settings.number('lora_alpha', 0))
  const [ownRanks, ownAlphas] = [patternsOf(settings, 'rank_pattern'), patternsOf(settings, 'alpha_pattern')]
  const isStabilised = settings.boolean('use_rslora') === true
  return pairs.map(({ module, storedName, a, b }) => {
    const peftName = storedName.replace(/^base_model\.model\./, '')
    const ownRank = ownRanks(peftName) ?? rank
    if (a.shape[0] !== ownRank)
      throw corrupt(a.path, `"${a.name}" has rank ${a.shape[0]}, but \`r\` or \`rank_pattern\` says ${ownRank}`)
    return { module, a, b, scale: (ownAlphas(peftName) ?? alpha) / (isStabilised ? Math.sqrt(ownRank) : ownRank) }
  })
}

/** `rank_pattern`, `alpha_pattern`: the first whose key ends a module's name counts for it; one with `^` must be all of the name. */
function patternsOf(settings: Fields, key: string): (module: string) => number | undefined {
  const patterns = settings.object(key)
  const values = [...(patterns?.keys() ?? [])].map((pattern) => {
    const name = pattern.replaceAll('\\.', '.')
    if (!/^\^?[\w.]+$/.test(name))
      throw unsupported(settings.where, `\`${key}\` for the modules "${pattern}"`, 'names of modules, or their ends')
    return {
      suffix: name.replace(/^\^/, ''),
      isWhole: name.startsWith('^'),
      value: patterns?.required(pattern, patterns.number(pattern, 0)),
    }
  })
  return (module) =>
    values.find(({ suffix, isWhole }) => module === suffix || (!isWhole && module.endsWith(`.${suffix}`)))?.value
}

function refuseOtherAdapters(settings: Fields): void {
  const beginning = settings.raw('init_lora_weights')
  const refusals: readonly (readonly [boolean, string])[] = [
    [(settings.string('peft_type') ?? 'LORA') !== 'LORA', `adapter type "${settings.string('peft_type')}"`],
    [settings.boolean('use_dora') === true, 'DoRA (`use_dora`)'],
    [settings.boolean('fan_in_fan_out') === true, 'transposed matrices (`fan_in_fan_out`)'],
    [(settings.string('bias') ?? 'none') !== 'none', `trained biases (\`bias\` "${settings.string('bias')}")`],
    [
      typeof beginning === 'string' && changesBase.test(beginning),
      `\`init_lora_weights\` "${String(beginning)}", which changes the base's weights`,
    ],
    [settings.has('alora_invocation_tokens'), 'an adapter that works from some token on (`alora_invocation_tokens`)'],
    [settings.boolean('use_qalora') === true, 'pooled inputs (`use_qalora`)'],
    [settings.has('layer_replication'), 'replicated layers (`layer_replication`)'],
  ]
  for (const [applies, what] of refusals) if (applies) throw unsupported(settings.where, what, 'plain LoRA')
}
