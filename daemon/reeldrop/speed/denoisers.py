"""Find the parts of a pipeline that take most of the time, and what their weights are made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

NAMES = ("unet", "transformer", "transformer_2")
"""Names of denoisers in diffusers: a pipeline has one, or one for each range of noise levels."""


def denoisers(pipe: Any) -> list[nn.Module]:
    """Return the denoisers of a pipeline."""
    found = (getattr(pipe, name, None) for name in NAMES)
    return [part for part in found if isinstance(part, nn.Module)]


def parts(pipe: Any) -> list[nn.Module]:
    """Return the denoisers of a pipeline and its VAE."""
    vae = getattr(pipe, "vae", None)
    return [*denoisers(pipe), *([vae] if isinstance(vae, nn.Module) else [])]


def modules(pipe: Any) -> list[nn.Module]:
    """Return all parts of a pipeline that have weights."""
    return [part for part in pipe.components.values() if isinstance(part, nn.Module)]


def made_of(weights: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Yield the tensors that are in memory for weights: themselves, or those of quantized ones.

    The dtype of a quantized one is that in which it is multiplied.
    """
    for weight in weights:
        if is_traceable_wrapper_subclass(weight):
            yield from made_of(getattr(weight, name) for name in weight.__tensor_flatten__()[0])
        else:
            yield weight
