"""Goldens of the layouts that transformers itself does not open: the original LLaVA's directories, adapters, GGUF in parts and in k-quants, Mistral's window.

The reference is a transformers model with the same values: adapters merged in float32, quantised tensors dequantised.

usage: python3 test/oracle/make_layout_goldens.py [case…]     (original-bin first: others use its CLIP directory)
"""

import collections
import json
import os
import shutil
import sys

import gguf
import numpy as np
import peft
import torch
from gguf import GGMLQuantizationType as Type
from safetensors.torch import load_file, save_file as save_torch
from transformers import CLIPConfig, CLIPModel, LlamaTokenizer, LlavaForConditionalGeneration, MistralConfig

import gguf_files
import kquants
import make_goldens
import stages
import tiny_llava
import tiny_tokenizer
from make_goldens import GOLDEN, MEAN, NEW_TOKENS, PATCH14_VISION, PIECES, REFERENCE_IMAGE_ID, SMALL_TEXT, SMALL_VISION, STD, picture, steady
from tiny_tokenizer import write_json

SHARED_CLIP = os.path.join(GOLDEN, 'original-bin', 'clip-vit-tiny')
TEXT = {**SMALL_TEXT, 'pad_token_id': 0}
LONG_REPEATS = 52  # for 700 positions and a few
LORA_TARGETS = ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj']


# ---- pieces of the original layout

def original_name(name: str) -> str | None:
    """A parameter of transformers as the original LLaVA calls it; None for the tower, which lies in its own directory."""
    if name.startswith('model.vision_tower.'):
        return None
    for new, old in (('model.language_model.', 'model.'), ('model.multi_modal_projector.linear_1.', 'model.mm_projector.0.'),
                     ('model.multi_modal_projector.linear_2.', 'model.mm_projector.2.'), ('model.multi_modal_projector.', 'model.mm_projector.')):
        if name.startswith(new):
            return old + name[len(new):]
    return name


def original_tensors(model, dtype) -> dict:
    named = ((original_name(name), parameter) for name, parameter in model.named_parameters())
    return {name: parameter.detach().to(dtype).contiguous() for name, parameter in named if name is not None}


def text_config(model, architecture: str, kind: str) -> dict:
    """As transformers 4.31 wrote it."""
    c = model.config.text_config
    return {'architectures': [architecture], 'model_type': kind, 'hidden_size': c.hidden_size, 'intermediate_size': c.intermediate_size,
            'num_hidden_layers': c.num_hidden_layers, 'num_attention_heads': c.num_attention_heads, 'num_key_value_heads': c.num_key_value_heads,
            'max_position_embeddings': c.max_position_embeddings, 'rms_norm_eps': c.rms_norm_eps, 'rope_scaling': None, 'vocab_size': c.vocab_size,
            'hidden_act': 'silu', 'bos_token_id': 1, 'eos_token_id': 2, 'pad_token_id': 0, 'tie_word_embeddings': False, 'torch_dtype': 'float16',
            'transformers_version': '4.31.0', 'use_cache': True}


def llava_keys(**changes) -> dict:
    return {'freeze_mm_mlp_adapter': False, 'image_aspect_ratio': 'pad', 'mm_hidden_size': 32, 'mm_projector_type': 'mlp2x_gelu', 'mm_use_im_patch_token': False,
            'mm_use_im_start_end': False, 'mm_vision_select_feature': 'patch', 'mm_vision_select_layer': -2, 'mm_vision_tower': 'openai/clip-vit-tiny', **changes}


def save_text_tokenizer(checkpoint: str, spm: bytes):
    with open(os.path.join(checkpoint, 'tokenizer.model'), 'wb') as file:
        file.write(spm)
    write_json(checkpoint, 'tokenizer_config.json', {
        'add_bos_token': True, 'add_eos_token': False, 'bos_token': '<s>', 'eos_token': '</s>', 'unk_token': '<unk>', 'legacy': False,
        'model_max_length': 256, 'tokenizer_class': 'LlamaTokenizer'})


def save_clip(directory: str, tower) -> CLIPModel:
    """A whole CLIP around the tower, weights as a .bin of float16, tokenizer as vocab.json and merges.txt."""
    torch.manual_seed(7)
    text = {'hidden_size': 24, 'intermediate_size': 48, 'num_hidden_layers': 2, 'num_attention_heads': 2, 'max_position_embeddings': 20, 'vocab_size': 520,
            'bos_token_id': 518, 'eos_token_id': 519, 'projection_dim': 16}
    config = CLIPConfig(text_config=text, vision_config=tower.config.to_dict(), projection_dim=16)
    config._attn_implementation = 'eager'
    clip = CLIPModel(config).eval()
    tiny_llava.randomize(clip, 11, False)
    clip.vision_model.load_state_dict(tower.state_dict())
    make_goldens.round_parameters(clip, torch.float16)
    os.makedirs(directory)
    clip.config.save_pretrained(directory)
    torch.save({name: value.half() if value.is_floating_point() else value for name, value in clip.state_dict().items()}, os.path.join(directory, 'pytorch_model.bin'))
    size = tower.config.image_size
    write_json(directory, 'preprocessor_config.json', {
        'crop_size': size, 'do_center_crop': True, 'do_normalize': True, 'do_resize': True, 'feature_extractor_type': 'CLIPFeatureExtractor', 'image_mean': MEAN,
        'image_std': STD, 'resample': 3, 'size': size})
    save_clip_tokenizer(directory)
    return clip


def save_clip_tokenizer(directory: str):
    """CLIP's byte alphabet, with and without the end-of-word mark, six merges and the two specials."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    alphabet = [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]
    merges = ['c a', 'ca t</w>', 'd o', 'do g</w>', 'r e', 're d</w>']
    vocabulary = alphabet + [c + '</w>' for c in alphabet] + [merge.replace(' ', '') for merge in merges] + ['<|startoftext|>', '<|endoftext|>']
    with open(os.path.join(directory, 'vocab.json'), 'w', encoding='utf-8') as file:
        json.dump({piece: i for i, piece in enumerate(vocabulary)}, file, ensure_ascii=False)
    with open(os.path.join(directory, 'merges.txt'), 'w', encoding='utf-8') as file:
        file.write('\n'.join(['#version: 0.2', *merges, '']))


@torch.no_grad()
def clip_embeddings(clip: CLIPModel, path: str, directory: str):
    from PIL import Image
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    size = clip.config.vision_config.image_size
    processor = CLIPImageProcessorPil(size={'shortest_edge': size}, crop_size={'height': size, 'width': size}, image_mean=MEAN, image_std=STD)
    pixel_values = processor(Image.open(path), return_tensors='pt')['pixel_values']
    input_ids = torch.tensor([[518, 512 + 1, 512 + 5, 519]])
    image = clip.visual_projection(clip.vision_model(pixel_values).pooler_output)
    text = clip.text_projection(clip.text_model(input_ids).pooler_output)
    save_torch({'pixel_values': pixel_values, 'image_embedding': image[0].contiguous(), 'input_ids': input_ids[0].to(torch.int32), 'text_embedding': text[0].contiguous()},
               os.path.join(directory, 'clip.safetensors'))


# ---- what the cases share

def run_original(name: str, directory: str, spm: bytes, make_model, ids_of, pad: bool, picture_size, prompt: str, forbidden=(0, 1, 2)):
    """The first seed whose greedy text is steady."""
    path = os.path.join(directory, 'picture.png')
    picture(*picture_size, seed=len(name)).save(path)
    for seed in range(1, 400):
        model = make_model(seed)
        size = model.config.vision_config.image_size
        rows = (size // model.config.vision_config.patch_size) ** 2
        pixel_values = pixels(path, size, pad)
        result = stages.run(model, pixel_values, torch.tensor([ids_of(prompt, rows)]), REFERENCE_IMAGE_ID, NEW_TOKENS)
        if steady(result, forbidden):
            return model, result
    raise SystemExit(f'{name}: no seed gives steady greedy text')


def pixels(path: str, size: int, pad: bool) -> torch.Tensor:
    if pad:
        return make_goldens.padded_pixel_values(path, size)
    from PIL import Image
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    processor = CLIPImageProcessorPil(size={'shortest_edge': size}, crop_size={'height': size, 'width': size}, image_mean=MEAN, image_std=STD)
    return processor(Image.open(path), return_tensors='pt')['pixel_values']


def finish(name, directory, result, prompt, **case):
    make_goldens.finish_case(name, directory, result, {'image': 'picture.png', 'prompt': prompt, 'maxTokens': NEW_TOKENS, **case})


@torch.no_grad()
def take_shared_tower(model):
    state = torch.load(os.path.join(SHARED_CLIP, 'pytorch_model.bin'), weights_only=True)
    model.model.vision_tower.load_state_dict({name.removeprefix('vision_model.'): value for name, value in state.items() if name.startswith('vision_model.')})


# ---- the cases

def original_bin():
    """Two .bin shards in f16, CLIP directory beside, found by its name."""
    name = 'original-bin'
    directory, checkpoint = make_goldens.fresh(name)
    spm = tiny_tokenizer.train(PIECES)
    save_text_tokenizer(checkpoint, spm)

    def make(seed):
        model = tiny_llava.build(SMALL_VISION, TEXT, {}, PIECES, PIECES, seed)
        make_goldens.round_parameters(model, torch.float16)
        return model

    prompt = 'USER: <image>\nWhat is it? ASSISTANT:'
    model, result = run_original(name, directory, spm, make, lambda text, rows: make_goldens.chunked_ids(spm, text, rows), True, (57, 40), prompt)
    tensors = original_tensors(model, torch.float16)
    names, index = sorted(tensors), {}
    for part, chosen in enumerate((names[:len(names) // 2], names[len(names) // 2:]), 1):
        file = f'pytorch_model-0000{part}-of-00002.bin'
        shard = collections.OrderedDict((each, tensors[each]) for each in chosen)
        shard._metadata = collections.OrderedDict([('', {'version': 1})])
        torch.save(shard, os.path.join(checkpoint, file))
        index.update({each: file for each in chosen})
    write_json(checkpoint, 'pytorch_model.bin.index.json', {'metadata': {'total_size': sum(t.nbytes for t in tensors.values())}, 'weight_map': index})
    write_json(checkpoint, 'config.json', {**text_config(model, 'LlavaLlamaForCausalLM', 'llava'), **llava_keys()})
    write_json(checkpoint, 'generation_config.json', {'bos_token_id': 1, 'eos_token_id': 2, 'pad_token_id': 0, 'temperature': 0.9, 'top_p': 0.6})
    clip = save_clip(os.path.join(directory, 'clip-vit-tiny'), model.model.vision_tower)
    clip_embeddings(clip, os.path.join(directory, 'picture.png'), directory)
    finish(name, directory, result, prompt, model='checkpoint', kind='hf-directory', weights='float16', imageAspectRatio='pad', eosTokenIds=[2])


def original_linear():
    """The first LLaVA: linear projector, <im_start> and <im_end> around the image, pictures cropped, one .bin in bf16, tower by option."""
    name = 'original-linear'
    directory, checkpoint = make_goldens.fresh(name)
    spm = tiny_tokenizer.train(PIECES)
    save_text_tokenizer(checkpoint, spm)
    tokens = ['<im_patch>', '<im_start>', '<im_end>']
    tokenizer = LlamaTokenizer.from_pretrained(checkpoint, legacy=False)
    tokenizer.add_tokens(tokens, special_tokens=True)
    assert tokenizer.convert_tokens_to_ids(tokens) == [PIECES, PIECES + 1, PIECES + 2]
    write_json(checkpoint, 'added_tokens.json', {token: PIECES + i for i, token in enumerate(tokens)})

    def make(seed):
        model = tiny_llava.build(SMALL_VISION, {**TEXT, 'rms_norm_eps': 1e-6}, {}, PIECES + 3, PIECES + 3, seed)
        model.model.multi_modal_projector = torch.nn.Linear(32, 32)
        tiny_llava.randomize(model, seed, False)
        make_goldens.round_parameters(model, torch.bfloat16)
        take_shared_tower(model)
        return model

    def ids_of(text, rows):
        before, after = text.split('<image>')
        first, second = tokenizer(before + '<im_start>')['input_ids'], tokenizer('<im_end>' + after)['input_ids']
        assert first[0] == second[0] == 1
        return first + [REFERENCE_IMAGE_ID] * rows + second[1:]

    prompt = 'A chat.###Human: <image>\nWhat is it?###Assistant:'
    model, result = run_original(name, directory, spm, make, ids_of, False, (33, 50), prompt, (0, 1, 2, PIECES, PIECES + 1, PIECES + 2))
    torch.save(original_tensors(model, torch.bfloat16), os.path.join(checkpoint, 'pytorch_model.bin'))
    keys = llava_keys(mm_projector_type='linear', mm_use_im_start_end=True, mm_use_im_patch_token=True)
    keys.pop('image_aspect_ratio')
    write_json(checkpoint, 'config.json', {**text_config(model, 'LlavaLlamaForCausalLM', 'llava_llama'), **keys})
    finish(name, directory, result, prompt, model='checkpoint', visionTower='../original-bin/clip-vit-tiny', kind='hf-directory', weights='bfloat16',
           imageAspectRatio='crop', eosTokenIds=[2])


def original_lora():
    """A plain language model, and an adapter of the LLaVA repository that makes a LLaVA of it."""
    name = 'original-lora'
    directory, base = make_goldens.fresh(name)
    adapter = os.path.join(directory, 'adapter')
    os.makedirs(adapter)
    spm = tiny_tokenizer.train(PIECES)
    save_text_tokenizer(base, spm)
    pairs = {}

    def make(seed):
        model = tiny_llava.build(SMALL_VISION, TEXT, {}, PIECES, PIECES, seed)
        make_goldens.round_parameters(model, torch.float16)
        take_shared_tower(model)
        model.base = original_tensors(model, torch.float16)
        modules = [n.removesuffix('.weight') for n, _ in model.named_parameters() if 'language_model' in n and n.split('.')[-2] in LORA_TARGETS]
        pairs.clear()
        pairs.update(add_lora(model, modules, rank=4, scale=2.0, dtype=torch.float16, seed=seed))
        return model

    prompt = 'USER: <image>\nDescribe the image. ASSISTANT:'
    model, result = run_original(name, directory, spm, make, lambda text, rows: make_goldens.chunked_ids(spm, text, rows), True, (61, 35), prompt)
    projector = {n: v for n, v in model.base.items() if 'mm_projector' in n}
    save_torch({n: v for n, v in model.base.items() if n not in projector}, os.path.join(base, 'model.safetensors'), metadata={'format': 'pt'})
    write_json(base, 'config.json', text_config(model, 'LlamaForCausalLM', 'llama'))
    torch.save({f'base_model.model.{n}': v for n, v in projector.items()}, os.path.join(adapter, 'non_lora_trainables.bin'))
    torch.save({f'base_model.model.{original_name(m + ".lora")}_{half}.weight': value for m, halves in pairs.items() for half, value in zip('AB', halves)},
               os.path.join(adapter, 'adapter_model.bin'))
    write_json(adapter, 'adapter_config.json', {'base_model_name_or_path': 'lmsys/vicuna-tiny', 'bias': 'none', 'fan_in_fan_out': False, 'lora_alpha': 8, 'lora_dropout': 0.05,
                                                'peft_type': 'LORA', 'r': 4, 'target_modules': LORA_TARGETS, 'task_type': 'CAUSAL_LM'})
    write_json(adapter, 'config.json', {**text_config(model, 'LlavaLlamaForCausalLM', 'llava'), **llava_keys()})
    finish(name, directory, result, prompt, model='checkpoint', adapter='adapter', visionTower='../original-bin/clip-vit-tiny', kind='hf-directory', weights='float16',
           imageAspectRatio='pad', eosTokenIds=[2])


@torch.no_grad()
def add_lora(model, modules, rank: int, scale: float, dtype, seed: int) -> dict:
    """Merges random pairs into the modules' weights; module -> (A [r, in], B [out, r])."""
    generator = torch.Generator().manual_seed(seed)
    parameters, pairs = dict(model.named_parameters()), {}
    for module in modules:
        weight = parameters[f'{module}.weight']
        out, width = weight.shape
        a = (torch.randn((rank, width), generator=generator) / width ** 0.5).to(dtype)
        b = (torch.randn((out, rank), generator=generator) * 0.4 / rank ** 0.5).to(dtype)
        weight += scale * (b.float() @ a.float())
        pairs[module] = (a, b)
    return pairs


def asked_of_hf_f16(directory: str):
    """The checkpoint of hf-f16, a prompt, and what its processor makes of both that and its picture, copied into `directory`."""
    from PIL import Image
    checkpoint = os.path.join(GOLDEN, 'hf-f16', 'checkpoint')
    path = os.path.join(directory, 'picture.png')
    shutil.copy(os.path.join(GOLDEN, 'hf-f16', 'picture.png'), path)
    prompt = 'A chat. USER: <image>\nIs the ring blue? ASSISTANT:'
    return checkpoint, prompt, make_goldens.open_processor(checkpoint)(images=Image.open(path), text=prompt, return_tensors='pt')


def peft_hf():
    """PEFT on a Hugging Face checkpoint: decoder and tower, rank-stabilised scale, on the checkpoint of hf-f16."""
    name, source = 'hf-peft', make_goldens.HF_CASES['hf-f16']
    directory, adapter = make_goldens.fresh(name)
    os.rename(adapter, adapter := os.path.join(directory, 'adapter'))
    checkpoint, prompt, inputs = asked_of_hf_f16(directory)
    for seed in range(1, 400):
        model = LlavaForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32, attn_implementation='eager').eval()
        modules = [n.removesuffix('.weight') for n, _ in model.named_parameters() if n.endswith(('q_proj.weight', 'v_proj.weight', 'fc2.weight'))]
        pairs = add_lora(model, modules, rank=4, scale=6 / 4 ** 0.5, dtype=torch.float32, seed=seed)
        result = stages.run(model, inputs['pixel_values'], inputs['input_ids'], PIECES, NEW_TOKENS)
        if steady(result, [0, 1, 2, *range(PIECES, source['vocab_rows'])]):
            break
    else:
        raise SystemExit(f'{name}: no seed gives steady greedy text')
    save_torch({f'base_model.model.{m}.lora_{half}.weight': value for m, halves in pairs.items() for half, value in zip('AB', halves)},
               os.path.join(adapter, 'adapter_model.safetensors'), metadata={'format': 'pt'})
    write_json(adapter, 'adapter_config.json', {
        'alpha_pattern': {}, 'auto_mapping': None, 'base_model_name_or_path': 'tiny', 'bias': 'none', 'fan_in_fan_out': False, 'init_lora_weights': True, 'lora_alpha': 6,
        'lora_dropout': 0.0, 'modules_to_save': None, 'peft_type': 'LORA', 'r': 4, 'rank_pattern': {}, 'target_modules': ['q_proj', 'v_proj', 'fc2'],
        'task_type': 'CAUSAL_LM', 'use_dora': False, 'use_rslora': True})
    finish(name, directory, result, prompt, model='../hf-f16/checkpoint', adapter='adapter', kind='hf-directory', weights='float16', imageAspectRatio='crop', eosTokenIds=[2])


EVERY_LINEAR = r'.*\.(?:[qkvo]_proj|out_proj|(?:gate|up|down)_proj|fc[12]|linear_[12])'


def with_peft(model, adapter: str, seed: int, **settings):
    """The model as PEFT changes it, its adapter saved as PEFT saves it, and the changes merged."""
    config = peft.LoraConfig(task_type='CAUSAL_LM', **settings)
    changed = peft.get_peft_model(model, config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in changed.named_parameters():
            if '.lora_A.' in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / parameter.shape[1] ** 0.5)
            elif '.lora_B.' in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3 / parameter.shape[1] ** 0.5)
            elif 'modules_to_save' in name:
                parameter += torch.randn(parameter.shape, generator=generator) * 0.2 / parameter.shape[-1] ** 0.5
    shutil.rmtree(adapter, ignore_errors=True)
    changed.save_pretrained(adapter)
    os.remove(os.path.join(adapter, 'README.md'))
    settings = json.load(open(os.path.join(adapter, 'adapter_config.json'), encoding='utf-8'))
    write_json(adapter, 'adapter_config.json', {**settings, 'base_model_name_or_path': 'tiny'})
    return changed.merge_and_unload()


def peft_on_hf(name: str, **settings):
    """PEFT's own files on the checkpoint of hf-f16."""
    source = make_goldens.HF_CASES['hf-f16']
    directory, empty = make_goldens.fresh(name)
    os.rmdir(empty)
    checkpoint, prompt, inputs = asked_of_hf_f16(directory)
    for seed in range(1, 400):
        model = LlavaForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32, attn_implementation='eager').eval()
        model = with_peft(model, os.path.join(directory, 'adapter'), seed, **settings)
        result = stages.run(model, inputs['pixel_values'], inputs['input_ids'], PIECES, NEW_TOKENS)
        if steady(result, [0, 1, 2, *range(PIECES, source['vocab_rows'])]):
            break
    else:
        raise SystemExit(f'{name}: no seed gives steady greedy text')
    finish(name, directory, result, prompt, model='../hf-f16/checkpoint', adapter='adapter', kind='hf-directory', weights='float16', imageAspectRatio='crop', eosTokenIds=[2])


def peft_everywhere():
    """Every linear layer of decoder, tower and projector; ranks and alphas of their own for some."""
    peft_on_hf('hf-peft-everywhere', target_modules=EVERY_LINEAR, r=4, lora_alpha=8, rank_pattern={'fc1': 2, '^model.multi_modal_projector.linear_1': 3},
               alpha_pattern={'linear_1': 5, 'layers.1.self_attn.q_proj': 2})


def peft_saved():
    """The decoder's layers, and projector and output matrix saved as a whole."""
    peft_on_hf('hf-peft-saved', target_modules=['q_proj', 'v_proj'], exclude_modules='.*vision_tower.*', r=4, lora_alpha=8, modules_to_save=['multi_modal_projector', 'lm_head'])


def gguf_peft():
    """PEFT's own files on the quantised pair of gguf-pair-q8_0: every linear layer, query and key too."""
    name = 'gguf-peft'
    directory, empty = make_goldens.fresh(name)
    os.rmdir(empty)
    base = os.path.join(GOLDEN, 'gguf-pair-q8_0', 'checkpoint')
    for seed in range(1, 60):
        model, spm = gguf_source('hf-f16', directory)
        load_gguf(model, [os.path.join(base, 'model-q8_0.gguf'), os.path.join(base, 'mmproj-q8_0.gguf')])
        model = with_peft(model, os.path.join(directory, 'adapter'), seed, target_modules=EVERY_LINEAR, r=3, lora_alpha=6)
        prompt, result = run_gguf(name, directory, model, spm)
        if result is not None:
            break
    else:
        raise SystemExit(f'{name}: no seed gives steady greedy text')
    finish(name, directory, result, prompt, model='../gguf-pair-q8_0/checkpoint/model-q8_0.gguf', mmproj='../gguf-pair-q8_0/checkpoint/mmproj-q8_0.gguf', adapter='adapter',
           kind='gguf-pair', weights='q8_0', imageAspectRatio='pad', eosTokenIds=[2])


def mistral_window():
    """A Mistral decoder whose rows see twelve positions; grouped keys."""
    name = 'hf-mistral-window'
    spec = dict(dtype=torch.bfloat16, vision=SMALL_VISION, text={**TEXT, 'num_key_value_heads': 2, 'sliding_window': 12, 'head_dim': 8, 'pad_token_id': PIECES + 1},
                llava={}, tokenizer=('v4', True), vocab_rows=PIECES + 2, picture=(50, 33), prompt='A chat. USER: <image>\nHow many boxes? ASSISTANT:', decoder=MistralConfig)
    make_goldens.HF_CASES[name] = spec
    make_goldens.make_hf(name)


def long_window():
    """Seven hundred positions of which each row sees three hundred: several spans of keys, and whole spans that no row of a block sees."""
    name = 'hf-long-window'
    spec = dict(dtype=torch.bfloat16, vision=SMALL_VISION, text={**TEXT, 'num_key_value_heads': 2, 'sliding_window': 300, 'head_dim': 8, 'pad_token_id': PIECES + 1, 'max_position_embeddings': 1024},
                llava={}, tokenizer=('v4', True), vocab_rows=PIECES + 2, picture=(50, 33), prompt='A chat. USER: <image>\n' + 'How many boxes? ' * LONG_REPEATS + 'ASSISTANT:', decoder=MistralConfig,
                without_hidden_states=True)
    make_goldens.HF_CASES[name] = spec
    make_goldens.make_hf(name)


def gguf_split():
    """Language model in three parts, the first without tensors; mmproj whole, its matrices in Q5_0."""
    name = 'gguf-split'
    directory, checkpoint = make_goldens.fresh(name)
    model, spm = gguf_source('hf-f32', directory)
    part = split_writers(checkpoint, 'tiny-f16', 3)
    part[0].add_name('tiny-llava')
    gguf_files.add_text_keys(part[0], model.config.text_config, spm, 'f16')
    names = list(gguf_files.text_names(model.config.text_config).items())
    for writer in part:
        writer.add_key_value('split.tensors.count', len(names), gguf.GGUFValueType.INT32)
    for writer, chosen in zip(part[1:], (names[:7], names[7:])):
        gguf_files.add_tensors(writer, model, dict(chosen), 'f16', PIECES)
    for writer in part:
        gguf_files.finish(writer)
    write_mmproj(checkpoint, model, 'new', lambda tensor, shape: Type.Q5_0 if len(shape) == 2 and 'mm.' not in tensor else None)
    prompt, result = run_gguf(name, directory, model, spm)
    finish(name, directory, result, prompt, model='checkpoint/tiny-f16-00001-of-00003.gguf', kind='gguf-pair', weights='f16', imageAspectRatio='pad', eosTokenIds=[2])


def split_writers(checkpoint: str, stem: str, count: int):
    writers = []
    for i in range(count):
        writer = gguf.GGUFWriter(os.path.join(checkpoint, f'{stem}-{i + 1:05}-of-{count:05}.gguf'), 'llama')
        if i > 0:
            writer.kv_data[0].clear()  # later parts of a split say nothing but their number
        writer.add_key_value('split.no', i, gguf.GGUFValueType.UINT16)
        writer.add_key_value('split.count', count, gguf.GGUFValueType.UINT16)
        writers.append(writer)
    return writers


def gguf_source(case: str, directory: str):
    shutil.copy(os.path.join(GOLDEN, case, 'picture.png'), directory)
    model = LlavaForConditionalGeneration.from_pretrained(os.path.join(GOLDEN, case, 'checkpoint'), dtype=torch.float32, attn_implementation='eager').eval()
    return model, tiny_tokenizer.train(PIECES)


@torch.no_grad()
def write_mmproj(checkpoint: str, model, ffn: str, kind_of, file='mmproj-tiny.gguf'):
    """kind_of(name, shape) -> element type, or None for what the f16 converter takes."""
    vision = model.config.vision_config
    writer = gguf.GGUFWriter(os.path.join(checkpoint, file), 'clip')
    writer.add_type('mmproj')
    gguf_files.add_vision_keys(writer, vision, vision.num_hidden_layers - 1, None, MEAN, STD)
    parameters = dict(model.named_parameters())
    names = {n: p for n, p in gguf_files.vision_names(vision.num_hidden_layers - 1, ffn).items() if p[0] in parameters}
    gguf_files.add_tensors(writer, model, names, 'f16', PIECES, kind_of)
    gguf_files.finish(writer)


def run_gguf(name: str, directory: str, model, spm: bytes):
    vision = model.config.vision_config
    rows = (vision.image_size // vision.patch_size) ** 2
    with torch.no_grad():
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight[:PIECES].clone())
    pixel_values = make_goldens.padded_pixel_values(os.path.join(directory, 'picture.png'), vision.image_size)
    for prompt in make_goldens.prompts():
        result = stages.run(model, pixel_values, torch.tensor([make_goldens.chunked_ids(spm, prompt, rows)]), REFERENCE_IMAGE_ID, NEW_TOKENS)
        if steady(result, [0, 1, 2]):
            return prompt, result
    return None, None


def gguf_lora():
    """An adapter as GGUF on the quantised pair of gguf-pair-q8_0: rows of query and key are permuted like the model's."""
    name = 'gguf-lora'
    directory, checkpoint = make_goldens.fresh(name)
    os.rmdir(checkpoint)
    base = os.path.join(GOLDEN, 'gguf-pair-q8_0', 'checkpoint')
    for seed in range(1, 60):
        model, spm = gguf_source('hf-f16', directory)
        load_gguf(model, [os.path.join(base, 'model-q8_0.gguf'), os.path.join(base, 'mmproj-q8_0.gguf')])
        names = gguf_files.text_names(model.config.text_config)
        chosen = {g: p for g, p in names.items() if p[0].split('.')[-2] in LORA_TARGETS}
        pairs = add_lora(model, [p.removesuffix('.weight') for p, _ in chosen.values()], rank=3, scale=2.0, dtype=torch.float16, seed=seed)
        prompt, result = run_gguf(name, directory, model, spm)
        if result is not None:
            break
    else:
        raise SystemExit(f'{name}: no seed gives steady greedy text')
    writer = gguf.GGUFWriter(os.path.join(directory, 'adapter.gguf'), 'llama')
    writer.add_type('adapter')
    writer.add_string('adapter.type', 'lora')
    writer.add_float32('adapter.lora.alpha', 6.0)
    for g, (parameter, heads) in chosen.items():
        a, b = (half.numpy() for half in pairs[parameter.removesuffix('.weight')])
        writer.add_tensor(f'{g}.lora_a', a)
        writer.add_tensor(f'{g}.lora_b', np.ascontiguousarray(gguf_files.interleave(b, heads)) if heads else b)
    gguf_files.finish(writer)
    finish(name, directory, result, prompt, model='../gguf-pair-q8_0/checkpoint/model-q8_0.gguf', mmproj='../gguf-pair-q8_0/checkpoint/mmproj-q8_0.gguf', adapter='adapter.gguf',
           kind='gguf-pair', weights='q8_0', imageAspectRatio='pad', eosTokenIds=[2])


@torch.no_grad()
def load_gguf(model, files):
    """Puts what the files hold, dequantised, into the model."""
    names = {**gguf_files.text_names(model.config.text_config), **gguf_files.vision_names(model.config.vision_config.num_hidden_layers - 1, 'legacy')}
    parameters = dict(model.named_parameters())
    for file in files:
        for tensor in gguf.GGUFReader(file).tensors:
            parameter_name, heads = names[tensor.name]
            shape = [int(n) for n in reversed(tensor.shape)]
            value = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(shape).astype(np.float32)
            if heads:
                value = value.reshape(heads, -1, 2, shape[1]).swapaxes(1, 2).reshape(shape)
            parameters[parameter_name][:shape[0]].copy_(torch.from_numpy(np.ascontiguousarray(value)))


def gguf_siglip():
    """The checkpoint of hf-siglip as llama.cpp's converters write it: tower without class token, its last layer left out, patches with a bias."""
    name = 'gguf-siglip'
    directory, checkpoint = make_goldens.fresh(name)
    model, spm = gguf_source('hf-siglip', directory)
    writer = gguf.GGUFWriter(os.path.join(checkpoint, 'tiny-q8_0.gguf'), 'llama')
    gguf_files.add_text_keys(writer, model.config.text_config, spm, 'q8_0')
    gguf_files.add_tensors(writer, model, gguf_files.text_names(model.config.text_config), 'q8_0', PIECES)
    gguf_files.finish(writer)
    write_mmproj(checkpoint, model, 'new', lambda tensor, shape: None)
    prompt, result = run_gguf(name, directory, model, spm)
    if result is None:
        raise SystemExit(f'{name}: no prompt gives steady greedy text')
    finish(name, directory, result, prompt, model='checkpoint/tiny-q8_0.gguf', kind='gguf-pair', weights='q8_0', imageAspectRatio='pad', eosTokenIds=[2])


def gguf_kquants():
    """Every k-quant and the five-bit kinds, one per matrix; one file, tied embeddings; a linear projector in the mmproj, tower in Q5_1 and Q4_1."""
    name = 'gguf-kquants'
    directory, checkpoint = make_goldens.fresh(name)
    spm = tiny_tokenizer.train(PIECES)
    picture(40, 60, seed=len(name)).save(os.path.join(directory, 'picture.png'))
    text = {**TEXT, 'hidden_size': 256, 'intermediate_size': 96, 'num_hidden_layers': 1, 'num_attention_heads': 2, 'num_key_value_heads': 1, 'head_dim': 32,
            'tie_word_embeddings': True}
    kinds = {'token_embd': Type.Q4_K, 'attn_q': Type.Q5_K, 'attn_k': Type.Q6_K, 'attn_v': Type.Q4_K, 'attn_output': Type.Q4_1, 'ffn_gate': Type.Q3_K, 'ffn_up': Type.Q2_K,
             'ffn_down': Type.Q5_0}
    for seed in range(1, 60):
        for file in os.listdir(checkpoint):
            os.remove(os.path.join(checkpoint, file))
        model = tiny_llava.build(PATCH14_VISION, text, {}, PIECES, PIECES, seed)
        model.model.multi_modal_projector = torch.nn.Linear(32, 256)
        tiny_llava.randomize(model, seed, True)
        write_kquants(checkpoint, model, spm, kinds, seed)
        write_mmproj_linear(checkpoint, model)
        prompt, result = run_gguf(name, directory, model, spm)
        if result is not None:
            break
    else:
        raise SystemExit(f'{name}: no seed gives steady greedy text')
    for stage in [stage for stage in result if stage.startswith('hidden_states')]:
        result.pop(stage)  # 256 wide: they would be half of the case
    finish(name, directory, result, prompt, model='checkpoint/model.gguf', kind='gguf-pair', weights='mixed', imageAspectRatio='pad', eosTokenIds=[2])


@torch.no_grad()
def write_kquants(checkpoint: str, model, spm: bytes, kinds: dict, seed: int):
    config, rng = model.config.text_config, np.random.default_rng(seed)
    writer = gguf.GGUFWriter(os.path.join(checkpoint, 'model.gguf'), 'llama')
    gguf_files.add_text_keys(writer, config, spm, 'q8_0')
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for name, (parameter_name, heads) in gguf_files.text_names(config).items():
        parameter, leaf = parameters[parameter_name], name.removesuffix('.weight').split('.')[-1]
        if name == 'output.weight':
            continue
        if leaf not in kinds:
            writer.add_tensor(name, parameter.numpy().copy())
            continue
        kind = kinds[leaf]
        data = gguf.quants.quantize(parameter.numpy(), kind) if kind in kquants.QUANTIZED_BY_GGUF else kquants.random_blocks(parameter.shape, kind, parameter.std().item(), rng)
        value = gguf.quants.dequantize(data, kind).reshape(parameter.shape).astype(np.float32)
        if heads:  # the blocks are the interleaved rows
            value = value.reshape(heads, -1, 2, value.shape[1]).swapaxes(1, 2).reshape(value.shape)
        writer.add_tensor(name, data, raw_dtype=kind)
        parameter.copy_(torch.from_numpy(np.ascontiguousarray(value)))
    gguf_files.finish(writer)


def write_mmproj_linear(checkpoint: str, model):
    kinds = {'attn_q': Type.Q5_1, 'attn_k': Type.Q4_1, 'ffn_up': Type.Q4_1, 'ffn_down': Type.Q5_1}
    names = gguf_files.vision_names
    def with_linear(layers, ffn):
        found = {n: p for n, p in names(layers, ffn).items() if not n.startswith('mm.')}
        return {**found, 'mm.0.weight': ('model.multi_modal_projector.weight', 0), 'mm.0.bias': ('model.multi_modal_projector.bias', 0)}
    gguf_files.vision_names = with_linear
    try:
        write_mmproj(checkpoint, model, 'legacy', lambda tensor, shape: kinds.get(tensor.split('.')[-2]) if len(shape) == 2 else None)
    finally:
        gguf_files.vision_names = names


CASES = {'original-bin': original_bin, 'original-linear': original_linear, 'original-lora': original_lora, 'hf-peft': peft_hf, 'hf-peft-everywhere': peft_everywhere, 'hf-peft-saved': peft_saved, 'gguf-peft': gguf_peft, 'hf-mistral-window': mistral_window,
         'hf-long-window': long_window,
         'gguf-split': gguf_split, 'gguf-lora': gguf_lora, 'gguf-siglip': gguf_siglip, 'gguf-kquants': gguf_kquants}

if __name__ == '__main__':
    torch.set_num_threads(1)
    for case in sys.argv[1:] or CASES:
        CASES[case]()
