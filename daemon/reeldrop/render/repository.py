"""The repository of a profile on the hub, and the commit that is used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from reeldrop.render import pins


class Wanted(Protocol):
    """What is downloaded; `pins` is the file with the commits of the first downloads, or None."""

    @property
    def name(self) -> str: ...
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
    """A profile's repository, for those who do not render."""

    name: str
    location: str
    revision: str | None = None
    variant: str | None = None
    pins: Path | None = None


def pinned(wanted: Wanted) -> str | None:
    """Return the commit to use: the profile's own, else the one noted at the first download."""
    return wanted.revision or pins.read(wanted.pins).get(wanted.location)
