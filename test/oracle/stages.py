"""The stages of LLaVA as transformers computes them in float32, from a picture and a prompt to greedy tokens.

pixel_values [3,S,S] -> patch_embeddings [Tv-1,Dv] -> image_features [N,Dv] -> projected [N,D] -> input_ids [T]
-> hidden_states.0 [T,D] (spliced embeddings), hidden_states.l (output of decoder layer l, before the last norm) -> logits [T,V] -> generated [n]
"""

import numpy as np
import torch


def vision_stages(model, pixel_values: torch.Tensor) -> dict:
    """pixel_values [1,3,S,S]."""
    tower, config = model.model.vision_tower, model.config
    patches = tower.embeddings.patch_embedding(pixel_values).flatten(2).transpose(1, 2)
    hidden = tower(pixel_values, output_hidden_states=True).hidden_states[config.vision_feature_layer]
    features = hidden[:, 1:] if config.vision_feature_select_strategy == 'default' else hidden
    projected = model.model.multi_modal_projector(features)
    return {'pixel_values': pixel_values[0], 'patch_embeddings': patches[0], 'image_features': features[0], 'projected': projected[0]}


def splice(model, input_ids: torch.Tensor, image_id: int, projected: torch.Tensor | None) -> torch.Tensor:
    """[1,T,D]: token embeddings with the image rows put in at the places of `image_id` (which may lie outside the vocabulary)."""
    is_image = input_ids == image_id
    embeddings = model.get_input_embeddings()(input_ids.masked_fill(is_image, 0))
    if projected is not None:
        assert int(is_image.sum()) == len(projected)
        embeddings[is_image] = projected
    return embeddings


@torch.no_grad()
def run(model, pixel_values, input_ids, image_id: int, new_tokens: int) -> dict:
    stages = vision_stages(model, pixel_values) if pixel_values is not None else {}
    stages['input_ids'] = input_ids[0]
    embeddings = splice(model, input_ids, image_id, stages.get('projected'))
    stages['hidden_states.0'] = embeddings[0]
    hooks = [layer.register_forward_hook(lambda _, __, y, l=l: stages.__setitem__(f'hidden_states.{l + 1}', first(y)[0]))
             for l, layer in enumerate(model.model.language_model.layers)]
    out = model.model.language_model(inputs_embeds=embeddings, use_cache=True)
    for hook in hooks:
        hook.remove()
    stages['logits'] = model.lm_head(out.last_hidden_state)[0]
    generated, margins = greedy(model, stages['logits'][-1], out.past_key_values, new_tokens)
    stages['generated'] = torch.tensor(generated)
    stages['margins'] = torch.tensor(margins)
    return {name: to_numpy(value) for name, value in stages.items()}


def first(output):
    return output[0] if isinstance(output, tuple) else output


def greedy(model, row: torch.Tensor, cache, count: int):
    """Not stopped by EOS. A margin is (best - second) / max|logits| of its step."""
    ids, margins = [], []
    for step in range(count):
        best = torch.topk(row, 2)
        ids.append(int(best.indices[0]))
        margins.append(float((best.values[0] - best.values[1]) / row.abs().max()))
        if step + 1 < count:
            out = model.model.language_model(input_ids=torch.tensor([[ids[-1]]]), past_key_values=cache, use_cache=True)
            row = model.lm_head(out.last_hidden_state)[0, -1]
    return ids, margins


def to_numpy(value: torch.Tensor) -> np.ndarray:
    value = value.detach().contiguous().numpy()
    return value.astype(np.int32) if value.dtype == np.int64 else value.astype(np.float32)
