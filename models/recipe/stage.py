"""One stage of training: a warm-up and a cosine over a fixed number of steps, an average of the weights, a checkpoint every few minutes, and going on from it."""

import copy
import json
import math
import os
import time

import torch
from tqdm import tqdm

from muon import Muon

CHECKPOINT_SECONDS = 150


def half():
    """Products in bfloat16 where the processor has them: twice as fast."""
    return torch.autocast('cpu', torch.bfloat16, enabled=torch.cpu._is_avx512_bf16_supported())


def rate_at(step: int, steps: int, peak: float) -> float:
    """Learning rate: linear over the first 3 %, then a half cosine to 0.3 % of the peak."""
    warm = max(1, int(0.03 * steps))
    return peak * min(1, (step + 1) / warm) * (0.5 * (1 + math.cos(math.pi * step / steps)) + 0.003)


class Stage:
    """fit() trains `model` and returns the averaged one. A finished stage is loaded, not run again; an interrupted one goes on where its checkpoint stands."""

    def __init__(self, folder: str, name: str, model: torch.nn.Module, steps: int, rate: float, decay: float = 0.02, average: float = 0.995):
        self.path, self.log, self.name = os.path.join(folder, f'{name}.pt'), os.path.join(folder, f'{name}.jsonl'), name
        self.model, self.steps, self.rate, self.average = model, steps, rate, average
        self.averaged = copy.deepcopy(model).eval().requires_grad_(False)
        heads = [name for name, module in model.named_children() if isinstance(module, torch.nn.Linear)]
        trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        inner = [p for name, p in trained if p.ndim > 1 and 'embed' not in name and name.split('.')[0] not in heads]
        outer = [p for name, p in trained if p.ndim > 1 and ('embed' in name or name.split('.')[0] in heads)]
        vectors = [p for _, p in trained if p.ndim < 2]
        self.trained = inner + outer + vectors
        self.optimizers = [
            Muon(inner, rate, decay),
            torch.optim.AdamW([{'params': outer, 'weight_decay': decay}, {'params': vectors, 'weight_decay': 0.0}], lr=rate, betas=(0.9, 0.98))]
        self.step = 0
        if os.path.exists(self.path):
            saved = torch.load(self.path, weights_only=True)
            self.step = saved['step']
            model.load_state_dict(saved['model'])
            self.averaged.load_state_dict(saved['averaged'])
            for optimizer, state in zip(self.optimizers, saved.get('optimizers', [])):
                optimizer.load_state_dict(state)

    def save(self):
        saved = {'step': self.step, 'model': self.model.state_dict(), 'averaged': self.averaged.state_dict()}
        if self.step < self.steps:
            saved['optimizers'] = [optimizer.state_dict() for optimizer in self.optimizers]
        torch.save(saved, self.path + '.new')
        os.replace(self.path + '.new', self.path)

    @torch.no_grad()
    def follow(self):
        keep = min(self.average, self.step / (self.step + 50))
        for mean, now in zip(self.averaged.state_dict().values(), self.model.state_dict().values()):
            if mean.dtype.is_floating_point:
                mean.lerp_(now, 1 - keep)  # what is held still stays as it is, to the last bit
            else:
                mean.copy_(now)

    def fit(self, loss_of, judge=None) -> torch.nn.Module:
        """loss_of(step) -> (loss, {name: figure}); judge(averaged) -> text, printed at checkpoints."""
        saved, figures = time.time(), {}
        bar = tqdm(total=self.steps, initial=self.step, desc=self.name, mininterval=20, smoothing=0.05)
        self.model.train()
        while self.step < self.steps:
            for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
                group['lr'] = rate_at(self.step, self.steps, self.rate)
            loss, figure = loss_of(self.step)
            self.model.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
            for optimizer in self.optimizers:
                optimizer.step()
            self.step += 1
            self.follow()
            for key, value in figure.items():
                now = float(value.detach())
                figures[key] = 0.95 * figures.get(key, now) + 0.05 * now
            bar.update()
            if self.step % 50 == 0:
                bar.set_postfix({key: f'{value:.3f}' for key, value in figures.items()})
                with open(self.log, 'a') as file:
                    file.write(json.dumps({'step': self.step, **{key: round(value, 4) for key, value in figures.items()}}) + '\n')
            if time.time() - saved > CHECKPOINT_SECONDS or self.step == self.steps:
                self.save()
                if judge:
                    tqdm.write(f'{self.name} {self.step}: {judge(self.averaged)}')
                saved = time.time()
        bar.close()
        return self.averaged
