"""Drawn pictures and what can be asked about them.

A scene is one or two things (shape, color, place) on a plain ground; a question has a long answer, and a short one for the suffix
"Answer the question using a single word or phrase." Some color-shape pairs are kept out of training altogether.
"""

import colorsys
import math
import random

from PIL import Image, ImageDraw

PLACES = ['middle', 'left', 'right', 'top', 'bottom']
SHAPES = ['circle', 'square', 'triangle', 'star', 'ring']
COLORS = {  # hue range in degrees, saturation, value
    'red': ((-8, 8), (0.8, 1.0), (0.75, 1.0)), 'orange': ((24, 34), (0.85, 1.0), (0.9, 1.0)), 'yellow': ((52, 60), (0.8, 1.0), (0.9, 1.0)),
    'green': ((105, 140), (0.6, 1.0), (0.4, 0.8)), 'blue': ((208, 235), (0.7, 1.0), (0.65, 1.0)), 'purple': ((272, 290), (0.6, 0.9), (0.45, 0.75)),
    'black': ((0, 360), (0.0, 0.1), (0.0, 0.13)), 'white': ((0, 360), (0.0, 0.03), (0.96, 1.0))}
GROUNDS = {'light': (0.82, 0.95), 'gray': (0.42, 0.62), 'dark': (0.15, 0.3)}
HELD_OUT = {('orange', 'circle'), ('green', 'star'), ('blue', 'ring')}
# Training only: shapes in any other hue and colors on any other outline, so that each is known by itself. Never asked about by that name.
UNNAMED = 'unnamed'
SUFFIX = '\nAnswer the question using a single word or phrase.'


def pairs(held_out: bool):
    return [(color, shape) for color in COLORS for shape in SHAPES if ((color, shape) in HELD_OUT) == held_out]


def make_scene(rng: random.Random, held_out: bool = False, unnamed: float = 0.0) -> dict:
    ground = rng.choice(list(GROUNDS))
    clash = {'light': 'white', 'gray': None, 'dark': 'black'}[ground]
    allowed = [pair for pair in pairs(held_out) if pair[0] != clash]
    things = [rng.choice(allowed)]
    if rng.random() < 0.5:
        things.append(rng.choice([pair for pair in allowed if pair[0] != things[0][0] and pair[1] != things[0][1]]))
    places = ['middle'] if len(things) == 1 else rng.choice([['left', 'right'], ['top', 'bottom']])
    if rng.random() < unnamed:
        things = [rng.choice([(UNNAMED, shape), (color, UNNAMED)]) for color, shape in things]
    return {'ground': ground, 'things': [{'color': c, 'shape': s, 'place': p} for (c, s), p in zip(things, places)]}


def draw(scene: dict, rng: random.Random, size: int | None = None) -> Image.Image:
    short = size or round(math.exp(rng.uniform(math.log(80), math.log(320))))
    width, height = short, short
    if size is None and rng.random() < 0.5:
        width, height = rng.choice([(round(short * rng.uniform(1, 1.4)), short), (short, round(short * rng.uniform(1, 1.4)))])
    scale = 2  # drawn larger and reduced: smooth edges
    image = Image.new('RGB', (width * scale, height * scale), ground_rgb(scene['ground'], rng))
    pen = ImageDraw.Draw(image)
    for thing in scene['things']:
        alone = thing['place'] == 'middle'
        fx = {'left': 0.26, 'right': 0.74}.get(thing['place'], 0.5) + rng.uniform(-0.02, 0.02)
        fy = {'top': 0.26, 'bottom': 0.74}.get(thing['place'], 0.5) + rng.uniform(-0.02, 0.02)
        if alone:
            fx, fy = fx + rng.uniform(-0.12, 0.12), fy + rng.uniform(-0.12, 0.12)
        elif thing['place'] in ('left', 'right'):
            fy += rng.uniform(-0.15, 0.15)
        else:
            fx += rng.uniform(-0.15, 0.15)
        radius = short * scale * (rng.uniform(0.2, 0.38) if alone else rng.uniform(0.16, 0.21))
        thing['at'] = (fx * width, fy * height, radius / scale)
        draw_shape(pen, thing['shape'], fx * width * scale, fy * height * scale, radius, rng.uniform(-0.25, 0.25), thing_rgb(thing, rng), rng)
    return image.resize((width, height), Image.Resampling.BOX)


def draw_shape(pen, shape, x, y, r, turn, fill, rng=None):
    def polygon(points):
        c, s = math.cos(turn), math.sin(turn)
        pen.polygon([(x + r * (c * px - s * py), y + r * (s * px + c * py)) for px, py in points], fill=fill)
    def rays(count, radii):
        return [(radii[i % len(radii)] * math.sin(2 * math.pi * i / count), -radii[i % len(radii)] * math.cos(2 * math.pi * i / count)) for i in range(count)]
    if shape == 'circle':
        pen.ellipse((x - r, y - r, x + r, y + r), fill=fill)
    elif shape == 'ring':
        pen.ellipse((x - r, y - r, x + r, y + r), outline=fill, width=round(0.36 * r))
    elif shape == 'square':
        polygon([(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)])
    elif shape == 'triangle':
        polygon(rays(3, [1.1]))
    elif shape == 'star':
        polygon(rays(10, [1.1, 0.45]))
    elif shape == UNNAMED:
        count = rng.randint(4, 9)
        polygon(rays(count, [rng.uniform(0.4, 1.1) for _ in range(count)]))

def thing_rgb(thing, rng):
    """An unnamed color keeps 5 degrees of hue away from every color of a held-out pair."""
    color = thing['color']
    if color == UNNAMED:
        kept_out = [COLORS[c][0] for c, _ in HELD_OUT]
        while True:
            hue = rng.uniform(0, 360)
            if all(not h0 - 5 < hue < h1 + 5 for h0, h1 in kept_out):
                return tuple(round(255 * x) for x in colorsys.hsv_to_rgb(hue / 360, rng.uniform(0.5, 1), rng.uniform(0.6, 1)))
    (h0, h1), s, v = COLORS[color]
    return tuple(round(255 * x) for x in colorsys.hsv_to_rgb(rng.uniform(h0, h1) / 360 % 1, rng.uniform(*s), rng.uniform(*v)))


def ground_rgb(ground, rng):
    return tuple(round(255 * x) for x in colorsys.hsv_to_rgb(rng.random(), rng.uniform(0, 0.12), rng.uniform(*GROUNDS[ground])))


def article(words: str) -> str:
    return ('an ' if words[0] in 'aeiou' else 'a ') + words


def name(thing) -> str:
    return f'{thing["color"]} {thing["shape"]}'


def questions(scene: dict, rng: random.Random) -> list[tuple[str, str, str, str]]:
    """(kind, question, long answer, short answer), one of each kind that fits the scene."""
    things, ground = scene['things'], scene['ground']
    one, thing = len(things) == 1, rng.choice(things)
    color, shape, place = thing['color'], thing['shape'], thing['place']
    pick = rng.choice
    asked = [('color', pick([f'What color is the {shape}?', f'What colour is the {shape}?', f'What is the color of the {shape}?', f'Which color does the {shape} have?']),
              f'The {shape} is {color}.', color)]
    asked.append(('shape', pick([f'What shape is the {color} thing?', f'What is the {color} thing?', f'Which shape is {color}?', f'What is {color}?']),
                  f'The {color} thing is {article(shape)}.', shape))
    count = 'one' if one else 'two'
    asked.append(('count', pick(['How many things are there?', 'How many shapes are in the picture?', 'How many shapes do you see?', 'How many things are in this image?']),
                  'There is one thing.' if one else 'There are two things.', count))
    both = article(name(things[0])) + ('' if one else ' and ' + article(name(things[1])))
    asked.append(('picture', pick(['What is in this picture?', 'What is in this image?', 'What do you see?', 'Describe the image.', 'Describe this picture.', 'What is shown here?']),
                  f'{both} on a {ground} background.'.capitalize(), both))
    asked.append(('ground', pick(['What is the background?', 'What color is the background?', 'How bright is the background?']), f'The background is {ground}.', ground))
    asked.append(yes_no(things, thing, rng))
    if one:
        asked.append(('shape', pick(['What shape is it?', 'What shape is this?', 'What is this?', 'Which shape do you see?', 'What is the shape?']), f'It is {article(shape)}.', shape))
        asked.append(('color', pick(['What color is it?', 'What colour is it?', 'What is the color?', 'Which color is it?']), f'It is {color}.', color))
    else:
        where = {'left': 'on the left', 'right': 'on the right', 'top': 'at the top', 'bottom': 'at the bottom'}[place]
        asked.append(('place', f'Where is the {pick([shape, name(thing)])}?', f'It is {where}.', where))
        asked.append(('thing', f'What is {where}?', f'{article(name(thing))} is {where}.'.capitalize(), name(thing)))
    return [ask for ask in asked if UNNAMED not in ask[1] + ask[2]]


def yes_no(things, thing, rng):
    def other(mine, every, taken):
        return rng.choice([x for x in every if x != mine and x not in taken])
    color, shape, yes = thing['color'], thing['shape'], rng.random() < 0.5
    kind = 1 if any(t['color'] == UNNAMED for t in things) else rng.randrange(3)
    if kind == 0:
        said = color if yes else other(color, list(COLORS), [])
        question = f'Is the {shape} {said}?'
    elif kind == 1:
        said = shape if yes else other(shape, SHAPES, [t['shape'] for t in things])
        question = rng.choice([f'Is there {article(said)}?', f'Do you see {article(said)}?', f'Is there {article(said)} in the picture?'])
    else:
        said = color if yes else other(color, list(COLORS), [t['color'] for t in things])
        question = rng.choice([f'Is there a {said} thing?'.replace('a orange', 'an orange'), f'Is something {said}?', f'Do you see something {said}?'])
    return ('yes/no', question, 'Yes.' if yes else 'No.', 'yes' if yes else 'no')
