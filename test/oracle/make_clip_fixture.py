"""A tiny random CLIP with transformers, and what it makes of a picture and some texts: test/fixtures/clip/.

Vocabulary in CLIP's own order: byte symbols, byte symbols at the end of a word, merges, start, end.
"""

import json
import os

import torch
from PIL import Image
from safetensors.torch import save_file
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from tiny_llava import randomize

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'fixtures')
TEXTS = ['a red square', 'A  photo of\nTHE cat!', "it's 42 …", '', 'red ' * 40]
MERGES = [('r', 'e'), ('re', 'd</w>'), ('a', 't</w>'), ('c', 'at</w>'), ('o', 'f</w>'), ('t', 'h'), ('th', 'e</w>')]


def write_tokenizer(directory: str):
    # CLIP's order is that of its byte table: printable bytes first
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    symbols = [chr(byte) for byte in printable] + [chr(256 + n) for n in range(256 - len(printable))]
    assert sorted(symbols) == sorted(ByteLevel.alphabet())
    pieces = [*symbols, *(s + '</w>' for s in symbols), *(a + b for a, b in MERGES), '<|startoftext|>', '<|endoftext|>']
    with open(os.path.join(directory, 'vocab.json'), 'w') as file:
        json.dump({piece: n for n, piece in enumerate(pieces)}, file, ensure_ascii=False)
    with open(os.path.join(directory, 'merges.txt'), 'w') as file:
        file.write('#version: 0.2\n' + ''.join(f'{a} {b}\n' for a, b in MERGES))
    return len(pieces)


def main():
    checkpoint = os.path.join(ROOT, 'clip', 'checkpoint')
    os.makedirs(checkpoint, exist_ok=True)
    pieces = write_tokenizer(checkpoint)
    tokenizer = CLIPTokenizer.from_pretrained(checkpoint)
    tower = {'hidden_size': 32, 'intermediate_size': 64, 'num_hidden_layers': 2, 'num_attention_heads': 2, 'hidden_act': 'quick_gelu'}
    config = CLIPConfig(
        text_config={**tower, 'vocab_size': pieces, 'max_position_embeddings': 24, 'eos_token_id': pieces - 1, 'bos_token_id': pieces - 2},
        vision_config={**tower, 'hidden_size': 48, 'num_hidden_layers': 3, 'num_attention_heads': 3, 'image_size': 28, 'patch_size': 7}, projection_dim=16)
    model = CLIPModel(config).eval()
    randomize(model, 77, False)
    model.save_pretrained(checkpoint)
    processor = CLIPImageProcessorPil(size={'shortest_edge': 28}, crop_size={'height': 28, 'width': 28})
    processor.save_pretrained(checkpoint)
    expected = {}
    with torch.no_grad():
        picture = Image.open(os.path.join(ROOT, 'pictures', 'rgb.png')).convert('RGB')
        image = model.get_image_features(pixel_values=processor(picture, return_tensors='pt')['pixel_values'])
        expected['image'] = getattr(image, 'pooler_output', image)[0].contiguous()
        for n, text in enumerate(TEXTS):
            ids = tokenizer(text, truncation=True, max_length=24, return_tensors='pt')['input_ids']
            embedding = model.get_text_features(input_ids=ids)
            expected[f'text.{n}'] = getattr(embedding, 'pooler_output', embedding)[0].contiguous()
            expected[f'ids.{n}'] = ids[0].to(torch.int32)
    save_file(expected, os.path.join(ROOT, 'clip', 'expected.safetensors'))
    with open(os.path.join(ROOT, 'clip', 'case.json'), 'w') as file:
        json.dump({'picture': '../pictures/rgb.png', 'texts': TEXTS}, file, indent=1, ensure_ascii=False)


main()
