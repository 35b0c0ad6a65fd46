"""Writes the examination of the default model: pictures by hands it never saw, and the questions asked about them. `npm run eval` asks them through the package.

usage: python3 models/recipe/exam.py WORK OUT [--scenes 300] [--last]

OUT/<hand>/: one PNG a picture, and questions.jsonl with {picture, kind, question, accept: [short answers], things: [indices in the picture]}; OUT/things.json:
what the model knows. The color is asked only of things whose color has one name (steady). Hands: those of hands.json under "test", the training hands together (pictures of new seeds), and with --last the one kept for the end.
"""

import argparse
import json
import os
import random

import torch
from PIL import Image

from drawings import Drawings, steady
from language import members_in
from questions import groups_of, questions
from scenes import MEAN, STD, Composer, counts_of, generator

PICTURE = 192
WORDS = 60  # pictures of a hand that have a word
KINDS = ('exists', 'color', 'count', 'relation', 'describe')


def save(pixels: torch.Tensor, path: str):
    """[3,H,W] in 0..1."""
    Image.fromarray((pixels.clamp(0, 1) * 255 + 0.5).byte().permute(1, 2, 0).numpy()).save(path)


def examine(drawings: Drawings, name: str, hands: list, out: str, scenes: int):
    folder = os.path.join(out, name)
    os.makedirs(folder, exist_ok=True)
    things, asked = drawings.things, []
    alone = drawings.of(*hands)
    if name == 'train':
        alone = alone[torch.randperm(len(alone), generator=generator(9, 0))[:400]]
    composer = Composer(drawings, hands, styled=False, side=PICTURE)
    for n, pixels in zip(alone.tolist(), composer.portrait(alone) * STD[:, None, None] + MEAN[:, None, None]):
        thing, picture = things[drawings.label[n]], f'one-{n}.png'
        save(pixels, os.path.join(folder, picture))
        asked.append(dict(picture=picture, kind='name', question='What is this?', accept=[thing['name'], *thing['synonyms']], things=[int(drawings.label[n])]))
    rng = random.Random(f'exam {name}')
    for at in range(0, scenes, 50):
        g = generator(9, 1 + at)
        batch = composer.compose(50, g, counts_of(g, 50))
        batch.color[~steady(drawings.pixels[2][batch.drawing])] = -1
        for b, (members, ground) in enumerate(zip(members_in(batch), batch.ground.tolist())):
            picture = f'scene-{at + b}.png'
            save(batch.pixels[b], os.path.join(folder, picture))
            groups = groups_of(things, members)
            for kind, question, _, short in questions(things, groups, ground, rng):
                if kind in KINDS:
                    asked.append(dict(picture=picture, kind=kind, question=question, accept=[short], things=[group.index for group in groups]))
    batch = Composer(drawings, hands, styled=False, side=PICTURE, written=1).compose(WORDS, generator(9, 1 << 20), torch.ones(WORDS, dtype=torch.long))
    for b, (word, thing) in enumerate(zip(batch.written, batch.thing.tolist())):
        picture = f'word-{b}.png'
        save(batch.pixels[b], os.path.join(folder, picture))
        asked.append(dict(picture=picture, kind='read', question='What does it say?', accept=[word.text], things=[thing]))
    with open(os.path.join(folder, 'questions.jsonl'), 'w') as file:
        file.writelines(json.dumps(line) + '\n' for line in asked)
    print(f'{name}: {len(alone)} drawings alone, {scenes} scenes, {WORDS} words, {len(asked)} questions')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('work')
    parser.add_argument('out')
    parser.add_argument('--scenes', type=int, default=300)
    parser.add_argument('--last', action='store_true')
    options = parser.parse_args()
    drawings = Drawings(options.work)
    parts = {hand: [hand] for hand in drawings.hands['test'] + (drawings.hands['last'] if options.last else [])}
    for name, hands in {**parts, 'train': drawings.hands['train']}.items():
        examine(drawings, name, hands, options.out, options.scenes)
    with open(os.path.join(options.out, 'things.json'), 'w') as file:
        json.dump([{key: thing[key] for key in ('name', 'plural', 'synonyms', 'kind')} for thing in drawings.things], file)


if __name__ == '__main__':
    main()
