"""The drawings that render.mjs wrote, and what is known of each: thing, hand, dominant color."""

import json
import math
import os
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F

COLORS = ['red', 'orange', 'yellow', 'green', 'blue', 'purple', 'pink', 'brown', 'black', 'gray', 'white']


def color_index(rgb: torch.Tensor) -> torch.Tensor:
    """[...,3] in 0..1 -> [...]: which of COLORS a person would say, by hue, saturation and value."""
    high, low = rgb.amax(-1), rgb.amin(-1)
    chroma = high - low
    r, g, b = rgb.unbind(-1)
    hue = torch.where(high == r, ((g - b) / chroma.clamp_min(1e-6)) % 6, torch.where(high == g, (b - r) / chroma.clamp_min(1e-6) + 2, (r - g) / chroma.clamp_min(1e-6) + 4)) * 60
    saturation = chroma / high.clamp_min(1e-6)
    index = torch.full(rgb.shape[:-1], COLORS.index('red'), dtype=torch.long)
    for start, color in ((14, 'orange'), (42, 'yellow'), (68, 'green'), (168, 'blue'), (258, 'purple'), (295, 'pink'), (345, 'red')):
        index[hue >= start] = COLORS.index(color)
    # light red is pink; dark orange and dull red or orange are brown; dark yellow reads as green or brown
    index[((hue < 14) | (hue >= 330)) & (saturation < 0.62) & (high > 0.75)] = COLORS.index('pink')
    index[((hue < 42) | (hue >= 350)) & (high < 0.62)] = COLORS.index('brown')
    index[(hue >= 14) & (hue < 42) & (saturation < 0.55) & (high < 0.85)] = COLORS.index('brown')
    index[(hue >= 42) & (hue < 56) & (high < 0.55)] = COLORS.index('brown')
    index[(saturation < 0.18) | (chroma < 0.09)] = COLORS.index('gray')
    index[((saturation < 0.18) | (chroma < 0.09)) & (high > 0.84)] = COLORS.index('white')
    index[high < 0.26] = COLORS.index('black')
    return index


class Drawings:
    """pixels[level]: [N,4,side >> level,side >> level], color premultiplied by alpha; label, hand: [N]."""

    def __init__(self, folder: str):
        with open(os.path.join(folder, 'drawings.json')) as file:
            facts = json.load(file)
        self.things, self.rows, self.hands = facts['things'], facts['rows'], facts['hands']
        side = facts['side']
        raw = torch.from_numpy(np.fromfile(os.path.join(folder, 'drawings.bin'), np.uint8).reshape(-1, side, side, 4)).permute(0, 3, 1, 2).float() / 255
        raw[:, :3] *= raw[:, 3:]
        self.pixels = [raw, F.avg_pool2d(raw, 2), F.avg_pool2d(raw, 4)]
        self.label = torch.tensor([row['label'] for row in self.rows])
        self.hand = [row['hand'] for row in self.rows]

    def of(self, *hands: str) -> torch.Tensor:
        """Indices of the drawings by these hands."""
        return torch.tensor([n for n, hand in enumerate(self.hand) if hand in hands])

    @lru_cache(maxsize=None)
    def by_thing(self, hands: tuple) -> list:
        """[things] of index tensors."""
        mine = self.of(*hands)
        return [mine[self.label[mine] == thing] for thing in range(len(self.things))]


def dominant(drawing: torch.Tensor) -> torch.Tensor:
    """[T,4,H,W] premultiplied -> [T]: the color of more than 55 % of what is drawn (outlines in black count little), -1 where none is."""
    alpha = drawing[:, 3]
    index = color_index((drawing[:, :3] / alpha[:, None].clamp_min(1e-3)).clamp(0, 1).permute(0, 2, 3, 1))
    share = torch.stack([(alpha * (index == k)).flatten(1).sum(1) for k in range(len(COLORS))], 1)
    weighted = share.clone()
    weighted[:, COLORS.index('black')] *= 0.5
    best = weighted.argmax(1)
    part = weighted.gather(1, best[:, None])[:, 0] / weighted.sum(1).clamp_min(1e-3)
    return torch.where(part > 0.55, best, torch.full_like(best, -1))


def changes() -> list:
    """[3,3] each, to be applied to rgb: a tenth lighter and darker, an eighth more and less saturated, and 3.4 degrees of hue to either side."""
    equal = torch.full((3, 3), 1 / 3)
    turn = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    return [k * torch.eye(3) for k in (1.1, 1 / 1.1)] + [k * torch.eye(3) + (1 - k) * equal for k in (1.12, 0.88)] + [
        math.cos(angle) * torch.eye(3) + (1 - math.cos(angle)) * equal + math.sin(angle) * turn for angle in (0.06, -0.06)]


def steady(drawing: torch.Tensor) -> torch.Tensor:
    """[T,4,H,W] premultiplied -> [T]: whether the dominant color keeps its name under each of the changes: on the border of two names people say either."""
    color = dominant(drawing)
    return torch.stack([dominant(torch.cat([torch.einsum('ij,tjhw->tihw', change, drawing[:, :3]), drawing[:, 3:]], 1)) == color for change in changes()]).all(0)
