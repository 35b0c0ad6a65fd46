"""Trains the default model, stage by stage, and writes models/default.gguf.

usage: python3 models/recipe/train.py WORK [--packaged models/default.gguf]

WORK holds the drawings (render.mjs writes them) and every stage's checkpoint: an interrupted run goes on, a finished stage is not run again.
--packaged: only the last stage, plain questions, from the weights of a file that export.py wrote.
"""

import argparse
import copy
import os
import random

import torch
import torch.nn.functional as F

from drawings import Drawings
from scenes import GRID, PATCH, SIDE, WRITTEN, Composer, counts_of, generator
from stage import Stage, half
from teacher import FEATURES, WIDTH, Teacher
from writing import LETTERS
import contrast
import language
import packaged
import tower as towers
from export import export

BATCH = 64
SMALL = 64   # side of the pictures in which the teacher learns one thing at a time
PART = 8 * PATCH  # of those in which the tower does
STEPS = {'teacher-alone': 2600, 'teacher': 700, 'tower-alone': 1300, 'tower': 2000, 'contrast': 1500, 'text': 500, 'look': 600, 'words': 250, 'align': 100, 'instruct': 2700, 'plain': 420}
BACK = 0.1   # from the weights after plain questions to those before
MODELS = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..')


def alone(drawings: Drawings, hand: str, side: int, count: int = 64):
    """Batches of every drawing of a hand, alone on a pale ground, and its thing."""
    mine = drawings.of(hand)
    composer = Composer(drawings, [hand], styled=False, side=side)
    for at in range(0, len(mine), count):
        part = mine[at:at + count]
        yield composer.portrait(part), drawings.label[part]


@torch.no_grad()
def naming(drawings: Drawings, logits_of, side: int = SIDE) -> str:
    """Top-1 / top-5 of the unseen hands, alone in the picture."""
    text = []
    for hand in drawings.hands['test']:
        first = fifth = count = 0
        for values, label in alone(drawings, hand, side):
            with half():
                top = logits_of(values).float().topk(5, 1).indices
            first += int((top[:, 0] == label).sum())
            fifth += int((top == label[:, None]).any(1).sum())
            count += len(label)
        text.append(f'{hand} {first / count:.3f}/{fifth / count:.3f}')
    return ' '.join(text)


def patch_things(batch, owner: torch.Tensor) -> torch.Tensor:
    """[B,G²]: 1 + the thing on each patch, 0 for the ground. owner: of the batch."""
    return torch.where(owner >= 0, 1 + batch.thing[owner.clamp_min(0)], 0)


def single(batch):
    """Which pictures show one thing, and that thing."""
    lone = torch.where(torch.bincount(batch.scene, minlength=len(batch.pixels)) == 1)[0]
    return lone, batch.thing[torch.searchsorted(batch.scene, lone)]


def train_teacher(folder: str, drawings: Drawings) -> Teacher:
    """First one thing a picture, small and so many a second; then scenes, where every place is named."""
    hands = drawings.hands['train'] + drawings.hands['icons']
    torch.manual_seed(1)
    model = Teacher(len(drawings.things)).to(memory_format=torch.channels_last)
    small, scenes = Composer(drawings, hands, side=SMALL), Composer(drawings, hands, written=WRITTEN)

    def one_thing(step):
        batch = small.compose(2 * BATCH, generator(0, step), torch.ones(2 * BATCH, dtype=torch.long))
        with half():
            _, _, whole = model(batch.values())
        loss = F.cross_entropy(whole.float(), batch.thing, label_smoothing=0.1)
        return loss, {'named': loss}

    def scene(step):
        g = generator(1, step)
        batch = scenes.compose(BATCH, g, counts_of(g, BATCH))
        lone, thing = single(batch)
        with half():
            _, dense, whole = model(batch.values())
        owner = batch.owner()
        places = towers.weighted(F.cross_entropy(dense.float().transpose(1, 2), patch_things(batch, owner), reduction='none', label_smoothing=0.1), towers.patch_weight(batch, owner))
        named = F.cross_entropy(whole.float()[lone], thing, label_smoothing=0.1)
        return places + named, {'places': places, 'named': named}

    judge = lambda side: lambda mean: naming(drawings, lambda values: mean(values)[2], side)
    alone = Stage(folder, 'teacher-alone', model, STEPS['teacher-alone'], 3e-3, decay=0.05).fit(one_thing, judge(SMALL))
    model.load_state_dict(alone.state_dict())
    return Stage(folder, 'teacher', model, STEPS['teacher'], 1.5e-3, decay=0.05).fit(scene, judge(SIDE))


def train_tower(folder: str, drawings: Drawings, teacher: Teacher) -> towers.Tower:
    """Distillation: each patch row of layer -2 learns the teacher's features and names there, the class row its names of the whole; one thing first, as before."""
    hands = drawings.hands['train'] + drawings.hands['icons']
    torch.manual_seed(2)
    model = towers.Tower(len(drawings.things), FEATURES)
    small, scenes = Composer(drawings, hands, side=PART), Composer(drawings, hands, written=WRITTEN)
    g = generator(2, 1 << 40)
    towers.start(model, scenes.compose(256, g, counts_of(g, 256)).values())
    teacher = teacher.eval()
    divergence = lambda told, taught: F.kl_div(F.log_softmax(told, -1), F.softmax(taught, -1), reduction='none').sum(-1)

    @torch.no_grad()
    def taught(values):
        with half():
            features, dense, whole = teacher(values)
        third, fourth = features.float().split([4 * WIDTH, 8 * WIDTH], -1)
        return torch.cat([F.layer_norm(third, third.shape[-1:]), F.layer_norm(fourth, fourth.shape[-1:])], -1), dense.float(), whole.float()

    def one_thing(step):
        g = generator(7, step)
        batch = small.compose(2 * BATCH, g, torch.ones(2 * BATCH, dtype=torch.long))
        values = batch.values()
        if step % 2:  # two pictures, one through the other: the teacher tells what is still seen
            part = 0.5 * torch.rand(len(values), 1, 1, 1, generator=g)
            values = values * (1 - part) + values.roll(1, 0) * part
        features, _, whole = taught(values)
        with half():
            rows, pooled = model(values, torch.randint(GRID - PART // PATCH + 1, (2,), generator=g).tolist())
            told_features, told_whole = model.features(rows), model.whole(pooled)
        losses = {'features': 3 * (told_features.float() - features).square().mean(), 'whole': divergence(told_whole.float(), whole).mean()}
        return sum(losses.values()), losses

    def scene(step):
        g = generator(2, step)
        batch = scenes.compose(BATCH, g, counts_of(g, BATCH, crowded=step % 2 == 0))
        values = batch.values()
        owner, color, middle, box, letter, total = towers.targets(batch)
        lone, thing = single(batch)
        features, dense, whole = taught(values)
        with half():
            rows, pooled = model(values)
            heads = [head(rows) for head in (model.features, model.dense, model.color, model.middle, model.box, model.letter)] + [model.whole(pooled), model.total(pooled)]
        told_features, told_dense, told_color, told_middle, told_box, told_letter, told_whole, told_total = (head.float() for head in heads)
        weight = towers.patch_weight(batch, owner)
        there = lambda told, wanted, part: towers.weighted(F.cross_entropy(told.transpose(1, 2), wanted, reduction='none', ignore_index=-100), weight * part)
        losses = {
            'features': 3 * towers.weighted((told_features - features).square().mean(-1), weight),
            'dense': towers.weighted(divergence(told_dense, dense), weight),
            'label': 0.5 * there(told_dense, patch_things(batch, owner), 1),
            'color': 0.5 * there(told_color, color, color >= 0),
            'middle': 0.15 * F.binary_cross_entropy_with_logits(told_middle[..., 0], middle.float(), reduction='sum') / middle.sum(),
            'box': 2 * towers.weighted((told_box - box).abs().mean(-1), weight * (owner >= 0)),
            'letter': 0.5 * F.cross_entropy(told_letter.flatten(0, 1), letter.flatten(), torch.tensor([1.0] * len(LETTERS) + [0.05])),
            'total': 0.3 * F.cross_entropy(told_total, total)}
        if len(lone):
            losses['whole'] = divergence(told_whole[lone], whole[lone]).mean() + 0.5 * F.cross_entropy(told_whole[lone], thing)
        return sum(losses.values()), losses

    judge = lambda side: lambda mean: naming(drawings, lambda values: mean.whole(mean(values)[1]), side)
    alone = Stage(folder, 'tower-alone', model, STEPS['tower-alone'], 3e-3).fit(one_thing, judge(PART))
    model.load_state_dict(alone.state_dict())
    return Stage(folder, 'tower', model, STEPS['tower'], 2e-3).fit(scene, judge(SIDE))


def train_contrast(folder: str, drawings: Drawings, tower: towers.Tower, out: str):
    tokenizer = contrast.tokenizer_in(os.path.join(folder, 'clip-vocabulary'), drawings.things)
    torch.manual_seed(6)
    model = contrast.build(len(tokenizer), tower)
    stage = Stage(folder, 'contrast', model, STEPS['contrast'], 2e-3)
    if stage.step < stage.steps:
        pictures = contrast.Pictures(drawings, tower, 100 * 128)

    def loss_of(step):
        with half():
            loss, found = contrast.contrast(model, tokenizer, pictures, torch.randperm(len(pictures.rows), generator=generator(8, step))[:256], random.Random(f'contrast {step}'))
        return loss, {'loss': loss, 'found': found}

    contrast.save(stage.fit(loss_of), tokenizer, out)


def train_language(folder: str, drawings: Drawings, tower: towers.Tower, spm: bytes):
    """Text of the domain, and looking things up in it; then the projector alone (stage 1): it says what the rows of the tower know in the words' own vectors, then
    captions; then projector and language model on instructions (stage 2)."""
    torch.manual_seed(3)
    model = language.build(tower)
    lessons = language.Lessons(drawings, tower, model, spm)
    language.train_only(model, 'language_model', 'lm_head')
    model.load_state_dict(Stage(folder, 'text', model, STEPS['text'], 2e-3).fit(lessons.text).state_dict())
    model.load_state_dict(Stage(folder, 'look', model, STEPS['look'], 2e-3).fit(lessons.look).state_dict())
    language.train_only(model, 'multi_modal_projector')
    model.load_state_dict(Stage(folder, 'words', model, STEPS['words'], 2e-3).fit(lessons.words).state_dict())
    model.load_state_dict(Stage(folder, 'align', model, STEPS['align'], 2e-3).fit(lessons.captions).state_dict())
    language.train_only(model, 'multi_modal_projector', 'language_model', 'lm_head')
    model.load_state_dict(Stage(folder, 'instruct', model, STEPS['instruct'], 2.5e-3).fit(lessons.instructions).state_dict())
    return train_plain(folder, lessons)


def train_plain(folder: str, lessons: language.Lessons):
    """The language model alone learns plain questions, and keeps its answers to those it knows."""
    frozen = copy.deepcopy(lessons.model).eval().requires_grad_(False)
    language.train_only(lessons.model, 'language_model', 'lm_head')
    learnt = Stage(folder, 'plain', lessons.model, STEPS['plain'], 8e-4).fit(lessons.plain(frozen))
    with torch.no_grad():  # a tenth of the way back: counting, which is lost first, returns before the new answers go (Wortsman et al. 2022)
        for new, old in zip(learnt.parameters(), frozen.parameters()):
            new.lerp_(old, BACK)
    return learnt


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('work')
    parser.add_argument('--packaged')
    options = parser.parse_args()
    torch.set_num_threads(os.cpu_count())
    drawings = Drawings(options.work)
    if options.packaged:
        model, tower, spm = packaged.read(options.packaged, len(drawings.things))
        export(train_plain(options.work, language.Lessons(drawings, tower, model, spm)), spm, os.path.join(MODELS, 'default.gguf'))
        return
    teacher = train_teacher(options.work, drawings)
    tower = train_tower(options.work, drawings, teacher)
    train_contrast(options.work, drawings, tower, os.path.join(MODELS, 'clip'))
    spm = language.vocabulary_in(os.path.join(options.work, 'vocabulary.model'), drawings.things)
    model = train_language(options.work, drawings, tower, spm)
    export(model, spm, os.path.join(MODELS, 'default.gguf'))


if __name__ == '__main__':
    main()
