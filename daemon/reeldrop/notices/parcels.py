"""What a receiver is given, what it has to be able to do, and how it says that it failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from reeldrop.notices.happenings import Happening


class NotDelivered(Exception):
    """A receiver did not take a parcel; a later try may succeed.

    may_have_arrived: whether perhaps only the answer is missing
    is_refused: whether the receiver refused this content
    """

    def __init__(
        self, reason: str, *, may_have_arrived: bool = False, is_refused: bool = False
    ) -> None:
        super().__init__(reason)
        self.may_have_arrived = may_have_arrived
        self.is_refused = is_refused


@dataclass(frozen=True, slots=True)
class Parcel:
    """What is sent at once.

    happenings: one, or several for a digest
    key: identifies it; the same if it is sent again because it may not have arrived
    is_unsure: whether these may have arrived before, with another key
    is_plain: whether to leave out what a service may refuse: the poster and texts of config.yaml
    """

    happenings: tuple[Happening, ...]
    key: str
    is_unsure: bool = False
    is_plain: bool = False

    @property
    def ids(self) -> list[tuple[str, float]]:
        return [(happening.id, happening.at) for happening in self.happenings]


class Receiver(Protocol):
    """Takes parcels.

    name: for the log; without secrets
    key: identifies it among all receivers, also after a restart
    """

    name: str
    key: str

    def take(self, parcel: Parcel) -> None:
        """Take a parcel.

        Raises:
            NotDelivered: it was not taken.
        """
