"""Short words in pictures: which are written, where, and how their letters look."""

import os
from dataclasses import dataclass
from functools import lru_cache

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont

LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'
FONTS = ['DejaVuSans.ttf', 'DejaVuSans-Bold.ttf', 'DejaVuSansMono.ttf', 'DejaVuSerif-Bold.ttf', 'cmss10.ttf', 'cmr10.ttf', 'STIXGeneralBol.ttf']  # the last is for tests only
PITCH = 0.85  # from letter to letter, of the box of one


@dataclass
class Word:
    """x, y: its middle; box: side of the square in which each letter stands; all of the picture's side."""
    text: str
    font: int
    x: float
    y: float
    box: float

    def letters(self) -> list:
        """[{letter, x, y, size}]"""
        return [dict(letter=letter, x=self.x + (k - (len(self.text) - 1) / 2) * PITCH * self.box, y=self.y, size=PITCH * self.box) for k, letter in enumerate(self.text)]


@lru_cache(maxsize=None)
def masks() -> torch.Tensor:
    """[fonts,26,48,48] in 0..1, capitals 32 high."""
    def mask(font, letter):
        image = Image.new('L', (48, 48))
        ImageDraw.Draw(image).text((24, 40), letter, 255, font, 'ms')
        return np.array(image)
    def sized(name):
        path = os.path.join(matplotlib.get_data_path(), 'fonts', 'ttf', name)
        _, top, _, bottom = ImageFont.truetype(path, 100).getbbox('H')
        return ImageFont.truetype(path, 100 * 32 / (bottom - top))
    return torch.from_numpy(np.array([[mask(font, letter) for letter in LETTERS] for font in map(sized, FONTS)])).float() / 255


def some_word(known: list, fonts: list, below: bool, g: torch.Generator) -> Word:
    """Half of them known words, half letters that can be spoken."""
    integer = lambda n: int(torch.randint(n, (1,), generator=g))
    uniform = lambda: float(torch.rand(1, generator=g))
    if uniform() < 0.5:
        text = known[integer(len(known))]
    else:
        text = ''.join(('AEIOUY' if (k + start) % 2 else 'BCDFGHJKLMNPQRSTVWXZ')[integer(6 if (k + start) % 2 else 20)] for start in [integer(2)] for k in range(2 + integer(4)))
    box = min(0.9 / (PITCH * len(text)), 0.32) * (0.8 + 0.2 * uniform())
    free = 0.96 - PITCH * box * len(text)
    return Word(text, fonts[integer(len(fonts))], 0.5 + (uniform() - 0.5) * free, (0.81 if below else 0.19) + 0.04 * (uniform() - 0.5), box)


def write(words: list, pixels: torch.Tensor, g: torch.Generator, grid: int) -> torch.Tensor:
    """Writes words ([B], None where there is none) over pictures [B,3,S,S], dark on light or light on dark; -> [B,grid²]: the letter's number in its word, -1 where none is."""
    stroke = torch.full((len(words), grid * grid), -1)
    for b, word in ((b, word) for b, word in enumerate(words) if word):
        letters = word.letters()
        side, k = pixels.shape[-1], 1 / word.box
        matrix = torch.tensor([[[k, 0, -k * (2 * one['x'] - 1)], [0, k, -k * (2 * one['y'] - 1)]] for one in letters])
        source = masks()[word.font, [LETTERS.index(letter) for letter in word.text], None]
        ink = F.grid_sample(source, F.affine_grid(matrix, (len(letters), 1, side, side), align_corners=False), mode='bilinear', padding_mode='zeros', align_corners=False)
        here = F.avg_pool2d(ink[:, 0], side // grid).flatten(1)
        most, which = here.max(0)
        stroke[b] = torch.where(most > 0.1, which, -1)
        over = ink.amax(0)
        under = pixels[b][:, over[0] > 0.5].mean()
        shade = 0.3 * torch.rand(3, 1, 1, generator=g)
        pixels[b] = pixels[b] * (1 - over) + (shade if under > 0.5 else 1 - shade) * over
    return stroke
