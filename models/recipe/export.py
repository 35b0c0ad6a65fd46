"""One GGUF with language model, tower, projector, vocabulary, chat template and preprocessing: general.architecture = llava, weights F16."""

import os
import sys

import gguf

import language
from scenes import MEAN, STD

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'test', 'oracle'))
import gguf_files  # noqa: E402
from vicuna import CHAT_TEMPLATE  # noqa: E402


def export(model, spm: bytes, path: str):
    config = model.config
    layers = config.vision_config.num_hidden_layers - 1  # layer -2 gives the features: what comes after it is not stored
    writer = gguf.GGUFWriter(path, 'llama')
    writer.kv_data[0]['general.architecture'].value = 'llava'
    writer.add_name('things')
    writer.add_description('A very small LLaVA that knows drawings of two hundred things: it names, counts, finds and describes them. Of photographs it knows nothing.')
    writer.add_license('MIT')
    gguf_files.add_text_keys(writer, config.text_config, spm, 'q8_0')
    writer.add_chat_template(CHAT_TEMPLATE)
    writer.add_string('llava.image_aspect_ratio', 'pad')
    gguf_files.add_vision_keys(writer, config.vision_config, layers, None, MEAN.tolist(), STD.tolist())
    gguf_files.add_tensors(writer, model, gguf_files.text_names(config.text_config), 'q8_0', language.PIECES)
    gguf_files.add_tensors(writer, model, gguf_files.vision_names(layers, 'new'), 'q8_0', language.PIECES)
    gguf_files.finish(writer)
