"""What training and evaluation share: sizes, prompt, vocabulary, and preprocessing as it is at run time (pad, Pillow bicubic, CLIP mean and std)."""

import os
import random
import sys
from functools import lru_cache

import numpy as np
import sentencepiece
import torch
from PIL import Image

import scenes

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'recipe'))  # after this folder: scenes is the one beside this file
from vicuna import SYSTEM, train_pieces  # noqa: E402

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SIZE, PATCH = 64, 8
ROWS = (SIZE // PATCH) ** 2
VISION = dict(hidden_size=96, intermediate_size=384, num_hidden_layers=4, num_attention_heads=4, image_size=SIZE, patch_size=PATCH, hidden_act='quick_gelu', projection_dim=96)
TEXT = dict(hidden_size=128, intermediate_size=256, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=1024,
            rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, pad_token_id=0)
PIECES = 640


def train_vocabulary() -> bytes:
    rng = random.Random(0)
    lines = [SYSTEM + ' USER: '] * 200
    for _ in range(3000):
        for _, question, long, short in scenes.questions(scenes.make_scene(rng), rng):
            lines += [f':{question} ASSISTANT: {long}', f'USER: {question} {scenes.SUFFIX[1:]} ASSISTANT: {short.capitalize()}', f'{scenes.SUFFIX[1:2]}nswer']
    lines += ['abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789 .,:;!?\'"()-/'] * 5
    return train_pieces(lines, PIECES)


class Prompt:
    """Vicuna v1 text around one picture, each text between specials encoded on its own."""

    def __init__(self, spm: bytes):
        self.vocabulary = sentencepiece.SentencePieceProcessor(model_proto=spm)
        self.encode = lru_cache(maxsize=100_000)(lambda text: tuple(self.vocabulary.encode(text)))
        self.before = [1, *self.encode(SYSTEM + ' USER: ')]

    def question(self, text: str, first: bool = True) -> list[int]:
        return [*self.encode(f'\n{text} ASSISTANT:' if first else f'USER: {text} ASSISTANT:')]

    def answer(self, text: str) -> list[int]:
        return [*self.encode(text), 2]


def resized(image: Image.Image) -> np.ndarray:
    """[S,S,3] bytes: padded to a square with the mean color, then Pillow's bicubic."""
    side = max(image.size)
    square = Image.new('RGB', (side, side), tuple(int(255 * m) for m in MEAN))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return np.asarray(square.resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def patch_labels(scene: dict, image: Image.Image) -> np.ndarray:
    """[3,N]: color, shape and place (from 1) of the thing that covers each patch's centre, else 0; -100: not told.

    A color of a held-out pair is told without the shape and its shape without the color: the tower is not taught that they never meet.
    """
    side, labels = max(image.size), np.zeros((3, ROWS), np.int64)
    names = {'color': list(scenes.COLORS), 'shape': scenes.SHAPES, 'place': scenes.PLACES}
    lone = {word for pair in scenes.HELD_OUT for word in pair}
    y, x = (np.mgrid[0:SIZE:PATCH, 0:SIZE:PATCH] + PATCH / 2) * side / SIZE
    for thing in scene['things']:
        tx, ty, r = thing['at']
        inside = ((x - tx - (side - image.width) // 2) ** 2 + (y - ty - (side - image.height) // 2) ** 2 < r * r).ravel()
        for row, (kind, known) in zip(labels, names.items()):
            told = thing[kind] in known and not (kind == 'shape' and thing['color'] in lone or kind == 'color' and thing['shape'] in lone)
            row[inside] = 1 + known.index(thing[kind]) if told else -100
    return labels


def pixel_values(pictures: np.ndarray) -> torch.Tensor:
    """[B,S,S,3] bytes -> [B,3,S,S]."""
    scaled = (pictures * (1 / 255)).astype(np.float32)
    return torch.from_numpy(((scaled - np.float32(MEAN)) / np.float32(STD)).transpose(0, 3, 1, 2).copy())
