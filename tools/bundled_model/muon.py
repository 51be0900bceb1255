"""Muon, an optimiser for the matrices inside a network.

It moves a matrix along the nearest orthogonal one to its gradient's mean, so that directions that
are rare in the gradient get learned as fast as frequent ones. Method: K. Jordan et al., "Muon: An
optimizer for hidden layers in neural networks", 2024; the length of a move, which makes it as long
as one of AdamW at the same rate: J. Liu et al., arXiv:2502.16982. The one of torch takes no
convolutions, and computes in bfloat16, which is slow on many CPUs.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

MOMENTUM = 0.95
LENGTH = 0.2  # of a move, as the root of the mean of its squares: what is usual of AdamW
ITERATION = (3.4445, -4.7750, 2.0315)  # coefficients of Jordan's polynomial of the fifth degree
ITERATIONS = 5


class Muon:
    """Moves matrices, and kernels of convolutions as matrices of (outputs, inputs and places)."""

    def __init__(self, matrices: Sequence[Tensor], weight_decay: float) -> None:
        self.matrices = list(matrices)
        self.momenta = [torch.zeros_like(matrix) for matrix in self.matrices]
        self._weight_decay = weight_decay

    def moves(self, rank: int, count: int) -> Tensor:
        """Return the moves of all matrices, one after the other, to add up over all processes.

        Each of the `count` processes computes those of its share, and has zeros for the others.
        """
        gradients = [matrix.grad for matrix in self.matrices]
        torch._foreach_mul_(self.momenta, MOMENTUM)
        torch._foreach_add_(self.momenta, gradients)
        ahead = torch._foreach_add(gradients, self.momenta, alpha=MOMENTUM)
        rows = [gradient.flatten(1) for gradient in ahead]
        found = [torch.zeros_like(one) for one in rows]
        mine = sorted(range(len(rows)), key=lambda k: rows[k].shape)[rank::count]
        for shape, group in itertools.groupby(mine, key=lambda k: rows[k].shape):
            some = list(group)
            length = LENGTH * max(shape) ** 0.5
            for k, move in zip(some, orthogonal(torch.stack([rows[k] for k in some])), strict=True):
                found[k] = move * length
        return torch.cat([move.flatten() for move in found])

    def move(self, moves: Tensor, lr: float) -> None:
        """Move the matrices, and shrink them by the weight decay."""
        pieces = moves.split([matrix.numel() for matrix in self.matrices])
        torch._foreach_mul_(self.matrices, 1 - lr * self._weight_decay)
        for matrix, piece in zip(self.matrices, pieces, strict=True):
            matrix.add_(piece.view_as(matrix), alpha=-lr)


def orthogonal(matrices: Tensor) -> Tensor:
    """Return about the nearest orthogonal matrices: singular values between 0.6 and 1.2.

    (matrices, rows, columns)
    """
    is_high = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if is_high else matrices
    x = x / (x.flatten(1).norm(dim=1).view(-1, 1, 1) + 1e-7)
    one, three, five = ITERATION
    for _ in range(ITERATIONS):
        square = x @ x.mT
        factor = torch.baddbmm(square, square, square, beta=three, alpha=five)
        x = torch.baddbmm(x, factor, x, beta=one)
    return x.mT if is_high else x
