"""Free space on real file systems."""

from __future__ import annotations

from pathlib import Path

from reeldrop.host import disk


def test_room_enough(tmp_path: Path) -> None:
    """With enough space, there is no shortage."""
    assert "" == disk.shortage([tmp_path], 0)


def test_too_little_room_is_named(tmp_path: Path) -> None:
    """The message has the folder, the free space and the limit."""
    found = disk.shortage([tmp_path], 1e9)
    assert f"GiB free in {tmp_path}, less than min_free_gib: 1e+09" in found


def test_a_folder_that_is_gone_is_not_short(tmp_path: Path) -> None:
    """A missing folder is skipped: the next write there reports it."""
    assert "" == disk.shortage([tmp_path / "gone"], 1e9)
