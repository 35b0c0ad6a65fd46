// LoRA adapters as PEFT and the LLaVA repository save them, and projectors saved by themselves. What a directory may hold:
//   adapter_config.json + adapter_model.safetensors or .bin   A [r, in] and B [out, r] of linear layers: y += alpha / r * B (A x)
//   non_lora_trainables.bin                                    tensors that were trained as a whole: the projector
//   mm_projector.bin                                           the projector of a first training stage
//   config.json                                                LLaVA's own, where the base is a plain language model
// Nothing is merged: the pairs run beside the mapped weights.

import path from 'node:path'
import { readdir, stat } from 'node:fs/promises'
import { LlavaError } from '../errors.js'
import { readJsonFields, type Fields } from './fields.js'
import { isOriginalConfig } from './hf-config.js'
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
  /** alpha / r; present where there are modules. */
  readonly scale?: number
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
  if (settings === undefined && whole.length === 0) throw notFound(directory, 'neither adapter_config.json nor mm_projector.bin is there: this is no adapter')
  const { modules, others } = pairUp(stored, fromHuggingFace)
  return {
    path: directory,
    ...(raw !== undefined && isOriginalConfig(raw) && { config: raw }),
    modules,
    ...(settings !== undefined && modules.length > 0 && { scale: scaleOf(settings, modules) }),
    replacements: [...others, ...whole].map((tensor) => [knownName(tensor, fromHuggingFace(tensor.name)), tensor] as const),
  }
}

async function adapterFiles(directory: string): Promise<ReadonlySet<string>> {
  try {
    if (!(await stat(directory)).isDirectory()) throw unsupported(directory, 'a file as adapter of a checkpoint', 'the directory that holds adapter_config.json')
    return new Set(await readdir(directory))
  } catch (cause) {
    if (cause instanceof LlavaError) throw cause
    throw notFound(directory, 'there is no such adapter', cause)
  }
}

function adapterTensors(directory: string, names: ReadonlySet<string>): Promise<readonly StoredTensor[]> {
  if (names.has('adapter_model.safetensors')) return readSafetensorsHeader(path.join(directory, 'adapter_model.safetensors'))
  if (names.has('adapter_model.bin')) return readPytorchFile(path.join(directory, 'adapter_model.bin'))
  throw notFound(directory, 'adapter_config.json is there, but neither adapter_model.safetensors nor adapter_model.bin')
}

async function wholeTensors(directory: string, names: ReadonlySet<string>): Promise<readonly StoredTensor[]> {
  for (const name of ['non_lora_trainables.bin', 'mm_projector.bin']) if (names.has(name)) return readPytorchFile(path.join(directory, name))
  return []
}

/** `…q_proj.lora_A.weight` and its B; in GGUF `….lora_a`. */
const loraName = /^(.+?)(?:\.weight)?\.lora_([ABab])(?:\.default)?(?:\.weight)?$/

/** Sorts an adapter's tensors into pairs and what is no pair. */
export function pairUp(
  stored: readonly StoredTensor[],
  canonicalName: (name: string) => CanonicalName,
): { readonly modules: readonly LoraModule[]; readonly others: readonly StoredTensor[] } {
  const halves = new Map<string, { a?: StoredTensor; b?: StoredTensor }>()
  const others: StoredTensor[] = []
  for (const tensor of stored) {
    const [, module, half] = loraName.exec(tensor.name) ?? []
    if (module === undefined) {
      others.push(tensor)
      continue
    }
    const name = knownName(tensor, canonicalName(`${module}.weight`)).replace(/\.weight$/, '')
    const pair = halves.get(name) ?? {}
    const side = half?.toLowerCase() === 'a' ? 'a' : 'b'
    if (pair[side] !== undefined) throw corrupt(tensor.path, `tensors "${pair[side].name}" and "${tensor.name}" both change ${name}`)
    halves.set(name, { ...pair, [side]: tensor })
  }
  const modules = [...halves].map(([module, { a, b }]) => {
    if (a !== undefined && b !== undefined) return { module, a, b }
    const lone = (a ?? b) as StoredTensor
    throw corrupt(lone.path, `"${lone.name}" lacks its other half`)
  })
  return { modules, others }
}

function knownName(tensor: StoredTensor, name: CanonicalName): string {
  if (typeof name === 'string') return name
  throw unsupported(tensor.path, `"${tensor.name}" changes something that this architecture does not have`, 'LoRA of linear layers, and whole tensors of LLaVA')
}

// Ways to begin that change the base's weights as well, which the saved adapter then does not say.
const changesBase = /^(?:pissa|olora|corda|loftq)/

function scaleOf(settings: Fields, modules: readonly LoraModule[]): number {
  refuseOtherAdapters(settings)
  const rank = settings.required('r', settings.integer('r'))
  const alpha = settings.required('lora_alpha', settings.number('lora_alpha', 0))
  for (const { a } of modules)
    if (a.shape[0] !== rank) throw corrupt(a.path, `"${a.name}" has rank ${a.shape[0]}, but \`r\` is ${rank}`)
  return alpha / (settings.boolean('use_rslora') === true ? Math.sqrt(rank) : rank)
}

function refuseOtherAdapters(settings: Fields): void {
  const beginning = settings.raw('init_lora_weights')
  const patterns = ['rank_pattern', 'alpha_pattern'].filter((key) => [...(settings.object(key)?.keys() ?? [])].length > 0)
  const refusals: readonly (readonly [boolean, string])[] = [
    [(settings.string('peft_type') ?? 'LORA') !== 'LORA', `adapter type "${settings.string('peft_type')}"`],
    [settings.boolean('use_dora') === true, 'DoRA (`use_dora`)'],
    [settings.boolean('fan_in_fan_out') === true, 'transposed matrices (`fan_in_fan_out`)'],
    [(settings.string('bias') ?? 'none') !== 'none', `trained biases (\`bias\` "${settings.string('bias')}")`],
    [patterns.length > 0, `ranks of their own for some layers (\`${patterns[0]}\`)`],
    [typeof beginning === 'string' && changesBase.test(beginning), `\`init_lora_weights\` "${String(beginning)}", which changes the base's weights`],
    [settings.has('layer_replication'), 'replicated layers (`layer_replication`)'],
  ]
  for (const [applies, what] of refusals) if (applies) throw unsupported(settings.where, what, 'LoRA with one rank')
}
