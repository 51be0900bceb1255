"""Find the denoisers of a pipeline."""

from __future__ import annotations

from typing import Any

from torch import nn

_NAMES = ("unet", "transformer", "transformer_2")
"""What diffusers calls them; a pipeline has one, or one for each part of the noise levels."""


def denoisers(pipe: Any) -> list[nn.Module]:
    """Return the denoisers of a pipeline."""
    parts = (getattr(pipe, name, None) for name in _NAMES)
    return [part for part in parts if isinstance(part, nn.Module)]
