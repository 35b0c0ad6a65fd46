"""The same weights as GGUF: a language model beside an mmproj, or both in one file. Rows of q and k are permuted to the interleaved rope.

Vectors (norms, biases, class embedding) stay F32 as every converter leaves them; position and patch embeddings are F32 or F16.
"""

import gguf
import numpy as np
import sentencepiece
import torch
from gguf import GGMLQuantizationType as Type

FILE_TYPES = {'f32': 0, 'f16': 1, 'q4_0': 2, 'q8_0': 7}
TYPES = {'f32': Type.F32, 'f16': Type.F16, 'q4_0': Type.Q4_0, 'q8_0': Type.Q8_0}

TEXT_LEAVES = {
    'input_layernorm': 'attn_norm', 'post_attention_layernorm': 'ffn_norm', 'self_attn.q_proj': 'attn_q', 'self_attn.k_proj': 'attn_k',
    'self_attn.v_proj': 'attn_v', 'self_attn.o_proj': 'attn_output', 'mlp.gate_proj': 'ffn_gate', 'mlp.up_proj': 'ffn_up', 'mlp.down_proj': 'ffn_down'}
VISION_LEAVES = {
    'layer_norm1': 'ln1', 'layer_norm2': 'ln2', 'self_attn.q_proj': 'attn_q', 'self_attn.k_proj': 'attn_k', 'self_attn.v_proj': 'attn_v',
    'self_attn.out_proj': 'attn_out'}
# CLIP has a class token and a norm in front, SigLIP a bias on its patches.
OF_ONE_TOWER = ['v.class_embd', 'v.pre_ln.weight', 'v.pre_ln.bias', 'v.patch_embd.bias']
FFN = {'legacy': {'mlp.fc1': 'ffn_down', 'mlp.fc2': 'ffn_up'}, 'new': {'mlp.fc1': 'ffn_up', 'mlp.fc2': 'ffn_down'}}


def interleave(weight: np.ndarray, heads: int) -> np.ndarray:
    """Row h*Dh + s*Dh/2 + j moves to h*Dh + 2j + s."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def text_names(config) -> dict:
    """GGUF name -> (module parameter, heads to interleave by, or 0)."""
    names = {'token_embd.weight': ('model.language_model.embed_tokens.weight', 0), 'output_norm.weight': ('model.language_model.norm.weight', 0),
             'output.weight': ('lm_head.weight', 0)}
    heads = {'self_attn.q_proj': config.num_attention_heads, 'self_attn.k_proj': config.num_key_value_heads}
    for l in range(config.num_hidden_layers):
        for leaf, short in TEXT_LEAVES.items():
            names[f'blk.{l}.{short}.weight'] = (f'model.language_model.layers.{l}.{leaf}.weight', heads.get(leaf, 0))
    return names


def vision_names(layers: int, ffn: str) -> dict:
    tower = 'model.vision_tower'
    names = {'v.class_embd': f'{tower}.embeddings.class_embedding', 'v.patch_embd.weight': f'{tower}.embeddings.patch_embedding.weight',
             'v.patch_embd.bias': f'{tower}.embeddings.patch_embedding.bias', 'v.position_embd.weight': f'{tower}.embeddings.position_embedding.weight'}
    for end in ('weight', 'bias'):
        names[f'v.pre_ln.{end}'] = f'{tower}.pre_layrnorm.{end}'
        names[f'mm.0.{end}'] = f'model.multi_modal_projector.linear_1.{end}'
        names[f'mm.2.{end}'] = f'model.multi_modal_projector.linear_2.{end}'
        for l in range(layers):
            for leaf, short in {**VISION_LEAVES, **FFN[ffn]}.items():
                names[f'v.blk.{l}.{short}.{end}'] = f'{tower}.encoder.layers.{l}.{leaf}.{end}'
    return {name: (parameter, 0) for name, parameter in names.items()}


def storage(name: str, shape, weights: str) -> Type:
    if len(shape) < 2:
        return Type.F32
    if name in ('v.patch_embd.weight', 'v.position_embd.weight'):
        return Type.F32 if weights == 'f32' else Type.F16
    if name == 'output.weight' and weights == 'q4_0':
        return Type.Q8_0
    return TYPES[weights]


@torch.no_grad()
def add_tensors(writer, model, names: dict, weights: str, vocab_rows: int, kind_of=None):
    """Writes each tensor and puts the values that a reader will get back into `model`. kind_of(name, shape) may choose another type than the converter."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for name, (parameter_name, heads) in names.items():
        if name in OF_ONE_TOWER and parameter_name not in parameters:
            continue
        parameter = parameters[parameter_name]
        value = parameter.numpy().copy()
        if name in ('token_embd.weight', 'output.weight'):
            value = value[:vocab_rows]
        kind = (kind_of and kind_of(name, value.shape)) or storage(name, value.shape, weights)
        if heads:
            value = interleave(value, heads)
        data = gguf.quants.quantize(value, kind)
        writer.add_tensor(name, data, raw_dtype=kind)
        stored = np.ascontiguousarray(gguf.quants.dequantize(data, kind).reshape(value.shape), np.float32)
        if heads:
            stored = stored.reshape(heads, -1, 2, value.shape[1]).swapaxes(1, 2).reshape(value.shape)
        parameter[:len(stored)].copy_(torch.from_numpy(np.ascontiguousarray(stored)))


def add_text_keys(writer, config, spm: bytes, weights: str):
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters['rope_theta'])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_file_type(FILE_TYPES[weights])
    vocabulary = sentencepiece.SentencePieceProcessor(model_proto=spm)
    ids = range(vocabulary.get_piece_size())
    writer.add_vocab_size(len(ids))
    writer.add_tokenizer_model('llama')
    writer.add_tokenizer_pre('default')
    writer.add_token_list([vocabulary.id_to_piece(i) for i in ids])
    writer.add_token_scores([vocabulary.get_score(i) for i in ids])
    writer.add_token_types([2 if vocabulary.is_unknown(i) else 3 if vocabulary.is_control(i) else 6 if vocabulary.is_byte(i) else 1 for i in ids])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    if weights in ('q4_0', 'q8_0'):
        writer.add_quantization_version(2)


def add_vision_keys(writer, config, layers: int, feature_layer: int | None, mean, std):
    writer.add_bool('clip.has_text_encoder', False)
    writer.add_bool('clip.has_vision_encoder', True)
    writer.add_bool('clip.has_llava_projector', True)
    writer.add_string('clip.projector_type', 'mlp')
    writer.add_bool('clip.use_gelu', config.hidden_act.startswith('gelu'))
    writer.add_uint32('clip.vision.image_size', config.image_size)
    writer.add_uint32('clip.vision.patch_size', config.patch_size)
    writer.add_uint32('clip.vision.embedding_length', config.hidden_size)
    writer.add_uint32('clip.vision.feed_forward_length', config.intermediate_size)
    writer.add_uint32('clip.vision.projection_dim', getattr(config, 'projection_dim', config.hidden_size))
    writer.add_uint32('clip.vision.attention.head_count', config.num_attention_heads)
    writer.add_float32('clip.vision.attention.layer_norm_epsilon', config.layer_norm_eps)
    writer.add_uint32('clip.vision.block_count', layers)
    writer.add_array('clip.vision.image_mean', [float(x) for x in mean])
    writer.add_array('clip.vision.image_std', [float(x) for x in std])
    if feature_layer is not None:
        writer.add_array('clip.vision.feature_layer', [feature_layer])


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
