// File names of tensors -> canonical names (Hugging Face's module paths; model-tensors.ts lists them).
// transformers has written one model under several prefixes:
//   language_model.model.layers.0…   model.language_model.layers.0…   model.layers.0… (text only)
//   vision_tower.vision_model.encoder…   vision_tower.encoder…   model.vision_tower.vision_tower.vision_model.encoder…
//   multi_modal_projector.linear_1…   model.mm_projector.0… (original LLaVA; a linear one is model.mm_projector.weight)
// The modules of the prefix say which part it is; what is left after them is the same in all.

/** The canonical name; `null` for a tensor that no computation reads; `undefined` for one this architecture does not have. */
export type CanonicalName = string | null | undefined

const prefix =
  /^(?:(?:base_model|model|language_model|vision_tower|vision_model|multi_modal_projector|mm_projector)\.)*/
const unused =
  /(?:^|\.)(?:rotary_emb\.inv_freq|position_ids|post_layernorm\.(?:weight|bias))$|(?:^|\.)vision_(?:tower|model)\.head\./

const known = new RegExp(
  [
    String.raw`lm_head\.weight`,
    String.raw`language_model\.(?:embed_tokens|norm)\.weight`,
    String.raw`language_model\.layers\.\d+\.(?:input_layernorm|post_attention_layernorm|self_attn\.[qkvo]_proj|mlp\.(?:gate|up|down)_proj)\.weight`,
    String.raw`multi_modal_projector\.linear_\d+\.(?:weight|bias)`,
    String.raw`vision_tower\.embeddings\.(?:class_embedding|(?:patch|position)_embedding\.weight|patch_embedding\.bias)`,
    String.raw`vision_tower\.pre_layrnorm\.(?:weight|bias)`,
    String.raw`vision_tower\.encoder\.layers\.\d+\.(?:layer_norm[12]|self_attn\.(?:[qkv]|out)_proj|mlp\.fc[12])\.(?:weight|bias)`,
  ]
    .map((name) => `^${name}$`)
    .join('|'),
)

/** Checkpoints of transformers and of the original LLaVA, in every layout; adapters too, whose names begin with `base_model.model`. */
export function fromHuggingFace(name: string): CanonicalName {
  if (unused.test(name)) return null
  const modules = prefix.exec(name)?.[0] ?? ''
  const rest = name.slice(modules.length)
  if (modules.endsWith('mm_projector.')) return projectorName(rest)
  const canonical = rest === 'lm_head.weight' ? rest : `${partOf(modules)}.${rest}`
  return known.test(canonical) ? canonical : undefined
}

function partOf(modules: string): string {
  if (/vision_(?:tower|model)/.test(modules)) return 'vision_tower'
  return /multi_modal_projector|mm_projector/.test(modules) ? 'multi_modal_projector' : 'language_model'
}

/** `2.weight` is the second linear of a Sequential in which activations stand between them; a linear projector is no Sequential. */
function projectorName(leaf: string): string | undefined {
  const [, index = '0', kind] = /^(?:(\d{1,3})\.)?(weight|bias)$/.exec(leaf) ?? []
  return kind === undefined || Number(index) % 2 !== 0
    ? undefined
    : `multi_modal_projector.linear_${Number(index) / 2 + 1}.${kind}`
}

const clipWhole: ReadonlyMap<string, string> = new Map([
  ['vision_model.post_layernorm.weight', 'vision_tower.post_layernorm.weight'],
  ['vision_model.post_layernorm.bias', 'vision_tower.post_layernorm.bias'],
])
const clipOwn =
  /^(?:visual_projection\.weight|text_projection\.weight|text_model\.(?:embeddings\.(?:token|position)_embedding\.weight|final_layer_norm\.(?:weight|bias)|encoder\.layers\.\d+\.(?:layer_norm[12]|self_attn\.(?:[qkv]|out)_proj|mlp\.fc[12])\.(?:weight|bias)))$/

/** A CLIP checkpoint (CLIPModel, or CLIPVisionModel, which newer transformers saves without a prefix). */
export function fromClip(name: string): CanonicalName {
  if (name === 'logit_scale') return null
  const full = /^(?:(?:vision|text)_model|(?:visual|text)_projection)\./.test(name) ? name : `vision_model.${name}`
  return clipWhole.get(full) ?? (clipOwn.test(full) ? full : fromHuggingFace(full))
}

const siglipOwn =
  /^vision_model\.head\.(?:probe|(?:attention\.(?:[qkv]|out)_proj|layernorm|mlp\.fc[12])\.(?:weight|bias))$/

/** A SigLIP checkpoint (SiglipModel), its pooling head's fused matrix in three. */
export function fromSiglip(name: string): CanonicalName {
  if (name === 'logit_bias') return null
  if (siglipOwn.test(name)) return name.replace('vision_model', 'vision_tower')
  return name.startsWith('text_model.head.') ? name.replace('text_model.head', 'text_projection') : fromClip(name)
}

/** Of a CLIP checkpoint, what a LLaVA without a tower of its own takes. */
export function towerFromClip(name: string): CanonicalName {
  const canonical = fromClip(name)
  return canonical?.startsWith('vision_tower.') === true && !canonical.includes('post_layernorm') ? canonical : null
}

const ggufWhole: ReadonlyMap<string, string> = new Map([
  ['token_embd.weight', 'language_model.embed_tokens.weight'],
  ['output_norm.weight', 'language_model.norm.weight'],
  ['output.weight', 'lm_head.weight'],
  ['v.class_embd', 'vision_tower.embeddings.class_embedding'],
  ['v.patch_embd.weight', 'vision_tower.embeddings.patch_embedding.weight'],
  ['v.patch_embd.bias', 'vision_tower.embeddings.patch_embedding.bias'],
  ['v.position_embd.weight', 'vision_tower.embeddings.position_embedding.weight'],
  ['v.pre_ln.weight', 'vision_tower.pre_layrnorm.weight'],
  ['v.pre_ln.bias', 'vision_tower.pre_layrnorm.bias'],
])

const ggufTextLeaf: ReadonlyMap<string, string> = new Map([
  ['attn_norm', 'input_layernorm'],
  ['attn_q', 'self_attn.q_proj'],
  ['attn_k', 'self_attn.k_proj'],
  ['attn_v', 'self_attn.v_proj'],
  ['attn_output', 'self_attn.o_proj'],
  ['ffn_norm', 'post_attention_layernorm'],
  ['ffn_gate', 'mlp.gate_proj'],
  ['ffn_up', 'mlp.up_proj'],
  ['ffn_down', 'mlp.down_proj'],
])

const ggufVisionLeaf: ReadonlyMap<string, string> = new Map([
  ['attn_q', 'self_attn.q_proj'],
  ['attn_k', 'self_attn.k_proj'],
  ['attn_v', 'self_attn.v_proj'],
  ['attn_out', 'self_attn.out_proj'],
  ['ln1', 'layer_norm1'],
  ['ln2', 'layer_norm2'],
  ['ffn_up', 'mlp.fc1'],
  ['ffn_down', 'mlp.fc2'],
])

/**
 * GGUF files of architectures llama, clip and llava.
 * @param ffnDownIsFirst The old converter calls the tower's first MLP matrix `ffn_down`; the caller sees that by its shape.
 */
export function fromGguf(name: string, ffnDownIsFirst: boolean): CanonicalName {
  if (/^v\.post_ln\.(?:weight|bias)$|^rope_freqs\.weight$|\.attn_rot_embd\.weight$/.test(name)) return null
  const text = /^blk\.(\d+)\.(\w+)\.weight$/.exec(name)
  if (text !== null) return joined(`language_model.layers.${text[1]}`, ggufTextLeaf.get(text[2] ?? ''))
  const projector = /^mm\.((?:\d{1,3}\.)?(?:weight|bias))$/.exec(name)
  if (projector !== null) return projectorName(projector[1] ?? '')
  const vision = /^v\.blk\.(\d+)\.(\w+)\.(weight|bias)$/.exec(name)
  if (vision === null) return ggufWhole.get(name)
  const leaf = ffnDownIsFirst ? swapped(vision[2]) : vision[2]
  return joined(`vision_tower.encoder.layers.${vision[1]}`, ggufVisionLeaf.get(leaf ?? ''), vision[3])
}

/** The name that `fromGguf` turns back into `canonical`, of the newer naming; for the tensors of a LLaVA. */
export function toGguf(canonical: string): string {
  const [, text, textLeaf] = /^language_model\.layers\.(\d+)\.(.*)\.weight$/.exec(canonical) ?? []
  if (text !== undefined) return `blk.${text}.${keyOf(ggufTextLeaf, textLeaf)}.weight`
  const [, vision, visionLeaf, kind] =
    /^vision_tower\.encoder\.layers\.(\d+)\.(.*)\.(weight|bias)$/.exec(canonical) ?? []
  if (vision !== undefined) return `v.blk.${vision}.${keyOf(ggufVisionLeaf, visionLeaf)}.${kind}`
  // LLaVA's projector is a Sequential: activations take the odd numbers.
  const [, linear, end] = /^multi_modal_projector\.linear_(\d+)\.(weight|bias)$/.exec(canonical) ?? []
  return linear === undefined ? keyOf(ggufWhole, canonical) : `mm.${2 * Number(linear) - 2}.${end}`
}

const ggufClipWhole: ReadonlyMap<string, string> = new Map([
  ['v.post_ln.weight', 'vision_tower.post_layernorm.weight'],
  ['v.post_ln.bias', 'vision_tower.post_layernorm.bias'],
  ['visual_projection.weight', 'visual_projection.weight'],
  ['t.token_embd.weight', 'text_model.embeddings.token_embedding.weight'],
  ['t.position_embd.weight', 'text_model.embeddings.position_embedding.weight'],
  ['t.post_ln.weight', 'text_model.final_layer_norm.weight'],
  ['t.post_ln.bias', 'text_model.final_layer_norm.bias'],
  ['text_projection.weight', 'text_projection.weight'],
  ['text_projection.bias', 'text_projection.bias'],
  ['v.head.probe', 'vision_tower.head.probe'],
  ...Object.entries({
    attn_q: 'attention.q_proj',
    attn_k: 'attention.k_proj',
    attn_v: 'attention.v_proj',
    attn_out: 'attention.out_proj',
    ln: 'layernorm',
    ffn_up: 'mlp.fc1',
    ffn_down: 'mlp.fc2',
  }).flatMap(([leaf, module]) =>
    ['weight', 'bias'].map((kind) => [`v.head.${leaf}.${kind}`, `vision_tower.head.${module}.${kind}`] as const),
  ),
])

/**
 * GGUF files of architecture clip that hold both towers: the vision tower's names are those of every GGUF, the text
 * tower's clip.cpp's.
 */
export function fromClipGguf(name: string): CanonicalName {
  const whole = ggufClipWhole.get(name)
  if (whole !== undefined) return whole
  const [, layer, leaf = '', kind] = /^t\.blk\.(\d+)\.(\w+)\.(weight|bias)$/.exec(name) ?? []
  if (layer === undefined) return name.startsWith('v.') ? fromGguf(name, false) : undefined
  return joined(`text_model.encoder.layers.${layer}`, ggufVisionLeaf.get(leaf), kind)
}

/** The name that `fromClipGguf` turns back into `canonical`. */
export function toClipGguf(canonical: string): string {
  const [, layer, leaf, kind] = /^text_model\.encoder\.layers\.(\d+)\.(.*)\.(weight|bias)$/.exec(canonical) ?? []
  if (layer !== undefined) return `t.blk.${layer}.${keyOf(ggufVisionLeaf, leaf)}.${kind}`
  return [...ggufClipWhole.values()].includes(canonical) ? keyOf(ggufClipWhole, canonical) : toGguf(canonical)
}

function keyOf(names: ReadonlyMap<string, string>, value: string | undefined): string {
  for (const [key, each] of names) if (each === value) return key
  throw new Error(`GGUF has no name for ${value}`)
}

function joined(block: string, leaf: string | undefined, kind = 'weight'): string | undefined {
  return leaf === undefined ? undefined : `${block}.${leaf}.${kind}`
}

function swapped(leaf: string | undefined): string | undefined {
  if (leaf === 'ffn_down') return 'ffn_up'
  return leaf === 'ffn_up' ? 'ffn_down' : leaf
}
