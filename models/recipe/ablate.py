"""What the paper ablates, in small: equal steps of stage 2 with one thing changed, and how many of the answers' tokens are right on pictures not trained on.

usage: python3 models/recipe/ablate.py WORK OUT [--steps 150]     (after train.py; prints a table and writes OUT/ablation.svg)
"""

import argparse
import os

import matplotlib
import torch

matplotlib.use('Agg')
import matplotlib.pyplot as plt  # noqa: E402

import language  # noqa: E402
import tower as towers  # noqa: E402
from drawings import Drawings  # noqa: E402
from stage import Stage  # noqa: E402
from teacher import FEATURES  # noqa: E402

HELD_OUT = 1 << 30  # steps that training never reaches
WORDS, CAPTIONS = 60, 40  # steps of stage 1
VARIANTS = {'as it is': {}, 'linear projector': {'linear': True}, 'without stage 1': {'aligned': False}, 'pictures enlarged from 96 pixels': {'side': 96}, 'pictures not heard': {'heard': 0}}


def weights(folder: str, stage: str) -> dict:
    return torch.load(os.path.join(folder, f'{stage}.pt'), weights_only=True)['averaged']


def variant(work: str, drawings: Drawings, tower, spm: bytes, steps: int, name: str, linear: bool = False, aligned: bool = True, **lesson):
    torch.manual_seed(3)
    model = language.build(tower)
    model.load_state_dict(weights(work, 'look'))
    if linear:
        model.model.multi_modal_projector.act = torch.nn.Identity()
    lessons = language.Lessons(drawings, tower, model, spm, **lesson)
    folder = os.path.join(work, 'ablation', name.replace(' ', '-'))
    os.makedirs(folder, exist_ok=True)
    if aligned:
        language.train_only(model, 'multi_modal_projector')
        model.load_state_dict(Stage(folder, 'words', model, WORDS, 2e-3).fit(lessons.words).state_dict())
        model.load_state_dict(Stage(folder, 'align', model, CAPTIONS, 2e-3).fit(lessons.captions).state_dict())
    language.train_only(model, 'multi_modal_projector', 'language_model', 'lm_head')
    Stage(folder, 'instruct', model, steps, 2.5e-3).fit(lessons.instructions)
    with torch.no_grad():
        held_out = [lessons.instructions(HELD_OUT + n)[1] for n in range(8)]
    return {key: sum(float(one[key]) for one in held_out) / len(held_out) for key in held_out[0]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('work')
    parser.add_argument('out')
    parser.add_argument('--steps', type=int, default=150)
    options = parser.parse_args()
    torch.set_num_threads(os.cpu_count())
    drawings = Drawings(options.work)
    tower = towers.Tower(len(drawings.things), FEATURES)
    tower.load_state_dict(weights(options.work, 'tower'))
    spm = language.vocabulary_in(os.path.join(options.work, 'vocabulary.model'), drawings.things)
    found = {name: variant(options.work, drawings, tower, spm, options.steps, name, **change) for name, change in VARIANTS.items()}
    os.makedirs(options.out, exist_ok=True)
    draw(found, os.path.join(options.out, 'ablation.svg'))


def draw(found: dict, path: str):
    figure, axis = plt.subplots(figsize=(7, 2.2), constrained_layout=True)
    names = list(found)[::-1]
    bars = axis.barh(names, [found[name]['loss'] for name in names], height=0.6)
    axis.bar_label(bars, [f'{found[name]["loss"]:.3f}   ({100 * found[name]["right"]:.1f} % of the tokens right)' for name in names], padding=4)
    axis.set_xlim(0, 2.3 * max(one['loss'] for one in found.values()))
    axis.set_xlabel('loss of the answers about pictures not trained on')
    for name, one in found.items():
        print(f'| {name} | {one["loss"]:.3f} | {100 * one["right"]:.1f} % |')
    plt.rcParams['svg.hashsalt'] = 'ablation'
    figure.savefig(path, metadata={'Date': None})


if __name__ == '__main__':
    main()
