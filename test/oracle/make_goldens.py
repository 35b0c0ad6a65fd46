"""Writes test/fixtures/golden/<case>/: a tiny checkpoint, a picture, case.json and what transformers makes of them (stages.safetensors).

usage: python3 test/oracle/make_goldens.py [case…]
"""

import copy
import itertools
import os
import shutil
import sys

import gguf
import numpy as np
import torch
from PIL import Image
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaForConditionalGeneration, LlavaProcessor, SiglipVisionConfig
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

import gguf_files
import stages
import tiny_llava
import tiny_tokenizer
from processor import open_processor
from tiny_tokenizer import write_json

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'fixtures', 'golden')
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
# Hugging Face's layout for llava-1.5: images of a message first, each part followed by a space, no </s>.
CHAT_TEMPLATE = (
    '{% for message in messages %}{% if message.role != "system" %}{{ message.role | upper }}: {% endif %}'
    '{% for part in message.content %}{% if part.type == "image" %}{{ "<image>\\n" }}{% endif %}{% endfor %}'
    '{% for part in message.content %}{% if part.type == "text" %}{{ part.text + " " }}{% endif %}{% endfor %}{% endfor %}'
    '{% if add_generation_prompt %}ASSISTANT:{% endif %}')
NEW_TOKENS = 24
PIECES = 340
MIN_MARGIN = 5e-3  # greedy picks stay apart by more than twice the logits' tolerance, 1e-3 of max|logits|
REFERENCE_IMAGE_ID = -200  # the original LLaVA's sentinel, where the vocabulary has no <image>

SMALL_VISION = {'hidden_size': 32, 'intermediate_size': 64, 'num_hidden_layers': 3, 'num_attention_heads': 4, 'image_size': 28, 'patch_size': 7}
PATCH14_VISION = {**SMALL_VISION, 'image_size': 42, 'patch_size': 14}
SMALL_TEXT = {'hidden_size': 32, 'intermediate_size': 64, 'num_hidden_layers': 2, 'num_attention_heads': 4, 'num_key_value_heads': 4}
WIDE_TEXT = {'hidden_size': 64, 'intermediate_size': 96, 'num_hidden_layers': 2, 'num_attention_heads': 4, 'num_key_value_heads': 4}

HF_CASES = {
    'hf-f32': dict(dtype=torch.float32, vision=SMALL_VISION, text=SMALL_TEXT, llava={}, tokenizer=('v5', False), vocab_rows=PIECES + 2,
                   picture=(57, 40), prompt='USER: <image>\nWhat is it? ASSISTANT:'),
    'hf-f16': dict(dtype=torch.float16, vision=PATCH14_VISION, text=WIDE_TEXT, llava={}, tokenizer=('v4', True), vocab_rows=352,
                   picture=(33, 50), prompt='A chat. USER: <image>\nWhat color is the star? ASSISTANT:'),
    'hf-bf16': dict(dtype=torch.bfloat16, vision=SMALL_VISION, text={**WIDE_TEXT, 'num_key_value_heads': 2}, llava={'vision_feature_layer': 1},
                    tokenizer=('v4', True), vocab_rows=352, pad=True, picture=(61, 35), prompt='USER: <image>\nDescribe the image. ASSISTANT:'),
    'hf-4x-names': dict(dtype=torch.float16, vision=SMALL_VISION, layout='4x', tokenizer=('model', False), vocab_rows=352,
                        text={**WIDE_TEXT, 'tie_word_embeddings': True, 'rms_norm_eps': 1e-6,
                              'rope_parameters': {'rope_type': 'linear', 'rope_theta': 5000.0, 'factor': 2.0}},
                        llava={'vision_feature_select_strategy': 'full'}, picture=(20, 24),
                        prompt='USER: <image>\nHow many things? ASSISTANT: two</s>USER: What else? ASSISTANT:'),
    'hf-gqa-llama3-rope': dict(dtype=torch.float16, vision={**SMALL_VISION, 'hidden_act': 'gelu', 'image_size': 21}, tokenizer=('v5', False), vocab_rows=PIECES + 2, several_eos=True,
                               text={**WIDE_TEXT, 'num_key_value_heads': 1, 'head_dim': 32, 'rope_parameters': {
                                   'rope_type': 'llama3', 'rope_theta': 10000.0, 'factor': 8.0, 'low_freq_factor': 1.0, 'high_freq_factor': 4.0,
                                   'original_max_position_embeddings': 64}},
                               llava={}, picture=(90, 64), prompt='USER: <image>\nWhat is left of the ring? ASSISTANT:'),
    'hf-siglip': dict(dtype=torch.float16, tower=SiglipVisionConfig, vision={**SMALL_VISION, 'image_size': 30}, text=SMALL_TEXT, tokenizer=('v5', False),
                      llava={'vision_feature_select_strategy': 'full'}, vocab_rows=PIECES + 2, picture=(57, 40), prompt='USER: <image>\nWhat is it? ASSISTANT:'),
    'hf-siglip-wide-heads': dict(dtype=torch.bfloat16, tower=SiglipVisionConfig, tokenizer=('v4', True), text=SMALL_TEXT, vocab_rows=352,
                                 vision={**SMALL_VISION, 'hidden_size': 144, 'num_hidden_layers': 1, 'num_attention_heads': 2, 'vision_use_head': False},
                                 llava={'vision_feature_layer': -1}, picture=(33, 50), prompt='A chat. USER: <image>\nWhat color is the star? ASSISTANT:'),
}
GGUF_CASES = {
    'gguf-pair-f32': dict(source='hf-f32', weights='f32', ffn='legacy'),
    'gguf-pair-f16': dict(source='hf-f16', weights='f16', ffn='new', store_all_layers=True),
    'gguf-pair-q8_0': dict(source='hf-f16', weights='q8_0', ffn='legacy'),
    'gguf-pair-q4_0': dict(source='hf-f16', weights='q4_0', ffn='new'),
    'gguf-single-f16': dict(source='hf-f32', weights='f16', ffn='new', single=True),
}


def picture(width: int, height: int, seed: int) -> Image.Image:
    """Gradients, a disc and a little noise: something at every frequency."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    rgb = np.stack([255 * x / width, 255 * y / height, 127 + 100 * np.sin(x / 5 + y / 9)], -1)
    disc = (x - 0.6 * width) ** 2 + (y - 0.4 * height) ** 2 < (0.25 * min(width, height)) ** 2
    rgb[disc] = [220, 30, 40]
    rgb += np.random.default_rng(seed).normal(0, 6, rgb.shape)
    return Image.fromarray(np.clip(rgb, 0, 255).astype(np.uint8))


def fresh(name: str) -> tuple[str, str]:
    directory = os.path.join(GOLDEN, name)
    shutil.rmtree(directory, ignore_errors=True)
    checkpoint = os.path.join(directory, 'checkpoint')
    os.makedirs(checkpoint)
    return directory, checkpoint


def finish_case(name: str, directory: str, result: dict, case: dict):
    result.pop('margins')
    save_file({key: np.ascontiguousarray(value) for key, value in result.items()}, os.path.join(directory, 'stages.safetensors'))
    write_json(directory, 'case.json', case)
    nbytes = sum(os.path.getsize(os.path.join(root, file)) for root, _, files in os.walk(directory) for file in files)
    print(f'{name:20s} {nbytes / 1024:6.0f} KB  T {len(result["input_ids"])}  V {result["logits"].shape[1]}  generated {result["generated"].tolist()}')


def steady(result: dict, forbidden) -> bool:
    """Greedy text that rounding cannot turn, and that says something."""
    generated = result['generated'].tolist()
    return result['margins'].min() > MIN_MARGIN and len(set(generated)) >= 10 and not set(generated) & set(forbidden)


def make_hf(name: str):
    spec = HF_CASES[name]
    directory, checkpoint = fresh(name)
    spm = tiny_tokenizer.train(PIECES)
    style, legacy = spec['tokenizer']
    tokenizer = tiny_tokenizer.save(checkpoint, spm, style, legacy)
    image_id = tokenizer.convert_tokens_to_ids('<image>')
    assert image_id == PIECES
    picture(*spec['picture'], seed=len(name)).save(os.path.join(directory, 'picture.png'))
    forbidden = [0, 1, 2] + list(range(PIECES, spec['vocab_rows']))
    for seed in range(1, 400):
        model = tiny_llava.build(spec['vision'], spec['text'], spec['llava'], spec['vocab_rows'], image_id, seed, spec.get('decoder', LlamaConfig), spec.get('tower', CLIPVisionConfig))
        round_parameters(model, spec['dtype'])
        inputs, processor = process(model, tokenizer, spec, os.path.join(directory, 'picture.png'))
        result = stages.run(model, inputs['pixel_values'], inputs['input_ids'], image_id, NEW_TOKENS)
        if steady(result, forbidden):
            break
    else:
        raise SystemExit(f'{name}: no seed gives steady greedy text')
    eos = [2, int(result['generated'][9])] if spec.get('several_eos') else 2
    save_hf(checkpoint, model, processor, spec, eos)
    verify_hf(checkpoint, directory, spec, result)
    if spec.get('without_hidden_states'):
        result = {stage: value for stage, value in result.items() if not stage.startswith('hidden_states')}
    finish_case(name, directory, result, {
        'image': 'picture.png', 'prompt': spec['prompt'], 'maxTokens': NEW_TOKENS, 'model': 'checkpoint', 'kind': 'hf-directory',
        'weights': str(spec['dtype']).split('.')[1], 'imageAspectRatio': 'stretch' if 'tower' in spec else 'pad' if spec.get('pad') else 'crop', 'eosTokenIds': eos if isinstance(eos, list) else [eos]})
    return model, spm, spec


@torch.no_grad()
def round_parameters(model, dtype):
    """Parameters only: model.to(dtype) would round the rotary frequencies too."""
    for parameter in model.parameters():
        parameter.copy_(parameter.to(dtype).float())


def process(model, tokenizer, spec, image_path):
    size = spec['vision']['image_size']
    keys = dict(size={'shortest_edge': size}, crop_size={'height': size, 'width': size}, image_mean=MEAN, image_std=STD)
    image_processor = LlavaImageProcessorPil(do_pad=True, **keys) if spec.get('pad') else CLIPImageProcessorPil(**keys)
    if 'tower' in spec:
        image_processor = SiglipImageProcessorPil(size={'height': size, 'width': size})
    strategy = spec['llava'].get('vision_feature_select_strategy', 'default')
    processor = LlavaProcessor(image_processor, tokenizer, patch_size=spec['vision']['patch_size'], vision_feature_select_strategy=strategy,
                               num_additional_image_tokens=int('tower' not in spec), chat_template=CHAT_TEMPLATE)
    return processor(images=Image.open(image_path), text=spec['prompt'], return_tensors='pt'), processor


def save_hf(checkpoint, model, processor, spec, eos):
    model.generation_config.eos_token_id = eos
    if spec.get('layout') == '4x':
        return save_hf_4x(checkpoint, model, spec, eos)
    stored = copy.deepcopy(model).to(spec['dtype'])
    stored.save_pretrained(checkpoint)
    style, _ = spec['tokenizer']
    if style == 'v5':
        processor.save_pretrained(checkpoint)
        tiny_tokenizer.forget_location(checkpoint)
    else:
        save_processor_4x(checkpoint, spec)


def save_processor_4x(checkpoint, spec):
    size = spec['vision']['image_size']
    kind = 'LlavaImageProcessor' if spec.get('pad') else 'CLIPImageProcessor'
    data = {'crop_size': {'height': size, 'width': size}, 'do_center_crop': True, 'do_convert_rgb': True, 'do_normalize': True, 'do_rescale': True, 'do_resize': True,
            'image_mean': MEAN, 'image_processor_type': kind, 'image_std': STD, 'processor_class': 'LlavaProcessor', 'resample': 3,
            'rescale_factor': 0.00392156862745098, 'size': {'shortest_edge': size}}
    if spec.get('pad'):
        data['do_pad'] = True
    if 'tower' in spec:
        data = {'do_convert_rgb': None, 'do_normalize': True, 'do_rescale': True, 'do_resize': True, 'image_mean': [0.5] * 3, 'image_processor_type': 'SiglipImageProcessor',
                'image_std': [0.5] * 3, 'processor_class': 'LlavaProcessor', 'resample': 3, 'rescale_factor': 0.00392156862745098, 'size': {'height': size, 'width': size}}
    write_json(checkpoint, 'preprocessor_config.json', data)
    write_json(checkpoint, 'chat_template.json', {'chat_template': CHAT_TEMPLATE})
    write_json(checkpoint, 'processor_config.json', {
        'image_token': '<image>', 'num_additional_image_tokens': int('tower' not in spec), 'patch_size': spec['vision']['patch_size'], 'processor_class': 'LlavaProcessor',
        'vision_feature_select_strategy': spec['llava'].get('vision_feature_select_strategy', 'default')})


def save_hf_4x(checkpoint, model, spec, eos):
    """Names, config spelling and shards of transformers 4: `language_model.model.…`, `vision_tower.vision_model.…`, rope_theta, rope_scaling, torch_dtype."""
    def old(name):
        for new, before in (('model.language_model.', 'language_model.model.'), ('model.vision_tower.', 'vision_tower.vision_model.'),
                            ('model.multi_modal_projector.', 'multi_modal_projector.'), ('lm_head.', 'language_model.lm_head.')):
            if name.startswith(new):
                return before + name[len(new):]
        raise ValueError(name)
    tensors = {old(name): parameter.detach().to(spec['dtype']).contiguous() for name, parameter in model.named_parameters()}
    tensors['vision_tower.vision_model.embeddings.position_ids'] = torch.arange(model.model.vision_tower.embeddings.num_positions)[None]
    names, index = sorted(tensors), {}
    for part, chosen in enumerate((names[:len(names) // 2], names[len(names) // 2:]), 1):
        file = f'model-0000{part}-of-00002.safetensors'
        save_torch({name: tensors[name] for name in chosen}, os.path.join(checkpoint, file), metadata={'format': 'pt'})
        index.update({name: file for name in chosen})
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    write_json(checkpoint, 'model.safetensors.index.json', {'metadata': {'total_size': total}, 'weight_map': index})
    rope = spec['text']['rope_parameters']
    text = {key: value for key, value in spec['text'].items() if key != 'rope_parameters'}
    write_json(checkpoint, 'config.json', {
        'architectures': ['LlavaForConditionalGeneration'], 'ignore_index': -100, 'image_token_index': PIECES, 'model_type': 'llava', 'pad_token_id': PIECES + 1,
        'projector_hidden_act': 'gelu', **spec['llava'], 'vision_feature_layer': -2, 'tie_word_embeddings': True, 'torch_dtype': 'float16',
        'text_config': {'architectures': ['LlamaForCausalLM'], 'model_type': 'llama', **text, 'rope_theta': rope['rope_theta'],
                        'rope_scaling': {'type': rope['rope_type'], 'factor': rope['factor']}, 'max_position_embeddings': 256, 'vocab_size': spec['vocab_rows'],
                        'torch_dtype': 'float16'},
        'vision_config': {'model_type': 'clip_vision_model', **spec['vision'], 'projection_dim': 16, 'vocab_size': 32000}, 'transformers_version': '4.37.2'})
    write_json(checkpoint, 'generation_config.json', {'_from_model_config': True, 'bos_token_id': 1, 'eos_token_id': eos, 'pad_token_id': PIECES + 1})
    save_processor_4x(checkpoint, spec)


def verify_hf(checkpoint, directory, spec, result):
    """What was written, opened by transformers itself, gives the same tokens, pixels and logits."""
    model = LlavaForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32, attn_implementation='eager').eval()
    processor = open_processor(checkpoint)
    inputs = processor(images=Image.open(os.path.join(directory, 'picture.png')), text=spec['prompt'], return_tensors='pt')
    assert np.array_equal(inputs['input_ids'][0].numpy(), result['input_ids']), 'input_ids'
    assert np.array_equal(inputs['pixel_values'][0].numpy(), result['pixel_values']), 'pixel_values'
    with torch.no_grad():
        logits = model(input_ids=inputs['input_ids'], pixel_values=inputs['pixel_values']).logits[0].numpy()
    message = [{'role': 'user', 'content': [{'type': 'text', 'text': 'What is it?'}, {'type': 'image'}]}]
    assert processor.apply_chat_template(message, add_generation_prompt=True) == 'USER: <image>\nWhat is it? ASSISTANT:', 'chat template'
    error = np.abs(logits - result['logits']).max() / np.abs(result['logits']).max()
    assert error < 1e-5, f'logits {error}'


def make_gguf(name: str):
    spec = GGUF_CASES[name]
    source = HF_CASES[spec['source']]
    directory, checkpoint = fresh(name)
    shutil.copy(os.path.join(GOLDEN, spec['source'], 'picture.png'), directory)
    spm = tiny_tokenizer.train(PIECES)
    model = LlavaForConditionalGeneration.from_pretrained(os.path.join(GOLDEN, spec['source'], 'checkpoint'), dtype=torch.float32, attn_implementation='eager').eval()
    pixel_values = padded_pixel_values(os.path.join(directory, 'picture.png'), source['vision']['image_size'])
    write_gguf(checkpoint, model, spm, spec)
    rows = (source['vision']['image_size'] // source['vision']['patch_size']) ** 2
    with torch.no_grad():
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight[:PIECES].clone())
    for prompt in prompts():
        input_ids = torch.tensor([chunked_ids(spm, prompt, rows)])
        result = stages.run(model, pixel_values, input_ids, REFERENCE_IMAGE_ID, NEW_TOKENS)
        if steady(result, [0, 1, 2]):
            break
    else:
        raise SystemExit(f'{name}: no prompt gives steady greedy text')
    files = {'model': 'checkpoint/model.gguf'} if spec.get('single') else {
        'model': f'checkpoint/model-{spec["weights"]}.gguf', 'mmproj': f'checkpoint/mmproj-{spec["weights"]}.gguf'}
    finish_case(name, directory, result, {
        'image': 'picture.png', 'prompt': prompt, 'maxTokens': NEW_TOKENS, **files, 'kind': 'gguf' if spec.get('single') else 'gguf-pair',
        'weights': spec['weights'], 'imageAspectRatio': 'pad', 'eosTokenIds': [2]})


def prompts():
    for system, color, shape in itertools.product(('', 'A chat. ', 'Hello world. '), ('red', 'blue', 'green', 'yellow', 'white'), ('circle', 'star', 'square', 'ring', 'box')):
        yield f'{system}USER: <image>\nIs the {shape} {color}? ASSISTANT:'


def padded_pixel_values(path: str, size: int) -> torch.Tensor:
    processor = LlavaImageProcessorPil(do_pad=True, size={'shortest_edge': size}, crop_size={'height': size, 'width': size}, image_mean=MEAN, image_std=STD)
    return processor(Image.open(path), return_tensors='pt')['pixel_values']


def chunked_ids(spm: bytes, prompt: str, rows: int) -> list[int]:
    """The original LLaVA's way: every chunk between `<image>`s is a text of its own; one BOS in front; a special token's text starts a new text too."""
    import sentencepiece
    vocabulary = sentencepiece.SentencePieceProcessor(model_proto=spm)
    ids = [1]
    for index, chunk in enumerate(prompt.split('<image>')):
        assert '</s>' not in chunk
        ids += [REFERENCE_IMAGE_ID] * (rows if index else 0) + vocabulary.encode(chunk)
    return ids


def write_gguf(checkpoint: str, model, spm: bytes, spec: dict):
    weights, vision = spec['weights'], model.config.vision_config
    stored = vision.num_hidden_layers if spec.get('store_all_layers') else vision.num_hidden_layers - 1
    feature_layer = vision.num_hidden_layers - 1 if spec.get('store_all_layers') else None
    text_file = 'model.gguf' if spec.get('single') else f'model-{weights}.gguf'
    writer = gguf.GGUFWriter(os.path.join(checkpoint, text_file), 'llama')
    if spec.get('single'):
        writer.kv_data[0]['general.architecture'].value = 'llava'
    writer.add_name('tiny-llava')
    gguf_files.add_text_keys(writer, model.config.text_config, spm, weights)
    gguf_files.add_tensors(writer, model, gguf_files.text_names(model.config.text_config), weights, PIECES)
    if spec.get('single'):
        writer.add_description('random weights for tests')
        writer.add_license('MIT')
        writer.add_chat_template(CHAT_TEMPLATE)
        writer.add_string('llava.image_aspect_ratio', 'pad')
    else:
        gguf_files.finish(writer)
        writer = gguf.GGUFWriter(os.path.join(checkpoint, f'mmproj-{weights}.gguf'), 'clip')
        writer.add_name('tiny-llava')
        writer.add_description('image encoder for LLaVA')
        writer.add_file_type(gguf_files.FILE_TYPES[weights])
    gguf_files.add_vision_keys(writer, vision, stored, feature_layer, MEAN, STD)
    gguf_files.add_tensors(writer, model, gguf_files.vision_names(stored, spec['ffn']), weights, PIECES)
    gguf_files.finish(writer)


if __name__ == '__main__':
    torch.set_num_threads(1)
    wanted = sys.argv[1:] or [*HF_CASES, *GGUF_CASES]
    for case in wanted:
        make_hf(case) if case in HF_CASES else make_gguf(case)
