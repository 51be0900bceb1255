"""Compile a denoiser of one line; print the misses and the hits of the compiler's cache.

It runs in place of the daemon, with the settings of its unit.
"""

from __future__ import annotations

import torch
from reeldrop.speed import compiled
from reeldrop.speed.compiled import Forms
from reeldrop.speed.unet3d import Call
from torch import nn
from torch._dynamo.utils import counters


class Denoiser(nn.Module):
    """A denoiser that compiles quickly."""

    def forward(self, sample: torch.Tensor) -> torch.Tensor:
        return sample * 2 + 1


if __name__ == "__main__":
    _denoiser = Denoiser()
    _forms = Forms(_denoiser, Call())
    with torch.inference_mode():
        _denoiser(sample=torch.rand(2, 3))
        _forms.end()
        compiled.wait_for_compiler()
    _found = counters["aot_autograd"]
    print(_found["autograd_cache_miss"], _found["autograd_cache_hit"])
