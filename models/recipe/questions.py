"""Questions about a scene with their answers: long, and in a single word as LLaVA 1.5's short-answer prompt asks for."""

import random

from drawings import COLORS

SUFFIX = '\nAnswer the question using a single word or phrase.'
NUMBERS = ['zero', 'one', 'two', 'three', 'four', 'five', 'six']
KINDS = {'household': 'household item', 'clothing': 'piece of clothing', 'food': 'kind of food', 'sky': 'thing of the sky', 'sport': 'thing for sport', 'instrument': 'musical instrument'}
UNSURE = {**KINDS, 'food': 'piece of food'}  # what a thing is called whose name is not sure


def article(words: str) -> str:
    return ('an ' if words[0].lower() in 'aeio' or words.startswith(('umbrella', 'un')) and not words.startswith('unicorn') else 'a ') + words


def plural(words: str) -> str:
    """Of a kind: 'animals', 'pieces of food'."""
    head, joint, rest = words.partition(' of ' if ' of ' in words else ' for ')
    return f'{head}s{joint}{rest}'


def measure(thing: dict) -> str:
    """'pair of ' before glasses, 'ear of ' before corn, '' before a thing that is counted without such a word."""
    words, _, counted = thing['plural'].partition(' of ')
    return f'{words.removesuffix("es" if words.endswith("ches") else "s")} of ' if counted == thing['name'] else ''


def a(thing: dict, name: str) -> str:
    """'a dog', 'a pair of glasses'; name: the thing's, or a synonym."""
    return article((measure(thing) if many(thing, name) or name == thing['name'] else '') + name)


def many(thing: dict, name: str) -> bool:
    """Whether the name is a plural already: glasses."""
    return bool(measure(thing)) and name.endswith('s')


def be(thing: dict, name: str) -> str:
    return 'are' if many(thing, name) else 'is'


def capital(text: str) -> str:
    return text[0].upper() + text[1:]


def joined(parts: list) -> str:
    return parts[0] if len(parts) == 1 else f'{", ".join(parts[:-1])} and {parts[-1]}'


def place(x: float, y: float) -> str:
    """Which of nine fields."""
    across, down = ('left', 'middle', 'right')[min(2, int(x * 3))], ('top', 'middle', 'bottom')[min(2, int(y * 3))]
    return 'middle' if across == down == 'middle' else across if down == 'middle' else down if across == 'middle' else f'{down} {across}'


def where(field: str) -> str:
    return {'middle': 'in the middle', 'left': 'on the left', 'right': 'on the right', 'top': 'at the top', 'bottom': 'at the bottom'}.get(field, f'at the {field}')


class Group:
    """All of one thing in a picture. sure: whether its name can be told by what is seen."""

    def __init__(self, index: int, thing: dict, members: list):
        self.index, self.thing, self.members, self.count = index, thing, members, len(members)
        colors = {m['color'] for m in members}
        self.color = colors.pop() if len(colors) == 1 else -1
        self.x, self.y = (sum(m[axis] for m in members) / self.count for axis in 'xy')
        self.size = members[0]['size'] if self.count == 1 else None
        self.field = place(self.x, self.y) if self.count == 1 else None
        self.sure = all(m.get('sure', True) for m in members)

    def some(self, sure: bool = True, color: bool = False) -> str:
        """'a dog', 'two dogs', 'two brown dogs'; if its name is not sure: 'an animal'."""
        kind = UNSURE.get(self.thing['kind'], self.thing['kind'])
        one, several = (measure(self.thing) + self.thing['name'], self.thing['plural']) if sure else (kind, plural(kind))
        shade = f'{COLORS[self.color]} ' if color and self.color >= 0 else ''
        return article(shade + one) if self.count == 1 else f'{NUMBERS[self.count]} {shade}{several}'

    def counted(self) -> str:
        """'There is one dog.', 'There are two dogs.'"""
        return f'There is one {measure(self.thing)}{self.thing["name"]}.' if self.count == 1 else f'There are {self.some()}.'

    def called(self, rng: random.Random) -> str:
        """Its name, now and then a synonym."""
        names = self.thing['synonyms']
        return rng.choice(names) if names and rng.random() < 0.2 else self.thing['name']


def groups_of(things: list, members: list) -> list:
    """members: [{thing, x, y, size, color}] of one picture -> groups, from left to right."""
    found = {}
    for member in members:
        found.setdefault(member['thing'], []).append(member)
    return sorted((Group(index, things[index], mine) for index, mine in found.items()), key=lambda group: group.x)


def questions(things: list, groups: list, ground: int, rng: random.Random) -> list:
    """[(kind, question, long answer, short answer)]: what fits this picture."""
    pick, asked = rng.choice, []
    total = sum(group.count for group in groups)
    listing = joined([group.some() for group in groups])
    ask = lambda *four: asked.append(four)

    if total == 1:
        it = groups[0]
        name = it.thing['name']
        ask('name', pick(['What is this?', 'What is in this picture?', 'What is in the picture?', 'What do you see?', 'What is shown here?', 'What thing is this?', 'Name the thing in the picture.']),
            pick([f'This is {it.some()}.', f'It is {it.some()}.', f'The picture shows {it.some()}.']) if rng.random() < 0.3 else f'This is {it.some()}.', name)
        kind = KINDS.get(it.thing['kind'], it.thing['kind'])
        ask('kind', pick(['What kind of thing is this?', 'What kind of thing is it?']), f'It is {article(kind)}.', kind)
        ask('fact', pick([f'What do you know about the {name}?', f'Tell me something about the {name}.', f'What can you say about the {name}?']), it.thing['fact'], it.thing['fact'].rstrip('.'))
    else:
        ask('list', pick(['What is in this picture?', 'What is in the picture?', 'What do you see?', 'What things are in the picture?', 'What is shown here?']), f'The picture shows {joined([group.some(group.sure) for group in groups])}.', listing)

    parts = [group.some(group.sure, color=True) + (f' {where(group.field)}' if group.field else '') for group in groups]
    backdrop = f' The background is {COLORS[ground]}.' if ground >= 0 else ''
    ask('describe', pick(['Describe the picture in detail.', 'Describe the image in detail.', 'Describe this picture.', 'Describe the image.']), f'The picture shows {joined(parts)}.{backdrop}', listing)

    for yes in (True, False):
        here = {group.index for group in groups}
        if yes:
            thing = pick(groups).thing
        else:
            like = pick(groups).thing['kind']
            others = [n for n in range(len(things)) if n not in here and (rng.random() < 0.5 or things[n]['kind'] == like)]
            thing = things[pick(others)]
        name = pick(thing['synonyms']) if thing['synonyms'] and rng.random() < 0.15 else thing['name']
        asked_for = a(thing, name)
        ask('exists', pick([f'Is there {asked_for} in the picture?', f'Is there {asked_for}?', f'Do you see {asked_for}?', f'Is there {asked_for} in this image?']),
            f'Yes, there is {asked_for}.' if yes else f'No, there {be(thing, name)} no {name}.', 'yes' if yes else 'no')

    colored = [group for group in groups if group.color >= 0]
    if colored:
        it = pick(colored)
        name = it.thing['plural'] if it.count > 1 else it.called(rng)
        are, do = ('are', 'do') if it.count > 1 or many(it.thing, name) else ('is', 'does')
        ask('color', pick([f'What color {are} the {name}?', f'What colour {are} the {name}?', f'Which color {do} the {name} have?']),
            f'The {name} {are} {COLORS[it.color]}.', COLORS[it.color])
    if ground >= 0:
        ask('ground', pick(['What color is the background?', 'What colour is the background?', 'What is the color of the background?']), f'The background is {COLORS[ground]}.', COLORS[ground])

    it = pick(groups)
    ask('count', pick([f'How many {it.thing["plural"]} are there?', f'How many {it.thing["plural"]} are in the picture?', f'How many {it.thing["plural"]} do you see?']),
        it.counted(), NUMBERS[it.count])
    several = [group for group in groups if group.count > 1]
    if several:
        it = pick(several)
        ask('count', pick([f'How many {it.thing["plural"]} are there?', f'How many {it.thing["plural"]} are in the picture?']), it.counted(), NUMBERS[it.count])
    ask('total', pick(['How many things are there?', 'How many things are in the picture?', 'How many objects are there?']), f'There {"is one thing" if total == 1 else f"are {NUMBERS[total]} things"}.', NUMBERS[total])

    alone = [group for group in groups if group.count == 1]
    if alone and total > 1:
        it = pick(alone)
        name = it.called(rng)
        are = be(it.thing, name)
        ask('where', pick([f'Where {are} the {name}?', f'Where in the picture {are} the {name}?']), f'The {name} {are} {where(it.field)}.', it.field)
        if sum(group.field == it.field for group in groups) == 1:
            ask('there', f'What is {where(it.field)}?', f'{capital(it.some())} is {where(it.field)}.', it.thing['name'])
    if len(alone) > 1:
        for _ in range(2):
            one, two = rng.sample(alone, 2)
            dx, dy = two.x - one.x, two.y - one.y
            across = abs(dx) > abs(dy) if max(abs(dx), abs(dy)) > 0.15 else None
            if across is None or min(abs(dx), abs(dy)) > 0.75 * max(abs(dx), abs(dy)):
                continue  # neither clearly beside nor clearly above
            said = ('left' if dx > 0 else 'right') if across else ('above' if dy > 0 else 'below')
            phrase = {'left': 'to the left of', 'right': 'to the right of', 'above': 'above', 'below': 'below'}[said]
            choice = 'to the left or to the right of' if across else 'above or below'
            first, second = one.called(rng), two.called(rng)
            are = be(one.thing, first)
            form = rng.randrange(3)
            if form == 0:
                ask('relation', f'{capital(are)} the {first} {choice} the {second}?', f'The {first} {are} {phrase} the {second}.', said)
            elif form == 1:
                yes = rng.random() < 0.5
                opposite = {'to the left of': 'to the right of', 'to the right of': 'to the left of', 'above': 'below', 'below': 'above'}[phrase]
                ask('relation', f'{capital(are)} the {first} {phrase if yes else opposite} the {second}?', f'{"Yes" if yes else "No"}, the {first} {are} {phrase} the {second}.', 'yes' if yes else 'no')
            elif total == 2:
                ask('neighbor', f'What is {phrase} the {second}?', f'{capital(one.some())} is {phrase} the {second}.', one.thing['name'])
        by_size = sorted(alone, key=lambda group: -group.size)
        if len(alone) == len(groups) and by_size[0].size > 1.3 * by_size[1].size:
            ask('largest', pick(['Which thing is the largest?', 'What is the largest thing?', 'Which is the largest?']), f'The {by_size[0].thing["name"]} {be(by_size[0].thing, by_size[0].thing["name"])} the largest.', by_size[0].thing['name'])
    return asked


def reading(word: str, rng: random.Random) -> list:
    """What is asked about a word in the picture, '' where there is none."""
    ask, written = rng.choice(['What does it say?', 'Which word is written here?', 'What is written in the picture?', 'Read the word.']), rng.choice(['Is there a word in the picture?', 'Is there a word?'])
    if word:
        return [('read', ask, f'It says "{word}".', word), ('written', written, 'Yes, there is a word.', 'yes')]
    return [('read', ask, 'There is no word in the picture.', 'nothing'), ('written', written, 'No, there is no word.', 'no')]


def text_questions(things: list, rng: random.Random) -> list:
    """The same without a picture: what the language model can learn from text alone."""
    thing = rng.choice(things)
    name, kind = thing['name'], KINDS.get(thing['kind'], thing['kind'])
    other = rng.choice(sorted({KINDS.get(t['kind'], t['kind']) for t in things} - {kind}))
    return [('text', f'What kind of thing is {a(thing, name)}?', f'It is {article(kind)}.', kind),
            ('text', f'What do you know about {a(thing, name)}?', thing['fact'], thing['fact'].rstrip('.')),
            ('text', f'Is {a(thing, name)} {article(kind)}?', f'Yes, it is {article(kind)}.', 'yes'),
            ('text', f'Is {a(thing, name)} {article(other)}?', f'No, it is {article(kind)}.', 'no')]


def greetings() -> list:
    return [('text', 'Who are you?', 'I am a very small LLaVA. I know drawings of things.', 'a very small LLaVA'), ('text', 'Hello!', 'Hello! Show me a drawing and ask me about it.', 'hello'),
            ('text', 'What can you do?', 'I name the things in a drawing, their colors, their places and how many there are.', 'name things')]
