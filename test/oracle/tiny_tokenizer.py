"""A LLaMA-style SentencePiece vocabulary of a few hundred pieces, saved the way transformers 4 and 5 save it.

Ids: 0 <unk>, 1 <s>, 2 </s>, 3..258 the bytes, then pieces by score; <image> and <pad> follow as added specials.
`legacy` decides what stands before a segment that follows a special token: a space piece (true) or nothing (false).
"""

import io
import json
import os

import sentencepiece
from transformers import LlamaTokenizer

from processor import open_tokenizer

TEXT = """USER: What is it? ASSISTANT: It is a red circle.
USER: What color is the big square in this picture? ASSISTANT: The square is blue and the star is green.
USER: How many things are there? ASSISTANT: There are two things in the image.
USER: Describe the image. ASSISTANT: A small yellow triangle stands on a grey ground, left of the white ring.
Just a jolly quiz: vex the lazy dog, pick five boxes, mix; why? Hello world (and more)!
"""
IMAGE, PAD = '<image>', '<pad>'


def train(pieces: int) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT.splitlines() * 4), model_writer=model, model_type='bpe', vocab_size=pieces,
        byte_fallback=True, normalization_rule_name='identity', remove_extra_whitespaces=False, character_coverage=1.0,
        unk_id=0, bos_id=1, eos_id=2, pad_id=-1, num_threads=1, minloglevel=2)
    return model.getvalue()


def save(directory: str, model: bytes, style: str, legacy: bool):
    """style: `v5` (tokenizer.json with a Metaspace pre-tokenizer), `v4` (tokenizer.json with a Prepend + Replace normalizer), `model` (tokenizer.model alone)."""
    with open(os.path.join(directory, 'tokenizer.model'), 'wb') as file:
        file.write(model)
    count = sentencepiece.SentencePieceProcessor(model_proto=model).get_piece_size()
    if style == 'model':
        write_v4_config(directory, count, legacy)
    else:
        tokenizer = LlamaTokenizer.from_pretrained(directory, legacy=legacy, add_bos_token=True)
        tokenizer.add_tokens([IMAGE, PAD], special_tokens=True)
        tokenizer.pad_token = PAD
        tokenizer.save_pretrained(directory)
        os.remove(os.path.join(directory, 'tokenizer.model'))
        if style == 'v4':
            rewrite_as_v4(directory, legacy)
            write_v4_config(directory, count, legacy)
        else:
            forget_location(directory)
    return open_tokenizer(directory)


def rewrite_as_v4(directory: str, legacy: bool):
    assert legacy, 'the Prepend normalizer puts a space before every segment'
    path = os.path.join(directory, 'tokenizer.json')
    with open(path, encoding='utf-8') as file:
        data = json.load(file)
    data['normalizer'] = {'type': 'Sequence', 'normalizers': [
        {'type': 'Prepend', 'prepend': '▁'}, {'type': 'Replace', 'pattern': {'String': ' '}, 'content': '▁'}]}
    data['pre_tokenizer'] = None
    data['model']['unk_token'] = '<unk>'
    data['model']['merges'] = [' '.join(pair) for pair in data['model']['merges']]
    with open(path, 'w', encoding='utf-8') as file:
        json.dump(data, file, ensure_ascii=False)


def write_v4_config(directory: str, count: int, legacy: bool):
    def special(text):
        return {'content': text, 'lstrip': False, 'normalized': False, 'rstrip': False, 'single_word': False, 'special': True}
    added = {0: '<unk>', 1: '<s>', 2: '</s>', count: IMAGE, count + 1: PAD}
    write_json(directory, 'tokenizer_config.json', {
        'add_bos_token': True, 'add_eos_token': False, 'added_tokens_decoder': {str(i): special(t) for i, t in added.items()},
        'bos_token': '<s>', 'eos_token': '</s>', 'unk_token': '<unk>', 'pad_token': PAD, 'legacy': legacy,
        'clean_up_tokenization_spaces': False, 'model_max_length': 256, 'sp_model_kwargs': {}, 'tokenizer_class': 'LlamaTokenizer'})
    write_json(directory, 'special_tokens_map.json', {'bos_token': '<s>', 'eos_token': '</s>', 'pad_token': PAD, 'unk_token': '<unk>'})


def forget_location(directory: str):
    path = os.path.join(directory, 'tokenizer_config.json')
    with open(path, encoding='utf-8') as file:
        data = json.load(file)
    for key in ('is_local', 'local_files_only', 'name_or_path'):
        data.pop(key, None)
    write_json(directory, 'tokenizer_config.json', data)


def write_json(directory: str, name: str, data):
    with open(os.path.join(directory, name), 'w', encoding='utf-8') as file:
        json.dump(data, file, indent=1, ensure_ascii=False)
        file.write('\n')
