"""Writes attentions.safetensors into golden cases: the attention weights (output_attentions=True, eager) from which transformers chose tokens.

usage: python3 test/oracle/make_attention_goldens.py     (after make_goldens.py and make_layout_goldens.py)

token.N [L,H,T] for some N: of the position whose logits gave generated token N, over the T = prompt + N positions that there were.
"""

import os

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from transformers import LlavaForConditionalGeneration

from make_goldens import GOLDEN

# Grouped keys, one kv head with wide heads, a class row that stays, a window, half-precision weights; the last two have long prompts and windows.
CASES = ['hf-f32', 'hf-f16', 'hf-bf16', 'hf-gqa-llama3-rope', 'hf-siglip', 'hf-siglip-wide-heads', 'hf-mistral-window', 'hf-long-window']
TOKENS = [0, 1, 7]


@torch.no_grad()
def attentions(name: str) -> dict:
    directory = os.path.join(GOLDEN, name)
    model = LlavaForConditionalGeneration.from_pretrained(os.path.join(directory, 'checkpoint'), dtype=torch.float32, attn_implementation='eager').eval()
    stages = load_file(os.path.join(directory, 'stages.safetensors'))
    pixel_values = torch.from_numpy(stages['pixel_values'])[None]
    result = {}
    for token in TOKENS:
        ids = np.concatenate([stages['input_ids'], stages['generated'][:token]]).astype(np.int64)
        out = model(input_ids=torch.from_numpy(ids)[None], pixel_values=pixel_values, output_attentions=True)
        assert int(out.logits[0, -1].argmax()) == int(stages['generated'][token]), name
        rows = torch.stack([layer[0, :, -1] for layer in out.attentions])  # [L,H,T]
        assert rows.shape[-1] == len(ids)
        assert torch.allclose(rows.sum(-1), torch.ones(rows.shape[:-1]), atol=1e-5), name
        result[f'token.{token}'] = np.ascontiguousarray(rows.numpy())
    return result


if __name__ == '__main__':
    torch.set_num_threads(1)
    for case in CASES:
        tensors = attentions(case)
        save_file(tensors, os.path.join(GOLDEN, case, 'attentions.safetensors'))
        print(case, {name: value.shape for name, value in tensors.items()})
