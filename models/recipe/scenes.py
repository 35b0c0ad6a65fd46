"""Scenes of one to six things on a ground, composed by tensors: pictures, what is on each patch, and what the questions are asked about.

Layout, choice of drawings, turns, styles and grounds all come from one generator, so a seed gives the same batch everywhere.
"""

import math
import os
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F

from drawings import COLORS, Drawings, color_index, dominant
from writing import FONTS, some_word, write

SIDE, PATCH = 144, 12
GRID = SIDE // PATCH
MOST = 6
WRITTEN = 0.3  # part of the pictures of one thing that have a word, in training
MEAN, STD = torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711])
GRIDS = {1: [(1, 1)], 2: [(2, 1), (1, 2), (2, 2)], 3: [(2, 2), (3, 1), (1, 3), (3, 2), (2, 3)], 4: [(2, 2), (3, 2), (2, 3)], 5: [(3, 2), (2, 3)], 6: [(3, 2), (2, 3)]}


@dataclass
class Batch:
    """T things in B pictures; scene, drawing, thing, color (-1: none told), x, y (centre) and size in 0..1: [T]; ground: [B] color or -1; cover: [T,GRID,GRID]; written: [B] a
    Word or None; stroke: [B,GRID²] the number of the letter in its word, -1 where none is."""
    pixels: torch.Tensor   # [B,3,SIDE,SIDE] in 0..1
    scene: torch.Tensor
    drawing: torch.Tensor
    thing: torch.Tensor
    color: torch.Tensor
    x: torch.Tensor
    y: torch.Tensor
    size: torch.Tensor
    ground: torch.Tensor
    cover: torch.Tensor
    written: list
    stroke: torch.Tensor

    def values(self) -> torch.Tensor:
        return (self.pixels - MEAN[:, None, None]) / STD[:, None, None]

    def owner(self) -> torch.Tensor:
        """[B,GRID²]: index of the thing that lies on each patch, -1 for the ground."""
        best = torch.full((len(self.pixels), GRID * GRID), 0.1)
        owner = torch.full((len(self.pixels), GRID * GRID), -1)
        cover = self.cover.flatten(1)
        rank = torch.arange(len(self.scene)) - torch.searchsorted(self.scene, self.scene)  # scene is sorted
        for k in range(MOST):
            mine = torch.where(rank == k)[0]
            at = self.scene[mine]
            more = cover[mine] > best[at]
            owner[at] = torch.where(more, mine[:, None], owner[at])
            best[at] = torch.where(more, cover[mine], best[at])
        return owner


@lru_cache(maxsize=None)
def textures() -> torch.Tensor:
    """[K,3,192,192]: photographs of surfaces that scikit-image brings."""
    import skimage.data
    from PIL import Image
    folder = os.path.dirname(skimage.data.__file__)
    names = ('grass.png', 'gravel.png', 'brick.png', 'hubble_deep_field.jpg', 'ihc.png', 'moon.png')
    return torch.stack([torch.from_numpy(np.array(Image.open(os.path.join(folder, name)).convert('RGB').resize((192, 192)))).permute(2, 0, 1).float() / 255 for name in names])


class Composer:
    """hands: whose drawings. styled: changed as another hand might have drawn them (never in a test). side: of the pictures, in pixels. written: part of the pictures of one
    thing that have a word above or below it."""

    def __init__(self, drawings: Drawings, hands: list, styled: bool = True, side: int = SIDE, written: float = 0):
        self.drawings, self.styled, self.side, self.written = drawings, styled, side, written
        names = {name.upper() for thing in drawings.things for name in (thing['name'], *thing['synonyms'])} | {color.upper() for color in COLORS}
        self.words = sorted(name for name in names if name.isalpha() and 2 <= len(name) <= 5)
        self.fonts = list(range(len(FONTS)))[:-1] if styled else [len(FONTS) - 1]
        self.pool = drawings.by_thing(tuple(hands))
        self.weight = torch.tensor([float(len(mine)) for mine in self.pool]).sqrt()  # things with many drawings come more often
        self.textures = textures()

    def choose(self, g: torch.Generator, count: int, counts: torch.Tensor):
        """Which drawings stand where, over all pictures; and each picture's word."""
        uniform = lambda *shape: torch.rand(*shape, generator=g)
        integer = lambda n: int(torch.randint(n, (1,), generator=g))
        scene, drawing, x, y, size = [], [], [], [], []
        for b in range(count):
            n = int(counts[b])
            things = torch.multinomial(self.weight, n, generator=g).tolist()
            if n > 1 and uniform(1) < 0.45:  # several of one thing
                same = 2 + integer(n - 1)
                things[:same] = things[:1] * same
            grids = GRIDS[n]
            across, down = grids[integer(len(grids))]
            cells = torch.randperm(across * down, generator=g)[:n].tolist()
            width, height = 1 / across, 1 / down
            cell = min(width, height)
            one_drawing = {}
            for thing, at in zip(things, cells):
                mine = self.pool[thing]
                if thing not in one_drawing or uniform(1) < 0.4:
                    one_drawing[thing] = int(mine[integer(len(mine))])
                most = min(1.02 * cell, 0.97)
                least = max(0.6 * cell, 0.23) if n > 1 else 0.6
                s = least + (most - least) * float(uniform(1))
                free_x, free_y = max(width - s, 0), max(height - s, 0)
                x.append(at % across * width + width / 2 + (float(uniform(1)) - 0.5) * free_x)
                y.append(at // across * height + height / 2 + (float(uniform(1)) - 0.5) * free_y)
                size.append(s)
                scene.append(b)
                drawing.append(one_drawing[thing])
        written = [None] * count
        if self.written:
            for b in torch.where((counts == 1) & (uniform(count) < self.written))[0].tolist():
                at, below = scene.index(b), bool(uniform(1) < 0.5)
                y[at], size[at] = 0.62 * y[at] + (0 if below else 0.38), 0.62 * size[at]
                written[b] = some_word(self.words, self.fonts, below, g)
        return torch.tensor(scene), torch.tensor(drawing), torch.tensor(x), torch.tensor(y), torch.tensor(size), written

    def style(self, drawing: torch.Tensor, g: torch.Generator) -> torch.Tensor:
        """[T,4,H,W] -> the same as another hand might have drawn it: outlines, inner edges, flat or pale fills, other colors."""
        count = len(drawing)
        uniform = lambda *shape: torch.rand(*shape, generator=g)
        rgb, alpha = drawing[:, :3].clone(), drawing[:, 3:].clone()
        flat = torch.where(uniform(count) < 0.2)[0]
        if len(flat):  # fewer tones
            tones = 2 + torch.randint(3, (len(flat), 1, 1, 1), generator=g)
            a = alpha[flat]
            rgb[flat] = torch.round(rgb[flat] / a.clamp_min(1e-3) * tones) / tones * a
        saturation = 0.2 + 1.4 * uniform(count, 1, 1, 1)
        grey = rgb.mean(1, keepdim=True)
        rgb = grey + (rgb - grey) * saturation
        rgb = torch.einsum('tij,tjhw->tihw', torch.eye(3) + 0.1 * torch.randn(count, 3, 3, generator=g), rgb)
        rgb = (rgb * (0.7 + 0.6 * uniform(count, 1, 1, 1))).clamp(0, 1) * (alpha > 0)
        lined = torch.where(uniform(count) < 0.45)[0]
        if len(lined):
            inner, a = rgb[lined], alpha[lined]
            wide = drawing.shape[-1] > 48 and uniform(1) < 0.5
            pool = (lambda z: F.max_pool2d(z, 5, 1, 2)) if wide else (lambda z: F.max_pool2d(z, 3, 1, 1))
            grey = inner.mean(1, keepdim=True)
            edge = (F.max_pool2d(grey, 3, 1, 1) + F.max_pool2d(-grey, 3, 1, 1)).clamp(0)
            pale = uniform(len(lined), 1, 1, 1)
            pale = torch.where(uniform(len(lined), 1, 1, 1) < 0.35, pale, torch.zeros(()))  # a fill that is nearly white
            inner = inner + (a - inner) * pale
            inner = inner * (1 - (edge * 3 * uniform(len(lined), 1, 1, 1)).clamp(0, 1))
            grown = pool(a)
            ink = 0.15 * uniform(len(lined), 3, 1, 1)
            rgb[lined] = inner + (grown - a).clamp(0) * ink
            alpha[lined] = torch.maximum(a, grown)
        return torch.cat([rgb, alpha], 1)

    def grounds(self, count: int, g: torch.Generator):
        """[B,3,self.side,self.side], and [B]: the ground's color where it has one, else -1."""
        uniform = lambda *shape: torch.rand(*shape, generator=g)
        base = uniform(count, 3, 1, 1)
        pale = uniform(count) < 0.45
        base[pale] = 1 - 0.12 * uniform(int(pale.sum()), 3, 1, 1)
        ground = base.expand(count, 3, self.side, self.side).clone()
        plain = torch.ones(count, dtype=torch.bool)
        kind = uniform(count)
        slope = torch.where((kind < 0.25)[:, None, None, None], uniform(count, 3, 1, 1) - 0.5, torch.zeros(()))
        angle = uniform(count, 1, 1, 1) * 2 * math.pi
        line = torch.linspace(-1, 1, self.side)
        ground += 0.6 * slope * (line[None, None, None, :] * angle.cos() + line[None, None, :, None] * angle.sin())
        noisy = torch.where((kind > 0.25) & (kind < 0.4))[0]
        ground[noisy] += 0.12 * F.interpolate(torch.randn(len(noisy), 3, self.side // 4, self.side // 4, generator=g), self.side)
        photo = torch.where(kind > 0.9)[0]
        for b in photo.tolist():
            k = int(torch.randint(len(self.textures), (1,), generator=g))
            at_x, at_y = (int(torch.randint(193 - self.side, (1,), generator=g)) for _ in range(2))
            ground[b] = 0.5 * ground[b] + 0.5 * self.textures[k, :, at_y:at_y + self.side, at_x:at_x + self.side]
        plain[kind < 0.25] = False
        plain[photo] = False
        ground = ground.clamp(0, 1)
        return ground, torch.where(plain, color_index(base[:, :, 0, 0]), torch.full((count,), -1))

    def compose(self, count: int, g: torch.Generator, counts: torch.Tensor) -> Batch:
        scene, drawing, x, y, size, written = self.choose(g, count, counts)
        total = len(scene)
        uniform = lambda *shape: torch.rand(*shape, generator=g)
        normal = lambda *shape: torch.randn(*shape, generator=g)
        canvas = torch.zeros(total, 4, self.side, self.side)
        color = torch.zeros(total, dtype=torch.long)
        cos_sin = 0.16 * normal(total) * self.styled
        flip = torch.where(uniform(total) < 0.5, -1.0, 1.0) if self.styled else torch.ones(total)
        aspect = torch.exp(0.1 * normal(total)) if self.styled else torch.ones(total)
        shear = 0.08 * normal(total) * self.styled
        pixels = size * self.side
        for level, (low, high) in enumerate(((60, 1e9), (30, 60), (0, 30))):
            mine = torch.where((pixels >= low) & (pixels < high))[0]
            if not len(mine):
                continue
            source = self.drawings.pixels[level][drawing[mine]]
            if self.styled:
                changed = torch.where(uniform(len(source)) < 0.8)[0]
                source[changed] = self.style(source[changed], g)
            color[mine] = dominant(F.avg_pool2d(source, max(1, source.shape[-1] // 24)))
            c, s, k = cos_sin[mine].cos(), cos_sin[mine].sin(), 1 / size[mine]
            matrix = torch.zeros(len(mine), 2, 3)
            matrix[:, 0, 0], matrix[:, 0, 1] = c * flip[mine] * aspect[mine] * k, (shear[mine] - s) * k
            matrix[:, 1, 0], matrix[:, 1, 1] = s * flip[mine] * k / aspect[mine], c * k / aspect[mine]
            middle = torch.stack([2 * x[mine] - 1, 2 * y[mine] - 1], 1)
            matrix[:, :, 2] = -(matrix[:, :, :2] @ middle[:, :, None])[:, :, 0]
            canvas[mine] = F.grid_sample(source, F.affine_grid(matrix, (len(mine), 4, self.side, self.side), align_corners=False), mode='bilinear', padding_mode='zeros', align_corners=False)
        pixels, ground = self.grounds(count, g)
        rank = torch.arange(total) - torch.searchsorted(scene, scene)
        for k in range(MOST):
            mine = torch.where(rank == k)[0]
            at = scene[mine]
            pixels[at] = pixels[at] * (1 - canvas[mine, 3:]) + canvas[mine, :3]
        stroke = write(written, pixels, g, GRID)
        return Batch(pixels.clamp(0, 1), scene, drawing, self.drawings.label[drawing], color, x, y, size, ground, F.avg_pool2d(canvas[:, 3], self.side // GRID), written, stroke)


    def portrait(self, drawing: torch.Tensor) -> torch.Tensor:
        """[T] drawings -> [T,3,self.side,self.side] values: each alone in the middle, 84 % of the side, on a pale ground."""
        pixels = F.interpolate(self.drawings.pixels[0][drawing], int(0.84 * self.side), mode='bicubic', antialias=True).clamp(0, 1)
        canvas = F.pad(pixels, [(self.side - pixels.shape[-1]) // 2, self.side - pixels.shape[-1] - (self.side - pixels.shape[-1]) // 2] * 2)
        return (canvas[:, :3] + 0.93 * (1 - canvas[:, 3:]) - MEAN[:, None, None]) / STD[:, None, None]


def counts_of(g: torch.Generator, count: int, crowded: bool = False) -> torch.Tensor:
    """[B]: how many things; four of ten pictures have one, of the crowded ones none."""
    return 1 + torch.multinomial(torch.tensor([0, 0.2, 0.3, 0.2, 0.15, 0.15] if crowded else [0.4, 0.22, 0.13, 0.1, 0.08, 0.07]), count, replacement=True, generator=g)


def generator(*seed) -> torch.Generator:
    g = torch.Generator()
    g.manual_seed(hash(seed) % (1 << 62))  # ints hash to themselves: the same on every run
    return g
