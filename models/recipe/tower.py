"""The vision tower: CLIP's ViT in small, distilled from the teacher patch by patch, with what a scene is asked about as further targets."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from transformers import CLIPVisionConfig, CLIPVisionModel

from drawings import COLORS
from scenes import GRID, MOST, PATCH, SIDE
from writing import LETTERS

CONFIG = dict(hidden_size=192, intermediate_size=768, num_hidden_layers=7, num_attention_heads=6, image_size=SIDE, patch_size=PATCH, hidden_act='quick_gelu', projection_dim=192)


class Tower(nn.Module):
    """CLIPVisionModel and the heads of its training: on the patch rows of layer -2, and on the class row of the last layer."""

    def __init__(self, things: int, features: int):
        super().__init__()
        self.vision = CLIPVisionModel(CLIPVisionConfig(**CONFIG))
        width = CONFIG['hidden_size']
        self.features = nn.Linear(width, features)
        self.dense = nn.Linear(width, things + 1)
        self.color = nn.Linear(width, len(COLORS))
        self.middle = nn.Linear(width, 1)    # whether its thing's middle is here: what can be counted
        self.box = nn.Linear(width, 3)       # the centre of its thing in the picture, and the thing's size
        self.letter = nn.Linear(width, len(LETTERS) + 1)  # 26: none
        self.whole = nn.Linear(width, things)
        self.total = nn.Linear(width, MOST)  # how many things there are

    def forward(self, pixel_values, corner=(0, 0)):
        """-> patch rows of layer -2 [B,G²,D] and the class row after the last layer [B,D]; a smaller picture is seen as the part of one whose first patch lies at corner."""
        vision, (y, x) = self.vision, corner
        embed, grid = vision.embeddings, pixel_values.shape[-1] // PATCH
        places = embed.position_embedding.weight
        places = torch.cat([places[:1], places[1:].view(GRID, GRID, -1)[y:y + grid, x:x + grid].flatten(0, 1)])
        patches = embed.patch_embedding(pixel_values).flatten(2).transpose(1, 2)
        rows = vision.pre_layrnorm(torch.cat([embed.class_embedding.expand(len(patches), 1, -1), patches], 1) + places)
        *layers, last = vision.encoder.layers
        for layer in layers:
            rows = layer(rows, None)
        normed, attention = last.layer_norm1(rows), last.self_attn  # of the last layer only the class row is wanted
        heads = lambda z: z.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(heads(attention.q_proj(normed[:, :1])), heads(attention.k_proj(normed)), heads(attention.v_proj(normed)))
        whole = rows[:, :1] + attention.out_proj(mixed.transpose(1, 2).flatten(2))
        whole = whole + last.mlp(last.layer_norm2(whole))
        return rows[:, 1:], vision.post_layernorm(whole[:, 0])


def waves(places: torch.Tensor, width: int, highest: float) -> torch.Tensor:
    """[N,2], x and y in 0..1 -> [N,width]: sines and cosines of many frequencies, up to so many radians."""
    frequency = highest * 20 ** -torch.linspace(0, 1, width // 4)
    return torch.cat([wave(axis[:, None] * frequency) for axis in places.T for wave in (torch.sin, torch.cos)], 1)


@torch.no_grad()
def start(tower: Tower, values: torch.Tensor):
    """A start from which a tower learns in minutes: whitened patches, sinusoidal positions, attention that already looks at something. values: some pictures."""
    vision = tower.vision
    width = CONFIG['hidden_size']
    for name, weight in vision.named_parameters():
        if name.endswith('weight') and any(part in name for part in ('_proj', 'fc')):
            deep = 'out_proj' in name or 'fc2' in name
            nn.init.normal_(weight, std=(1.2 if 'q_proj' in name or 'k_proj' in name else 0.35 if deep else 0.7) * weight.shape[1] ** -0.5)
    y, x = torch.meshgrid(torch.arange(GRID), torch.arange(GRID), indexing='ij')
    places = torch.stack([x, y], -1).flatten(0, 1) / GRID
    patches = F.unfold(values, PATCH, stride=PATCH).transpose(1, 2).flatten(0, 1)
    mean = patches.mean(0)
    size, direction = torch.linalg.eigh((patches - mean).T @ (patches - mean) / len(patches))
    kernel = 0.3 * (direction[:, -width:] / torch.sqrt(size[-width:] + 0.01)).T
    vision.embeddings.patch_embedding.weight.copy_(kernel.reshape(width, 3, PATCH, PATCH))
    vision.embeddings.position_embedding.weight[1:] = 0.3 * waves(places, width, 1.5 * GRID) - kernel @ mean


def patch_weight(batch, owner: torch.Tensor) -> torch.Tensor:
    """[B,G²]: what a patch counts: small things would be lost among the many patches of large ones."""
    area = torch.bincount(owner[owner >= 0], minlength=len(batch.thing)).clamp_min(1)
    return torch.where(owner >= 0, 3 / area[owner.clamp_min(0)].sqrt(), 0.1)


def weighted(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Their mean, each counted by its weight."""
    return (values * weight).sum() / weight.sum()


def middles() -> torch.Tensor:
    """[G²,2]: x and y of each patch's middle."""
    grid = (torch.arange(GRID) + 0.5) / GRID
    return torch.stack([grid.repeat(GRID), grid.repeat_interleave(GRID)], 1)


def holds_middle(owner: torch.Tensor, x: torch.Tensor, y: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """[...,N]: whether a place is, of those on which its thing lies, the nearest to the thing's middle, the first of equals. owner [...,N]: of places [N,2], -1: none; x, y [T]: of the things."""
    on = owner >= 0
    at = owner.clamp_min(0)
    far = torch.where(on, (places[:, 0] - x[at]).square() + (places[:, 1] - y[at]).square() + 1e-6 * torch.arange(len(places)), torch.inf)
    nearest = torch.full_like(x, torch.inf).scatter_reduce(0, at.flatten(), far.flatten(), 'amin')
    return on & (far == nearest[at])


def targets(batch):
    """Per patch [B,G²]: owner (-1 ground), color (-100: none), whether the middle of its thing is there, box [B,G²,3], letter (26: none); per picture: number of things - 1."""
    owner = batch.owner()
    at = owner.clamp_min(0)
    none = owner < 0
    color = torch.where(none | (batch.color[at] < 0), -100, batch.color[at])
    middle = holds_middle(owner, batch.x, batch.y, middles())
    box = torch.stack([batch.x[at] - 0.5, batch.y[at] - 0.5, batch.size[at] - 0.4], -1) * 3
    letter = torch.full_like(batch.stroke, len(LETTERS))
    for mine, stroke, word in zip(letter, batch.stroke, batch.written):
        for k, capital in enumerate(word.text if word else ''):
            mine[stroke == k] = LETTERS.index(capital)
    total = torch.bincount(batch.scene, minlength=len(batch.pixels)) - 1
    return owner, color, middle, box, letter, total
