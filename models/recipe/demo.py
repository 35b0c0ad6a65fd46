"""Draws models/demo.png, 384 x 384: a rocket, a cactus and a dog by the hand of Noto.

usage: python3 models/recipe/demo.py WORK
"""

import os
import sys

import torch
import torch.nn.functional as F

from drawings import Drawings
from exam import save

SIDE = 384
THINGS = [('rocket', 15, 25, 165), ('cactus', 205, 35, 150), ('dog', 100, 200, 175)]  # icon, left, top, side


def main():
    drawings = Drawings(sys.argv[1])
    canvas = torch.full((3, SIDE, SIDE), 0.97)
    for name, left, top, side in THINGS:
        [index] = [n for n, row in enumerate(drawings.rows) if row['hand'] == 'noto' and row['name'] == name]
        drawing = F.interpolate(drawings.pixels[0][index:index + 1], side, mode='bicubic', antialias=True)[0].clamp(0, 1)
        here = canvas[:, top:top + side, left:left + side]
        here.copy_(here * (1 - drawing[3:]) + drawing[:3])
    save(canvas, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'demo.png'))


if __name__ == '__main__':
    main()
