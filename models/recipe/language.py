"""The language model's side: vocabulary, prompts, and batches in which one picture stands once before all its questions.

A row holds the system text and the picture's rows, then every conversation about it: all of them see what is shared, none sees another (mask), and each
starts at the position after the picture, exactly as if it stood there alone.
"""

import os
import random
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import sentencepiece
import torch
import torch.nn.functional as F
from transformers import AttentionInterface, CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

import plain
import tower as towers
from drawings import COLORS, Drawings, dominant
from questions import NUMBERS, SUFFIX, greetings, groups_of, questions, reading, text_questions
from scenes import SIDE, WRITTEN, Composer, counts_of, generator
from stage import half
from tower import holds_middle, middles, patch_weight, waves, weighted
from vicuna import SYSTEM, train_pieces

PIECES = 1536
TEXT = dict(hidden_size=192, intermediate_size=448, num_hidden_layers=5, num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=2048,
            rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, pad_token_id=0)
PICTURES = 32    # a step
PER_PICTURE = 11 # questions
SOUGHT = {'exists': 3, 'relation': 6, 'where': 3, 'there': 2, 'color': 2, 'count': 1, 'several': 3, 'neighbor': 1, 'largest': 1, 'read': 2, 'written': 1}  # how many of a kind that is answered by looking for a thing
TELLING = ('name', 'list', 'describe')
ROW = 96         # tokens of a row of conversations
TOLD = 6         # fields along a side of a picture of words
WAVES, RADIANS = 0.08, 8.0  # of what tells a place in it: height, and the highest frequency
UNWRITTEN = 0.15 # part of the pictures without a word that are asked for one
HEARD = 0.3      # what hearing the words of each row counts beside answering
HEARABLE = 8     # pieces
SURE = 0.7       # how likely the tower must hold a thing's name for a description to tell it
BRIEF = 0.5      # part of the questions that ask for a single word
OLD, SEVERAL, PLAIN, BLIND = 5, 3, 6, 24  # of the plain stage: conversations about a picture as the stages before had them, and in plain words; and those without a picture, a step
PLAIN_PICTURES, PLAIN_BRIEF = 16, 0.12
KEPT = 3.0       # what an answer that is to stay counts beside a new one


def members_of(scene, thing, x, y, size, color, count: int) -> list:
    """[B] lists of {thing, x, y, size, color}."""
    found = [[] for _ in range(count)]
    for at, *values in zip(*(values.tolist() for values in (scene, thing, x, y, size, color))):
        found[at].append(dict(zip(('thing', 'x', 'y', 'size', 'color'), values)))
    return found


def members_in(batch) -> list:
    return members_of(batch.scene, batch.thing, batch.x, batch.y, batch.size, batch.color, len(batch.pixels))


def on_patches(batch, scenes: list, owner: torch.Tensor):
    """Per picture its members and then the letters of its word; per patch [B,G²] the number of what lies on it in that list (-1: the ground), whether the middle of a thing is
    there, and what the patch counts. scenes, owner: of the batch."""
    middle = holds_middle(owner, batch.x, batch.y, middles()) & (batch.stroke < 0)
    weight = torch.where(batch.stroke >= 0, 1, torch.where(middle, 3, patch_weight(batch, owner)))
    first = torch.searchsorted(batch.scene, torch.arange(len(owner)))[:, None]
    things = torch.tensor([len(members) for members in scenes])[:, None]
    owner = torch.where(batch.stroke >= 0, things + batch.stroke, torch.where(owner >= 0, owner - first, -1))
    return [members + (word.letters() if word else []) for members, word in zip(scenes, batch.written)], owner, middle, weight


def enlarged(batch) -> torch.Tensor:
    """Values for the tower; pictures drawn smaller than it takes are enlarged."""
    return F.interpolate(batch.values(), SIDE, mode='bilinear')


def random_members(things: list, rng: random.Random) -> list:
    """A scene of words alone."""
    chosen = rng.sample(range(len(things)), rng.randint(1, 4))
    return [dict(thing=thing, x=rng.random(), y=rng.random(), size=rng.uniform(0.2, 0.5), color=rng.randint(-1, 10)) for thing in chosen for _ in range(rng.choice([1, 1, 1, 2, 3]))][:6]


def vocabulary_in(path: str, things: list) -> bytes:
    """Trained once: the checkpoints beside it know only these pieces."""
    if not os.path.exists(path):
        trained = train_vocabulary(things)
        with open(path, 'wb') as file:
            file.write(trained)
    with open(path, 'rb') as file:
        return file.read()


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

    def dialogue(self, turns: list, rng: random.Random, picture: bool = True, brief: float = PLAIN_BRIEF) -> 'Dialogue':
        """turns: plain.Turn each."""
        asked, known, keeps = ([], []), ([], []), []
        for n, turn in enumerate(turns):
            suffix, said = (SUFFIX, turn.short) if rng.random() < brief else ('', turn.long)
            say = self.answer(said)
            for (ids, answer), question in ((asked, turn.question), (known, turn.known or turn.question)):
                ask = self.question(question + suffix, n == 0, picture)
                ids += ask + say
                answer += [False] * len(ask) + [True] * len(say)
            keeps += [turn.known is not None] * len(say)
        return Dialogue(asked, known, keeps)

    def conversations(self, asked: list, rng: random.Random, picture: bool = True, brief: float = BRIEF) -> list:
        """[(ids, is answer)]; one in four goes on with a second question."""
        def turn(four, first):
            _, question, long, short = four
            single = rng.random() < brief
            ask = self.question(question + (SUFFIX if single else ''), first, picture)
            say = self.answer(short if single else long)
            return ask + say, [False] * len(ask) + [True] * len(say)
        asked, result = list(asked), []
        while asked:
            ids, answer = turn(asked.pop(), True)
            if asked and rng.random() < 0.25:
                more, more_answer = turn(asked.pop(), False)
                ids, answer = ids + more, answer + more_answer
            result.append((ids, answer))
        return result


@dataclass
class Dialogue:
    """A conversation as it is asked, and as the model before knows it: (ids, is answer), both with the same answers. keeps: of each token of these, whether it is to stay as that model gives it."""
    asked: tuple
    known: tuple
    keeps: list


def numbered(asked: list, rng: random.Random) -> list:
    """[(how manieth of its kind, kind, question)] in any order, each question once."""
    rng.shuffle(asked)
    times, result = Counter(), []
    for four in {four[1]: four for four in asked}.values():
        kind = 'several' if four[0] == 'count' and four[3] != NUMBERS[1] else four[0]  # else most things that are counted would be there once
        times[kind] += 1
        result.append((times[kind], kind, four))
    return result


def mixed(asked: list, rng: random.Random) -> list:
    """PER_PICTURE of the questions, one of each kind before any kind comes again."""
    return [four for _, _, four in sorted(numbered(asked, rng), key=lambda one: one[0])][:PER_PICTURE]


def sought(asked: list, rng: random.Random) -> list:
    """PER_PICTURE of those for which a thing must be looked for among the others."""
    return [four for nth, kind, four in numbered(asked, rng) if nth <= SOUGHT.get(kind, 0)][:PER_PICTURE]


def telling(asked: list, rng: random.Random) -> list:
    """Those about what is in the picture."""
    return mixed([four for four in asked if four[0] in TELLING], rng)


@dataclass
class Packed:
    """N rows of L tokens with one or more conversations in each. ids, positions, answer (weight of the token as an answer's part, 0: none): [N,L]; picture: [N];
    seen: [N,1,L,S+L], additive, over the S shared tokens of the row's picture and the row itself; at: (row, first token) of each conversation, in the order they were given."""
    ids: torch.Tensor
    positions: torch.Tensor
    answer: torch.Tensor
    picture: torch.Tensor
    seen: torch.Tensor
    at: list


def packed(conversations: list, shared: int, all_count: bool) -> Packed:
    """conversations: per picture its [(ids, is answer)]. Every token counts, or each answer as the root of its length: a "yes" is not lost among long descriptions."""
    length = max(ROW, max(len(ids) for mine in conversations for ids, _ in mine))
    rows, places = [], []
    for picture, mine in enumerate(conversations):
        open_rows, first = [], len(places)
        places += [None] * len(mine)
        for nth, (ids, is_answer) in sorted(enumerate(mine), key=lambda one: -len(one[1][0])):
            row = next((row for row in open_rows if row[1] + len(ids) <= length), None)
            if row is None:
                row = [picture, 0, []]
                open_rows.append(row)
            places[first + nth] = (len(rows) + open_rows.index(row), row[1])
            row[2].append((row[1], ids, is_answer))
            row[1] += len(ids)
        rows += open_rows
    ids, positions, branch = torch.zeros(3, len(rows), length, dtype=torch.long)
    answer = torch.zeros(len(rows), length)
    for n, (_, _, mine) in enumerate(rows):
        for k, (at, tokens, is_answer) in enumerate(mine, 1):
            here = slice(at, at + len(tokens))
            ids[n, here], positions[n, here], branch[n, here] = torch.tensor(tokens), shared + torch.arange(len(tokens)), k
            answer[n, here] = torch.tensor([0.0] + [1.0] * (len(tokens) - 1)) if all_count else torch.tensor(is_answer) / sum(is_answer) ** 0.5
    order = torch.arange(length)
    own = (order[None, :] <= order[:, None]) & (branch[:, None, :] == branch[:, :, None])
    seen = torch.cat([torch.zeros(len(rows), length, shared), torch.where(own, 0.0, torch.finfo(torch.bfloat16).min)], 2)
    return Packed(ids, positions, answer, torch.tensor([row[0] for row in rows]), seen[:, None].bfloat16(), places)


def attend(module, query, key, value, seen, scaling, picture, **_):
    """Attention over [1,H,B*S + N*L,Dh]: what is shared by a picture's questions first, computed once, then the rows of conversations, each of which sees its picture's part."""
    count, length = len(picture), seen.shape[2]
    shared = seen.shape[3] - length
    split = query.shape[2] - count * length
    before = lambda z: z[0, :, :split].unflatten(1, (-1, shared)).transpose(0, 1)
    after = lambda z: z[0, :, split:].unflatten(1, (count, length)).transpose(0, 1)
    whole = lambda z: torch.cat([before(z).index_select(0, picture), after(z)], 2)
    weighed = lambda q, k, v, seen: torch.softmax(q * scaling @ k.transpose(2, 3) + seen, -1, dtype=q.dtype) @ v  # a quarter of a step faster than the fused kernel
    causal = torch.full((shared, shared), torch.finfo(query.dtype).min, dtype=query.dtype).triu(1)
    parts = [weighed(before(query), before(key), before(value), causal), weighed(after(query), whole(key), whole(value), seen.to(query.dtype))]
    return torch.cat([part.transpose(1, 2).flatten(0, 1) for part in parts])[None], None


AttentionInterface.register('conversations', attend)


def build(tower: towers.Tower) -> LlavaForConditionalGeneration:
    model = LlavaForConditionalGeneration(LlavaConfig(
        vision_config=CLIPVisionConfig(**towers.CONFIG), text_config=LlamaConfig(vocab_size=PIECES, **TEXT), image_token_index=0, vision_feature_layer=-2))
    model.model.language_model.config._attn_implementation = 'conversations'
    model.model.vision_tower.load_state_dict(tower.vision.state_dict())
    return model


def train_only(model, *parts: str):
    """Holds everything still but these parts."""
    for name, p in model.named_parameters():
        p.requires_grad_(any(part in name for part in parts))


class Lessons:
    """What the stages of the language model learn from: each gives (loss, figures) of a step."""

    def __init__(self, drawings: Drawings, tower: towers.Tower, model, spm: bytes, side: int = SIDE, heard: float = HEARD):
        self.things, self.tower, self.model, self.heard = drawings.things, tower, model, heard
        self.prompt, self.composer = Prompt(spm), Composer(drawings, drawings.hands['train'] + drawings.hands['icons'], side=side, written=WRITTEN)
        self.before = torch.tensor(self.prompt.before)
        self.colors = dominant(drawings.pixels[2])

    def text(self, step: int):
        """Scenes told in words, three of four steps; else what can be asked without any."""
        rng = random.Random(f'text {step}')
        if step % 4:
            return self.scenes_told(generator(3, step), rng, mixed)
        asked = [four for _ in range(PICTURES) for four in [*text_questions(self.things, rng), rng.choice(greetings())]]
        return self.answers([self.prompt.conversations(asked, rng, picture=False)])

    def look(self, step: int):
        """Whether a thing is there, where, of what color, on which side of another: in scenes told in words and in a single word each, or it is hardly learned among so much else."""
        return self.scenes_told(generator(7, step), random.Random(f'look {step}'), sought, brief=1)

    def scenes_told(self, g: torch.Generator, rng: random.Random, choose, brief: float = BRIEF):
        scene, drawing, x, y, size, written = self.composer.choose(g, PICTURES, counts_of(g, PICTURES))
        scenes = members_of(scene, self.composer.drawings.label[drawing], x, y, size, self.colors[drawing], PICTURES)
        grounds = [rng.randint(-1, 10) for _ in scenes]
        asked = self.asked(scenes, grounds, written, choose, rng, brief)
        return self.answers(asked, torch.stack([self.told(*scene) for scene in zip(scenes, grounds, written)]))

    def asked(self, scenes: list, grounds: list, written: list, choose, rng: random.Random, brief: float) -> list:
        """Conversations about each of the scenes."""
        def about(members, ground, word):
            groups = groups_of(self.things, members)
            asked = [four for _ in range(4) for four in questions(self.things, groups, ground, rng)]
            if word or rng.random() < UNWRITTEN:
                asked += reading(word.text if word else '', rng) + reading(word.text if word else '', rng)
            return choose(asked, rng)
        return [self.prompt.conversations(about(*scene), rng, brief=brief) for scene in zip(scenes, grounds, written)]

    def answers(self, conversations: list, rows=None, spoken=None):
        """rows: as in answer_loss. spoken: weights [B,N] and pieces [B,N,K] (-1: none) of the words that are to be heard on each row of a picture."""
        with half():
            loss, right, pictures = answer_loss(self.model, self.before, rows, packed(conversations, len(self.before) + (0 if rows is None else rows.shape[1]), rows is None))
            if spoken is None:
                return loss, {'loss': loss, 'right': right}
            heard = heard_loss(self.model.lm_head(pictures), *spoken)
        return loss + self.heard * heard, {'loss': loss, 'right': right, 'heard': heard}

    def told(self, members: list, ground: int, word) -> torch.Tensor:
        """[TOLD²,D]: a picture of words, the later thing before the earlier."""
        axis = (torch.arange(TOLD) + 0.5) / TOLD
        fields = torch.stack([axis.repeat(TOLD), axis.repeat_interleave(TOLD)], 1)
        owner = torch.full((TOLD * TOLD,), -1)
        shown = members + (word.letters() if word else [])
        for n, m in enumerate(shown):
            owner[((fields - torch.tensor([m['x'], m['y']])).abs() < m['size'] / 2).all(1)] = n
        x, y = (torch.tensor([one[axis] for one in shown]) for axis in 'xy')
        return self.spoken(shown, ground, owner, holds_middle(owner, x, y, fields) & (owner < len(members)), fields)

    def said(self, shown: list, ground: int) -> list:
        """The words for the ground and for each of the things and letters that are shown."""
        shade = lambda color: [COLORS[color]] if color >= 0 else []
        return [['background', *shade(ground)], *([one['letter']] if 'letter' in one else [self.things[one['thing']]['name'], *shade(one['color'])] for one in shown)]

    def spoken(self, shown: list, ground: int, owner: torch.Tensor, middle: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """[N,D], the places of a picture in words: the sum of what is to be said of the thing or letter on each (owner: its number, -1 the ground), and "one" in the middle of a
        thing, in the vectors of these words, and of waves that tell its middle, or that of the place."""
        rows = torch.stack([sum(self.vectors(word).mean(0) for word in words) for words in self.said(shown, ground)])[owner + 1]
        rows = rows + middle[:, None] * self.vectors(NUMBERS[1]).mean(0)
        centers = torch.tensor([[one['x'], one['y']] for one in shown])[owner]
        return rows + WAVES * waves(torch.where(owner[:, None] >= 0, centers, places), TEXT['hidden_size'], RADIANS)

    def pieces(self, shown: list, ground: int, owner: torch.Tensor, middle: torch.Tensor) -> torch.Tensor:
        """[N,HEARABLE + 1], -1: none: the same words' pieces, and last, in the middle of a thing, how many of its kind were met so far."""
        said = torch.full((1 + len(shown), HEARABLE), -1)
        for row, words in zip(said, self.said(shown, ground)):
            ids = [piece for word in words for piece in self.prompt.encode(word)][:HEARABLE]
            row[:len(ids)] = torch.tensor(ids)
        number, met = torch.full_like(owner, -1), Counter()
        for at in torch.where(middle)[0].tolist():
            thing = shown[owner[at]]['thing']
            met[thing] += 1
            number[at] = self.prompt.encode(NUMBERS[met[thing]])[0]
        return torch.cat([said[owner + 1], number[:, None]], 1)

    def vectors(self, words: str) -> torch.Tensor:
        return self.model.get_input_embeddings()(torch.tensor(self.prompt.encode(words)))

    def words(self, step: int):
        """What a scene told in words would have at the place of each patch is what the projector learns to make of the tower's row there."""
        g = generator(10, step)
        batch = self.composer.compose(2 * PICTURES, g, counts_of(g, 2 * PICTURES))
        shown, owner, middle, weight = on_patches(batch, members_in(batch), batch.owner())
        with torch.no_grad(), half():
            image_rows, _ = self.tower(enlarged(batch))
            wanted = torch.stack([self.spoken(*scene, middles()) for scene in zip(shown, batch.ground.tolist(), owner, middle)]).float()
        with half():
            rows = self.model.model.multi_modal_projector(image_rows)
        loss = weighted((rows.float() - wanted).square().mean(2), weight) / wanted.flatten(0, 1).var(0).mean()
        return loss, {'loss': loss}

    def captions(self, step: int):
        """By turns what is in the picture, and what must be looked for."""
        return self.pictures(4, step, sought, brief=1) if step % 2 else self.pictures(4, step, telling)

    def instructions(self, step: int):
        """By turns everything that can be asked, what must be looked for (among several things), and what is in the picture: naming one thing after the other is what shorter answers teach least."""
        def everything(asked, rng):
            spoken = [*text_questions(self.things, rng), *greetings()]
            return mixed(asked, rng) + ([rng.choice(spoken)] if rng.random() < 0.2 else [])
        return self.pictures(5, step, *self.by_turns(everything, step))

    def by_turns(self, everything, step: int):
        """(what is chosen, part in single words, whether the pictures are crowded)"""
        return ((everything, BRIEF, False), (sought, 1, True), (lambda asked, rng: telling(asked, rng)[:5], 0.2, False))[step % 3]

    def plain(self, frozen):
        """Plain questions and what cannot be answered, beside the lessons of `instructions`; frozen: the model before, whose answers to what it knows stay as they are."""
        def lesson(step: int):
            rng, g = random.Random(f'plain {step}'), generator(12, step)
            choose, brief, crowded = self.by_turns(mixed, step)
            batch = self.composer.compose(PLAIN_PICTURES, g, counts_of(g, PLAIN_PICTURES, crowded))
            scenes, grounds = members_in(batch), batch.ground.tolist()
            for member in (member for members in scenes for member in members):
                member['sure'] = rng.random() < 0.5  # the frozen model is asked what comes after either
            with half(), torch.no_grad():
                rows = self.model.model.multi_modal_projector(self.tower(enlarged(batch))[0])
            pictured = [self.dialogues(*scene, choose, brief, rng) for scene in zip(scenes, grounds, batch.written)]
            asked = [groups_of(self.things, members) for members in scenes[:4]]
            unpictured = [self.prompt.dialogue(turns, rng, picture=False) for groups in asked for turns in plain.blind(self.things, groups, rng, BLIND // len(asked))]
            with half():
                parts = [kept_loss(self.model, frozen, self.before, rows, pictured), kept_loss(self.model, frozen, self.before, None, [unpictured])]
            new, kept, right, weight = (sum(figures) for figures in zip(*parts))
            return (new + KEPT * kept) / weight.sum(), {'new': new / weight[0], 'kept': kept / weight[1], 'right': right / 2}
        return lesson

    def dialogues(self, members: list, ground: int, word, choose, brief: float, rng: random.Random) -> list:
        groups = groups_of(self.things, members)
        asked = [four for _ in range(4) for four in questions(self.things, groups, ground, rng)]
        several = {four[1]: four for four in asked if four[0] == 'count' and four[3] != NUMBERS[1]}  # counting among others is the first thing to be lost
        old = choose(asked, rng)[:OLD] + list(several.values())[:SEVERAL]
        if word or rng.random() < UNWRITTEN:
            old += reading(word.text if word else '', rng)
        return [self.prompt.dialogue([plain.kept(four, {}, rng, plain=False)], rng, brief=brief) for four in old] + [
            self.prompt.dialogue(turns, rng) for turns in plain.conversations(self.things, groups, ground, word, rng, PLAIN)]

    def pictures(self, stage: int, step: int, choose, brief: float = BRIEF, crowded: bool = False):
        rng, g = random.Random(f'pictures {stage} {step}'), generator(stage, step)
        batch = self.composer.compose(PICTURES, g, counts_of(g, PICTURES, crowded))
        scenes, owner = members_in(batch), batch.owner()
        with half():
            with torch.no_grad():
                image_rows, _ = self.tower(enlarged(batch))
                sure = self.sure(batch, owner, image_rows).tolist()
            rows = self.model.model.multi_modal_projector(image_rows)
        for member in (member for members in scenes for member in members):
            member['sure'] = sure.pop(0)
        grounds, (shown, owner, middle, weight) = batch.ground.tolist(), on_patches(batch, scenes, owner)
        pieces = torch.stack([self.pieces(*scene) for scene in zip(shown, grounds, owner, middle)])
        return self.answers(self.asked(scenes, grounds, batch.written, choose, rng, brief), rows, (weight, pieces))

    def sure(self, batch, owner: torch.Tensor, image_rows: torch.Tensor) -> torch.Tensor:
        """[T]: whether the tower's rows on a thing hold its name for the likeliest and for likely enough: what they do not know a description must not tell. owner: of the batch."""
        on = owner >= 0
        held = torch.zeros(len(batch.thing), len(self.things)).index_add_(0, owner[on], self.tower.dense(image_rows[on]).float()[:, 1:].softmax(1))
        held = held / torch.bincount(owner[on], minlength=len(held)).clamp_min(1)[:, None]
        likeliest, name = held.max(1)
        return (name == batch.thing) & (likeliest > SURE)


def last_states(model, before: torch.Tensor, rows, batch: Packed):
    """Those of the conversations [N,L,D], and of the pictures' rows [B,N,D]. rows: [B,N,D], the pictures as the language model sees them, or None for text alone."""
    embed = model.get_input_embeddings()
    shared = embed(before)[None] if rows is None else torch.cat([embed(before).expand(len(rows), -1, -1), rows.float()], 1)
    x = torch.cat([shared.flatten(0, 1), embed(batch.ids).flatten(0, 1)])[None]
    positions = torch.cat([torch.arange(shared.shape[1]).repeat(len(shared)), batch.positions.flatten()])[None]
    y = model.model.language_model(inputs_embeds=x, attention_mask=batch.seen, position_ids=positions, picture=batch.picture, use_cache=False).last_hidden_state
    pictures = None if rows is None else y[0, :-batch.ids.numel()].unflatten(0, (len(rows), -1))[:, -rows.shape[1]:]
    return y[0, -batch.ids.numel():].unflatten(0, batch.ids.shape), pictures


def answer_loss(model, before: torch.Tensor, rows, batch: Packed):
    """Cross entropy of the answers' tokens, the part of them that is right, and the last states of the pictures' rows."""
    y, pictures = last_states(model, before, rows, batch)
    y = y[:, :-1]
    weight = batch.answer[:, 1:]
    told = weight > 0
    logits, wanted, weight = model.lm_head(y[told]).float(), batch.ids[:, 1:][told], weight[told]
    return (F.cross_entropy(logits, wanted, reduction='none') * weight).sum() / weight.sum(), (logits.argmax(-1) == wanted).float().mean(), pictures


def kept_loss(model, frozen, before: torch.Tensor, rows, dialogues: list):
    """Sums over the answers' tokens: cross entropy of the new ones, divergence of the others from what the frozen model says when asked as it knows it; the part of the new ones that is right;
    and the weights [2] of both. dialogues: of each picture."""
    flat = [one for mine in dialogues for one in mine]
    keeps = torch.tensor([keep for one in flat for keep in one.keeps])
    shared = len(before) + (0 if rows is None else rows.shape[1])

    def logits_of(model, spoken: list, chosen: list):
        batch = packed(spoken, shared, False)
        states, length = last_states(model, before, rows, batch)[0].flatten(0, 1), batch.ids.shape[1]
        places = torch.tensor([row * length + at + k - 1 for (row, at), (_, answer) in zip(batch.at, chosen) for k, is_answer in enumerate(answer) if is_answer])
        return model.lm_head(states[places]).float().log_softmax(-1), batch.ids.flatten()[places + 1], batch.answer.flatten()[places + 1]

    likely, wanted, weight = logits_of(model, [[one.asked for one in mine] for mine in dialogues], [one.asked for one in flat])
    known = [one for one in flat if any(one.keeps)]
    with torch.no_grad():
        taught = logits_of(frozen, [[one.known for one in mine if any(one.keeps)] for mine in dialogues], [one.known for one in known])[0]
    taught = taught[torch.tensor([keep for one in known for keep in one.keeps])]
    new = -(likely.gather(1, wanted[:, None])[:, 0] * weight)[~keeps].sum()
    kept = (F.kl_div(likely[keeps], taught, reduction='none', log_target=True).sum(1) * weight[keeps]).sum()
    right = (likely.argmax(1) == wanted)[~keeps].float().mean()
    return new, kept, right, torch.stack([weight[~keeps].sum(), weight[keeps].sum()])


def heard_loss(logits: torch.Tensor, weight: torch.Tensor, pieces: torch.Tensor) -> torch.Tensor:
    """Cross entropy of the rows' logits [B,N,V] to an equal mixture of the pieces [B,N,K] (-1: none)."""
    there = pieces >= 0
    likely = logits.float().log_softmax(-1).gather(-1, pieces.clamp_min(0))
    return weighted(-(likely * there).sum(-1) / there.sum(-1), weight)
