"""Scores models/default.gguf as it is on disk, by a forward pass of its own (interleaved rope, KV cache), on pictures from seeds never trained on.

usage: python3 models/placeholder/evaluate.py [--scenes 300]  |  evaluate.py --image PICTURE --question TEXT

An answer counts when the whole text is the expected one. `held-out pairs`: color-shape pairs that no training picture had.
"""

import argparse
import os
import random
from collections import Counter

import gguf
import numpy as np
import sentencepiece
import torch
import torch.nn.functional as F
from PIL import Image

import recipe
import scenes

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'default.gguf')


class Llava:
    def __init__(self, path: str):
        reader = gguf.GGUFReader(path)
        self.w = {t.name: torch.from_numpy(np.array(gguf.quants.dequantize(t.data, t.tensor_type), np.float32).reshape(list(t.shape)[::-1])) for t in reader.tensors}
        self.key = lambda name: reader.fields[name].contents()
        self.pieces = self.key('tokenizer.ggml.tokens')

    def linear(self, x, name):
        return F.linear(x, self.w[name + '.weight'], self.w.get(name + '.bias'))

    def image(self, pixels):
        """[3,S,S] -> [N,D]."""
        w, heads = self.w, self.key('clip.vision.attention.head_count')
        norm = lambda x, name: F.layer_norm(x, x.shape[-1:], w[name + '.weight'], w[name + '.bias'], self.key('clip.vision.attention.layer_norm_epsilon'))
        x = F.conv2d(pixels[None], w['v.patch_embd.weight'], stride=self.key('clip.vision.patch_size'))[0].flatten(1).T
        x = norm(torch.cat([w['v.class_embd'][None], x]) + w['v.position_embd.weight'], 'v.pre_ln')
        for l in range(self.key('clip.vision.block_count')):
            p = f'v.blk.{l}.'
            h = norm(x, p + 'ln1')
            q, k, v = (self.linear(h, p + n).unflatten(1, (heads, -1)).transpose(0, 1) for n in ('attn_q', 'attn_k', 'attn_v'))
            a = torch.softmax(q @ k.transpose(1, 2) / q.shape[-1] ** 0.5, -1) @ v
            x = x + self.linear(a.transpose(0, 1).flatten(1), p + 'attn_out')
            h = self.linear(norm(x, p + 'ln2'), p + 'ffn_up')
            x = x + self.linear(h * torch.sigmoid(1.702 * h), p + 'ffn_down')
        return self.linear(F.gelu(self.linear(x[1:], 'mm.0')), 'mm.2')

    def decode(self, x, cache, start):
        """x [T,D] at positions start…; cache: per layer [k, v]; -> logits of the last row."""
        w, heads, eps = self.w, self.key('llama.attention.head_count'), self.key('llama.attention.layer_norm_rms_epsilon')
        norm = lambda x, name: F.rms_norm(x, x.shape[-1:], w[name + '.weight'], eps)
        t = len(x)
        half = self.key('llama.rope.dimension_count') // 2
        angle = (start + torch.arange(t))[:, None] * self.key('llama.rope.freq_base') ** (-torch.arange(half) / half)
        turn = torch.polar(torch.ones_like(angle), angle)
        rope = lambda y: torch.view_as_real(torch.view_as_complex(y.unflatten(2, (half, 2)).contiguous()) * turn).flatten(2)
        visible = torch.arange(start + t)[None, :] <= start + torch.arange(t)[:, None]
        for l in range(self.key('llama.block_count')):
            p = f'blk.{l}.'
            h = norm(x, p + 'attn_norm')
            q, k, v = (self.linear(h, p + n).unflatten(1, (heads, -1)).transpose(0, 1) for n in ('attn_q', 'attn_k', 'attn_v'))
            q, k = rope(q), rope(k)
            if l in cache:
                k, v = torch.cat([cache[l][0], k], 1), torch.cat([cache[l][1], v], 1)
            cache[l] = (k, v)
            score = (q @ k.transpose(1, 2) / (2 * half) ** 0.5).masked_fill(~visible, float('-inf'))
            x = x + self.linear((torch.softmax(score, -1) @ v).transpose(0, 1).flatten(1), p + 'attn_output')
            h = norm(x, p + 'ffn_norm')
            x = x + self.linear(F.silu(self.linear(h, p + 'ffn_gate')) * self.linear(h, p + 'ffn_up'), p + 'ffn_down')
        return self.linear(norm(x[-1], 'output_norm'), 'output')

    @torch.no_grad()
    def answer(self, before, image, question, limit=24) -> str:
        embed = self.w['token_embd.weight']
        x, cache, start, ids = torch.cat([embed[before], image, embed[question]]), {}, 0, []
        while len(ids) < limit:
            best = int(self.decode(x, cache, start).argmax())
            if best == 2:
                break
            ids.append(best)
            start, x = start + len(x), embed[[best]]
        return ''.join(self.pieces[i] for i in ids).replace('▁', ' ').strip()


def score(model, prompt, held_out: bool, count: int):
    rng, right, total = random.Random(f'held out {held_out}'), Counter(), Counter()
    for _ in range(count):
        scene = scenes.make_scene(rng, held_out)
        image = model.image(recipe.pixel_values(recipe.resized(scenes.draw(scene, rng))[None])[0])
        for kind, question, long, short in scenes.questions(scene, rng):
            brief = rng.random() < 0.5
            said = model.answer(prompt.before, image, prompt.question(question + (scenes.SUFFIX if brief else '')))
            total[kind] += 1
            right[kind] += said == (short.capitalize() if brief else long)
    return {kind: (right[kind], total[kind]) for kind in sorted(total)}


def vocabulary(model) -> bytes:
    """The SentencePiece model is rebuilt from the recipe; it must be the one in the file."""
    spm = recipe.train_vocabulary()
    pieces = sentencepiece.SentencePieceProcessor(model_proto=spm)
    assert [pieces.id_to_piece(i) for i in range(len(model.pieces))] == model.pieces
    return spm


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--scenes', type=int, default=300)
    parser.add_argument('--image')
    parser.add_argument('--question', default='What is in this picture?')
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = Llava(FILE)
    prompt = recipe.Prompt(vocabulary(model))
    with torch.no_grad():
        if options.image:
            image = model.image(recipe.pixel_values(recipe.resized(Image.open(options.image).convert('RGB'))[None])[0])
            print(model.answer(prompt.before, image, prompt.question(options.question)))
            return
        seen, unseen = score(model, prompt, False, options.scenes), score(model, prompt, True, options.scenes)
    print('| question | seen pairs, new pictures | held-out pairs |\n| --- | --- | --- |')
    for kind in seen:
        print(f'| {kind} | ' + ' | '.join(f'{100 * r / n:.1f} % ({r}/{n})' for r, n in (seen[kind], unseen[kind])) + ' |')


if __name__ == '__main__':
    main()
