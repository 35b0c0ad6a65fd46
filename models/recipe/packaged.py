"""The model as it was packaged: what export.py writes, read back, so that training can go on from it. Its values are those of the file (Q8_0), and it has nothing that only training had: the
tower's last layer and heads. Layer -2 needs neither."""

import os
import sys

import gguf
import numpy as np
import torch
from sentencepiece import sentencepiece_model_pb2 as sentencepiece_model

import language
import tower as towers

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'test', 'oracle'))
import gguf_files  # noqa: E402


def vocabulary(reader: gguf.GGUFReader) -> bytes:
    """The SentencePiece model of the file's pieces, with the settings of vicuna.train_pieces."""
    pieces, scores, types = (reader.fields[f'tokenizer.ggml.{key}'].contents() for key in ('tokens', 'scores', 'token_type'))
    model = sentencepiece_model.ModelProto()
    for piece, score, kind in zip(pieces, scores, types):
        model.pieces.add(piece=piece, score=score, type=kind)
    model.trainer_spec.model_type = sentencepiece_model.TrainerSpec.BPE
    model.trainer_spec.vocab_size, model.trainer_spec.byte_fallback = len(pieces), True
    model.trainer_spec.unk_id, model.trainer_spec.bos_id, model.trainer_spec.eos_id, model.trainer_spec.pad_id = 0, 1, 2, -1
    model.normalizer_spec.name = 'identity'
    model.normalizer_spec.add_dummy_prefix, model.normalizer_spec.remove_extra_whitespaces, model.normalizer_spec.escape_whitespaces = True, False, True
    return model.SerializeToString()


@torch.no_grad()
def read(path: str, things: int):
    """-> (model, tower, SentencePiece model)"""
    reader = gguf.GGUFReader(path)
    tower = towers.Tower(things, 1)
    model = language.build(tower)
    stored, parameters = {tensor.name: tensor for tensor in reader.tensors}, dict(model.named_parameters(remove_duplicate=False))
    names = {**gguf_files.text_names(model.config.text_config), **gguf_files.vision_names(model.config.vision_config.num_hidden_layers - 1, 'new')}
    names = {name: to for name, to in names.items() if to[0] in parameters}  # CLIP's patches have no bias
    if set(stored) != set(names):
        raise ValueError(f'{path} has other tensors: {sorted(set(stored) ^ set(names))}')
    for name, (parameter_name, heads) in names.items():
        parameter, tensor = parameters[parameter_name], stored[name]
        value = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(parameter.shape)
        if heads:  # back from gguf_files.interleave
            value = value.reshape(heads, -1, 2, value.shape[1]).swapaxes(1, 2).reshape(value.shape)
        parameter.copy_(torch.from_numpy(np.ascontiguousarray(value, np.float32)))
    tower.vision.load_state_dict(model.model.vision_tower.state_dict())
    return model, tower, vocabulary(reader)
