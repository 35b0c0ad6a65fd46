"""Draws models/demo.png, 480 x 360: a dog, a guitar and two apples by the hand of Noto.

usage: python3 models/recipe/demo.py WORK
"""

import os
import sys

import torch
import torch.nn.functional as F

from drawings import Drawings
from exam import save

WIDTH, HEIGHT = 480, 360
THINGS = [('dog', 'dog', 24, 120, 196), ('red-apple', 'apple', 316, 30, 120), ('red-apple', 'apple', 268, 214, 120), ('guitar', 'guitar', 150, 14, 120)]  # icon, thing, left, top, side


def main():
    drawings = Drawings(sys.argv[1])
    canvas = torch.tensor([0.99, 0.93, 0.78])[:, None, None].expand(3, HEIGHT, WIDTH).clone()
    for name, thing, left, top, side in THINGS:
        [index] = [n for n, row in enumerate(drawings.rows) if row['hand'] == 'noto' and row['name'] == name]
        drawing = F.interpolate(drawings.pixels[0][index:index + 1], side, mode='bicubic', antialias=True)[0].clamp(0, 1)
        here = canvas[:, top:top + side, left:left + side]
        here.copy_(here * (1 - drawing[3:]) + drawing[:3])
    save(canvas, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'demo.png'))


if __name__ == '__main__':
    main()
