"""Find the parts of a pipeline that take most of the time."""

from __future__ import annotations

from typing import Any

from torch import nn

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
