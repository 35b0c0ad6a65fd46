"""The tower's other half: CLIP's text tower and projections, trained by contrast with the finished vision tower held still (Zhai et al. 2022), for `embed`.

Texts and pictures of one thing are near each other afterwards: cosine, scaled by exp(logit_scale), as in CLIP.
"""

import json
import os
import random

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from tqdm import tqdm
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

import tower as towers
from drawings import Drawings
from language import members_in
from questions import a, groups_of, joined
from scenes import SIDE, Composer, generator
from stage import half

CONTEXT, MERGED = 32, 900
FORMS = ['{}', '{}', 'a drawing of {}', 'a picture of {}', 'an icon of {}', 'an emoji of {}', 'this is {}', '{} on a plain background']


def caption(groups: list, rng: random.Random) -> str:
    """What is in a picture, in CLIP's manner."""
    names = [group.called(rng) if group.count == 1 else None for group in groups]
    parts = [(a(group.thing, name) if rng.random() < 0.7 else name) if name else group.some() for group, name in zip(groups, names)]
    return rng.choice(FORMS).format(joined(parts))


def tokenizer_in(directory: str, things: list) -> CLIPTokenizer:
    """Trained once: where two merges are equally frequent chance decides, and the checkpoints beside it know only the first outcome. In CLIP's own order: byte symbols,
    byte symbols at the end of a word, merges, start, end."""
    if os.path.exists(directory):
        return CLIPTokenizer.from_pretrained(directory)
    words = [text.lower() for thing in things for text in (thing['name'], thing['plural'], *thing['synonyms'], thing['kind'])] + [form.replace('{}', 'a an and two three four five six') for form in FORMS]
    trained = Tokenizer(models.BPE(end_of_word_suffix='</w>'))
    trained.pre_tokenizer = pre_tokenizers.Whitespace()
    trained.train_from_iterator(words, trainers.BpeTrainer(vocab_size=MERGED, end_of_word_suffix='</w>', show_progress=False))
    merges = [tuple(pair) if isinstance(pair, list) else tuple(pair.split(' ')) for pair in json.loads(trained.to_str())['model']['merges']]
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    symbols = [chr(byte) for byte in printable] + [chr(256 + n) for n in range(256 - len(printable))]
    pieces = [*symbols, *(symbol + '</w>' for symbol in symbols), *(a + b for a, b in merges), '<|startoftext|>', '<|endoftext|>']
    os.makedirs(directory)
    with open(os.path.join(directory, 'vocab.json'), 'w') as file:
        json.dump({piece: n for n, piece in enumerate(pieces)}, file, ensure_ascii=False)
    with open(os.path.join(directory, 'merges.txt'), 'w') as file:
        file.write('#version: 0.2\n' + ''.join(f'{a} {b}\n' for a, b in merges))
    return CLIPTokenizer.from_pretrained(directory)


def build(pieces: int, tower: towers.Tower) -> CLIPModel:
    config = CLIPConfig(
        text_config=dict(hidden_size=128, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4, hidden_act='quick_gelu', vocab_size=pieces,
                         max_position_embeddings=CONTEXT, bos_token_id=pieces - 2, eos_token_id=pieces - 1, pad_token_id=pieces - 1),
        vision_config=towers.CONFIG, projection_dim=towers.CONFIG['projection_dim'])
    model = CLIPModel(config)
    model.vision_model.load_state_dict(tower.vision.state_dict())
    model.vision_model.requires_grad_(False)
    return model


class Pictures:
    """Pictures as the finished tower sees them, once for all steps: class rows [N,D], and what is in each."""

    def __init__(self, drawings: Drawings, tower: towers.Tower, count: int, batch: int = 128):
        composer = Composer(drawings, drawings.hands['train'] + drawings.hands['icons'])
        rows, self.groups = [], []
        for step in tqdm(range(count // batch), desc='pictures'):
            g = generator(6, step)
            scenes = composer.compose(batch, g, torch.where(torch.rand(batch, generator=g) < 0.75, 1, 2))
            with torch.no_grad(), half():
                rows.append(tower(scenes.values())[1].float())
            self.groups += [groups_of(drawings.things, members) for members in members_in(scenes)]
        self.rows = torch.cat(rows)
        keys = {}
        names = [tuple(sorted((group.index, group.count) for group in groups)) for groups in self.groups]
        self.key = torch.tensor([keys.setdefault(name, len(keys)) for name in names])


def contrast(model: CLIPModel, tokenizer: CLIPTokenizer, pictures: Pictures, chosen: torch.Tensor, rng: random.Random):
    """Both directions' cross entropy, and how many pictures find a text of theirs; pictures of the same things are all right answers."""
    words = tokenizer([caption(pictures.groups[n], rng) for n in chosen.tolist()], padding=True, truncation=True, max_length=CONTEXT, return_tensors='pt')
    image = F.normalize(model.visual_projection(pictures.rows[chosen]).float(), dim=-1)
    text = F.normalize(model.text_projection(model.text_model(**words).pooler_output).float(), dim=-1)
    logits = model.logit_scale.exp().clamp(max=100) * image @ text.T
    key = pictures.key[chosen]
    same = (key[:, None] == key[None, :]).float()
    wanted = same / same.sum(1, keepdim=True)
    loss = -(wanted * F.log_softmax(logits, 1)).sum(1).mean() - (wanted * F.log_softmax(logits.T, 1)).sum(1).mean()
    return loss / 2, same.gather(1, logits.argmax(1, keepdim=True)).mean()


def save(model: CLIPModel, tokenizer: CLIPTokenizer, directory: str):
    model.half().save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    CLIPImageProcessorPil(size={'shortest_edge': SIDE}, crop_size={'height': SIDE, 'width': SIDE}).save_pretrained(directory)
