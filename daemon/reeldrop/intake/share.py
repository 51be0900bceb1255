"""What the file system of a folder can do: whether it reports changes, or must be scanned.

A folder may be a network share: the kernel reports no changes that other machines make there.
Knows nothing of prompt files and jobs.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reeldrop.base import proc, temporaries
from reeldrop.intake.watch import Watch

EVENT_SECONDS = 2.0
CLOCK_SECONDS = 2.5
RENAMES = 200

_LOCAL = frozenset(
    {
        "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "bcachefs", "f2fs", "jfs", "nilfs2",
        "reiserfs", "tmpfs", "ramfs", "overlay", "vfat", "exfat", "ntfs3", "hfsplus",
    }
)  # fmt: skip
"""File systems that only this machine's kernel changes, so that it reports every change.

An overlay is the root of a container: its layers must not be changed while it is mounted, and a
volume that is mounted into the container has a file system of its own.
"""

_LEASED_BY_SERVERS = frozenset({"nfs", "nfs4", "cifs", "smb3"})
"""File systems whose server grants or refuses leases for reasons of its own."""

_TIME_NS = 1_600_000_003_123_456_789
_STEPS = ((1, "nanoseconds"), (100, "100 ns"), (1000, "microseconds"), (10**6, "milliseconds"),
          (10**9, "whole seconds"), (2 * 10**9, "two seconds"))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trait:
    """The result of one test: whether nothing is amiss, and in words what that means."""

    what: str
    ok: bool
    text: str


def file_system(folder: Path) -> str:
    """Return the type of the file system that a folder is on; empty if it is unknown."""
    path, longest, kind = str(folder.resolve()), 0, ""
    with contextlib.suppress(OSError):
        for found in proc.mounts():
            point = found.point
            is_above = path == point or path.startswith(point.rstrip("/") + "/")
            if is_above and len(point) >= longest:
                longest, kind = len(point), found.kind
    return kind


_MARKS = (
    ("Syncthing", ".stfolder", None),
    ("Nextcloud", ".sync_*.db", False),
    ("Nextcloud", ".nextcloudsync.log", False),
    ("ownCloud", "._sync_*.db", False),
    ("ownCloud", ".owncloudsync.log", False),
    ("a server of Nextcloud or ownCloud", ".ocdata", False),
    ("a server of Nextcloud", ".ncdata", False),
    ("Dropbox", ".dropbox", False),  # a folder of this name in a home holds its settings
    ("Dropbox", ".dropbox.cache", True),
    ("Maestral", ".maestral.cache", True),
    ("Google Drive", ".tmp.drive*load", True),
    ("OneDrive", ".849C9593-D756-4E56-8D6E-42412F2A707B", None),
    ("Synology Drive", ".SynologyWorkingDirectory", True),
)
"""What sync tools keep at the top of a synced folder: tool, glob, whether it is a folder."""


def synced_by(folder: Path) -> tuple[str, Path] | None:
    """Return the tool that syncs a folder, and its mark in it or above it; None if none is found.

    Some tools leave no mark: Seafile, Unison, rclone, rsync.
    """
    folder = folder.resolve()
    for above in (folder, *folder.parents):
        with contextlib.suppress(OSError):
            names = os.listdir(above)
            for tool, glob, is_folder in _MARKS:
                for name in fnmatch.filter(names, glob):
                    if is_folder in (None, (above / name).is_dir()):
                        return tool, above / name
    return None


def reports_all(folder: Path) -> bool:
    """Return whether this machine's kernel reports every change in a folder."""
    return file_system(folder) in _LOCAL


def knows_writers(folder: Path) -> bool:
    """Return whether a refused lease means that a program on this machine is writing."""
    return file_system(folder) not in _LEASED_BY_SERVERS


def measure(folder: Path, scan_seconds: float) -> Iterator[Trait]:
    """Test what a folder for prompt files can do, and yield the findings.

    Raises:
        OSError: no file can be created there.
    """
    canary = temporaries.beside(folder / "x", temporaries.command_owner())
    try:
        yield _events(folder, canary, scan_seconds)
        yield _renames(canary)
        yield _times(canary)
        yield _clock(canary)
        yield _deletion(canary)
    finally:
        canary.unlink(missing_ok=True)


def _events(folder: Path, canary: Path, scan_seconds: float) -> Trait:
    scanned = f"new files are found by a scan every {scan_seconds:g} s"
    kind = file_system(folder) or "a file system of an unknown kind"
    if not _is_heard(folder, canary):
        return Trait("events", False, f"{kind} reports no changes: {scanned}")
    if not reports_all(folder):
        text = f"{kind} reports changes by this machine only: of others, {scanned}"
        return Trait("events", False, text)
    return Trait("events", True, f"{kind} reports every change: new files are seen at once")


def _is_heard(folder: Path, canary: Path) -> bool:
    heard = threading.Event()
    try:
        watch = Watch(folder, heard.set)
    except OSError:
        return False
    try:
        canary.write_bytes(b"canary")
        return heard.wait(EVENT_SECONDS)
    finally:
        watch.close()


def _renames(canary: Path) -> Trait:
    """Replace a file repeatedly, and check whether it is ever missing."""
    canary.write_bytes(b"canary")
    other = canary.with_name(f"{canary.name}.~.tmp")
    gaps, done = [], threading.Event()

    def look() -> None:
        while not done.is_set():
            if not canary.exists():
                gaps.append(True)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(RENAMES):
            other.write_bytes(b"canary")
            os.replace(other, canary)
    finally:
        done.set()
        looking.join()
        other.unlink(missing_ok=True)
    if gaps:
        return Trait("renames", False, "a file that is replaced is missing for a moment")
    return Trait("renames", True, "a rename replaces a file in one step")


def _times(canary: Path) -> Trait:
    canary.write_bytes(b"canary")
    os.utime(canary, ns=(_TIME_NS, _TIME_NS))
    off = abs(canary.stat().st_mtime_ns - _TIME_NS)
    name = next((name for step, name in _STEPS if off < step), "more than two seconds")
    text = f"modification times are kept in {name}"
    if off < 2 * 10**9:
        return Trait("times", True, text)
    return Trait("times", False, f"{text}: files that come back may be rendered again")


def _clock(canary: Path) -> Trait:
    """Compare the file system's clock with this machine's."""
    before = time.time()
    canary.write_bytes(b"canary, once more")
    found, after = canary.stat().st_mtime, time.time()
    off = found - (before + after) / 2
    if abs(off) < CLOCK_SECONDS:
        return Trait("clock", True, "its clock and this machine's agree")
    which = "ahead" if off > 0 else "behind"
    text = f"its clock is {abs(off):.0f} s {which}; reeldrop does not use it, but sync tools may"
    return Trait("clock", False, text)


def _deletion(canary: Path) -> Trait:
    """Delete an open file; some shares only hide it."""
    canary.write_bytes(b"canary")
    before = set(os.listdir(canary.parent))
    with canary.open("rb"):
        canary.unlink()
        left = set(os.listdir(canary.parent)) - before
    hidden = [name for name in left if name.startswith((".nfs", ".fuse_hidden", ".smbdelete"))]
    if canary.exists() or hidden:
        return Trait(
            "deletion", False, "a file that is deleted while it is open stays under another name"
        )
    return Trait("deletion", True, "files can be deleted, also while they are open")
