"""The convolutional teacher: names the thing at every place of a picture, and the one thing of a picture that has one.

A residual network (He et al. 2015, basic blocks) whose pooling is left out of the dense head: it sees the last two stages side by side, brought to the patches.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F

from scenes import PATCH

WIDTH = 32
FEATURES = 12 * WIDTH


def convolution(i: int, o: int, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(i, o, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(o))


class Block(nn.Module):
    def __init__(self, i: int, o: int, stride: int):
        super().__init__()
        self.first, self.second = convolution(i, o, 3, stride), convolution(o, o, 3, 1)
        self.skip = convolution(i, o, 1, stride) if stride != 1 or i != o else nn.Identity()

    def forward(self, x):
        return F.relu(self.skip(x) + self.second(F.relu(self.first(x))))


class Teacher(nn.Module):
    def __init__(self, things: int):
        super().__init__()
        w = WIDTH
        self.stem = nn.Sequential(convolution(3, w, 3, 1), nn.ReLU(), nn.MaxPool2d(2), Block(w, w, 1), Block(w, 2 * w, 2), Block(2 * w, 2 * w, 1))
        self.third = nn.Sequential(Block(2 * w, 4 * w, 2), Block(4 * w, 4 * w, 1))
        self.fourth = nn.Sequential(Block(4 * w, 8 * w, 2), Block(8 * w, 8 * w, 1))
        self.dense = nn.Linear(FEATURES, things + 1)  # 0 is the ground
        self.whole = nn.Linear(8 * w, things)

    def forward(self, pixel_values):
        """-> features [B,G²,FEATURES], logits of each place [B,G²,things+1], logits of the whole [B,things]."""
        third = self.third(self.stem(pixel_values.contiguous(memory_format=torch.channels_last)))
        fourth = self.fourth(third)
        places = (pixel_values.shape[-1] // PATCH,) * 2
        features = torch.cat([F.interpolate(stage, places, mode='bilinear', align_corners=False) for stage in (third, fourth)], 1).flatten(2).transpose(1, 2)
        return features, self.dense(features), self.whole(F.dropout(fourth.mean((2, 3)), 0.1, self.training))
