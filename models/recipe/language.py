"""The language model's side: vocabulary, prompts, and batches in which one picture stands once before all its questions.

A row holds the system text and the picture's rows, then every conversation about it: all of them see what is shared, none sees another (mask), and each
starts at the position after the picture, exactly as if it stood there alone.
"""

import random
from collections import Counter
from functools import lru_cache

import sentencepiece
import torch
import torch.nn.functional as F
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

import tower as towers
from drawings import COLORS, Drawings, dominant
from questions import NUMBERS, SUFFIX, greetings, groups_of, questions, text_questions
from scenes import SIDE, Composer, counts_of, generator
from stage import half
from vicuna import SYSTEM, train_pieces

PIECES = 1536
TEXT = dict(hidden_size=192, intermediate_size=448, num_hidden_layers=5, num_attention_heads=6, num_key_value_heads=6, max_position_embeddings=2048,
            rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, pad_token_id=0)
PICTURES = 32    # a step
PER_PICTURE = 7  # questions
TOLD = 6         # fields along a side of a picture of words
BRIEF = 0.35     # part of the questions that ask for a single word


def members_of(scene, thing, x, y, size, color, count: int) -> list:
    """[B] lists of {thing, x, y, size, color}."""
    found = [[] for _ in range(count)]
    for at, *values in zip(*(values.tolist() for values in (scene, thing, x, y, size, color))):
        found[at].append(dict(zip(('thing', 'x', 'y', 'size', 'color'), values)))
    return found


def members_in(batch) -> list:
    return members_of(batch.scene, batch.thing, batch.x, batch.y, batch.size, batch.color, len(batch.pixels))


def random_members(things: list, rng: random.Random) -> list:
    """A scene of words alone."""
    chosen = rng.sample(range(len(things)), rng.randint(1, 4))
    return [dict(thing=thing, x=rng.random(), y=rng.random(), size=rng.uniform(0.2, 0.5), color=rng.randint(-1, 10)) for thing in chosen for _ in range(rng.choice([1, 1, 1, 2, 3]))][:6]


def train_vocabulary(things: list) -> bytes:
    rng = random.Random(0)
    lines = [SYSTEM + ' USER: '] * 4000
    for _ in range(4000):
        for _, question, long, short in questions(things, groups_of(things, random_members(things, rng)), rng.randint(-1, 10), rng) + text_questions(things, rng):
            lines.append(f'{question} ASSISTANT: {long} {short}')
    lines += [f'USER: {SUFFIX[1:]} ASSISTANT:'] * 2000
    for thing in things:
        lines += [' '.join([thing['name'], thing['plural'], *thing['synonyms'], thing['fact']])] * 20
    lines += ['abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789 .,:;!?\'"()-/'] * 5
    return train_pieces(lines, PIECES)


class Prompt:
    """Vicuna v1 text around one picture, each text between specials encoded on its own."""

    def __init__(self, spm: bytes):
        self.vocabulary = sentencepiece.SentencePieceProcessor(model_proto=spm)
        self.encode = lru_cache(maxsize=200_000)(lambda text: tuple(self.vocabulary.encode(text)))
        self.before = [1, *self.encode(SYSTEM + ' USER: ')]

    def question(self, text: str, first: bool = True, picture: bool = True) -> list:
        return [*self.encode((f'\n{text}' if picture else text) + ' ASSISTANT:' if first else f'USER: {text} ASSISTANT:')]

    def answer(self, text: str) -> list:
        return [*self.encode(text), 2]

    def conversations(self, asked: list, rng: random.Random, picture: bool = True) -> list:
        """[(ids, is answer)]; one in four goes on with a second question."""
        def turn(four, first):
            _, question, long, short = four
            brief = rng.random() < BRIEF
            ask = self.question(question + (SUFFIX if brief else ''), first, picture)
            say = self.answer(short if brief else long)
            return ask + say, [False] * len(ask) + [True] * len(say)
        asked, result = list(asked), []
        while asked:
            ids, answer = turn(asked.pop(), True)
            if asked and rng.random() < 0.25:
                more, more_answer = turn(asked.pop(), False)
                ids, answer = ids + more, answer + more_answer
            result.append((ids, answer))
        return result


def chosen(asked: list, rng: random.Random) -> list:
    """PER_PICTURE of the questions: what there is, and whether two things are there, is always asked, the others by chance."""
    first = [four for four in asked if four[0] in ('name', 'list', 'exists')]
    rest = [four for four in asked if four[0] not in ('name', 'list', 'exists')]
    rng.shuffle(rest)
    picked = first + rest[:PER_PICTURE - len(first)]
    rng.shuffle(picked)
    return picked


def packed(rows: list, shared: int):
    """rows: per picture its [(ids, is answer)] -> ids, positions, branch (-1: padding), is answer: [B,T]."""
    length = max(sum(len(ids) for ids, _ in row) for row in rows)
    ids, positions, branch, answer = torch.zeros(4, len(rows), length, dtype=torch.long)
    branch[:] = -1
    for b, row in enumerate(rows):
        at = 0
        for k, (tokens, is_answer) in enumerate(row, 1):
            here = slice(at, at + len(tokens))
            ids[b, here], positions[b, here] = torch.tensor(tokens), shared + torch.arange(len(tokens))
            branch[b, here], answer[b, here] = k, torch.tensor(is_answer, dtype=torch.long)
            at += len(tokens)
    return ids, positions, branch, answer.bool()


def build(tower: towers.Tower) -> LlavaForConditionalGeneration:
    model = LlavaForConditionalGeneration(LlavaConfig(
        vision_config=CLIPVisionConfig(**towers.CONFIG), text_config=LlamaConfig(vocab_size=PIECES, **TEXT), image_token_index=0, vision_feature_layer=-2))
    model.model.vision_tower.load_state_dict(tower.vision.state_dict())
    return model


def train_only(model, *parts: str):
    """Holds everything still but these parts."""
    for name, p in model.named_parameters():
        p.requires_grad_(any(part in name for part in parts))


class Lessons:
    """What the stages of the language model learn from: each gives (loss, figures) of a step."""

    def __init__(self, drawings: Drawings, tower: towers.Tower, model, spm: bytes, side: int = SIDE):
        self.things, self.tower, self.model = drawings.things, tower, model
        self.prompt, self.composer = Prompt(spm), Composer(drawings, drawings.hands['train'] + drawings.hands['icons'], side=side)
        self.before = torch.tensor(self.prompt.before)
        self.colors = dominant(drawings.pixels[2])

    def text(self, step: int):
        """Scenes told in words, three of four steps; else what can be asked without any."""
        rng, g = random.Random(f'text {step}'), generator(3, step)
        if step % 4 == 0:
            return self.answers([self.prompt.conversations([*text_questions(self.things, rng), rng.choice(greetings())], rng, picture=False) for _ in range(PICTURES)])
        scene, drawing, x, y, size = self.composer.choose(g, PICTURES, counts_of(g, PICTURES))
        scenes = members_of(scene, self.composer.drawings.label[drawing], x, y, size, self.colors[drawing], PICTURES)
        grounds = [rng.randint(-1, 10) for _ in scenes]
        asked = self.asked(scenes, grounds, chosen, rng)
        return self.answers(asked, torch.stack([self.told(members, ground) for members, ground in zip(scenes, grounds)]))

    def asked(self, scenes: list, grounds: list, choose, rng: random.Random) -> list:
        """Conversations about each of the scenes."""
        return [self.prompt.conversations(choose(questions(self.things, groups_of(self.things, members), ground, rng), rng), rng) for members, ground in zip(scenes, grounds)]

    def answers(self, conversations: list, rows=None):
        """rows: as in answer_loss."""
        with half():
            loss, right = answer_loss(self.model, self.before, rows, packed(conversations, len(self.before) + (0 if rows is None else rows.shape[1])))
        return loss, {'loss': loss, 'right': right}

    def told(self, members: list, ground: int) -> torch.Tensor:
        """[TOLD²,D]: a picture of words: each field is the sum of what is to be said of the thing on it, in the vectors of these words."""
        counts = Counter(member['thing'] for member in members)
        say = lambda *words: sum(self.vectors(word).mean(0) for word in words)
        back = say('background', *([COLORS[ground]] if ground >= 0 else []))
        spoken = [say(self.things[m['thing']]['name'], NUMBERS[counts[m['thing']]], *([COLORS[m['color']]] if m['color'] >= 0 else [])) for m in members]
        fields = []
        for row in range(TOLD):
            for column in range(TOLD):
                here = [n for n, m in enumerate(members) if max(abs(m['x'] - (column + 0.5) / TOLD), abs(m['y'] - (row + 0.5) / TOLD)) < m['size'] / 2]
                fields.append(spoken[here[-1]] if here else back)
        return torch.stack(fields)

    def vectors(self, words: str) -> torch.Tensor:
        return self.model.get_input_embeddings()(torch.tensor(self.prompt.encode(words)))

    def captions(self, step: int):
        return self.pictures(4, step, lambda asked, rng: [four for four in asked if four[0] in ('name', 'list', 'describe')])

    def instructions(self, step: int):
        def choose(asked, rng):
            spoken = [*text_questions(self.things, rng), *greetings()]
            return chosen(asked, rng) + ([rng.choice(spoken)] if rng.random() < 0.2 else [])
        return self.pictures(5, step, choose)

    def pictures(self, stage: int, step: int, choose):
        rng, g = random.Random(f'pictures {stage} {step}'), generator(stage, step)
        batch = self.composer.compose(PICTURES, g, counts_of(g, PICTURES))
        asked = self.asked(members_in(batch), batch.ground.tolist(), choose, rng)
        with half():
            with torch.no_grad():
                image_rows, _ = self.tower(batch.values())
            rows = self.model.model.multi_modal_projector(image_rows)
        return self.answers(asked, rows)


def answer_loss(model, before: torch.Tensor, rows, batch):
    """Cross entropy of the answers' tokens, and the part of them that is right. rows: [B,N,D], the picture as the language model sees it, or None for text alone (then every token counts)."""
    ids, positions, branch, answer = batch
    count = len(ids)
    embed = model.get_input_embeddings()
    shared = [embed(before).expand(count, -1, -1)]
    if rows is not None:
        shared.append(rows)
    start = sum(part.shape[1] for part in shared)
    x = torch.cat([*(part.float() for part in shared), embed(ids)], 1)
    branch = torch.cat([torch.zeros(count, start, dtype=torch.long), branch], 1)
    positions = torch.cat([torch.arange(start).expand(count, -1), positions], 1)
    order = torch.arange(x.shape[1])
    seen = (order[None, :] <= order[:, None]) & ((branch[:, None, :] == 0) | (branch[:, None, :] == branch[:, :, None]))
    mask = torch.where(seen[:, None], 0.0, torch.finfo(torch.bfloat16).min)
    y = model.model.language_model(inputs_embeds=x, attention_mask=mask, position_ids=positions, use_cache=False).last_hidden_state[:, start - 1:-1]
    if rows is None:
        answer = branch[:, start:] > 0
    logits, wanted = model.lm_head(y[answer]).float(), ids[answer]
    return F.cross_entropy(logits, wanted), (logits.argmax(-1) == wanted).float().mean()
