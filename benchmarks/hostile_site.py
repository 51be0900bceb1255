"""The site that hostile authors attack: the daemon's folders, and the files around them."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import secrets
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.zygote import Zygote
from hostile_author import FILMS, OPEN_TO_ALL, Order

SETTLE_SECONDS = 0.5

CONFIG = f"""\
settle_seconds: {SETTLE_SECONDS}
scan_seconds: 0.5
retry_seconds: 1
min_free_gib: 0
model: tiny
models:
  tiny:
    path: {{pipeline}}
    max_batch_size: 2
    defaults: {{{{num_inference_steps: 1, num_frames: 2, height: 32, width: 32}}}}
    limits: {{{{num_frames: 8, height: 64, width: 64, num_inference_steps: 10}}}}
"""

SERVICE_UID, ALICE_UID, GOOD_UID, FIRST_UID = 40000, 40050, 40009, 40001

DISK_SIZE = "768m"

_CLONE_NEWNS = 0x20000


def alone() -> None:
    """Make this process's mounts private to it."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


def let_everybody_read(folder: Path, spare: Path) -> None:
    """Make a folder below a closed one, such as a home, readable for all; hide the rest of that."""
    closed = [p for p in reversed(folder.parents) if not p.stat().st_mode & stat.S_IXOTH]
    if not closed:
        return
    spare.mkdir()
    subprocess.run(["mount", "--bind", str(folder), str(spare)], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(closed[0])], check=True)
    folder.mkdir(parents=True)
    subprocess.run(["mount", "--move", str(spare), str(folder)], check=True)


@dataclass(frozen=True)
class Site:
    """A folder with the daemon's folders, and the files outside them.

    uid: of the user whom the daemon runs as.
    secret: a text that only the files outside contain.
    """

    folder: Path
    uid: int
    zygote: Zygote
    secret: str

    @classmethod
    def make(cls, folder: Path, uid: int, pipeline: Path, zygote: Zygote) -> Site:
        site = cls(folder, uid, zygote, f"secret{secrets.token_hex(8)}")
        folder.mkdir(exist_ok=True)
        for path in (site.inbox, site.results, site.spool):
            path.mkdir(parents=True)
            os.chown(path, uid, uid)
        site.inbox.chmod(0o3777)
        site.results.chmod(0o1777)
        site.spool.chmod(0o700)
        site.config.write_text(CONFIG.format(pipeline=pipeline))
        for author in range(FIRST_UID, FIRST_UID + 9):
            site.home(author).mkdir(parents=True)
            os.chown(site.home(author), author, author)
        for place, owner in zip(site.outside, (0, ALICE_UID, uid), strict=True):
            site._lay_out(place, owner)
        for name, owner, mode in ((OPEN_TO_ALL, uid, 0o777), ("good", GOOD_UID, 0o2770)):
            (site.inbox / name).mkdir()
            os.chown(site.inbox / name, owner, uid)
            (site.inbox / name).chmod(mode)
        site.beside("journal").touch()
        return site

    def _lay_out(self, place: Path, owner: int) -> None:
        """Make a folder of prompt files that must be neither moved nor read."""
        place.mkdir(parents=True)
        for name in (*FILMS, "film.mp4", "passwd"):
            text = self.secret if name.endswith(".txt") else f"prompt: {self.secret}\n"
            (place / name).write_text(text)
            (place / name).chmod(0o600)
            os.chown(place / name, owner, owner)
        os.chown(place, owner, owner)

    @property
    def inbox(self) -> Path:
        return self.folder / "site" / "inbox"

    @property
    def results(self) -> Path:
        return self.folder / "site" / "results"

    @property
    def failed(self) -> Path:
        return self.results / "_failed"

    @property
    def spool(self) -> Path:
        return self.folder / "site" / "spool"

    @property
    def config(self) -> Path:
        return self.folder / "site" / "config.yaml"

    @property
    def outside(self) -> tuple[Path, ...]:
        """Folders outside the inbox, which links point to."""
        homes = self.folder / "home"
        return (self.folder / "etc" / "films", homes / "alice" / "films", self.results / "old")

    def home(self, uid: int) -> Path:
        """Return the private folder of an author."""
        return self.folder / "home" / f"u{uid}"

    def beside(self, name: str) -> Path:
        """Return the path of a file that no author can reach."""
        return self.folder.with_name(f"{self.folder.name}.{name}")

    def start(self, *arguments: str, log: str = "daemon.log", uid: int | None = None) -> int:
        """Start a command, and return its pid."""
        command = [*arguments, "--config", str(self.config)]
        return self.zygote.start(command, self.beside(log), uid=self.uid if uid is None else uid)

    def author(
        self, role: str, name: str, uid: int, seed: int, pause: float, *, is_heavy: bool = False
    ) -> Order:
        """Return the order of an author of this site."""
        places = (str(self.inbox), str(self.results), tuple(map(str, self.outside)))
        home, journal = str(self.home(uid)), str(self.beside("journal"))
        return Order(role, name, uid, seed, *places, home, journal, SETTLE_SECONDS, pause, is_heavy)


Seen = tuple[Any, ...]


def snapshot(site: Site) -> dict[str, Seen]:
    """Return the files outside by path: kind, mode, owner, time, inode, names, content."""
    found: dict[str, Seen] = {}
    for place in (site.folder / "etc", site.folder / "home", site.results / "old", site.config):
        for path in (place, *sorted(place.rglob("*"))):
            seen = path.lstat()
            content = ""
            if stat.S_ISREG(seen.st_mode):
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            elif stat.S_ISLNK(seen.st_mode):
                content = os.readlink(path)
            found[str(path)] = (
                *(seen.st_mode, seen.st_uid, seen.st_gid),
                *(seen.st_mtime_ns, seen.st_ino, seen.st_nlink, content),
            )
    tops = sorted(p.name for p in (*site.folder.iterdir(), *site.config.parent.iterdir()))
    return {**found, "names": tuple(tops)}


def changes(before: dict[str, Seen], after: dict[str, Seen]) -> list[str]:
    """Return the differences between two snapshots, in words."""
    names = sorted({*before, *after})
    both = ((name, before.get(name), after.get(name)) for name in names)
    return [f"{name}: {was} -> {now}" for name, was, now in both if was != now]


def walk(top: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield all entries below a folder by their relative paths, even those over PATH_MAX."""
    for folder, folders, files, fd in os.fwalk(os.fsencode(top), follow_symlinks=False):
        for name in (*folders, *files):
            with contextlib.suppress(FileNotFoundError):
                path = os.fsdecode(os.path.join(folder, name))
                yield path.removeprefix(f"{top}/"), os.lstat(name, dir_fd=fd)


@contextlib.contextmanager
def disk(folder: Path) -> Iterator[Path]:
    """Mount a file system for a site. After an error, its content is kept beside it."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"mode=755,size={DISK_SIZE}", "tmpfs", str(folder)]
    subprocess.run(command, check=True)
    try:
        yield folder
    except BaseException:
        keep(folder)
        raise
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def keep(folder: Path) -> None:
    """Copy the content of a privately mounted disk, except for paths that are too long."""
    copy = folder.with_name(f"{folder.name}-kept")
    subprocess.run(["cp", "-a", str(folder), str(copy)], check=False)
