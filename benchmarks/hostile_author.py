"""One who writes into an inbox, under a user id of its own: who it is, and what it knows.

Used by `hostile_deeds.py`, which says what the authors do.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

FORGED = "FORGED"
"""What a report or a list must not begin a line with, nor show as a fact."""

FILMS = ("a.yaml", "b.txt", "c.yaml")
"""Prompt files that lie outside the inbox, where links lead."""

OPEN_TO_ALL = "everybody"
"""A folder of the inbox in which all may write, also into each other's files."""

_PR_SET_PDEATHSIG = 1
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Order:
    """Who an author is, and where; `role` is what it does, a key of ROLES.

    `outside` are folders that links lead to, `home` is the author's own and outside, too. Between
    two deeds are `pause` seconds in the mean. Who `is_heavy` orders also what takes minutes.
    """

    role: str
    name: str
    uid: int
    seed: int
    inbox: str
    results: str
    outside: tuple[str, ...]
    home: str
    journal: str
    settle_seconds: float
    pause: float
    is_heavy: bool = False

    def line(self) -> str:
        return json.dumps(asdict(self)) + "\n"


class Author:
    """One who writes into the inbox. `dice` decides what."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.dice = random.Random(order.seed)
        self.inbox = Path(order.inbox)
        self.results = Path(order.results)
        self.home = Path(order.home)
        self.own = self.inbox / order.name
        self.deeds = 0
        self._journal = os.open(order.journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._last: dict[str, float] = {}
        self._later: list[tuple[float, Callable[[], object]]] = []

    def become(self) -> None:
        """Give up root's rights, and end with the process that has started this one."""
        parent = os.getppid()
        os.setgroups([])
        os.setresgid(self.order.uid, self.order.uid, self.order.uid)
        os.setresuid(self.order.uid, self.order.uid, self.order.uid)
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # after that: new rights forget it
        if os.getppid() != parent:
            sys.exit("the benchmark has ended already")
        os.umask(0o007 if self.order.role == "good" else 0o002)
        self.own.mkdir(exist_ok=True)

    def tell(self, kind: str, mark: str, **more: object) -> None:
        record = {"kind": kind, "mark": mark, "time": time.time(), **more}
        os.write(self._journal, (json.dumps(record) + "\n").encode())

    def mark(self) -> str:
        self.deeds += 1
        return f"{self.order.name}-{self.deeds:05}"

    def may(self, what: str, seconds: float) -> bool:
        """Return whether what costs much was not done for so long; it counts as done now."""
        if not self.order.is_heavy:
            return False
        now = time.monotonic()
        if now - self._last.get(what, -1e9) < seconds:
            return False
        self._last[what] = now
        return True

    def later(self, seconds: float, do: Callable[[], object]) -> None:
        self._later.append((time.monotonic() + seconds, do))

    def do_what_is_due(self) -> None:
        due = [entry for entry in self._later if entry[0] <= time.monotonic()]
        self._later = [entry for entry in self._later if entry not in due]
        for _, do in due:
            with contextlib.suppress(OSError):
                do()

    def place(self) -> Path:
        """Return a folder to write into."""
        own = self.own / self.dice.choice(("x", "x/y", "z"))
        folder = self.dice.choice((self.inbox, self.own, own, self.inbox / OPEN_TO_ALL))
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def write(self, path: Path, data: bytes | str) -> Path:
        """Write a file in one of the ways in which people do."""
        raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
        if self.dice.random() < 0.5:
            unfinished = path.with_name(f".{self.order.name}{self.deeds}.tmp")
            unfinished.write_bytes(raw)
            unfinished.rename(path)
        else:
            path.write_bytes(raw)
        return path

    def settle(self) -> None:
        """Wait until about the moment at which the daemon takes a file."""
        time.sleep(max(0.0, self.order.settle_seconds + self.dice.uniform(-0.2, 0.3)))

    def outside(self) -> Path:
        return Path(self.dice.choice(self.order.outside))


def exchange(one: Path, other: Path) -> bool:
    """Let two names change their places at once."""
    names = (_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other))
    return bool(_LIBC.renameat2(*names, _RENAME_EXCHANGE) == 0)


def swap_for(one: Path, other: Path, seconds: float, dice: random.Random) -> None:
    """Let them change their places all the time, and in the end lie as they lay."""
    end, swaps = time.monotonic() + seconds, 0
    while time.monotonic() < end or swaps % 2:
        swaps += exchange(one, other)
        if dice.random() < 0.1:
            time.sleep(dice.random() * 0.002)
        if swaps == 0:  # one of them has gone
            return
