// File names of tensors -> canonical names (Hugging Face's module paths; model-tensors.ts lists them).
// transformers has written one model under several prefixes:
//   language_model.model.layers.0…   model.language_model.layers.0…   model.layers.0… (text only)
//   vision_tower.vision_model.encoder…   vision_tower.encoder…   model.vision_tower.vision_tower.vision_model.encoder…
// The modules of the prefix say which part it is; what is left after them is the same in all.

/** The canonical name; `null` for a tensor that no computation reads; `undefined` for one this architecture does not have. */
export type CanonicalName = string | null | undefined

const prefix = /^(?:(?:model|language_model|vision_tower|vision_model|multi_modal_projector)\.)*/
const unused = /(?:^|\.)(?:rotary_emb\.inv_freq|position_ids|post_layernorm\.(?:weight|bias))$/

const known = new RegExp(
  [
    String.raw`lm_head\.weight`,
    String.raw`language_model\.(?:embed_tokens|norm)\.weight`,
    String.raw`language_model\.layers\.\d+\.(?:input_layernorm|post_attention_layernorm|self_attn\.[qkvo]_proj|mlp\.(?:gate|up|down)_proj)\.weight`,
    String.raw`multi_modal_projector\.linear_[12]\.(?:weight|bias)`,
    String.raw`vision_tower\.embeddings\.(?:class_embedding|(?:patch|position)_embedding\.weight)`,
    String.raw`vision_tower\.pre_layrnorm\.(?:weight|bias)`,
    String.raw`vision_tower\.encoder\.layers\.\d+\.(?:layer_norm[12]|self_attn\.(?:[qkv]|out)_proj|mlp\.fc[12])\.(?:weight|bias)`,
  ]
    .map((name) => `^${name}$`)
    .join('|'),
)

/** Hugging Face checkpoints of LlavaForConditionalGeneration and LlamaForCausalLM, in every layout. */
export function fromHuggingFace(name: string): CanonicalName {
  if (unused.test(name)) return null
  const modules = prefix.exec(name)?.[0] ?? ''
  const rest = name.slice(modules.length)
  const canonical = rest === 'lm_head.weight' ? rest : `${partOf(modules)}.${rest}`
  return known.test(canonical) ? canonical : undefined
}

function partOf(modules: string): string {
  if (/vision_(?:tower|model)/.test(modules)) return 'vision_tower'
  return modules.includes('multi_modal_projector') ? 'multi_modal_projector' : 'language_model'
}

const ggufWhole: ReadonlyMap<string, string> = new Map([
  ['token_embd.weight', 'language_model.embed_tokens.weight'],
  ['output_norm.weight', 'language_model.norm.weight'],
  ['output.weight', 'lm_head.weight'],
  ['v.class_embd', 'vision_tower.embeddings.class_embedding'],
  ['v.patch_embd.weight', 'vision_tower.embeddings.patch_embedding.weight'],
  ['v.position_embd.weight', 'vision_tower.embeddings.position_embedding.weight'],
  ['v.pre_ln.weight', 'vision_tower.pre_layrnorm.weight'],
  ['v.pre_ln.bias', 'vision_tower.pre_layrnorm.bias'],
  ['mm.0.weight', 'multi_modal_projector.linear_1.weight'],
  ['mm.0.bias', 'multi_modal_projector.linear_1.bias'],
  ['mm.2.weight', 'multi_modal_projector.linear_2.weight'],
  ['mm.2.bias', 'multi_modal_projector.linear_2.bias'],
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
  const vision = /^v\.blk\.(\d+)\.(\w+)\.(weight|bias)$/.exec(name)
  if (vision === null) return ggufWhole.get(name)
  const leaf = ffnDownIsFirst ? swapped(vision[2]) : vision[2]
  return joined(`vision_tower.encoder.layers.${vision[1]}`, ggufVisionLeaf.get(leaf ?? ''), vision[3])
}

function joined(block: string, leaf: string | undefined, kind = 'weight'): string | undefined {
  return leaf === undefined ? undefined : `${block}.${leaf}.${kind}`
}

function swapped(leaf: string | undefined): string | undefined {
  if (leaf === 'ffn_down') return 'ffn_up'
  return leaf === 'ffn_up' ? 'ffn_down' : leaf
}
