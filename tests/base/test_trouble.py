"""Trouble of the machine in words: which file, what is used up, and what to do."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from harness.files import no_larger_than
from reeldrop.base import durable, moves, temporaries, trouble
from reeldrop.base.errors import DISK_ERRORS
from reeldrop.video import encoder


def error(number: int, file: object = None) -> OSError:
    """Return an error as the operating system raises it."""
    return OSError(number, os.strerror(number), file)


@pytest.mark.parametrize("number", sorted(DISK_ERRORS))
def test_each_error_of_the_machine_has_a_remedy(number: int) -> None:
    """And names the file."""
    found = trouble.mistake(error(number, "/srv/results/a.mp4"))
    assert found.remedy
    assert found.problem.startswith(f"{os.strerror(number)}: /srv/results/a.mp4")


def test_a_disk_that_fails_does_not_say_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is missing, or behind what can't be looked into, is not there; a broken link is."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("none", "none/x", "file/x", "x" * 300, "\0"):
        assert not trouble.is_there(tmp_path / name)
    assert trouble.is_there(tmp_path / "file")
    assert trouble.is_there(f"{tmp_path}/link")

    def fail(path: Path) -> None:
        raise error(number, str(path))

    monkeypatch.setattr(os, "lstat", fail)
    for number in sorted(DISK_ERRORS):
        with pytest.raises(OSError, match="file") as caught:
            trouble.is_there(tmp_path / "file")
        assert number == caught.value.errno
    number = errno.EACCES
    assert not trouble.is_there(tmp_path / "file")


def test_a_full_disk_is_told_with_what_is_left(tmp_path: Path) -> None:
    """Of the file system of a file that is not there yet; the same trouble is the same text."""
    found = trouble.in_words(error(errno.ENOSPC, str(tmp_path / "a/b.mp4")))
    told = f"No space left on device: {tmp_path}/a/b.mp4 ("
    assert found.startswith(told)
    assert found.endswith(" MiB are left there) (make room there)")
    left = float(found.removeprefix(told).partition(" ")[0])
    assert trouble.is_same(found, found.replace(f"{left:.1f}", "3.5"))
    assert not trouble.is_same(found, found.replace("b.mp4", "c.mp4"))


def test_a_temporary_file_is_told_by_its_folder(tmp_path: Path) -> None:
    """Nobody knows its name."""
    name = temporaries.beside(tmp_path / "a.mp4", "owner")
    assert f"Input/output error: {tmp_path} (" in trouble.in_words(error(errno.EIO, str(name)))


def test_words_of_our_own_stay() -> None:
    """They have a remedy already; so do errors without a number."""
    found = trouble.in_words(OSError(errno.ESTALE, "mount it again, or restart", "/srv/inbox"))
    assert "mount it again, or restart: /srv/inbox" == found
    assert "no number" == trouble.in_words(OSError("no number"))


def test_what_a_library_makes_of_it_is_still_that() -> None:
    """Also where it has raised its own error while it handled this one."""
    full = error(errno.ENOSPC, "/a")
    for kind, expected in ((OSError, full), (ValueError, None)):
        with pytest.raises(kind, match="can't be written") as raised:
            _retell(full, kind)
        assert expected is trouble.of(raised.value)
    assert trouble.of(error(errno.ENOENT, "/a")) is None


def _retell(error: OSError, kind: type[Exception]) -> None:
    try:
        raise error
    except OSError:
        raise kind("can't be written")  # noqa: B904 - as libraries do


FRAMES = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
WRITES: dict[str, Callable[[Path, Path], None]] = {
    "write": lambda path, _: durable.write(path, b"x" * 100, "owner"),
    "write_unsynced": lambda path, _: durable.write_unsynced(path, b"x" * 100),
    "copy": lambda path, source: moves.copy(source, path, "owner"),
    "poster": lambda path, _: encoder.encode(FRAMES, path, "jpg", 8.0, ""),
    "gif": lambda path, _: encoder.encode(FRAMES, path, "gif", 8.0, ""),
    "mp4": lambda path, _: encoder.encode(FRAMES, path, "mp4", 8.0, ""),
    "webm": lambda path, _: encoder.encode(FRAMES, path, "webm", 8.0, ""),
    "completed": lambda path, _: encoder.complete(b"x" * 100, path, "gif", "", ""),
}


@pytest.mark.parametrize("what", WRITES)
def test_a_file_that_has_no_room_is_named(what: str, tmp_path: Path) -> None:
    """Whoever writes it: Python, the encoder, or Pillow."""
    source = tmp_path / "source"
    source.write_bytes(b"x" * 100)
    path = tmp_path / "a.bin"
    with no_larger_than(16), pytest.raises(OSError, match=r"a\.bin") as raised:
        WRITES[what](path, source)
    assert str(path) == raised.value.filename
    assert str(path) in trouble.in_words(raised.value)


def test_a_file_that_cannot_be_flushed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some shares notice only then that they are full."""

    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "a.bin").touch()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"a\.bin"):
        durable.fsync_file(tmp_path / "a.bin")


def test_of_a_copy_it_is_said_which_file_fails(tmp_path: Path) -> None:
    """The kernel's file of this process's memory can be opened, but its begin can't be read."""
    with pytest.raises(OSError, match="Input/output error") as raised:
        moves.copy(Path("/proc/self/mem"), tmp_path / "a.bin", "owner")
    assert "/proc/self/mem" == raised.value.filename
