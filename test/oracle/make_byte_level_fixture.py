"""Writes test/fixtures/tokenizer/byte-level.json and clip.json: small byte-level vocabularies and the ids that the Python originals give.

    python3 test/oracle/make_byte_level_fixture.py      (tokenizers 0.23.3, transformers 5.23.0)

byte-level.json  tokenizer: a tokenizer.json as GPT-2's; variants: what other models have in its place (normalizer, pre_tokenizer, ignore_merges,
                 post_processor), their ids by text, or null where they are those of the first variant; missing: the same vocabulary without the pieces of
                 some bytes, and what becomes of such bytes with and without an unknown piece
clip.json        tokenizer: a tokenizer.json as CLIP's; ids by text, cut to 77

The texts are those of expected.json (`texts`, `specialTexts`) and the `texts` here.
"""

import json
import os

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

here = os.path.dirname(os.path.abspath(__file__))
out = os.path.join(here, '..', 'fixtures', 'tokenizer')
shared = json.load(open(os.path.join(out, 'expected.json'), encoding='utf-8'))

corpus = [
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions.",
    'USER: What is in this picture? ASSISTANT: There is a small boat on the river.', 'Answer the question using a single word or phrase.',
    "I've been there, they're here, we'll see, he'd say don't, I'M SURE HE'S GONE, THEY'LL COME", 'How many birds? 3 birds, 12 trees, 1984, 2024, 1,000,000.',
    '    if x > 0:\n        return x * 2  # a comment\n    else:\n        return -x\n\n', 'https://example.org/a/b?c=d', 'Der Fluss fließt über die Brücke.',
    'Le garçon a mangé une crêpe près de la forêt.', 'Здравствуйте, как дела?', '今日は天気がいいですね。 我想在公园里散步。', 'HTTPServer iPhone McDonald', '!!! ??? ... --- +++ <=>',
    'the cat sees a dog in the garden near the old bridge across the street', 'a photo of a cat, a photo of a dog, a picture of the red house',
] * 3
extra = [
    '\ufeffbom', 'nel\x85ls\u2028', " 'S'RE'll 'ſ", 'e\u0301 n\u0303 A\u030a', 'ﬀ Å Ⅷ ½ ²', '１２３ ١٢٣٤', 'x\r\n\r\n\n y  \n\n  z', '/path//to/\n/', 'McDonald HTTPServer iPhone', 'ǅ ʰa Aʰ',
    'a houseboat, Houseboat', 'ΣΊΣΥΦΟΣ ΣΑΣ', '<|end|>', 'a<|end|>b', ' <|end|> <|begin|>', '<|begin|><|begin|>', 'x<|en', '12 345 6789', "don't DON'T we'Ll", 'का कि की กำ', '$5 + 3 = 8^2 ~ |x|',
    'a photo of a CAT', "the user's", 'ASSISTANT:\n', '\n\n\n\nthe', 'tabs\t\t\tand\t', 'no\u00a0break\u3000wide',
]

spaces = r'\s*[\r\n]+|\s+(?!\S)|\s+'
gpt2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
llama3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + spaces
qwen2 = llama3.replace('{1,3}', '')
tekken = (r'[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*'
          r'|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|' + spaces)
gpt4o = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + spaces)

tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(llama3), 'isolated'), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
tokenizer.decoder = decoders.ByteLevel()
tokenizer.train_from_iterator(corpus, trainers.BpeTrainer(
    vocab_size=640, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False, special_tokens=[]))
document = json.loads(tokenizer.to_str())
# A piece that no merges lead to: only ignore_merges finds it.
vocab = document['model']['vocab']
vocab['Ġhouseboat'] = len(vocab)
byte_level = {'type': 'ByteLevel', 'add_prefix_space': False, 'trim_offsets': True, 'use_regex': True}
document['pre_tokenizer'] = byte_level
names = ['<|begin|>', '<|end|>', '</s>', '<image>']
document['added_tokens'] = [
    {'id': len(vocab) + i, 'content': name, 'single_word': False, 'lstrip': False, 'rstrip': False, 'normalized': name == '<|end|>', 'special': True}
    for i, name in enumerate(names)]
begin = {'type': 'TemplateProcessing', 'single': [{'SpecialToken': {'id': '<|begin|>', 'type_id': 0}}, {'Sequence': {'id': 'A', 'type_id': 0}}], 'pair': [],
         'special_tokens': {'<|begin|>': {'id': '<|begin|>', 'ids': [len(vocab)], 'tokens': ['<|begin|>']}}}
begin['pair'] = begin['single'] + [{'Sequence': {'id': 'B', 'type_id': 1}}]


def splits(*patterns):
    isolated = [{'type': 'Split', 'pattern': {'Regex': pattern}, 'behavior': 'Isolated', 'invert': False} for pattern in patterns]
    return {'type': 'Sequence', 'pretokenizers': isolated + [{**byte_level, 'use_regex': False}]}


# By the name that tokenizer.ggml.pre has for it.
differences = {
    'gpt-2': {},
    'llama-bpe': {'pre_tokenizer': splits(llama3), 'ignoreMerges': True, 'post_processor': {'type': 'Sequence', 'processors': [byte_level, begin]}},
    'tekken': {'pre_tokenizer': splits(tekken), 'ignoreMerges': True, 'post_processor': begin},
    'qwen2': {'pre_tokenizer': splits(qwen2), 'normalizer': {'type': 'NFC'}},
    'gpt-4o': {'pre_tokenizer': splits(gpt4o)},
    'starcoder': {'pre_tokenizer': {'type': 'Sequence', 'pretokenizers': [{'type': 'Digits', 'individual_digits': True}, byte_level]}},
    'default': {'pre_tokenizer': splits(r'[\p{P}$+<=>^~|]+', gpt2, r'\p{N}+', '[0-9][0-9][0-9]')},
}
texts = shared['texts'] + shared['specialTexts'] + extra
variants, first = {}, None
for name, difference in differences.items():
    changed = {**document, **{key: value for key, value in difference.items() if key != 'ignoreMerges'}}
    changed['model'] = {**document['model'], 'ignore_merges': difference.get('ignoreMerges', False)}
    loaded = Tokenizer.from_str(json.dumps(changed))
    ids = [loaded.encode(text).ids for text in texts]
    decoded = {str(i): loaded.decode(ids[i]) for i, text in enumerate(texts) if loaded.decode(ids[i]) != text}
    first = first or ids
    # BOS aside, many are the same.
    bare = [row[1:] if 'post_processor' in difference else row for row in ids]
    variants[name] = {'differences': difference, 'ids': [None if row == same and name != 'gpt-2' else row for row, same in zip(bare, first)], 'decoded': decoded}

# Bytes that have no piece, as many of SmolLM2's have none: dropped before anything is joined, or the unknown piece, one for each or one for several.
lacking = ['\x04', '\x06', '\x14', '\U00040000']  # the last one's first byte
alphabet_of = lambda text: pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(text)[0][0][0]
lost = {alphabet_of(text) for text in lacking}
missing_texts = ['a\x04b', '\x04', '\x04\x06', '--\x04-', '.\x04\x06.', '\x04 \x04\x14\x14', 'the\x14re', '!\U00040000!', 'th\x04e cat', '\x04\x04the']
missing = {}
for name, change in {'dropped': {}, 'unknown': {'unk_token': '?'}, 'fused': {'unk_token': '?', 'fuse_unk': True}}.items():
    model = {**document['model'], 'vocab': {piece: id for piece, id in vocab.items() if piece not in lost}, **change}
    loaded = Tokenizer.from_str(json.dumps({**document, 'model': model}))
    missing[name] = {'change': change, 'ids': [loaded.encode(text).ids for text in missing_texts]}

with open(os.path.join(out, 'byte-level.json'), 'w', encoding='utf-8') as f:
    json.dump({'texts': extra, 'tokenizer': document, 'variants': variants, 'missing': {'pieces': sorted(lost), 'texts': missing_texts, 'variants': missing}}, f, ensure_ascii=False, separators=(',', ':'))

# CLIP
clip = Tokenizer(models.BPE(end_of_word_suffix='</w>', unk_token='<|endoftext|>'))
clip.pre_tokenizer = pre_tokenizers.Sequence([
    pre_tokenizers.Split(Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"), 'removed', invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
clip.train_from_iterator([line.lower() for line in corpus], trainers.BpeTrainer(
    vocab_size=700, end_of_word_suffix='</w>', show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
model = json.loads(clip.to_str())['model']
alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
pieces = alphabet + [character + '</w>' for character in alphabet]
merges = [tuple(merge) for merge in model['merges']]
pieces += [left + right for left, right in merges] + ['<|startoftext|>', '<|endoftext|>']
original = CLIPTokenizer(vocab={piece: i for i, piece in enumerate(dict.fromkeys(pieces))}, merges=merges)
clip_texts = [text for text in texts if '<|' not in text] + ['a photo of a cat, ' * 40]
saved = json.loads(original.backend_tokenizer.to_str())
with open(os.path.join(out, 'clip.json'), 'w', encoding='utf-8') as f:
    json.dump({'tokenizer': saved, 'long': clip_texts[-1], 'ids': [original(text, truncation=True, max_length=77)['input_ids'] for text in clip_texts]},
              f, ensure_ascii=False, separators=(',', ':'))
print(len(texts), len(clip_texts))
