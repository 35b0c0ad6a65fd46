"""Draws the losses of every stage, and how many tokens of the answers are right.

usage: python3 models/recipe/curves.py WORK OUT      (writes OUT/curves.svg)
"""

import json
import os
import sys

import matplotlib
matplotlib.use('svg')
import matplotlib.pyplot as plt  # noqa: E402

STAGES = {'teacher-alone': 'teacher, one thing', 'teacher': 'teacher, scenes', 'tower-alone': 'tower, one thing', 'tower': 'tower, scenes', 'contrast': 'contrast', 'text': 'language model, text',
          'look': 'language model, looking', 'words': 'stage 1: words', 'align': 'stage 1: captions', 'instruct': 'stage 2: instructions', 'plain': 'plain questions'}


def main():
    work, out = sys.argv[1:]
    figure, axes = plt.subplots(2, 6, figsize=(21.6, 6.5), constrained_layout=True)
    for axis in axes.flat[len(STAGES):]:
        axis.remove()
    for axis, (stage, title) in zip(axes.flat, STAGES.items()):
        with open(os.path.join(work, f'{stage}.jsonl')) as file:
            lines = [json.loads(line) for line in file]
        for key in lines[0]:
            if key != 'step':
                axis.plot([line['step'] for line in lines], [line[key] for line in lines], label=key, linewidth=1.2)
        axis.set_title(title, fontsize=11)
        axis.set_xlabel('step', fontsize=9)
        axis.grid(alpha=0.25)
        axis.legend(fontsize=8)
    os.makedirs(out, exist_ok=True)
    plt.rcParams['svg.hashsalt'] = 'curves'
    figure.savefig(os.path.join(out, 'curves.svg'), metadata={'Date': None})


if __name__ == '__main__':
    main()
