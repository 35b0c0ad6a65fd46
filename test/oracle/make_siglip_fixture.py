"""A tiny random SigLIP with transformers, and what it makes of a picture and some texts: test/fixtures/siglip/.

The vocabulary is SentencePiece's Unigram with the table of nmt_nfkc, trained on a few sentences; ids as T5 has them: pad, end, unknown.
"""

import io
import json
import os

import sentencepiece
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipModel, SiglipTokenizer

from tiny_llava import randomize

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'fixtures')
SENTENCES = [
    'a photo of a cat', 'a photo of a dog', 'this is a photo of two red squares', 'a drawing of a rocket in the sky', 'the cat sat on the mat',
    'there are 42 blue stars and 7 yellow circles', 'an old photograph of the city at night', 'its colours are green and blue', 'five cats and three dogs',
    'un café près de la mer', 'straße und äpfel', 'a small red house with a green door', 'the photo shows a person on a bicycle', 'no one is here']
TEXTS = [
    'a red square', 'A  photo of\nTHE cat!', "it's 42 …", '', '   ', ' leading and trailing ', 'red ' * 40, 'Ein Café, straße! ﬁve ½ ＡＢＣ', 'x¨ y \u3000z ¨',
    'unknown 漢字 and 猫 …', '_under_score_ ▁ mark', 'ΟΔΟΣ İstanbul', 'two\u00a0words\x85here', 'tail ¨', '!!! ?']


def write_vocabulary(directory: str):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 20), model_writer=model, model_type='unigram', vocab_size=160, pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
        normalization_rule_name='nmt_nfkc', hard_vocab_limit=False, minloglevel=2)
    with open(os.path.join(directory, 'spiece.model'), 'wb') as file:
        file.write(model.getvalue())


def main():
    checkpoint = os.path.join(ROOT, 'siglip', 'checkpoint')
    os.makedirs(checkpoint, exist_ok=True)
    write_vocabulary(checkpoint)
    tokenizer = SiglipTokenizer(os.path.join(checkpoint, 'spiece.model'), model_max_length=16)
    tokenizer.save_pretrained(checkpoint)
    layers = {'hidden_size': 32, 'intermediate_size': 64, 'num_hidden_layers': 2, 'num_attention_heads': 2}
    config = SiglipConfig(
        text_config={**layers, 'hidden_size': 24, 'vocab_size': len(tokenizer), 'max_position_embeddings': 16, 'projection_size': 32},
        vision_config={**layers, 'image_size': 28, 'patch_size': 7})
    model = SiglipModel(config).eval()
    with torch.no_grad():
        randomize(model, 78, False)
        model.logit_scale.fill_(2.25)
        model.logit_bias.fill_(-3.5)
    model.save_pretrained(checkpoint)
    processor = SiglipImageProcessorPil(size={'height': 28, 'width': 28})
    processor.save_pretrained(checkpoint)
    with torch.no_grad():
        picture = Image.open(os.path.join(ROOT, 'pictures', 'rgb.png')).convert('RGB')
        pixel_values = processor(picture, return_tensors='pt')['pixel_values']
        ids = tokenizer(TEXTS, padding='max_length', truncation=True, max_length=16, return_tensors='pt')['input_ids']
        outputs = model(input_ids=ids, pixel_values=pixel_values)
        expected = {'image': model.get_image_features(pixel_values=pixel_values).pooler_output[0].contiguous(),
                    'probabilities': torch.sigmoid(outputs.logits_per_image)[0].contiguous()}
        texts = model.get_text_features(input_ids=ids).pooler_output
        for n in range(len(TEXTS)):
            expected[f'text.{n}'] = texts[n].contiguous()
            expected[f'ids.{n}'] = ids[n].to(torch.int32)
    save_file(expected, os.path.join(ROOT, 'siglip', 'expected.safetensors'))
    with open(os.path.join(ROOT, 'siglip', 'case.json'), 'w') as file:
        json.dump({'picture': '../pictures/rgb.png', 'texts': TEXTS}, file, indent=1, ensure_ascii=False)


main()
