"""Trains the placeholder default model and writes models/default.gguf.

usage: python3 models/placeholder/train.py [--tower-steps N] [--steps N] [--threads N]

LlavaForConditionalGeneration in small, from random weights. First the tower alone learns to name color, shape and place of what each patch
lies on; then it is frozen, and projector and decoder learn from questions and answers. One row holds a picture once and all its questions:
the system text and the image rows are seen by every question, questions do not see each other (mask), and each starts at the position after
the image.
"""

import argparse
import multiprocessing
import os
import random
import time

import numpy as np
import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

import recipe
import scenes
from export import export

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'default.gguf')
BATCH = 32


def build() -> LlavaForConditionalGeneration:
    config = LlavaConfig(vision_config=CLIPVisionConfig(**recipe.VISION), text_config=LlamaConfig(vocab_size=recipe.PIECES, **recipe.TEXT),
                         image_token_index=0, vision_feature_layer=-1)  # only layers that run are built: layer -2 of one more
    return LlavaForConditionalGeneration(config)


@torch.no_grad()
def start_tower(tower):
    """A start from which a tower learns in minutes: whitened patches, sinusoidal positions, attention that already looks at something."""
    width, grid = recipe.VISION['hidden_size'], recipe.SIZE // recipe.PATCH
    for name, weight in tower.named_parameters():
        if name.endswith('weight') and any(part in name for part in ('_proj', 'fc')):
            torch.nn.init.normal_(weight, std=(1.5 if 'q_proj' in name or 'k_proj' in name else 0.7) * weight.shape[1] ** -0.5)
    frequency = 1.5 * 20 ** -torch.linspace(0, 1, width // 4)
    y, x = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing='ij')
    waves = torch.cat([wave(axis.reshape(-1, 1) * frequency) for axis in (x, y) for wave in (torch.sin, torch.cos)], 1)
    pixels = torch.cat([recipe.pixel_values(make_looks(-1 - i)[0]) for i in range(8)])
    patches = torch.nn.functional.unfold(pixels, recipe.PATCH, stride=recipe.PATCH).transpose(1, 2).flatten(0, 1)
    mean = patches.mean(0)
    size, direction = torch.linalg.eigh((patches - mean).T @ (patches - mean) / len(patches))
    kernel = 0.3 * (direction[:, -width:] / torch.sqrt(size[-width:] + 0.01)).T
    tower.embeddings.patch_embedding.weight.copy_(kernel.reshape(width, 3, recipe.PATCH, recipe.PATCH))
    tower.embeddings.position_embedding.weight[1:] = 0.3 * waves - kernel @ mean


def branches(prompt: recipe.Prompt, scene: dict, rng: random.Random):
    """[(ids, is answer)] per question; now and then two questions make one conversation."""
    def turn(asked, first):
        _, question, long, short = asked
        brief = rng.random() < 0.35
        ask = prompt.question(question + (scenes.SUFFIX if brief else ''), first)
        say = prompt.answer(short.capitalize() if brief else long)
        return ask + say, [False] * len(ask) + [True] * len(say)
    asked = scenes.questions(scene, rng)
    easy = [ask for ask in asked if ask[0] in ('count', 'ground', 'yes/no')]
    hard = [ask for ask in asked if ask not in easy]
    asked = rng.sample(hard, min(len(hard), 4)) + rng.sample(easy, 1)
    rng.shuffle(asked)
    result = []
    while asked:
        ids, answer = turn(asked.pop(), True)
        if asked and rng.random() < 0.25:
            more, more_answer = turn(asked.pop(), False)
            ids, answer = ids + more, answer + more_answer
        result.append((ids, answer))
    return result


def look(rng: random.Random, unnamed: float):
    scene = scenes.make_scene(rng, unnamed=unnamed)
    image = scenes.draw(scene, rng)
    return scene, recipe.resized(image), recipe.patch_labels(scene, image)


def make_looks(seed: int):
    """uint8 pictures [2B,S,S,3] and patch labels [2B,3,N]."""
    rng = random.Random(f'look {seed}')
    _, pictures, labels = zip(*(look(rng, unnamed=0.5) for _ in range(2 * BATCH)))
    return np.stack(pictures), np.stack(labels)


def make_batch(job):
    """uint8 pictures [B,S,S,3]; ids, positions, branch number (-1 = padding), is answer: [B,T] of what follows the image."""
    spm, seed = job
    if not hasattr(make_batch, 'prompt'):
        make_batch.prompt = recipe.Prompt(spm)
    rng = random.Random(f'train {seed}')
    rows, pictures = [], []
    for _ in range(BATCH):
        scene, picture, _ = look(rng, unnamed=0.3)
        pictures.append(picture)
        rows.append(branches(make_batch.prompt, scene, rng))
    length = max(sum(len(ids) for ids, _ in row) for row in rows)
    start = len(make_batch.prompt.before) + recipe.ROWS
    ids, positions, branch, answer = np.zeros((4, BATCH, length), np.int64)
    branch[:] = -1
    for b, row in enumerate(rows):
        at = 0
        for k, (tokens, is_answer) in enumerate(row, 1):
            here = slice(at, at + len(tokens))
            ids[b, here], positions[b, here], branch[b, here], answer[b, here] = tokens, start + np.arange(len(tokens)), k, is_answer
            at += len(tokens)
    return np.stack(pictures), ids, positions, branch, answer.astype(bool)


def loss_of(model, before: torch.Tensor, batch) -> torch.Tensor:
    pictures, ids, positions, branch, answer = batch
    ids, positions, branch, answer = map(torch.from_numpy, (ids, positions, branch, answer))
    count, shared = len(ids), len(before) + recipe.ROWS
    with torch.no_grad():
        hidden = model.model.vision_tower(recipe.pixel_values(pictures)).last_hidden_state[:, 1:]
    embed = model.get_input_embeddings()
    x = torch.cat([embed(before).expand(count, -1, -1), model.model.multi_modal_projector(hidden), embed(ids)], 1)
    branch = torch.cat([torch.zeros(count, shared, dtype=torch.long), branch], 1)
    positions = torch.cat([torch.arange(shared).expand(count, -1), positions], 1)
    order = torch.arange(x.shape[1])
    seen = (order[None, :] <= order[:, None]) & ((branch[:, None, :] == 0) | (branch[:, None, :] == branch[:, :, None]))
    mask = torch.where(seen[:, None], 0.0, torch.finfo(torch.float32).min)
    y = model.model.language_model(inputs_embeds=x, attention_mask=mask, position_ids=positions, use_cache=False).last_hidden_state[:, shared - 1:-1]
    return torch.nn.functional.cross_entropy(model.lm_head(y[answer]), ids[answer])


def tower_loss(tower, heads, batch) -> torch.Tensor:
    """Each patch row names color, shape and place of the thing it lies on."""
    pictures, labels = batch
    rows = tower(recipe.pixel_values(pictures)).last_hidden_state[:, 1:]
    labels = torch.from_numpy(labels)
    def loss(head, label):
        weight = torch.ones(head.out_features)
        weight[0] = 0.03  # ground is most of a picture, and where it begins is the uninteresting question
        return torch.nn.functional.cross_entropy(head(rows).flatten(0, 1), label.flatten(), weight)
    return sum(loss(head, labels[:, i]) for i, head in enumerate(heads))


def fit(name: str, parameters, batches, steps: int, rate: float, loss_of_batch):
    parameters = list(parameters)
    optimizer = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    began = time.time()
    for step, batch in enumerate(batches):
        loss = loss_of_batch(batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if step % 20 == 0 or step + 1 == steps:
            print(f'{name} step {step} loss {loss.item():.3f} {time.time() - began:.0f} s', flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--tower-steps', type=int, default=1000)
    parser.add_argument('--steps', type=int, default=600)
    parser.add_argument('--threads', type=int, default=2)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    spm = recipe.train_vocabulary()
    before = torch.tensor(recipe.Prompt(spm).before)
    model = build()
    tower = model.model.vision_tower
    start_tower(tower)
    heads = torch.nn.ModuleList(torch.nn.Linear(recipe.VISION['hidden_size'], 1 + len(names)) for names in (scenes.COLORS, scenes.SHAPES, scenes.PLACES))
    print(f'{sum(p.numel() for p in model.parameters())} parameters, {len(before)} ids before the image')
    with multiprocessing.Pool(1) as pool:
        fit('tower', [*tower.parameters(), *heads.parameters()], pool.imap(make_looks, range(options.tower_steps)), options.tower_steps, 2e-3,
            lambda batch: tower_loss(tower, heads, batch))
        tower.requires_grad_(False)
        fit('whole', [p for p in model.parameters() if p.requires_grad], pool.imap(make_batch, ((spm, seed) for seed in range(options.steps))), options.steps, 1.5e-3,
            lambda batch: loss_of(model, before, batch))
    export(model.eval(), spm, OUT)


if __name__ == '__main__':
    main()
