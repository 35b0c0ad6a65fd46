"""Draws models/demo.png: a blue star on light ground, 480 x 360."""

import os
from PIL import Image, ImageDraw

import scenes

WIDTH, HEIGHT, SCALE = 480, 360, 4
image = Image.new('RGB', (WIDTH * SCALE, HEIGHT * SCALE), (240, 236, 226))
pen = ImageDraw.Draw(image)
scenes.draw_shape(pen, 'star', 236 * SCALE, 184 * SCALE, 118 * SCALE, 0.1, (34, 92, 206))
image.resize((WIDTH, HEIGHT), Image.Resampling.BOX).save(os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'demo.png'), optimize=True)
