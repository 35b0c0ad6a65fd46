"""Holds the file of `llava trace` against transformers in float32, stage by stage.

usage: python3 test/oracle/compare_trace.py TRACE.safetensors --model HF_DIRECTORY --image PICTURE --prompt TEXT

Prints max|Δ| / max|reference| of each stage and the first that departs: pixel_values, input_ids and generated must be equal,
image_features and projected within 1e-4, logits within 1e-3. Exit status 1 when a stage departs.
Says which Pillow there is, and whether it resizes this picture down first, as 13 may; the reference is resized across first in any case.
"""

import argparse
import sys

import numpy as np
import PIL
import torch
from PIL import Image
from safetensors.numpy import load_file
from transformers import LlavaForConditionalGeneration

import stages
from processor import open_processor
from resize_order import resizing_across_first

BOUNDS = {'pixel_values': 0, 'image_features': 1e-4, 'projected': 1e-4, 'input_ids': 0, 'logits': 1e-3, 'generated': 0}


def reference(directory: str, image: str | None, prompt: str, new_tokens: int) -> dict:
    model = LlavaForConditionalGeneration.from_pretrained(directory, dtype=torch.float32, attn_implementation='eager').eval()
    pictures = [Image.open(image)] if image else None
    processor = open_processor(directory)
    with resizing_across_first():
        inputs = processor(images=pictures, text=prompt, return_tensors='pt')
    if pictures:
        as_pillow_does = processor(images=pictures, text=prompt, return_tensors='pt')['pixel_values']
        print(f'Pillow {PIL.__version__}: {order(inputs["pixel_values"], as_pillow_does)}')
    return stages.run(model, inputs.get('pixel_values'), inputs['input_ids'], model.config.image_token_index, new_tokens)


def order(across_first: torch.Tensor, as_pillow_does: torch.Tensor) -> str:
    others = int((across_first != as_pillow_does).sum())
    if others == 0:
        return 'resizes this picture as across first, then down'
    return f'resizes this picture down first, which changes {others} pixel_values; the reference is resized across first'


def compare(name: str, ours: np.ndarray | None, theirs: np.ndarray) -> tuple[bool, str]:
    if ours is None:
        return False, 'missing in the trace'
    if ours.shape != theirs.shape:
        return False, f'shape {list(ours.shape)}, reference {list(theirs.shape)}'
    delta = np.abs(ours.astype(np.float64) - theirs.astype(np.float64))
    relative = delta.max() / max(np.abs(theirs.astype(np.float64)).max(), 1e-30)
    at = tuple(int(i) for i in np.unravel_index(np.argmax(delta), delta.shape))
    return bool(relative <= BOUNDS[name]), f'{relative:.2e} (bound {BOUNDS[name]:g})' + (f', largest at {list(at)}' if relative > 0 else '')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('trace')
    parser.add_argument('--model', required=True)
    parser.add_argument('--image')
    parser.add_argument('--prompt', required=True)
    arguments = parser.parse_args()
    trace = load_file(arguments.trace)
    theirs = reference(arguments.model, arguments.image, arguments.prompt, len(trace.get('generated', [])))
    departed = None
    for name in BOUNDS:
        if name in theirs:
            ok, line = compare(name, trace.get(name), theirs[name])
            departed = departed or (None if ok else name)
            print(f'{"ok  " if ok else "FAIL"} {name:15s} {line}')
    if departed == 'generated':
        step = int(np.argmax(trace['generated'] != theirs['generated']))
        print(f'     first other token at step {step}, where the reference leads by {theirs["margins"][step]:.1e} of max|logits|')
    print(f'first stage that departs: {departed or "none"}')
    sys.exit(1 if departed else 0)


if __name__ == '__main__':
    main()
