"""Writes the examination of the default model: pictures by hands it never saw, and the questions asked about them. `npm run eval` asks them through the package.

usage: python3 models/recipe/exam.py WORK OUT [--scenes 300] [--last]

OUT/<hand>/: one PNG a picture, and questions.jsonl with {picture, kind, question, accept: [short answers], things: [indices in the picture]}; OUT/things.json:
what the model knows. Of the kind "plain" (forms below, none of them among those of plain.py) the answer must match a pattern (told: and be true, as a description); some have questions before them, or no picture. The color is asked only of things whose color has one name (steady). Hands: those of hands.json under "test", the training hands together (pictures of new seeds), and with --last the one kept for the end.
"""

import argparse
import json
import os
import random
import re

import torch
from PIL import Image

import plain
from drawings import COLORS, Drawings, dominant, steady
from language import members_in
from questions import NUMBERS, a, groups_of, questions, where
from scenes import MEAN, STD, Composer, counts_of, generator

PICTURE = 192
WORDS = 60  # pictures of a hand that have a word
KINDS = ('exists', 'color', 'count', 'relation', 'describe')

TIMES = 3   # how often a plain form is asked about another picture

# Plain questions: (questions before, question, pattern of a right answer). In braces: of the one thing asked about its names, name with article (a), plural, color, place, number, kind and fact; other: a thing
# that is not there; total: number of all things.
NAMED, TOLD, COLOR, PLACE = r'\b({names})\b', '^The picture shows ', r'\b{color}\b', r'\b{place}\b(?! left| right)'
REFUSED, GREETED, THANKED, WHO, SKILLS = '^I (only know|do not know)', '^Hello', '^You are welcome', 'LLaVA', '^I name'
ALONE = [
    ([], 'What thing do you see here?', NAMED), ([], "What's that supposed to be?", NAMED), ([], 'what is depicted here', NAMED), ([], 'Could you name the object?', NAMED),
    ([], 'Please tell me what the image shows.', NAMED), ([], 'What does this picture contain?', NAMED), ([], 'Can you recognise what this is?', NAMED), ([], 'What do you think this is?', NAMED),
    ([], 'Give me a short description.', TOLD), ([], 'Can you describe what the image shows?', TOLD), ([], 'Please describe it to me.', TOLD),
    ([], 'Which colour would you say it has?', COLOR), ([], 'Can you tell me its colour?', COLOR), ([], 'Do you see what color this is?', COLOR), ([], 'Where in the image is it?', PLACE), ([], 'How many of these are there?', r'\bone\b'),
    ([], 'Is it some kind of {kind}?', '^Yes'), ([], 'Would you call it {a}?', '^Yes'), ([], 'Might it be {other}?', '^No'), ([], 'Is {a} shown here?', '^Yes'), ([], 'Is this image a photo or a drawing?', 'drawing'),
    (['What is this?'], 'Which colour is it then?', COLOR), (['What is this?'], 'The colour, please?', COLOR), (['What is this?'], 'Where can it be found?', PLACE), (['What is this?'], 'Could you tell me a bit about it?', '^{fact}'),
    (['What is this?'], 'Cheers, thanks!', THANKED), (['What is this?'], 'Do you see more?', '^That is all'), (['What is this?'], 'Are you really sure?', 'wrong')]
AMONG = [
    ([], 'What have you found in the picture?', TOLD), ([], 'What is there to see?', TOLD), ([], 'Which objects are shown here?', TOLD), ([], 'Mention everything that is in it.', TOLD),
    ([], "I'd like a description of the scene.", TOLD), ([], 'Describe everything you can see.', TOLD), ([], 'What colour would it be?', '^There are several'), ([], 'Can you see any {plural} here?', '^Yes'), ([], 'Is {other} among them?', '^No'),
    ([], 'What might be the colour of the {name}?', COLOR), ([], 'Whereabouts is the {name}?', PLACE), ([], 'How many {plural} are visible?', r'\b{number}\b'), ([], 'How many things did you count?', r'\b{total}\b'),
    (['Is there {a} in the picture?'], 'What colour might it have?', COLOR), (['Is there {a} in the picture?'], 'Where would I find it?', PLACE), (['What is in this picture?'], 'Now where do I find the {name}?', PLACE)]
ASIDE = [
    ([], 'Hello, old friend', GREETED), ([], 'Thank you, that was helpful', THANKED), ([], 'Which model am I talking to?', WHO), ([], 'What kind of questions may I ask?', SKILLS), ([], 'Write a haiku about autumn.', REFUSED),
    ([], 'How much is 17 multiplied by 3?', REFUSED), ([], 'Who is the chancellor of Austria?', REFUSED), ([], 'Can you translate this into Polish?', REFUSED), ([], "What's the weather going to be on Sunday?", REFUSED),
    ([], 'Recommend me a good restaurant.', REFUSED), ([], 'Is the {name} having fun?', REFUSED), ([], 'What activity is the {name} engaged in?', REFUSED), ([], 'Which camera was used for this?', REFUSED), ([], 'Which song is number one?', REFUSED),
    ([], 'Explain black holes.', REFUSED), ([], 'Please book a table for two.', REFUSED)]
BLIND = [
    ([], 'What would you say this photo is of?', '^There is no picture'), ([], 'Can you see {a} here, or not?', '^There is no picture'), ([], 'What colour is the {name} over there?', '^There is no picture'), ([], 'Describe the attached picture.', '^There is no picture'),
    ([], 'How many {plural} can you make out?', '^There is no picture'), ([], 'Hello, is anybody there?', GREETED), ([], 'Thank you kindly', THANKED), ([], 'What are you able to do?', SKILLS), ([], 'Compose a limerick.', REFUSED),
    ([], 'What is the population of Norway?', REFUSED), ([], 'When did the war end?', REFUSED), (['Hello!'], 'And what do you see now?', '^There is no picture')]


def filled(form: tuple, thing: dict, slots: dict) -> dict:
    earlier, question, pattern = form
    words = dict(slots, name=thing['name'], a=a(thing, thing['name']), plural=thing['plural'], kind=thing['kind'], fact=re.escape(thing['fact']), names='|'.join(re.escape(name) for name in (thing['name'], *thing['synonyms'])))
    return dict(kind='plain', earlier=[one.format(**words) for one in earlier], question=question.format(**words), accept=[], pattern=pattern.format(**words), told=pattern == TOLD)


def plain_questions(things: list, portraits: list, scenes: list, rng: random.Random) -> list:
    """portraits: [(picture, thing, color)] of one thing each; scenes: [(picture, groups)]."""
    other = lambda here: a(*(lambda thing: (thing, thing['name']))(things[rng.choice([n for n in range(len(things)) if n not in here and all(things[n]['kind'] != things[m]['kind'] for m in here)])]))
    asked = []
    for form in ALONE + ASIDE:
        for picture, thing, color in rng.sample(portraits, TIMES if form in ALONE else 1):
            asked.append(dict(filled(form, things[thing], dict(color=COLORS[color], place='middle', other=other([thing]))), picture=picture, things=[thing]))
    told = [(picture, groups, [group for group in groups if group.color >= 0 and group.count == 1]) for picture, groups in scenes if len(groups) > 1]
    for form in AMONG:
        for picture, groups, single in rng.sample([one for one in told if one[2]], TIMES):
            it, here = rng.choice(single), [group.index for group in groups]
            slots = dict(color=COLORS[it.color], place=where(it.field), number=NUMBERS[1], total=NUMBERS[sum(group.count for group in groups)], other=other(here))
            asked.append(dict(filled(form, it.thing, slots), picture=picture, things=here))
    for form in BLIND:
        asked.append(dict(filled(form, things[rng.choice(portraits)[1]], {}), picture='', things=[]))
    return asked


def bare(form: str) -> str:
    """A form as a reader takes it: whatever its case, marks and spelling."""
    for whole, short in plain.CONTRACTIONS:
        form = form.replace(short, whole)
    form = re.sub('|'.join(plain.PICTURES), 'picture', form.lower().replace('colour', 'color'))
    return ' '.join(re.sub(r'\{\w+\}', '_', form).translate(str.maketrans('', '', '.,:;!?')).split())


def must_be_new():
    """No form of the examination is one that was learnt, nor one behind an opener."""
    lists = [forms for _, forms in plain.REPHRASED] + [forms for forms, _, _ in plain.TALK] + [forms for forms in vars(plain).values() if isinstance(forms, list) and all(isinstance(form, str) for form in forms)]
    learnt = {bare(form) for forms in lists for form in forms}
    openers = sorted({bare(opener) + ' ' for opener in plain.OPENERS})
    for _, form, _ in ALONE + AMONG + ASIDE + BLIND:
        rest = [bare(form), *(bare(form).removeprefix(opener) for opener in openers)]
        if any(one in learnt for one in rest):
            raise ValueError(f'"{form}" was learnt')


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
    colors = torch.where(steady(drawings.pixels[2][alone]), dominant(drawings.pixels[2][alone]), -1)
    portraits = [(f'one-{n}.png', int(drawings.label[n]), color) for n, color in zip(alone.tolist(), colors.tolist()) if color >= 0]
    rng, told = random.Random(f'exam {name}'), []
    for at in range(0, scenes, 50):
        g = generator(9, 1 + at)
        batch = composer.compose(50, g, counts_of(g, 50))
        batch.color[~steady(drawings.pixels[2][batch.drawing])] = -1
        for b, (members, ground) in enumerate(zip(members_in(batch), batch.ground.tolist())):
            picture = f'scene-{at + b}.png'
            save(batch.pixels[b], os.path.join(folder, picture))
            groups = groups_of(things, members)
            told.append((picture, groups))
            for kind, question, _, short in questions(things, groups, ground, rng):
                if kind in KINDS:
                    asked.append(dict(picture=picture, kind=kind, question=question, accept=[short], things=[group.index for group in groups]))
    batch = Composer(drawings, hands, styled=False, side=PICTURE, written=1).compose(WORDS, generator(9, 1 << 20), torch.ones(WORDS, dtype=torch.long))
    for b, (word, thing) in enumerate(zip(batch.written, batch.thing.tolist())):
        picture = f'word-{b}.png'
        save(batch.pixels[b], os.path.join(folder, picture))
        asked.append(dict(picture=picture, kind='read', question='What does it say?', accept=[word.text], things=[thing]))
    asked += plain_questions(things, portraits, told, random.Random(f'plain exam {name}'))
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
    must_be_new()
    drawings = Drawings(options.work)
    parts = {hand: [hand] for hand in drawings.hands['test'] + (drawings.hands['last'] if options.last else [])}
    for name, hands in {**parts, 'train': drawings.hands['train']}.items():
        examine(drawings, name, hands, options.out, options.scenes)
    with open(os.path.join(options.out, 'things.json'), 'w') as file:
        json.dump([{key: thing[key] for key in ('name', 'plural', 'synonyms', 'kind')} for thing in drawings.things], file)


if __name__ == '__main__':
    main()
