"""The repository of a profile on the hub, and the commit of it that is used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from reeldrop.render import pins


class Wanted(Protocol):
    """A download for the profile `name`.

    what: what it is, in words
    key: its key in config.yaml
    pins: the file with the commits of the first downloads, or None
    """

    @property
    def name(self) -> str: ...
    @property
    def what(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def location(self) -> str: ...
    @property
    def revision(self) -> str | None: ...
    @property
    def variant(self) -> str | None: ...
    @property
    def pins(self) -> Path | None: ...


@dataclass(frozen=True, slots=True)
class Repository:
    """The repository of a profile's model or LoRA, for code that does not render."""

    name: str
    location: str
    revision: str | None = None
    variant: str | None = None
    pins: Path | None = None
    lora: str = ""

    @property
    def what(self) -> str:
        return f"the LoRA {self.lora} of {self.name}" if self.lora else f"the model {self.name}"

    @property
    def key(self) -> str:
        return f"models.{self.name}" + (f".loras.{self.lora}" if self.lora else "")


def pinned(wanted: Wanted) -> str | None:
    """Return the commit to use: the profile's own, else the one noted at the first download."""
    return wanted.revision or pins.read(wanted.pins).get(wanted.location)
