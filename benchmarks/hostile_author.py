"""An author who writes into an inbox under a user id of its own: identity, state and helpers.

It does not know the attacks; those are in `hostile_deeds.py`.
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
"""A text that must not begin a line of a report or list, nor be shown as a fact."""

FILMS = ("a.yaml", "b.txt", "c.yaml")
"""Prompt files outside the inbox, which links point to."""

OPEN_TO_ALL = "everybody"
"""A folder of the inbox in which everybody may write, and rename others' files."""

_PR_SET_PDEATHSIG = 1
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Order:
    """An author's identity and places.

    role: what it does, a key of ROLES.
    outside: folders outside the inbox, which links point to.
    home: the author's own folder, also outside.
    pause: mean seconds between two deeds.
    is_heavy: it also orders jobs that take minutes.
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
    """An author who writes into the inbox, with `dice` for its choices."""

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
        """Drop root's rights to those of the author, and die with the parent process."""
        parent = os.getppid()
        os.setgroups([])
        os.setresgid(self.order.uid, self.order.uid, self.order.uid)
        os.setresuid(self.order.uid, self.order.uid, self.order.uid)
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # only now: a change of ids resets it
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
        """Return whether an expensive deed was last done at least `seconds` ago, and record it.

        False for an author who is not heavy.
        """
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
        """Write a file in place, or under a temporary name followed by a rename."""
        raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
        if self.dice.random() < 0.5:
            unfinished = path.with_name(f".{self.order.name}{self.deeds}.tmp")
            unfinished.write_bytes(raw)
            unfinished.rename(path)
        else:
            path.write_bytes(raw)
        return path

    def settle(self) -> None:
        """Wait until about the moment at which the daemon claims a file."""
        time.sleep(max(0.0, self.order.settle_seconds + self.dice.uniform(-0.2, 0.3)))

    def outside(self) -> Path:
        return Path(self.dice.choice(self.order.outside))


def exchange(one: Path, other: Path) -> bool:
    """Swap two paths atomically; return whether that worked."""
    names = (_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other))
    return bool(_LIBC.renameat2(*names, _RENAME_EXCHANGE) == 0)


def swap_for(one: Path, other: Path, seconds: float, dice: random.Random) -> None:
    """Swap two paths again and again for `seconds`; in the end, each is back in its place."""
    end, swaps = time.monotonic() + seconds, 0
    while time.monotonic() < end or swaps % 2:
        swaps += exchange(one, other)
        if dice.random() < 0.1:
            time.sleep(dice.random() * 0.002)
        if swaps == 0:  # one of them is gone
            return
