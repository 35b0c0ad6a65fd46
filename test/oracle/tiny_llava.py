"""Tiny random LLaVAs: the shapes of each case, and weights that make logits vary."""

import math

import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, SiglipVisionConfig


def build(vision: dict, text: dict, llava: dict, vocab_rows: int, image_id: int, seed: int, decoder=LlamaConfig, tower=CLIPVisionConfig):
    clip = tower is CLIPVisionConfig
    vision_config = tower(**{**({'hidden_act': 'quick_gelu', 'projection_dim': 16} if clip else {}), **vision})
    text_config = decoder(**{
        'vocab_size': vocab_rows, 'max_position_embeddings': 256, 'rms_norm_eps': 1e-5, 'bos_token_id': 1, 'eos_token_id': 2, 'pad_token_id': image_id + 1,
        'rope_parameters': {'rope_type': 'default', 'rope_theta': 10000.0}, **text})
    patches = (vision['image_size'] // vision['patch_size']) ** 2
    full = llava.get('vision_feature_select_strategy') == 'full'
    config = LlavaConfig(vision_config=vision_config, text_config=text_config, image_token_index=image_id, image_seq_length=patches + clip - (not full),
                         tie_word_embeddings=text.get('tie_word_embeddings', False), **llava)
    config._attn_implementation = 'eager'
    model = LlavaForConditionalGeneration(config).eval()
    randomize(model, seed, config.tie_word_embeddings)
    return model


@torch.no_grad()
def randomize(model, seed: int, tied: bool):
    """Tied embeddings start small: else each token mostly predicts itself."""
    generator = torch.Generator().manual_seed(seed)
    def normal(shape, mean, std):
        return mean + std * torch.randn(shape, generator=generator)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 0:
            continue  # CLIP's logit_scale
        if 'norm' in name or 'layrnorm' in name:
            value = normal(parameter.shape, 1.0 if name.endswith('weight') else 0.0, 0.2)
        elif name.endswith('bias'):
            value = normal(parameter.shape, 0.0, 0.2)
        elif 'embed_tokens' in name:
            value = normal(parameter.shape, 0.0, 0.1 if tied else 1.0)
        elif 'class_embedding' in name or 'position_embedding' in name:
            value = normal(parameter.shape, 0.0, 1.0)
        else:
            gain = 1.6 if 'q_proj' in name or 'k_proj' in name else 1.0
            value = normal(parameter.shape, 0.0, gain / math.sqrt(parameter[0].numel()))
        parameter.copy_(value)
