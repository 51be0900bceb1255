"""What is recorded of LoRAs: small sets of weights that change what a model shows."""

from __future__ import annotations

from dataclasses import dataclass

Loras = tuple[tuple[str, float], ...]
"""LoRAs by their names in the profile, sorted, each with its weight, which is not 0."""


@dataclass(frozen=True, slots=True)
class LoraLimits:
    """What prompts may ask of a LoRA.

    weight: where a prompt gives none
    is_always_used: the profile has it in every video, so that no prompt may name it
    """

    weight: float = 1.0
    least: float = -2.0
    most: float = 2.0
    is_always_used: bool = False


@dataclass(frozen=True, slots=True)
class UsedLora:
    """A LoRA that a video was rendered with.

    file: its name, without the folder
    revision: the commit of its repository; None if it is not from the hub
    sha256: of its bytes, in hexadecimal; empty if a revision says which they are
    """

    name: str
    weight: float
    file: str
    revision: str | None = None
    sha256: str = ""
