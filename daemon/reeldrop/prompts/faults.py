"""What is wrong with the settings of a prompt, without the places in its file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reeldrop.base.errors import ReeldropError


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a setting, and the remedy.

    item: the index in a list, or the key in a mapping
    example: lines that would be right
    """

    key: str
    problem: str
    remedy: str = ""
    item: int | str | None = None
    example: str = ""


class SettingsRefused(ReeldropError):
    """A prompt's settings can't be rendered; has every fault that was found."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(fault.problem for fault in self.faults))
