"""Schedulers that add noise in their steps, and from where they draw it."""

from __future__ import annotations

import inspect
from typing import Any

_NAMES = (
    "Ancestral", "CMStochastic", "CogVideoXDPM", "DDPM", "KarrasVe", "LCM", "RePaint", "SASolver",
    "SCM", "ScoreSdeVe", "TCD", "UnCLIP",
)  # fmt: skip
"""Parts of the names of those that add noise whatever their settings."""


def adds_noise(scheduler: Any) -> bool:
    """Return whether a scheduler adds noise in its steps, as its pipeline calls it."""
    name, config = type(scheduler).__name__, scheduler.config
    is_sde = str(config.get("algorithm_type", "")).startswith("sde")
    return is_sde or bool(config.get("stochastic_sampling")) or any(n in name for n in _NAMES)


def from_everywhere(pipe: Any) -> bool:
    """Return whether the noise of the steps comes from torch's global generator.

    Pipelines for flow matching give no generator to their scheduler.
    """
    return _adds(pipe) and not hasattr(pipe, "prepare_extra_step_kwargs")


def from_each(pipe: Any, eta: object = None) -> bool:
    """Return whether each prompt of a batch gets the noise of its steps from its own generator.

    The UNet of ms-1.7b gives its scheduler the frames of all videos one after the other. The
    scheduler takes each frame for a video, and finds too few generators.

    eta: how much of it prompts ask for; only DDIM and its kin add it
    """
    if type(getattr(pipe, "unet", None)).__name__ != "UNet3DConditionModel":
        return not from_everywhere(pipe)
    is_asked_for = bool(eta) and "eta" in inspect.signature(pipe.scheduler.step).parameters
    return not (_adds(pipe) or is_asked_for)


def _adds(pipe: Any) -> bool:
    scheduler = getattr(pipe, "scheduler", None)
    return scheduler is not None and adds_noise(scheduler)
