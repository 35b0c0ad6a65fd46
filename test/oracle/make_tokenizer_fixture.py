"""Writes test/fixtures/tokenizer: a small SentencePiece vocabulary and the ids that the Python originals give for many strings.

    python3 test/oracle/make_tokenizer_fixture.py      (sentencepiece 0.2.3, tokenizers 0.23.3, transformers 5.23.0)

tokenizer.model        SentencePiece BPE, 600 pieces, byte fallback, trained on the sentences below
tokenizer.json         the same as transformers 5 saves it, with <image> and <pad> added
tokenizer_config.json  beside it
expected.json          texts, and per variant the settings that differ from tokenizer.json and the ids
"""

import copy
import io
import json
import os
import tempfile

import sentencepiece
import tokenizers
from sentencepiece import sentencepiece_model_pb2
from transformers import LlamaTokenizerFast, LlavaProcessor
from transformers.models.clip import CLIPImageProcessorPil

here = os.path.dirname(os.path.abspath(__file__))
out = os.path.join(here, '..', 'fixtures', 'tokenizer')
os.makedirs(out, exist_ok=True)

nouns = 'cat dog house river mountain garden window table bridge boat lamp street market farmer painter teacher child bird horse train'.split()
places = 'in the garden|on the table|near the river|under the old bridge|behind the house|across the street|at the market|by the window'.split('|')
verbs = 'sees finds paints carries follows watches remembers describes repairs waits for'.split(' ')
colours = 'red green blue yellow black white orange purple'.split()
sentences = [
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions.",
    'USER: What is in this picture? ASSISTANT: There is a small boat on the river.',
    'Please describe this image in detail.',
    'Answer the question using a single word or phrase.',
    'Is there a dog in the image? Yes, it sleeps under the table.',
    'How many birds are there? I count 3 birds and 12 trees, 1984 and 2024.',
    '    if x > 0:\n        return x * 2  # a comment\n    else:\n        return -x',
    'Der Fluss fließt über die Brücke, und das Mädchen hört dem Führer zu.',
    'Le garçon a mangé une crêpe près de la forêt, où il était déjà allé.',
    'Здравствуйте, как дела? Сегодня хорошая погода.',
    '今日は天気がいいですね。 我想在公园里散步。',
    'Ελλάδα και θάλασσα',
]
for i, noun in enumerate(nouns):
    for j, place in enumerate(places):
        sentences.append(f'The {colours[(i + j) % 8]} {noun} {verbs[(i * 3 + j) % 9]} a {nouns[(i * 7 + j * 5 + 1) % 20]} {place}.')

model = io.BytesIO()
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(sentences), model_writer=model, model_type='bpe', vocab_size=600, byte_fallback=True, normalization_rule_name='identity',
    remove_extra_whitespaces=False, allow_whitespace_only_pieces=True, split_digits=True, character_coverage=0.999, minloglevel=2, num_threads=1,
)
with open(os.path.join(out, 'tokenizer.model'), 'wb') as f:
    f.write(model.getvalue())

texts = [
    '', ' ', '  ', '   ', '    ', '          ', '\n', '\n\n', '\n\n\n', '\t', '\t\t', '\t\n', ' \n', '\n ', '\r\n', '\0', 'a\0b', '\x7f', '\u00a0', '\u3000',
    'Hello', ' Hello', '  Hello', 'Hello ', 'Hello  ', 'Hello world', 'Hello  world', 'Hello   world', 'Hello\nworld', 'Hello \n world', 'Hello\tworld', '\nHello', '\n Hello',
    'The cat sees a dog.', 'the the the the', 'thethethethe', 'aaaaaaaaaaaaaaaa', 'assistantassistant', 'ASSISTANT:', 'USER: ', 'USER: What is in this picture? ASSISTANT:',
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions.",
    "I've been 'told he's there, 'RE you sure?", '!!!!!!', '??..??', '------======', "''''''```````\"\"\"\"", '3', '33', '333', '3333333', '3.14159', '1,000,000',
    'é', 'e\u0301', 'n\u0303o\u0308', 'Führer', 'Mädchen hört', 'crêpe près', 'ﬁ ligature', 'ẞ ß', 'İ ı', 'Cửa Việt', 'Здравствуйте', 'нещо на Български', 'θάλασσα', 'שלום עולם',
    'مرحبا بالعالم', 'कमल', 'កាន់តែ', '今日は', '我想在公园', '한국어', '全角ＡＢＣ１２３', '～〜', '🦙', '🚀 (normal) 😶‍🌫️', '👩‍👩‍👧‍👦', '🇫🇷🇩🇪', '👍🏽', 'a🦙b', '𝔘𝔫𝔦', '\U0001f999\U0001f999',
    '\U0010ffff', '\ufeff', '\ufffd', '\u200b', '\u2028', '▁', '▁▁', '▁Hello', 'Hello▁world', ' ▁', '▁ ', 'a ▁b', '<0x0A>', '<0x41>', '<', '<s', 's>', '</', '< s >',
    'if x > 0:\n        return x * 2', 'a  b   c    d     e', 'tab\tseparated\tvalues', 'https://example.org/a?b=c&d=%20', 'C:\\path\\to', '{"a": [1, 2]}', '50 % of 4½',
]
special_texts = [
    '<s>', '</s>', '<unk>', '<image>', '<pad>', '</s></s>', ' </s>', '</s> ', ' </s> ', 'a</s>', '</s>a', '</s> a', '</s>  a', 'a</s>b', 'a </s> b', '</s>USER: Is it new? ASSISTANT:',
    'Hello</s>USER: hi', 'Hello</s> USER: hi', '<image>\nWhat?', '<image>What?', 'USER: <image>\nWhat is this? ASSISTANT:', '<image><image>', '<image> <image>', '<image>\n<image>\nx',
    'a <image>', ' <image>', '<s>USER: a', '<s> USER: a', '<s></s><unk><image><pad>', '<imag', '<image', '</s</s>', '<<image>>', '🦙</s>🦙', '</s>▁a', 'a</s>\n', '<image>\t', '</s>\n\n',
]

groups = {'texts': texts, 'specialTexts': special_texts, 'all': texts + special_texts}


def with_dummy_prefix(data, dummy):
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(data)
    proto.normalizer_spec.add_dummy_prefix = dummy
    return sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())


variants = {}
plain = with_dummy_prefix(model.getvalue(), True)
variants['sentencepiece'] = {'over': 'texts', 'ids': [plain.encode(text) for text in texts], 'decoded': [plain.decode(plain.encode(text)) for text in texts]}
variants['sentencepiece, no prefix space'] = {'over': 'texts', 'ids': [with_dummy_prefix(model.getvalue(), False).encode(text) for text in texts]}

with tempfile.TemporaryDirectory() as directory:
    with open(os.path.join(directory, 'tokenizer.model'), 'wb') as f:
        f.write(model.getvalue())
    saved = {}
    for name, arguments in {
        'first': dict(legacy=False), 'always': dict(legacy=True), 'never': dict(legacy=False, add_prefix_space=False),
    }.items():
        tokenizer = LlamaTokenizerFast.from_pretrained(directory, add_bos_token=True, **arguments)
        tokenizer.add_special_tokens({'additional_special_tokens': ['<image>'], 'pad_token': '<pad>'})
        target = os.path.join(directory, name)
        tokenizer.save_pretrained(target)
        saved[name] = json.load(open(os.path.join(target, 'tokenizer.json'), encoding='utf-8'))
        if name == 'first':
            base = saved[name]
            config = json.load(open(os.path.join(target, 'tokenizer_config.json'), encoding='utf-8'))
            # The prompt as LLaVA's processor makes it, the image token repeated for each of (28 / 14)² patches.
            processor = LlavaProcessor(
                CLIPImageProcessorPil(size={'shortest_edge': 28}, crop_size={'height': 28, 'width': 28}), tokenizer, patch_size=14,
                vision_feature_select_strategy='default', num_additional_image_tokens=1)
            from PIL import Image
            prompts = ['USER: <image>\nWhat is this? ASSISTANT:', '<image>', 'a<image>b <image>\n\nc', 'USER: <image>\n<image>\nTwo? ASSISTANT: Yes</s>USER: ok 🦙 ASSISTANT:', 'no picture']
            processed = []
            for prompt in prompts:
                images = [Image.new('RGB', (28, 28))] * prompt.count('<image>')
                processed.append(processor(text=prompt, images=images or None)['input_ids'][0])

four = copy.deepcopy(base)
four['model']['unk_token'] = '<unk>'
four['normalizer'] = {'type': 'Sequence', 'normalizers': [{'type': 'Prepend', 'prepend': '▁'}, {'type': 'Replace', 'pattern': {'String': ' '}, 'content': '▁'}]}
four['pre_tokenizer'] = None
added = copy.deepcopy(four)
added['added_tokens'] += [
    {'id': 602, 'content': 'magic word', 'single_word': False, 'lstrip': False, 'rstrip': False, 'normalized': True, 'special': False},
    {'id': 603, 'content': 'blank', 'single_word': False, 'lstrip': True, 'rstrip': True, 'normalized': False, 'special': False},
    {'id': 604, 'content': 'cat', 'single_word': True, 'lstrip': False, 'rstrip': False, 'normalized': False, 'special': False},
]
added_texts = ['magic word', 'a magic word b', 'amagic word', 'a  blank  b', 'blank', 'cat', 'concat', 'a cat, cats', 'cat cat', 'magic wordblank', '</s>magic word', 'x blank </s> magic word']
groups['addedTexts'] = added_texts
added_meta = copy.deepcopy(added)
added_meta['normalizer'], added_meta['pre_tokenizer'] = base['normalizer'], base['pre_tokenizer']
split = copy.deepcopy(base)
split['pre_tokenizer'] = {'type': 'Metaspace', 'replacement': '▁', 'prepend_scheme': 'always', 'split': True}


def record(name, document, over):
    strings = groups[over]
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(document))
    ids = [tokenizer.encode(text).ids for text in strings]
    differences = {key: document[key] for key in document if document[key] != base[key] and key != 'model'}
    variants[name] = {'over': over, 'differences': differences, 'ids': ids, 'decoded': [tokenizer.decode(i, skip_special_tokens=True) for i in ids]}


record('transformers 5, first segment', base, 'all')
record('transformers 5, legacy', saved['always'], 'specialTexts')
record('transformers 5, no prefix space', saved['never'], 'all')
record('transformers 4', four, 'all')
record('Metaspace with split', split, 'all')
record('added tokens, normalizer', added, 'addedTexts')
record('added tokens, Metaspace', added_meta, 'addedTexts')
for name in variants:
    # Byte runs that are not UTF-8 differ between decoders on purpose; none of these texts makes one.
    if 'decoded' in variants[name]:
        strings = groups[variants[name]['over']]
        variants[name]['decoded'] = {str(i): d for i, (d, s) in enumerate(zip(variants[name]['decoded'], strings)) if d != s}


def dump(name, value):
    with open(os.path.join(out, name), 'w', encoding='utf-8') as f:
        json.dump(value, f, ensure_ascii=False, separators=(',', ':'))
        f.write('\n')


dump('tokenizer.json', base)
dump('tokenizer_config.json', config)
dump('expected.json', {'texts': texts, 'specialTexts': special_texts, 'addedTexts': added_texts, 'variants': variants, 'processor': [{'prompt': p, 'ids': i} for p, i in zip(prompts, processed)]})
