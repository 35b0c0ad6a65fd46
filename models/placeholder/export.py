"""One GGUF with language model, tower, projector, vocabulary, chat template and preprocessing: general.architecture = llava, weights F16."""

import os
import sys

import gguf

import recipe

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'test', 'oracle'))
import gguf_files  # noqa: E402
from vicuna import CHAT_TEMPLATE  # noqa: E402


def export(model, spm: bytes, path: str):
    config, layers = model.config, model.config.vision_config.num_hidden_layers
    writer = gguf.GGUFWriter(path, 'llama')
    writer.kv_data[0]['general.architecture'].value = 'llava'
    writer.add_name('shapes')
    writer.add_description('A placeholder: a very small LLaVA that answers in English about one or two drawn shapes (color, shape, place, count). It knows nothing else.')
    writer.add_license('MIT')
    gguf_files.add_text_keys(writer, config.text_config, spm, 'f16')
    writer.add_chat_template(CHAT_TEMPLATE)
    writer.add_string('llava.image_aspect_ratio', 'pad')
    gguf_files.add_vision_keys(writer, config.vision_config, layers, None, recipe.MEAN, recipe.STD)
    gguf_files.add_tensors(writer, model, gguf_files.text_names(config.text_config), 'f16', recipe.PIECES)
    gguf_files.add_tensors(writer, model, gguf_files.vision_names(layers, 'new'), 'f16', recipe.PIECES)
    gguf_files.finish(writer)
