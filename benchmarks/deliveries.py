"""Deliver prompt files as sync tools, browsers and editors do, byte by byte, at random speeds.

Each way of delivery is a generator; each of its steps does one operation on real files. Many
deliveries are interleaved with a real `Inbox` and `Intake`, whose clock this program sets, so that
hours pass in seconds. In the end, every file has to have been claimed exactly once, with its final
content.

    python benchmarks/deliveries.py --deliveries 2000
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import itertools
import math
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reeldrop.base.job import Capabilities
from reeldrop.intake.inbox import Inbox
from reeldrop.intake.intake import Intake
from reeldrop.intake.pace import Intervals
from reeldrop.intake.reading import Reader
from reeldrop.intake.settling import EMPTY_SECONDS, UNFINISHED_SECONDS
from reeldrop.prompts import parsing
from reeldrop.prompts.rules import ModelRules
from reeldrop.store.spool import Spool

SETTLE_SECONDS = 2.0
SCAN_SECONDS = 0.5
RULES = {"tiny": ModelRules("tiny", Capabilities({}, {}, 8, 1), {}, {})}

SOON, A_WHILE, LATER = "soon", "a while", "later"
"""How long a delivery may pause: for less than a file takes to settle, for less than the intake
waits for an empty or temporary file, or for minutes."""

Steps = Iterator[str]
FOLDERS = ("", "poems", "a/b")
OLD = (1_500_000_000, 1_500_000_000)


@dataclass
class Delivery:
    """A file to deliver: its path, its content, and the dice that cut it into pieces."""

    path: Path
    data: bytes
    dice: random.Random

    def pieces(self) -> list[bytes]:
        """Cut the content at random places, at most into single bytes."""
        cuts = self.dice.choice((1, 4, 30, len(self.data)))
        ends = {self.dice.randrange(1, len(self.data)) for _ in range(cuts)}
        places = [0, *sorted(ends), len(self.data)]
        return [self.data[a:b] for a, b in itertools.pairwise(places)]

    def beside(self, name: str) -> Path:
        """Return a path in the same folder; {} in `name` stands for the file's own name."""
        return self.path.parent / name.format(self.path.name)


def write(path: Path, delivery: Delivery, pause: str) -> Steps:
    """Write piece by piece, and keep the file open."""
    with path.open("wb", buffering=0) as file:
        for piece in delivery.pieces():
            file.write(piece)
            yield pause


def write_from_elsewhere(path: Path, delivery: Delivery) -> Steps:
    """Write piece by piece as from another machine: no process here keeps the file open."""
    path.write_bytes(b"")
    for piece in delivery.pieces():
        with path.open("ab") as file:
            file.write(piece)
        yield SOON


def old(path: Path) -> None:
    """Set the old modification time that the file has at its source."""
    os.utime(path, OLD)


def by_rename(name: str, *, late_time: bool = False) -> Callable[[Delivery], Steps]:
    """Return a way that writes under a temporary name, then renames.

    late_time: set the modification time after the rename, not before.
    """

    def deliver(delivery: Delivery) -> Steps:
        unfinished = delivery.beside(name)
        unfinished.parent.mkdir(exist_ok=True)
        yield from write(unfinished, delivery, LATER)
        if not late_time:
            old(unfinished)
        yield LATER
        unfinished.rename(delivery.path)
        yield SOON
        if late_time:
            with contextlib.suppress(FileNotFoundError):  # already claimed
                old(delivery.path)

    return deliver


def replacing(name: str) -> Callable[[Delivery], Steps]:
    """Return a way that replaces an older version once the new one is complete."""

    def deliver(delivery: Delivery) -> Steps:
        unfinished = delivery.beside(name)
        delivery.path.write_text("an older version\n")
        yield SOON
        for _ in write(unfinished, delivery, LATER):
            yield A_WHILE
        delivery.path.unlink()
        yield LATER
        unfinished.rename(delivery.path)

    return deliver


def in_place(delivery: Delivery) -> Steps:
    """Write under the final name, as scp, sftp, rclone and `rsync --inplace` do."""
    yield from write(delivery.path, delivery, LATER)
    if delivery.dice.random() < 0.5:
        old(delivery.path)


def from_elsewhere(delivery: Delivery) -> Steps:
    """Write under the final name on a share, from another machine."""
    yield from write_from_elsewhere(delivery.path, delivery)


def allocated(delivery: Delivery) -> Steps:
    """Allocate the full size before writing the bytes, as Windows does on a share."""
    delivery.path.write_bytes(bytes(len(delivery.data)))
    at = 0
    for piece in delivery.pieces():
        yield LATER if any(delivery.data[at:]) else SOON  # a rest of NUL bytes is final already
        with delivery.path.open("r+b") as file:
            file.seek(at)
            file.write(piece)
        at += len(piece)
    yield SOON
    old(delivery.path)


def name_first(delivery: Delivery) -> Steps:
    """Create an empty file first, as some programs do."""
    delivery.path.touch()
    yield A_WHILE
    yield from in_place(delivery)


def firefox(delivery: Delivery) -> Steps:
    """Reserve the final name with an empty file while the download is written beside it."""
    delivery.path.touch()
    unfinished = delivery.beside("{}.part")
    for _ in write(unfinished, delivery, LATER):
        yield A_WHILE
    unfinished.replace(delivery.path)


def interrupted(delivery: Delivery) -> Steps:
    """Leave a partial file with the modification time 0, as rsync does, then deliver again."""
    unfinished = delivery.beside(".{}.Ab3dE6")
    unfinished.write_bytes(delivery.data[: len(delivery.data) // 2])
    os.utime(unfinished, ns=(0, 36_303_909))
    unfinished.rename(delivery.path)
    yield LATER
    for _ in by_rename(".{}.xY9zW8")(delivery):
        yield A_WHILE


def vs_code(delivery: Delivery) -> Steps:
    """Truncate and write in place, twice: first a wrong text, then the final one."""
    for data in (b"a first try\n", delivery.data):
        with delivery.path.open("wb") as file:
            yield LATER
            file.write(data)
        yield SOON


def vim(delivery: Delivery) -> Steps:
    """Probe whether the folder is writable, move the old file away, write the new one."""
    delivery.path.write_text("an older version\n")
    delivery.beside(".{}.swp").write_text("swap")
    yield SOON
    probe = delivery.beside("4913")
    probe.touch()
    probe.unlink()
    delivery.path.rename(delivery.beside("{}~"))
    yield LATER
    yield from write(delivery.path, delivery, LATER)
    delivery.beside("{}~").unlink()
    delivery.beside(".{}.swp").unlink()


def emacs(delivery: Delivery) -> Steps:
    """Lock with a dangling symbolic link, write an auto-save file, then rename it."""
    lock, saved = delivery.beside(".#{}"), delivery.beside("#{}#")
    lock.symlink_to("somebody@somewhere.1234")
    yield from write(saved, delivery, LATER)
    saved.rename(delivery.path)
    yield LATER
    lock.unlink()


def finder(delivery: Delivery) -> Steps:
    """Write the attributes to a file beside it, and the file in place."""
    delivery.beside("._{}").write_bytes(b"\0\5\x16\7")
    yield from in_place(delivery)


WAYS: dict[str, Callable[[Delivery], Steps]] = {
    "Syncthing": by_rename(".syncthing.{}.tmp", late_time=True),
    "Syncthing on Windows": by_rename("~syncthing~{}.tmp", late_time=True),
    "Syncthing, replacing": replacing(".syncthing.{}.tmp"),
    "Nextcloud": by_rename(".{}.~1f2e3d"),
    "Nextcloud, replacing": replacing(".{}.~1f2e3d"),
    "Nextcloud's server": by_rename("{}.ocTransferId162893.part"),
    "rsync": by_rename(".{}.MAy4Ra"),
    "rsync, replacing": replacing(".{}.MAy4Ra"),
    "rsync --delay-updates": by_rename(".~tmp~/{}"),
    "rsync --partial, interrupted": interrupted,
    "rsync --inplace": in_place,
    "rclone": by_rename("{}.1a2b3c4d.partial"),
    "rclone --inplace": in_place,
    "Dropbox": by_rename(".dropbox.cache/{}"),
    "Google Drive": by_rename(".tmp.drivedownload/{}"),
    "OneDrive": by_rename("~{}.tmp"),
    "Resilio Sync": by_rename("{}.!Sync"),
    "Unison": by_rename(".unison.{}.0123456789abcdef.unison.tmp"),
    "Seafile": by_rename("{}.seaftmp~"),
    "WinSCP": by_rename("{}.filepart"),
    "scp": in_place,
    "Chrome": by_rename("{}.crdownload"),
    "Firefox": firefox,
    "Safari": by_rename("{}.download"),
    "Windows on a share": allocated,
    "another machine on a share": from_elsewhere,
    "the name first": name_first,
    "macOS": finder,
    "VS Code": vs_code,
    "vim": vim,
    "Emacs": emacs,
    "GNOME": by_rename(".goutputstream-XYZ123{}"),
    "JetBrains": by_rename("{}___jb_tmp___"),
}


def content(number: int, dice: random.Random) -> tuple[str, bytes]:
    """Return a suffix and content: words, the last of which marks the content as complete."""
    words = " ".join(
        dice.choice(["red", "hot", "air", "balloon"]) for _ in range(dice.randrange(1, 9))
    )
    return dice.choice(
        [
            (".txt", f"# number {number}\na {words}\nthe end of {number}\n".encode()),
            (".yaml", f"prompt: a {words}, the end of {number}\n".encode()),
            (".txt", f"a {words}, the end of {number}\n".encode("utf-16")),
        ]
    )


def a_delivery(folder: Path, number: int, dice: random.Random) -> Delivery:
    """Return a delivery to a random place below `folder`, with a unique name."""
    suffix, data = content(number, dice)
    return Delivery(folder / dice.choice(FOLDERS) / f"{number:05}{suffix}", data, dice)


def seconds(pause: str, dice: random.Random) -> float:
    """Return the length of a pause in seconds."""
    patience = {
        SOON: 0.5 * SETTLE_SECONDS,
        A_WHILE: dice.choice([1.0, 5.0, 0.9 * EMPTY_SECONDS]),
        LATER: 0.9 * UNFINISHED_SECONDS if dice.random() < 0.02 else 2.5 * SETTLE_SECONDS,
    }
    return dice.uniform(0, patience[pause])


@dataclass
class World:
    """An inbox and its intake, what they took and refused, and the simulated time."""

    folder: Path
    now: float = 1000.0
    taken: dict[str, list[bytes]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    scans: int = 0

    def __post_init__(self) -> None:
        self.inbox = self.folder / "inbox"
        for folder in FOLDERS:
            (self.inbox / folder).mkdir(parents=True, exist_ok=True)
        self.spool = Spool(self.folder / "spool", self.inbox, self.folder / "failed")
        self.spool.prepare()
        box = Inbox(self.inbox, parsing.SUFFIXES, SETTLE_SECONDS, parsing.DEFAULTS_NAME)
        self.intake = Intake(
            box,
            self.spool,
            Reader(RULES, "tiny"),
            Intervals(SCAN_SECONDS, 1.0),
            lambda: None,
            clock=lambda: self.now,
        )

    def work(self) -> None:
        """Run one turn of the daemon's intake."""
        self.intake.look(self.now)
        for job, error in self.intake.refused(patient=True):
            self.refused.append(f"{job.source}: {error}")
            self.spool.fail(job, lambda _, error=error: str(error))
        while waiting := self.intake.first():
            for job in filter(None, self.intake.take_all(waiting)):
                self.taken.setdefault(str(job.source), []).append(job.prompt_file.read_bytes())
                self.spool.finish(job, self.folder / "results" / job.source.parent)

    def run(self, ways: list[tuple[float, Delivery, Steps]], dice: random.Random) -> None:
        """Run all deliveries, each from its start time to its end, until their files settle."""
        line = [(self.now + begins, n, d, steps) for n, (begins, d, steps) in enumerate(ways)]
        heapq.heapify(line)
        idle_since = self.now
        while line or self.now < idle_since + 2 * SETTLE_SECONDS:
            next_step = line[0][0] if line else self.now + SCAN_SECONDS
            self.now = max(self.now, min(next_step, max(self.intake.due(), self.now + 0.01)))
            while line and line[0][0] <= self.now:
                at, number, delivery, steps = heapq.heappop(line)
                pause = next(steps, None)
                idle_since = self.now
                if pause is not None:
                    heapq.heappush(line, (at + seconds(pause, dice), number, delivery, steps))
            self.work()

    def close(self) -> None:
        self.intake.close()


@dataclass
class Count:
    """The outcome of the deliveries; the last four have to be empty."""

    deliveries: int
    ways: Counter[str]
    half: list[str]
    doubled: list[str]
    lost: list[str]
    refused: list[str]

    @property
    def is_clean(self) -> bool:
        return not (self.half or self.doubled or self.lost or self.refused)


def deliver(
    count: int, dice: random.Random, folder: Path, ways: Sequence[str] = tuple(WAYS)
) -> Count:
    """Deliver `count` files, in each way equally often, in an order and at speeds of the dice."""
    world = World(folder)
    begun, kinds = [], Counter[str]()
    sent: list[tuple[float, Delivery, Steps]] = []
    chosen = dice.sample([*ways] * math.ceil(count / len(ways)), count)
    for number, way in enumerate(chosen):
        delivery = a_delivery(world.inbox, number, dice)
        kinds[way] += 1
        begun.append((way, delivery))
        sent.append((dice.uniform(0, 2.0 * count), delivery, WAYS[way](delivery)))
    try:
        world.run(sent, dice)
    finally:
        world.close()
    found = Count(count, kinds, [], [], [], world.refused)
    for way, delivery in begun:
        name = str(delivery.path.relative_to(world.inbox))
        taken = world.taken.get(name, [])
        told = f"{way}: {name}: {taken}, not {delivery.data!r}"
        if not taken:
            found.lost.append(told)
        elif len(taken) > 1:
            found.doubled.append(told)
        elif taken != [delivery.data]:
            found.half.append(told)
    return found


def main() -> None:
    """Run, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--deliveries", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="reeldrop-deliveries-"))
    began = time.monotonic()
    found = deliver(arguments.deliveries, random.Random(arguments.seed), base / "world")
    shutil.rmtree(base)
    print(
        f"{found.deliveries} deliveries in {len(found.ways)} ways, {time.monotonic() - began:.0f} s"
    )
    for name in ("lost", "doubled", "half", "refused"):
        print(f"{name:8}{len(getattr(found, name)):6}")
        print("\n".join(getattr(found, name)[:10]), end="")
    if not found.is_clean:
        sys.exit(f"not every file was taken once and whole; --seed {arguments.seed}")


if __name__ == "__main__":
    main()
