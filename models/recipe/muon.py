"""Muon (Jordan et al. 2024): momentum whose matrices are made orthogonal before each step, with the scale of Liu et al. 2025, so that AdamW's rates hold."""

import torch


@torch.no_grad()
def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """The nearest orthogonal matrix, roughly: five steps of a quintic Newton-Schulz iteration, in bfloat16."""
    x = matrix.bfloat16()
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (2.0315 * square @ square - 4.7750 * square) @ x
    return (x.T if tall else x).float()


class Muon(torch.optim.Optimizer):
    """For matrices inside a network; a convolution's kernels are rows of a matrix."""

    def __init__(self, params, lr: float, decay: float, momentum: float = 0.95):
        super().__init__(params, dict(lr=lr, decay=decay, momentum=momentum))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group['params']:
                if p.grad is None:
                    continue
                mean = self.state[p].setdefault('mean', torch.zeros_like(p))
                mean.lerp_(p.grad, 1 - group['momentum'])
                update = orthogonal(p.grad.lerp(mean, group['momentum']).flatten(1))
                p.mul_(1 - group['lr'] * group['decay']).add_(update.reshape(p.shape), alpha=-0.2 * group['lr'] * max(update.shape) ** 0.5)
